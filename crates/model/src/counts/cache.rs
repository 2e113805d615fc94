//! What a sequence keeps between steps.

use crate::arch::{Attention, Model, SparseIndexer};
use units::{Bytes, Dtype};

/// The cache of layers of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheKind {
    /// What is kept, for a reader.
    pub label: String,
    /// Layers of this kind.
    pub layers: u32,
    /// Growth per token over these layers, up to `tokens_max`.
    pub per_token: Bytes,
    /// Tokens after which it stops growing; `None` grows with the context.
    pub tokens_max: Option<u32>,
    /// Kept per sequence whatever its length, over these layers.
    pub per_sequence: Bytes,
}

impl CacheKind {
    /// Bytes after `context` tokens.
    pub fn bytes(&self, context: f64) -> Bytes {
        let tokens = self.tokens_max.map_or(context, |limit| context.min(f64::from(limit)));
        tokens * self.per_token + self.per_sequence
    }
}

/// The kinds of cache that a model keeps, in the order of its layers.
pub fn cache_kinds(model: &Model) -> Vec<CacheKind> {
    let mut kinds: Vec<CacheKind> = Vec::new();
    for group in &model.layers {
        for (label, per_token, tokens_max, per_sequence) in layer_kinds(model, &group.attention) {
            let count = f64::from(group.count);
            let (per_token, per_sequence) = (per_token * count, per_sequence * count);
            match kinds.iter_mut().find(|kind| kind.label == label && kind.tokens_max == tokens_max) {
                Some(kind) => {
                    kind.layers += group.count;
                    kind.per_token += per_token;
                    kind.per_sequence += per_sequence;
                }
                None => {
                    kinds.push(CacheKind { label, layers: group.count, per_token, tokens_max, per_sequence })
                }
            }
        }
    }
    kinds
}

type LayerKind = (String, Bytes, Option<u32>, Bytes);

fn layer_kinds(model: &Model, attention: &Attention) -> Vec<LayerKind> {
    let kv = model.quantization.kv.bytes();
    let growing =
        |label: &str, elements: f64| (label.to_owned(), Bytes::new(elements * kv), None, Bytes::ZERO);
    match attention {
        Attention::MultiHead(a) if a.reuses_kv => Vec::new(),
        Attention::MultiHead(a) => {
            let elements = f64::from(a.kv_heads) * (f64::from(a.head_dim) + f64::from(a.v_head_dim));
            let main = match a.window {
                None => growing("keys and values", elements),
                Some(window) => (
                    format!("keys and values of a {window}-token window"),
                    Bytes::new(elements * kv),
                    Some(window),
                    Bytes::ZERO,
                ),
            };
            [main].into_iter().chain(index_keys(kv, 1.0, a.indexer.as_ref())).collect()
        }
        Attention::Mla(a) => {
            let latent = growing("latents", f64::from(a.kv_lora_rank) + f64::from(a.qk_rope_head_dim));
            [latent].into_iter().chain(index_keys(kv, 1.0, a.indexer.as_ref())).collect()
        }
        Attention::Compressed(a) => {
            let entry = f64::from(a.head_dim);
            let label = format!("entries of a {}-token window", a.window);
            let window = (label, Bytes::new(entry * kv), Some(a.window), Bytes::ZERO);
            let ratio = f64::from(a.ratio);
            let folded =
                (a.ratio > 0).then(|| growing(&format!("entries of {} tokens each", a.ratio), entry / ratio));
            let keys = index_keys(kv, ratio.max(1.0), a.indexer.as_ref());
            [window].into_iter().chain(folded).chain(keys).collect()
        }
        Attention::Linear(a) => {
            let state = f64::from(a.v_heads) * f64::from(a.k_head_dim) * f64::from(a.v_head_dim);
            let keys = 2.0 * f64::from(a.k_heads) * f64::from(a.k_head_dim);
            let channels = keys + f64::from(a.v_heads) * f64::from(a.v_head_dim);
            vec![recurrent(model, "linear attention state", state, channels, a.conv_kernel)]
        }
        Attention::StateSpace(a) => {
            let inner = f64::from(a.heads) * f64::from(a.head_dim);
            let shared = 2.0 * f64::from(a.groups) * f64::from(a.state);
            let channels = if a.dt_rank.is_some() { inner } else { inner + shared };
            vec![recurrent(model, "state-space state", inner * f64::from(a.state), channels, a.conv_kernel)]
        }
        Attention::ShortConv(a) => {
            vec![recurrent(model, "last inputs of convolutions", 0.0, f64::from(a.width), a.kernel)]
        }
        Attention::None => Vec::new(),
    }
}

/// One key per token, or per `ratio` tokens, for the scorer of sparse attention.
fn index_keys(kv: f64, ratio: f64, indexer: Option<&SparseIndexer>) -> Option<LayerKind> {
    let indexer = indexer.filter(|indexer| !indexer.shared)?;
    let per_token = Bytes::new(f64::from(indexer.head_dim) * kv / ratio);
    Some(("index keys".to_owned(), per_token, None, Bytes::ZERO))
}

/// A state, and the last inputs of the convolution in front of it in 16 bits.
fn recurrent(model: &Model, label: &str, state: f64, channels: f64, kernel: u32) -> LayerKind {
    let taps = f64::from(kernel.saturating_sub(1));
    let bytes = state * model.quantization.state.bytes() + channels * taps * Dtype::Bf16.bytes();
    (label.to_owned(), Bytes::ZERO, None, Bytes::new(bytes))
}

impl Model {
    /// Cache of one sequence of `context` tokens.
    pub fn cache_bytes(&self, context: f64) -> Bytes {
        cache_kinds(self).iter().map(|kind| kind.bytes(context)).sum()
    }

    /// What each further token of a long context adds to the cache: layers with a window or a state add nothing.
    pub fn kv_bytes_per_token(&self) -> Bytes {
        cache_kinds(self)
            .iter()
            .filter(|kind| kind.tokens_max.is_none())
            .map(|kind| kind.per_token)
            // An empty sum of floats is minus zero.
            .fold(Bytes::ZERO, |sum, bytes| sum + bytes)
    }
}
