//! Jobs at work: progress, checkpoints, what is lost when one is stopped.

use super::{Driver, What, seconds};
use crate::job::{Cause, JobId, TenantId};
use crate::links::max_min;
use crate::plan::{Checkpoint, JobPlan, Kind, Pace, Pricer, Shape};
use crate::results::{Ending, Record, Stretch};
use crate::tree::Part;
use serving::Nanos;

/// A job as the driver knows it.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub plan: Option<u32>,
    pub service: Option<u32>,
    kind: Kind,
    tenant: TenantId,
    asked: u32,
    submitted: f64,
    deadline: Option<f64>,
    /// Units done and safe.
    done: f64,
    pub work: f64,
    /// Progress since `since` that a checkpoint already holds counts at this many units per second.
    pace: Pace,
    /// Part of the pace that neighbours leave.
    pub share: f64,
    checkpoint: Checkpoint,
    /// When it got its chips, and when it makes progress on them.
    from: Nanos,
    since: Nanos,
    /// Where progress is counted from after the pace last changed.
    mark: Nanos,
    /// Units since `since`, up to `mark`.
    made: f64,
    pub held: u32,
    /// Invalidates what was queued for an earlier stretch.
    pub version: u32,
    started: Option<f64>,
    pub ended: Option<f64>,
    pub ending: Ending,
    running: f64,
    chip_seconds: f64,
    productive: f64,
    energy: f64,
    preemptions: u32,
    failures: u32,
    resumes: bool,
    /// Share of busy power drawn while it works.
    busy: f64,
}

impl Run {
    pub fn of_plan(index: u32, plan: &JobPlan) -> Self {
        let deadline = plan.deadline.map(|after| plan.submit.seconds().get() + after);
        let mut run = Self::new(plan.kind, plan.tenant, plan.ask.chips(), plan.submit, plan.work);
        (run.plan, run.deadline, run.checkpoint) = (Some(index), deadline, plan.checkpoint);
        run
    }

    pub fn of_replica(service: u32, tenant: TenantId, chips: u32, now: Nanos, load: f64, busy: f64) -> Self {
        let mut run = Self::new(Kind::Serving, tenant, chips, now, f64::INFINITY);
        run.service = Some(service);
        // Weights are loaded at every start.
        run.checkpoint.restore = load;
        run.resumes = true;
        run.busy = busy;
        run
    }

    fn new(kind: Kind, tenant: TenantId, asked: u32, now: Nanos, work: f64) -> Self {
        Self {
            plan: None,
            service: None,
            kind,
            tenant,
            asked,
            submitted: now.seconds().get(),
            deadline: None,
            done: 0.0,
            work,
            pace: Pace { rate: 1.0, crossing: 0.0, demand: 0.0 },
            share: 1.0,
            checkpoint: Checkpoint::default(),
            from: now,
            since: now,
            mark: now,
            made: 0.0,
            held: 0,
            version: 0,
            started: None,
            ended: None,
            ending: Ending::Waiting,
            running: 0.0,
            chip_seconds: 0.0,
            productive: 0.0,
            energy: 0.0,
            preemptions: 0,
            failures: 0,
            resumes: false,
            busy: 1.0,
        }
    }

    /// Units per second with neighbours and checkpoints.
    fn rate(&self) -> f64 {
        let Checkpoint { interval, write, .. } = self.checkpoint;
        let useful = if interval.is_finite() { interval / (interval + write) } else { 1.0 };
        let slower = 1.0 - self.pace.crossing + self.pace.crossing / self.share.max(1e-9);
        self.pace.rate * useful / slower
    }

    /// Counts progress until `now`.
    fn settle(&mut self, now: Nanos) {
        if now > self.mark {
            self.made += now.since(self.mark).get() * self.rate();
            self.mark = now;
        }
    }

    /// Leaves its chips at `now`; `kept` says whether progress since the last checkpoint survives.
    fn leave(&mut self, now: Nanos, kept: bool, powers: (f64, f64)) {
        self.settle(now);
        let working = now.since(self.since).get();
        let held = now.since(self.from).get();
        let rate = if working > 0.0 { self.made / working } else { 0.0 };
        let safe = if kept {
            self.made
        } else if self.checkpoint.interval.is_finite() {
            let period = self.checkpoint.interval + self.checkpoint.write;
            (working / period).floor() * period * rate
        } else {
            0.0
        };
        let ideal = self.pace.rate;
        let useful = if ideal > 0.0 { (safe / ideal).min(working) } else { 0.0 };
        let chips = f64::from(self.held);
        self.done += safe;
        self.made = 0.0;
        self.running += held;
        self.chip_seconds += chips * held;
        self.productive += chips * if self.work.is_infinite() { working } else { useful };
        let (busy, idle) = powers;
        let power = idle + (busy - idle) * self.busy;
        self.energy += chips * (power * working + idle * (held - working));
        self.held = 0;
        self.version += 1;
    }

