//! What a scenario file may say. Every key but a few has a default, and the defaults are here or in [`crate::resolve`].

use crate::table::table;
use estimate::OperatingPoint;
use serde::Deserialize;
use units::{Bytes, BytesPerSecond, PerSecond, Seconds};
use workload::Lengths;

/// A scenario as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// Its name in results.
    #[serde(default)]
    pub name: Option<String>,
    /// Seed of everything random; 0 if not given.
    #[serde(default)]
    pub seed: u64,
    /// Stop here.
    #[serde(default)]
    pub until: Option<Seconds>,
    /// The models and where they run.
    #[serde(default)]
    pub deployment: Vec<RawDeployment>,
    /// The traffic.
    #[serde(default)]
    pub workload: RawWorkload,
    /// What requests have to meet.
    #[serde(default)]
    pub slo: RawSlo,
    /// Terms of tenants.
    #[serde(default)]
    pub tenant: Vec<RawTenant>,
    /// Failures at given times.
    #[serde(default)]
    pub fault: Vec<RawFault>,
    /// Failures by rate.
    #[serde(default)]
    pub failures: Option<RawFailures>,
}

table! {
    /// One model on one or two pools, and what is said of all of these.
    pub struct RawDeployment without [] {
        /// Its name in results; the model's if not given.
        pub name: Option<String>,
        /// Requests waiting at most.
        pub queue_limit: Option<u32>,
        /// Times a request may be lost.
        pub retries: Option<u8>,
        /// Spare instances' worth of hardware; none if not given.
        pub spares: Option<u32>,
        /// Pause after which an instance goes on without its dead ranks.
        pub shrink: Option<Seconds>,
        /// `prefill` or `decode`: which instance's first token the client sees.
        pub first_token: Option<String>,
        /// Part of the traffic, relative to the other deployments'; one if not given.
        pub share: Option<f64>,
        /// Its pools.
        pub pool: Vec<RawPool>,
        /// Memories that keep prefixes.
        pub tier: Vec<RawTier>,
    }
}

/// When prompts that wait beside decoding sequences start; see [`serving::Gathering`].
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawGathering {
    /// Prompt tokens that are enough.
    #[serde(default)]
    pub tokens: u32,
    /// Prompts that are enough.
    #[serde(default)]
    pub requests: u32,
    /// Steps that enough of them wait for more.
    #[serde(default)]
    pub settle: u32,
    /// Steps after which they start anyway.
    pub timeout: u32,
}

table! {
    /// Equal instances. What a pool says goes before what its deployment says; `chips` are the packages of one instance.
    pub struct RawPool without ["model"] {
        /// `aggregated` (the default), `prefill` or `decode`.
        pub role: Option<String>,
        /// How many at the start; one if not given.
        pub instances: Option<u32>,
        /// How requests are spread; see the documentation for the names.
        pub router: Option<String>,
        /// What is batched together.
        pub batching: Option<String>,
        /// Longest step to plan for, with `batching = "slo-aware"`.
        pub step_limit: Option<Seconds>,
        /// Whether waiting prompts start together.
        pub gathering: Option<RawGathering>,
        /// `fcfs`, `priority` or `fair-share`.
        pub order: Option<String>,
        /// `recompute` or `swap`.
        pub preemption: Option<String>,
        /// Whether prefixes are cached on the device.
        pub prefix_cache: Option<bool>,
        /// KV blocks per rank, instead of what memory allows.
        pub kv_blocks: Option<u32>,
        /// Tokens of a block.
        pub block: Option<u32>,
        /// Longest context, instead of the model's.
        pub max_context: Option<u32>,
        /// Whether prompts may be cut.
        pub chunked_prefill: Option<bool>,
        /// Batch sizes captured as graphs.
        pub capture: Vec<u32>,
        /// Time to come up with the weights in the model cache.
        pub load_warm: Option<Seconds>,
        /// Time to come up from storage.
        pub load_cold: Option<Seconds>,
        /// Autoscaling.
        pub scaling: Option<RawScaling>,
    }
}

