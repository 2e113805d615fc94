//! `supernode train` and `supernode plan train`.

use crate::common::{Beside, CatalogArgs, Failure, SiteArgs, print, read_text};
use crate::launch::{self as launched, LaunchArgs};
use ::launch::TrainingLaunch;
use hardware::Catalog;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use training::goodput::Reliability;
use training::report::{LayoutReport, LongRunRequest, Ownership, TrainReport};
use training::search::{Objective, Outcome, Space, search};
use training::site::{self, Site};
use training::spec::{JobSpec, parse_tokens};
use training::{Machine, Profile, check_memory, price, timeline};
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
    /// TOML file with the same keys as these flags.
    #[arg(long, value_name = "FILE")]
    job: Option<PathBuf>,
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
    json: bool,
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

/// Step time, memory and cost of a training job.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    #[command(flatten)]
    layout: LayoutArgs,
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

/// What can be planned.
#[derive(clap::Subcommand)]
pub enum PlanCommand {
    /// The best deployment that serves a model within latency limits, aggregated or disaggregated.
    Serve(Box<crate::plan_serve::Args>),
    /// The best way to cut a training job, over every size that goes.
    Train(Box<PlanArgs>),
}

/// The best way to cut a training job, over every size that goes.
#[derive(clap::Args)]
pub struct PlanArgs {
    #[command(flatten)]
    job: JobArgs,
    /// time, cost (chip-hours) or energy.
    #[arg(long, value_name = "WHAT", default_value = "time", value_parser = objective)]
    objective: Objective,
    /// Allow fewer chips than given, the rest idle: the next multiples of 8, 64 and 512 ranks below.
    #[arg(long)]
    at_most: bool,
    /// Further chip counts to plan for, for the front of time against chips.
    #[arg(long, value_name = "N,N,..", value_delimiter = ',')]
    front: Vec<u32>,
    /// Layouts to list.
    #[arg(long, value_name = "N", default_value_t = 5)]
    top: usize,
}

fn objective(text: &str) -> Result<Objective, String> {
    match text {
        "time" => Ok(Objective::Time),
        "cost" => Ok(Objective::Cost),
        "energy" => Ok(Objective::Energy),
        other => Err(format!("`{other}` is not an objective; use time, cost or energy")),
    }
}

/// A job with everything it runs on.
struct Prepared {
    spec: JobSpec,
    model: model::Model,
    site: Site,
    profile: Profile,
    chips: u32,
    catalog: Catalog,
    launch: Option<TrainingLaunch>,
}

impl Prepared {
    fn ranks(&self, chips: u32) -> Result<u32, Failure> {
        let ranks =
            chips.checked_mul(self.site.chip.ranks.max(1)).filter(|ranks| *ranks > 0 && *ranks <= MAX_RANKS);
        ranks.ok_or_else(|| Failure::Input(format!("--chips {chips}: give 1 to {MAX_RANKS} ranks")))
    }

    fn machine(&self) -> Machine<'_> {
        Machine { chip: &self.site.chip, pricer: &self.site.pricer, profile: &self.profile }
    }

    fn framework(&self) -> String {
        format!("{} {}", self.profile.framework, self.profile.release)
    }
}

/// Ranks beyond which a count is taken for a slip of the pen.
const MAX_RANKS: u32 = 4_000_000;

fn prepare(args: &JobArgs, flags: JobSpec) -> Result<Prepared, Failure> {
    let mut spec = JobSpec {
        model: args.model.clone(),
        shape: args.shape.clone(),
        system: args.system.clone(),
        chips: args.chips,
        framework: args.framework.clone(),
        release: args.release.clone(),
        global_batch: args.global_batch,
        seq: args.seq,
        precision: args.precision.clone(),
        mtp: args.mtp,
        ..flags
    };
    if let Some(path) = &args.job {
        let file = JobSpec::parse(&read_text(path)?)
            .map_err(|error| Failure::Input(format!("{}: {error}", path.display())))?;
        spec = spec.or(file);
    }
    let mut launch = None;
    let mut devices = None;
    if let Some(mut read) = args.launch.training(spec.model.is_some() || spec.shape.is_some())? {
        // A launch counts devices as software sees them, which may be several to a chip.
        devices = read.spec.chips.take();
        spec = spec.or(read.spec.clone());
        launch = Some(read);
    }
    let catalog = args.catalog.load()?;
    let model = match (&spec.model, spec.shape_model()?) {
        (Some(name), _) => model::resolve(name)?,
        (None, Some(model)) => model,
        (None, None) => launch.as_ref().and_then(TrainingLaunch::model).ok_or_else(|| {
            Failure::Input("say what to train: --model, --shape, --job or --launch".to_owned())
        })?,
    };
    let system = spec.system.as_deref().ok_or_else(|| {
        Failure::Input("say where to train: --system; `supernode catalog list` shows the systems".to_owned())
    })?;
    let site = Site::new(&catalog, system, args.nic)?;
    let profile =
        site::profile(&catalog, spec.framework.as_deref().unwrap_or("megatron"), spec.release.as_deref())?;
    let chips = match (spec.chips, devices) {
        (Some(chips), _) => chips,
        (None, Some(devices)) => chips_of(devices, site.chip.ranks)?,
        (None, None) => site.system.chips,
    };
    Ok(Prepared { spec, model, site, profile, chips, catalog, launch })
}

/// Chips that hold the devices of a launch.
fn chips_of(devices: u32, ranks: u32) -> Result<u32, Failure> {
    let ranks = ranks.max(1);
    if devices % ranks == 0 {
        return Ok(devices / ranks);
    }
    Err(Failure::Input(format!(
        "the launch is for {devices} devices, and a chip of this system is {ranks}: give --chips"
    )))
}

