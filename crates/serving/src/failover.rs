//! What happens to an instance and its requests when hardware dies.

use crate::action::{Action, InstanceState, KvChange, Timer, TransferId};
use crate::cluster::Cluster;
use crate::kv::Hold;
use crate::request::{InstanceId, Phase, Reason, RequestId};
use steps::StepPricer;
use units::Seconds;

/// How a deployment recovers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recovery {
    /// Times a request may be lost with an instance before it is given up.
    pub retries: u8,
    /// Idle instances' worth of hardware that can stand in; each takes the warm load time to come up.
    pub spares: u32,
    /// Whether an instance with more than one attention rank goes on without the dead ones after this long (the time to
    /// rebuild its communicators); `None` takes the whole instance down.
    pub shrink: Option<Seconds>,
}

impl Default for Recovery {
    /// Three retries, no spares, no shrinking.
    fn default() -> Self {
        Self { retries: 3, spares: 0, shrink: None }
    }
}

impl<P: StepPricer> Cluster<P> {
    pub(crate) fn instance_failed(&mut self, id: InstanceId, dead_ranks: u32, repairable: bool) {
        let Some(instance) = self.instances.get(id.0 as usize) else { return };
        if matches!(instance.state, InstanceState::Removed | InstanceState::Failed) {
            return;
        }
        let ranks = instance.ranks.len() as u32;
        let recovery = self.deployment_of(id.0).recovery;
        match recovery.shrink.filter(|_| dead_ranks < ranks && instance.state == InstanceState::Active) {
            Some(pause) => self.shrink(id, ranks - dead_ranks, pause),
            None => self.take_down(id, repairable),
        }
    }

    /// Ends the step under way without a result. Prompts keep the chunks of earlier steps.
    fn abort_run(&mut self, id: InstanceId) {
        let instance = &mut self.instances[id.0 as usize];
        instance.chunks.clear();
        if instance.run.take().is_some() {
            self.actions.push(Action::Abort(id));
        }
        for request in std::mem::take(&mut self.instances[id.0 as usize].cancelled) {
            self.cancel(request);
        }
    }

    /// The instance goes on with its first `keep` ranks.
    fn shrink(&mut self, id: InstanceId, keep: u32, pause: Seconds) {
        self.abort_run(id);
        let hit = |place: crate::request::Place| place.instance == id.0 && place.rank >= keep;
        self.lose_requests(id, move |place, queued| !queued && hit(place), hit);
        let instance = &mut self.instances[id.0 as usize];
        let cleared = keep..instance.ranks.len() as u32;
        instance.ranks.truncate(keep as usize);
        instance.budget.truncate(keep as usize);
        instance.loads.truncate(keep as usize);
        self.tell_cleared(id, cleared);
        self.set_state(id, InstanceState::Loading);
        self.actions.push(Action::SetTimer(self.now.after(pause), Timer::Loaded(id)));
        self.reroute_lost();
    }

    /// The whole instance is gone until it is repaired; a spare stands in if there is one.
    fn take_down(&mut self, id: InstanceId, repairable: bool) {
        self.abort_run(id);
        self.set_state(id, if repairable { InstanceState::Failed } else { InstanceState::Removed });
        let pool = self.instances[id.0 as usize].pool;
        let deployment = self.pools[pool as usize].deployment as usize;
        if self.deployments[deployment].recovery.spares > 0 {
            self.deployments[deployment].recovery.spares -= 1;
            self.bring_up(pool);
        }
        self.lose_requests(id, move |place, _| place.instance == id.0, move |place| place.instance == id.0);
        let instance = &mut self.instances[id.0 as usize];
        let ranks = instance.limits.ranks;
        instance.reset_ranks(ranks as usize);
        self.tell_cleared(id, 0..ranks);
        self.deployments[deployment].tiers.forget(id);
        if !repairable {
            self.pools[pool as usize].members.retain(|member| *member != id.0);
        }
        self.reroute_lost();
    }

