//! A model cut for one rank: the matrix products, attention and experts that the rank runs per layer.

use super::deployment::Layout;
use crate::ops::Precision;
use model::{Attention, Ffn, LayerGroup, Model, SparseIndexer};
use units::Dtype;

use super::tally::Family;

/// One matrix product per token: the weight is `k x n` on this rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Product {
    pub family: Family,
    pub n: f64,
    pub k: f64,
    pub precision: Precision,
}

/// Softmax attention of one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SoftmaxPlan {
    pub heads: f64,
    pub kv_heads: f64,
    pub qk_dim: f64,
    pub v_dim: f64,
    /// Cached elements per token and key/value head.
    pub kv_dim: f64,
    pub window: Option<f64>,
    /// Tokens folded into one entry of the past beyond the window; `None` keeps or drops them as they are.
    pub fold: Option<f64>,
    /// Whether all query heads share one cached vector.
    pub latent: bool,
    /// Whether the layer keeps a cache of its own.
    pub caches: bool,
    pub indexer: Option<SparseIndexer>,
    pub precision: Precision,
    /// Products on decoding tokens only (absorbed projections), and on prefilled plus cached tokens (expansion).
    pub decode_products: Vec<Product>,
    pub expand_products: Vec<Product>,
}

impl SoftmaxPlan {
    /// Cached entries that a query reads of a context of `tokens`.
    pub fn read(&self, tokens: f64) -> f64 {
        let folded = tokens / self.fold.unwrap_or(1.0);
        let past = match &self.indexer {
            Some(indexer) => self.scored(tokens).min(f64::from(indexer.topk)),
            None => folded,
        };
        match (self.window, self.fold) {
            (Some(window), Some(_)) => tokens.min(window) + past,
            (Some(window), None) => tokens.min(window),
            (None, _) => past,
        }
    }

    /// Index keys that a query is scored against in a context of `tokens`.
    pub fn scored(&self, tokens: f64) -> f64 {
        self.indexer.as_ref().map_or(0.0, |indexer| tokens / f64::from(indexer.compression.max(1)))
    }
}

/// Token mixing of one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum MixPlan {
    Softmax(SoftmaxPlan),
    Linear(model::Linear),
    StateSpace(model::StateSpace),
    None,
}

/// Routed experts of one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ExpertPlan {
    pub experts: f64,
    pub topk: f64,
    pub local_experts: f64,
    pub hidden: f64,
    pub intermediate: f64,
    pub gated: bool,
    pub precision: Precision,
}

/// One kind of layer on one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LayerPlan {
    /// How many such layers all stages hold together.
    pub count: f64,
    pub products: Vec<Product>,
    pub mix: MixPlan,
    pub experts: Option<ExpertPlan>,
    /// All-reduces over the tensor-parallel ranks.
    pub reductions: f64,
    /// Whether queries and keys are normalised over all heads together, which takes a small all-reduce.
    pub norm_reduction: bool,
    /// Bytes per token moved by norms, rotary embedding, activations and residuals.
    pub elementwise_bytes: f64,
}

/// The whole model on one rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RankPlan {
    pub layers: Vec<LayerPlan>,
    /// Distinct kinds of token mixing, each with the number of layers that have it.
    pub mixes: Vec<(MixPlan, f64)>,
    /// Draft module, run once per draft token.
    pub draft: Option<LayerPlan>,
    pub head: Product,
    pub hidden: f64,
}

/// Cuts `model` by `layout`.
pub(super) fn plan(model: &Model, layout: &Layout) -> RankPlan {
    let cut = Cut { model, layout, hidden: f64::from(model.hidden) };
    let layers: Vec<LayerPlan> = model.layers.iter().map(|group| cut.layer(group)).collect();
    let mut mixes: Vec<(MixPlan, f64)> = Vec::new();
    for layer in &layers {
        match mixes.iter_mut().find(|(mix, _)| *mix == layer.mix) {
            Some((_, count)) => *count += layer.count,
            None => mixes.push((layer.mix.clone(), layer.count)),
        }
    }
    RankPlan {
        layers,
        mixes,
        // A drafter that the checkpoint does not bring (EAGLE and its kin) is about one more layer of the model.
        draft: model
            .mtp
            .as_ref()
            .map(|(_, group)| group)
            .or(model.layers.last())
            .map(|group| cut.draft(group)),
        head: Product {
            family: Family::Head,
            n: shard(model.vocab, layout.tp),
            k: f64::from(model.hidden),
            precision: Precision { weight: model.quantization.embedding, activation: Dtype::Bf16 },
        },
        hidden: f64::from(model.hidden),
    }
}

