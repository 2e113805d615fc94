//! `supernode simulate`.

use crate::common::{CatalogArgs, Failure, SiteArgs, print, print_json};
use crate::interrupt::stopped;
use crate::page::{Page, PageArgs};
use crate::point::InstanceArgs;
use crate::progress::Progress;
use ::estimate::{KEYS, Mode, OperatingPoint, Sizes, refuse_unused};
use report::{
    Detail, Happenings, Outputs, Perfetto, RecordFormat, Records, Surroundings, simulate_document, vllm_json,
};
use scenario::raw::{Raw, RawDeployment, RawPool, RawWorkload};
use sim::Observer;
use std::io::Write;
use std::path::{Path, PathBuf};
use supernode::{Answer, RunOptions, Simulated, Simulation};
use units::{PerSecond, Seconds};
use workload::Lengths;

/// Runs traffic through a cluster, request by request, in virtual time.
///
/// The scenario file says everything; flags stand in for it in the simple case of one aggregated deployment.
#[derive(clap::Args)]
pub struct Args {
    /// Scenario file (TOML).
    #[arg(conflicts_with_all = ["PoolFlags", "InstanceFlags"])]
    scenario: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    page: PageArgs,
    /// Folder for results: summary.json, requests.jsonl (or .csv, .parquet), vllm.json, report.html.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Per-request records in --out: jsonl, csv or parquet.
    #[arg(long, value_name = "FORMAT", default_value = "jsonl", requires = "out", value_parser = ["jsonl", "csv", "parquet"])]
    records: String,
    /// Timeline for ui.perfetto.dev.
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,
    /// One request in so many is drawn in the timeline.
    #[arg(long, value_name = "N", default_value_t = 10, requires = "perfetto",
        value_parser = clap::value_parser!(u64).range(1..))]
    perfetto_sample: u64,
    /// Step through every iteration instead of leaping.
    #[arg(long)]
    exact: bool,
    /// Hold the control plane to its laws after every event (always on in debug builds).
    #[arg(long)]
    check: bool,
    /// Seed of everything random, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Stop at this time, for example "1 h".
    #[arg(long)]
    until: Option<Seconds>,
    #[command(flatten)]
    deployment: DeploymentFlags,
    #[command(flatten)]
    traffic: TrafficFlags,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    site: SiteArgs,
}

/// One deployment: one aggregated pool, or one of prefill and one of decode instances (`--mode disagg`).
#[derive(clap::Args)]
pub struct DeploymentFlags {
    #[command(flatten)]
    keys: InstanceArgs,
    #[command(flatten)]
    control: PoolFlags,
}

/// How instances are driven. Apart from the keys of instances: what conflicts with a group does not see groups within it.
#[derive(clap::Args)]
struct PoolFlags {
    /// Aggregated instances behind one router.
    #[arg(long, value_name = "N")]
    instances: Option<u32>,
    /// round-robin, least-requests, least-tokens, power-of-two, prefix-aware or session-sticky.
    #[arg(long)]
    router: Option<String>,
    /// mixed, prefill-first, decode-first or slo-aware.
    #[arg(long)]
    batching: Option<String>,
    /// fcfs, priority or fair-share.
    #[arg(long)]
    order: Option<String>,
    /// recompute or swap.
    #[arg(long)]
    preemption: Option<String>,
    /// Cache prefixes on the device.
    #[arg(long)]
    prefix_cache: bool,
}

