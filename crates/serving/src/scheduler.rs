//! What goes into the next step: continuous batching with chunked prefill under a token budget.

use crate::action::{Action, Endpoint, InstanceState, Run, TransferId};
use crate::engine::{Batching, Preemption};
use crate::gathering::Held;
use crate::instance::{Chunk, Instance, Surroundings};
use crate::kv::Hold;
use crate::request::{Phase, Reason, RequestId};
use steps::{RankLoad, StepPricer, StepShape};

/// No run is longer than this, so that step counts stay small integers.
const LONGEST_RUN: u64 = 1 << 20;

/// What makes a rank the better one for a request: less of each, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Preference {
    /// Prompt tokens to compute there, the request's included.
    work: u64,
    /// Hashes of its prefix in the rank's cache: more is better.
    cached: std::cmp::Reverse<u32>,
    /// Tokens held and waiting there.
    load: u64,
}

impl Instance {
    /// Starts the next run if there is anything to run and nothing runs.
    pub fn plan(&mut self, around: &mut Surroundings, pricer: &dyn StepPricer) {
        let up = matches!(self.state, InstanceState::Active | InstanceState::Draining);
        if self.run.is_some() || !up {
            return;
        }
        self.join_ready(around);
        self.make_room(around);
        self.loads.fill(RankLoad::default());
        let decodes = self.decode_seqs > 0;
        let (prefills, decodes) = match self.limits.batching {
            Batching::Mixed => (self.select(around, pricer, true, self.limits.token_budget), decodes),
            Batching::SloAware { step } => {
                let budget = self.budget_for(pricer, step);
                (self.select(around, pricer, true, budget), decodes)
            }
            Batching::PrefillFirst => {
                let prefills = self.select(around, pricer, false, self.limits.token_budget);
                (prefills, decodes && !prefills)
            }
            Batching::DecodeFirst => {
                let budget = if decodes { 0 } else { self.limits.token_budget };
                (self.select(around, pricer, true, budget), decodes)
            }
        };
        if prefills || decodes {
            let run = self.run_of(prefills, decodes);
            if prefills {
                self.announce_last_chunks(around);
            }
            self.start(run, around);
        }
    }

    /// Preempts until every rank has the blocks its decoding sequences need for one step.
    fn make_room(&mut self, around: &mut Surroundings) {
        if self.decode_seqs == 0 {
            return;
        }
        let clock = self.clock.tokens();
        let gained = self.clock.tokens_after(1) - clock;
        for rank in 0..self.ranks.len() {
            while self.ranks[rank].kv.growth(clock, gained) > self.ranks[rank].kv.available() {
                let Some(victim) = self.victim(rank, around) else { break };
                if self.ranks[rank].admitted == 1 {
                    self.drop_request(victim, around);
                    around.live.remove(victim);
                    around.actions.push(Action::Rejected(victim, Reason::OutgrewKv));
                } else {
                    self.preempt(victim, around);
                }
            }
        }
    }

    /// The sequence of `rank` that was admitted last.
    fn victim(&self, rank: usize, around: &Surroundings) -> Option<RequestId> {
        let live = &around.live;
        let prefilling = self.prefilling.iter().filter(|id| live.at(**id).place.rank as usize == rank);
        self.ranks[rank].decoding.iter().chain(prefilling).copied().max_by_key(|id| live.at(*id).order)
    }

    fn preempt(&mut self, id: RequestId, around: &mut Surroundings) {
        let decoding = around.live.at(id).phase == Phase::Decoding;
        if decoding {
            self.leave_batch(id, around);
        } else {
            self.prefilling.retain(|other| *other != id);
        }
        let computed = around.live.at(id).prefilled;
        self.unload(id, around);
        let swap = decoding && self.limits.preemption == Preemption::Swap;
        let live = around.live.at_mut(id);
        // The KV of the last token has not been computed yet: it is the input of the next step.
        let target = live.request.prompt + live.generated - u32::from(swap);
        self.tokens += u64::from(target - live.target);
        let lost = if swap { 0 } else { computed.max(if decoding { target - 1 } else { 0 }) };
        live.target = target;
        live.prefilled = if swap { target } else { 0 };
        live.phase = if swap { Phase::Swapped } else { Phase::Queued };
        live.queued = self.waiting.push_front(id, live.request.tenant, live.class);
        let clock = self.clock.tokens();
        around.actions.push(Action::Left { request: id, instance: self.id, clock, lost });
    }

