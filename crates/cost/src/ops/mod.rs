//! Operator shapes, and the machine they run on.

pub mod attention;
pub mod attention_decode;
pub mod attention_indexer;
pub mod attention_prefill;
pub mod common;
pub mod elementwise;
pub mod gemm;
pub mod linear_attention;
pub mod mla;
pub mod moe;

use units::{Bytes, BytesPerSecond, Dtype, Flop, FlopPerSecond, Seconds};

/// What an operator form needs to know of one rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Machine {
    /// Dense peak in the format multiplied.
    pub peak: FlopPerSecond,
    /// Peak memory bandwidth.
    pub bandwidth: BytesPerSecond,
    /// Cores (SMs, AI cores, CUs).
    pub cores: f64,
    /// Last-level cache.
    pub l2: Bytes,
}

/// `y[m,n] = x[m,k] w[k,n]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gemm {
    /// Rows of the activation (tokens).
    pub m: f64,
    /// Columns of the weight.
    pub n: f64,
    /// Inner length.
    pub k: f64,
}

/// Attention of new tokens over themselves and a cached past, a batch of equal sequences.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionPrefill {
    /// Sequences.
    pub batch: f64,
    /// New tokens per sequence.
    pub new_tokens: f64,
    /// Cached tokens per sequence before them.
    pub past_tokens: f64,
    /// Query heads on this rank.
    pub heads: f64,
    /// Key/value heads on this rank.
    pub kv_heads: f64,
    /// Query/key head width.
    pub qk_dim: f64,
    /// Value head width.
    pub v_dim: f64,
    /// Sliding window, if any.
    pub window: Option<f64>,
}

/// One query token (or a few drafted ones) per sequence over its cache.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionDecode {
    /// Sequences.
    pub batch: f64,
    /// Query tokens per sequence (1 + drafted).
    pub queries: f64,
    /// Mean context length.
    pub context: f64,
    /// Query heads on this rank.
    pub heads: f64,
    /// Key/value heads on this rank (1 for MLA).
    pub kv_heads: f64,
    /// Query/key head width (576 for DeepSeek MLA).
    pub qk_dim: f64,
    /// Value head width (512 for DeepSeek MLA).
    pub v_dim: f64,
    /// Cached elements per token and kv head (`qk_dim + v_dim`, or 576 for MLA where the value is part of the key).
    pub kv_dim: f64,
    /// Sliding window, if any.
    pub window: Option<f64>,
}

/// The fused routed-experts operator of one rank: gate-up, activation, down, permute and reduce.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupedMoe {
    /// Tokens entering the layer over the whole expert-parallel group (before the top-k fan-out).
    pub tokens: f64,
    /// Experts per token.
    pub topk: f64,
    /// Routed experts of the model.
    pub experts: f64,
    /// Experts held by this rank.
    pub local_experts: f64,
    /// Token-expert pairs landing on this rank (its share of `tokens * topk`, imbalance included).
    pub local_rows: f64,
    /// Expected local experts with at least one row.
    pub active_experts: f64,
    /// How unequally often experts are chosen: standard deviation over mean, 0 for all alike.
    pub spread: f64,
    /// Hidden width.
    pub hidden: f64,
    /// Inner width on this rank (after expert tensor parallelism).
    pub intermediate: f64,
    /// Whether experts have a gate matrix.
    pub gated: bool,
}

/// What limits an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bound {
    /// Matrix or vector arithmetic.
    Compute,
    /// Device memory bandwidth.
    Memory,
    /// Links between ranks.
    Network,
    /// Fixed latency: launches, synchronisation, host work.
    Launch,
}

/// The price of one operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OpCost {
    /// Duration.
    pub time: Seconds,
    /// What limits it.
    pub bound: Bound,
    /// Arithmetic done.
    pub flop: Flop,
    /// Device memory traffic.
    pub bytes: Bytes,
}

/// How an operator's matrix operands are stored and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Precision {
    /// Weights (or the cache, for attention) in memory.
    pub weight: Dtype,
    /// Activations as multiplied.
    pub activation: Dtype,
}
