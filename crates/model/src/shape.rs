//! A model given by its sizes instead of by a checkpoint.

use crate::arch::{Attention, Ffn, LayerGroup, Mla, Model, Moe, MultiHead, Quantization};
use crate::import::ImportError;
use units::Dtype;

/// Sizes of multi-head latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatentSizes {
    /// Rank of the query compression, if there is one.
    pub q_lora_rank: Option<u32>,
    /// Rank of the key/value compression.
    pub kv_lora_rank: u32,
    /// Head width without rotary embedding.
    pub qk_nope_head_dim: u32,
    /// Rotary head width.
    pub qk_rope_head_dim: u32,
    /// Value head width.
    pub v_head_dim: u32,
}

/// Sizes of routed experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpertSizes {
    /// Experts.
    pub experts: u32,
    /// Experts per token.
    pub topk: u32,
    /// Inner width of one.
    pub intermediate: u32,
    /// Inner width of the shared experts together.
    pub shared_intermediate: u32,
    /// Leading layers with a dense feed-forward part.
    pub first_dense: u32,
}

/// A transformer by its sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Name in reports.
    pub name: String,
    /// Layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Inner width of dense feed-forward parts.
    pub ffn: u32,
    /// Query heads.
    pub heads: u32,
    /// Key/value heads.
    pub kv_heads: u32,
    /// Head width.
    pub head_dim: u32,
    /// Vocabulary.
    pub vocab: u32,
    /// Whether feed-forward parts are gated (SwiGLU), which also tells today's models (rotary positions) from GPT-2's line.
    pub gated: bool,
    /// Latent attention instead of heads with their own keys.
    pub latent: Option<LatentSizes>,
    /// Routed experts.
    pub experts: Option<ExpertSizes>,
    /// Multi-token-prediction modules.
    pub mtp: u32,
}

impl Shape {
    /// A dense GPT: four times the width inside, no gate, a head width that divides it.
    pub fn gpt(layers: u32, hidden: u32, heads: u32, vocab: u32) -> Self {
        Self {
            name: format!("gpt-{layers}x{hidden}"),
            layers,
            hidden,
            ffn: 4 * hidden,
            heads,
            kv_heads: heads,
            head_dim: hidden / heads.max(1),
            vocab,
            gated: false,
            latent: None,
            experts: None,
            mtp: 0,
        }
    }

    /// Reads `layers=96,hidden=12288,heads=96,...`; keys are `layers hidden heads ffn kv-heads head-dim vocab gated experts
    /// topk moe-ffn shared-ffn first-dense q-lora kv-lora nope rope v-dim mtp`.
    ///
    /// # Errors
    /// An unknown key, a value that is no number, or a missing one of `layers`, `hidden`, `heads`.
    pub fn parse(text: &str) -> Result<Self, ImportError> {
        let mut values = std::collections::BTreeMap::new();
        for item in text.split(',').filter(|item| !item.trim().is_empty()) {
            let (key, value) = item.split_once('=').ok_or_else(|| bad(item, "write key=value"))?;
            let key = key.trim();
            if !KEYS.contains(&key) {
                return Err(bad(key, &format!("not a key of --shape; use one of {}", KEYS.join(", "))));
            }
            let value = match value.trim() {
                "true" => 1,
                "false" => 0,
                number => number
                    .parse::<u32>()
                    .map_err(|_| bad(key, &format!("`{number}` is not a whole number")))?,
            };
            values.insert(key.to_owned(), value);
        }
        let get = |key: &str| values.get(key).copied();
        let need = |key: &str| {
            get(key).filter(|value| *value > 0).ok_or_else(|| bad(key, "--shape needs it, above zero"))
        };
        let (layers, hidden, heads) = (need("layers")?, need("hidden")?, need("heads")?);
        let mut shape = Self::gpt(layers, hidden, heads, get("vocab").unwrap_or(51_200));
        shape.gated = get("gated") == Some(1);
        shape.ffn = get("ffn").unwrap_or(shape.ffn);
        shape.kv_heads = get("kv-heads").unwrap_or(heads);
        shape.head_dim = get("head-dim").unwrap_or(shape.head_dim);
        shape.mtp = get("mtp").unwrap_or(0);
        shape.experts = get("experts").map(|experts| ExpertSizes {
            experts,
            topk: get("topk").unwrap_or(2),
            intermediate: get("moe-ffn").unwrap_or(shape.ffn),
            shared_intermediate: get("shared-ffn").unwrap_or(0),
            first_dense: get("first-dense").unwrap_or(0),
        });
        shape.latent = get("kv-lora").map(|kv_lora_rank| LatentSizes {
            q_lora_rank: get("q-lora"),
            kv_lora_rank,
            qk_nope_head_dim: get("nope").unwrap_or(128),
            qk_rope_head_dim: get("rope").unwrap_or(64),
            v_head_dim: get("v-dim").unwrap_or(128),
        });
        Ok(shape)
    }

