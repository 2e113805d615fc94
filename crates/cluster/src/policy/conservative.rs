//! Conservative backfill (Mu'alem and Feitelson 2001): every job looked at has a reservation, and nobody may delay an earlier
//! one's.

use super::Policy;
use super::fifo::strict;
use crate::job::{Uses, Why};
use crate::pass::Pass;
use crate::timeline::Timeline;
use serving::Nanos;

/// Backfill with a reservation for each job.
pub struct Conservative {
    depth: usize,
    preempt: bool,
    interval: Nanos,
    next: Nanos,
}

impl Conservative {
    /// Gives reservations to `depth` jobs, at most once every `interval`.
    pub fn new(depth: usize, preempt: bool, interval: Nanos) -> Self {
        // The first backfill comes an interval after the first look at the head, as in Slurm.
        Self { depth, preempt, interval, next: interval }
    }

    fn pass(&mut self, pass: &mut Pass<'_>) {
        if strict(pass, self.preempt).is_none() || pass.now < self.next || pass.state.tree.free_chips() == 0 {
            return;
        }
        self.next = Nanos::new(pass.now.get().saturating_add(self.interval.get()));
        let mut timeline = Timeline::new(pass.state, pass.now);
        // Units of resources have no timeline: those of a job that waits are kept for it.
        let mut aside = vec![0u64; pass.state.resources.len()];
        for id in pass.waiting(self.depth) {
            let entry = pass.state.entry(id);
            let (ask, wish, left) = (entry.job.ask, entry.job.wish, entry.left());
            if let Err(why @ (Why::Quota | Why::Power)) = pass.state.admits(id, ask) {
                pass.state.note(id, why, pass.now);
                continue;
            }
            let uses = entry.job.uses.clone();
            let kept: Uses = uses.iter().map(|(at, _)| (*at, aside[*at as usize])).collect();
            if pass.state.short_of(&uses, &kept).is_some() {
                pass.state.note(id, Why::Capacity, pass.now);
                keep(&mut aside, &uses);
                continue;
            }
            let Some(slot) = timeline.earliest(&pass.state.tree, ask, wish, left) else {
                continue;
            };
            if slot.at > pass.now {
                let why = pass.state.find(id, ask).err().unwrap_or(Why::Priority);
                pass.state.note(id, why, pass.now);
                timeline.reserve(slot.at, left, &slot.nodes);
                keep(&mut aside, &uses);
                continue;
            }
            // Chips are picked as usual, from what stays free for as long as the job may run.
            let kept = timeline.kept(&pass.state.tree, left);
            for (node, chips) in &kept {
                pass.state.tree.hold(*node, *chips);
            }
            let found = pass.state.find(id, ask);
            for (node, chips) in &kept {
                pass.state.tree.unhold(*node, *chips);
            }
            if let Ok(parts) = found {
                let nodes: Vec<_> = parts.iter().map(|part| (part.node, part.count())).collect();
                timeline.reserve(pass.now, left, &nodes);
                pass.start_on(id, parts);
            }
        }
    }
}

/// Adds what a waiting job needs to what is kept.
fn keep(aside: &mut [u64], uses: &Uses) {
    for (at, units) in uses {
        aside[*at as usize] += units;
    }
}

impl Policy for Conservative {
    fn name(&self) -> &'static str {
        "conservative"
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        self.pass(pass);
    }

    fn period(&self) -> Option<Nanos> {
        (self.interval > Nanos::ZERO).then_some(self.interval)
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, job};

    /// The case that tells it from EASY: d would delay c, the second in line, and waits.
    #[test]
    fn every_reservation_is_kept() {
        check(
            "conservative",
            &[job("a", 0, 6, 10), job("b", 1, 6, 10), job("c", 2, 8, 10), job("d", 3, 2, 25)],
            "a 0-10, b 10-20, c 20-30, d 30-55",
        );
    }

    #[test]
    fn what_ends_in_time_goes_first() {
        check(
            "conservative",
            &[job("a", 0, 6, 10), job("b", 1, 6, 10), job("c", 2, 8, 10), job("d", 3, 2, 15)],
            "a 0-10, b 10-20, c 20-30, d 3-18",
        );
    }
}
