//! Weights of token mixing.

use super::part::{ByPart, Part, Weights, product};
use crate::arch::{
    Attention, Compressed, Decay, Linear, Mla, MultiHead, ShortConv, SparseIndexer, StateSpace,
};

/// Adds the weights of one layer's token mixing, from `hidden` to `hidden`.
pub(super) fn weights(parts: &mut ByPart<Weights>, hidden: u32, attention: &Attention) {
    match attention {
        Attention::MultiHead(a) => multi_head(parts, hidden, a),
        Attention::Mla(a) => mla(parts, hidden, a),
        Attention::Compressed(a) => compressed(parts, hidden, a),
        Attention::Linear(a) => linear(&mut parts[Part::Attention], hidden, a),
        Attention::StateSpace(a) => state_space(&mut parts[Part::Attention], hidden, a),
        Attention::ShortConv(a) => short_conv(&mut parts[Part::Attention], hidden, a),
        Attention::None => {}
    }
}

fn multi_head(parts: &mut ByPart<Weights>, hidden: u32, a: &MultiHead) {
    let queries = product([a.heads, a.head_dim]);
    let keys = if a.reuses_kv { 0 } else { product([a.kv_heads, a.head_dim]) };
    let values = if a.reuses_kv { 0 } else { product([a.kv_heads, a.v_head_dim]) };
    let projected_values = if a.shared_kv { 0 } else { values };
    let outputs = product([a.heads, a.v_head_dim]);
    let gates = if a.output_gate { outputs } else { 0 };
    let weights = &mut parts[Part::Attention];
    weights.matrix += u128::from(hidden) * (queries + keys + projected_values + gates + outputs);
    if a.qkv_bias {
        weights.vector += queries + keys + projected_values;
    }
    if a.out_bias {
        weights.vector += u128::from(hidden);
    }
    if a.qk_norm {
        let one_key = if a.reuses_kv { 0 } else { u128::from(a.head_dim) };
        weights.vector += if a.qk_norm_whole { queries + keys } else { u128::from(a.head_dim) + one_key };
    }
    if a.sinks {
        weights.vector += u128::from(a.heads);
    }
    if let Some(indexer) = a.indexer.as_ref().filter(|indexer| !indexer.shared) {
        // Block scores are the largest token score, so that there are no head weights (MiniMax-M3).
        parts[Part::Indexer].matrix += product([hidden, indexer.heads.saturating_add(1), indexer.head_dim]);
        parts[Part::Indexer].vector += 2 * u128::from(indexer.head_dim);
    }
}

fn mla(parts: &mut ByPart<Weights>, hidden: u32, a: &Mla) {
    let qk_dim = a.qk_nope_head_dim.saturating_add(a.qk_rope_head_dim);
    let query_input = a.q_lora_rank.unwrap_or(hidden);
    let weights = &mut parts[Part::Attention];
    weights.matrix += product([query_input, a.heads, qk_dim]);
    if let Some(rank) = a.q_lora_rank {
        weights.matrix += product([hidden, rank]);
        weights.vector += u128::from(rank);
    }
    weights.matrix += product([hidden, a.kv_lora_rank.saturating_add(a.qk_rope_head_dim)]);
    weights.vector += u128::from(a.kv_lora_rank);
    weights.matrix += product([a.kv_lora_rank, a.heads, a.qk_nope_head_dim.saturating_add(a.v_head_dim)]);
    let outputs = product([a.heads, a.v_head_dim, hidden]);
    weights.matrix += if a.output_gate { 2 * outputs } else { outputs };
    if let Some(indexer) = a.indexer.as_ref().filter(|indexer| !indexer.shared) {
        let weights = &mut parts[Part::Indexer];
        scorer(weights, hidden, query_input, indexer);
        weights.matrix += product([hidden, indexer.head_dim]);
        // The index key has a normalisation with scale and bias.
        weights.vector += 2 * u128::from(indexer.head_dim);
    }
}

/// Index queries from the compressed query, and a weight for each index head.
fn scorer(weights: &mut Weights, hidden: u32, query_input: u32, indexer: &SparseIndexer) {
    weights.matrix +=
        product([query_input, indexer.heads, indexer.head_dim]) + product([hidden, indexer.heads]);
}

