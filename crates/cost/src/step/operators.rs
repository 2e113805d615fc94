//! The prices a step is put together from.

use super::tally::Family;
use crate::ops::attention_indexer::IndexScores;
use crate::ops::{AttentionDecode, AttentionPrefill, Gemm, GroupedMoe, OpCost, Precision};
use model::{Linear, StateSpace};
use units::Bytes;

/// What prices single operators on one rank. Weights and caches are cold, as in a real step.
pub trait Operators: Send + Sync {
    /// A matrix product; quantising the activation is included where the stack does it in a kernel of its own.
    fn gemm(&self, op: Gemm, precision: Precision) -> OpCost;
    /// New tokens over themselves and a cached past.
    fn attention_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost;
    /// Query tokens over their caches.
    fn attention_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost;
    /// Latent attention with the key/value expanded.
    fn mla_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost;
    /// Latent attention absorbed into the latent space.
    fn mla_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost;
    /// Routed experts of one rank.
    fn moe(&self, op: GroupedMoe, precision: Precision) -> OpCost;
    /// A kernel that only moves `bytes` through device memory.
    fn elementwise(&self, bytes: Bytes) -> OpCost;
    /// Convolution and scan of a linear attention: `tokens` new tokens in `sequences` sequences; `shard` ranks share
    /// the heads.
    fn linear_attention(&self, op: &Linear, sequences: f64, tokens: f64, shard: f64) -> OpCost;
    /// The same for a state space layer.
    fn state_space(&self, op: &StateSpace, sequences: f64, tokens: f64, shard: f64) -> OpCost;
    /// Scores and selection of a sparse indexer.
    fn indexer(&self, op: IndexScores) -> OpCost;
    /// What the prices of a family rest on.
    fn evidence(&self, family: Family) -> Evidence;
}

/// What prices communication of one instance. Ranks are numbered tensor-parallel first, so a group of `n` is `n`
/// consecutive ranks.
pub trait Collectives: Send + Sync {
    /// Sum of `bytes` on each of `group` ranks, left on all of them.
    fn all_reduce(&self, bytes: Bytes, group: u32) -> OpCost;
    /// `bytes` in total gathered from `group` ranks onto each.
    fn all_gather(&self, bytes: Bytes, group: u32) -> OpCost;
    /// Tokens to the ranks of their experts: each of `group` ranks holds `tokens`, each token goes to `topk` experts,
    /// `token_bytes` each.
    fn dispatch(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost;
    /// The way back, summed at the token's rank.
    fn combine(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost;
    /// From one pipeline stage of `stage` ranks to the next, each rank sending `bytes`.
    fn send(&self, bytes: Bytes, stage: u32) -> OpCost;
    /// What the prices rest on.
    fn evidence(&self) -> Evidence;
}

/// What a figure rests on.
#[derive(Debug, Clone, PartialEq)]
pub enum Basis {
    /// Coefficients fitted on rows of this chip and stack.
    Measured,
    /// Coefficients of this chip and stack that were fitted on no rows: derived from published figures.
    Derived,
    /// Coefficients fitted on this chip and stack, applied beyond what was measured: how far, in words.
    Extrapolated(String),
    /// Coefficients of another chip or stack, named, applied to this one's datasheet.
    Transferred(String),
    /// No measurement of a relative: typical values.
    Generic,
}

/// What a family of operator prices rests on, and how far off it has been.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Where the coefficients come from.
    pub basis: Basis,
    /// Rows they were fitted on; none where nothing was fitted.
    pub rows: u32,
    /// Standard deviation of ln(predicted / measured) on rows that no fit has seen.
    pub sigma: f64,
}
