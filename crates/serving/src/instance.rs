//! One engine instance: its ranks, its queue, what runs on it, and the sums that price a step of it.

use crate::action::{Action, Ended, InstanceState, Run};
use crate::engine::{Batching, EngineLimits};
use crate::gathering::Held;
use crate::kv::{Hold, RankKv};
use crate::memory_pool::Tiers;
use crate::queue::WaitQueue;
use crate::request::{InstanceId, Phase, Place, Reason, RequestId, Table};
use crate::speculative::TokenClock;
use crate::time::Nanos;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an instance needs of its surroundings while it decides.
pub(crate) struct Surroundings<'a> {
    pub now: Nanos,
    pub live: &'a mut Table,
    pub actions: &'a mut Vec<Action>,
    pub tiers: &'a mut Tiers,
    pub next_transfer: &'a mut u64,
    pub tenant_weights: &'a BTreeMap<u32, f64>,
    /// Blocks on other instances whose owner has gone, for the cluster to return.
    pub orphans: &'a mut Vec<(Place, Hold)>,
    pub transfers: &'a mut BTreeMap<u64, RequestId>,
}

impl Surroundings<'_> {
    pub fn weight(&self, tenant: u32) -> f64 {
        self.tenant_weights.get(&tenant).copied().unwrap_or(1.0)
    }
}

/// One attention data-parallel rank.
#[derive(Debug, Clone)]
pub(crate) struct Rank {
    pub kv: RankKv,
    pub decoding: Vec<RequestId>,
    /// Sum of the contexts of `decoding`.
    pub context: u64,
    /// Sequences admitted to the rank, decoding or not.
    pub admitted: u32,
    /// Prompt tokens admitted and not yet computed.
    pub pending: u64,
}

/// A chunk of a prompt in the run under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    pub request: RequestId,
    pub tokens: u32,
}

/// The run under way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Current {
    pub max_steps: u32,
    pub decodes: bool,
    pub interrupted: bool,
}

/// One engine instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub id: InstanceId,
    pub pool: u32,
    pub limits: Arc<EngineLimits>,
    pub state: InstanceState,
    pub ranks: Vec<Rank>,
    pub waiting: WaitQueue,
    /// Admitted requests whose prompts are not complete, in order of admission.
    pub prefilling: Vec<RequestId>,
    /// Requests whose KV is here and that join the batch at the next step.
    pub ready: Vec<RequestId>,
    pub clock: TokenClock,
    pub run: Option<Current>,
    pub chunks: Vec<Chunk>,
    /// Prompts completed by the last run, for the cluster to see to.
    pub completed: Vec<RequestId>,
    /// Scratch: what is left of each rank's token budget.
    pub budget: Vec<u32>,
    pub loads: Vec<steps::RankLoad>,
    pub orders: u64,
    /// What prompts that wait to start together have waited.
    pub held: Held,
    /// Requests queued, admitted or moving here.
    pub requests: u32,
    /// Sum of their prompts and earlier output: the router's measure of load.
    pub tokens: u64,
    pub decode_seqs: u32,
    /// Requests whose clients went away while a step with them was under way.
    pub cancelled: Vec<RequestId>,
    /// The pool to join once drained.
    pub moves_to: Option<u32>,
    /// Whether changes of its prefix caches are told.
    pub watches_kv: bool,
}

impl Instance {
    pub fn new(id: InstanceId, pool: u32, limits: Arc<EngineLimits>, state: InstanceState) -> Self {
        let count = limits.ranks as usize;
        let mut instance = Self {
            id,
            pool,
            state,
            ranks: Vec::new(),
            waiting: WaitQueue::new(limits.order),
            prefilling: Vec::new(),
            ready: Vec::new(),
            clock: TokenClock::new(limits.speculation),
            run: None,
            chunks: Vec::new(),
            completed: Vec::new(),
            budget: Vec::new(),
            loads: Vec::new(),
            orders: 0,
            held: Held::default(),
            requests: 0,
            tokens: 0,
            decode_seqs: 0,
            cancelled: Vec::new(),
            moves_to: None,
            watches_kv: false,
            limits,
        };
        instance.reset_ranks(count);
        instance
    }

    /// Starts over with `count` empty ranks.
    pub fn reset_ranks(&mut self, count: usize) {
        self.ranks.clear();
        self.budget.clear();
        self.loads.clear();
        self.grow_ranks(count);
    }

    /// Adds empty ranks until there are `count`.
    pub fn grow_ranks(&mut self, count: usize) {
        let limits = &self.limits;
        let kv = RankKv::new(limits.kv_blocks, limits.block, limits.prefix_cache);
        let empty = Rank { kv, decoding: Vec::new(), context: 0, admitted: 0, pending: 0 };
        while self.ranks.len() < count {
            self.ranks.push(empty.clone());
            self.budget.push(0);
            self.loads.push(steps::RankLoad::default());
        }
        if self.watches_kv {
            self.watch_kv();
        }
    }

