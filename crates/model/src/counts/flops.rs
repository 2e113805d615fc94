//! Arithmetic of one token's way through the model.

use super::part::{ByPart, Part};
use crate::arch::{Attention, Linear, Model, SparseIndexer, StateSpace};
use units::Flop;

/// What the token is part of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Phase {
    /// A prompt of this many tokens, computed at once: the mean over its tokens. Logits are needed of the last only.
    Prefill {
        /// Tokens of the prompt.
        tokens: f64,
    },
    /// The next token after a context of this many.
    Decode {
        /// Tokens in the cache.
        context: f64,
    },
}

impl Phase {
    /// Entries that a token reads on average where it may read at most `limit` of those before it and itself.
    fn attended(self, limit: f64) -> f64 {
        match self {
            Self::Decode { context } => context.min(limit),
            Self::Prefill { tokens } if tokens <= limit => (tokens + 1.0) / 2.0,
            Self::Prefill { tokens } => limit * (tokens - (limit - 1.0) / 2.0) / tokens,
        }
    }
}

impl Model {
    /// Operations per token of a forward pass, by part, without prediction modules: a multiply-add is two.
    pub fn flops_per_token(&self, phase: Phase) -> ByPart<Flop> {
        let weights = self.weights();
        let mut flops = weights.map(|weights| Flop::new(2.0 * weights.multiplied() as f64));
        if let Phase::Prefill { tokens } = phase {
            flops[Part::OutputHead] = flops[Part::OutputHead] / tokens.max(1.0);
        }
        for group in &self.layers {
            let count = f64::from(group.count);
            flops[Part::Attention] += mixing(&group.attention, phase) * count;
            flops[Part::Indexer] += scoring(&group.attention, phase) * count;
        }
        flops
    }
}

/// Operations between queries and what they read, or on a state.
fn mixing(attention: &Attention, phase: Phase) -> Flop {
    let limit = |window: Option<u32>, indexer: Option<&SparseIndexer>| {
        let window = window.map_or(f64::INFINITY, f64::from);
        indexer.map_or(window, |indexer| window.min(f64::from(indexer.topk)))
    };
    let pairs =
        |heads: u32, qk: f64, v: f64, entries: f64| Flop::new(2.0 * f64::from(heads) * (qk + v) * entries);
    match attention {
        Attention::MultiHead(a) => {
            let entries = phase.attended(limit(a.window, a.indexer.as_ref()));
            pairs(a.heads, f64::from(a.head_dim), f64::from(a.v_head_dim), entries)
        }
        Attention::Mla(a) => {
            let entries = phase.attended(limit(None, a.indexer.as_ref()));
            let rope = f64::from(a.qk_rope_head_dim);
            // Decoding, and any reading of selected tokens, works on the latents themselves.
            if matches!(phase, Phase::Decode { .. }) || a.indexer.is_some() {
                let latent = f64::from(a.kv_lora_rank);
                pairs(a.heads, latent + rope, latent, entries)
            } else {
                pairs(a.heads, f64::from(a.qk_nope_head_dim) + rope, f64::from(a.v_head_dim), entries)
            }
        }
        Attention::Compressed(a) => {
            let latest = phase.attended(f64::from(a.window));
            let folded = if a.ratio == 0 { 0.0 } else { folded(phase, a.ratio, a.indexer.as_ref()) };
            pairs(a.heads, f64::from(a.head_dim), f64::from(a.head_dim), latest + folded)
        }
        Attention::Linear(a) => linear(a),
        Attention::StateSpace(a) => state_space(a),
        Attention::ShortConv(a) => Flop::new(2.0 * f64::from(a.width) * f64::from(a.kernel)),
        Attention::None => Flop::ZERO,
    }
}

/// Folded entries that a token reads.
fn folded(phase: Phase, ratio: u32, indexer: Option<&SparseIndexer>) -> f64 {
    let ratio = f64::from(ratio);
    let limit = indexer.map_or(f64::INFINITY, |indexer| f64::from(indexer.topk));
    phase.attended(limit * ratio) / ratio
}

/// Operations between index queries and index keys.
fn scoring(attention: &Attention, phase: Phase) -> Flop {
    let (indexer, ratio) = match attention {
        Attention::MultiHead(a) => (a.indexer.as_ref(), 1.0),
        Attention::Mla(a) => (a.indexer.as_ref(), 1.0),
        Attention::Compressed(a) => (a.indexer.as_ref(), f64::from(a.ratio.max(1))),
        Attention::Linear(_) | Attention::StateSpace(_) | Attention::ShortConv(_) | Attention::None => {
            (None, 1.0)
        }
    };
    let Some(indexer) = indexer.filter(|indexer| !indexer.shared) else { return Flop::ZERO };
    let entries = phase.attended(f64::INFINITY) / ratio;
    Flop::new(2.0 * f64::from(indexer.heads) * f64::from(indexer.head_dim) * entries)
}

/// The recurrent form: read by the query, write, and for the delta rule read by the key first; and the convolution.
fn linear(a: &Linear) -> Flop {
    let state = f64::from(a.v_heads) * f64::from(a.k_head_dim) * f64::from(a.v_head_dim);
    let passes = if a.delta { 3.0 } else { 2.0 };
    let keys = 2.0 * f64::from(a.k_heads) * f64::from(a.k_head_dim);
    let channels = keys + f64::from(a.v_heads) * f64::from(a.v_head_dim);
    Flop::new(2.0 * (passes * state + channels * f64::from(a.conv_kernel)))
}

/// The recurrent form: write, read, and the convolution.
fn state_space(a: &StateSpace) -> Flop {
    let inner = f64::from(a.heads) * f64::from(a.head_dim);
    let channels = inner + 2.0 * f64::from(a.groups) * f64::from(a.state);
    Flop::new(2.0 * (2.0 * inner * f64::from(a.state) + channels * f64::from(a.conv_kernel)))
}
