//! Laws that every run is held to, from events and actions alone: what the scheduler remembers is not trusted.
//!
//! 1. A chip has one job at most, and a closed node gets none.
//! 2. A gang starts with all its chips, an elastic job within its range, and both where they require to be.
//! 3. A tenant never holds more than its quota and what it may borrow.
//! 4. A job is started only while it waits and stopped only while it runs; each ends once.
//! 5. Chip-seconds held by jobs are those taken from the cluster, and energy is that of busy and idle chips together.

use crate::driver::Options;
use crate::job::{Action, Event, Job, JobId};
use crate::results::{Record, Usage};
use crate::state::State;
use crate::tree::{NodeId, Part};
use rustc_hash::FxHashMap;
use serving::Nanos;

/// Watches a run.
pub struct Checker {
    owner: Vec<FxHashMap<u32, JobId>>,
    closed: Vec<u8>,
    jobs: FxHashMap<JobId, Seen>,
    used: Vec<u32>,
    broken: Vec<String>,
}

struct Seen {
    job: Job,
    parts: Vec<Part>,
}

/// Bits of why a node takes no jobs.
const BROKEN: u8 = 1;
const DRAINED: u8 = 2;

impl Checker {
    /// For a cluster in its first state.
    pub fn new(state: &State) -> Self {
        Self {
            owner: vec![FxHashMap::default(); state.tree.nodes() as usize],
            closed: vec![0; state.tree.nodes() as usize],
            jobs: FxHashMap::default(),
            used: vec![0; state.accounts.len()],
            broken: Vec::new(),
        }
    }

