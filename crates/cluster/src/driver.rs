//! A cluster in virtual time: the event queue, the work of jobs, failures and services around a [`Scheduler`].

mod failures;
mod live;
mod replicas;
mod work;

use crate::check::Checker;
use crate::job::{Action, Event, Job, JobId};
use crate::plan::{JobPlan, Pricer};
use crate::results::{LevelUsage, Outcome, ServiceRecord, Stretch, Usage};
use crate::scheduler::Scheduler;
use crate::service::Service;
use crate::tree::NodeId;
use serving::Nanos;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use work::Run;

pub use failures::Faults;
pub use live::{Intervention, JobView, Refused};

/// What surrounds the jobs of a run.
#[derive(Debug, Clone)]
pub struct Options {
    /// When the run ends; otherwise with the last job.
    pub until: Option<f64>,
    /// Power of a chip that works, watts with its share of the machine.
    pub busy_power: f64,
    /// Power of a chip that does not.
    pub idle_power: f64,
    /// Failures.
    pub faults: Option<Faults>,
    /// Drains: node, from, until (seconds).
    pub maintenance: Vec<(NodeId, f64, f64)>,
    /// The most chips that may work at once.
    pub power_chips: Option<u32>,
    /// Bandwidth out of one domain of each level above the node, bytes per second; without it links are not shared.
    pub uplinks: Vec<Option<f64>>,
    /// Whether to keep stretches for charts.
    pub stretches: bool,
    /// When to ask why jobs wait, seconds.
    pub explain_at: Option<f64>,
    /// Whether to hold the run to the laws.
    pub check: bool,
    /// Seed of failures.
    pub seed: u64,
    /// Whether it goes on while there are no jobs, as a live cluster does.
    pub endless: bool,
    /// Once set, the run ends where it is.
    pub stop: Option<Arc<AtomicBool>>,
}

impl Options {
    fn is_stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            until: None,
            busy_power: 0.0,
            idle_power: 0.0,
            faults: None,
            maintenance: Vec::new(),
            power_chips: None,
            uplinks: Vec::new(),
            stretches: false,
            explain_at: None,
            check: true,
            seed: 0,
            endless: false,
            stop: None,
        }
    }
}

/// Events without an end of a job after which a run without an end of its own is given up: what fails faster than it
/// gets on would go on for ever.
const MOST_FRUITLESS: u64 = 2_000_000;

/// Something that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Finish {
        job: JobId,
        version: u32,
        timed_out: bool,
    },
    Ready {
        job: JobId,
        version: u32,
    },
    Repair(NodeId),
    Undrain(NodeId),
    Drain(NodeId),
    Fail,
    Tick(u32),
    Timer,
    Explain,
    /// Nothing: a stretch of time is to end here.
    Mark,
    End,
}

/// A run in progress.
pub struct Driver<'a, P: Pricer> {
    scheduler: Scheduler,
    plans: Cow<'a, [JobPlan]>,
    /// Plans that are submitted at their own times; others come by [`Driver::inject`].
    scripted: usize,
    pricer: P,
    options: Options,
    now: Nanos,
    queue: BinaryHeap<Reverse<(Nanos, u64, What)>>,
    sequence: u64,
    next_plan: usize,
    runs: Vec<Run>,
    services: Vec<replicas::Running<'a>>,
    usage: Usage,
    crossing: Vec<JobId>,
    failures: Option<failures::Source>,
    node_failures: u32,
    stretches: Vec<Stretch>,
    explanations: Vec<(JobId, String)>,
    checker: Option<Checker>,
    events: u64,
    closed: bool,
    live: u32,
    happened: Vec<Event>,
    actions: Vec<Action>,
    digest: u64,
    /// Events since a job last ended.
    fruitless: u64,
}

impl<'a, P: Pricer> Driver<'a, P> {
    /// A run of `plans`, in order of submission, and `services` under a scheduler.
    pub fn new(
        scheduler: Scheduler,
        plans: impl Into<Cow<'a, [JobPlan]>>,
        services: &'a [Service],
        pricer: P,
        options: Options,
    ) -> Self {
        let plans = plans.into();
        let tree = &scheduler.state().tree;
        let levels = vec![LevelUsage::default(); tree.levels().len() + 1];
        let checker = options.check.then(|| Checker::new(scheduler.state()));
        let failures =
            options.faults.as_ref().map(|faults| failures::Source::new(faults, tree, options.seed));
        let mut driver = Self {
            scripted: plans.len(),
            runs: Vec::with_capacity(plans.len()),
            scheduler,
            plans,
            pricer,
            now: Nanos::ZERO,
            queue: BinaryHeap::new(),
            sequence: 0,
            next_plan: 0,
            services: services.iter().map(replicas::Running::new).collect(),
            usage: Usage { levels, ..Usage::default() },
            crossing: Vec::new(),
            failures,
            node_failures: 0,
            stretches: Vec::new(),
            explanations: Vec::new(),
            checker,
            events: 0,
            closed: false,
            live: 0,
            happened: Vec::new(),
            actions: Vec::new(),
            digest: 0,
            fruitless: 0,
            options,
        };
        driver.prepare();
        driver
    }

