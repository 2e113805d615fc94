//! `supernode train`, and what it shares with `supernode plan train`.

use crate::common::{Beside, CatalogArgs, Failure, SiteArgs, print, read_text};
use crate::launch::{self as launched, LaunchArgs};
use crate::page::PageArgs;
use ::launch::TrainingLaunch;
use serde_json::Value;
use std::path::PathBuf;
use supernode::{Answer, Launched, LongRun, Prepared};
use training::spec::JobSpec;
use training::{Job, Step, timeline};
use units::{BytesPerSecond, Seconds};

/// What is trained and where, as flags, a job file or a launch script; a flag wins over a file, a file over a script.
#[derive(clap::Args)]
pub struct JobArgs {
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
    /// Sizes instead of a model: layers=96,hidden=12288,heads=96[,ffn=..,kv-heads=..,vocab=..,gated=true,experts=..,topk=..].
    #[arg(long, value_name = "SIZES", conflicts_with = "model")]
    shape: Option<String>,
    /// Catalog key of the system.
    #[arg(long, value_name = "KEY")]
    system: Option<String>,
    /// Catalog key of another chip in the system's place for one.
    #[arg(long, value_name = "KEY")]
    chip: Option<String>,
    /// Chips (packages); those of the system by default.
    #[arg(long, value_name = "N")]
    chips: Option<u32>,
    /// Scale-out bandwidth of one chip instead of the system's, for example "50 GB/s".
    #[arg(long, value_name = "RATE")]
    nic: Option<BytesPerSecond>,
    /// Catalog key of the framework [default: megatron].
    #[arg(long, value_name = "KEY")]
    framework: Option<String>,
    /// Release of the framework; the newest by default.
    #[arg(long, value_name = "ID")]
    release: Option<String>,
    /// TOML file with the same keys as these flags, or the JSON that `train` or `plan train` printed.
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
    /// Which layout of a printed plan to take, counted from 1 [default: 1].
    #[arg(long, value_name = "N", requires = "job", value_parser = clap::value_parser!(u32).range(1..))]
    place: Option<u32>,
    #[command(flatten)]
    launch: LaunchArgs,
    /// Sequences per optimizer step.
    #[arg(long, value_name = "N")]
    global_batch: Option<u32>,
    /// Tokens per sequence [default: 4096].
    #[arg(long, value_name = "N")]
    seq: Option<u32>,
    /// Format of the matrix products: bf16, fp16, fp8, mxfp8, nvfp4 ... [default: bf16].
    #[arg(long, value_name = "FORMAT")]
    precision: Option<String>,
    /// Whether multi-token-prediction modules are trained, if the model has some [default: true].
    #[arg(long, value_name = "BOOL")]
    mtp: Option<bool>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// How one job is cut.
#[derive(clap::Args)]
pub struct LayoutArgs {
    /// Tensor parallel size [default: 1].
    #[arg(long, value_name = "N")]
    tp: Option<u32>,
    /// Pipeline parallel size [default: 1].
    #[arg(long, value_name = "N")]
    pp: Option<u32>,
    /// Virtual pipeline size: model chunks per rank [default: 1].
    #[arg(long, value_name = "N")]
    vpp: Option<u32>,
    /// Data parallel size; what the other sizes leave by default.
    #[arg(long, value_name = "N")]
    dp: Option<u32>,
    /// Context parallel size [default: 1].
    #[arg(long, value_name = "N")]
    cp: Option<u32>,
    /// Expert parallel size [default: 1].
    #[arg(long, value_name = "N")]
    ep: Option<u32>,
    /// Tensor parallel size of the experts [default: 1 with --ep, else --tp].
    #[arg(long, value_name = "N")]
    etp: Option<u32>,
    /// Sequences per micro-batch [default: 1].
    #[arg(long, value_name = "N")]
    micro_batch: Option<u32>,
    /// gpipe, 1f1b, interleaved, zb-h1 or dualpipe [default: 1f1b].
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// none, selective, full, or a number of layers per stage [default: none].
    #[arg(long, value_name = "WHAT")]
    recompute: Option<String>,
    /// ZeRO stage, 0 to 3 [default: 1].
    #[arg(long, value_name = "STAGE")]
    zero: Option<u32>,
    /// Sequence parallelism [default: with --tp].
    #[arg(long, value_name = "BOOL")]
    sequence_parallel: Option<bool>,
    /// ring or ulysses [default: ring].
    #[arg(long, value_name = "METHOD")]
    context: Option<String>,
    /// Keep optimizer state in host memory.
    #[arg(long, value_name = "BOOL")]
    offload_optimizer: Option<bool>,
    /// Keep activations in host memory.
    #[arg(long, value_name = "BOOL")]
    offload_activations: Option<bool>,
    /// Layers of the first virtual stage.
    #[arg(long, value_name = "N")]
    first_stage_layers: Option<u32>,
    /// Layers of the last virtual stage.
    #[arg(long, value_name = "N")]
    last_stage_layers: Option<u32>,
}

impl LayoutArgs {
    /// What they say of a job.
    fn spec(&self) -> JobSpec {
        JobSpec {
            tp: self.tp,
            pp: self.pp,
            vpp: self.vpp,
            dp: self.dp,
            cp: self.cp,
            ep: self.ep,
            etp: self.etp,
            micro_batch: self.micro_batch,
            schedule: self.schedule.clone(),
            recompute: self.recompute.clone(),
            zero: self.zero,
            sequence_parallel: self.sequence_parallel,
            context: self.context.clone(),
            offload_optimizer: self.offload_optimizer,
            offload_activations: self.offload_activations,
            first_stage_layers: self.first_stage_layers,
            last_stage_layers: self.last_stage_layers,
            ..JobSpec::default()
        }
    }
}

/// A run of many steps, and what is written of one.
#[derive(clap::Args)]
pub struct RunArgs {
    /// Tokens to train on, for example 15.6T: adds time, energy and cost under failures.
    #[arg(long, value_name = "COUNT")]
    tokens: Option<String>,
    /// Time between checkpoints, for example "10 min"; the optimum by default.
    #[arg(long, value_name = "TIME")]
    checkpoint_interval: Option<Seconds>,
    /// Spare chips kept ready; enough for 99.9 % of the time by default.
    #[arg(long, value_name = "N")]
    spares: Option<u32>,
    /// Write the step as a Perfetto timeline.
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
}

/// Step time, memory and cost of a training job.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    layout: LayoutArgs,
    #[command(flatten)]
    run: RunArgs,
    #[command(flatten)]
    page: PageArgs,
}

