//! `supernode up`, `supernode replay` and `supernode keys`.

use crate::common::{CatalogArgs, Failure, print};
use crate::simulate::DeploymentFlags;
use ::cluster::file::Place;
use ::estimate::Resolver;
use ::estimate::economics::{Ownership, Site};
use clap::Parser;
use hardware::Catalog;
use live::clock::Speed;
use live::core::{ReplayError, Replayed};
use live::jobs::Jobs;
use live::log::Reader;
use live::text::Style;
use live::tls::Files;
use live::{Cluster, Server, Settings, UpError};
use scenario::raw::{Raw, RawWorkload};
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use units::{PerSecond, Seconds};
use workload::Lengths;

/// What is brought up if nothing is named: DeepSeek-R1 on 256 chips of a CloudMatrix384.
const USUAL: &str = include_str!("../../../examples/scenarios/cloudmatrix384-deepseek-r1.toml");

/// Lengths of prompts to size memory by, where nothing is said of them.
const PROMPTS: Lengths = Lengths::Fixed(1024);

/// Lengths of answers where nothing is said of them.
const ANSWERS: Lengths = Lengths::LogNormal { median: 200.0, sigma: 0.7, max: 4096 };

/// File descriptors that are not connections.
const OTHER_FILES: usize = 256;

/// The cluster: what `replay` has to know to make the same decisions.
#[derive(clap::Args)]
struct ClusterFlags {
    /// Scenario file (TOML); DeepSeek-R1 on a CloudMatrix384 if neither it nor flags are given.
    #[arg(conflicts_with_all = ["system", "model"])]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    deployment: DeploymentFlags,
    /// Lengths of answers that end by themselves, instead of the scenario's.
    #[arg(long)]
    osl: Option<Lengths>,
    /// Seed of everything random, instead of the scenario's.
    #[arg(long)]
    seed: Option<u64>,
    /// Cluster file whose tenants, policy and jobs share the chips that no instance stands on; without it jobs are taken by
    /// the `easy` policy on the scenario's first system.
    #[arg(long, value_name = "FILE")]
    jobs: Option<PathBuf>,
    #[command(flatten)]
    catalog: CatalogArgs,
}

/// Brings a cluster up behind an OpenAI-compatible server: it answers when, and as, the described cluster would.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cluster: ClusterFlags,
    /// Address to listen on; one that others reach needs --keys.
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Main port.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Port of the administrator and the console, on 127.0.0.1.
    #[arg(long, default_value_t = 8001)]
    admin_port: u16,
    /// Token of the administrator, instead of a random one; better given in SUPERNODE_ADMIN_TOKEN.
    #[arg(long)]
    admin_token: Option<String>,
    /// Port of the chips' metrics (DCGM and npu-exporter names).
    #[arg(long, default_value_t = 9400)]
    metrics_port: u16,
    /// Each instance that takes prompts has a port of its own from here on.
    #[arg(long, value_name = "BASE")]
    per_instance_ports: Option<u16>,
    /// KV events of each instance that takes prompts are published (ZeroMQ, msgpack) from here on.
    #[arg(long, value_name = "BASE")]
    kv_events: Option<u16>,
    /// What was published on --kv-events can be asked for again (ZeroMQ ROUTER) from here on.
    #[arg(long, value_name = "BASE", requires = "kv_events")]
    kv_replay: Option<u16>,
    /// How much faster than the wall clock the cluster is.
    #[arg(long, default_value = "1")]
    speed: Speed,
    /// What answers are made of: lorem or echo.
    #[arg(long, default_value = "lorem", value_parser = ["lorem", "echo"])]
    text: String,
    /// Commands that come by themselves, one JSON document per line: {"at": "10 s", "kill": {"chip": 3}}.
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Everything that comes in is written here, for `supernode replay`.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// SQLite file with a row per request, written before its client is told of the end.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Keys of tenants and their limits (TOML); see `supernode keys`.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// Certificate (PEM) with which the main port and those of instances speak TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How long requests in flight may take to end once the server is told to go down.
    #[arg(long, default_value = "30 s")]
    drain: Seconds,
}