/// `size` over `ranks`, the larger part.
fn shard(size: u32, ranks: u32) -> f64 {
    f64::from(size.div_ceil(ranks))
}

struct Cut<'a> {
    model: &'a Model,
    layout: &'a Layout,
    hidden: f64,
}

impl Cut<'_> {
    fn weights(&self) -> Precision {
        let formats = &self.model.quantization;
        Precision { weight: formats.weights, activation: formats.activations }
    }

    /// Attention projections follow their own format; left unquantised, their activations are too.
    fn attention_weights(&self) -> Precision {
        let formats = &self.model.quantization;
        let activation =
            if formats.attention == formats.weights { formats.activations } else { formats.attention };
        Precision { weight: formats.attention, activation }
    }

    fn expert_weights(&self) -> Precision {
        let formats = &self.model.quantization;
        Precision { weight: formats.experts, activation: formats.expert_activations }
    }

    fn product(&self, family: Family, n: f64, k: f64, precision: Precision) -> Product {
        Product { family, n, k, precision }
    }

    fn draft(&self, group: &LayerGroup) -> LayerPlan {
        let mut plan = self.layer(&LayerGroup { count: 1, ..group.clone() });
        plan.products.push(self.product(
            Family::Projection,
            self.hidden,
            2.0 * self.hidden,
            self.attention_weights(),
        ));
        plan
    }

    fn layer(&self, group: &LayerGroup) -> LayerPlan {
        let mut products = Vec::new();
        let mut elementwise = 0.0;
        let mix = self.mix(&group.attention, &mut products, &mut elementwise);
        let experts = self.ffn(&group.ffn, &mut products, &mut elementwise);
        let mixes = group.attention != Attention::None;
        if group.extra > 0 {
            // Matrices beside the sub-layers are replicated: they are small and read the whole residual stream.
            let width = group.extra as f64 / self.hidden;
            products.push(self.product(Family::Dense, width, self.hidden, self.weights()));
        }
        // Experts that return their rows through combine or through an all-reduce of their own are counted there.
        let feeds = matches!(group.ffn, Ffn::Dense { .. });
        LayerPlan {
            count: f64::from(group.count),
            products,
            mix,
            experts,
            reductions: f64::from(u8::from(mixes) + u8::from(feeds)),
            norm_reduction: matches!(&group.attention, Attention::MultiHead(a) if a.qk_norm_whole),
            elementwise_bytes: elementwise,
        }
    }

    fn mix(&self, attention: &Attention, products: &mut Vec<Product>, elementwise: &mut f64) -> MixPlan {
        match attention {
            Attention::MultiHead(a) => self.multi_head(a, products, elementwise),
            Attention::Mla(a) => self.latent(a, products, elementwise),
            Attention::Compressed(a) => self.compressed(a, products, elementwise),
            Attention::Linear(a) => self.linear(a, products, elementwise),
            Attention::StateSpace(a) => self.state_space(a, products, elementwise),
            Attention::ShortConv(a) => self.short_conv(a, products, elementwise),
            Attention::None => MixPlan::None,
        }
    }

    /// Bytes that a fused residual-and-norm moves per token: it reads two rows and writes two.
    fn norm(&self) -> f64 {
        4.0 * self.hidden * 2.0
    }

    /// Queries, keys and values in one product, and the output projection.
    fn multi_head(
        &self,
        a: &model::MultiHead,
        products: &mut Vec<Product>,
        elementwise: &mut f64,
    ) -> MixPlan {
        let tp = self.layout.tp;
        let precision = self.attention_weights();
        let kv = self.model.quantization.kv;
        let heads = shard(a.heads, tp);
        let kv_heads = shard(a.kv_heads, tp).max(1.0);
        let (qk, v) = (f64::from(a.head_dim), f64::from(a.v_head_dim));
        let query = heads * qk * if a.output_gate { 2.0 } else { 1.0 };
        let key_value = match (a.reuses_kv, a.shared_kv) {
            (true, _) => 0.0,
            (false, true) => kv_heads * qk,
            (false, false) => kv_heads * (qk + v),
        };
        products.push(self.product(Family::Projection, query + key_value, self.hidden, precision));
        products.push(self.product(Family::Projection, self.hidden, heads * v, precision));
        self.index_products(a.indexer.as_ref(), self.hidden, products);
        *elementwise += self.norm() + 2.0 * 2.0 * (query + key_value);
        MixPlan::Softmax(SoftmaxPlan {
            heads,
            kv_heads,
            qk_dim: qk,
            v_dim: v,
            kv_dim: qk + v,
            window: a.window.map(f64::from),
            fold: None,
            latent: false,
            caches: !a.reuses_kv,
            indexer: a.indexer.clone(),
            precision: Precision { weight: kv, activation: Dtype::Bf16 },
            decode_products: Vec::new(),
            expand_products: Vec::new(),
        })
    }

    /// Both latents in one product, queries from theirs, and products with the cached latent in front of and behind the kernel.
    fn latent(&self, a: &model::Mla, products: &mut Vec<Product>, elementwise: &mut f64) -> MixPlan {
        let tp = self.layout.tp;
        let precision = self.attention_weights();
        let kv = self.model.quantization.kv;
        let heads = shard(a.heads, tp);
        let (nope, rope, v) =
            (f64::from(a.qk_nope_head_dim), f64::from(a.qk_rope_head_dim), f64::from(a.v_head_dim));
        let latent = f64::from(a.kv_lora_rank);
        let query_in = a.q_lora_rank.map_or(self.hidden, f64::from);
        let down = a.q_lora_rank.map_or(0.0, f64::from) + latent + rope;
        products.push(self.product(Family::Projection, down, self.hidden, precision));
        products.push(self.product(Family::Projection, heads * (nope + rope), query_in, precision));
        products.push(self.product(Family::Projection, self.hidden, heads * v, precision));
        if a.output_gate {
            products.push(self.product(Family::Projection, heads * v, self.hidden, precision));
        }
        self.index_products(a.indexer.as_ref(), query_in, products);
        *elementwise += self.norm() + 2.0 * 2.0 * (down + heads * (nope + rope));
        let bf16 = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
        MixPlan::Softmax(SoftmaxPlan {
            heads,
            kv_heads: 1.0,
            qk_dim: nope + rope,
            v_dim: v,
            kv_dim: latent + rope,
            window: None,
            fold: None,
            latent: true,
            caches: true,
            indexer: a.indexer.clone(),
            precision: Precision { weight: kv, activation: Dtype::Bf16 },
            decode_products: vec![
                self.product(Family::Projection, heads * latent, nope, bf16),
                self.product(Family::Projection, heads * v, latent, bf16),
            ],
            expand_products: vec![self.product(Family::Projection, heads * (nope + v), latent, precision)],
        })
    }

    /// Queries, keys, values, gate and decay in one product, and the output projection.
    fn linear(&self, a: &model::Linear, products: &mut Vec<Product>, elementwise: &mut f64) -> MixPlan {
        let tp = self.layout.tp;
        let precision = self.attention_weights();
        let key = f64::from(a.k_heads * a.k_head_dim) / f64::from(tp);
        let value = f64::from(a.v_heads * a.v_head_dim) / f64::from(tp);
        let gate = if a.output_gate { a.gate_rank.map_or(value, f64::from) } else { 0.0 };
        let decay = match a.decay {
            model::Decay::Fixed => 0.0,
            model::Decay::PerHead => shard(a.v_heads, tp),
            model::Decay::PerElement { rank } => rank.map_or(key, f64::from),
        };
        let scalars = decay + if a.delta { shard(a.v_heads, tp) } else { 0.0 };
        products.push(self.product(
            Family::Projection,
            2.0 * key + value + gate + scalars,
            self.hidden,
            precision,
        ));
        products.push(self.product(Family::Projection, self.hidden, value, precision));
        *elementwise += self.norm() + 2.0 * 2.0 * (value + gate);
        MixPlan::Linear(a.clone())
    }

    /// Input, gate, state matrices and step in one product, and the output projection.
    fn state_space(
        &self,
        a: &model::StateSpace,
        products: &mut Vec<Product>,
        elementwise: &mut f64,
    ) -> MixPlan {
        let tp = self.layout.tp;
        let precision = self.attention_weights();
        let inner = f64::from(a.heads * a.head_dim) / f64::from(tp);
        let state = 2.0 * f64::from(a.groups * a.state) / f64::from(tp);
        products.push(self.product(
            Family::Projection,
            2.0 * inner + state + shard(a.heads, tp),
            self.hidden,
            precision,
        ));
        products.push(self.product(Family::Projection, self.hidden, inner, precision));
        *elementwise += self.norm() + 2.0 * 2.0 * inner;
        MixPlan::StateSpace(a.clone())
    }

    /// Both gates and the input in one product, and the output projection.
    fn short_conv(
        &self,
        a: &model::ShortConv,
        products: &mut Vec<Product>,
        elementwise: &mut f64,
    ) -> MixPlan {
        let tp = self.layout.tp;
        let precision = self.attention_weights();
        let width = shard(a.width, tp);
        products.push(self.product(Family::Projection, 3.0 * width, self.hidden, precision));
        products.push(self.product(Family::Projection, self.hidden, width, precision));
        // The convolution reads and writes a few rows per token; its taps stay in registers.
        *elementwise += self.norm() + 2.0 * 2.0 * 3.0 * width;
        MixPlan::None
    }

    /// Query compression, one key/value vector, folding weights, and an output projection in groups.
    fn compressed(
        &self,
        a: &model::Compressed,
        products: &mut Vec<Product>,
        elementwise: &mut f64,
    ) -> MixPlan {
        let precision = self.attention_weights();
        let heads = shard(a.heads, self.layout.tp);
        let (dim, query_in) = (f64::from(a.head_dim), f64::from(a.q_lora_rank));
        let groups = shard(a.o_groups, self.layout.tp).max(1.0);
        let joined = groups * f64::from(a.o_lora_rank);
        let folding = if a.ratio > 1 { dim * if a.overlap { 4.0 } else { 2.0 } } else { 0.0 };
        products.push(self.product(Family::Projection, query_in + dim + folding, self.hidden, precision));
        products.push(self.product(Family::Projection, heads * dim, query_in, precision));
        products.push(self.product(Family::Projection, joined, heads * dim / groups, precision));
        products.push(self.product(Family::Projection, self.hidden, joined, precision));
        self.index_products(a.indexer.as_ref(), query_in, products);
        *elementwise += self.norm() + 2.0 * 2.0 * (query_in + (heads + 1.0) * dim);
        MixPlan::Softmax(SoftmaxPlan {
            heads,
            kv_heads: 1.0,
            qk_dim: dim,
            v_dim: dim,
            kv_dim: dim,
            window: Some(f64::from(a.window)),
            fold: (a.ratio > 0).then(|| f64::from(a.ratio)),
            latent: true,
            caches: true,
            indexer: a.indexer.clone(),
            precision: Precision { weight: self.model.quantization.kv, activation: Dtype::Bf16 },
            decode_products: Vec::new(),
            expand_products: Vec::new(),
        })
    }

    /// The indexer's projections are replicated on every tensor-parallel rank.
    fn index_products(&self, indexer: Option<&SparseIndexer>, query_in: f64, products: &mut Vec<Product>) {
        let Some(indexer) = indexer.filter(|indexer| !indexer.shared) else { return };
        let (heads, dim) = (f64::from(indexer.heads), f64::from(indexer.head_dim));
        let precision = self.attention_weights();
        products.push(self.product(Family::Projection, heads * dim, query_in, precision));
        products.push(self.product(Family::Projection, dim + heads, self.hidden, precision));
    }

    fn ffn(&self, ffn: &Ffn, products: &mut Vec<Product>, elementwise: &mut f64) -> Option<ExpertPlan> {
        let norm = 4.0 * self.hidden * 2.0;
        match ffn {
            Ffn::Dense { intermediate, gated, .. } => {
                *elementwise += norm;
                self.dense(shard(*intermediate, self.layout.tp), *gated, products, elementwise);
                None
            }
            Ffn::Moe(moe) => {
                *elementwise += norm;
                let width = f64::from(moe.latent.unwrap_or(self.model.hidden));
                let router = f64::from(moe.experts + moe.identity_experts);
                let bf16 = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
                products.push(self.product(Family::Experts, router, self.hidden, bf16));
                if moe.latent.is_some() {
                    products.push(self.product(Family::Experts, width, self.hidden, self.expert_weights()));
                    products.push(self.product(Family::Experts, self.hidden, width, self.expert_weights()));
                }
                for inner in [moe.shared_intermediate, moe.dense_intermediate] {
                    if inner > 0 {
                        self.dense(shard(inner, self.layout.tp), moe.gated, products, elementwise);
                    }
                }
                let replicas = moe.experts + self.layout.redundant_experts;
                let routed = f64::from(moe.experts) / router;
                Some(ExpertPlan {
                    experts: f64::from(replicas),
                    topk: f64::from(moe.topk) * routed,
                    local_experts: shard(replicas, self.layout.ep),
                    hidden: width,
                    intermediate: shard(moe.intermediate, self.layout.moe_tp),
                    gated: moe.gated,
                    precision: self.expert_weights(),
                })
            }
            Ffn::None => None,
        }
    }

    fn dense(&self, inner: f64, gated: bool, products: &mut Vec<Product>, elementwise: &mut f64) {
        let up = if gated { 2.0 * inner } else { inner };
        products.push(self.product(Family::Dense, up, self.hidden, self.weights()));
        products.push(self.product(Family::Dense, self.hidden, inner, self.weights()));
        *elementwise += 2.0 * (up + inner);
    }
}