    /// Keeps journals of the changes of its prefix caches from now on.
    pub fn watch_kv(&mut self) {
        self.watches_kv = true;
        self.ranks.iter_mut().filter_map(|rank| rank.kv.tree.as_mut()).for_each(|tree| tree.watch());
    }

    /// Takes on another pool's role, empty as it is.
    pub fn become_member(&mut self, pool: u32, limits: Arc<EngineLimits>) {
        self.pool = pool;
        self.waiting = WaitQueue::new(limits.order);
        self.held = Held::default();
        self.clock = TokenClock::new(limits.speculation);
        self.limits = limits;
        let count = self.limits.ranks as usize;
        self.reset_ranks(count);
    }

    /// Whether a request of `tokens` tokens fits an empty rank.
    pub fn could_hold(&self, tokens: u32) -> bool {
        tokens.div_ceil(self.limits.block) <= self.limits.kv_blocks
    }

    /// Whether it takes new requests.
    pub fn takes_requests(&self) -> bool {
        self.state == InstanceState::Active
    }

    /// Puts a request at the end of the queue.
    pub fn enqueue(&mut self, id: RequestId, around: &mut Surroundings) {
        let live = around.live.at_mut(id);
        live.place.instance = self.id.0;
        let (tenant, class) = (live.request.tenant, live.class);
        self.requests += 1;
        self.tokens += u64::from(live.target);
        around.live.at_mut(id).queued = self.waiting.push_back(id, tenant, class);
    }

    /// Joins those whose KV is complete to the batch.
    pub fn join_ready(&mut self, around: &mut Surroundings) {
        let clock = self.clock.tokens();
        for id in std::mem::take(&mut self.ready) {
            let live = around.live.at_mut(id);
            let context = live.request.prompt + live.generated;
            let rank = &mut self.ranks[live.place.rank as usize];
            live.phase = Phase::Decoding;
            live.joined = clock;
            live.position = rank.decoding.len() as u32;
            rank.decoding.push(id);
            rank.context += u64::from(context);
            rank.kv.enter(context, clock);
            self.decode_seqs += 1;
            self.waiting.running(live.request.tenant, true);
            around.actions.push(Action::Joined { request: id, instance: self.id, clock });
        }
    }

    /// Takes a decoding sequence out of the batch; its hold and its count of tokens are brought up to date.
    pub fn leave_batch(&mut self, id: RequestId, around: &mut Surroundings) {
        let clock = self.clock.tokens();
        let live = around.live.at_mut(id);
        live.generated += (clock - live.joined) as u32;
        live.joined = clock;
        let context = live.request.prompt + live.generated;
        let rank = &mut self.ranks[live.place.rank as usize];
        live.hold.private = rank.kv.private(context, live.hold.nodes);
        let position = live.position;
        self.waiting.running(live.request.tenant, false);
        rank.context -= u64::from(context);
        rank.kv.leave(context, clock);
        rank.decoding.swap_remove(position as usize);
        if let Some(moved) = rank.decoding.get(position as usize) {
            around.live.at_mut(*moved).position = position;
        }
        self.decode_seqs -= 1;
    }

    /// Takes an admitted request off its rank, returning its blocks; `decoding` sequences must have left the batch.
    pub fn unload(&mut self, id: RequestId, around: &mut Surroundings) {
        let live = around.live.at_mut(id);
        let rank = &mut self.ranks[live.place.rank as usize];
        rank.kv.release(live.hold);
        rank.admitted -= 1;
        rank.pending -= u64::from(live.target - live.prefilled);
        live.hold = Hold::NONE;
    }

    /// Forgets a request that is no longer any business of this instance.
    pub fn forget(&mut self, prompt_and_output: u32) {
        self.requests -= 1;
        self.tokens -= u64::from(prompt_and_output);
    }

    /// Lets go of a request in whatever phase it is here.
    pub fn drop_request(&mut self, id: RequestId, around: &mut Surroundings) {
        let counted = around.live.at(id).target;
        match around.live.at(id).phase {
            Phase::Queued | Phase::QueuedWithKv | Phase::Swapped => {
                let live = around.live.at(id);
                self.waiting.remove(live.queued, live.request.tenant, live.class);
            }
            Phase::Decoding => {
                self.leave_batch(id, around);
                self.unload(id, around);
            }
            Phase::Prefilling => {
                self.prefilling.retain(|other| *other != id);
                self.chunks.retain(|chunk| chunk.request != id);
                self.unload(id, around);
            }
            Phase::Ready => {
                self.ready.retain(|other| *other != id);
                self.unload(id, around);
            }
            Phase::Fetching | Phase::Moving => self.unload(id, around),
        }
        self.forget(counted);
    }

