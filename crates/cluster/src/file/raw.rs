//! What may be written in a cluster file; unknown keys are refused.

use crate::place::Placement;
use crate::plan::Kind;
use crate::policy::Settings;
use serde::Deserialize;
use std::collections::BTreeMap;
use units::{BytesPerSecond, DollarsPerHour, PerSecond, Seconds, Watts};

/// A cluster file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Raw {
    /// Its name; the file's by default.
    pub name: Option<String>,
    /// Seed of everything random; 0.
    pub seed: u64,
    /// When the run ends; with the last job by default.
    pub until: Option<Seconds>,
    /// Policies, run side by side on the same arrivals; `easy` by default.
    pub policy: Option<OneOrMore>,
    /// How chips are picked.
    pub placement: Placement,
    /// Settings of policies.
    pub settings: Settings,
    /// The machine.
    pub cluster: RawCluster,
    /// Classes of priority by name.
    pub priority: Vec<RawPriority>,
    /// Tenants.
    pub tenant: Vec<RawTenant>,
    /// Jobs.
    pub job: Vec<RawJob>,
    /// Jobs from a trace.
    pub trace: Option<RawTrace>,
    /// Nodes taken out for a time.
    pub maintenance: Vec<RawMaintenance>,
}

/// One text or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Several.
    More(Vec<String>),
}

impl OneOrMore {
    /// All of them.
    pub fn list(&self) -> Vec<String> {
        match self {
            Self::One(text) => text.split(',').map(|name| name.trim().to_owned()).collect(),
            Self::More(names) => names.clone(),
        }
    }
}

/// The machine.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RawCluster {
    /// Catalog key of the system.
    pub system: Option<String>,
    /// Chips in all; those of the system by default.
    pub chips: Option<u32>,
    /// Chips of one node; the system's by default.
    pub node: Option<u32>,
    /// Levels between the node and the cluster besides the system's own.
    pub level: Vec<RawLevel>,
    /// What all chips share besides themselves.
    pub resource: Vec<RawResource>,
    /// Nodes kept out of use until another fails.
    pub spares: u32,
    /// The most power that all chips may draw, with what surrounds them.
    pub power_cap: Option<Watts>,
    /// Power of a chip at work; from the catalog by default.
    pub busy_power: Option<Watts>,
    /// Power of an idle chip; from the catalog by default.
    pub idle_power: Option<Watts>,
    /// Rent of a chip; what it costs to own by default.
    pub price: Option<DollarsPerHour>,
    /// Region of electricity prices.
    pub region: Option<String>,
    /// `true` for the catalog's failure rates; none by default.
    pub failures: bool,
    /// Failures of a chip with its node, instead of the catalog's rate.
    pub failure_rate: Option<PerSecond>,
    /// Mean time until a failed node is back.
    pub repair: Option<Seconds>,
}

/// A level of the hierarchy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawLevel {
    /// Its name.
    pub name: String,
    /// Nodes in one domain.
    pub nodes: u32,
    /// Bandwidth out of one domain, shared by the jobs that cross it.
    pub uplink: Option<BytesPerSecond>,
    /// Failures of a whole domain.
    pub failure_rate: Option<PerSecond>,
}

/// What jobs need besides chips, counted for the whole cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawResource {
    /// Its name.
    pub name: String,
    /// Units there are.
    pub amount: u64,
}

/// A class of priority.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPriority {
    /// Its name.
    pub name: String,
    /// Classes that it goes before.
    #[serde(default)]
    pub above: Vec<String>,
}

/// A tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTenant {
    /// Its name.
    pub name: String,
    /// Chips that are its own.
    pub quota: Option<u32>,
    /// Chips it may borrow from its cohort; as many as the cohort has by default, 0 without a cohort.
    pub borrow: Option<u32>,
    /// Tenants that lend to each other.
    pub cohort: Option<String>,
    /// Its share relative to others; 1.
    pub weight: Option<f64>,
}

/// A priority by number or class.
#[derive(Debug, Clone)]
pub enum RawRank {
    /// Higher goes first.
    Number(i32),
    /// Name of a `[[priority]]`.
    Class(String),
}

impl<'de> Deserialize<'de> for RawRank {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Rank;
        impl serde::de::Visitor<'_> for Rank {
            type Value = RawRank;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number of at most 2147483647, or the name of a `[[priority]]`")
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<RawRank, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Signed(number), &self);
                i32::try_from(number).map(RawRank::Number).map_err(wrong)
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RawRank, E> {
                let wrong = |_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self);
                i32::try_from(number).map(RawRank::Number).map_err(wrong)
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RawRank, E> {
                Ok(RawRank::Class(name.to_owned()))
            }
        }
        deserializer.deserialize_any(Rank)
    }
}

