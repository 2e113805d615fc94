//! What the control plane knows of a request, and the table of those in flight.

use crate::kv::Hold;
use crate::time::Nanos;
use std::sync::Arc;

/// A request's number while it is in flight. The driver chooses it, densely from zero, and may use it again once the
/// request has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u32);

/// An instance's number: its position in the order instances were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u32);

/// What a front end knows when a request comes in. There is no output length here: nobody knows it yet.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Request {
    /// Prompt length in tokens.
    pub prompt: u32,
    /// The client's `max_tokens`, where it set one.
    pub max_tokens: Option<u32>,
    /// Which deployment of the cluster it asks for.
    pub deployment: u32,
    /// Whose it is.
    pub tenant: u32,
    /// The conversation it belongs to.
    pub session: Option<u64>,
    /// The instance that the client has chosen: no other takes it.
    pub instance: Option<InstanceId>,
    /// Class of service: smaller goes first where the scheduler orders by priority.
    pub priority: u8,
    /// Chained hashes of the prompt's leading full blocks, one per `hash_block` tokens of the prefix cache.
    pub prefix: Option<Arc<[u64]>>,
    /// Reject it rather than start it after this instant.
    pub deadline: Option<Nanos>,
}

/// Why a request was turned away or given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The prompt does not fit the model's context window.
    LongerThanContext,
    /// The prompt does not fit the KV memory of any instance.
    LongerThanKv,
    /// It outgrew the KV memory of its instance, alone on it.
    OutgrewKv,
    /// The queue is at its limit.
    QueueFull,
    /// The tenant is over its rate.
    RateLimited,
    /// The tenant has as many requests in flight as it may.
    ConcurrencyLimited,
    /// The tenant has used up its tokens of this minute.
    TokensLimited,
    /// It could not start before its deadline.
    DeadlinePassed,
    /// No instance is or will be there to take it.
    NoInstance,
    /// It was lost with its instance more often than the retry limit allows.
    RetriesExhausted,
    /// It asks for a deployment that does not exist.
    UnknownDeployment,
    /// The deployment takes no new requests.
    Closed,
}

impl Reason {
    /// Every reason, in the order of their names' appearance in results.
    pub const ALL: [Self; 12] = [
        Self::LongerThanContext,
        Self::LongerThanKv,
        Self::OutgrewKv,
        Self::QueueFull,
        Self::RateLimited,
        Self::ConcurrencyLimited,
        Self::TokensLimited,
        Self::DeadlinePassed,
        Self::NoInstance,
        Self::RetriesExhausted,
        Self::UnknownDeployment,
        Self::Closed,
    ];

    /// What happened to such requests, as a sentence about them goes on.
    pub const fn words(self) -> &'static str {
        match self {
            Self::LongerThanContext => "are longer than the model's context",
            Self::LongerThanKv => "are longer than the cache of an instance",
            Self::OutgrewKv => "outgrew the cache of an instance",
            Self::QueueFull => "met a full queue",
            Self::RateLimited => "were over their tenant's rate",
            Self::DeadlinePassed => "could not start in time",
            Self::NoInstance => "found no instance",
            Self::RetriesExhausted => "were lost too often",
            Self::UnknownDeployment => "asked for a deployment that is not there",
            Self::ConcurrencyLimited => "were over their tenant's requests at once",
            Self::TokensLimited => "were over their tenant's tokens per minute",
            Self::Closed => "came when nothing was taken any more",
        }
    }

    /// The machine-readable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LongerThanContext => "longer_than_context",
            Self::LongerThanKv => "longer_than_kv",
            Self::OutgrewKv => "outgrew_kv",
            Self::QueueFull => "queue_full",
            Self::RateLimited => "rate_limited",
            Self::ConcurrencyLimited => "concurrency_limited",
            Self::TokensLimited => "tokens_limited",
            Self::DeadlinePassed => "deadline_passed",
            Self::NoInstance => "no_instance",
            Self::RetriesExhausted => "retries_exhausted",
            Self::UnknownDeployment => "unknown_deployment",
            Self::Closed => "closed",
        }
    }
}

/// Where a request is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// In a queue; its prompt (and what it generated before a preemption) must be computed.
    Queued,
    /// In a decode instance's queue; its KV waits on a prefill instance.
    QueuedWithKv,
    /// In a queue; its KV was swapped out to the host.
    Swapped,
    /// Admitted; cached blocks are on their way from a slower tier.
    Fetching,
    /// Admitted; chunks of its prompt are being computed.
    Prefilling,
    /// Admitted to a decode instance (or back from the host); its KV is on its way.
    Moving,
    /// Its KV is here; joins the batch at the next step boundary.
    Ready,
    /// In the running batch.
    Decoding,
}

/// Where a sequence's KV is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub instance: u32,
    pub rank: u32,
}

/// A request in flight.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// Where requests wait by class, those of a smaller one go first.
    pub class: u32,
    pub request: Request,
    pub phase: Phase,
    /// Where it is queued, computed or decoded.
    pub place: Place,
    /// The blocks it holds at `place`.
    pub hold: Hold,
    /// The prefill instance that still holds its KV, and the blocks there.
    pub source: Option<(Place, Hold)>,
    /// Tokens that must be in the KV cache before the next token can be produced.
    pub target: u32,
    /// How many of them are.
    pub prefilled: u32,
    /// Tokens produced before it joined the batch it is in.
    pub generated: u32,
    /// Token clock of the instance when it joined the batch.
    pub joined: u64,
    /// Position in its rank's list of decoding sequences.
    pub position: u32,
    /// Position in the queue it waits in.
    pub queued: i64,
    /// Order of admission on its instance: the latest is the first to be preempted.
    pub order: u64,
    /// Times it was lost with an instance.
    pub lost: u8,
    /// The transfer it waits for.
    pub transfer: u64,
    /// Tokens that transfer brings.
    pub fetching: u32,
}

/// The requests in flight, by id.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: Vec<Option<Live>>,
    len: usize,
    /// Whether ends are kept in `ended`.
    pub counts_ends: bool,
    /// Tenants and output tokens of the requests that have ended, for the limits of tenants.
    pub ended: Vec<(u32, u32)>,
}

impl Table {
    pub fn insert(&mut self, id: RequestId, live: Live) {
        let index = id.0 as usize;
        if index >= self.entries.len() {
            self.entries.resize_with(index + 1, || None);
        }
        if self.entries[index].replace(live).is_none() {
            self.len += 1;
        }
    }

    pub fn remove(&mut self, id: RequestId) -> Option<Live> {
        let live = self.entries.get_mut(id.0 as usize)?.take();
        self.len -= usize::from(live.is_some());
        if let (true, Some(live)) = (self.counts_ends, &live) {
            self.ended.push((live.request.tenant, live.generated));
        }
        live
    }

    pub fn contains(&self, id: RequestId) -> bool {
        self.entries.get(id.0 as usize).is_some_and(Option::is_some)
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn iter(&self) -> impl Iterator<Item = (RequestId, &Live)> {
        let entries = self.entries.iter().enumerate();
        entries.filter_map(|(index, live)| live.as_ref().map(|live| (RequestId(index as u32), live)))
    }

    /// The request `id`, which the caller took from a list of requests in flight.
    pub fn at(&self, id: RequestId) -> &Live {
        self.entries[id.0 as usize].as_ref().unwrap_or_else(|| unreachable!("{id:?} is in flight"))
    }

    /// As [`Table::at`].
    pub fn at_mut(&mut self, id: RequestId) -> &mut Live {
        self.entries[id.0 as usize].as_mut().unwrap_or_else(|| unreachable!("{id:?} is in flight"))
    }
}
