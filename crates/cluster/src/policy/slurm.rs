//! Slurm's backfill (`sched/backfill` over `select/cons_tres`), by its own rules where they differ from the textbook's.
//!
//! A job that must wait reserves whole nodes, also where it needs a part of them. When it could start is found by taking
//! running jobs away in the order of their limits, a few at a time: those that end within 30 s of the first, then within
//! 60 s, and so on, and its start is the end of the last of them. A plan that meets an earlier one on its nodes is made anew
//! from there. What is reserved is not looked at by the head of the
//! queue, which starts as soon as it fits.

use crate::job::{Cause, JobId, Why};
use crate::pass::Pass;
use crate::place::pick;
use crate::state::State;
use crate::tree::{NodeId, Part, Tree};
use serving::Nanos;

/// Time within which jobs are taken away together at first.
const WINDOW: u64 = 30_000_000_000;

/// How far Slurm plans: a job that would start later is promised nothing (`bf_window`, a day by default).
const HORIZON: u64 = 86_400_000_000_000;

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
    /// What the last backfill looked at if it started nothing: the state of the cluster, and the queue in its order.
    idle: Option<(u64, Vec<JobId>)>,
}

impl Backfill {
    /// Looks at `depth` jobs, at most once every `interval`.
    pub fn new(depth: usize, preempt: bool, interval: Nanos) -> Self {
        // The first comes an interval after the first look at the head.
        Self { depth, preempt, interval, next: interval, idle: None }
    }

    /// Starts jobs in order until one does not fit; whether all did. Who may stop others does so here.
    fn head(&self, pass: &mut Pass<'_>) -> bool {
        let mut cursor = None;
        while let Some((key, id)) = pass.after(cursor) {
            cursor = Some((key, id));
            match pass.start(id) {
                Ok(()) | Err(Why::Quota) => {}
                Err(_) if self.preempt && make_way(pass, id) => {}
                Err(_) => return false,
            }
        }
        true
    }

    /// The pass: the head by the main scheduler, then the others.
    pub fn pass(&mut self, pass: &mut Pass<'_>) {
        if self.head(pass) || pass.now < self.next || pass.state.tree.free_chips() == 0 {
            return;
        }
        self.next = Nanos::new(pass.now.get().saturating_add(self.interval.get()));
        let looked = (pass.state.changes, pass.waiting(self.depth));
        if self.idle.as_ref() == Some(&looked) {
            // Slurm does not plan again either while nothing has changed.
            return;
        }
        let mut reserved: Vec<Reserved> = Vec::new();
        let mut later = None;
        for id in looked.1.iter().copied() {
            let ask = pass.state.entry(id).job.ask;
            // Slurm plans for no licences unless it is told to: who lacks one lets others pass.
            if let Err(why) = pass.state.admits(id, ask) {
                pass.state.note(id, why, pass.now);
                continue;
            }
            if consider(pass, id, &mut reserved, &mut later) {
                later = None;
            }
        }
        self.idle = (pass.state.changes == looked.0).then_some(looked);
    }
}

/// How often the jobs to stop are put in another order, so that fewer have to go (`preempt_reorder_count` and one).
const REORDERS: usize = 2;

/// Stops jobs of lower priority for one that does not fit, those on the fewest nodes first, and starts it: jobs are taken away
/// until it fits; then once more with the last of them first and the others by the nodes that it would use. Of those taken away,
/// the ones on its nodes go.
fn make_way(pass: &mut Pass<'_>, id: JobId) -> bool {
    let priority = pass.state.entry(id).job.priority;
    let mut order = pass.victims(|entry| entry.job.priority < priority);
    order.sort_by_key(|other| {
        let entry = pass.state.entry(*other);
        (entry.job.priority, entry.parts.len(), *other)
    });
    let mut found = None;
    for round in 0..=REORDERS {
        let Some((taken, parts)) = taken_away(pass, id, &order) else {
            break;
        };
        if round < REORDERS {
            let last = order.remove(taken - 1);
            order[..taken - 1].sort_by_key(|other| std::cmp::Reverse(shared(pass.state, *other, &parts)));
            order.insert(0, last);
        } else {
            order.truncate(taken);
        }
        found = Some(parts);
    }
    let Some(parts) = found else {
        return false;
    };
    let on_nodes: Vec<JobId> =
        order.iter().copied().filter(|other| shared(pass.state, *other, &parts) > 0).collect();
    on_nodes.iter().for_each(|other| pass.lift(*other));
    let enough = pass.state.admits(id, pass.state.entry(id).job.ask).is_ok();
    on_nodes.iter().rev().for_each(|other| pass.drop_back(*other));
    // Where the others held what it may not have otherwise, they go as well.
    for victim in if enough { on_nodes } else { order } {
        let key = pass.state.entry(victim).key;
        pass.stop(victim, Cause::Preempted, key);
    }
    pass.start_on(id, parts);
    true
}

/// How many jobs have to be taken away in this order until one fits, and where it does.
fn taken_away(pass: &mut Pass<'_>, id: JobId, order: &[JobId]) -> Option<(usize, Vec<Part>)> {
    let ask = pass.state.entry(id).job.ask;
    let mut found = None;
    let mut taken = 0;
    while found.is_none() && taken < order.len() {
        pass.lift(order[taken]);
        taken += 1;
        found = pass.state.find(id, ask).ok();
    }
    order[..taken].iter().rev().for_each(|other| pass.drop_back(*other));
    found.map(|parts| (taken, parts))
}