/// The traffic.
#[derive(clap::Args)]
struct TrafficFlags {
    /// Requests to send (of a trace: at most).
    #[arg(long)]
    requests: Option<u64>,
    /// poisson, gamma, constant, bursts, diurnal or closed.
    #[arg(long)]
    arrival: Option<String>,
    /// Requests per second.
    #[arg(long)]
    rate: Option<f64>,
    /// Shape of gamma arrivals: 1 is Poisson, less is burstier.
    #[arg(long)]
    burstiness: Option<f64>,
    /// Users of a closed loop.
    #[arg(long, visible_alias = "users")]
    concurrency: Option<u32>,
    /// Requests of a closed loop that are not measured.
    #[arg(long)]
    warm_up: Option<u64>,
    /// Prompt lengths: tokens, a range, or lognormal(median, sigma, max).
    #[arg(long)]
    isl: Option<Lengths>,
    /// Output lengths.
    #[arg(long)]
    osl: Option<Lengths>,
    /// Trace file; - is standard input.
    #[arg(long)]
    trace: Option<String>,
    /// Its format, if it cannot be told.
    #[arg(long)]
    trace_format: Option<String>,
    /// Unit of its times where they are plain numbers: s, ms, us or ns.
    #[arg(long)]
    time_unit: Option<String>,
    /// Tokens per hash of its prefixes.
    #[arg(long)]
    block_size: Option<u32>,
    /// Columns of a table of no known format: `arrival=NAME,input=NAME,output=NAME[,session=NAME][,priority=NAME]`.
    #[arg(long, value_name = "NAMES")]
    columns: Option<String>,
    /// How much denser than recorded the trace is played.
    #[arg(long)]
    rate_scale: Option<f64>,
    /// How often the trace is played.
    #[arg(long)]
    repeat: Option<u32>,
    /// Longest time to first token that counts as good, for example "2 s".
    #[arg(long)]
    slo_ttft: Option<Seconds>,
    /// Longest time per output token that counts as good.
    #[arg(long)]
    slo_tpot: Option<Seconds>,
}

impl DeploymentFlags {
    /// Whether anything is said of a deployment.
    pub fn is_given(&self) -> bool {
        let pool = self.pool(&Sizes::default(), None);
        let said = [&pool.router, &pool.batching, &pool.order, &pool.preemption];
        let of_pool = said.iter().any(|text| text.is_some())
            || self.control.prefix_cache
            || self.control.instances.is_some();
        of_pool || KEYS.iter().any(|key| key.said(&self.keys.point).is_some())
    }

    /// The deployment they describe.
    pub fn raw(&self) -> Result<Raw, Failure> {
        let mut point = self.keys.point.clone();
        for (flag, name) in [("system", &point.system), ("model", &point.model)] {
            if name.is_empty() {
                return Err(Failure::Input(format!("--{flag} is needed where no scenario file is given")));
            }
        }
        refuse_unused(&point).map_err(supernode::Error::from)?;
        let pools = match point.mode {
            Mode::Agg => vec![self.pool(&Sizes::default(), self.control.instances)],
            Mode::Disagg if self.control.instances.is_some() => {
                let hint = "--instances has no effect in mode disagg; give --prefill-instances and --decode-instances";
                return Err(Failure::Input(hint.to_owned()));
            }
            Mode::Disagg => {
                let side = |role: &str, sizes: &Sizes| RawPool {
                    role: Some(role.to_owned()),
                    ..self.pool(sizes, sizes.instances)
                };
                vec![side("prefill", &point.prefill), side("decode", &point.decode)]
            }
            Mode::Prefill | Mode::Decode => {
                let name = point.mode.name();
                let hint =
                    format!("--mode {name} is a single step, which `estimate` prices; use agg or disagg");
                return Err(Failure::Input(hint));
            }
        };
        let name = Some(format!("{} on {}", point.model, point.system));
        (point.prefill, point.decode, point.mode) = (Sizes::default(), Sizes::default(), Mode::Agg);
        let deployment = RawDeployment { point, pool: pools, ..RawDeployment::default() };
        Ok(Raw { name, deployment: vec![deployment], ..Raw::default() })
    }

    fn pool(&self, sizes: &Sizes, instances: Option<u32>) -> RawPool {
        RawPool {
            point: OperatingPoint { sizes: *sizes, ..OperatingPoint::default() },
            instances,
            router: self.control.router.clone(),
            batching: self.control.batching.clone(),
            order: self.control.order.clone(),
            preemption: self.control.preemption.clone(),
            prefix_cache: self.control.prefix_cache.then_some(true),
            ..RawPool::default()
        }
    }
}

