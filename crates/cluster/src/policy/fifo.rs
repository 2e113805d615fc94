//! First in, first out within a priority: nobody overtakes the head of the queue.

use super::Policy;
use crate::job::{JobId, Why};
use crate::pass::Pass;

/// Strict order.
pub struct Fifo {
    /// Whether the head may stop jobs of lower priority.
    pub preempt: bool,
}

impl Policy for Fifo {
    fn name(&self) -> &'static str {
        "fifo"
    }

    fn plan(&mut self, pass: &mut Pass<'_>) {
        strict(pass, self.preempt);
    }
}

/// Starts jobs in order until one does not fit, and returns that one. A job held back by its own tenant's quota does not
/// block the others.
pub(super) fn strict(pass: &mut Pass<'_>, preempt: bool) -> Option<JobId> {
    let mut cursor = None;
    while let Some((key, id)) = pass.after(cursor) {
        cursor = Some((key, id));
        match pass.start(id) {
            Ok(()) | Err(Why::Quota) => {}
            Err(_) if preempt && pass.preempt_lower(id) => {}
            Err(_) => return Some(id),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::policy::testing::{check, job};

    #[test]
    fn the_head_blocks() {
        // 8 chips: a takes 4, b needs 8 and blocks c, though c would fit.
        check(
            "fifo",
            &[job("a", 0, 4, 10), job("b", 1, 8, 10), job("c", 2, 4, 3)],
            "a 0-10, b 10-20, c 20-23",
        );
    }

    #[test]
    fn higher_priority_goes_first_and_stops_others() {
        check(
            "fifo",
            &[job("a", 0, 8, 10), job("b", 1, 8, 10), job("c", 2, 8, 3).priority(1)],
            "a 0-2 5-13, b 13-23, c 2-5",
        );
    }
}
