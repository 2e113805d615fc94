//! Laws that every run is held to, from events and actions alone: what the scheduler remembers is not trusted.
//!
//! 1. A chip has one job at most, and a closed node gets none.
//! 2. A gang starts with all its chips, an elastic job within its range, and both where they require to be.
//! 3. A tenant never comes to hold more than its quota and what it may borrow, a cohort more than its quotas, and all more than
//!    the power cap. Jobs never need more of a resource than there is.
//! 4. A job is started only while it waits and nobody holds it back, and stopped only while it runs; each ends once.
//! 5. Chip-seconds held by jobs are those taken from the cluster, and energy is that of busy and idle chips together.

use crate::driver::Options;
use crate::job::{Action, Event, Job, JobId};
use crate::results::{Record, Usage};
use crate::state::State;
use crate::tree::{NodeId, Part};
use rustc_hash::{FxHashMap, FxHashSet};
use serving::Nanos;

/// Watches a run.
pub struct Checker {
    /// Who has each chip, by node and chip.
    owner: Vec<Option<JobId>>,
    /// Chips of the largest node.
    width: usize,
    /// Chips that may work at once.
    cap: Option<u32>,
    /// Nodes that were lost to jobs in this instant.
    lost: Vec<NodeId>,
    closed: Vec<u8>,
    jobs: FxHashMap<JobId, Seen>,
    used: Vec<u32>,
    /// Units held of each resource.
    drawn: Vec<u64>,
    held: FxHashSet<JobId>,
    broken: Vec<String>,
}

struct Seen {
    job: Job,
    parts: Vec<Part>,
}

/// Bits of why a node takes no jobs.
const BROKEN: u8 = 1;
const DRAINED: u8 = 2;
const CLAIMED: u8 = 4;