/// Autoscaling of a pool.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScaling {
    /// `reactive`, `scheduled` or `balance`.
    pub rule: String,
    /// Never fewer.
    #[serde(default)]
    pub min: Option<u32>,
    /// Never more.
    #[serde(default)]
    pub max: Option<u32>,
    /// Time between looks.
    #[serde(default)]
    pub interval: Option<Seconds>,
    /// Waiting requests per instance above which one is added.
    #[serde(default)]
    pub up: Option<f64>,
    /// Requests per instance below which one is removed.
    #[serde(default)]
    pub down: Option<f64>,
    /// Instances from given times on.
    #[serde(default)]
    pub schedule: Vec<RawScheduled>,
}

/// A line of a schedule.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawScheduled {
    /// From when on.
    pub at: Seconds,
    /// How many.
    pub instances: u32,
}

/// A memory that keeps prefixes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTier {
    /// `host` (each instance's own host memory), `pool` (the host memory of the whole system over its fabric) or `ssd`.
    #[serde(default)]
    pub kind: Option<String>,
    /// Its name in results; its kind's if not given.
    #[serde(default)]
    pub name: Option<String>,
    /// How much it keeps; for host and pool, what the system has.
    #[serde(default)]
    pub capacity: Option<Bytes>,
    /// What one instance reads at most; for host and pool, what the system's links carry.
    #[serde(default)]
    pub bandwidth: Option<BytesPerSecond>,
    /// What all read together at most; as much as all instances could if not given.
    #[serde(default)]
    pub total_bandwidth: Option<BytesPerSecond>,
    /// Time to the first byte.
    #[serde(default)]
    pub latency: Option<Seconds>,
    /// Whether every instance reads what any wrote; so it is with a pool.
    #[serde(default)]
    pub shared: Option<bool>,
}

/// The traffic.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawWorkload {
    /// `poisson` (the default), `gamma`, `constant`, `bursts`, `diurnal` or `closed`.
    #[serde(default)]
    pub arrival: Option<String>,
    /// Requests per second.
    #[serde(default)]
    pub rate: Option<PerSecond>,
    /// Shape of the gamma law.
    #[serde(default)]
    pub burstiness: Option<f64>,
    /// Requests of a burst.
    #[serde(default)]
    pub burst: Option<u32>,
    /// How far a day swings.
    #[serde(default)]
    pub swing: Option<f64>,
    /// How long a day is.
    #[serde(default)]
    pub period: Option<Seconds>,
    /// Requests (or of a trace: at most).
    #[serde(default)]
    pub requests: Option<u64>,
    /// Prompt lengths.
    #[serde(default)]
    pub isl: Option<Lengths>,
    /// Output lengths.
    #[serde(default)]
    pub osl: Option<Lengths>,
    /// Users of a closed loop.
    #[serde(default)]
    pub users: Option<u32>,
    /// Requests of a closed loop that are not measured.
    #[serde(default)]
    pub warm_up: Option<u64>,
    /// A trace file.
    #[serde(default)]
    pub trace: Option<String>,
    /// Its format, if it cannot be told.
    #[serde(default)]
    pub trace_format: Option<String>,
    /// The unit of its times where they are plain numbers: `s`, `ms`, `us` or `ns`.
    #[serde(default)]
    pub time_unit: Option<String>,
    /// Tokens per hash of its prefixes.
    #[serde(default)]
    pub block_size: Option<u32>,
    /// The columns of a table of no known format: `arrival=NAME,input=NAME,output=NAME`.
    #[serde(default)]
    pub columns: Option<String>,
    /// How much denser than recorded it is played.
    #[serde(default)]
    pub rate_scale: Option<f64>,
    /// How often it is played.
    #[serde(default)]
    pub repeat: Option<u32>,
    /// With several deployments: `share` (each request to one of them, the default) or `mirror` (each request to all).
    #[serde(default)]
    pub split: Option<String>,
    /// Conversations instead of single requests.
    #[serde(default)]
    pub sessions: Option<RawSessions>,
    /// Prompts that begin alike.
    #[serde(default)]
    pub prefix: Option<RawPrefix>,
    /// The service promises to start a request within this time.
    #[serde(default)]
    pub deadline: Option<Seconds>,
    /// Clients go away if they wait longer for the first token.
    #[serde(default)]
    pub patience: Option<Seconds>,
}

