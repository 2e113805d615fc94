//! A policy that is code instead of a setting, for research: a router, the order of a queue, an autoscaler.
//!
//! It is asked where the settings' own rules would be, with what a live control plane would know, and must be a function of
//! what it is told: a run with it is then as repeatable as any other.

use crate::instance::Instance;
use crate::request::Request;
use crate::time::Nanos;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// An instance that takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteCandidate {
    /// Its number.
    pub instance: u32,
    /// Requests on it, waiting or running.
    pub requests: u32,
    /// Requests in its queue.
    pub waiting: u32,
    /// Sequences that decode.
    pub decoding: u32,
    /// Tokens of its requests.
    pub tokens: u64,
    /// Tokens of this prompt in its prefix cache.
    pub cached: u32,
}

/// How much there is to do in a pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pressure {
    /// Instances at work.
    pub active: u32,
    /// Instances that load their weights.
    pub loading: u32,
    /// Requests that wait.
    pub waiting: f64,
    /// Requests at all.
    pub requests: f64,
    /// Fewest instances allowed.
    pub min: u32,
    /// Most instances allowed.
    pub max: u32,
}

/// Which decisions a policy takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Decides {
    /// Where requests go.
    pub route: bool,
    /// Which waiting request goes first.
    pub order: bool,
    /// How many instances there are, in pools that have an autoscaler.
    pub scale: bool,
}

/// A policy. What it does not decide is never asked of it.
pub trait CustomPolicy: Send {
    /// What it decides.
    fn decides(&self) -> Decides;

    /// The place in `candidates`, of which there is at least one, of the instance that a request goes to; the pool's own
    /// router decides if it says none.
    fn route(
        &mut self,
        now: Nanos,
        pool: u32,
        request: &Request,
        candidates: &[RouteCandidate],
    ) -> Option<usize>;

    /// The class of a request that comes in: those of a smaller one go first, and of equal ones the one that came first.
    fn class(&mut self, now: Nanos, request: &Request) -> u32;

    /// Instances wanted in a pool; held between its least and its most.
    fn instances(&mut self, now: Nanos, pool: u32, pressure: &Pressure) -> u32;
}

/// A policy that a control plane and who set it up share.
#[derive(Clone)]
pub struct SharedPolicy {
    decides: Decides,
    policy: Arc<Mutex<dyn CustomPolicy>>,
}

impl fmt::Debug for SharedPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedPolicy").field(&self.decides).finish()
    }
}

impl SharedPolicy {
    /// Shares a policy.
    pub fn new(policy: impl CustomPolicy + 'static) -> Self {
        Self { decides: policy.decides(), policy: Arc::new(Mutex::new(policy)) }
    }

    /// What it decides.
    pub fn decides(&self) -> Decides {
        self.decides
    }

    pub(crate) fn ask(&self) -> MutexGuard<'_, dyn CustomPolicy + 'static> {
        self.policy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance among `members` that a request goes to, if the policy says one.
    pub(crate) fn choose(
        &self,
        now: Nanos,
        pool: u32,
        request: &Request,
        members: &[u32],
        instances: &[Instance],
    ) -> Option<u32> {
        let open = members.iter().map(|member| &instances[*member as usize]);
        let candidates: Vec<RouteCandidate> =
            open.filter(|instance| instance.takes_requests()).map(|one| candidate(one, request)).collect();
        if candidates.is_empty() {
            return None;
        }
        let chosen = self.ask().route(now, pool, request, &candidates)?;
        candidates.get(chosen).map(|candidate| candidate.instance)
    }
}

fn candidate(instance: &Instance, request: &Request) -> RouteCandidate {
    let hash_tokens = instance.limits.prefix_cache.unwrap_or(0);
    let hashes: &[u64] = request.prefix.as_deref().unwrap_or(&[]);
    let trees = instance.ranks.iter().filter_map(|rank| rank.kv.tree.as_ref());
    let blocks = trees.map(|tree| tree.matched(hashes)).max().unwrap_or(0);
    RouteCandidate {
        instance: instance.id.0,
        requests: instance.requests,
        waiting: instance.waiting.len() as u32,
        decoding: instance.decode_seqs,
        tokens: instance.tokens,
        cached: blocks.saturating_mul(hash_tokens).min(request.prompt),
    }
}
