//! The resolved architecture.

use serde::{Deserialize, Serialize};
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
    /// Normalisations of the residual stream outside the layers: the final one, and one of the embedding in some.
    pub outer_norms: u32,
    /// Whether normalisations have a bias beside their scale (LayerNorm).
    pub norm_bias: bool,
    /// Rows of a learned position table; 0 for rotary, relative or no positions.
    pub learned_positions: u32,
    /// Parameters that are only looked up beside the token embedding (per-layer or n-gram tables); 0 for none.
    pub lookup_parameters: u64,
    /// Parallel residual streams mixed between sub-layers (hyper-connections); 1 for the plain residual.
    pub residual_streams: u32,
    /// Encoders of images or sound beside the decoder, with what joins them to it.
    pub towers: Vec<Tower>,
    /// Parts of the checkpoint that the description leaves out, such as a vision tower, as sentences for a reader.
    pub ignored: Vec<String>,
    /// How the configuration was read where it leaves something open, as sentences for a reader.
    pub reading: Vec<String>,
}

/// An encoder beside the decoder. It runs once per image or clip, never per token of text, but its weights take memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tower {
    /// What it encodes: `vision` or `audio`; `vision experts` are those of the decoder that text does not meet.
    pub name: String,
    /// Its parameters, with the projection into the decoder.
    pub parameters: u64,
}

/// `count` layers of one shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerGroup {
    /// How many.
    pub count: u32,
    /// Normalisations of hidden width in one layer: two in a pre-norm layer, four where outputs are normalised too.
    pub norms: u32,
    /// Token mixing.
    pub attention: Attention,
    /// Channel mixing.
    pub ffn: Ffn,
    /// Weights of further matrices that each token meets in one layer: low-rank residuals, gates of per-layer inputs.
    #[serde(default, skip_serializing_if = "is_none")]
    pub extra: u64,
}

/// Token mixing of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Attention {
    /// Multi-head, grouped-query or multi-query attention.
    MultiHead(MultiHead),
    /// Multi-head latent attention (DeepSeek V2 onwards).
    Mla(Mla),
    /// One shared key/value head read through a window and a compressed past (DeepSeek V4).
    Compressed(Compressed),
    /// Gated delta rule or another linear attention with a matrix state.
    Linear(Linear),
    /// Mamba state space.
    StateSpace(StateSpace),
    /// Gated short convolution (LFM2).
    ShortConv(ShortConv),
    /// None (Nemotron-H stacks feed-forward layers on their own).
    None,
}

/// Multi-head, grouped-query or multi-query attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u32>,
    /// Whether the output is gated per element by a second query-sized projection.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_gate: bool,
    /// Whether q, k, v projections have a bias.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qkv_bias: bool,
    /// Whether the output projection has a bias.
    #[serde(default, skip_serializing_if = "is_false")]
    pub out_bias: bool,
    /// Whether q and k are normalised per head.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qk_norm: bool,
    /// Whether that normalisation has a scale for every head's every element instead of one shared by the heads.
    #[serde(default, skip_serializing_if = "is_false")]
    pub qk_norm_whole: bool,
    /// Whether keys and values come from one projection. The cache holds both, as keys are rotated and values are not.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared_kv: bool,
    /// Whether the layer reads the keys and values of an earlier layer: no projection and no cache of its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reuses_kv: bool,
    /// Whether every head has a learned logit that takes part in the softmax (an attention sink).
    #[serde(default, skip_serializing_if = "is_false")]
    pub sinks: bool,
    /// Block or token selection in front of the attention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexer: Option<SparseIndexer>,
}

/// Multi-head latent attention.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mla {
    /// Query heads.
    pub heads: u32,
    /// Rank of the query compression; `None` for a direct projection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub q_lora_rank: Option<u32>,
    /// Rank of the key/value compression: the cached latent.
    pub kv_lora_rank: u32,
    /// Head width without rotary embedding.
    pub qk_nope_head_dim: u32,
    /// Rotary head width, shared by the heads and cached beside the latent.
    pub qk_rope_head_dim: u32,
    /// Value head width.
    pub v_head_dim: u32,
    /// Whether the output is gated per element by a projection of the input.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_gate: bool,
    /// Token selection in front of the attention (DeepSeek V3.2 onwards).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexer: Option<SparseIndexer>,
}

