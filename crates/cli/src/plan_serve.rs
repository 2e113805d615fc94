//! `supernode plan serve`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json, write_file};
use ::estimate::Resolver;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use planner::serve::{Job, Objective, Options, Outcome, Place, PlanError, Planned, Target, Watch, Work};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use units::{Dtype, PerSecond, Seconds};
use workload::{Arrivals, Process, Replay, ReplayOptions, Source};

/// What is to be served, within which limits.
#[derive(clap::Args)]
pub struct JobArgs {
    /// Hugging Face id of a built-in model, or the path of a config.json.
    #[arg(long, value_name = "ID")]
    model: String,
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
    /// Engine on every system instead of each vendor's usual one.
    #[arg(long, value_name = "KEY")]
    engine: Option<String>,
    /// Weight formats to consider [default: the checkpoint's, and eight bits where the chip multiplies them].
    #[arg(long, value_name = "FORMAT,..", value_delimiter = ',')]
    weight_dtype: Vec<Dtype>,
    /// Cache formats to consider [default: the engine's, and FP8 where the chip multiplies it].
    #[arg(long, value_name = "FORMAT,..", value_delimiter = ',')]
    kv_dtype: Vec<Dtype>,
    /// Most draft tokens per step, for models that ship a draft module.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=16))]
    spec_tokens: u32,
    /// Chance that a draft token is accepted if the one before it was, 0 to 1.
    #[arg(long, value_name = "CHANCE", default_value_t = 0.7)]
    spec_accept: f64,
}

/// Searches every deployment of a model: layouts, formats, batches, token budgets, draft lengths, instances, and prefill
/// and decode apart or together.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    job: JobArgs,
    /// Systems to plan on, by catalog key.
    #[arg(long, value_name = "KEY,..", value_delimiter = ',', required = true)]
    system: Vec<String>,
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
    /// Write a page with a chart to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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

/// Chips to size within where nothing is said.
const MOST_CHIPS: u32 = 16_384;

/// Requests of a trace that its means are taken from.
const TRACE_REQUESTS: usize = 200_000;

impl JobArgs {
    /// The job they describe, with every choice open.
    pub fn job(&self) -> Result<Job, Failure> {
        let range = |flag: &str, value: f64, allowed: &str| {
            Failure::Input(format!("--{flag} {value} is out of range; allowed is {allowed}"))
        };
        if !(0.0..1.0).contains(&self.prefix_hit) {
            return Err(range("prefix-hit", self.prefix_hit, "0 to below 1"));
        }
        if !(0.0..=1.0).contains(&self.spec_accept) {
            return Err(range("spec-accept", self.spec_accept, "0 to 1"));
        }
        for (flag, limit) in [("ttft", self.ttft), ("tpot", self.tpot)] {
            if limit <= Seconds::ZERO {
                return Err(Failure::Input(format!("--{flag} {limit} is out of range; give a time above 0")));
            }
        }
        let mut job = match &self.trace {
            Some(path) => self.of_trace(path)?,
            None => {
                let (isl, osl) = (self.isl.unwrap_or(4096), self.osl.unwrap_or(1024));
                let work = Work::new(isl, osl, self.prefix_hit);
                Job { work, ..Job::new(&self.model, isl, osl, self.ttft, self.tpot) }
            }
        };
        job.acceptance = self.spec_accept;
        job.options = Options {
            engine: self.engine.clone(),
            weights: self.weight_dtype.clone(),
            caches: self.kv_dtype.clone(),
            drafts: self.spec_tokens,
            ..Options::default()
        };
        Ok(job)
    }

    /// Means over a trace's requests; a decoding step sees each for as long as its answer is.
    fn of_trace(&self, path: &Path) -> Result<Job, Failure> {
        // Only lengths are used, so that a trace without times will do: any will stand in.
        let process = Process::Constant { rate: PerSecond::new(1.0) };
        let options =
            ReplayOptions { arrivals: Some(Arrivals::new(process, 0)?), ..ReplayOptions::default() };
        let mut replay = Replay::open(path, options)?;
        let mut lengths = Vec::new();
        while lengths.len() < TRACE_REQUESTS {
            let Some(arrival) = replay.pop()? else { break };
            lengths.push((arrival.input.max(1), arrival.output.max(1)));
        }
        if lengths.is_empty() {
            return Err(Failure::Input(format!("{}: has no requests to take lengths from", path.display())));
        }
        let count = lengths.len() as f64;
        let mean = |of: &dyn Fn(f64, f64) -> f64| {
            lengths.iter().map(|(input, output)| of(f64::from(*input), f64::from(*output))).sum::<f64>()
                / count
        };
        let (input, output) = (mean(&|input, _| input), mean(&|_, output| output));
        let work = Work {
            new: input * (1.0 - self.prefix_hit),
            cached: input * self.prefix_hit,
            output,
            context: mean(&|input, output| output * (input + output / 2.0)) / output,
            held: mean(&|input, output| output * (input + output)) / output,
            // Of lengths that are uniform around their mean the longest exceeds it by this many standard deviations.
            excess: 3_f64.sqrt() * (mean(&|i, _| i * i) - input * input).max(0.0).sqrt() / input,
        };
        let longest = lengths.iter().map(|(input, output)| input.saturating_add(*output)).max();
        let job = Job::new(&self.model, input.round() as u32, output.round() as u32, self.ttft, self.tpot);
        Ok(Job { longest: longest.unwrap_or(job.longest), work, lengths: Some(Arc::new(lengths)), ..job })
    }
}

