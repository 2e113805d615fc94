//! `supernode plan serve`.

use crate::common::{AvailableArgs, CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::interrupt::stopped;
use crate::page::PageArgs;
use hardware::Catalog;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use planner::plan_file::DeploymentFile;
use planner::serve::Objective;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use supernode::{Answer, ServingJob, Watch};
use units::{Dtype, PerSecond, Seconds, Watts};

/// What is to be served, within which limits, and what the search may choose from.
#[derive(clap::Args)]
pub struct JobArgs {
    /// Mean prompt length, tokens [default: 4096 without a trace].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000), conflicts_with = "trace")]
    isl: Option<u32>,
    /// Mean output length, tokens [default: 1024 without a trace].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000), conflicts_with = "trace")]
    osl: Option<u32>,
    /// Trace whose lengths are served instead; its format is told from its contents.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Share of prompt tokens served from a cache, 0 to below 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    prefix_hit: f64,
    /// Most mean time to the first token.
    #[arg(long, value_name = "TIME", default_value = "2 s")]
    ttft: Seconds,
    /// Most mean time per output token.
    #[arg(long, value_name = "TIME", default_value = "50 ms")]
    tpot: Seconds,
    /// Engine on every system instead of each chip's usual one.
    #[arg(long, value_name = "KEY")]
    engine: Option<String>,
    /// Weight formats to consider [default: the checkpoint's, and eight bits where the chip multiplies them].
    #[arg(long, value_name = "FORMAT,..", value_delimiter = ',')]
    weight_dtype: Vec<Dtype>,
    /// Cache formats to consider [default: the engine's, and FP8 where the chip multiplies it].
    #[arg(long, value_name = "FORMAT,..", value_delimiter = ',')]
    kv_dtype: Vec<Dtype>,
    /// Most draft tokens per step, for models that ship a draft module [default: 3; `compare`: 0].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=16))]
    spec_tokens: Option<u32>,
    /// Token budgets to consider beside the engine's own, for which 0 stands [default: 2048,4096,8192,16384; `compare`
    /// and `match`: 0].
    #[arg(long, value_name = "N,..", value_delimiter = ',')]
    token_budget: Vec<u32>,
    /// Pipeline stages to consider [default: 1,2,4,8; `compare`: 1].
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    pp: Vec<u32>,
    /// Chance that a draft token is accepted if the one before it was, 0 to 1.
    #[arg(long, value_name = "CHANCE", default_value_t = 0.7)]
    spec_accept: f64,
}

/// Searches every deployment of a model: layouts, formats, batches, token budgets, draft lengths, instances, and prefill
/// and decode apart or together.
#[derive(clap::Args)]
pub struct Args {
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, value_name = "ID")]
    model: String,
    #[command(flatten)]
    job: JobArgs,
    /// Systems to plan on, by catalog key.
    #[arg(long, value_name = "KEY,..", value_delimiter = ',', required = true)]
    system: Vec<String>,
    /// Chips to put into the systems instead of their own, by catalog key; each is tried in each system.
    #[arg(long, value_name = "KEY,..", value_delimiter = ',')]
    chip: Vec<String>,
    /// Let prefill run on one of the systems and decode on another.
    #[arg(long)]
    mix: bool,
    /// Chips (packages) to use at most; the system's own number by default.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    chips: Option<u32>,
    /// Size the system for this many requests per second instead of filling it.
    #[arg(long, value_name = "RATE", value_parser = rate, conflicts_with = "target_concurrency")]
    target_rate: Option<PerSecond>,
    /// Size the system for this many users who each wait no longer than the limits allow.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    target_concurrency: Option<u32>,
    /// Most that the chips and what stands around them may draw, without cooling, for example 200kW.
    #[arg(long, value_name = "POWER")]
    power_budget: Option<Watts>,
    /// throughput, cost, energy or chips.
    #[arg(long, value_name = "WHAT", default_value = "throughput")]
    objective: Objective,
    /// Look at aggregated or disaggregated deployments only: agg or disagg.
    #[arg(long, value_name = "MODE", value_parser = ["agg", "disagg"])]
    only: Option<String>,
    /// Deployments to list.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    top: u16,
    /// Do not run the best deployments in the request-level simulator.
    #[arg(long)]
    no_confirm: bool,
    /// Print JSON, which `export` reads.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    available: AvailableArgs,
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    site: SiteArgs,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Requests per second, with or without the unit.
fn rate(text: &str) -> Result<PerSecond, String> {
    let bare = text.trim().parse::<f64>().map(PerSecond::new);
    let rate = bare.or_else(|_| text.parse::<PerSecond>()).map_err(|error| error.to_string())?;
    let sane = rate.get() > 0.0 && rate.is_finite();
    if sane { Ok(rate) } else { Err("give a rate above 0, for example 50 or \"50 /s\"".to_owned()) }
}

