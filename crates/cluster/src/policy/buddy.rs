//! Buddy cells (HiveD, OSDI 2020): chips are given as aligned cells of a power of two, cut from the smallest free cell, so that
//! what is free can be joined again. A tenant's quota is its virtual cluster: jobs within it are guaranteed, jobs beyond it
//! run on idle cells and make room.

use super::Policy;
use crate::job::{Cause, Job};
use crate::pass::Pass;
use crate::place::Placement;
use crate::tree::{Ask, Tree};

/// Cells of a power of two.
pub struct Buddy {
    /// Waiting jobs looked at in one pass.
    pub depth: usize,
}

impl Policy for Buddy {
    fn name(&self) -> &'static str {
        "buddy"
    }

    fn placement(&self) -> Option<Placement> {
        Some(Placement::Buddy)
    }

    /// A job holds a whole cell; one that would not fit the cluster stays as it is.
    fn admit(&mut self, job: &mut Job, tree: &Tree) {
        let cell = Ask::packed(job.ask.chips().next_power_of_two(), tree.node_size());
        if cell.chips() <= tree.open_chips() && job.elastic.is_none() && job.ask.rest == 0 {
            let whole = job.ask.nodes() == 1 || job.ask.each == tree.node_size();
            if whole && tree.node_size().is_power_of_two() {
                job.ask = cell;
            }
        }
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        let mut blocked = vec![false; pass.state.accounts.len()];
        for id in pass.waiting(self.depth) {
            let job = &pass.state.entry(id).job;
            let (tenant, chips) = (job.tenant.0 as usize, job.ask.chips());
            // Order holds within a virtual cluster only.
            if blocked[tenant] || pass.start(id).is_ok() {
                continue;
            }
            let account = &pass.state.accounts[tenant];
            let guaranteed = account.tenant.quota.is_some_and(|quota| account.used + chips <= quota);
            let state = &pass.state;
            let beyond = |tenant: usize| {
                let account = &state.accounts[tenant];
                account.tenant.quota.is_none_or(|quota| account.used > quota)
            };
            let victims = pass.victims(|other| beyond(other.job.tenant.0 as usize));
            if !(guaranteed && !victims.is_empty() && pass.make_room(id, &victims, Cause::Reclaimed)) {
                blocked[tenant] = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, check_tenants, job, open, quota};

    /// Three chips are a cell of four: 3 + 3 fill the eight.
    #[test]
    fn a_job_holds_its_cell() {
        check(
            "buddy",
            &[job("a", 0, 3, 10), job("b", 0, 3, 10), job("c", 1, 2, 5)],
            "a 0-10, b 0-10, c 10-15",
        );
    }

    /// A virtual cluster's cell comes back when its owner asks.
    #[test]
    fn guaranteed_jobs_get_their_cells() {
        check_tenants(
            "buddy",
            &[quota(4, 0), open()],
            &[job("a", 0, 8, 10).tenant(1), job("b", 2, 4, 3)],
            "a 0-2 5-13, b 2-5",
        );
    }
}