/// Set by the first interrupt; a second one ends the program as usual.
fn stopped() -> &'static AtomicBool {
    static STOPPED: OnceLock<&'static AtomicBool> = OnceLock::new();
    STOPPED.get_or_init(|| {
        static FLAG: AtomicBool = AtomicBool::new(false);
        let set = ctrlc::set_handler(|| {
            if FLAG.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
        });
        // Without a handler an interrupt ends the program, which is what it does otherwise.
        drop(set);
        &FLAG
    })
}

/// For searches that an interrupt ends and that are too many to show each.
pub fn quiet_watch() -> Watch<'static> {
    Watch { cancel: stopped(), progress: &|_, _| () }
}

/// Searches under a progress bar that shows after a while; an interrupt ends the search with what it has.
pub fn search(
    resolver: &Resolver,
    job: &Job,
    places: &[Place],
    site: &::estimate::economics::Site,
) -> Result<Outcome, PlanError> {
    let start = Instant::now();
    let bar = OnceLock::new();
    let progress = |done: usize, all: usize| {
        if start.elapsed() < Duration::from_secs(2) {
            return;
        }
        let bar: &ProgressBar = bar.get_or_init(|| {
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
    };
    let outcome =
        planner::serve::plan(resolver, job, places, site, &Watch { cancel: stopped(), progress: &progress });
    if let Some(bar) = bar.get() {
        bar.finish_and_clear();
    }
    outcome
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let mut job = args.job.job()?;
    job.objective = args.objective;
    job.options.mix = args.mix;
    job.options.top = usize::from(args.top);
    job.options.aggregated = args.only.as_deref() != Some("disagg");
    job.options.disaggregated = args.only.as_deref() != Some("agg");
    job.target = match (args.target_rate, args.target_concurrency) {
        (Some(rate), _) => Target::Rate(rate),
        (None, Some(users)) => Target::Concurrency(f64::from(users)),
        (None, None) => Target::Most,
    };
    let sized = job.target != Target::Most;
    let chips = args.chips.or(sized.then_some(MOST_CHIPS));
    let places: Vec<Place> =
        args.system.iter().map(|system| Place { system: system.clone(), chip: None, chips }).collect();
    let resolver = Resolver::new(args.catalog.load()?);
    let site = args.site.site(resolver.catalog())?;
    let start = Instant::now();
    let outcome = search(&resolver, &job, &places, &site).map_err(failure)?;
    eprintln!("searched in {:.2} s", start.elapsed().as_secs_f64());
    let Outcome { mut file, best: _, aggregated, disaggregated } = outcome;
    if !args.no_confirm {
        let start = Instant::now();
        let run = |planned: &Option<Planned>| {
            planned.as_ref().map(|one| planner::serve::confirm(one, &job)).transpose()
        };
        let (one, other) = (run(&aggregated)?, run(&disaggregated)?);
        let fill = |deployment: &mut Option<planner::plan_file::DeploymentFile>, run| {
            if let Some(deployment) = deployment {
                deployment.simulated = run;
            }
        };
        fill(&mut file.aggregated, one);
        fill(&mut file.disaggregated, other);
        let winner = if file.best.mode == "aggregated" { &file.aggregated } else { &file.disaggregated };
        file.best.simulated = winner.as_ref().and_then(|one| one.simulated.clone());
        eprintln!("simulated in {:.2} s", start.elapsed().as_secs_f64());
    }
    if let Some(path) = &args.html {
        write_file(path, &report::plan_html(&file))?;
    }
    if args.json { print_json(&report::plan_json(&file)) } else { print(&report::plan_text(&file)) }
}

/// A search without a result is an answer, not a mistake.
pub fn failure(error: PlanError) -> Failure {
    match error {
        PlanError::Nothing(reason) => Failure::No(reason),
        other => Failure::Input(other.to_string()),
    }
}