/// Makes the decisions of an input log again in virtual time and holds them to the hashes in it.
#[derive(clap::Args)]
pub struct ReplayArgs {
    /// The log that `supernode up --log` has written; one that a crash has cut short will do.
    log: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a key for a tenant: the key itself for its client, and an entry for the file of keys.
#[derive(clap::Args)]
pub struct KeysArgs {
    /// The tenant's number.
    #[arg(long)]
    tenant: u32,
}

/// The cluster's flags alone, as they are in a log.
#[derive(Parser)]
struct Logged {
    #[command(flatten)]
    cluster: ClusterFlags,
}

/// The texts of the files that describe a cluster, for its log.
struct Texts {
    scenario: Option<String>,
    jobs: Option<String>,
}

type Built = (Cluster<Arc<cost::step::StepModel>>, Lengths, u64);

impl ClusterFlags {
    /// What is described, and the text of its file.
    fn raw(&self, text: Option<&str>) -> Result<(Raw, PathBuf, String), Failure> {
        let named = self.deployment.is_given();
        let (mut raw, path, text) = match (&self.scenario, text) {
            (Some(path), Some(text)) => {
                (scenario::parse(&path.display().to_string(), text)?, path.clone(), text.to_owned())
            }
            (Some(path), None) => {
                let (raw, text) = scenario::read(path)?;
                (raw, path.clone(), text)
            }
            (None, _) if named => (self.deployment.raw()?, PathBuf::new(), String::new()),
            (None, _) => {
                (scenario::parse("cloudmatrix384-deepseek-r1.toml", USUAL)?, PathBuf::new(), USUAL.to_owned())
            }
        };
        raw.seed = self.seed.unwrap_or(raw.seed);
        Ok((raw, path, text))
    }

    /// The workload manager on one of the scenario's systems; `text` is that of the log, if it comes from one.
    fn manager(
        &self,
        catalog: &Catalog,
        systems: &[String],
        text: Option<&str>,
    ) -> Result<(Option<Jobs>, Option<String>), Failure> {
        let file = self.jobs.as_deref().map_or("jobs".to_owned(), |path| path.display().to_string());
        let text = match (text, &self.jobs) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some(path)) => Some(::cluster::file::read_text(path)?),
            (None, None) => None,
        };
        let mut raw = ::cluster::file::parse(&file, text.as_deref().unwrap_or(""))?;
        let place = Place { file, text: text.clone().unwrap_or_else(|| " ".to_owned()) };
        let first = systems.first().cloned();
        let system = raw.cluster.system.clone().or(first).unwrap_or_default();
        let Some(ground) = systems.iter().position(|known| *known == system) else {
            let problem = format!("jobs share the chips of the scenario, which has {}", systems.join(", "));
            return Err(place.wrong("cluster", 0, "system", problem).into());
        };
        if text.is_none() && catalog.system(&system).is_err() {
            return Ok((None, None));
        }
        let random = raw.cluster.failures || raw.cluster.failure_rate.is_some();
        if random || raw.cluster.level.iter().any(|level| level.failure_rate.is_some()) {
            let key = if raw.cluster.failures { "failures" } else { "failure_rate" };
            let problem =
                "hardware fails as the scenario's `[failures]` and the administrator say; leave it out";
            return Err(place.wrong("cluster", 0, key, problem).into());
        }
        raw.cluster.system = Some(system);
        let folder = self.jobs.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let (manager, intake) = ::jobs::Manager::open(catalog, raw, &place, folder)?;
        Ok((Some(Jobs::new(manager, intake, ground as u32)), text))
    }

    fn build(&self, text: Option<&str>, jobs: Option<&str>) -> Result<(Built, Texts), Failure> {
        let (mut raw, path, text) = self.raw(text)?;
        let output = self.osl.or(raw.workload.osl).unwrap_or(ANSWERS);
        // Requests come from clients: of the scenario's traffic, lengths alone are of use.
        raw.workload = RawWorkload {
            requests: Some(1),
            rate: Some(PerSecond::new(1.0)),
            isl: raw.workload.isl.or(Some(PROMPTS)),
            osl: raw.workload.osl.or(Some(output)),
            ..RawWorkload::default()
        };
        if let Some(failures) = &mut raw.failures {
            failures.horizon = failures.horizon.or(raw.until);
        }
        for pool in raw.deployment.iter_mut().flat_map(|deployment| &mut deployment.pool) {
            pool.prefix_cache = Some(pool.prefix_cache.unwrap_or(true));
        }
        raw.until = None;
        let resolver = Resolver::new(self.catalog.load()?);
        let resolved = scenario::resolve(&raw, &path, &text, &resolver).map_err(|error| {
            if error.is_refusal() {
                Failure::No(error.to_string())
            } else {
                Failure::Input(error.to_string())
            }
        })?;
        let site = Site::new(&resolver.catalog().economics()?.prices, resolver.catalog().basis(None)?);
        let costs = resolved.costs(site);
        let hourly = |paid: &Option<Ownership>| paid.as_ref().map(|paid| paid.per_hour(&site));
        let prices: Vec<_> = costs.pools.iter().map(hourly).collect();
        // A rent holds its electricity.
        let per_joule = match site.basis {
            hardware::Basis::Buy => site.electricity.get() / 3.6e6 * site.pue,
            hardware::Basis::Rent => 0.0,
        };
        let seed = resolved.seed;
        let mut systems: Vec<String> = Vec::new();
        for pool in &resolved.pools {
            let id = &pool.model.deployment().system.id;
            if !systems.contains(id) {
                systems.push(id.clone());
            }
        }
        let (manager, jobs) = self.manager(resolver.catalog(), &systems, jobs)?;
        let mut cluster = crate::live_cluster::cluster(resolved, &prices, per_joule)?;
        cluster.jobs = manager;
        let scenario = self.scenario.is_some().then_some(text);
        Ok(((cluster, output, seed), Texts { scenario, jobs }))
    }
}

