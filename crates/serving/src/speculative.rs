//! The token clock: how far running sequences have come after a number of steps, with or without speculation.

use crate::engine::Speculation;

const ONE: u128 = 1 << 32;

/// Counts steps of an instance and the tokens every running sequence has gained in them.
///
/// Without speculation a step is a token. With it a step gains the mean accepted length: the fraction is carried over,
/// so that a sequence's length stays a whole number and 1.7 tokens per step come as 1, 2, 2, 1, 2 ...
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenClock {
    steps: u64,
    /// Tokens per step, in units of 2^-32.
    rate: u64,
}

impl TokenClock {
    /// A clock at zero.
    pub fn new(speculation: Option<Speculation>) -> Self {
        let rate = speculation.map_or(1.0, Speculation::tokens_per_step);
        Self { steps: 0, rate: (rate * ONE as f64).round() as u64 }
    }

    /// Steps since the start.
    pub fn steps(self) -> u64 {
        self.steps
    }

    /// Tokens gained since the start by a sequence that has been running since.
    pub fn tokens(self) -> u64 {
        self.tokens_after(0)
    }

    /// What [`TokenClock::tokens`] will be `steps` steps from now.
    pub fn tokens_after(self, steps: u64) -> u64 {
        (u128::from(self.steps + steps) * u128::from(self.rate) / ONE) as u64
    }

    /// Steps from now until the clock shows `tokens` or more.
    pub fn steps_until(self, tokens: u64) -> u64 {
        let total = (u128::from(tokens) * ONE).div_ceil(u128::from(self.rate.max(1))) as u64;
        total.saturating_sub(self.steps)
    }

    /// Steps that gain `tokens` tokens at most.
    pub fn steps_within(self, tokens: u64) -> u64 {
        let limit = u128::from(self.tokens() + tokens + 1) * ONE - 1;
        ((limit / u128::from(self.rate.max(1))) as u64).saturating_sub(self.steps)
    }

    /// Tokens per step on average.
    pub fn rate(self) -> f64 {
        self.rate as f64 / ONE as f64
    }

    /// Goes on by `steps` steps.
    pub fn advance(&mut self, steps: u64) {
        self.steps += steps;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn steps_and_tokens_invert_each_other(draft in 0u32..4, acceptance in 0.0f64..1.0, at in 0u64..5000, tokens in 1u64..5000) {
            let mut clock = TokenClock::new(Some(Speculation { draft_tokens: draft, acceptance }));
            clock.advance(at);
            let target = clock.tokens() + tokens;
            let steps = clock.steps_until(target);
            prop_assert!(clock.tokens_after(steps) >= target);
            prop_assert!(clock.tokens_after(steps - 1) < target);
            let within = clock.steps_within(tokens);
            prop_assert!(clock.tokens_after(within) <= target);
            prop_assert!(clock.tokens_after(within + 1) > target);
        }
    }
}