fn compressed(parts: &mut ByPart<Weights>, hidden: u32, a: &Compressed) {
    let weights = &mut parts[Part::Attention];
    weights.matrix += product([hidden, a.q_lora_rank]) + product([a.q_lora_rank, a.heads, a.head_dim]);
    weights.matrix += product([hidden, a.head_dim]);
    weights.matrix +=
        product([a.heads, a.head_dim, a.o_lora_rank]) + product([a.o_groups, a.o_lora_rank, hidden]);
    weights.vector += u128::from(a.q_lora_rank) + u128::from(a.head_dim) + u128::from(a.heads);
    compressor(weights, hidden, a, a.head_dim);
    if let Some(indexer) = a.indexer.as_ref().filter(|indexer| !indexer.shared) {
        let weights = &mut parts[Part::Indexer];
        scorer(weights, hidden, a.q_lora_rank, indexer);
        compressor(weights, hidden, a, indexer.head_dim);
    }
}

/// Folds `ratio` tokens to one entry: a value and a gate per token (two of each where folds overlap), a bias per
/// position in the fold, and a norm.
fn compressor(weights: &mut Weights, hidden: u32, a: &Compressed, head_dim: u32) {
    if a.ratio == 0 {
        return;
    }
    let width = if a.overlap { head_dim.saturating_mul(2) } else { head_dim };
    weights.matrix += 2 * product([hidden, width]);
    weights.vector += product([a.ratio, width]) + u128::from(head_dim);
}

fn linear(weights: &mut Weights, hidden: u32, a: &Linear) {
    let keys = product([a.k_heads, a.k_head_dim]);
    let values = product([a.v_heads, a.v_head_dim]);
    let hidden = u128::from(hidden);
    weights.matrix += hidden * (2 * keys + 2 * values);
    if a.output_gate {
        weights.matrix += match a.gate_rank {
            None => hidden * values,
            Some(rank) => u128::from(rank) * (hidden + values),
        };
        weights.vector += u128::from(a.v_head_dim);
    }
    if a.delta {
        weights.matrix += hidden * u128::from(a.v_heads);
    }
    match a.decay {
        Decay::Fixed => {}
        Decay::PerHead => {
            weights.matrix += hidden * u128::from(a.v_heads);
            weights.vector += 2 * u128::from(a.v_heads);
        }
        Decay::PerElement { rank } => {
            weights.matrix += rank.map_or(hidden * keys, |rank| u128::from(rank) * (hidden + keys));
            weights.vector += keys + u128::from(a.v_heads);
        }
    }
    weights.vector += (2 * keys + values) * u128::from(a.conv_kernel);
}

fn short_conv(weights: &mut Weights, hidden: u32, a: &ShortConv) {
    weights.matrix += 4 * product([hidden, a.width]);
    weights.vector += product([a.width, a.kernel]);
    if a.bias {
        weights.vector += 4 * u128::from(a.width) + u128::from(hidden);
    }
}

/// Mamba-1: step sizes, B and C come from the inner width; a decay per channel and state (arXiv:2312.00752).
fn selective(weights: &mut Weights, hidden: u32, a: &StateSpace, rank: u32) {
    let inner = product([a.heads, a.head_dim]);
    let (state, rank) = (u128::from(a.state), u128::from(rank));
    weights.matrix += inner * (3 * u128::from(hidden) + rank + 2 * state + rank);
    weights.vector += inner * (u128::from(a.conv_kernel) + 1) + inner * (state + 2);
}

fn state_space(weights: &mut Weights, hidden: u32, a: &StateSpace) {
    if let Some(rank) = a.dt_rank {
        return selective(weights, hidden, a, rank);
    }
    let inner = product([a.heads, a.head_dim]);
    let shared = 2 * product([a.groups, a.state]);
    let hidden = u128::from(hidden);
    weights.matrix += hidden * (2 * inner + shared + u128::from(a.heads)) + inner * hidden;
    // The convolution has a bias; each head has a decay, a step bias and a skip; the output is normalised.
    weights.vector += (inner + shared) * (u128::from(a.conv_kernel) + 1) + 3 * u128::from(a.heads) + inner;
}