impl Args {
    /// Flags that are given replace what the scenario says of its traffic.
    fn overlay(&self, raw: &mut Raw) {
        let flags = &self.traffic;
        let workload: &mut RawWorkload = &mut raw.workload;
        flags.supersede(workload);
        replace(&mut workload.requests, flags.requests);
        replace(&mut workload.arrival, flags.arrival.clone());
        replace(&mut workload.rate, flags.rate.map(PerSecond::new));
        replace(&mut workload.burstiness, flags.burstiness);
        replace(&mut workload.users, flags.concurrency);
        replace(&mut workload.warm_up, flags.warm_up);
        replace(&mut workload.isl, flags.isl);
        replace(&mut workload.osl, flags.osl);
        replace(&mut workload.trace_format, flags.trace_format.clone());
        replace(&mut workload.time_unit, flags.time_unit.clone());
        replace(&mut workload.block_size, flags.block_size);
        replace(&mut workload.columns, flags.columns.clone());
        replace(&mut workload.rate_scale, flags.rate_scale);
        replace(&mut workload.repeat, flags.repeat);
        replace(&mut raw.slo.ttft, flags.slo_ttft);
        replace(&mut raw.slo.tpot, flags.slo_tpot);
        if let Some(trace) = &flags.trace {
            // A path on the command line is relative to where the user is, not to the scenario.
            let absolute = std::path::absolute(trace).map(|path| path.display().to_string());
            raw.workload.trace = if trace == "-" { Some(trace.clone()) } else { absolute.ok() };
        }
    }
}

impl TrafficFlags {
    /// Takes away what a scenario says of traffic of another kind than the one that is asked for.
    fn supersede(&self, workload: &mut RawWorkload) {
        if self.trace.is_some() && workload.trace.is_none() {
            *workload = RawWorkload {
                requests: workload.requests,
                split: workload.split.take(),
                prefix: workload.prefix,
                deadline: workload.deadline,
                patience: workload.patience,
                ..RawWorkload::default()
            };
        }
        let other = self.arrival.is_some() && self.arrival != workload.arrival;
        if other {
            (workload.burstiness, workload.burst) = (None, None);
            (workload.swing, workload.period) = (None, None);
            (workload.users, workload.warm_up) = (None, None);
            if self.arrival.as_deref() == Some("closed") {
                workload.rate = None;
            }
        }
    }
}

fn replace<T>(slot: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *slot = given;
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let page = args.page.open()?;
    let session = args.catalog.session(&args.site)?;
    let (mut raw, path, text) = match &args.scenario {
        Some(path) => {
            let (raw, text) = scenario::read(path).map_err(supernode::Error::from)?;
            (raw, path.clone(), text)
        }
        None => (args.deployment.raw()?, PathBuf::new(), String::new()),
    };
    args.overlay(&mut raw);
    let checks = args.check || cfg!(debug_assertions);
    let options = RunOptions { exact: args.exact, check: checks, seed: args.seed, until: args.until };
    let simulation = Simulation::new(&session, raw, &path, &text, &options)?.stopped_by(stopped());
    let setting = page.setting(session.catalog(), Some(session.site()), Some(&args.site));
    let watch = Happenings::new(simulation.resolved.options.hardware.clone());
    match (&args.out, &args.perfetto) {
        (None, None) => {
            let (simulated, watch) = simulate(simulation, watch)?;
            deliver(args, page, &simulated, &watch, &setting)
        }
        (out, perfetto) => {
            let ready = Ready { simulation, watch, page, setting };
            with_files(args, ready, out.as_deref(), perfetto.as_deref())
        }
    }
}

/// A run that may begin, and what is written of it.
struct Ready<'a> {
    simulation: Simulation,
    watch: Happenings,
    page: Page,
    setting: Surroundings<'a>,
}

/// Prints the answer and writes the report that is asked for.
fn deliver(
    args: &Args,
    page: Page,
    simulated: &Simulated,
    watch: &Happenings,
    setting: &Surroundings<'_>,
) -> Result<(), Failure> {
    let document = || simulate_document(&simulated.outcome, &simulated.costs, watch, setting);
    let show = || if args.json { print_json(&simulated.document()) } else { print(&simulated.text()) };
    page.deliver(document, args.json, show)?;
    Ok(simulated.completed()?)
}

