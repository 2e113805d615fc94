//! Doing what the control plane says.

use super::engines::Engine;
use super::{SimError, What, World};
use crate::record::{Observer, Outcome, Record};
use serving::{Action, Event, InstanceId, InstanceState, RequestId, Timer};
use std::cmp::Reverse;
use steps::StepPricer;

impl<P: StepPricer> World<P> {
    /// Tells the cluster and does what it says.
    pub(super) fn tell(&mut self, event: Event, out: &mut impl Observer) -> Result<(), SimError> {
        if let Some(checker) = &mut self.checker {
            checker.before(self.now, &event)?;
        }
        out.told(self.now, &event);
        let mut actions = std::mem::take(&mut self.actions);
        actions.extend(self.cluster.handle(self.now, event));
        if let Some(checker) = &mut self.checker {
            checker.after(self.now, &actions, &self.cluster)?;
        }
        out.decided(self.now, &actions);
        for action in actions.drain(..) {
            self.act(action, out);
        }
        self.actions = actions;
        Ok(())
    }

    fn act(&mut self, action: Action, out: &mut impl Observer) {
        match action {
            Action::Admitted { request, cached, fetched, .. } => {
                let now = self.now;
                let flight = self.flights.at_mut(request);
                flight.admitted.get_or_insert(now);
                flight.cached += cached;
                flight.fetched += fetched;
            }
            Action::LastChunk { request, instance } => {
                self.engines[instance.0 as usize].last_chunks.push(request)
            }
            Action::Joined { request, instance, clock } => self.joined(request, instance, clock, out),
            Action::Left { request, clock, lost, .. } => {
                let flight = self.flights.at_mut(request);
                if let Some(joined) = flight.joined.take() {
                    flight.emitted += (clock - joined) as u32;
                    out.left(flight.arrival.ticket, flight.emitted);
                }
                flight.epoch += 1;
                flight.restarts += 1;
                out.tokens_lost(u64::from(lost));
            }
            Action::Start { instance, run } => self.start_run(instance, run, out),
            Action::Interrupt(instance) => self.interrupt(instance),
            Action::Abort(instance) => {
                let engine = &mut self.engines[instance.0 as usize];
                engine.epoch += 1;
                engine.active = None;
                engine.last_chunks.clear();
            }
            Action::Transfer { transfer, request, from, to, bytes } => {
                self.transfer(transfer, request, from, to, bytes);
            }
            Action::CancelTransfer(transfer) => {
                self.transfers.remove(&transfer);
                self.wiring.network.cancel(transfer, self.now);
                self.watch_network();
            }
            Action::Finished(request) => self.end(request, Outcome::Completed, out),
            Action::Rejected(request, reason) => self.end(request, Outcome::Rejected(reason), out),
            Action::Dropped(request) => self.end(request, Outcome::Cancelled, out),
            Action::SetTimer(at, Timer::Loaded(instance)) => self.schedule(at, What::Timer(0, instance.0)),
            Action::SetTimer(at, Timer::Scale(pool)) => self.schedule(at, What::Timer(1, pool)),
            Action::Instance(instance, state) => self.instance_changed(instance, state, out),
            Action::Kv { .. } => {}
        }
    }

    fn instance_changed(&mut self, instance: InstanceId, state: InstanceState, out: &mut impl Observer) {
        while self.engines.len() <= instance.0 as usize {
            self.engines.push(Engine::default());
        }
        let pool = self.cluster.pool_of(instance);
        self.placement.changed(instance, pool, state);
        out.instance_changed(instance, pool, state, self.now.seconds());
    }

    fn joined(&mut self, request: RequestId, instance: InstanceId, clock: u64, out: &mut impl Observer) {
        let now = self.now;
        let flight = self.flights.at_mut(request);
        flight.joined = Some(clock);
        flight.instance = Some(instance);
        flight.first_token.get_or_insert(now);
        let left = flight.arrival.output.saturating_sub(flight.emitted).max(1);
        let end = Reverse((clock + u64::from(left), request, flight.epoch));
        let engine = &mut self.engines[instance.0 as usize];
        engine.tokens = clock;
        engine.ends.push(end);
        out.joined(flight.arrival.ticket, instance, clock, flight.emitted);
    }

    pub(super) fn end(&mut self, request: RequestId, outcome: Outcome, out: &mut impl Observer) {
        let flight = self.flights.at_mut(request);
        if let (Some(joined), Some(instance), true) =
            (flight.joined, flight.instance, outcome != Outcome::Completed)
        {
            flight.emitted += (self.engines[instance.0 as usize].tokens - joined) as u32;
        }
        let record = self.flights.end(request, self.now, outcome);
        let record = self.gathered(record);
        self.totals.end = self.now.seconds();
        match outcome {
            Outcome::Completed => self.totals.completed += 1,
            Outcome::Rejected(_) => self.totals.rejected += 1,
            Outcome::Cancelled => self.totals.cancelled += 1,
        }
        out.request_ended(&record);
    }

    /// The record as its client sees it: the first token comes with those it was gathered with.
    fn gathered(&self, mut record: Record) -> Record {
        let chunk = self.options.ingress.get(record.deployment as usize).map_or(1.0, |i| i.stream_interval);
        if let (Some(first), Some(tpot), true) = (record.first_token, record.tpot(), chunk > 1.0) {
            record.first_token = Some((first + tpot * (chunk - 1.0)).min(record.end));
        }
        record
    }
}
