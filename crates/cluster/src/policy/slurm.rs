//! Slurm's backfill (`sched/backfill` over `select/cons_tres`), by its own rules where they differ from the textbook's.
//!
//! A job that must wait reserves whole nodes, also where it needs a part of them. When it could start is found by taking
//! running jobs away in the order of their limits, a few at a time: those that end within 30 s of the first, then within
//! 60 s, and so on, and its start is the end of the last of them. A plan that meets an earlier one on its nodes is made anew
//! from there. What is reserved is not looked at by the head of the
//! queue, which starts as soon as it fits.

use super::fifo::strict;
use crate::job::{JobId, Why};
use crate::pass::Pass;
use crate::place::pick;
use crate::tree::{NodeId, Part};
use serving::Nanos;

/// Time within which jobs are taken away together at first.
const WINDOW: u64 = 30_000_000_000;

/// More than a node has.
const WHOLE: u32 = 64;

/// Nodes promised for a time.
struct Reserved {
    from: Nanos,
    until: Nanos,
    nodes: Vec<NodeId>,
}

impl Reserved {
    /// Whether it is in the way of somebody from one instant to another; Slurm counts the last one.
    fn meets(&self, from: Nanos, until: Nanos) -> bool {
        self.until > from && self.from <= until
    }
}

/// The backfill.
pub struct Backfill {
    depth: usize,
    preempt: bool,
    interval: Nanos,
    next: Nanos,
}

impl Backfill {
    /// Looks at `depth` jobs, at most once every `interval`.
    pub fn new(depth: usize, preempt: bool, interval: Nanos) -> Self {
        // The first comes an interval after the first look at the head.
        Self { depth, preempt, interval, next: interval }
    }

    /// The pass: the head by the main scheduler, then the others.
    pub fn pass(&mut self, pass: &mut Pass<'_>) {
        if strict(pass, self.preempt).is_none() || pass.now < self.next || pass.state.tree.free_chips() == 0 {
            return;
        }
        self.next = Nanos::new(pass.now.get().saturating_add(self.interval.get()));
        let mut reserved: Vec<Reserved> = Vec::new();
        for id in pass.waiting(self.depth) {
            let ask = pass.state.entry(id).job.ask;
            // Slurm plans for no licences unless it is told to: who lacks one lets others pass.
            if let Err(why) = pass.state.admits(id, ask) {
                pass.state.note(id, why, pass.now);
                continue;
            }
            consider(pass, id, &mut reserved);
        }
    }
}

/// Starts a job, or reserves nodes for it at the first time that is found.
fn consider(pass: &mut Pass<'_>, id: JobId, reserved: &mut Vec<Reserved>) {
    let left = pass.state.entry(id).left();
    let mut from = pass.now;
    loop {
        let until = Nanos::new(from.get().saturating_add(left.get()));
        let mut closed: Vec<NodeId> = reserved
            .iter()
            .filter(|one| one.meets(from, until))
            .flat_map(|one| one.nodes.iter().copied())
            .collect();
        closed.sort_unstable();
        closed.dedup();
        let edges = reserved.iter().flat_map(|one| [one.from, one.until]);
        let later = edges.filter(|at| *at > from).min();
        closed.iter().for_each(|node| pass.state.tree.hold(*node, WHOLE));
        let found = earliest(pass, id);
        closed.iter().for_each(|node| pass.state.tree.unhold(*node, WHOLE));
        match (found, later) {
            (Some((start, parts)), _) if start <= pass.now && from <= pass.now => {
                pass.start_on(id, parts);
                return;
            }
            (Some((start, _)), Some(later)) if start > later => from = later,
            (Some((start, ref parts)), _) if start > from && overlaps(reserved, start, left, parts) => {
                from = start
            }
            (Some((start, parts)), _) => {
                let why = pass.state.find(id, pass.state.entry(id).job.ask).err().unwrap_or(Why::Priority);
                pass.state.note(id, why, pass.now);
                let start = start.max(from);
                let until = Nanos::new(start.get().saturating_add(left.get()));
                let nodes = parts.iter().map(|part| part.node).collect();
                reserved.push(Reserved { from: start, until, nodes });
                return;
            }
            (None, Some(later)) => from = later,
            (None, None) => return,
        }
    }
}

/// Whether any of these nodes is promised to somebody else meanwhile.
fn overlaps(reserved: &[Reserved], start: Nanos, length: Nanos, parts: &[Part]) -> bool {
    let until = Nanos::new(start.get().saturating_add(length.get()));
    let shared = |one: &Reserved| parts.iter().any(|part| one.nodes.contains(&part.node));
    reserved.iter().filter(|one| one.meets(start, until)).any(shared)
}

/// When a job could start on what is not held, and on which chips.
fn earliest(pass: &mut Pass<'_>, id: JobId) -> Option<(Nanos, Vec<Part>)> {
    let entry = pass.state.entry(id);
    let (ask, wish) = (entry.job.ask, entry.job.wish);
    let try_now = |pass: &Pass<'_>| pick(&pass.state.tree, ask, wish, pass.state.placement, &pass.state.mix);
    if let Some(parts) = try_now(pass) {
        return Some((pass.now, parts));
    }
    let ends: Vec<(Nanos, JobId)> =
        pass.state.ends.iter().take_while(|(end, _)| *end < Nanos::NEVER).copied().collect();
    let (mut lifted, mut window, mut found) = (0, WINDOW, None);
    while found.is_none() && lifted < ends.len() {
        let last = ends[lifted].0.get().saturating_add(window);
        while lifted < ends.len() && ends[lifted].0.get() <= last {
            pass.lift(ends[lifted].1);
            lifted += 1;
        }
        window = window.saturating_mul(2);
        // A job over its limit may end at any time, but not now.
        let start = ends[lifted - 1].0.max(Nanos::new(pass.now.get() + 1));
        found = try_now(pass).map(|parts| (start, parts));
    }
    ends[..lifted].iter().rev().for_each(|(_, job)| pass.drop_back(*job));
    found
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, job};

    /// A job that waits for a part of the node reserves all of it, as Slurm does: d, which would fit beside b, waits until b
    /// has begun.
    #[test]
    fn whole_nodes_are_reserved() {
        check(
            "multifactor",
            &[job("a", 0, 6, 100), job("b", 1, 4, 100), job("d", 2, 2, 300)],
            "a 0-100, b 100-200, d 100-400",
        );
        check(
            "conservative",
            &[job("a", 0, 6, 100), job("b", 1, 4, 100), job("d", 2, 2, 300)],
            "a 0-100, b 100-200, d 2-302",
        );
    }

    /// What ends before the reservation goes first.
    #[test]
    fn short_jobs_are_backfilled() {
        check(
            "multifactor",
            &[job("a", 0, 6, 100), job("b", 1, 4, 100), job("d", 2, 2, 50)],
            "a 0-100, b 100-200, d 2-52",
        );
    }
}
