//! How to run, why a run stops short, and what it amounts to.

use super::input::Refusal;
use crate::faults::Fault;
use crate::placement::PoolHardware;
use crate::wiring::{PortConfig, TierPort};
use serving::{ConfigError, SharedPolicy};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use units::Seconds;
use workload::WorkloadError;

/// When the client of a disaggregated deployment sees the first token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FirstToken {
    /// As soon as the prefill instance has it.
    #[default]
    Prefill,
    /// When the decode instance takes over.
    Decode,
}

/// What happens to a request around the engine: HTTP, queues, tokenising, for which each instance that takes prompts
/// has one process that takes them in turn, and gathering tokens before they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Ingress {
    /// Per request, of any number at once.
    pub request: Seconds,
    /// Per prompt token, one prompt after another.
    pub prompt_token: Seconds,
    /// Processes that tokenise; none counts as one.
    pub tokenisers: u32,
    /// Tokens that the client gets together as its first; 1 and less send every token when it is there.
    pub stream_interval: f64,
}

/// How to run.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Step through every iteration instead of leaping.
    pub exact: bool,
    /// Hold the control plane to its laws after every event.
    pub checks: bool,
    /// When the first token counts.
    pub first_token: FirstToken,
    /// Ports by pool; the default for those left out.
    pub ports: Vec<PortConfig>,
    /// Tiers by deployment, as many as the deployment has.
    pub tiers: Vec<Vec<TierPort>>,
    /// What a request passes before the control plane sees it, by deployment.
    pub ingress: Vec<Ingress>,
    /// Failures and repairs, ascending in time.
    pub faults: Vec<Fault>,
    /// Stop here; what is in flight is cancelled.
    pub until: Option<Seconds>,
    /// What the instances of each pool stand on; without it no part of the hardware can be named in a fault.
    pub hardware: Vec<PoolHardware>,
    /// Set from outside to stop at once, as if `until` were now.
    pub stop: Option<Arc<AtomicBool>>,
    /// Code that decides instead of the settings.
    pub policy: Option<SharedPolicy>,
}

/// Why a run stopped short.
#[derive(Debug, thiserror::Error)]
pub enum SimError {
    /// The cluster cannot be set up.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The workload cannot be read.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// An input makes no sense; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A law was broken: a defect of this program.
    #[error("law {law} broken at {at}: {what}")]
    Law {
        /// The law's number.
        law: u8,
        /// When.
        at: Seconds,
        /// How.
        what: String,
    },
}

/// What a run amounts to, besides what its observer has collected.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Totals {
    /// When the last request ended.
    pub end: Seconds,
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that ended with their last token.
    pub completed: u64,
    /// Requests turned away or given up.
    pub rejected: u64,
    /// Requests whose clients went away.
    pub cancelled: u64,
    /// Events handled.
    pub events: u64,
    /// Steps of all instances.
    pub steps: u64,
    /// Whether the run was stopped from outside.
    pub interrupted: bool,
}
