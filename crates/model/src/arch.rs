//! The resolved architecture.

use units::Dtype;

/// A decoder-only transformer (or hybrid), fully resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Hugging Face id, or the file it came from.
    pub id: String,
    /// `model_type` of the config.
    pub family: String,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Vocabulary size.
    pub vocab: u32,
    /// Whether the output projection is the embedding matrix.
    pub tied_embeddings: bool,
    /// Longest context in tokens.
    pub max_context: u32,
    /// Layers in order, equal neighbours (or a repeating pattern's equal members) grouped.
    pub layers: Vec<LayerGroup>,
    /// Multi-token-prediction modules shipped with the checkpoint: each a layer like the given one plus a projection of
    /// `2 * hidden -> hidden`.
    pub mtp: Option<(u32, LayerGroup)>,
    /// Formats of the checkpoint.
    pub quantization: Quantization,
}

/// `count` layers of one shape.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerGroup {
    /// How many.
    pub count: u32,
    /// Token mixing.
    pub attention: Attention,
    /// Channel mixing.
    pub ffn: Ffn,
}

/// Token mixing of one layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Attention {
    /// Multi-head, grouped-query or multi-query attention.
    MultiHead(MultiHead),
    /// Multi-head latent attention (DeepSeek V2 onwards).
    Mla(Mla),
    /// Gated delta rule or another linear attention with a matrix state.
    Linear(Linear),
    /// Mamba-2 state space.
    StateSpace(StateSpace),
    /// None (Nemotron-H stacks feed-forward layers on their own).
    None,
}

/// Multi-head, grouped-query or multi-query attention.
#[derive(Debug, Clone, PartialEq)]
pub struct MultiHead {
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Width of a query/key head.
    pub head_dim: u32,
    /// Width of a value head.
    pub v_head_dim: u32,
    /// Sliding window or chunk in tokens; `None` sees the whole context.
    pub window: Option<u32>,
    /// Whether the output is gated per element by a second query-sized projection.
    pub output_gate: bool,
    /// Whether q, k, v projections have a bias.
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    pub out_bias: bool,
    /// Whether q and k are normalised per head.
    pub qk_norm: bool,
    /// Whether keys and values are one tensor (shared projection).
    pub shared_kv: bool,
    /// Block or token selection in front of the attention.
    pub indexer: Option<SparseIndexer>,
}

/// Multi-head latent attention.
#[derive(Debug, Clone, PartialEq)]
pub struct Mla {
    /// Query heads.
    pub heads: u32,
    /// Rank of the query compression; `None` for a direct projection.
    pub q_lora_rank: Option<u32>,
    /// Rank of the key/value compression: the cached latent.
    pub kv_lora_rank: u32,
    /// Head width without rotary embedding.
    pub qk_nope_head_dim: u32,
    /// Rotary head width, shared by the heads and cached beside the latent.
    pub qk_rope_head_dim: u32,
    /// Value head width.
    pub v_head_dim: u32,
    /// Token selection in front of the attention (DeepSeek V3.2 onwards).
    pub indexer: Option<SparseIndexer>,
}

/// A light scorer that picks the tokens (or compressed blocks) the attention reads.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseIndexer {
    /// Scoring heads.
    pub heads: u32,
    /// Their width; also the cached index key, one per token (or per compressed block).
    pub head_dim: u32,
    /// Tokens (or compressed entries) the attention reads at most.
    pub topk: u32,
    /// Tokens folded into one cached entry; 1 keeps every token.
    pub compression: u32,
}

/// Linear attention with a matrix state (gated delta net, lightning attention).
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Query/key heads.
    pub k_heads: u32,
    /// Value heads: one state matrix each.
    pub v_heads: u32,
    /// Width of a key head.
    pub k_head_dim: u32,
    /// Width of a value head.
    pub v_head_dim: u32,
    /// Taps of the short convolution in front; 0 for none.
    pub conv_kernel: u32,
    /// Whether the output is gated per element.
    pub output_gate: bool,
}

/// Mamba-2.
#[derive(Debug, Clone, PartialEq)]
pub struct StateSpace {
    /// Heads.
    pub heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// State width.
    pub state: u32,
    /// Groups that share B and C.
    pub groups: u32,
    /// Taps of the convolution.
    pub conv_kernel: u32,
    /// Tokens in one chunk of the prefill scan.
    pub chunk: u32,
}

/// Channel mixing of one layer.
#[derive(Debug, Clone, PartialEq)]
pub enum Ffn {
    /// One feed-forward network.
    Dense {
        /// Inner width.
        intermediate: u32,
        /// Whether it has a gate matrix (SwiGLU, GeGLU): three matrices instead of two.
        gated: bool,
        /// Whether its matrices have biases.
        bias: bool,
    },
    /// Mixture of experts.
    Moe(Moe),
    /// None.
    None,
}

/// Mixture of experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Moe {
    /// Routed experts.
    pub experts: u32,
    /// Routed experts per token.
    pub topk: u32,
    /// Inner width of a routed expert.
    pub intermediate: u32,
    /// Inner width of all shared experts together; 0 for none.
    pub shared_intermediate: u32,
    /// Whether the shared expert has a scalar gate (Qwen).
    pub shared_gate: bool,
    /// Whether experts have a gate matrix.
    pub gated: bool,
    /// Whether expert matrices have biases.
    pub bias: bool,
    /// Width the experts work in where it is not the hidden size (latent experts of Nemotron-3); `None` otherwise.
    pub latent: Option<u32>,
    /// Whether the router adds a per-expert bias (loss-free balancing), which is a parameter.
    pub router_bias: bool,
    /// A dense network beside the experts in the same layer, inner width; 0 for none.
    pub dense_intermediate: u32,
    /// Zero-computation (identity) experts the router may choose besides `experts`; 0 for none (LongCat).
    pub identity_experts: u32,
}

/// Formats of a checkpoint, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantization {
    /// Attention and dense feed-forward weights.
    pub weights: Dtype,
    /// Activations as the matrix units read them.
    pub activations: Dtype,
    /// Routed experts' weights.
    pub experts: Dtype,
    /// The cache.
    pub kv: Dtype,
    /// Attention projections where they differ from `weights` (left unquantised in many FP4 checkpoints).
    pub attention: Dtype,
    /// Embedding and output projection.
    pub embedding: Dtype,
}
