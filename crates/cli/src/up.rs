//! `supernode up`, `supernode replay` and `supernode keys`.

use crate::common::{CatalogArgs, Failure, print, print_exactly};
use crate::simulate::DeploymentFlags;
use clap::Parser;
use live::clock::Speed;
use live::log::Reader;
use live::text::Style;
use live::tls::Files;
use live::{Server, Settings};
use std::fmt::Write as _;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use supernode::up::{self, Built, Description};
use supernode::{Answer, Facts, Session};
use units::Seconds;
use workload::Lengths;

/// File descriptors that are not connections.
const OTHER_FILES: usize = 256;

/// The cluster: what `replay` has to know to make the same decisions.
#[derive(clap::Args)]
struct ClusterFlags {
    /// Scenario file (TOML); DeepSeek-R1 on a CloudMatrix384 if neither it nor flags are given.
    #[arg(conflicts_with_all = ["PoolFlags", "InstanceFlags"])]
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

impl ClusterFlags {
    /// What is described; `text` is that of the scenario, if it is not to be read.
    fn description(&self, text: Option<&str>) -> Result<Description, Failure> {
        let (raw, path, text) = match (&self.scenario, text) {
            (Some(path), Some(text)) => {
                (scenario::parse(&path.display().to_string(), text)?, path.clone(), text.to_owned())
            }
            (Some(path), None) => {
                let (raw, text) = scenario::read(path)?;
                (raw, path.clone(), text)
            }
            (None, _) if self.deployment.is_given() => {
                (self.deployment.raw()?, PathBuf::new(), String::new())
            }
            (None, _) => {
                return Ok(Description { osl: self.osl, seed: self.seed, ..Description::usual()? });
            }
        };
        Ok(Description { raw, path, text, osl: self.osl, seed: self.seed })
    }

    fn build(&self, text: Option<&str>, jobs: Option<&str>) -> Result<(Built, Texts), Failure> {
        let description = self.description(text)?;
        let scenario = self.scenario.is_some().then(|| description.text.clone());
        let session = Session::open(&Facts {
            catalog: self.catalog.folder().map(Path::to_owned),
            set: self.catalog.sets().to_vec(),
            ..Facts::default()
        })?;
        let mut built = up::build(&session, description)?;
        let jobs = match (jobs, &self.jobs) {
            (Some(text), _) => Some(text.to_owned()),
            (None, Some(path)) => Some(::cluster::file::read_text(path)?),
            (None, None) => None,
        };
        if let Some(text) = &jobs {
            let path = self.jobs.as_deref().unwrap_or(Path::new("jobs"));
            let folder = path.parent().unwrap_or(Path::new(""));
            let file = path.display().to_string();
            built.cluster.jobs = Some(up::jobs(&session, &built.cluster, &file, text, folder)?);
        }
        Ok((built, Texts { scenario, jobs }))
    }
}

/// Runs `up`.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (Built { cluster, output, seed }, texts) = args.cluster.build(None, None)?;
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
    let server = up::start(cluster, settings)?;
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
        "--script",
        "--kv-replay",
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
    let (built, _) = logged.cluster.build(header.scenario.as_deref(), header.jobs.as_deref())?;
    let found = up::replay(reader, built.cluster)?;
    if args.json {
        crate::common::print_json(&found.document())?;
    } else {
        let torn = if found.torn { ", its last line torn" } else { "" };
        print(&format!("{}: {} inputs{torn}\n{}", args.log.display(), found.inputs, found.text()))?;
    }
    Ok(up::agrees(&found)?)
}

/// Runs `keys`.
pub fn run_keys(args: &KeysArgs) -> Result<(), Failure> {
    let (key, entry) = live::keys::make(args.tenant)?;
    let _ = writeln!(std::io::stderr(), "the key, which is kept nowhere: {key}");
    print_exactly(&entry)
}