impl Checker {
    /// For a cluster in its first state.
    pub fn new(state: &State) -> Self {
        Self {
            owner: vec![None; (state.tree.nodes() * state.tree.node_size()) as usize],
            width: state.tree.node_size() as usize,
            cap: None,
            lost: Vec::new(),
            closed: vec![0; state.tree.nodes() as usize],
            jobs: FxHashMap::default(),
            used: vec![0; state.accounts.len()],
            drawn: vec![0; state.resources.len()],
            held: FxHashSet::default(),
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
                Event::Failed(node) => {
                    self.closed[node.0 as usize] |= BROKEN;
                    self.lost.push(*node);
                }
                Event::Repaired(node) => self.closed[node.0 as usize] &= !BROKEN,
                Event::Drain(node) => self.closed[node.0 as usize] |= DRAINED,
                Event::Undrain(node) => self.closed[node.0 as usize] &= !DRAINED,
                Event::Claimed(node) => {
                    self.closed[node.0 as usize] |= CLAIMED;
                    self.lost.push(*node);
                }
                Event::Yielded(node) => self.closed[node.0 as usize] &= !CLAIMED,
                Event::Hold(id) => {
                    self.held.insert(*id);
                }
                Event::Release(id) => {
                    self.held.remove(id);
                }
                Event::Reprioritise(..) | Event::Preempt(_) | Event::Timer | Event::Quota(..) => {}
                Event::PowerCap(cap) => self.cap = *cap,
            }
        }
    }

    /// What the scheduler answered.
    pub fn actions(&mut self, now: Nanos, actions: &[Action], state: &State) {
        let before = if actions.is_empty() { Vec::new() } else { self.used.clone() };
        for action in actions {
            match action {
                Action::Start { job, parts, .. } => {
                    if self.jobs.get(job).is_none_or(|seen| !seen.parts.is_empty()) {
                        self.report(now, format!("job {} was started while it did not wait", job.0));
                    }
                    if self.held.contains(job) {
                        self.report(now, format!("job {} was started while it was held back", job.0));
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
        if !actions.is_empty() {
            self.rights(now, &before, state);
        }
        for node in std::mem::take(&mut self.lost) {
            let first = node.0 as usize * self.width;
            if self.owner[first..first + self.width].iter().any(Option::is_some) {
                self.report(now, format!("node {} is broken or taken and has jobs", node.0));
            }
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
            for chip in (0..self.width).filter(|chip| part.chips >> chip & 1 == 1) {
                taken += 1;
                let Some(slot) = self.owner.get_mut(node * self.width + chip) else { continue };
                if let Some(other) = slot.replace(id) {
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
        for (at, units) in &job.uses {
            self.drawn[*at as usize] += units;
        }
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
        let Some(wish) = job.wish.filter(|wish| wish.required) else {
            return;
        };
        let mut inside: FxHashMap<u32, u32> = FxHashMap::default();
        for part in parts {
            *inside.entry(state.tree.domain(wish.level as usize, part.node)).or_insert(0) += 1;
        }
        // The whole job is one slice where none is named.
        let (all, slice) = (parts.len() as u32, wish.slice.unwrap_or(u32::MAX).clamp(1, parts.len() as u32));
        let whole: u32 = inside.values().map(|nodes| nodes / slice).sum();
        let begun: u32 = inside.values().map(|nodes| nodes.div_ceil(slice)).sum();
        if whole != all / slice || begun != all.div_ceil(slice) {
            self.report(now, format!("job {} is not in one domain as it requires", id.0));
        }
    }

    fn vacate(&mut self, id: JobId) {
        let Some(seen) = self.jobs.get_mut(&id) else {
            return;
        };
        let tenant = seen.job.tenant.0 as usize;
        // Who holds no chips holds nothing.
        for (at, units) in seen.job.uses.iter().filter(|_| !seen.parts.is_empty()) {
            self.drawn[*at as usize] -= units;
        }
        for part in std::mem::take(&mut seen.parts) {
            self.used[tenant] -= part.count();
            let first = part.node.0 as usize * self.width;
            for chip in (0..self.width).filter(|chip| part.chips >> chip & 1 == 1) {
                let slot = &mut self.owner[first + chip];
                *slot = slot.filter(|holder| *holder != id);
            }
        }
    }

    /// What tenants hold where they hold more than before: a right that is taken away stops nobody who runs.
    fn rights(&mut self, now: Nanos, before: &[u32], state: &State) {
        if let Some(cap) = self.cap {
            let (was, is): (u32, u32) = (before.iter().sum(), self.used.iter().sum());
            if is > was && is > cap {
                self.report(now, format!("{is} chips work and the power cap allows {cap}"));
            }
        }
        for ((resource, _), drawn) in state.resources.iter().zip(self.drawn.clone()) {
            if drawn > resource.amount {
                let text = format!("jobs hold {drawn} of `{}`, there are {}", resource.name, resource.amount);
                self.report(now, text);
            }
        }
        #[expect(clippy::needless_range_loop, reason = "four lists go by the same index")]
        for index in 0..self.used.len() {
            let (tenant, used) = (&state.accounts[index].tenant, self.used[index]);
            let Some(quota) = tenant.quota.filter(|_| used > before[index]) else {
                continue;
            };
            let ceiling = quota.saturating_add(if tenant.cohort.is_some() { tenant.borrow } else { 0 });
            if used > ceiling {
                self.report(now, format!("tenant `{}` holds {used} chips of {ceiling}", tenant.name));
            }
            let members = || {
                let others = state.accounts.iter().zip(&self.used);
                others.filter(|(other, _)| tenant.cohort.is_some() && other.tenant.cohort == tenant.cohort)
            };
            let lent: u32 = members().filter_map(|(other, _)| other.tenant.quota).sum();
            let held: u32 = members().map(|(_, used)| *used).sum();
            if held > lent {
                let text = format!("the cohort of tenant `{}` holds {held} chips of {lent}", tenant.name);
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

#[cfg(test)]
mod tests;
