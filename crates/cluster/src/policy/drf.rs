//! Dominant-resource fairness over queues with quotas and cohorts, as Kueue admits: the queue that uses least of its share
//! goes next; a queue may borrow what its cohort leaves unused, and gives it back when the owner asks.

use super::Policy;
use crate::job::{Cause, JobId, TenantId, Why};
use crate::pass::Pass;
use crate::state::State;

/// Fair shares with borrowing and reclaim.
pub struct Drf {
    /// Waiting jobs looked at in one pass.
    pub depth: usize,
}

/// A tenant's weighted share of what it has most of, chips or a resource (Ghodsi et al. 2011).
fn share(state: &State, tenant: TenantId) -> f64 {
    let account = state.account(tenant);
    let chips = f64::from(account.used) / f64::from(state.tree.chips().max(1));
    let resources = state.resources.iter().zip(&account.drawn);
    let dominant = resources.map(|((resource, _), drawn)| *drawn as f64 / resource.amount.max(1) as f64);
    dominant.fold(chips, f64::max) / account.tenant.weight.max(1e-9)
}

impl Policy for Drf {
    fn name(&self) -> &'static str {
        "drf"
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        let waiting = pass.waiting(self.depth);
        let mut queues: Vec<std::collections::VecDeque<JobId>> =
            vec![Default::default(); pass.state.accounts.len()];
        for id in waiting {
            queues[pass.state.entry(id).job.tenant.0 as usize].push_back(id);
        }
        loop {
            let open = (0..queues.len()).filter(|tenant| !queues[*tenant].is_empty());
            let next = open.min_by(|a, b| {
                let share = |tenant: &usize| share(pass.state, TenantId(*tenant as u32));
                share(a).total_cmp(&share(b)).then(queues[*a].front().cmp(&queues[*b].front()))
            });
            let Some(tenant) = next else {
                return;
            };
            let Some(id) = queues[tenant].pop_front() else {
                return;
            };
            // A job that cannot start lets the next of its queue try (Kueue's BestEffortFIFO).
            if let Err(why) = pass.start(id) {
                if matches!(why, Why::Capacity | Why::Fragmentation | Why::Topology | Why::Quota) {
                    reclaim(pass, id);
                }
            }
        }
    }
}

/// Makes room for a job inside its tenant's own quota: jobs of tenants that borrow are stopped, then jobs of its own
/// tenant with lower priority.
fn reclaim(pass: &mut Pass<'_>, id: JobId) -> bool {
    let entry = pass.state.entry(id);
    let (tenant, priority, chips) = (entry.job.tenant, entry.job.priority, entry.job.ask.chips());
    let account = pass.state.account(tenant);
    let cohort = account.tenant.cohort;
    let own = account.tenant.quota.is_some_and(|quota| account.used + chips <= quota);
    if own && cohort.is_some() {
        let state = &pass.state;
        let borrows = |other: TenantId| {
            let account = state.account(other);
            account.tenant.cohort == cohort && account.tenant.quota.is_some_and(|quota| account.used > quota)
        };
        let victims = pass.victims(|other| other.job.tenant != tenant && borrows(other.job.tenant));
        if !victims.is_empty() && pass.make_room(id, &victims, Cause::Reclaimed) {
            return true;
        }
    }
    let victims = pass.victims(|other| other.job.tenant == tenant && other.job.priority < priority);
    !victims.is_empty() && pass.make_room(id, &victims, Cause::Preempted)
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, check_shared, check_tenants, job, open, quota};

    /// Each start goes to the tenant with the smaller share.
    #[test]
    fn shares_are_evened_out() {
        check(
            "drf",
            &[job("a", 0, 8, 10), job("b", 1, 4, 10), job("c", 1, 4, 10), job("d", 1, 4, 10).tenant(1)],
            "a 0-10, b 10-20, c 20-30, d 10-20",
        );
    }

    /// Both have 4 chips; the first borrows the second's until it asks for them.
    #[test]
    fn what_is_borrowed_is_given_back() {
        check_tenants(
            "drf",
            &[quota(4, 4), quota(4, 4)],
            &[job("a", 0, 4, 10), job("b", 1, 4, 10), job("c", 3, 4, 5).tenant(1)],
            "a 0-10, b 1-3 8-16, c 3-8",
        );
    }

    /// The example of Ghodsi et al. 2011, section 4.1: nine processors and 18 GB; tasks of A need a processor and 4 GB, those of B
    /// three processors and 1 GB. A gets three tasks and B two, each two thirds of its dominant resource.
    #[test]
    fn dominant_shares_are_evened_out() {
        let of_a = (0..6).map(|_| job("a", 0, 1, 10).needs(&[(0, 4)]));
        let of_b = (0..6).map(|_| job("b", 0, 3, 10).tenant(1).needs(&[(0, 1)]));
        let jobs: Vec<_> = of_a.chain(of_b).collect();
        check_shared(
            ("drf", 9, &[("memory", 18)]),
            &[open(), open()],
            &jobs,
            "a 0-10, a 0-10, a 0-10, a 10-20, a 10-20, a 10-20, b 0-10, b 0-10, b 10-20, b 10-20, b 20-30, b 20-30",
        );
    }

    /// Twice the weight is twice the dominant share: of 12 processors A takes eight.
    #[test]
    fn weights_count() {
        let of = |tenant| (0..12).map(move |_| job("j", 0, 1, 10).tenant(tenant).needs(&[(0, 1)]));
        let jobs: Vec<_> = of(0).chain(of(1)).collect();
        let heavy = crate::job::Tenant { weight: 2.0, ..open() };
        let first = |count: usize| vec!["j 0-10"; count].join(", ");
        let later = |count: usize| vec!["j 10-20"; count].join(", ");
        let expected = [first(8), later(4), first(4), later(8)].join(", ");
        check_shared(("drf", 12, &[("memory", 18)]), &[heavy, open()], &jobs, &expected);
    }

    /// Without the right to borrow, chips stay idle.
    #[test]
    fn quotas_hold() {
        check_tenants(
            "drf",
            &[quota(4, 0), quota(4, 0)],
            &[job("a", 0, 4, 10), job("b", 1, 4, 10)],
            "a 0-10, b 10-20",
        );
    }
}
