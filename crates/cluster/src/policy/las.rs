//! Least attained service in discrete queues (Tiresias, NSDI 2019): jobs that have had little of the cluster go before those
//! that have had much, whose chips they take; within a queue, first in, first out.

use super::Policy;
use crate::job::Cause;
use crate::pass::Pass;
use crate::state::{Entry, Key, State};
use serving::Nanos;

/// Discretised two-dimensional LAS: service is chips times time.
pub struct Las {
    /// Chip-seconds at which a job falls into the next queue.
    pub thresholds: Vec<f64>,
    /// Waiting jobs looked at in one pass.
    pub depth: usize,
}

impl Las {
    fn queue(&self, entry: &Entry, now: Nanos) -> i64 {
        // Attained service that equals a threshold up to rounding has reached it.
        let attained = entry.attained(now) + 1e-6;
        self.thresholds.iter().filter(|limit| attained >= **limit).count() as i64
    }
}

impl Policy for Las {
    fn name(&self) -> &'static str {
        "las"
    }

    fn key(&self, entry: &Entry, _state: &State, now: Nanos) -> Key {
        (self.queue(entry, now), entry.queued.get() as i64)
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        for id in pass.waiting(self.depth) {
            if pass.start(id).is_ok() {
                continue;
            }
            let (mine, now) = (pass.state.entry(id).key.0, pass.now);
            let mut victims = pass.victims(|other| self.queue(other, now) > mine);
            if victims.is_empty() {
                // Later jobs have no better queue, so they can only use what is free.
                continue;
            }
            victims.sort_by(|a, b| {
                let served = |id| pass.state.entry(id).attained(now);
                served(*b).total_cmp(&served(*a)).then(b.cmp(a))
            });
            for victim in &victims {
                let key = self.key(pass.state.entry(*victim), pass.state, now);
                pass.state.entries[victim.0 as usize].key = key;
            }
            pass.make_room(id, &victims, Cause::Preempted);
        }
    }

    fn period(&self) -> Option<Nanos> {
        Some(Nanos::new(60_000_000_000))
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, job};

    /// On 8 chips with a threshold of 3600 chip-seconds, a falls to the second queue after 450 s; the next look at a whole
    /// minute after b's arrival stops it for b, which needs less than that.
    #[test]
    fn who_had_more_makes_room() {
        check("las", &[job("a", 0, 8, 1000), job("b", 100, 8, 50)], "a 0-460 510-1050, b 460-510");
    }

    /// Within a queue nobody is stopped.
    #[test]
    fn equals_wait() {
        check("las", &[job("a", 0, 8, 100), job("b", 1, 8, 50)], "a 0-100, b 100-150");
    }
}