    /// The architecture of these sizes.
    pub fn model(&self) -> Model {
        let dense = self.group(Ffn::Dense { intermediate: self.ffn, gated: self.gated, bias: !self.gated });
        let mut layers = Vec::new();
        let last = match &self.experts {
            None => dense.clone(),
            Some(sizes) => {
                let first = sizes.first_dense.min(self.layers);
                if first > 0 {
                    layers.push(LayerGroup { count: first, ..dense.clone() });
                }
                let moe = Moe {
                    shared_intermediate: sizes.shared_intermediate,
                    gated: self.gated,
                    ..Moe::new(sizes.experts, sizes.topk, sizes.intermediate)
                };
                self.group(Ffn::Moe(moe))
            }
        };
        let done: u32 = layers.iter().map(|group| group.count).sum();
        layers.push(LayerGroup { count: self.layers - done, ..last.clone() });
        layers.retain(|group| group.count > 0);
        Model {
            id: self.name.clone(),
            family: "shape".to_owned(),
            hidden: self.hidden,
            vocab: self.vocab,
            tied_embeddings: false,
            max_context: if self.gated { ROTARY_CONTEXT } else { LEARNED_CONTEXT },
            layers,
            mtp: (self.mtp > 0).then_some((self.mtp, LayerGroup { count: 1, ..last })),
            quantization: Quantization::uniform(Dtype::Bf16),
            outer_norms: 1,
            norm_bias: !self.gated,
            learned_positions: if self.gated { 0 } else { LEARNED_CONTEXT },
            lookup_parameters: 0,
            residual_streams: 1,
            towers: Vec::new(),
            ignored: Vec::new(),
            reading: Vec::new(),
        }
    }

    fn group(&self, ffn: Ffn) -> LayerGroup {
        let attention = match self.latent {
            Some(sizes) => Attention::Mla(Mla {
                heads: self.heads,
                q_lora_rank: sizes.q_lora_rank,
                kv_lora_rank: sizes.kv_lora_rank,
                qk_nope_head_dim: sizes.qk_nope_head_dim,
                qk_rope_head_dim: sizes.qk_rope_head_dim,
                v_head_dim: sizes.v_head_dim,
                output_gate: false,
                indexer: None,
            }),
            None => Attention::MultiHead(MultiHead::new(self.heads, self.kv_heads, self.head_dim)),
        };
        LayerGroup { count: 1, norms: 2, attention, ffn, extra: 0 }
    }
}

/// Longest context of a shape with rotary positions, which no size limits.
const ROTARY_CONTEXT: u32 = 131_072;

/// Rows of a shape's learned position table, as GPT-3 has them.
const LEARNED_CONTEXT: u32 = 2048;

const KEYS: [&str; 19] = [
    "layers",
    "hidden",
    "heads",
    "ffn",
    "kv-heads",
    "head-dim",
    "vocab",
    "gated",
    "experts",
    "topk",
    "moe-ffn",
    "shared-ffn",
    "first-dense",
    "q-lora",
    "kv-lora",
    "nope",
    "rope",
    "v-dim",
    "mtp",
];

fn bad(key: &str, why: &str) -> ImportError {
    ImportError::Shape { key: key.to_owned(), why: why.to_owned() }
}