    /// As if it left its chips now and kept all that it did, if it runs.
    pub fn settled(&self, now: Nanos, powers: (f64, f64)) -> Self {
        let mut run = self.clone();
        if run.ending == Ending::Running {
            run.leave(now, true, powers);
        }
        run
    }

    /// Share of its work that is done at `now`.
    pub fn progress(&self, now: Nanos) -> f64 {
        if self.ending == Ending::Finished {
            return 1.0;
        }
        let mut run = self.clone();
        if run.ending == Ending::Running {
            run.settle(now);
        }
        if run.work > 0.0 && run.work.is_finite() { ((run.done + run.made) / run.work).min(1.0) } else { 0.0 }
    }

    /// When it is done if it goes on as it does, seconds.
    pub fn expected_end(&self, now: Nanos) -> Option<f64> {
        let rate = self.rate();
        if self.ending != Ending::Running || rate <= 0.0 || self.work.is_infinite() {
            return None;
        }
        let mut run = self.clone();
        run.settle(now);
        Some(run.mark.max(now).seconds().get() + (run.work - run.done - run.made).max(0.0) / rate)
    }

    pub fn record(&self, id: JobId, end: f64) -> Record {
        let late = self.deadline.and_then(|deadline| {
            let at = self.ended.unwrap_or(end);
            (self.ended.is_some() || at > deadline).then_some(at > deadline + 1e-9)
        });
        Record {
            id,
            plan: self.plan,
            service: self.service,
            kind: self.kind,
            tenant: self.tenant,
            chips: self.asked,
            submitted: self.submitted,
            started: self.started,
            ended: self.ended,
            ending: self.ending,
            running: self.running,
            chip_seconds: self.chip_seconds,
            productive: self.productive,
            energy: self.energy,
            preemptions: self.preemptions,
            failures: self.failures,
            late,
        }
    }
}