/// Attention of many query heads over one vector per entry that is key and value at once: the last `window` tokens as
/// they are, older ones folded `ratio` to an entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compressed {
    /// Query heads.
    pub heads: u32,
    /// Width of a query head and of the cached vector.
    pub head_dim: u32,
    /// Part of it that is rotated.
    pub rope_dim: u32,
    /// Rank of the query compression.
    pub q_lora_rank: u32,
    /// Groups of heads in the output projection.
    pub o_groups: u32,
    /// Rank each group is projected to before the groups are joined.
    pub o_lora_rank: u32,
    /// Latest tokens read uncompressed.
    pub window: u32,
    /// Tokens folded into one compressed entry; 0 reads the window only.
    pub ratio: u32,
    /// Whether neighbouring folds overlap: each entry then weighs two folds' worth of tokens.
    #[serde(default, skip_serializing_if = "is_false")]
    pub overlap: bool,
    /// Selection among the compressed entries; `None` reads them all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indexer: Option<SparseIndexer>,
}

/// A light scorer that picks the tokens (or compressed blocks) the attention reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseIndexer {
    /// Scoring heads.
    pub heads: u32,
    /// Their width; also the cached index key, one per token (or per compressed block).
    pub head_dim: u32,
    /// Tokens (or compressed entries) the attention reads at most.
    pub topk: u32,
    /// Tokens folded into one cached entry; 1 keeps every token.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub compression: u32,
    /// Whether the layer takes the selection of an earlier layer: no scorer and no index keys of its own.
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared: bool,
}

/// Linear attention with a matrix state (gated delta net, lightning attention).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conv_kernel: u32,
    /// Whether the output is gated per element.
    #[serde(default, skip_serializing_if = "is_false")]
    pub output_gate: bool,
    /// Rank of the output gate's projection; `None` for a full one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate_rank: Option<u32>,
    /// How the state forgets.
    pub decay: Decay,
    /// Whether the state is updated by the delta rule, which needs a write strength per head and token.
    #[serde(default, skip_serializing_if = "is_false")]
    pub delta: bool,
}

/// How the state of a linear attention forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// By a constant of the head.
    Fixed,
    /// By a factor per head and token.
    PerHead,
    /// By a factor per key element and token, from a projection.
    PerElement {
        /// Inner width of the projection; `None` for a full one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rank: Option<u32>,
    },
}

/// A convolution over the last few tokens between a projection to value and two gates and one back (LFM2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShortConv {
    /// Channels.
    pub width: u32,
    /// Taps.
    pub kernel: u32,
    /// Whether projections and convolution have biases.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
}

/// Mamba-2, or Mamba-1 where `dt_rank` is given: then every channel is a head of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateSpace {
    /// Heads.
    pub heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// State width.
    pub state: u32,
    /// Groups that share B and C.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: u32,
    /// Taps of the convolution.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub conv_kernel: u32,
    /// Tokens in one chunk of the prefill scan.
    pub chunk: u32,
    /// Rank of the projection to the step sizes of Mamba-1, which has B and C from the inner width; `None` for Mamba-2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dt_rank: Option<u32>,
}

/// Channel mixing of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Ffn {
    /// One feed-forward network.
    Dense {
        /// Inner width.
        intermediate: u32,
        /// Whether it has a gate matrix (SwiGLU, GeGLU): three matrices instead of two.
        #[serde(default, skip_serializing_if = "is_false")]
        gated: bool,
        /// Whether its matrices have biases.
        #[serde(default, skip_serializing_if = "is_false")]
        bias: bool,
    },
    /// Mixture of experts.
    Moe(Moe),
    /// None.
    None,
}