/// A job with everything it runs on, and the launch that was read.
pub struct Asked {
    /// The job.
    pub job: Prepared,
    /// The launch.
    pub launch: Option<TrainingLaunch>,
}

impl JobArgs {
    /// What is paid where it runs.
    pub fn site(&self) -> &SiteArgs {
        &self.site
    }

    /// Where facts come from.
    pub fn catalog(&self) -> &CatalogArgs {
        &self.catalog
    }
}

impl RunArgs {
    /// Opens the timeline, if one is asked for.
    pub fn open_timeline(&self) -> Result<Beside, Failure> {
        Beside::open(self.timeline.as_deref())
    }

    /// The run of many steps that is asked for.
    pub fn long_run(&self) -> LongRun {
        LongRun {
            tokens: self.tokens.clone(),
            checkpoint_interval: self.checkpoint_interval,
            spares: self.spares,
        }
    }
}

/// Writes the timeline of a priced job and prints `text`.
pub fn deliver(timeline: Beside, job: &Job, step: &Step, text: &str) -> Result<(), Failure> {
    timeline.deliver(|| timeline::perfetto(job, step), || print(text))
}

/// A job as flags, those left out that are not set.
pub fn flags(prepared: &Prepared) -> String {
    let words = prepared.words();
    let flag = |(key, value): (&String, &Value)| {
        let value = value.as_str()?;
        let quote = if value.contains(' ') { "\"" } else { "" };
        Some(format!("--{key} {quote}{value}{quote}"))
    };
    words.as_object().into_iter().flatten().filter_map(flag).collect::<Vec<_>>().join(" ")
}

/// What flags and the job file say.
fn given(args: &JobArgs, layout: &LayoutArgs) -> Result<JobSpec, Failure> {
    let spec = JobSpec {
        model: args.model.clone(),
        shape: args.shape.clone(),
        system: args.system.clone(),
        chip: args.chip.clone(),
        nic: args.nic,
        chips: args.chips,
        framework: args.framework.clone(),
        release: args.release.clone(),
        global_batch: args.global_batch,
        seq: args.seq,
        precision: args.precision.clone(),
        mtp: args.mtp,
        ..layout.spec()
    };
    let Some(path) = &args.job else { return Ok(spec) };
    let text = read_text(path)?;
    let file = if text.trim_start().starts_with('{') {
        JobSpec::from_printed(&text, args.place.unwrap_or(1) as usize)
    } else if args.place.is_some() {
        return Err(Failure::Input("--place has no effect on a job file in TOML: leave it out".to_owned()));
    } else {
        JobSpec::parse(&text)
    };
    let file = file.map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
    // A model and sizes exclude each other, whichever of the two a flag gives.
    let file = match (&spec.model, &spec.shape) {
        (None, None) => file,
        _ => JobSpec { model: None, shape: None, ..file },
    };
    Ok(spec.or(file))
}

/// Reads flags, file and script, and looks up what they name.
pub fn prepare(args: &JobArgs, layout: &LayoutArgs) -> Result<Asked, Failure> {
    let given = given(args, layout)?;
    let launch = args.launch.training(given.model.is_some() || given.shape.is_some())?;
    let launched = launch.as_ref().map(|launch| {
        let mut spec = launch.spec.clone();
        let devices = spec.chips.take();
        Launched { spec, model: launch.model(), devices }
    });
    let session = args.catalog.session(&args.site)?;
    Ok(Asked { job: Prepared::new(&session, &given, launched)?, launch })
}

/// Runs `train`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let timeline = args.run.open_timeline()?;
    let page = args.page.open()?;
    let Asked { job, launch } = prepare(&args.job, &args.layout)?;
    let trained =
        supernode::train(&job, &args.run.long_run()).map_err(|error| match Failure::from(error) {
            Failure::No(why) => Failure::No(launched::doubt(launch.as_ref(), &why)),
            input @ Failure::Input(_) => input,
        })?;
    let text = match (args.job.json, &launch) {
        (true, Some(launch)) => launched::json_with(&trained.json(), launch)?,
        (true, None) => trained.json(),
        (false, Some(launch)) => format!("{}{}", trained.text(), launched::marks(launch)),
        (false, None) => trained.text(),
    };
    let words = job.words();
    let priced = job.trained(&trained.job, &trained.step, &words);
    let catalog = args.job.catalog.load()?;
    let setting = page.setting(&catalog, Some(job.paying()), Some(args.job.site()));
    let document = || report::train_document(&trained.report, &priced, &setting);
    page.deliver(document, args.job.json, || deliver(timeline, &trained.job, &trained.step, &text))
}