/// Runs `up`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let ((cluster, output, seed), texts) = args.cluster.build(None, None)?;
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let connections = (files as usize).saturating_sub(OTHER_FILES).clamp(64, 1 << 20);
    let limits = live::server::Limits { connections, ..Default::default() };
    let token = args.admin_token.clone().or_else(|| std::env::var("SUPERNODE_ADMIN_TOKEN").ok());
    let settings = Settings {
        host: args.host,
        port: args.port,
        admin_port: Some(args.admin_port),
        metrics_port: Some(args.metrics_port),
        instance_base: args.per_instance_ports,
        kv_base: args.kv_events,
        kv_replay: args.kv_replay,
        speed: args.speed,
        log: args.log.clone(),
        ledger: args.ledger.clone(),
        keys: args.keys.clone(),
        tls: args
            .tls_cert
            .clone()
            .zip(args.tls_key.clone())
            .map(|(certificate, key)| Files { certificate, key }),
        token,
        output,
        style: if args.text == "echo" { Style::Echo } else { Style::Lorem },
        seed,
        arguments: cluster_arguments(std::env::args().collect()),
        scenario: texts.scenario,
        jobs: texts.jobs,
        script: args.script.clone(),
        drain: std::time::Duration::from_secs_f64(args.drain.get().clamp(0.0, 86_400.0)),
        limits,
    };
    let chips = cluster.chips;
    let server = Server::start(cluster, settings).map_err(|error| match error {
        UpError::Sim(_) | UpError::Core(_) => Failure::No(error.to_string()),
        other => Failure::Input(other.to_string()),
    })?;
    let _ = std::io::stderr().write_all(welcome(args, &server, chips, limits.connections).as_bytes());
    server.wait();
    let _ = writeln!(std::io::stderr(), "going down; requests in flight may end");
    match server.stop() {
        Ok(hash) => {
            let _ = writeln!(std::io::stderr(), "decisions {hash}");
            Ok(())
        }
        Err(why) => Err(Failure::No(format!("the control plane had stopped: {why}"))),
    }
}

fn welcome(args: &Args, server: &Server, chips: u32, connections: usize) -> String {
    let (at, mut text) = (&server.addresses, String::new());
    let models: Vec<&str> = server.app.models.iter().map(|model| model.name.as_str()).collect();
    let _ = writeln!(text, "{chips} chips serve {} at {} times their speed", models.join(", "), args.speed);
    let scheme = if args.tls_cert.is_some() { "https" } else { "http" };
    let _ = writeln!(text, "OpenAI API  {scheme}://{}/v1", at.main);
    if let Some(admin) = at.admin {
        let _ = writeln!(text, "console     http://{admin}/#{}", server.token);
    }
    if let Some(metrics) = at.metrics {
        let _ = writeln!(text, "metrics     http://{}/metrics, chips http://{metrics}/metrics", at.main);
    }
    if let (Some(first), Some(last)) = (at.instances.first(), at.instances.last()) {
        let _ = writeln!(text, "instances   http://{} to http://{}", first.1, last.1);
    }
    if let (Some(first), Some(last)) = (at.kv.first(), at.kv.last()) {
        let _ = writeln!(text, "KV events   tcp://{} to tcp://{}", first.1, last.1);
    }
    if let (Some(first), Some(last)) = (at.kv_replay.first(), at.kv_replay.last()) {
        let _ = writeln!(text, "KV replay   tcp://{} to tcp://{}", first.1, last.1);
    }
    let _ = writeln!(text, "connections {connections} at most");
    text
}

/// The arguments that describe the cluster: all but those of the server itself.
fn cluster_arguments(all: Vec<String>) -> Vec<String> {
    const OWN: [&str; 16] = [
        "--kv-replay",
        "--script",
        "--host",
        "--port",
        "--admin-port",
        "--admin-token",
        "--metrics-port",
        "--per-instance-ports",
        "--kv-events",
        "--speed",
        "--text",
        "--log",
        "--ledger",
        "--keys",
        "--tls-cert",
        "--tls-key",
    ];
    let mut kept = Vec::new();
    let mut rest = all.into_iter().skip(1).skip_while(|word| word != "up").skip(1);
    while let Some(word) = rest.next() {
        let name = word.split('=').next().unwrap_or("");
        if OWN.contains(&name) || name == "--drain" {
            if !word.contains('=') {
                rest.next();
            }
        } else {
            kept.push(word);
        }
    }
    kept
}