impl JobArgs {
    /// The job of `model` that they describe.
    pub fn job(&self, model: &str) -> ServingJob {
        ServingJob {
            model: model.to_owned(),
            isl: self.isl,
            osl: self.osl,
            trace: self.trace.clone(),
            prefix_hit: Some(self.prefix_hit),
            ttft: Some(self.ttft),
            tpot: Some(self.tpot),
            engine: self.engine.clone(),
            weight_dtype: self.weight_dtype.clone(),
            kv_dtype: self.kv_dtype.clone(),
            spec_tokens: self.spec_tokens,
            spec_accept: Some(self.spec_accept),
            token_budget: self.token_budget.clone(),
            pp: self.pp.clone(),
            ..ServingJob::default()
        }
    }
}

/// For searches that an interrupt ends and that are too many to show each.
pub fn quiet_watch() -> Watch<'static> {
    Watch { cancel: stopped(), progress: &|_, _| () }
}

/// Shows how far a search is, after a while.
struct Bar {
    start: Instant,
    bar: OnceLock<ProgressBar>,
}

impl Bar {
    fn new() -> Self {
        Self { start: Instant::now(), bar: OnceLock::new() }
    }

    fn show(&self, done: usize, all: usize) {
        if self.start.elapsed() < Duration::from_secs(2) {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            crate::progress::quiet();
            let bar = ProgressBar::new(all as u64);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            if let Ok(style) =
                ProgressStyle::with_template("{wide_bar} {pos}/{len} kinds of instances, {eta} left")
            {
                bar.set_style(style);
            }
            bar
        });
        bar.set_position(done as u64);
        if done == all {
            bar.finish_and_clear();
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let job = ServingJob {
        objective: Some(args.objective.to_string()),
        chip: args.chip.clone(),
        mix: args.mix,
        top: Some(args.top),
        only: args.only.clone(),
        target_rate: args.target_rate,
        target_concurrency: args.target_concurrency,
        power_budget: args.power_budget,
        ..args.job.job(&args.model)
    };
    let session = args.catalog.session(&args.site)?;
    let start = Instant::now();
    let bar = Bar::new();
    let progress = |done: usize, all: usize| bar.show(done, all);
    let watch = Watch { cancel: stopped(), progress: &progress };
    let systems = args.available.of(session.catalog(), &args.system)?;
    let file = supernode::plan_serve(&session, &job, &systems, args.chips, !args.no_confirm, &watch)?;
    eprintln!("planned in {:.2} s", start.elapsed().as_secs_f64());
    let show = || if args.json { print_json(&file.document()) } else { print(&file.text()) };
    let setting = page.setting(session.catalog(), Some(session.site()), Some(&args.site));
    page.deliver(|| report::plan_document(&file, &setting), args.json, show)?;
    warn_of_support(session.catalog(), &args.model, &file.best)
}

/// Says on the error stream what a plan uses that its engine does not claim to support.
pub fn warn_of_support(catalog: &Catalog, model: &str, plan: &DeploymentFile) -> Result<(), Failure> {
    for line in supernode::unsupported(catalog, model, plan)? {
        eprintln!("warning: {line}");
    }
    Ok(())
}
