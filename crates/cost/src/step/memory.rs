//! Device memory of one rank: what the weights take, what is left for the cache, and how far that goes.

use super::deployment::Deployment;
use super::plan::{LayerPlan, MixPlan, Product, RankPlan};
use model::Quantization;
use units::{Bytes, Dtype};

/// Memory of the fullest rank by term, and the room for caches.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryFit {
    /// Device memory of the rank.
    pub capacity: Bytes,
    /// What the engine does not take for itself.
    pub outside: Bytes,
    /// Attention projections, dense feed-forward, shared experts, norms.
    pub dense_weights: Bytes,
    /// Routed experts.
    pub expert_weights: Bytes,
    /// Embedding and output projection.
    pub embedding: Bytes,
    /// Graphs, workspaces, communication buffers.
    pub reserve: Bytes,
    cache: CacheShape,
}

/// How the cache of one sequence grows with its length, on one rank.
#[derive(Debug, Clone, PartialEq, Default)]
struct CacheShape {
    /// Bytes per token of layers that keep everything.
    per_token: f64,
    /// (bytes per token, window) of layers that keep a window.
    windows: Vec<(f64, f64)>,
    /// State whose size does not depend on the length.
    fixed: f64,
}

/// The model does not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "does not fit: weights {weights} and workspace {reserve} of {available} usable per rank leave no room for the \
     cache of one sequence (short by {short}); raise --tp, --pp or --ep, use a narrower --weight-dtype, or another system"
)]
pub struct DoesNotFit {
    /// Weights of the rank.
    pub weights: Bytes,
    /// Workspace.
    pub reserve: Bytes,
    /// What the engine may use.
    pub available: Bytes,
    /// What is missing for a cache of [`SMALLEST_CONTEXT`] tokens.
    pub short: Bytes,
}

/// Tokens of cache below which a deployment is not worth the name.
pub const SMALLEST_CONTEXT: f64 = 256.0;

impl MemoryFit {
    /// Adds up the terms for the fullest rank of `deployment`.
    pub(super) fn new(deployment: &Deployment, plan: &RankPlan) -> Result<Self, DoesNotFit> {
        let stages = f64::from(deployment.layout.pp);
        let capacity = deployment.chip.rank.memory.value;
        let policy = &deployment.engine.memory;
        let mut dense = 0.0;
        let mut experts = 0.0;
        let mut cache = CacheShape::default();
        let formats = &deployment.model.quantization;
        let kv = formats.kv;
        let draft = plan.draft.as_ref().filter(|_| deployment.speculation.tokens > 0);
        for layer in plan.layers.iter().chain(draft) {
            let count = layer.count / stages;
            dense += count * dense_bytes(layer, formats);
            experts += count * expert_bytes(layer, formats);
            cache.add(layer, count, kv, f64::from(deployment.layout.tp));
        }
        let head = plan.head.n * plan.head.k * plan.head.precision.weight.bytes();
        let fit = Self {
            capacity,
            outside: capacity * (1.0 - policy.utilisation.value),
            dense_weights: Bytes::new(dense + tower_bytes(deployment)),
            expert_weights: Bytes::new(experts),
            embedding: Bytes::new(head * if deployment.model.tied_embeddings { 1.0 } else { 2.0 }),
            reserve: policy.reserve.value,
            cache,
        };
        let needed = fit.cache_bytes(SMALLEST_CONTEXT);
        if fit.for_cache() < needed {
            return Err(DoesNotFit {
                weights: fit.weights(),
                reserve: fit.reserve,
                available: fit.capacity - fit.outside,
                short: needed - fit.for_cache(),
            });
        }
        Ok(fit)
    }

    /// All weights.
    pub fn weights(&self) -> Bytes {
        self.dense_weights + self.expert_weights + self.embedding
    }

    /// What is left for caches.
    pub fn for_cache(&self) -> Bytes {
        self.capacity - self.outside - self.weights() - self.reserve
    }

    /// Cache of one sequence of `tokens` tokens.
    pub fn cache_bytes(&self, tokens: f64) -> Bytes {
        let windowed: f64 =
            self.cache.windows.iter().map(|(bytes, window)| bytes * tokens.min(*window)).sum();
        Bytes::new(self.cache.fixed + self.cache.per_token * tokens + windowed)
    }

    /// Sequences of `tokens` tokens that fit at once on one attention rank.
    pub fn sequences(&self, tokens: f64) -> f64 {
        (self.for_cache() / self.cache_bytes(tokens)).max(0.0)
    }

    /// Tokens that fit in sequences of `tokens` each.
    pub fn cache_tokens(&self, tokens: f64) -> f64 {
        self.sequences(tokens) * tokens
    }

    /// The terms in the order they are shown.
    pub fn terms(&self) -> [(&'static str, Bytes); 6] {
        [
            ("dense weights", self.dense_weights),
            ("expert weights", self.expert_weights),
            ("embedding and head", self.embedding),
            ("workspace", self.reserve),
            ("cache room", self.for_cache()),
            ("outside the engine", self.outside),
        ]
    }
}

/// Encoders beside the decoder, in 16 bits and cut by tensor parallelism as engines do by default.
fn tower_bytes(deployment: &Deployment) -> f64 {
    let parameters: u64 = deployment.model.towers.iter().map(|tower| tower.parameters).sum();
    parameters as f64 * Dtype::Bf16.bytes() / f64::from(deployment.layout.tp)
}

impl CacheShape {
    fn add(&mut self, layer: &LayerPlan, count: f64, kv: Dtype, shard: f64) {
        match &layer.mix {
            MixPlan::Softmax(softmax) => {
                let caches = if softmax.caches { count } else { 0.0 };
                let bytes = caches * softmax.kv_heads * softmax.kv_dim * kv.bytes();
                match (softmax.window, softmax.fold) {
                    (Some(window), fold) => {
                        self.windows.push((bytes, window));
                        self.per_token += fold.map_or(0.0, |ratio| bytes / ratio);
                    }
                    (None, _) => self.per_token += bytes,
                }
                if let Some(indexer) = softmax.indexer.as_ref().filter(|indexer| !indexer.shared) {
                    self.per_token +=
                        count * f64::from(indexer.head_dim) / f64::from(indexer.compression.max(1));
                }
            }
            MixPlan::Linear(linear) => {
                let state =
                    f64::from(linear.v_heads) * f64::from(linear.k_head_dim) * f64::from(linear.v_head_dim);
                self.fixed += count * state * 4.0 / shard;
            }
            MixPlan::StateSpace(ssm) => {
                let state = f64::from(ssm.heads) * f64::from(ssm.head_dim) * f64::from(ssm.state);
                self.fixed += count * state * 4.0 / shard;
            }
            MixPlan::None => {}
        }
    }
}

fn dense_bytes(layer: &LayerPlan, formats: &Quantization) -> f64 {
    let bytes = |product: &Product| product.n * product.k * formats.bytes(product.precision.weight);
    let absorbed = match &layer.mix {
        MixPlan::Softmax(softmax) => softmax.decode_products.iter().map(bytes).sum(),
        _ => 0.0,
    };
    layer.products.iter().map(bytes).sum::<f64>() + absorbed
}

fn expert_bytes(layer: &LayerPlan, formats: &Quantization) -> f64 {
    layer.experts.as_ref().map_or(0.0, |experts| {
        let matrices = if experts.gated { 3.0 } else { 2.0 };
        experts.local_experts
            * matrices
            * experts.hidden
            * experts.intermediate
            * formats.bytes(experts.precision.weight)
    })
}