    /// Tells that the prefix caches of these ranks are gone.
    pub(crate) fn tell_cleared(&mut self, instance: InstanceId, ranks: std::ops::Range<u32>) {
        if self.watches_kv {
            let told = |rank| Action::Kv { instance, rank, change: KvChange::Cleared };
            self.actions.extend(ranks.map(told));
        }
    }

    /// Takes requests off `id` whose place `loses` says is gone (it is also told whether they were only queued there),
    /// and those elsewhere whose KV was still at a place that `gone` names.
    fn lose_requests(
        &mut self,
        id: InstanceId,
        loses: impl Fn(crate::request::Place, bool) -> bool,
        gone: impl Fn(crate::request::Place) -> bool,
    ) {
        let queued = |phase: Phase| matches!(phase, Phase::Queued | Phase::QueuedWithKv | Phase::Swapped);
        let hit: Vec<RequestId> = self
            .live
            .iter()
            .filter(|(_, live)| {
                loses(live.place, queued(live.phase)) || live.source.is_some_and(|(place, _)| gone(place))
            })
            .map(|(request, _)| request)
            .collect();
        for request in hit {
            self.lose(request, id, &gone);
        }
    }

    fn lose(&mut self, id: RequestId, failed: InstanceId, gone: &impl Fn(crate::request::Place) -> bool) {
        let live = self.live.at(id);
        let (index, phase, transfer) = (live.place.instance, live.phase, live.transfer);
        if matches!(phase, Phase::Moving | Phase::Fetching) {
            self.transfers.remove(&transfer);
            self.actions.push(Action::CancelTransfer(TransferId(transfer)));
        }
        let computed = match phase {
            Phase::Queued => 0,
            Phase::Decoding => live.target,
            _ => live.prefilled,
        };
        let in_flight = !matches!(phase, Phase::Queued);
        self.with(index, |instance, around, _| instance.drop_request(id, around));
        self.dirty.insert(index);
        let clock = self.instances[index as usize].clock.tokens();
        let live = self.live.at_mut(id);
        let grown = if phase == Phase::Decoding {
            (live.request.prompt + live.generated).saturating_sub(live.target + 1)
        } else {
            0
        };
        let source = live.source.take();
        live.hold = Hold::NONE;
        live.target = live.request.prompt + live.generated;
        live.prefilled = 0;
        live.fetching = 0;
        live.lost += u8::from(in_flight);
        live.phase = Phase::Queued;
        if let Some((place, hold)) = source {
            if !gone(place) {
                self.return_blocks(place, hold);
            }
        }
        if in_flight {
            let instance = if phase == Phase::Decoding { InstanceId(index) } else { failed };
            self.actions.push(Action::Left { request: id, instance, clock, lost: computed + grown });
        }
        self.lost.push(id);
    }

    /// Sends lost requests to the instances that are left.
    fn reroute_lost(&mut self) {
        for id in std::mem::take(&mut self.lost) {
            let live = self.live.at(id);
            let deployment = &self.deployments[live.request.deployment as usize];
            if live.lost > deployment.recovery.retries {
                self.give_up(id, Reason::RetriesExhausted);
            } else {
                let entry = deployment.entry;
                self.route(id, entry);
            }
        }
    }

    pub(crate) fn instance_repaired(&mut self, id: InstanceId) {
        let Some(instance) = self.instances.get_mut(id.0 as usize) else { return };
        let whole = instance.limits.ranks as usize;
        match instance.state {
            InstanceState::Failed => {
                self.set_state(id, InstanceState::Loading);
                let pool = self.instances[id.0 as usize].pool;
                let load = self.pools[pool as usize].load.warm;
                self.actions.push(Action::SetTimer(self.now.after(load), Timer::Loaded(id)));
            }
            InstanceState::Removed => {}
            _ => {
                instance.grow_ranks(whole);
                self.dirty.insert(id.0);
            }
        }
    }

    pub(crate) fn set_state(&mut self, id: InstanceId, state: InstanceState) {
        let instance = &mut self.instances[id.0 as usize];
        if instance.state != state {
            instance.state = state;
            self.actions.push(Action::Instance(id, state));
        }
    }
}
