//! Clusters that come up: what is described, ready to be served, and its input log made again.

mod jobs;
mod world;

pub use jobs::jobs;
pub use live::core::Replayed;
pub use live::{Cluster, Server, Settings};

use crate::Answer;
use crate::error::Error;
use crate::session::Session;
use cost::step::StepModel;
use estimate::economics::Ownership;
use live::UpError;
use live::core::ReplayError;
use live::log::Reader;
use scenario::raw::{Raw, RawWorkload};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use units::{PerSecond, Seconds};
use workload::Lengths;

/// What is brought up if nothing is named: DeepSeek-R1 on 256 chips of a CloudMatrix384.
pub const USUAL: &str = include_str!("../../../examples/scenarios/cloudmatrix384-deepseek-r1.toml");

/// Name of what is brought up if nothing is named.
pub const USUAL_NAME: &str = "cloudmatrix384-deepseek-r1.toml";

/// Lengths of prompts to size memory by, where nothing is said of them.
const PROMPTS: Lengths = Lengths::Fixed(1024);

/// Lengths of answers where nothing is said of them.
const ANSWERS: Lengths = Lengths::LogNormal { median: 200.0, sigma: 0.7, max: 4096 };

/// What is to come up.
pub struct Description {
    /// The scenario; of its traffic, lengths alone are of use: requests come from clients.
    pub raw: Raw,
    /// What messages call it, and what its paths are relative to.
    pub path: PathBuf,
    /// Its text, empty if it has none.
    pub text: String,
    /// Lengths of answers that end by themselves, instead of the scenario's.
    pub osl: Option<Lengths>,
    /// Seed of everything random, instead of the scenario's.
    pub seed: Option<u64>,
}

impl Description {
    /// What is brought up if nothing is named.
    ///
    /// # Errors
    /// None in practice: the scenario is part of the program.
    pub fn usual() -> Result<Self, Error> {
        let raw = scenario::parse(USUAL_NAME, USUAL)?;
        Ok(Self { raw, path: PathBuf::new(), text: USUAL.to_owned(), osl: None, seed: None })
    }
}

/// A cluster that can come up.
pub struct Built {
    /// The cluster.
    pub cluster: Cluster<Arc<StepModel>>,
    /// Lengths of answers that end by themselves.
    pub output: Lengths,
    /// Seed of everything random.
    pub seed: u64,
}

/// Builds what is described.
///
/// # Errors
/// A scenario that says what it cannot say, a model that does not fit.
pub fn build(session: &Session, description: Description) -> Result<Built, Error> {
    let Description { mut raw, path, text, osl, seed } = description;
    raw.seed = seed.unwrap_or(raw.seed);
    let output = osl.or(raw.workload.osl).unwrap_or(ANSWERS);
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
    let resolved = scenario::resolve(&raw, &path, &text, session.resolver())?;
    let site = *session.site();
    let costs = resolved.costs(site);
    let hourly = |paid: &Option<Ownership>| paid.as_ref().map(|paid| paid.per_hour(&site));
    let prices: Vec<_> = costs.pools.iter().map(hourly).collect();
    // A rent holds its electricity.
    let per_joule = match site.basis {
        hardware::Basis::Buy => site.electricity.get() / 3.6e6 * site.pue,
        hardware::Basis::Rent => 0.0,
    };
    let seed = resolved.seed;
    let mut cluster = world::cluster(resolved, &prices, per_joule).map_err(Error::input)?;
    cluster.jobs = jobs::usual(session, &cluster);
    Ok(Built { cluster, output, seed })
}

/// Brings a cluster up.
///
/// # Errors
/// A port, a file or a key that cannot be used; a world that breaks at its first events.
pub fn start(cluster: Cluster<Arc<StepModel>>, settings: Settings) -> Result<Server, Error> {
    Server::start(cluster, settings).map_err(|error| match error {
        UpError::Sim(_) | UpError::Core(_) => Error::no(error),
        other => Error::input(other),
    })
}

/// Makes the decisions of an input log again in virtual time, and holds them to the hashes in it.
///
/// # Errors
/// A log that cannot be read, or whose entries the cluster cannot take in.
pub fn replay(reader: Reader, cluster: Cluster<Arc<StepModel>>) -> Result<Replayed, Error> {
    let meters = cluster.meters();
    live::core::replay(reader, cluster.world, cluster.jobs, meters).map_err(|error| match error {
        ReplayError::Log(_) => Error::input(error),
        ReplayError::Sim(_) => Error::no(error),
    })
}

/// Whether what was replayed is what the log says.
///
/// # Errors
/// Where the decisions differ.
pub fn agrees(found: &Replayed) -> Result<(), Error> {
    match &found.differs {
        None => Ok(()),
        Some((line, was, is)) => Err(Error::no(format!(
            "the decisions differ by entry {line} of the log: it says {was}, here it is {is}; was it written by another version?"
        ))),
    }
}

impl Answer for Replayed {
    fn document(&self) -> Value {
        let quantile = |histogram: &Option<live::meters::Histogram>, q| {
            histogram.as_ref().and_then(|histogram| histogram.quantile(q))
        };
        let meters = &self.meters;
        json!({
            "schema": "supernode.replay/1", "hash": self.hash, "events": self.events, "inputs": self.inputs,
            "checks": self.checks, "agrees": self.differs.is_none(), "torn": self.torn, "end_s": self.end.get(),
            "completed": meters.completed, "cancelled": meters.cancelled, "refused": meters.refused.iter().sum::<u64>(),
            "prompt_tokens": meters.tokens.0, "output_tokens": meters.tokens.1,
            "ttft_s": {"p50": quantile(&meters.ttft, 0.5), "p99": quantile(&meters.ttft, 0.99)},
            "tpot_s": {"p50": quantile(&meters.tpot, 0.5), "p99": quantile(&meters.tpot, 0.99)},
            "energy_j": meters.energy_at(self.end).get(), "jobs": self.jobs,
        })
    }

    fn text(&self) -> String {
        let meters = &self.meters;
        let quantile = |histogram: &Option<live::meters::Histogram>, q| {
            let value = histogram.as_ref().and_then(|histogram| histogram.quantile(q));
            value.map_or("-".to_owned(), |value| Seconds::new(value).to_string())
        };
        let mut text = String::new();
        let _ = writeln!(
            text,
            "decisions  {} after {} events; {} checks of the log hold",
            self.hash, self.events, self.checks
        );
        let refused: u64 = meters.refused.iter().sum();
        let _ = writeln!(
            text,
            "requests   {} completed, {refused} refused, {} cancelled",
            meters.completed, meters.cancelled
        );
        let _ = writeln!(text, "tokens     {} of prompts, {} of answers", meters.tokens.0, meters.tokens.1);
        for (name, histogram) in [("TTFT", &meters.ttft), ("TPOT", &meters.tpot)] {
            let (p50, p99) = (quantile(histogram, 0.5), quantile(histogram, 0.99));
            let _ = writeln!(text, "{name}       p50 {p50}, p99 {p99} (from buckets)");
        }
        if let Some(jobs) = &self.jobs {
            let _ = writeln!(
                text,
                "jobs       {} over, {} running, {} waiting",
                jobs.over, jobs.running, jobs.waiting
            );
        }
        let _ = writeln!(text, "energy     {} of the chips over {}", meters.energy_at(self.end), self.end);
        text
    }
}

/// Opens an input log.
///
/// # Errors
/// A file that cannot be read or is no log.
pub fn open_log(path: &Path) -> Result<Reader, Error> {
    Reader::open(path).map_err(Error::input)
}
