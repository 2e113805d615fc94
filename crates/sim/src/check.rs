//! Checkers of the laws, apart from the code they check: they keep books of their own from what passes between driver
//! and control plane, and compare.

use crate::world::{SimError, Totals};
use serving::{Action, Cluster, Event, InstanceId, InstanceState, Nanos, RequestId, TransferId};
use std::collections::{BTreeMap, BTreeSet};
use steps::StepPricer;

/// Books on requests, runs and transfers.
#[derive(Debug, Clone, Default)]
pub struct Checker {
    now: Nanos,
    live: BTreeSet<RequestId>,
    running: BTreeSet<InstanceId>,
    transfers: BTreeSet<TransferId>,
    joined: BTreeMap<RequestId, InstanceId>,
    arrived: u64,
    ended: u64,
}

impl Checker {
    fn broken<T>(&self, law: u8, what: impl Into<String>) -> Result<T, SimError> {
        Err(SimError::Law { law, at: self.now.seconds(), what: what.into() })
    }

    /// Looks at what the control plane is about to be told.
    ///
    /// # Errors
    /// A broken law.
    pub fn before(&mut self, now: Nanos, event: &Event) -> Result<(), SimError> {
        if now < self.now {
            return self.broken(2, format!("the clock went back to {}", now.seconds()));
        }
        self.now = now;
        match event {
            Event::Arrived(id, _) => {
                self.arrived += 1;
                if !self.live.insert(*id) {
                    return self.broken(1, format!("{id:?} arrived twice"));
                }
            }
            Event::StepFinished { instance, ended, .. } => {
                if !self.running.remove(instance) {
                    return self.broken(2, format!("{instance:?} finished steps it had not started"));
                }
                if let Some(end) = ended.iter().find(|end| !self.live.contains(&end.request)) {
                    return self.broken(2, format!("{:?} ended without having arrived", end.request));
                }
            }
            Event::TransfersFinished(arrived) => {
                if let Some(transfer) = arrived.iter().find(|transfer| !self.transfers.remove(transfer)) {
                    return self.broken(2, format!("{transfer:?} finished without having started"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks at what the control plane answered, and at its state.
    ///
    /// # Errors
    /// A broken law.
    pub fn after<P: StepPricer>(
        &mut self,
        now: Nanos,
        actions: &[Action],
        cluster: &Cluster<P>,
    ) -> Result<(), SimError> {
        for action in actions {
            self.action(now, action)?;
        }
        if cluster.in_flight() != self.live.len() {
            let what = format!(
                "{} requests in flight where {} have not ended",
                cluster.in_flight(),
                self.live.len()
            );
            return self.broken(1, what);
        }
        self.blocks(cluster)?;
        self.work(cluster)
    }

    fn action(&mut self, now: Nanos, action: &Action) -> Result<(), SimError> {
        match action {
            Action::Finished(id) | Action::Rejected(id, _) | Action::Dropped(id) => {
                self.ended += 1;
                self.joined.remove(id);
                if !self.live.remove(id) {
                    return self.broken(1, format!("{id:?} ended twice"));
                }
            }
            Action::Joined { request, instance, .. } if self.joined.insert(*request, *instance).is_some() => {
                return self.broken(1, format!("{request:?} joined two batches"));
            }
            Action::Left { request, .. } => {
                self.joined.remove(request);
            }
            Action::Start { instance, run } => {
                if !self.running.insert(*instance) {
                    return self.broken(2, format!("{instance:?} started a run inside a run"));
                }
                if run.decode_seqs == 0 && run.prefill_tokens == 0 {
                    return self.broken(5, format!("{instance:?} runs an empty step"));
                }
            }
            Action::Abort(instance) => {
                self.running.remove(instance);
            }
            Action::Transfer { transfer, .. } => {
                self.transfers.insert(*transfer);
            }
            Action::CancelTransfer(transfer) => {
                self.transfers.remove(transfer);
            }
            Action::SetTimer(at, _) if *at < now => return self.broken(2, "a timer was set for the past"),
            _ => {}
        }
        Ok(())
    }

    /// Law 1 for KV blocks: what is free, cached and held by requests, counted from their lengths, is all there is.
    fn blocks<P: StepPricer>(&self, cluster: &Cluster<P>) -> Result<(), SimError> {
        let mut held: BTreeMap<(InstanceId, u32), u64> = BTreeMap::new();
        for holding in cluster.holdings() {
            let limits = cluster.limits(holding.instance);
            let shared = holding.shared * limits.prefix_cache.unwrap_or(0) / limits.block;
            let blocks = holding.tokens.div_ceil(limits.block).saturating_sub(shared);
            *held.entry((holding.instance, holding.rank)).or_default() += u64::from(blocks);
        }
        for index in 0..cluster.instance_count() {
            let instance = InstanceId(index);
            for (rank, (total, free, cached)) in cluster.rank_blocks(instance).enumerate() {
                let held = held.get(&(instance, rank as u32)).copied().unwrap_or(0);
                if u64::from(total) != u64::from(free) + u64::from(cached) + held {
                    let what = format!(
                        "{instance:?} rank {rank}: {free} free, {cached} cached and {held} held are not {total} blocks"
                    );
                    return self.broken(1, what);
                }
            }
        }
        Ok(())
    }

    /// Law 5: an active instance that does nothing has nothing it could do: no batch, no prompt under way, and either
    /// an empty queue or no room.
    fn work<P: StepPricer>(&self, cluster: &Cluster<P>) -> Result<(), SimError> {
        for index in 0..cluster.instance_count() {
            let view = cluster.instance(InstanceId(index));
            if view.runs != self.running.contains(&view.id) {
                return self.broken(2, format!("{:?} and the books disagree whether it runs", view.id));
            }
            if view.runs || view.state != InstanceState::Active {
                continue;
            }
            if view.decoding > 0 || view.prefilling > 0 {
                return self
                    .broken(5, format!("{:?} is idle with {} sequences to run", view.id, view.decoding));
            }
            if view.waiting > 0 && view.admitted == 0 {
                return self
                    .broken(5, format!("{:?} is idle and empty with {} waiting", view.id, view.waiting));
            }
        }
        Ok(())
    }

    /// Looks at the end of a run. Requests whose clients went away before the control plane was told are not in the books.
    ///
    /// # Errors
    /// A broken law.
    pub fn finish(&self, totals: &Totals, _now: Nanos) -> Result<(), SimError> {
        let counted = totals.completed + totals.rejected + totals.cancelled;
        if self.arrived != self.ended
            || counted != totals.arrived
            || counted < self.ended
            || !self.live.is_empty()
        {
            return self.broken(1, format!("{} requests arrived and {} ended", self.arrived, self.ended));
        }
        if !self.transfers.is_empty() {
            return self.broken(1, format!("{} transfers never ended", self.transfers.len()));
        }
        Ok(())
    }
}