    /// Books `steps` steps of the run: growth of contexts and blocks, chunks computed. Prompts that became complete are
    /// left in `completed`.
    pub fn advance(&mut self, steps: u32, around: &mut Surroundings) {
        let Some(run) = self.run.take() else { return };
        if run.decodes {
            let before = self.clock.tokens();
            self.clock.advance(u64::from(steps));
            let gained = self.clock.tokens() - before;
            for rank in &mut self.ranks {
                if rank.decoding.is_empty() {
                    continue;
                }
                rank.context += rank.decoding.len() as u64 * gained;
                let taken = rank.kv.growth(before, gained);
                let fits = rank.kv.take(taken);
                debug_assert!(fits, "a run is never longer than its blocks last");
            }
            let weights = around.tenant_weights;
            self.waiting.charge_output(gained, |tenant| weights.get(&tenant).copied().unwrap_or(1.0));
        }
        self.completed.clear();
        for chunk in std::mem::take(&mut self.chunks) {
            let live = around.live.at_mut(chunk.request);
            live.prefilled += chunk.tokens;
            let rank = &mut self.ranks[live.place.rank as usize];
            rank.pending -= u64::from(chunk.tokens);
            if live.prefilled < live.target {
                continue;
            }
            live.generated += 1;
            live.phase = Phase::Ready;
            if let Some(hashes) = live.request.prefix.clone() {
                rank.kv.publish(&mut live.hold, &hashes);
                around.tiers.store(self.id, &hashes);
            }
            self.completed.push(chunk.request);
        }
        if !self.completed.is_empty() {
            let live = &around.live;
            self.prefilling.retain(|id| live.at(*id).phase == Phase::Prefilling);
        }
    }

    /// Ends the run with the step under way, if it would go on for longer.
    pub fn interrupt(&mut self, around: &mut Surroundings) {
        if let Some(run) = &mut self.run {
            if run.max_steps > 1 && !run.interrupted {
                run.interrupted = true;
                around.actions.push(Action::Interrupt(self.id));
            }
        }
    }

    /// Interrupts a run of decoding if the head of the queue could be admitted at the next step: what does not fit now
    /// does not fit before a sequence ends, and that ends the run anyway.
    pub fn interrupt_for_admission(&mut self, around: &mut Surroundings) {
        let limits = &self.limits;
        let waits_for_drain = limits.batching == Batching::DecodeFirst && self.decode_seqs > 0;
        let Some(id) = self.waiting.peek() else { return };
        let live = around.live.at(id);
        if waits_for_drain && live.phase == Phase::Queued {
            return;
        }
        let fits = |rank: &Rank| {
            let cached = rank.kv.cached().min(rank.kv.blocks_for(live.target));
            rank.admitted < limits.max_seqs
                && rank.kv.available() + cached >= rank.kv.blocks_for(live.target + 1)
        };
        if self.ranks.iter().any(fits) {
            self.interrupt(around);
        }
    }

    /// Lets a request go whose last token was produced in the run that has been booked.
    pub fn finish(&mut self, end: &Ended, around: &mut Surroundings) {
        let id = end.request;
        if !around.live.contains(id) || around.live.at(id).place.instance != self.id.0 {
            return;
        }
        if around.live.at(id).phase == Phase::Decoding {
            self.leave_batch(id, around);
        }
        let live = around.live.at_mut(id);
        if let Some(hashes) = &end.prefix {
            let full = (live.request.prompt + live.generated) / self.limits.prefix_cache.unwrap_or(u32::MAX);
            let hashes = &hashes[..hashes.len().min(full as usize)];
            self.ranks[live.place.rank as usize].kv.publish(&mut live.hold, hashes);
            around.tiers.store(self.id, hashes);
        }
        self.unload(id, around);
        let counted = around.live.at(id).target;
        self.forget(counted);
        around.live.remove(id);
        around.actions.push(Action::Finished(id));
    }

    /// Gives a request up.
    pub fn reject(&mut self, id: RequestId, reason: Reason, around: &mut Surroundings) {
        if let Some(live) = around.live.remove(id) {
            self.forget(live.target);
            around.actions.push(Action::Rejected(id, reason));
        }
    }

    /// Starts a run.
    pub fn start(&mut self, run: Run, around: &mut Surroundings) {
        self.run =
            Some(Current { max_steps: run.max_steps, decodes: run.decode_seqs > 0, interrupted: false });
        around.actions.push(Action::Start { instance: self.id, run });
    }
}
