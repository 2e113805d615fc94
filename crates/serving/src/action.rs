//! What happens and what to do about it: the control plane's whole interface with a driver.

use crate::admin::Command;
use crate::request::{InstanceId, Reason, Request, RequestId};
use crate::time::Nanos;
use std::sync::Arc;
use steps::StepShape;
use units::{Bytes, Seconds};

/// A transfer's number, never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// A request whose last token has been produced.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Which one.
    pub request: RequestId,
    /// Hashes of the full blocks of prompt and output, now that the output is known; `None` where nobody will reuse it.
    pub prefix: Option<Arc<[u64]>>,
}

/// What the driver tells.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The cluster comes up; told once, first.
    Started,
    /// A request came in.
    Arrived(RequestId, Request),
    /// Its client went away.
    Cancelled(RequestId),
    /// An instance finished `steps` steps of its run (all of them, or those before an interruption took effect).
    StepFinished {
        /// Whose.
        instance: InstanceId,
        /// How many.
        steps: u32,
        /// Requests whose last token was produced in the last of these steps.
        ended: Vec<Ended>,
    },
    /// Transfers arrived, all those of this instant: who waited for them may share a step.
    TransfersFinished(Vec<TransferId>),
    /// An instance cannot work any more: a chip, board or node of it died, taking `ranks` of its ranks.
    InstanceFailed {
        /// Which one.
        instance: InstanceId,
        /// Ranks that are gone; all of them if the count is the instance's.
        ranks: u32,
        /// Whether [`Event::InstanceRepaired`] will follow.
        repairable: bool,
    },
    /// The hardware under an instance works again.
    InstanceRepaired(InstanceId),
    /// A timer went off.
    Timer(Timer),
    /// An administrator changes the cluster; [`crate::Cluster::check`] has found nothing against it.
    Admin(Vec<Command>),
}

/// What a timer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// An instance has loaded its weights.
    Loaded(InstanceId),
    /// The autoscaler of a pool looks at its queue.
    Scale(u32),
}

/// One end of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Endpoint {
    /// An instance's device memory.
    Instance(InstanceId),
    /// The memory of an instance's host, where swapped sequences wait.
    Host(InstanceId),
    /// A tier of slower memory: one instance's own, or shared.
    Tier(u32, Option<InstanceId>),
}

/// A run of steps with the same batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// The first step.
    pub shape: StepShape,
    /// What each further step adds to the context of the busiest rank, tokens.
    pub context_per_step: f64,
    /// Steps until the scheduler must be asked again. More than one only if nothing prefills.
    pub max_steps: u32,
    /// Sequences that gain tokens.
    pub decode_seqs: u32,
    /// Prompt tokens computed.
    pub prefill_tokens: u32,
}

/// What the driver is told to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// For information: a request left the queue of an instance; `cached` tokens of its prompt need no computing.
    Admitted {
        /// Which one.
        request: RequestId,
        /// Where.
        instance: InstanceId,
        /// Tokens found in the instance's prefix cache.
        cached: u32,
        /// Tokens to be fetched from a slower tier.
        fetched: u32,
    },
    /// The run that is about to start ends a prompt: the request's next token comes with its end.
    LastChunk {
        /// Whose prompt.
        request: RequestId,
        /// Where.
        instance: InstanceId,
    },
    /// A request gains a token per tick of the instance's token clock from `clock` on.
    Joined {
        /// Which one.
        request: RequestId,
        /// Where.
        instance: InstanceId,
        /// The instance's [`crate::TokenClock::tokens`].
        clock: u64,
    },
    /// A request stopped gaining tokens at `clock`: preempted, or lost with its instance.
    Left {
        /// Which one.
        request: RequestId,
        /// Where.
        instance: InstanceId,
        /// The instance's [`crate::TokenClock::tokens`].
        clock: u64,
        /// Tokens whose KV is lost and must be computed again.
        lost: u32,
    },
    /// Run steps until `max_steps`, until a request ends, or until interrupted.
    Start {
        /// Where.
        instance: InstanceId,
        /// What.
        run: Run,
    },
    /// End the run with the step that is under way.
    Interrupt(InstanceId),
    /// Forget the run: the instance is gone and the step under way with it.
    Abort(InstanceId),
    /// Move KV.
    Transfer {
        /// Its number.
        transfer: TransferId,
        /// Whose.
        request: RequestId,
        /// From where.
        from: Endpoint,
        /// To where.
        to: Endpoint,
        /// How much.
        bytes: Bytes,
    },
    /// Forget a transfer.
    CancelTransfer(TransferId),
    /// A request ended with its last token.
    Finished(RequestId),
    /// A request was turned away or given up.
    Rejected(RequestId, Reason),
    /// A request ended because its client went away.
    Dropped(RequestId),
    /// Tell [`Event::Timer`] at this time.
    SetTimer(Nanos, Timer),
    /// For information: an instance was added, or its state changed.
    Instance(InstanceId, InstanceState),
    /// For information, where [`crate::Cluster::watch_kv`] asks for it: the prefix cache of a rank changed.
    Kv {
        /// The instance.
        instance: InstanceId,
        /// The attention rank.
        rank: u32,
        /// How.
        change: KvChange,
    },
}

/// A change of a prefix cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvChange {
    /// A block is cached from now on.
    Stored {
        /// Chained hash of the prefix that ends with it.
        hash: u64,
        /// The hash of the prefix before it; `None` for a prompt's first block.
        parent: Option<u64>,
    },
    /// A block is cached no longer.
    Evicted {
        /// Chained hash of the prefix that ended with it.
        hash: u64,
    },
    /// Everything is gone.
    Cleared,
}

/// What an instance is doing with its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum InstanceState {
    /// Weights are being loaded.
    Loading,
    /// Takes requests.
    Active,
    /// Finishes what it has and takes nothing new.
    Draining,
    /// Broken; waits for repair.
    Failed,
    /// Gone.
    Removed,
}

impl InstanceState {
    /// The machine-readable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loading => "loading",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Removed => "removed",
        }
    }
}

/// How long an instance takes to come up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadTime {
    /// With the weights in the model cache of the system's pooled memory.
    pub warm: Seconds,
    /// From storage.
    pub cold: Seconds,
}
