//! EASY backfill (Lifka 1995; Mu'alem and Feitelson 2001): the head of the queue has a reservation at the earliest time the
//! declared limits allow, and others may start out of order if they do not delay it.

use super::Policy;
use super::fifo::strict;
use crate::job::{JobId, Uses, Why};
use crate::pass::Pass;
use crate::reserve::{Reservation, reservation};

/// Aggressive backfill.
pub struct Easy {
    depth: usize,
    preempt: bool,
}

impl Easy {
    /// Looks at `depth` jobs behind the head.
    pub fn new(depth: usize, preempt: bool) -> Self {
        Self { depth, preempt }
    }
}

impl Policy for Easy {
    fn name(&self) -> &'static str {
        "easy"
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        let Some(head) = strict(pass, self.preempt) else {
            return;
        };
        if pass.state.tree.free_chips() == 0 {
            return;
        }
        let entry = pass.state.entry(head);
        let kept = entry.job.uses.clone();
        // A head that waits for units of a resource alone has them kept, and no chips.
        let reserved = if pass.state.short_of(&kept, &Uses::default()).is_some() {
            Reservation { at: pass.now, kept: Vec::new() }
        } else if let Some(found) = reservation(pass.state, entry.job.ask, entry.job.wish) {
            found
        } else {
            return;
        };
        let mut cursor = Some((entry.key, head));
        for _ in 0..self.depth {
            let Some((key, id)) = pass.after(cursor) else {
                return;
            };
            cursor = Some((key, id));
            if pass.state.short_of(&pass.state.entry(id).job.uses, &kept).is_some() {
                pass.state.note(id, Why::Capacity, pass.now);
                continue;
            }
            behind(pass, id, &reserved);
        }
    }
}

/// Starts a job that ends before the reservation or stays off its nodes.
fn behind(pass: &mut Pass<'_>, id: JobId, reserved: &Reservation) {
    let entry = pass.state.entry(id);
    let ends = pass.now.get().saturating_add(entry.left().get());
    if ends <= reserved.at.get() {
        let _ = pass.start(id);
        return;
    }
    let ask = entry.job.ask;
    if let Err(why) = pass.state.find(id, ask) {
        pass.state.note(id, why, pass.now);
        return;
    }
    for (node, chips) in &reserved.kept {
        pass.state.tree.hold(*node, *chips);
    }
    let found = pass.state.find(id, ask);
    for (node, chips) in &reserved.kept {
        pass.state.tree.unhold(*node, *chips);
    }
    match found {
        Ok(parts) => pass.start_on(id, parts),
        Err(_) => pass.state.note(id, Why::Priority, pass.now),
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check_shared, open};

    /// a holds three of four units and b, the head, needs two: d, which needs the last one, may not take it, c passes.
    #[test]
    fn units_are_kept_for_the_head() {
        let jobs = [
            job("a", 0, 1, 100).needs(&[(0, 3)]),
            job("b", 1, 1, 10).needs(&[(0, 2)]),
            job("c", 2, 1, 300),
            job("d", 3, 1, 10).needs(&[(0, 1)]),
        ];
        for policy in ["easy", "conservative"] {
            let expected = "a 0-100, b 100-110, c 2-302, d 100-110";
            check_shared((policy, 8, &[("memory", 4)]), &[open()], &jobs, expected);
        }
        // Nobody overtakes the head, and where whoever fits starts, the last unit is taken.
        check_shared(
            ("fifo", 8, &[("memory", 4)]),
            &[open()],
            &jobs,
            "a 0-100, b 100-110, c 100-400, d 100-110",
        );
        check_shared(("gang", 8, &[("memory", 4)]), &[open()], &jobs, "a 0-100, b 100-110, c 2-302, d 3-13");
    }
    use crate::policy::testing::{check, job};

    #[test]
    fn short_jobs_overtake_a_blocked_head() {
        // b needs all 8 chips at 10; c ends by then and goes first, d would not.
        check(
            "easy",
            &[job("a", 0, 4, 10), job("b", 1, 8, 10), job("c", 2, 4, 3), job("d", 3, 4, 20)],
            "a 0-10, b 10-20, c 2-5, d 20-40",
        );
    }

    #[test]
    fn long_jobs_may_use_what_the_head_leaves() {
        // b needs 6 of the 8 chips at 10, so a long job of 2 does not delay it.
        check(
            "easy",
            &[job("a", 0, 4, 10), job("b", 1, 6, 10), job("c", 2, 2, 50)],
            "a 0-10, b 10-20, c 2-52",
        );
    }

    /// EASY protects only the head: c, second in line, is delayed by d, which conservative backfill forbids.
    #[test]
    fn only_the_head_is_protected() {
        check(
            "easy",
            &[job("a", 0, 6, 10), job("b", 1, 6, 10), job("c", 2, 8, 10), job("d", 3, 2, 25)],
            "a 0-10, b 10-20, c 28-38, d 3-28",
        );
    }
}