    fn prepare(&mut self) {
        for index in 0..self.services.len() {
            self.push(Nanos::ZERO, What::Tick(index as u32));
            for (from, to) in &self.services[index].service.windows {
                self.push(seconds(*from), What::Mark);
                self.push(seconds(*to), What::Mark);
            }
        }
        for (node, from, until) in self.options.maintenance.clone() {
            self.push(seconds(from), What::Drain(node));
            self.push(seconds(until), What::Undrain(node));
        }
        if let Some(at) = self.options.explain_at {
            self.push(seconds(at), What::Explain);
        }
        if let Some(until) = self.options.until {
            self.push(seconds(until), What::End);
        }
        if let Some(cap) = self.options.power_chips {
            self.happened.push(Event::PowerCap(Some(cap)));
        }
        self.next_failure();
    }

    fn push(&mut self, at: Nanos, what: What) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, what)));
    }

    /// Runs to the end.
    pub fn run(mut self) -> Outcome {
        while let (false, Some(at)) = (self.closed, self.next_due()) {
            if self.fruitless > MOST_FRUITLESS || self.options.is_stopped() {
                break;
            }
            self.step(at);
        }
        self.finish()
    }

    /// Handles all that happens at one instant.
    fn step(&mut self, at: Nanos) {
        self.integrate(at);
        let mut events = std::mem::take(&mut self.happened);
        self.collect(&mut events);
        self.handle(events);
    }

    /// Lets the scheduler answer to what has happened now.
    fn handle(&mut self, mut events: Vec<Event>) {
        if !self.closed && !events.is_empty() {
            self.events += events.len() as u64;
            let ends = events.iter().any(|event| matches!(event, Event::Finished(_) | Event::Submitted(_)));
            self.fruitless = if ends || self.options.until.is_some() { 0 } else { self.fruitless + 1 };
            if let Some(checker) = &mut self.checker {
                checker.events(self.now, &events);
            }
            if self.options.endless {
                self.note(&events);
            }
            let mut actions = std::mem::take(&mut self.actions);
            self.scheduler.handle(self.now, events.drain(..), &mut actions);
            if let Some(checker) = &mut self.checker {
                checker.actions(self.now, &actions, self.scheduler.state());
            }
            if self.options.endless {
                self.note(&actions);
            }
            self.act(&mut actions);
            self.actions = actions;
        }
        events.clear();
        self.happened = events;
    }

    /// The time of what happens next; `None` once nothing but failures and timers could happen.
    pub fn next_due(&self) -> Option<Nanos> {
        let submit = self.plans[..self.scripted].get(self.next_plan).map(|plan| plan.submit);
        let queued = self.queue.peek().map(|Reverse((at, _, _))| *at);
        let goes_on = self.live > 0
            || !self.services.is_empty()
            || self.options.until.is_some()
            || self.options.endless;
        if submit.is_none() && !goes_on {
            return None;
        }
        match (submit, queued) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Integrates what is held until `at`.
    fn integrate(&mut self, at: Nanos) {
        let elapsed = at.since(self.now).get();
        if elapsed > 0.0 {
            let tree = &self.scheduler.state().tree;
            let all = f64::from(tree.chips());
            self.usage.chip_seconds += all * elapsed;
            self.usage.closed += (all - f64::from(tree.open_chips())) * elapsed;
            self.usage.allocated += f64::from(tree.used_chips()) * elapsed;
            for (level, usage) in self.usage.levels.iter_mut().enumerate() {
                let (touched, full) = tree.occupancy(level);
                usage.touched += f64::from(touched) * elapsed;
                usage.full += f64::from(full) * elapsed;
            }
            self.serve(at);
        }
        self.now = at;
    }

    /// Everything that happens now.
    fn collect(&mut self, events: &mut Vec<Event>) {
        while let Some(Reverse((at, _, what))) = self.queue.peek().copied() {
            if at > self.now {
                break;
            }
            self.queue.pop();
            self.happen(what, events);
        }
        while let Some(plan) = self.plans[..self.scripted].get(self.next_plan) {
            if plan.submit > self.now || self.closed {
                break;
            }
            self.next_plan += 1;
            events.push(self.submit(self.next_plan - 1));
        }
    }

    /// Submits a plan now.
    fn submit(&mut self, index: usize) -> Event {
        let plan = &self.plans[index];
        let job = self.declare(plan);
        self.runs.push(Run::of_plan(index as u32, plan));
        self.live += 1;
        Event::Submitted(job)
    }

    /// What the scheduler is told of a job.
    fn declare(&self, plan: &JobPlan) -> Job {
        let limit = plan.limit.map_or(Nanos::NEVER, seconds);
        let oracle = self.scheduler.needs_oracle().then(|| seconds(plan.work.min(1e9)));
        Job {
            id: JobId(self.runs.len() as u32),
            tenant: plan.tenant,
            priority: plan.priority,
            ask: plan.ask,
            uses: plan.uses.clone(),
            elastic: plan.elastic,
            limit,
            wish: plan.wish,
            preemptible: plan.preemptible,
            grace: seconds(plan.checkpoint.write),
            submitted: self.now,
            deadline: plan.deadline.map(|after| seconds(self.now.seconds().get() + after)),
            scaling: plan.scaling,
            oracle,
        }
    }

    fn happen(&mut self, what: What, events: &mut Vec<Event>) {
        match what {
            What::Finish { job, version, timed_out } => {
                if self.runs[job.0 as usize].version == version {
                    self.complete(job, timed_out);
                    events.push(Event::Finished(job));
                }
            }
            What::Ready { job, version } => self.ready(job, version),
            What::Repair(node) => events.push(Event::Repaired(node)),
            What::Drain(node) => events.push(Event::Drain(node)),
            What::Undrain(node) => events.push(Event::Undrain(node)),
            What::Fail => self.fail(events),
            What::Tick(service) => self.tick(service as usize, events),
            What::Timer => events.push(Event::Timer),
            What::Explain => {
                let ids: Vec<JobId> = self.scheduler.state().waiting.iter().map(|(_, id)| *id).collect();
                for id in ids {
                    if let Some(text) = self.scheduler.explain(id, self.now) {
                        self.explanations.push((id, text));
                    }
                }
            }
            What::Mark => {}
            What::End => self.closed = true,
        }
    }

    fn act(&mut self, actions: &mut Vec<Action>) {
        for action in actions.drain(..) {
            match action {
                Action::Start { job, parts, delay } => self.start(job, parts, delay),
                Action::Stop { job, cause } => self.stop(job, cause),
                Action::Resize { job, parts, delay } => self.resize(job, parts, delay),
                Action::Reject { job, .. } => self.reject(job),
                Action::SetTimer(at) => self.push(at, What::Timer),
            }
        }
    }

    fn finish(mut self) -> Outcome {
        self.scheduler.close(self.now);
        let running: Vec<JobId> = self.scheduler.state().running.clone();
        for job in running {
            self.close_run(job);
        }
        let end = self.now.seconds().get();
        let records: Vec<_> =
            self.runs.iter().enumerate().map(|(id, run)| run.record(JobId(id as u32), end)).collect();
        let held: f64 = records.iter().map(|record| record.chip_seconds).sum();
        let busy: f64 = records.iter().map(|record| record.energy).sum();
        self.usage.energy = busy + (self.usage.chip_seconds - held).max(0.0) * self.options.idle_power;
        let mut broken = Vec::new();
        if let Some(checker) = &mut self.checker {
            checker.end(&self.usage, &records, &self.options);
            broken = checker.broken().to_vec();
        }
        let state = self.scheduler.state();
        let services: Vec<ServiceRecord> = self.services.into_iter().map(replicas::Running::record).collect();
        Outcome {
            policy: String::new(),
            records,
            services,
            usage: self.usage,
            waited: state.accounts.iter().map(|account| account.waited).collect(),
            end,
            node_failures: self.node_failures,
            stretches: self.stretches,
            explanations: self.explanations,
            events: self.events,
            stalled: self.fruitless > MOST_FRUITLESS,
            interrupted: self.options.is_stopped(),
            broken,
        }
    }
}

/// Seconds as an instant.
fn seconds(value: f64) -> Nanos {
    Nanos::new((value.max(0.0) * 1e9).round().min(9e18) as u64)
}