    /// What was broken so far.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    fn report(&mut self, now: Nanos, text: String) {
        // The first few say enough.
        if self.broken.len() < 20 {
            self.broken.push(format!("at {}: {text}", now.seconds()));
        }
    }

    /// What is about to happen.
    pub fn events(&mut self, now: Nanos, events: &[Event]) {
        for event in events {
            match event {
                Event::Submitted(job) => {
                    let seen = Seen { job: job.clone(), parts: Vec::new() };
                    if self.jobs.insert(job.id, seen).is_some() {
                        self.report(now, format!("job {} came twice", job.id.0));
                    }
                }
                Event::Finished(id) => {
                    if self.jobs.get(id).is_none_or(|seen| seen.parts.is_empty()) {
                        self.report(now, format!("job {} ended without running", id.0));
                    }
                    self.vacate(*id);
                    self.jobs.remove(id);
                }
                Event::Cancelled(id) => {
                    self.vacate(*id);
                    self.jobs.remove(id);
                }
                Event::Failed(node) => self.closed[node.0 as usize] |= BROKEN,
                Event::Repaired(node) => self.closed[node.0 as usize] &= !BROKEN,
                Event::Drain(node) => self.closed[node.0 as usize] |= DRAINED,
                Event::Undrain(node) => self.closed[node.0 as usize] &= !DRAINED,
                Event::Reprioritise(..)
                | Event::Preempt(_)
                | Event::Timer
                | Event::Quota(..)
                | Event::PowerCap(_) => {}
            }
        }
    }

    /// What the scheduler answered.
    pub fn actions(&mut self, now: Nanos, actions: &[Action], state: &State) {
        for action in actions {
            match action {
                Action::Start { job, parts, .. } => {
                    if self.jobs.get(job).is_none_or(|seen| !seen.parts.is_empty()) {
                        self.report(now, format!("job {} was started while it did not wait", job.0));
                    }
                    self.occupy(now, *job, parts, state);
                }
                Action::Resize { job, parts, .. } => {
                    if self
                        .jobs
                        .get(job)
                        .is_none_or(|seen| seen.parts.is_empty() || seen.job.elastic.is_none())
                    {
                        self.report(
                            now,
                            format!("job {} was resized but is not elastic or does not run", job.0),
                        );
                    }
                    self.vacate(*job);
                    self.occupy(now, *job, parts, state);
                }
                Action::Stop { job, .. } => {
                    if self.jobs.get(job).is_none_or(|seen| seen.parts.is_empty()) {
                        self.report(now, format!("job {} was stopped but did not run", job.0));
                    }
                    self.vacate(*job);
                }
                Action::Reject { job, .. } => {
                    self.jobs.remove(job);
                }
                Action::SetTimer(at) => {
                    if *at <= now {
                        self.report(now, "a timer was set for the past".to_owned());
                    }
                }
            }
        }
        self.quotas(now, state);
        let broken = (0..self.closed.len())
            .find(|node| self.closed[*node] & BROKEN != 0 && !self.owner[*node].is_empty());
        if let Some(node) = broken.filter(|_| !actions.is_empty()) {
            self.report(now, format!("node {node} is broken and has jobs"));
        }
    }

    fn occupy(&mut self, now: Nanos, id: JobId, parts: &[Part], state: &State) {
        let mut taken = 0;
        for part in parts {
            let node = part.node.0 as usize;
            if self.closed[node] != 0 {
                self.report(now, format!("job {} was put on node {node}, which is closed", id.0));
            }
            if part.chips >> (state.tree.capacity(part.node).min(63))
                > u64::from(state.tree.capacity(part.node) == 64)
            {
                self.report(now, format!("job {} got chips that node {node} does not have", id.0));
            }
            for chip in (0..64).filter(|chip| part.chips >> chip & 1 == 1) {
                taken += 1;
                if let Some(other) = self.owner[node].insert(chip, id) {
                    self.report(now, format!("chip {chip} of node {node} has jobs {} and {}", other.0, id.0));
                }
            }
        }
        let Some(seen) = self.jobs.get_mut(&id) else {
            return;
        };
        seen.parts = parts.to_vec();
        let job = &seen.job;
        self.used[job.tenant.0 as usize] += taken;
        let asked = job.ask.chips();
        let right = match job.elastic {
            Some(range) => (range.least..=range.most).contains(&taken),
            // A policy of cells may round a request up.
            None => taken == asked || taken == asked.next_power_of_two(),
        };
        if !right {
            let text = format!("job {} asked for {asked} chips and got {taken}", id.0);
            self.report(now, text);
            return;
        }
        let required = job.wish.filter(|wish| wish.required && wish.slice.is_none());
        if let Some(wish) = required {
            let domain = |part: &Part| state.tree.domain(wish.level as usize, part.node);
            if parts.iter().any(|part| domain(part) != domain(&parts[0])) {
                self.report(now, format!("job {} is not in one domain as it requires", id.0));
            }
        }
    }

    fn vacate(&mut self, id: JobId) {
        let Some(seen) = self.jobs.get_mut(&id) else {
            return;
        };
        let tenant = seen.job.tenant.0 as usize;
        for part in std::mem::take(&mut seen.parts) {
            self.used[tenant] -= part.count();
            let owner = &mut self.owner[part.node.0 as usize];
            owner.retain(|chip, holder| *holder != id || part.chips >> chip & 1 == 0);
        }
    }

    fn quotas(&mut self, now: Nanos, state: &State) {
        for index in 0..self.used.len() {
            let tenant = &state.accounts[index].tenant;
            let Some(quota) = tenant.quota else {
                continue;
            };
            let ceiling = quota.saturating_add(if tenant.cohort.is_some() { tenant.borrow } else { 0 });
            if self.used[index] > ceiling {
                let text = format!("tenant `{}` holds {} chips of {ceiling}", tenant.name, self.used[index]);
                self.report(now, text);
            }
        }
    }

    /// At the end of a run.
    pub fn end(&mut self, usage: &Usage, records: &[Record], options: &Options) {
        let near = |a: f64, b: f64| (a - b).abs() <= 1e-6 * (1.0 + a.abs().max(b.abs()));
        let held: f64 = records.iter().map(|record| record.chip_seconds).sum();
        if !near(held, usage.allocated) {
            self.broken.push(format!("jobs held {held} chip-seconds, the cluster gave {}", usage.allocated));
        }
        let idle = usage.chip_seconds * options.idle_power;
        let most = usage.chip_seconds * options.busy_power.max(options.idle_power);
        if usage.energy < idle * (1.0 - 1e-9) || usage.energy > most * (1.0 + 1e-9) + 1e-9 {
            self.broken.push(format!("energy {} J is not between {idle} and {most}", usage.energy));
        }
        for record in records {
            if record.productive > record.chip_seconds * (1.0 + 1e-9) + 1e-6 {
                self.broken.push(format!("job {} did more than its chips", record.id.0));
            }
        }
    }

    /// Nodes that are open as far as events say.
    pub fn open(&self, node: NodeId) -> bool {
        self.closed[node.0 as usize] == 0
    }
}
