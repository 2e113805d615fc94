//! Gangs all or nothing with bin packing, as Volcano allocates: jobs are tried in order of priority and submission, one that
//! does not fit lets the next try, and an elastic job starts once its least size fits.

use super::Policy;
use crate::job::JobId;
use crate::pass::Pass;
use crate::tree::Ask;

/// Greedy gangs.
pub struct Gang {
    /// Waiting jobs looked at in one pass.
    pub depth: usize,
    /// Whether jobs of higher priority stop others.
    pub preempt: bool,
}

impl Policy for Gang {
    fn name(&self) -> &'static str {
        "gang"
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        for id in pass.waiting(self.depth) {
            if pass.start(id).is_err() && !smaller(pass, id) && self.preempt {
                pass.preempt_lower(id);
            }
        }
    }
}

/// Starts an elastic job at the largest size from its request down to its least that fits.
fn smaller(pass: &mut Pass<'_>, id: JobId) -> bool {
    let entry = pass.state.entry(id);
    let Some(range) = entry.job.elastic else {
        return false;
    };
    let node = pass.state.tree.node_size();
    let mut chips = entry.job.ask.chips().min(range.most);
    while chips > range.least {
        chips = (chips / 2).max(range.least);
        if pass.state.find(id, Ask::packed(chips, node)).is_ok() {
            return pass.start_as(id, Ask::packed(chips, node)).is_ok();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, job};

    #[test]
    fn all_or_nothing_and_the_next_may_try() {
        check("gang", &[job("a", 0, 4, 10), job("b", 1, 8, 10), job("c", 2, 4, 3)], "a 0-10, b 10-20, c 2-5");
    }

    /// An elastic job of 8 starts on the 4 chips that are free, at half the speed.
    #[test]
    fn the_least_size_is_enough() {
        check("gang", &[job("a", 0, 4, 10), job("b", 1, 8, 10).elastic(2, 8)], "a 0-10, b 1-21");
    }
}
