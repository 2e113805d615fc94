//! Prompts that wait beside a decoding batch to start together.

use crate::instance::{Instance, Surroundings};
use crate::request::Phase;

/// When the prompts that wait beside decoding sequences start: once enough of them wait, or after so many steps. Every step
/// with prompts in it is longer for all that decode, so that fewer and fuller ones are worth a later first token
/// (TensorRT-LLM's `batch_wait_max_tokens_ratio` with `batch_wait_timeout_iters`, and `enable_balance` of its
/// `attention_dp_config`, by which the ranks start their prompts in one step).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gathering {
    /// Prompt tokens that are enough.
    pub tokens: u32,
    /// Prompts that are enough.
    pub requests: u32,
    /// Steps that enough of them wait for more.
    pub settle: u32,
    /// Steps after which they start anyway.
    pub timeout: u32,
}

/// Since which decoding steps prompts wait, and enough of them do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Held {
    since: Option<u64>,
    enough: Option<u64>,
    /// Steps that they wait for at least.
    pub left: u32,
}

impl Instance {
    /// Whether the prompts at the head of the queue wait for others; notes for how many steps.
    pub fn gathers(&mut self, around: &Surroundings) -> bool {
        self.held.left = 0;
        let Some(gathering) = self.limits.gathering else { return false };
        let queued = self.waiting.peek().is_some_and(|id| around.live.at(id).phase == Phase::Queued);
        if self.decode_seqs == 0 || !queued {
            self.held = Held::default();
            return false;
        }
        let now = self.clock.steps();
        let left = |from: u64, steps: u32| (from + u64::from(steps)).saturating_sub(now) as u32;
        let since = *self.held.since.get_or_insert(now);
        self.held.left = left(since, gathering.timeout);
        if self.waits_enough(gathering, around) {
            let enough = *self.held.enough.get_or_insert(now);
            self.held.left = self.held.left.min(left(enough, gathering.settle));
        }
        self.held.left > 0
    }

    /// Whether so many wait that they need not wait for more.
    fn waits_enough(&self, gathering: Gathering, around: &Surroundings) -> bool {
        let (mut tokens, mut requests) = (0_u64, 0_u32);
        self.waiting.iter().any(|id| {
            tokens += u64::from(around.live.at(id).target);
            requests += 1;
            tokens >= u64::from(gathering.tokens) && requests >= gathering.requests
        })
    }
}
