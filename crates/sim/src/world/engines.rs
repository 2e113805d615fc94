//! Engines at work: when their runs end, and which requests end with them.

use super::{FirstToken, SimError, What, World};
use crate::record::{Observer, RunRecord};
use crate::span::Span;
use serving::{Ended, Event, InstanceId, Nanos, RequestId, Run};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use steps::StepPricer;
use units::{Joules, Seconds};

#[derive(Debug, Clone, Copy)]
pub(super) struct Active {
    run: Run,
    span: Span,
    start: Nanos,
    steps: u32,
}

impl Active {
    /// Steps that are over at `at`. Instants are whole nanoseconds, so that a step may seem to end a part of one later.
    fn steps_over(&self, at: Nanos) -> u32 {
        self.span.steps_within(at.since(self.start) + Seconds::new(1e-9)).min(self.steps)
    }
}

#[derive(Debug, Default)]
pub(super) struct Engine {
    /// Rises with every run and interruption: what was scheduled before is void.
    pub(super) epoch: u64,
    pub(super) active: Option<Active>,
    /// Who ends when, on the instance's token clock.
    pub(super) ends: BinaryHeap<Reverse<(u64, RequestId, u32)>>,
    pub(super) last_chunks: Vec<RequestId>,
    pub(super) last_decode: Option<Nanos>,
    /// The instance's token clock as of its last finished step. The control plane's own may have been started afresh by
    /// the time its actions are read, when an instance changes its role.
    pub(super) tokens: u64,
}

impl<P: StepPricer> World<P> {
    pub(super) fn start_run(&mut self, instance: InstanceId, run: Run, out: &mut impl Observer) {
        let clock = self.cluster.clock(instance);
        let engine = &mut self.engines[instance.0 as usize];
        let mut most = if self.options.exact { 1 } else { run.max_steps };
        if run.decode_seqs > 0 && most > 1 {
            while let Some(Reverse((_, request, epoch))) = engine.ends.peek() {
                let flight = self.flights.at(*request);
                if flight.live && flight.epoch == *epoch {
                    break;
                }
                engine.ends.pop();
            }
            if let Some(Reverse((end, ..))) = engine.ends.peek() {
                most = most.min(clock.steps_until(*end).min(u64::from(u32::MAX)) as u32).max(1);
            }
        }
        let span = Span::price(self.cluster.pricer(instance), &run, most);
        let steps = span.steps;
        engine.active = Some(Active { run, span, start: self.now, steps });
        engine.epoch += 1;
        let what = What::Step(instance, engine.epoch);
        self.schedule(self.now.after(span.time(steps)), what);
        out.run_started(instance, self.now);
    }

    /// The token clock of an instance at an instant between now and what is due next: that of the last step that is
    /// over, whether or not the run is.
    pub fn clock_at(&self, instance: InstanceId, at: Nanos) -> u64 {
        let clock = self.cluster.clock(instance);
        let active = self.engines.get(instance.0 as usize).and_then(|engine| engine.active);
        match active.filter(|active| active.run.decode_seqs > 0) {
            Some(active) => {
                let over = active.steps_over(at);
                clock.tokens_after(u64::from(over))
            }
            None => clock.tokens(),
        }
    }

    /// When the next step of an instance's run after `after` is over; `None` if that ends the run, which is foretold, or
    /// if the run produces no tokens.
    pub fn next_tick(&self, instance: InstanceId, after: Nanos) -> Option<Nanos> {
        let active = self.engines.get(instance.0 as usize)?.active?;
        if active.run.decode_seqs == 0 {
            return None;
        }
        let next = active.steps_over(after) + 1;
        (next < active.steps).then(|| active.start.after(active.span.time(next)).max(after.next()))
    }