    /// The largest token budget whose step is predicted to take no longer than `step`.
    fn budget_for(&self, pricer: &dyn StepPricer, step: units::Seconds) -> u32 {
        let own = self.limits.tokens_per_decode();
        let busiest = self.ranks.iter().map(|rank| rank.decoding.len() as u32).max().unwrap_or(0);
        let context = self.ranks.iter().map(|rank| rank.context).max().unwrap_or(0);
        if busiest == 0 {
            return self.limits.token_budget;
        }
        let decode = RankLoad {
            decode_seqs: f64::from(busiest),
            decode_context: context as f64,
            ..RankLoad::default()
        };
        let past = self.prefill_past_hint();
        let fits = |tokens: u32| {
            let load = decode.plus(RankLoad::prefill(1.0, f64::from(tokens), past));
            pricer.price(&StepShape::even(load, self.ranks.len() as u32)).time <= step
        };
        let most = self.limits.token_budget.saturating_sub(busiest * own);
        let (mut low, mut high) = (0, most / 64);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if fits(middle * 64) { low = middle } else { high = middle - 1 }
        }
        // A prompt under way always gets on, however slowly.
        busiest * own + (low * 64).max(64.min(most))
    }

    fn prefill_past_hint(&self) -> f64 {
        let pending: u64 = self.ranks.iter().map(|rank| rank.pending).max().unwrap_or(0);
        (pending / 2) as f64
    }

    /// Fills the step with chunks of prompts: of those under way, then of those waiting. Says whether there are any.
    fn select(
        &mut self,
        around: &mut Surroundings,
        pricer: &dyn StepPricer,
        with_decodes: bool,
        budget: u32,
    ) -> bool {
        let own = if with_decodes { self.limits.tokens_per_decode() } else { 0 };
        if !self.prefilling.is_empty() || self.waiting.peek().is_some() {
            for (left, rank) in self.budget.iter_mut().zip(&self.ranks) {
                *left = budget.saturating_sub(own * rank.decoding.len() as u32);
            }
        }
        self.chunks.clear();
        if budget > 0 {
            for at in 0..self.prefilling.len() {
                self.chunk(self.prefilling[at], around);
            }
        }
        let start = !self.gathers(around);
        while let (true, Some(id)) = (start, self.waiting.peek()) {
            if !self.admit(id, budget, around, pricer) {
                break;
            }
            self.held = Held::default();
        }
        !self.chunks.is_empty()
    }

    /// Puts as much of a prompt into the step as its rank's budget allows.
    fn chunk(&mut self, id: RequestId, around: &Surroundings) {
        let live = around.live.at(id);
        let rank = live.place.rank as usize;
        let remaining = live.target - live.prefilled;
        let alone = self.loads[rank].prefill_seqs == 0.0;
        let tokens = match (self.limits.chunked, remaining <= self.budget[rank]) {
            (true, _) => remaining.min(self.budget[rank]),
            // An engine that cannot cut prompts runs one that is over its budget in a step of its own.
            (false, false) if !alone => 0,
            (false, _) => remaining,
        };
        if tokens == 0 {
            return;
        }
        self.budget[rank] = self.budget[rank].saturating_sub(tokens);
        let load = RankLoad::prefill(1.0, f64::from(tokens), f64::from(live.prefilled));
        self.loads[rank] = self.loads[rank].plus(load);
        self.chunks.push(Chunk { request: id, tokens });
    }

    /// Takes the head of the queue off it if there is room; false if it has to wait.
    fn admit(
        &mut self,
        id: RequestId,
        budget: u32,
        around: &mut Surroundings,
        pricer: &dyn StepPricer,
    ) -> bool {
        let live = around.live.at(id);
        let computes = live.phase == Phase::Queued;
        if computes
            && live.generated == 0
            && live.request.deadline.is_some_and(|deadline| deadline < around.now)
        {
            self.waiting.pop();
            self.reject(id, Reason::DeadlinePassed, around);
            return true;
        }
        if !self.could_hold(live.target + 1) {
            self.waiting.pop();
            if let Some((place, hold)) = live.source {
                around.orphans.push((place, hold));
            }
            self.reject(id, Reason::OutgrewKv, around);
            return true;
        }
        if computes && budget == 0 {
            return false;
        }
        let Some((rank, hold)) = self.find_room(id, around) else { return false };
        self.waiting.pop();
        self.orders += 1;
        let order = self.orders;
        let hash_tokens = self.limits.prefix_cache.unwrap_or(0);
        let live = around.live.at_mut(id);
        live.place.rank = rank as u32;
        live.hold = hold;
        live.order = order;
        if computes {
            live.prefilled = hold.nodes * hash_tokens;
        }
        let cached = if computes { live.prefilled } else { 0 };
        let (tenant, pending) = (live.request.tenant, live.target - live.prefilled);
        self.ranks[rank].admitted += 1;
        self.ranks[rank].pending += u64::from(pending);
        if !computes {
            self.move_in(id, around);
            return true;
        }
        let weight = around.weight(tenant);
        self.waiting.charge_prompt(tenant, pending, weight);
        let fetched = self.fetch(id, around, pricer);
        around.actions.push(Action::Admitted { request: id, instance: self.id, cached, fetched });
        if fetched == 0 {
            around.live.at_mut(id).phase = Phase::Prefilling;
            self.prefilling.push(id);
            self.chunk(id, around);
        }
        true
    }

    /// A rank with room for the request, and its blocks there: the one with the least prompt left to compute (its own
    /// and this one's), as all ranks wait for the last; of equals the one with most of the prefix, then the least loaded.
    fn find_room(&mut self, id: RequestId, around: &Surroundings) -> Option<(usize, Hold)> {
        let live = around.live.at(id);
        let computes = live.phase == Phase::Queued;
        let hashes: &[u64] = live.request.prefix.as_deref().unwrap_or(&[]);
        let hash_tokens = self.limits.prefix_cache.unwrap_or(0);
        // At least one token is computed, to have something to sample from.
        let reusable = if hash_tokens == 0 || !computes { 0 } else { (live.target - 1) / hash_tokens };
        let hashes = &hashes[..hashes.len().min(reusable as usize)];
        let several = self.ranks.len() > 1;
        let fetchable = if several { around.tiers.longest(self.id, hashes) } else { 0 };
        let mut best: Option<(Preference, usize, u32)> = None;
        for (index, rank) in self.ranks.iter().enumerate() {
            let full = rank.admitted >= self.limits.max_seqs;
            if full || (computes && self.budget[index] == 0) {
                continue;
            }
            // Sequences whose cache is on its way here count as if they were like this one.
            let coming = match computes {
                true => rank.pending,
                false => (u64::from(rank.admitted) - rank.decoding.len() as u64) * u64::from(live.target),
            };
            let load = rank.context + coming;
            if hashes.is_empty() && best.is_some_and(|(least, ..)| load >= least.load) {
                continue;
            }
            let cached = match (&rank.kv.tree, hashes.is_empty()) {
                (Some(tree), false) => tree.matched(hashes),
                _ => 0,
            };
            let remaining = live.target - cached * hash_tokens;
            let crowded = self.loads[index].prefill_seqs > 0.0 && remaining > self.budget[index];
            if computes && !self.limits.chunked && crowded {
                continue;
            }
            let own =
                rank.kv.blocks_for(live.target + 1).saturating_sub(rank.kv.blocks_for(cached * hash_tokens));
            if rank.kv.available() < own + self.reserve(index) + self.first_growth(index, live.target) {
                continue;
            }
            let found = cached.max(fetchable) * hash_tokens;
            // Without prefixes to find, ranks differ by their load alone.
            let work = if hashes.is_empty() { 0 } else { rank.pending + u64::from(live.target - found) };
            let preference = Preference { work, cached: std::cmp::Reverse(cached), load };
            if best.is_none_or(|(least, ..)| preference < least) {
                best = Some((preference, index, cached));
            }
        }
        let (_, index, cached) = best?;
        let reserve = self.reserve(index) + self.first_growth(index, live.target);
        let rank = &mut self.ranks[index];
        let hold = rank.kv.hold(live.target + 1, hashes, cached, reserve)?;
        Some((index, hold))
    }

    /// Blocks that admission to a rank leaves: what its batch needs for the next step, and the watermark.
    fn reserve(&self, rank: usize) -> u32 {
        let rank = &self.ranks[rank];
        if rank.admitted == 0 {
            return 0;
        }
        let clock = self.clock.tokens();
        let growth = rank.kv.growth(clock, self.clock.tokens_after(1) - clock);
        growth + (self.limits.watermark * f64::from(rank.kv.total())) as u32
    }

    /// Blocks that a sequence whose KV will be `target` tokens takes in its first decoding step on `rank`. Admitted without
    /// them beside others, it would be preempted before it has gained a token, and two of them could take turns for ever.
    fn first_growth(&self, rank: usize, target: u32) -> u32 {
        let rank = &self.ranks[rank];
        if rank.admitted == 0 {
            return 0;
        }
        let gained = self.clock.rate().ceil() as u32;
        rank.kv.blocks_for(target + 1 + gained) - rank.kv.blocks_for(target + 1)
    }

    /// Starts fetching a longer prefix from a slower tier if that is faster than computing it; returns its tokens.
    fn fetch(&mut self, id: RequestId, around: &mut Surroundings, pricer: &dyn StepPricer) -> u32 {
        let Some(hash_tokens) = self.limits.prefix_cache else { return 0 };
        let live = around.live.at_mut(id);
        let Some(hashes) = &live.request.prefix else { return 0 };
        let reusable = hashes.len().min(((live.target - 1) / hash_tokens) as usize);
        let Some(found) = around.tiers.find(self.id, &hashes[..reusable], live.hold.nodes) else { return 0 };
        let missing = found.hashes - live.hold.nodes;
        let tokens = missing * hash_tokens;
        let (time, bytes) = around.tiers.fetch(found.tier, missing);
        let load = RankLoad::prefill(1.0, f64::from(tokens), f64::from(live.prefilled));
        let alone =
            StepShape { busiest: load, total_prefill_tokens: load.prefill_tokens, ..StepShape::default() };
        if time >= pricer.price(&alone).time {
            return 0;
        }
        *around.next_transfer += 1;
        live.phase = Phase::Fetching;
        live.fetching = tokens;
        live.transfer = *around.next_transfer;
        around.transfers.insert(live.transfer, id);
        let owner = (!found.shared).then_some(self.id);
        around.actions.push(Action::Transfer {
            transfer: TransferId(live.transfer),
            request: id,
            from: Endpoint::Tier(found.tier, owner),
            to: Endpoint::Instance(self.id),
            bytes,
        });
        tokens
    }

    /// Starts moving a request's KV to where it has just been given blocks.
    fn move_in(&mut self, id: RequestId, around: &mut Surroundings) {
        *around.next_transfer += 1;
        let live = around.live.at_mut(id);
        let from = match live.source {
            Some((place, _)) => Endpoint::Instance(crate::InstanceId(place.instance)),
            None => Endpoint::Host(self.id),
        };
        live.phase = Phase::Moving;
        live.transfer = *around.next_transfer;
        around.transfers.insert(live.transfer, id);
        around.actions.push(Action::Transfer {
            transfer: TransferId(live.transfer),
            request: id,
            from,
            to: Endpoint::Instance(self.id),
            bytes: self.limits.kv_bytes_per_token * f64::from(live.target),
        });
    }

    fn announce_last_chunks(&self, around: &mut Surroundings) {
        for chunk in &self.chunks {
            let live = around.live.at(chunk.request);
            if live.prefilled + chunk.tokens == live.target {
                around.actions.push(Action::LastChunk { request: chunk.request, instance: self.id });
            }
        }
    }

    /// The run that the selection amounts to.
    fn run_of(&mut self, prefills: bool, decodes: bool) -> Run {
        let mut shape = StepShape::default();
        let busiest = &mut shape.busiest;
        let (mut decoding, mut growth) = (0, 0);
        for (rank, load) in self.ranks.iter().zip(&self.loads) {
            if decodes {
                let seqs = rank.decoding.len() as u32;
                decoding = decoding.max(seqs);
                if rank.context as f64 > busiest.decode_context {
                    busiest.decode_context = rank.context as f64;
                    growth = seqs;
                }
            }
            if prefills {
                busiest.prefill_seqs = busiest.prefill_seqs.max(load.prefill_seqs);
                busiest.prefill_tokens = busiest.prefill_tokens.max(load.prefill_tokens);
                busiest.prefill_past = busiest.prefill_past.max(load.prefill_past);
                busiest.prefill_pairs = busiest.prefill_pairs.max(load.prefill_pairs);
                shape.total_prefill_tokens += load.prefill_tokens;
            }
        }
        let padded = if decodes { self.limits.padded(decoding) } else { 0 };
        shape.busiest.decode_seqs = f64::from(padded);
        // Padding a batch pads the expert layers' tokens in the same proportion.
        let scale = if decoding == 0 { 0.0 } else { f64::from(padded) / f64::from(decoding) };
        shape.total_decode_seqs = if decodes { f64::from(self.decode_seqs) * scale } else { 0.0 };
        Run {
            shape,
            context_per_step: f64::from(growth) * self.clock.rate(),
            max_steps: if prefills { 1 } else { self.steps_of_room() },
            decode_seqs: if decodes { self.decode_seqs } else { 0 },
            prefill_tokens: shape.total_prefill_tokens as u32,
        }
    }

    /// Steps that the blocks of every rank last for and that no prompt is due in, at least one.
    fn steps_of_room(&self) -> u32 {
        let clock = self.clock.tokens();
        let tokens = self.ranks.iter().fold(LONGEST_RUN, |least, rank| rank.kv.room(clock, least));
        let steps = self.clock.steps_within(tokens).clamp(1, LONGEST_RUN) as u32;
        if self.held.left > 0 { steps.min(self.held.left) } else { steps }
    }
}
