//! What a step of an instance does, reduced to the sums that its price depends on, and the trait of what prices it.

use units::{Joules, Seconds};

/// Work of one attention data-parallel rank in one step, as sums that a scheduler can keep up to date without
/// touching every sequence.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RankLoad {
    /// Sequences that decode (one accepted token each, more with speculation).
    pub decode_seqs: f64,
    /// Sum of their context lengths, tokens.
    pub decode_context: f64,
    /// Sequences that prefill (whole prompts or chunks).
    pub prefill_seqs: f64,
    /// Sum of their new tokens.
    pub prefill_tokens: f64,
    /// Sum over them of cached tokens before the new ones.
    pub prefill_past: f64,
    /// Query-key pairs of the prefill: the sum of `new * (past + (new + 1) / 2)`.
    pub prefill_pairs: f64,
}

impl RankLoad {
    /// A batch of `seqs` decoding sequences with `context` tokens each on average.
    pub fn decode(seqs: f64, context: f64) -> Self {
        Self { decode_seqs: seqs, decode_context: seqs * context, ..Self::default() }
    }

    /// `seqs` prompts (or chunks) of `new` tokens after `past` cached ones.
    pub fn prefill(seqs: f64, new: f64, past: f64) -> Self {
        Self {
            prefill_seqs: seqs,
            prefill_tokens: seqs * new,
            prefill_past: seqs * past,
            prefill_pairs: seqs * new * (past + (new + 1.0) / 2.0),
            ..Self::default()
        }
    }

    /// Both loads in one step.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            decode_seqs: self.decode_seqs + other.decode_seqs,
            decode_context: self.decode_context + other.decode_context,
            prefill_seqs: self.prefill_seqs + other.prefill_seqs,
            prefill_tokens: self.prefill_tokens + other.prefill_tokens,
            prefill_past: self.prefill_past + other.prefill_past,
            prefill_pairs: self.prefill_pairs + other.prefill_pairs,
        }
    }
}

/// One step of an instance. Attention waits for its busiest rank; expert layers see the tokens of all ranks.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepShape {
    /// The busiest attention rank.
    pub busiest: RankLoad,
    /// Decoding sequences over all data-parallel ranks.
    pub total_decode_seqs: f64,
    /// Prefill tokens over all data-parallel ranks.
    pub total_prefill_tokens: f64,
}

impl StepShape {
    /// The same load on each of `ranks` data-parallel ranks.
    pub fn even(load: RankLoad, ranks: u32) -> Self {
        Self {
            busiest: load,
            total_decode_seqs: load.decode_seqs * f64::from(ranks),
            total_prefill_tokens: load.prefill_tokens * f64::from(ranks),
        }
    }
}

/// Duration and energy of one step of a whole instance.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepPrice {
    /// From the scheduler's decision to the tokens being handed out.
    pub time: Seconds,
    /// Of all chips of the instance, idle share included.
    pub energy: Joules,
}

/// Anything that prices steps. For a fixed batch the time must not fall when contexts grow.
pub trait StepPricer {
    /// Price one step.
    fn price(&self, shape: &StepShape) -> StepPrice;
}

impl<P: StepPricer + ?Sized> StepPricer for &P {
    fn price(&self, shape: &StepShape) -> StepPrice {
        (**self).price(shape)
    }
}

impl<P: StepPricer + ?Sized> StepPricer for std::sync::Arc<P> {
    fn price(&self, shape: &StepShape) -> StepPrice {
        (**self).price(shape)
    }
}