    pub(super) fn interrupt(&mut self, instance: InstanceId) {
        let engine = &mut self.engines[instance.0 as usize];
        let Some(active) = &mut engine.active else { return };
        let over = active.span.steps_within(self.now.since(active.start));
        let steps = (over + 1).min(active.steps);
        if steps == active.steps {
            return;
        }
        active.steps = steps;
        engine.epoch += 1;
        let at = active.start.after(active.span.time(steps)).max(self.now);
        let what = What::Step(instance, engine.epoch);
        self.schedule(at, what);
    }

    /// Books the steps of a run that are over by now and voids the rest, as before a failure.
    pub(super) fn cut_short(
        &mut self,
        instance: InstanceId,
        out: &mut impl Observer,
    ) -> Result<(), SimError> {
        let engine = &mut self.engines[instance.0 as usize];
        let Some(active) = &mut engine.active else { return Ok(()) };
        let over = active.span.steps_within(self.now.since(active.start));
        if over == 0 || over >= active.steps {
            return Ok(());
        }
        active.steps = over;
        engine.epoch += 1;
        self.step_over(instance, out)
    }

    pub(super) fn step_over(
        &mut self,
        instance: InstanceId,
        out: &mut impl Observer,
    ) -> Result<(), SimError> {
        let clock = self.cluster.clock(instance);
        let now = self.now;
        let engine = &mut self.engines[instance.0 as usize];
        let Some(active) = engine.active.take() else { return Ok(()) };
        let mut ended = Vec::new();
        if active.run.decode_seqs > 0 {
            let clock = clock.tokens_after(u64::from(active.steps));
            engine.tokens = clock;
            while let Some(Reverse((end, request, epoch))) = engine.ends.peek().copied() {
                let flight = self.flights.at_mut(request);
                let valid = flight.live && flight.epoch == epoch;
                if valid && end > clock {
                    break;
                }
                engine.ends.pop();
                if valid {
                    flight.emitted = flight.arrival.output;
                    ended.push(Ended { request, prefix: flight.arrival.after.clone() });
                }
            }
        }
        for request in engine.last_chunks.drain(..) {
            let flight = self.flights.at_mut(request);
            flight.emitted += 1;
            flight.instance = Some(instance);
            let last = flight.emitted >= flight.arrival.output;
            if last || self.options.first_token == FirstToken::Prefill {
                flight.first_token.get_or_insert(now);
                out.tokens(flight.arrival.ticket, flight.emitted);
            }
            if last {
                ended.push(Ended { request, prefix: flight.arrival.after.clone() });
            }
        }
        let energy = active.span.energy(active.steps);
        self.totals.steps += u64::from(active.steps);
        self.report(instance, &active, energy, ended.len(), out);
        self.tell(Event::StepFinished { instance, steps: active.steps, ended }, out)
    }

    fn report(
        &mut self,
        instance: InstanceId,
        active: &Active,
        energy: Joules,
        ended: usize,
        out: &mut impl Observer,
    ) {
        let engine = &mut self.engines[instance.0 as usize];
        let decodes = active.run.decode_seqs > 0;
        let stall =
            engine.last_decode.filter(|_| decodes).map_or(Seconds::ZERO, |last| active.start.since(last));
        if decodes {
            engine.last_decode = (ended < active.run.decode_seqs as usize).then_some(self.now);
        }
        let (start, end) = (active.start.seconds(), self.now.seconds());
        let record = RunRecord {
            instance,
            start,
            end,
            steps: active.steps,
            span: active.span,
            run: active.run,
            energy,
            waiting: self.cluster.waiting(instance),
            kv_used: if out.wants_kv(self.now.seconds()) { self.kv_used(instance) } else { 0.0 },
            stall,
        };
        out.run_ended(&record);
    }

    /// KV blocks that sequences hold on an instance, as a share of all.
    pub fn kv_used(&self, instance: InstanceId) -> f64 {
        let ranks = self.cluster.rank_blocks(instance);
        let (total, used) = ranks.fold((0u64, 0u64), |(total, used), (all, free, cached)| {
            (total + u64::from(all), used + u64::from(all - free - cached))
        });
        used as f64 / total.max(1) as f64
    }
}
