//! What a scheduler is told about jobs and tenants. Never how long a job will run.

use crate::tree::{Ask, Part, Wish};
use serving::Nanos;

/// A job; ids are given in the order of submission from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u32);

/// A tenant or queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(pub u32);

/// Sizes that a job may run at; equal for a rigid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// Fewest chips.
    pub least: u32,
    /// Most chips.
    pub most: u32,
}

/// What all chips share besides themselves, counted in whole units: host memory, licences, a storage system's bandwidth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// Units there are.
    pub amount: u64,
}

/// Units of resources, by their number, that a whole job needs for as long as it runs, at any size.
pub type Uses = Box<[(u32, u64)]>;

/// What is declared when a job is submitted.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Higher goes first.
    pub priority: i32,
    /// What it asks for.
    pub ask: Ask,
    /// What it needs besides chips.
    pub uses: Uses,
    /// Sizes it can run at, if it is elastic.
    pub elastic: Option<Range>,
    /// Time it may run, as its owner declares it.
    pub limit: Nanos,
    /// Where it wants to be.
    pub wish: Option<Wish>,
    /// Whether it may be stopped for others and go on later.
    pub preemptible: bool,
    /// Time to write a checkpoint when it is stopped.
    pub grace: Nanos,
    /// When it was submitted.
    pub submitted: Nanos,
    /// When it ought to be done.
    pub deadline: Option<Nanos>,
    /// How much faster twice the chips are: the exponent of its speed over chips, 0 to 1. Elastic policies use it.
    pub scaling: f64,
    /// Work left as the driver knows it; set only for policies that are bounds and ask for it.
    pub oracle: Option<Nanos>,
}

/// A tenant's rights.
#[derive(Debug, Clone, PartialEq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// Chips that are its own; without a quota it may use whatever is free.
    pub quota: Option<u32>,
    /// Chips beyond its quota that it may borrow from its cohort while they are unused.
    pub borrow: u32,
    /// Tenants that lend to each other.
    pub cohort: Option<u32>,
    /// Its share relative to others.
    pub weight: f64,
}

impl Tenant {
    /// A tenant without a quota.
    pub fn open(name: &str) -> Self {
        Self { name: name.to_owned(), quota: None, borrow: 0, cohort: None, weight: 1.0 }
    }
}

/// Why a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Its tenant's quota (and what it may borrow) is used up.
    Quota,
    /// Others go first, and what is free is kept for them or has not been offered to it.
    Priority,
    /// Fewer chips, or units of a resource, are free than it asks for.
    Capacity,
    /// Enough chips are free, but not on enough whole nodes.
    Fragmentation,
    /// Enough nodes are free, but not in one domain of the level it requires.
    Topology,
    /// The power cap leaves no room.
    Power,
    /// An operator holds it back.
    Held,
}

impl Why {
    /// Every reason.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Quota,
        Self::Priority,
        Self::Capacity,
        Self::Fragmentation,
        Self::Topology,
        Self::Power,
        Self::Held,
    ];
    /// How many reasons there are.
    pub const COUNT: usize = 7;

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Quota => "quota",
            Self::Priority => "priority",
            Self::Capacity => "capacity",
            Self::Fragmentation => "fragmentation",
            Self::Topology => "topology",
            Self::Power => "power",
            Self::Held => "held",
        }
    }
}

/// Why a job was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// One of higher rank needed its chips.
    Preempted,
    /// Its tenant had borrowed them and their owner asked for them.
    Reclaimed,
    /// A node failed under it.
    Failure,
    /// A node is drained for maintenance.
    Drained,
    /// Somebody asked for it.
    Asked,
    /// Its node was taken by somebody who is no job.
    Claimed,
}

/// What happens to a scheduler.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A job arrives.
    Submitted(Job),
    /// A job is done.
    Finished(JobId),
    /// A job is withdrawn, whether it waits or runs.
    Cancelled(JobId),
    /// A node fails with all that runs on it.
    Failed(crate::tree::NodeId),
    /// A node is back.
    Repaired(crate::tree::NodeId),
    /// A node is to be emptied for maintenance.
    Drain(crate::tree::NodeId),
    /// Its maintenance is over.
    Undrain(crate::tree::NodeId),
    /// A timer that was asked for rings.
    Timer,
    /// An operator stops a job; it goes back to the queue, behind those of its priority who wait.
    Preempt(JobId),
    /// An operator holds a job back: it is stopped if it runs, and does not start until it is released.
    Hold(JobId),
    /// An operator lets a job that was held queue again.
    Release(JobId),
    /// Somebody who is no job takes a node: whoever runs there has to go.
    Claimed(crate::tree::NodeId),
    /// He gives it back.
    Yielded(crate::tree::NodeId),
    /// An operator changes a job's priority.
    Reprioritise(JobId, i32),
    /// An operator changes a tenant's quota.
    Quota(TenantId, Option<u32>),
    /// The most chips that may work at once.
    PowerCap(Option<u32>),
}

/// What a scheduler asks its driver to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Start or resume a job on these chips.
    Start {
        /// The job.
        job: JobId,
        /// Its chips; rank `r` of the job is the `r`-th chip in this order.
        parts: Vec<Part>,
        /// How long the chips are still busy with checkpoints of those who had to go.
        delay: Nanos,
    },
    /// Stop a job; its chips are given to others at once, who wait for its checkpoint as [`Action::Start`] says.
    Stop {
        /// The job.
        job: JobId,
        /// Why.
        cause: Cause,
    },
    /// Move a running job to these chips, which may be more or fewer than it has.
    Resize {
        /// The job.
        job: JobId,
        /// Its chips from now on.
        parts: Vec<Part>,
        /// As in [`Action::Start`].
        delay: Nanos,
    },
    /// The job can never run.
    Reject {
        /// The job.
        job: JobId,
        /// Why, in words.
        problem: String,
    },
    /// Send [`Event::Timer`] then.
    SetTimer(Nanos),
}