/// Runs `train`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let layout = &args.layout;
    let flags = JobSpec {
        tp: layout.tp,
        pp: layout.pp,
        vpp: layout.vpp,
        dp: layout.dp,
        cp: layout.cp,
        ep: layout.ep,
        etp: layout.etp,
        micro_batch: layout.micro_batch,
        schedule: layout.schedule.clone(),
        recompute: layout.recompute.clone(),
        zero: layout.zero,
        sequence_parallel: layout.sequence_parallel,
        context: layout.context.clone(),
        offload_optimizer: layout.offload_optimizer,
        offload_activations: layout.offload_activations,
        first_stage_layers: layout.first_stage_layers,
        last_stage_layers: layout.last_stage_layers,
        tokens: args.tokens.clone(),
        ..JobSpec::default()
    };
    let timeline = Beside::open(args.timeline.as_deref())?;
    let prepared = prepare(&args.job, flags)?;
    let job = prepared.spec.job(prepared.model.clone(), prepared.ranks(prepared.chips)?)?;
    let step = price(&job, &prepared.machine())?;
    check_memory(&job, &step, &prepared.site.chip)
        .map_err(|error| Failure::No(launched::doubt(prepared.launch.as_ref(), &error.to_string())))?;
    let reliability = Reliability::parse(prepared.catalog.text("failures", "default")?)?;
    let ownership = args.job.site.site(&prepared.catalog)?;
    let ownership =
        Ownership { electricity: ownership.electricity, pue: ownership.pue, lifetime: ownership.lifetime };
    let request = match &prepared.spec.tokens {
        Some(text) => Some(LongRunRequest {
            tokens: parse_tokens(text)?,
            reliability: &reliability,
            interval: args.checkpoint_interval,
            spares: args.spares,
            ownership,
        }),
        None => None,
    };
    let report = TrainReport::new(&job, &step, &prepared.site, &prepared.framework(), request.as_ref());
    let text = || -> Result<String, Failure> {
        Ok(match (args.job.json, &prepared.launch) {
            (true, Some(launch)) => launched::json_with(&report.json(), launch)?,
            (true, None) => format!("{}\n", report.json()),
            (false, Some(launch)) => format!("{}{}", report.text(), launched::marks(launch)),
            (false, None) => report.text(),
        })
    };
    timeline.deliver(|| timeline::perfetto(&job, &step), || print(&text()?))
}

/// Runs `plan train`.
pub fn run_plan(args: &PlanArgs) -> Result<(), Failure> {
    let prepared = prepare(&args.job, JobSpec::default())?;
    let mut plans = Vec::new();
    let mut counts: Vec<u32> = args.front.iter().copied().chain([prepared.chips]).collect();
    counts.sort_unstable();
    counts.dedup();
    for chips in counts {
        let ranks = prepared.ranks(chips)?;
        // The template only lends its model, batch and precision; a size of one each always goes together.
        let spec = &prepared.spec;
        let template = JobSpec {
            global_batch: spec.global_batch,
            seq: spec.seq,
            precision: spec.precision.clone(),
            mtp: spec.mtp,
            ..JobSpec::default()
        };
        let template = template.job(prepared.model.clone(), 1)?;
        let space = Space::all(&template, &prepared.site.system, ranks, args.at_most);
        plans.push((chips, search(&template, &space, &prepared.machine(), args.objective, args.top.max(1))?));
    }
    if plans.iter().all(|(_, outcome)| outcome.best.is_empty()) {
        return Err(Failure::No(
            "no layout fits: use more chips, or a batch that more sizes divide".to_owned(),
        ));
    }
    if args.job.json {
        let value: Vec<serde_json::Value> =
            plans.iter().map(|(chips, outcome)| plan_json(*chips, outcome)).collect();
        return crate::common::print_json(
            &serde_json::json!({ "schema": "supernode.plan-train/1", "plans": value }),
        );
    }
    print(&plans.iter().map(|(chips, outcome)| plan_text(*chips, outcome)).collect::<String>())
}

fn plan_json(chips: u32, outcome: &Outcome) -> serde_json::Value {
    let counts = &outcome.counts;
    let best: Vec<serde_json::Value> = outcome
        .best
        .iter()
        .map(|found| {
            serde_json::json!({
                "layout": LayoutReport::new(&found.job, found.step.chips),
                "step_time": { "value": found.step.time.get(), "unit": "s" },
                "tokens_per_second": { "value": found.step.throughput().get(), "unit": "tokens/s" },
                "mfu": found.step.mfu(),
                "objective": found.value,
            })
        })
        .collect();
    serde_json::json!({
        "chips": chips,
        "covered": counts.covered,
        "states_too_big": counts.too_big,
        "bound_too_slow": counts.too_slow,
        "priced": counts.priced,
        "priced_but_too_big": counts.misfits,
        "best": best,
    })
}

fn plan_text(chips: u32, outcome: &Outcome) -> String {
    let counts = &outcome.counts;
    let mut out = format!(
        "{chips} chips: {} layouts covered ({} too big by their states, {} slower by their bound, {} priced of which {} too big)\n",
        counts.covered, counts.too_big, counts.too_slow, counts.priced, counts.misfits
    );
    for found in &outcome.best {
        let line = LayoutReport::new(&found.job, found.step.chips).line();
        let mfu = 100.0 * found.step.mfu();
        let _ = writeln!(
            out,
            "  {:>10}  {:.0} tokens/s  MFU {mfu:.1} %  {line}",
            found.step.time.to_string(),
            found.step.throughput().get()
        );
    }
    out
}