/// Conversations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSessions {
    /// How many.
    pub count: u64,
    /// Turns of each.
    pub turns: Lengths,
    /// Tokens of the system prompt.
    #[serde(default)]
    pub system: u32,
    /// Mean time between an answer and the next turn.
    pub think: Seconds,
}

/// Prompts that begin alike.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawPrefix {
    /// How many beginnings there are.
    pub groups: u32,
    /// Share of a prompt that is its group's.
    pub share: f64,
    /// Tokens per hash.
    #[serde(default)]
    pub block: Option<u32>,
}

/// What requests have to meet.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawSlo {
    /// Time to first token.
    #[serde(default)]
    pub ttft: Option<Seconds>,
    /// Time per output token.
    #[serde(default)]
    pub tpot: Option<Seconds>,
    /// End-to-end latency.
    #[serde(default)]
    pub e2e: Option<Seconds>,
}

/// A tenant.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTenant {
    /// Its number in traces and results.
    pub id: u32,
    /// Weight in fair shares.
    #[serde(default)]
    pub weight: Option<f64>,
    /// Most requests per second.
    #[serde(default)]
    pub rate: Option<PerSecond>,
    /// Most requests in flight at once.
    #[serde(default)]
    pub concurrency: Option<u32>,
    /// Most tokens per minute, prompts and output together.
    #[serde(default)]
    pub tokens_per_minute: Option<u64>,
    /// Part of generated traffic, relative to the others'.
    #[serde(default)]
    pub share: Option<f64>,
    /// Class of its requests.
    #[serde(default)]
    pub priority: u8,
}

/// A failure at a given time.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFault {
    /// When.
    pub at: Seconds,
    /// `chip`, `node`, `instance`, `link` or `switch`.
    pub kind: String,
    /// The instance hit, counted from zero in the order of pools. A node or a switch takes those with it that are on the
    /// same node.
    pub instance: u32,
    /// Further instances hit.
    #[serde(default)]
    pub also: Vec<u32>,
    /// Share of the bandwidth that is left, for links and switches.
    #[serde(default)]
    pub left: Option<f64>,
    /// How long it takes to mend; never if not given.
    #[serde(default)]
    pub repair: Option<Seconds>,
}

/// Failures by rate: exponential times between failures and to mend. Rates that are not given are the catalog's for the
/// chip's family.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawFailures {
    /// Failures are drawn up to here; the scenario's `until` if not given.
    #[serde(default)]
    pub horizon: Option<Seconds>,
    /// Multiplies the rates, so that a short run sees what a long one would.
    #[serde(default)]
    pub scale: Option<f64>,
    /// Mean time between failures of one chip.
    #[serde(default)]
    pub chip_mtbf: Option<Seconds>,
    /// Mean time between failures of one node's host.
    #[serde(default)]
    pub node_mtbf: Option<Seconds>,
    /// Mean time between failures of one chip's links.
    #[serde(default)]
    pub link_mtbf: Option<Seconds>,
    /// Mean time between failures of one node's switches; never if not given.
    #[serde(default)]
    pub switch_mtbf: Option<Seconds>,
    /// Share of an instance's bandwidth that a failed link or switch leaves; one half if not given.
    #[serde(default)]
    pub left: Option<f64>,
    /// Mean time to mend; the catalog's if not given.
    #[serde(default)]
    pub repair: Option<Seconds>,
}
