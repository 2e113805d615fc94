//! Shortest remaining time with preemption: what a scheduler that knew the future would do for mean completion. A bound, for
//! comparison; it is the only policy that is told the work left.

use super::Policy;
use crate::job::Cause;
use crate::pass::Pass;
use crate::state::{Entry, Key, Stage, State};
use serving::Nanos;

/// The bound.
pub struct Shortest {
    /// Waiting jobs looked at in one pass.
    pub depth: usize,
}

/// Work left, in nanoseconds at the requested size.
fn left(entry: &Entry, now: Nanos) -> i64 {
    let running = if entry.stage == Stage::Running { now.since(entry.started).get() } else { 0.0 };
    let total = entry.job.oracle.unwrap_or(Nanos::NEVER).get() as f64;
    (total - (entry.ran + running) * 1e9).clamp(0.0, 9e18) as i64
}

impl Policy for Shortest {
    fn name(&self) -> &'static str {
        "shortest"
    }

    fn key(&self, entry: &Entry, _state: &State, now: Nanos) -> Key {
        (left(entry, now), entry.queued.get() as i64)
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        for id in pass.waiting(self.depth) {
            if pass.start(id).is_ok() {
                continue;
            }
            let (mine, now) = (pass.state.entry(id).key.0, pass.now);
            let mut victims = pass.victims(|other| left(other, now) > mine);
            victims.sort_by_key(|id| (std::cmp::Reverse(left(pass.state.entry(*id), now)), *id));
            for victim in &victims {
                let key = self.key(pass.state.entry(*victim), pass.state, now);
                pass.state.entries[victim.0 as usize].key = key;
            }
            if victims.is_empty() || !pass.make_room(id, &victims, Cause::Preempted) {
                return;
            }
        }
    }

    fn needs_oracle(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, job};

    #[test]
    fn less_work_goes_first() {
        check(
            "shortest",
            &[job("a", 0, 8, 10), job("b", 2, 8, 4), job("c", 3, 8, 20)],
            "a 0-2 6-14, b 2-6, c 14-34",
        );
    }
}