/// Runs `replay`.
pub fn run_replay(args: &ReplayArgs) -> Result<(), Failure> {
    let reader = Reader::open(&args.log)?;
    let words = std::iter::once("up".to_owned()).chain(reader.header.arguments.iter().cloned());
    let logged = Logged::try_parse_from(words).map_err(|error| {
        Failure::Input(format!("{}:1: its arguments are not of this program: {error}", args.log.display()))
    })?;
    let header = &reader.header;
    let ((cluster, ..), _) = logged.cluster.build(header.scenario.as_deref(), header.jobs.as_deref())?;
    let meters = cluster.meters();
    let found =
        live::core::replay(reader, cluster.world, cluster.jobs, meters).map_err(|error| match error {
            ReplayError::Log(_) => Failure::Input(error.to_string()),
            ReplayError::Sim(_) => Failure::No(error.to_string()),
        })?;
    if args.json {
        crate::common::print_json(&replay_json(&found))?;
    } else {
        print(&replay_text(&args.log, &found))?;
    }
    match &found.differs {
        None => Ok(()),
        Some((line, was, is)) => Err(Failure::No(format!(
            "the decisions differ by entry {line} of the log: it says {was}, here it is {is}; was it written by another version?"
        ))),
    }
}

fn replay_json(found: &Replayed) -> serde_json::Value {
    let quantile = |histogram: &Option<live::meters::Histogram>, q| {
        histogram.as_ref().and_then(|histogram| histogram.quantile(q))
    };
    let meters = &found.meters;
    serde_json::json!({
        "schema": "supernode.replay/1", "hash": found.hash, "events": found.events, "inputs": found.inputs,
        "checks": found.checks, "agrees": found.differs.is_none(), "torn": found.torn, "end_s": found.end.get(),
        "completed": meters.completed, "cancelled": meters.cancelled, "refused": meters.refused.iter().sum::<u64>(),
        "prompt_tokens": meters.tokens.0, "output_tokens": meters.tokens.1,
        "ttft_s": {"p50": quantile(&meters.ttft, 0.5), "p99": quantile(&meters.ttft, 0.99)},
        "tpot_s": {"p50": quantile(&meters.tpot, 0.5), "p99": quantile(&meters.tpot, 0.99)},
        "energy_j": meters.energy_at(found.end).get(), "jobs": found.jobs,
    })
}

fn replay_text(log: &Path, found: &Replayed) -> String {
    let meters = &found.meters;
    let quantile = |histogram: &Option<live::meters::Histogram>, q| {
        let value = histogram.as_ref().and_then(|histogram| histogram.quantile(q));
        value.map_or("-".to_owned(), |value| Seconds::new(value).to_string())
    };
    let mut text = String::new();
    let torn = if found.torn { ", its last line torn" } else { "" };
    let _ = writeln!(text, "{}: {} inputs{torn}", log.display(), found.inputs);
    let _ = writeln!(
        text,
        "decisions  {} after {} events; {} checks of the log hold",
        found.hash, found.events, found.checks
    );
    let refused: u64 = meters.refused.iter().sum();
    let _ = writeln!(
        text,
        "requests   {} completed, {refused} refused, {} cancelled",
        meters.completed, meters.cancelled
    );
    let _ = writeln!(text, "tokens     {} of prompts, {} of answers", meters.tokens.0, meters.tokens.1);
    for (name, histogram) in [("TTFT", &meters.ttft), ("TPOT", &meters.tpot)] {
        let _ = writeln!(
            text,
            "{name}       p50 {}, p99 {} (from buckets)",
            quantile(histogram, 0.5),
            quantile(histogram, 0.99)
        );
    }
    if let Some(jobs) = &found.jobs {
        let _ = writeln!(
            text,
            "jobs       {} over, {} running, {} waiting",
            jobs.over, jobs.running, jobs.waiting
        );
    }
    let _ = writeln!(text, "energy     {} of the chips over {}", meters.energy_at(found.end), found.end);
    text
}

/// Runs `keys`.
pub fn run_keys(args: &KeysArgs) -> Result<(), Failure> {
    let (key, entry) = live::keys::make(args.tenant)?;
    let _ = writeln!(std::io::stderr(), "the key, which is kept nowhere: {key}");
    print(&entry)
}