/// A job, or several alike.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawJob {
    /// Its name.
    pub name: Option<String>,
    /// What it is; `opaque`.
    pub kind: Option<Kind>,
    /// Whose it is; the first tenant's.
    pub tenant: Option<String>,
    /// Chips, or chips of one replica of a service.
    pub chips: Option<u32>,
    /// Nodes, instead of as few as hold the chips.
    pub nodes: Option<u32>,
    /// Units of each `[[cluster.resource]]` that the whole job holds while it runs, at any size.
    #[serde(default)]
    pub uses: BTreeMap<String, u64>,
    /// When it is submitted; at the start.
    pub at: Option<Seconds>,
    /// How many alike; 1.
    pub count: Option<u32>,
    /// Time between them; all at once.
    pub every: Option<Seconds>,
    /// How long it takes at the requested size (opaque jobs).
    pub duration: Option<Seconds>,
    /// Declared limit; 1.2 times what the work takes at the requested size by default.
    pub limit: Option<Seconds>,
    /// Priority; 0.
    pub priority: Option<RawRank>,
    /// Whether it may be stopped for others; yes, but for services.
    pub preemptible: Option<bool>,
    /// Fewest chips it runs at.
    pub min_chips: Option<u32>,
    /// Most chips it runs at.
    pub max_chips: Option<u32>,
    /// Exponent of its speed over chips; 0.9. For policies and for opaque jobs.
    pub scaling: Option<f64>,
    /// Level that must hold it whole.
    pub require: Option<String>,
    /// Level that should.
    pub prefer: Option<String>,
    /// Nodes of each part that the required level must hold, instead of the whole job.
    pub slice: Option<u32>,
    /// Time after submission by which it ought to be done.
    pub deadline: Option<Seconds>,
    /// Time between checkpoints; Daly's optimum for training.
    pub checkpoint_interval: Option<Seconds>,
    /// Time to write one.
    pub checkpoint_write: Option<Seconds>,
    /// From getting chips until it goes on after a stop.
    pub restart: Option<Seconds>,
    /// Steps of training.
    pub steps: Option<f64>,
    /// The training job as `supernode train --job` reads it.
    pub train: Option<toml::Table>,
    /// Requests of batch inference.
    pub requests: Option<f64>,
    /// How a service or batch inference is deployed.
    pub serve: Option<RawServe>,
}

/// A deployment with its load.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawServe {
    /// Model.
    pub model: Option<String>,
    /// Engine; the system's usual.
    pub engine: Option<String>,
    /// Format of weights.
    pub weight_dtype: Option<String>,
    /// Tensor-parallel ranks.
    pub tp: Option<u32>,
    /// Pipeline stages.
    pub pp: Option<u32>,
    /// Data-parallel ranks.
    pub dp: Option<u32>,
    /// Expert-parallel ranks.
    pub ep: Option<u32>,
    /// Prompt tokens.
    pub isl: Option<u32>,
    /// Output tokens.
    pub osl: Option<u32>,
    /// Time to the first token that counts as good.
    pub ttft: Option<Seconds>,
    /// Time per output token that counts as good.
    pub tpot: Option<Seconds>,
    /// Requests that one replica serves within these, instead of the price of its steps.
    pub capacity: Option<PerSecond>,
    /// Load at the busiest time of the day.
    pub peak: Option<PerSecond>,
    /// Load half a day from it.
    pub trough: Option<PerSecond>,
    /// When it is busiest; 15:00.
    pub peak_at: Option<Seconds>,
    /// Load as points instead.
    #[serde(default)]
    pub load: Vec<RawPoint>,
    /// Fewest replicas; 1.
    pub min: Option<u32>,
    /// Most replicas; as many as the cluster holds.
    pub max: Option<u32>,
    /// Time between two looks of the autoscaler; 5 min.
    pub interval: Option<Seconds>,
    /// Capacity kept beyond the load; 0.1 of it.
    pub headroom: Option<f64>,
    /// Until a new replica serves; from the size of its weights.
    pub load_time: Option<Seconds>,
    /// How long a client waits for a place before it gives up; 1 min.
    pub patience: Option<Seconds>,
    /// Windows that are run request by request as well.
    #[serde(default)]
    pub window: Vec<RawWindow>,
}

/// A window of time.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWindow {
    /// When it begins.
    pub at: Seconds,
    /// How long it lasts.
    pub length: Seconds,
}

/// A point of a load curve.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPoint {
    /// When.
    pub at: Seconds,
    /// How much.
    pub rate: PerSecond,
}

/// A trace.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTrace {
    /// The file, beside this one.
    pub file: String,
    /// Declared limit over true duration; 1, a user who knows.
    pub limit_factor: Option<f64>,
}

/// A maintenance window.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawMaintenance {
    /// Nodes by number, `first-last` or one.
    pub nodes: String,
    /// When it begins: running jobs that may be stopped are stopped, no new ones start.
    pub at: Seconds,
    /// How long it lasts.
    pub length: Seconds,
}
