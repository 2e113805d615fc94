//! What comes into a world from outside.

use crate::faults::FaultKind;
use serving::{Command, CommandError};
use units::Seconds;
use workload::Arrival;

/// Something from outside: all there is besides what the world foretells itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A request is sent.
    Arrive(Arrival),
    /// A client goes away; one whose request has ended is nobody's business any more.
    Cancel(Ticket),
    /// Hardware breaks or is mended.
    Fault(FaultKind),
    /// An administrator changes the cluster: every command or none.
    Admin(Vec<Command>),
    /// What every request to a deployment passes in front of the engine takes so much longer from now on.
    Latency {
        /// The deployment.
        deployment: u32,
        /// How much longer than the engine's own.
        extra: Seconds,
    },
}

/// A request that was let into the world; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    pub(super) slot: u32,
    pub(super) uses: u32,
}

/// Why an input is refused; the world is as it was.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// An administrator's command cannot be carried out.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A fault names what is not there or makes no sense.
    #[error("{0}")]
    Fault(String),
    /// A time that makes no sense.
    #[error("a latency of {0} is not between 0 and an hour")]
    Latency(Seconds),
}