/// Nodes of a job among these.
fn shared(state: &State, id: JobId, parts: &[Part]) -> usize {
    let on = |part: &&Part| parts.iter().any(|other| other.node == part.node);
    state.entry(id).parts.iter().filter(on).count()
}

/// The chips as they will be: after each of Slurm's steps of taking running jobs away, with the end of the last of them.
type Futures = Vec<(Nanos, Tree)>;

/// Takes running jobs away in the order of their limits: those that end within a window of the first, then within twice the
/// window of the next, and so on.
fn futures(state: &State, now: Nanos) -> Futures {
    let mut steps: Futures = Vec::new();
    let mut ends = state.ends.iter().take_while(|(end, _)| *end < Nanos::NEVER).peekable();
    let mut window = WINDOW;
    while let Some((first, _)) = ends.peek() {
        let last = first.get().saturating_add(window);
        let mut tree = steps.last().map_or(&state.tree, |(_, tree)| tree).clone();
        let mut end = now;
        while let Some((at, job)) = ends.next_if(|(end, _)| end.get() <= last) {
            state.entry(*job).parts.iter().for_each(|part| tree.give(*part));
            end = *at;
        }
        window = window.saturating_mul(2);
        // A job over its limit may end at any time, but not now.
        steps.push((end.max(Nanos::new(now.get() + 1)), tree));
    }
    steps
}

/// When a job could start on nodes that are not closed, and on which chips.
fn earliest(
    pass: &mut Pass<'_>,
    closed: &[NodeId],
    later: &mut Option<Futures>,
    id: JobId,
) -> Option<(Nanos, Vec<Part>)> {
    let Pass { now, state, .. } = pass;
    let (ask, wish) = (state.entry(id).job.ask, state.entry(id).job.wish);
    let (placement, mix) = (state.placement, state.mix.clone());
    let find = |tree: &mut Tree| {
        closed.iter().for_each(|node| tree.hold(*node, WHOLE));
        let parts = pick(tree, ask, wish, placement, &mix);
        closed.iter().for_each(|node| tree.unhold(*node, WHOLE));
        parts
    };
    if let Some(parts) = find(&mut state.tree) {
        return Some((*now, parts));
    }
    let steps = later.get_or_insert_with(|| futures(state, *now));
    // What fits after one step fits after each later one.
    let (mut low, mut high, mut found) = (0, steps.len(), None);
    while low < high {
        let middle = (low + high) / 2;
        match find(&mut steps[middle].1) {
            Some(parts) => (found, high) = (Some((steps[middle].0, parts)), middle),
            None => low = middle + 1,
        }
    }
    found
}

/// Starts a job, or reserves nodes for it at the first time that is found; whether it started.
fn consider(
    pass: &mut Pass<'_>,
    id: JobId,
    reserved: &mut Vec<Reserved>,
    later: &mut Option<Futures>,
) -> bool {
    let left = pass.state.entry(id).left();
    let horizon = Nanos::new(pass.now.get().saturating_add(HORIZON));
    let mut from = pass.now;
    let mut before: Option<(Vec<NodeId>, Option<(Nanos, Vec<Part>)>)> = None;
    while from <= horizon {
        let closed = closed(reserved, from, left);
        let edges = reserved.iter().flat_map(|one| [one.from, one.until]);
        let next = edges.filter(|at| *at > from).min();
        let found = match before.take().filter(|(nodes, _)| *nodes == closed) {
            Some((_, found)) => found,
            None => earliest(pass, &closed, later, id),
        };
        before = Some((closed, found.clone()));
        match (found, next) {
            (Some((start, parts)), _) if start <= pass.now && from <= pass.now => {
                pass.start_on(id, parts);
                return true;
            }
            (Some((start, _)), Some(next)) if start > next => from = next,
            (Some((start, ref parts)), _) if start > from && overlaps(reserved, start, left, parts) => {
                from = start
            }
            (Some((start, parts)), _) => {
                let why = pass.state.find(id, pass.state.entry(id).job.ask).err().unwrap_or(Why::Priority);
                pass.state.note(id, why, pass.now);
                let start = start.max(from);
                let until = Nanos::new(start.get().saturating_add(left.get()));
                let nodes = parts.iter().map(|part| part.node).collect();
                if start <= horizon {
                    reserved.push(Reserved { from: start, until, nodes });
                }
                return false;
            }
            (None, Some(next)) => from = next,
            (None, None) => return false,
        }
    }
    false
}

/// Nodes promised to somebody at some time of a run of `left` from `from`.
fn closed(reserved: &[Reserved], from: Nanos, left: Nanos) -> Vec<NodeId> {
    let until = Nanos::new(from.get().saturating_add(left.get()));
    let meeting = reserved.iter().filter(|one| one.meets(from, until));
    let mut closed: Vec<NodeId> = meeting.flat_map(|one| one.nodes.iter().copied()).collect();
    closed.sort_unstable();
    closed.dedup();
    closed
}

/// Whether any of these nodes is promised to somebody else meanwhile.
fn overlaps(reserved: &[Reserved], start: Nanos, length: Nanos, parts: &[Part]) -> bool {
    let until = Nanos::new(start.get().saturating_add(length.get()));
    let shared = |one: &Reserved| parts.iter().any(|part| one.nodes.contains(&part.node));
    reserved.iter().filter(|one| one.meets(start, until)).any(shared)
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
