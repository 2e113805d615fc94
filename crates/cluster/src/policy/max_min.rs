//! Max-min fairness by rounds (Gavel, OSDI 2020): each job is to get the share of time that makes the least weighted share of
//! chips as large as it can be; every round, those furthest behind their share run.

use super::Policy;
use crate::job::{Cause, JobId, TenantId};
use crate::pass::Pass;
use crate::state::State;
use serving::Nanos;

/// Rounds of fair shares.
pub struct MaxMin {
    round: Nanos,
    depth: usize,
    next: Nanos,
}

impl MaxMin {
    /// Rounds of this length over at most `depth` waiting jobs.
    pub fn new(round: Nanos, depth: usize) -> Self {
        Self { round, depth, next: Nanos::ZERO }
    }
}

/// Shares of time for jobs of these chips and weights on `total` chips: `x = min(1, s w / c)` with the largest `s` for which
/// `sum x c <= total` (water filling).
pub fn shares(jobs: &[(f64, f64)], total: f64) -> Vec<f64> {
    // A job is full at the level c / w; levels are visited from the lowest.
    let mut order: Vec<usize> = (0..jobs.len()).collect();
    order.sort_by(|a, b| (jobs[*a].0 / jobs[*a].1).total_cmp(&(jobs[*b].0 / jobs[*b].1)));
    let mut weights: f64 = jobs.iter().map(|job| job.1).sum();
    let (mut left, mut level) = (total, f64::INFINITY);
    for index in order {
        let (chips, weight) = jobs[index];
        if left / weights < chips / weight {
            level = left / weights;
            break;
        }
        left -= chips;
        weights -= weight;
    }
    jobs.iter().map(|(chips, weight)| (level * weight / chips).min(1.0)).collect()
}

impl Policy for MaxMin {
    fn name(&self) -> &'static str {
        "max-min"
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        for id in pass.waiting(self.depth) {
            let _ = pass.start(id);
        }
        if pass.now < self.next || pass.state.waiting.is_empty() {
            return;
        }
        self.next = Nanos::new(pass.now.get().saturating_add(self.round.get()));
        let mut live = pass.waiting(self.depth);
        live.extend(pass.state.running.iter().copied().filter(|id| pass.state.entry(*id).job.preemptible));
        let order = by_need(pass.state, &live, pass.now);
        // The furthest behind are chosen while chips last; those who run and are not chosen make room.
        let mut chips = pass.state.tree.free_chips();
        chips += live.iter().map(|id| pass.state.entry(*id).held()).sum::<u32>();
        let (mut chosen, mut rest) = (Vec::new(), Vec::new());
        for id in order {
            let ask = pass.state.entry(id).job.ask.chips();
            if ask <= chips {
                chips -= ask;
                chosen.push(id);
            } else if !pass.state.entry(id).parts.is_empty() {
                rest.push(id);
            }
        }
        rest.reverse();
        for id in chosen {
            if pass.state.entry(id).parts.is_empty() && pass.start(id).is_err() {
                rest.retain(|victim| !pass.state.entry(*victim).parts.is_empty());
                pass.make_room(id, &rest, Cause::Preempted);
            }
        }
    }

    fn period(&self) -> Option<Nanos> {
        Some(self.round)
    }
}

/// Jobs by what they got over what they should have got, least first.
fn by_need(state: &State, live: &[JobId], now: Nanos) -> Vec<JobId> {
    let weight = |tenant: TenantId| state.account(tenant).tenant.weight.max(1e-9);
    let jobs: Vec<(f64, f64)> = live
        .iter()
        .map(|id| {
            let job = &state.entry(*id).job;
            (f64::from(job.ask.chips()), weight(job.tenant))
        })
        .collect();
    let shares = shares(&jobs, f64::from(state.tree.open_chips()));
    let mut order: Vec<(f64, JobId)> = live
        .iter()
        .zip(shares)
        .zip(&jobs)
        .map(|((id, share), (chips, _))| {
            let entry = state.entry(*id);
            let age = now.since(entry.job.submitted).get().max(1e-9);
            let received = entry.attained(now) / chips / age;
            (received / share.max(1e-9), *id)
        })
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.into_iter().map(|(_, id)| id).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{check, job};

    #[test]
    fn water_is_filled() {
        // Of 8 chips the job of 1 gets all it asks for; the two of 8 share the other 7.
        assert_eq!(shares(&[(1.0, 1.0), (8.0, 1.0), (8.0, 1.0)], 8.0), [1.0, 3.5 / 8.0, 3.5 / 8.0]);
        assert_eq!(shares(&[(8.0, 3.0), (8.0, 1.0)], 8.0), [0.75, 0.25]);
        assert_eq!(shares(&[(2.0, 1.0), (2.0, 1.0)], 8.0), [1.0, 1.0]);
    }

    /// Two jobs of the whole cluster take turns of a round of 360 s.
    #[test]
    fn rounds_alternate() {
        check("max-min", &[job("a", 0, 8, 720), job("b", 0, 8, 360)], "a 0-360 720-1080, b 360-720");
    }
}