/// Mixture of experts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moe {
    /// Routed experts.
    pub experts: u32,
    /// Routed experts per token.
    pub topk: u32,
    /// Inner width of a routed expert.
    pub intermediate: u32,
    /// Inner width of all shared experts together; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shared_intermediate: u32,
    /// Whether the shared expert has a scalar gate (Qwen).
    #[serde(default, skip_serializing_if = "is_false")]
    pub shared_gate: bool,
    /// Whether experts have a gate matrix.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gated: bool,
    /// Whether expert matrices have biases.
    #[serde(default, skip_serializing_if = "is_false")]
    pub bias: bool,
    /// Width the experts work in where it is not the hidden size (latent experts of Nemotron-3); `None` otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latent: Option<u32>,
    /// Whether the router adds a per-expert bias (loss-free balancing), which is a parameter.
    #[serde(default, skip_serializing_if = "is_false")]
    pub router_bias: bool,
    /// A dense network beside the experts in the same layer, inner width; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dense_intermediate: u32,
    /// Zero-computation (identity) experts the router may choose besides `experts`; 0 for none (LongCat).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub identity_experts: u32,
    /// Groups the experts are divided into for routing; 1 for none.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub groups: u32,
    /// Groups a token may send to.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub topk_groups: u32,
}

/// Formats of a checkpoint, by part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Activations as the routed experts' matrix units read them.
    pub expert_activations: Dtype,
    /// State of linear attention and state-space layers.
    pub state: Dtype,
    /// Scales of integer weights, where the checkpoint says how many weights share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Group>,
}

/// How scales of integer weights are stored (AWQ, GPTQ, compressed-tensors): one of 16 bits per group along the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Weights that share a scale.
    pub size: u32,
    /// Whether a group has a zero point of the weights' width too.
    pub zero_points: bool,
}

impl LayerGroup {
    /// One layer whose sub-layers have one norm each.
    pub fn one(attention: Attention, ffn: Ffn) -> Self {
        let norms = u32::from(attention != Attention::None) + u32::from(ffn != Ffn::None);
        Self { count: 1, norms, attention, ffn, extra: 0 }
    }
}

impl MultiHead {
    /// Plain attention over the whole context: no window, gate, bias or normalisation.
    pub fn new(heads: u32, kv_heads: u32, head_dim: u32) -> Self {
        Self {
            heads,
            kv_heads,
            head_dim,
            v_head_dim: head_dim,
            window: None,
            output_gate: false,
            qkv_bias: false,
            out_bias: false,
            qk_norm: false,
            qk_norm_whole: false,
            shared_kv: false,
            reuses_kv: false,
            sinks: false,
            indexer: None,
        }
    }
}

impl Moe {
    /// Gated experts of which each token uses `topk`, with nothing beside them.
    pub fn new(experts: u32, topk: u32, intermediate: u32) -> Self {
        Self {
            experts,
            topk,
            intermediate,
            shared_intermediate: 0,
            shared_gate: false,
            gated: true,
            bias: false,
            latent: None,
            router_bias: false,
            dense_intermediate: 0,
            identity_experts: 0,
            groups: 1,
            topk_groups: 1,
        }
    }
}

impl Quantization {
    /// Every part in one 16- or 32-bit format, recurrent states in single precision.
    pub const fn uniform(dtype: Dtype) -> Self {
        Self {
            weights: dtype,
            activations: dtype,
            experts: dtype,
            kv: dtype,
            attention: dtype,
            embedding: dtype,
            expert_activations: dtype,
            state: Dtype::Fp32,
            group: None,
        }
    }

    /// Bytes of a weight in `format`, one of those of this checkpoint, scales included.
    pub fn bytes(&self, format: Dtype) -> f64 {
        match (self.group_of(format), format) {
            (Some(group), Dtype::Int4 | Dtype::Int8) => {
                let weight = f64::from(format.multiplier_bits()) / 8.0;
                let shared = 2.0 + if group.zero_points { weight } else { 0.0 };
                weight + shared / f64::from(group.size)
            }
            _ => format.bytes(),
        }
    }

    /// The groups of weights in `format`, where it is an integer and the checkpoint has groups.
    pub fn group_of(&self, format: Dtype) -> Option<Group> {
        self.group.filter(|_| matches!(format, Dtype::Int4 | Dtype::Int8))
    }
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_none(value: &u64) -> bool {
    *value == 0
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn one() -> u32 {
    1
}
