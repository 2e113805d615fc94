//! Read-only views for metrics and for checkers that hold the control plane to its laws.

use crate::action::InstanceState;
use crate::cluster::Cluster;
use crate::engine::EngineLimits;
use crate::pools::Role;
use crate::request::{InstanceId, Phase, RequestId};
use crate::speculative::TokenClock;
use steps::StepPricer;

/// An instance from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceView {
    /// Which one.
    pub id: InstanceId,
    /// Its pool, counted over all deployments.
    pub pool: u32,
    /// What it is doing with its life.
    pub state: InstanceState,
    /// Requests in its queue.
    pub waiting: u32,
    /// Requests admitted: prefilling, decoding, or with KV on the way.
    pub admitted: u32,
    /// Sequences in the running batch.
    pub decoding: u32,
    /// Requests whose prompts are being computed.
    pub prefilling: u32,
    /// KV blocks in all ranks.
    pub kv_total: u64,
    /// Blocks nobody holds.
    pub kv_free: u64,
    /// Blocks in the prefix cache, in use or not.
    pub kv_cached: u64,
    /// Whether a run is under way.
    pub runs: bool,
}

/// A pool from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolView {
    /// What its instances do.
    pub role: Role,
    /// The deployment it belongs to.
    pub deployment: u32,
}

/// The KV a request should be holding, from its length alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub request: RequestId,
    /// Where.
    pub instance: InstanceId,
    /// On which rank.
    pub rank: u32,
    /// Tokens it needs room for; a batch under way has grown its members since, by the instance's clock.
    pub tokens: u32,
    /// Cached prefix blocks (of the hash size) that it shares.
    pub shared: u32,
}

impl<P: StepPricer> Cluster<P> {
    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.live.len()
    }

    /// Whether a request is in flight.
    pub fn is_live(&self, id: RequestId) -> bool {
        self.live.contains(id)
    }

    /// Instances, removed ones included.
    pub fn instance_count(&self) -> u32 {
        self.instances.len() as u32
    }

    /// Pools over all deployments.
    pub fn pools(&self) -> impl Iterator<Item = PoolView> {
        self.pools.iter().map(|pool| PoolView { role: pool.role, deployment: pool.deployment })
    }

    /// One instance.
    pub fn instance(&self, id: InstanceId) -> InstanceView {
        let instance = &self.instances[id.0 as usize];
        let sum = |count: fn(&crate::instance::Rank) -> u64| instance.ranks.iter().map(count).sum();
        InstanceView {
            id,
            pool: instance.pool,
            state: instance.state,
            waiting: instance.waiting.len() as u32,
            admitted: instance.ranks.iter().map(|rank| rank.admitted).sum(),
            decoding: instance.decode_seqs,
            prefilling: instance.prefilling.len() as u32,
            kv_total: sum(|rank| u64::from(rank.kv.total())),
            kv_free: sum(|rank| u64::from(rank.kv.free())),
            kv_cached: sum(|rank| u64::from(rank.kv.cached())),
            runs: instance.run.is_some(),
        }
    }

    /// Requests in an instance's queue.
    pub fn waiting(&self, id: InstanceId) -> u32 {
        self.instances[id.0 as usize].waiting.len() as u32
    }

    /// The pool an instance is in.
    pub fn pool_of(&self, id: InstanceId) -> u32 {
        self.instances[id.0 as usize].pool
    }

    /// The settings an instance runs with.
    pub fn limits(&self, id: InstanceId) -> &EngineLimits {
        &self.instances[id.0 as usize].limits
    }

    /// The token clock of an instance as of its last finished run.
    pub fn clock(&self, id: InstanceId) -> TokenClock {
        self.instances[id.0 as usize].clock
    }

    /// The price of a step of an instance.
    pub fn pricer(&self, id: InstanceId) -> &P {
        &self.pricers[self.instances[id.0 as usize].pool as usize]
    }

    /// Total, free and cached blocks of each rank of an instance.
    pub fn rank_blocks(&self, id: InstanceId) -> impl Iterator<Item = (u32, u32, u32)> {
        let ranks = self.instances[id.0 as usize].ranks.iter();
        ranks.map(|rank| (rank.kv.total(), rank.kv.free(), rank.kv.cached()))
    }

    /// What every request in flight should be holding.
    pub fn holdings(&self) -> impl Iterator<Item = Holding> {
        self.live.iter().flat_map(|(request, live)| {
            let place = |place: crate::request::Place, tokens, shared| Holding {
                request,
                instance: InstanceId(place.instance),
                rank: place.rank,
                tokens,
                shared,
            };
            let here = match live.phase {
                Phase::Queued | Phase::QueuedWithKv | Phase::Swapped => None,
                Phase::Decoding => {
                    let clock = self.instances[live.place.instance as usize].clock.tokens();
                    let tokens = live.request.prompt + live.generated + (clock - live.joined) as u32;
                    Some(place(live.place, tokens, live.hold.nodes))
                }
                _ => Some(place(live.place, live.target + 1, live.hold.nodes)),
            };
            let there = live.source.map(|(source, hold)| place(source, live.target + 1, hold.nodes));
            here.into_iter().chain(there)
        })
    }
}