fn simulate<O: Observer>(simulation: Simulation, observer: O) -> Result<(Simulated, O), Failure> {
    let progress = Progress::new(simulation.resolved.requests);
    let (simulated, (observer, progress)) = simulation.run((observer, progress))?;
    progress.finish();
    for note in &simulated.outcome.metrics.notes {
        let _ = writeln!(std::io::stderr(), "note: {note}");
    }
    Ok((simulated, observer))
}

/// Files of `--out`, and the timeline; all are of this run or of the one before.
fn with_files(
    args: &Args,
    ready: Ready<'_>,
    out: Option<&Path>,
    perfetto: Option<&Path>,
) -> Result<(), Failure> {
    let Ready { simulation, watch, page, setting } = ready;
    let failed = |path: &Path, error: std::io::Error| {
        Failure::Input(format!("{}: cannot be written ({error}); choose another place", path.display()))
    };
    let format = match args.records.as_str() {
        "csv" => RecordFormat::Csv,
        "parquet" => RecordFormat::Parquet,
        _ => RecordFormat::Jsonl,
    };
    let mut outputs = Outputs::new();
    out.map(|folder| outputs.folder(folder)).transpose()?;
    let records_path = out.map(|folder| folder.join(format!("requests.{}", args.records)));
    let mut open = |path: &Path| outputs.stream(path);
    let records = records_path.as_deref().map(&mut open).transpose()?;
    let timeline = perfetto.map(&mut open).transpose()?;
    let mut summaries = Vec::new();
    for name in out.map_or(&[][..], |_| &["summary.json", "vllm.json", "report.html"]) {
        summaries.extend(out.map(|folder| outputs.open(&folder.join(name))).transpose()?);
    }
    let begin = |file| Records::new(file, format);
    let records = records.map(begin).transpose();
    let records = records.map_err(|error| failed(records_path.as_deref().unwrap_or(Path::new("")), error))?;
    let timeline = timeline.map(|file| Perfetto::new(file, args.perfetto_sample));
    let observer = ((Maybe(records), Maybe(timeline)), (Detail::default(), watch));
    let (simulated, ((records, timeline), (detail, watch))) = simulate(simulation, observer)?;
    let Simulated { outcome, costs } = &simulated;
    let write = || -> Result<(), Failure> {
        if let (Some(records), Some(path)) = (records.0, &records_path) {
            records.finish().map_err(|error| failed(path, error))?;
        }
        if let (Some(timeline), Some(path)) = (timeline.0, perfetto) {
            timeline.finish().map_err(|error| failed(path, error))?;
        }
        if let [summary, vllm, report] = summaries[..] {
            outputs.write(summary, &simulated.json())?;
            outputs.write(vllm, &format!("{}\n", vllm_json(outcome, &detail)))?;
            outputs.write(report, &simulate_document(outcome, costs, &watch, &setting).html())?;
        }
        Ok(outputs.commit()?)
    };
    // What has been computed is shown, whether or not it can be written.
    let written = write();
    let answer = deliver(args, page, &simulated, &watch, &setting);
    written.and(answer)
}

/// An observer that may not be wanted.
struct Maybe<O>(Option<O>);

impl<O: Observer> Observer for Maybe<O> {
    fn request_ended(&mut self, record: &sim::Record) {
        if let Some(observer) = &mut self.0 {
            observer.request_ended(record);
        }
    }

    fn run_ended(&mut self, record: &sim::RunRecord) {
        if let Some(observer) = &mut self.0 {
            observer.run_ended(record);
        }
    }

    fn transfer_ended(&mut self, record: &sim::TransferRecord) {
        if let Some(observer) = &mut self.0 {
            observer.transfer_ended(record);
        }
    }

    fn instance_changed(
        &mut self,
        instance: serving::InstanceId,
        pool: u32,
        state: serving::InstanceState,
        at: Seconds,
    ) {
        if let Some(observer) = &mut self.0 {
            observer.instance_changed(instance, pool, state, at);
        }
    }

    fn wants_kv(&self, now: Seconds) -> bool {
        self.0.as_ref().is_some_and(|observer| observer.wants_kv(now))
    }
}