impl<P: Pricer> Driver<'_, P> {
    pub(super) fn powers(&self) -> (f64, f64) {
        (self.options.busy_power, self.options.idle_power)
    }

    pub(super) fn start(&mut self, job: JobId, parts: Vec<Part>, delay: Nanos) {
        let at = job.0 as usize;
        let restore = {
            let run = &self.runs[at];
            if run.resumes { run.checkpoint.restore } else { 0.0 }
        };
        self.occupy(job, &parts, Nanos::new(delay.get() + seconds(restore).get()));
        if self.options.stretches {
            let from = self.now.seconds().get();
            self.stretches.push(Stretch { job, from, to: f64::INFINITY, parts });
        }
    }

    /// Puts a job on chips where it makes progress after `delay`.
    fn occupy(&mut self, job: JobId, parts: &[Part], delay: Nanos) {
        let now = self.now;
        let shape = Shape::of(&self.scheduler.state().tree, parts);
        let at = job.0 as usize;
        let pace = match self.runs[at].plan {
            // A plan that cannot run at this shape stands still; its limit or the end of the run ends it.
            Some(index) => self
                .pricer
                .pace(index as usize, &self.plans[index as usize], &shape)
                .unwrap_or(Pace { rate: 0.0, crossing: 0.0, demand: 0.0 }),
            None => Pace { rate: 1.0, crossing: 0.0, demand: 0.0 },
        };
        let ready = Nanos::new(now.get().saturating_add(delay.get()));
        let run = &mut self.runs[at];
        (run.pace, run.share, run.held) = (pace, 1.0, shape.chips);
        (run.from, run.since, run.mark) = (now, ready, ready);
        run.started.get_or_insert(now.seconds().get());
        run.ending = Ending::Running;
        if run.service.is_some() {
            let version = run.version;
            self.push(ready, What::Ready { job, version });
            return;
        }
        if pace.crossing > 0.0 && shape.span > 1 && !self.options.uplinks.is_empty() {
            self.crossing.push(job);
            self.share_links();
        }
        self.schedule(job);
    }

    /// Queues the end of a job at its present rate.
    fn schedule(&mut self, job: JobId) {
        let left = self.scheduler.state().entry(job).ends();
        let run = &mut self.runs[job.0 as usize];
        run.version += 1;
        let (version, rate) = (run.version, run.rate());
        let needed = (run.work - run.done - run.made).max(0.0);
        let end = if rate > 0.0 {
            Nanos::new(run.mark.get().saturating_add(seconds(needed / rate).get()))
        } else {
            Nanos::NEVER
        };
        // A limit that is the exact length is not exceeded by rounding.
        let timed_out = left.get().saturating_add(1_000_000) < end.get();
        let at = if timed_out { left } else { end }.max(self.now);
        if at < Nanos::NEVER {
            self.push(at, What::Finish { job, version, timed_out });
        }
    }

    /// Max-min shares among jobs that cross shared uplinks; those whose share changes are settled and queued anew.
    fn share_links(&mut self) {
        let state = self.scheduler.state();
        let tree = &state.tree;
        let mut first = Vec::new();
        let mut capacity = Vec::new();
        for (level, uplink) in self.options.uplinks.iter().enumerate().take(tree.levels().len()) {
            first.push(capacity.len());
            let domains = tree.domains(level) as usize;
            capacity.extend(std::iter::repeat_n(uplink.unwrap_or(f64::INFINITY), domains));
        }
        let flows: Vec<Vec<(usize, f64)>> = self
            .crossing
            .iter()
            .map(|job| {
                let demand = self.runs[job.0 as usize].pace.demand;
                let mut flow = std::collections::BTreeMap::new();
                for (level, first) in first.iter().enumerate() {
                    for part in &state.entry(*job).parts {
                        let link = first + tree.domain(level, part.node) as usize;
                        *flow.entry(link).or_insert(0.0) += demand * f64::from(part.count());
                    }
                }
                flow.into_iter().collect()
            })
            .collect();
        let shares = max_min(&flows, &capacity);
        for (job, share) in self.crossing.clone().into_iter().zip(shares) {
            let run = &mut self.runs[job.0 as usize];
            if (run.share - share).abs() > 1e-12 {
                run.settle(self.now);
                run.share = share;
                self.schedule(job);
            }
        }
    }

    fn uncross(&mut self, job: JobId) {
        if let Some(at) = self.crossing.iter().position(|other| *other == job) {
            self.crossing.swap_remove(at);
            self.share_links();
        }
    }

    pub(super) fn stop(&mut self, job: JobId, cause: Cause) {
        let (now, powers) = (self.now, self.powers());
        let run = &mut self.runs[job.0 as usize];
        run.leave(now, cause != Cause::Failure, powers);
        run.resumes = true;
        run.ending = Ending::Waiting;
        if cause == Cause::Failure {
            run.failures += 1;
        } else {
            run.preemptions += 1;
        }
        self.end_stretch(job);
        self.uncross(job);
        self.unready(job);
    }

    pub(super) fn resize(&mut self, job: JobId, parts: Vec<Part>, delay: Nanos) {
        let (now, powers) = (self.now, self.powers());
        let run = &mut self.runs[job.0 as usize];
        run.leave(now, true, powers);
        let cost = run.checkpoint.write + run.checkpoint.restore;
        self.end_stretch(job);
        self.uncross(job);
        self.occupy(job, &parts, Nanos::new(delay.get().saturating_add(seconds(cost).get())));
        if self.options.stretches {
            self.stretches.push(Stretch { job, from: now.seconds().get(), to: f64::INFINITY, parts });
        }
    }

    /// A job is done or out of time.
    pub(super) fn complete(&mut self, job: JobId, timed_out: bool) {
        let (now, powers) = (self.now, self.powers());
        let run = &mut self.runs[job.0 as usize];
        run.leave(now, true, powers);
        run.ended = Some(now.seconds().get());
        run.ending = if timed_out { Ending::TimedOut } else { Ending::Finished };
        self.live -= 1;
        self.end_stretch(job);
        self.uncross(job);
    }

    /// A replica is withdrawn.
    pub(super) fn withdraw(&mut self, job: JobId) {
        let (now, powers) = (self.now, self.powers());
        let run = &mut self.runs[job.0 as usize];
        if run.ending == Ending::Running {
            run.leave(now, true, powers);
        }
        run.ended = Some(now.seconds().get());
        run.ending = Ending::Cancelled;
        self.end_stretch(job);
        self.unready(job);
    }

    pub(super) fn reject(&mut self, job: JobId) {
        let run = &mut self.runs[job.0 as usize];
        run.ended = Some(self.now.seconds().get());
        run.ending = Ending::Rejected;
        if run.service.is_none() {
            self.live -= 1;
        }
    }

    /// Books a job that still runs when the run ends.
    pub(super) fn close_run(&mut self, job: JobId) {
        let (now, powers) = (self.now, self.powers());
        // One that is done at this very instant has left its chips already.
        if self.runs[job.0 as usize].ending == Ending::Running {
            self.runs[job.0 as usize].leave(now, true, powers);
            self.end_stretch(job);
        }
    }

    fn end_stretch(&mut self, job: JobId) {
        if !self.options.stretches {
            return;
        }
        let now = self.now.seconds().get();
        let open =
            self.stretches.iter_mut().rev().find(|stretch| stretch.job == job && stretch.to.is_infinite());
        if let Some(stretch) = open {
            stretch.to = now;
        }
    }
}
