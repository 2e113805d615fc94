//! Elastic jobs sized for the goodput of all (the form of Pollux, OSDI 2021, and Sia, SOSP 2023): as many jobs as fit run at
//! their least size, and each doubling goes to the job whose logarithm of speed gains most per chip, which is proportional
//! fairness. A job is resized once a round at most, since each change costs a restart.

use super::Policy;
use crate::job::JobId;
use crate::pass::Pass;
use crate::tree::Ask;
use serving::Nanos;

/// Sizes by marginal gain.
pub struct Goodput {
    round: Nanos,
    depth: usize,
    next: Nanos,
}

impl Goodput {
    /// Rounds of this length over at most `depth` waiting jobs.
    pub fn new(round: Nanos, depth: usize) -> Self {
        Self { round, depth, next: Nanos::ZERO }
    }
}

/// A job to be sized.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    least: u32,
    most: u32,
    scaling: f64,
}

/// Sizes for jobs on `chips` chips: the least of each in order while they last (0 for who must wait), then doublings by gain
/// `scaling ln 2 / chips added`.
fn sizes(jobs: &[Candidate], chips: u32) -> Vec<u32> {
    let mut left = chips;
    let mut sizes: Vec<u32> = jobs
        .iter()
        .map(|job| {
            let given = if job.least <= left { job.least } else { 0 };
            left -= given;
            given
        })
        .collect();
    loop {
        let gain = |index: usize| jobs[index].scaling / f64::from(sizes[index]);
        let able = (0..jobs.len()).filter(|index| {
            let size = sizes[*index];
            size > 0
                && jobs[*index].scaling > 0.0
                && size.saturating_mul(2) <= jobs[*index].most
                && size <= left
        });
        let Some(best) = able.max_by(|a, b| gain(*a).total_cmp(&gain(*b)).then(b.cmp(a))) else {
            return sizes;
        };
        left -= sizes[best];
        sizes[best] *= 2;
    }
}

impl Policy for Goodput {
    fn name(&self) -> &'static str {
        "goodput"
    }

    fn resizes(&self) -> bool {
        true
    }

    fn period(&self) -> Option<Nanos> {
        Some(self.round)
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        let blocked = self.begin(pass);
        if pass.now < self.next {
            return;
        }
        let elastic: Vec<JobId> = {
            let mut found: Vec<JobId> = pass.state.running.clone();
            found.retain(|id| pass.state.entry(*id).job.elastic.is_some());
            found.sort_unstable();
            found
        };
        let spare = pass.state.tree.free_chips();
        if elastic.is_empty() || spare == 0 && !blocked {
            return;
        }
        self.next = Nanos::new(pass.now.get().saturating_add(self.round.get()));
        self.resize(pass, elastic, spare);
    }
}

impl Goodput {
    /// Starts who fits, elastic jobs at any size down to their least; whether somebody still waits.
    fn begin(&self, pass: &mut Pass<'_>) -> bool {
        let node = pass.state.tree.node_size();
        let mut blocked = false;
        for id in pass.waiting(self.depth) {
            let job = &pass.state.entry(id).job;
            let least = job.elastic.map_or(job.ask.chips(), |range| range.least);
            let mut chips = job.ask.chips();
            while pass.state.find(id, Ask::packed(chips, node)).is_err() && chips > least {
                chips = (chips / 2).max(least);
            }
            let ask = if chips == job.ask.chips() { job.ask } else { Ask::packed(chips, node) };
            blocked |= pass.start_as(id, ask).is_err();
        }
        blocked
    }

    fn resize(&self, pass: &mut Pass<'_>, elastic: Vec<JobId>, spare: u32) {
        let node = pass.state.tree.node_size();
        let mut jobs = elastic;
        let held: u32 = jobs.iter().map(|id| pass.state.entry(*id).held()).sum();
        jobs.extend(pass.waiting(self.depth));
        let candidates: Vec<Candidate> = jobs
            .iter()
            .map(|id| {
                let job = &pass.state.entry(*id).job;
                let asked = job.ask.chips();
                let (least, most) = job.elastic.map_or((asked, asked), |range| (range.least, range.most));
                Candidate { least, most, scaling: job.scaling }
            })
            .collect();
        let targets: Vec<(JobId, u32)> = jobs.iter().copied().zip(sizes(&candidates, held + spare)).collect();
        // Who shrinks goes first, so that who grows or waits finds the chips.
        for grow in [false, true] {
            for (id, target) in &targets {
                let now = pass.state.entry(*id).held();
                if now > 0 && *target > 0 && *target != now && (*target > now) == grow {
                    pass.resize(*id, Ask::packed(*target, node));
                }
            }
            if !grow {
                self.begin(pass);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{check, job};

    #[test]
    fn doublings_go_where_they_gain_most() {
        let job = |least, most, scaling| Candidate { least, most, scaling };
        assert_eq!(sizes(&[job(1, 16, 0.9), job(1, 16, 0.9)], 16), [8, 8]);
        assert_eq!(sizes(&[job(1, 16, 0.9), job(1, 16, 0.0)], 16), [8, 1]);
        assert_eq!(sizes(&[job(2, 2, 0.9), job(4, 16, 0.9), job(16, 16, 0.9)], 16), [2, 8, 0]);
    }

    /// Alone, a job has all 8 chips; when a second comes, the first is halved at the next round, and grows again after it.
    #[test]
    fn sizes_follow_the_load() {
        check(
            "goodput",
            &[job("a", 0, 8, 1000).elastic(1, 8), job("b", 100, 4, 360).elastic(4, 4)],
            "a 0-1180, b 100-460",
        );
    }
}
