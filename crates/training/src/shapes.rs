//! The matrix products, weights and kept activations of one layer on one rank.

use crate::framework::AttentionKernel;
use crate::job::Job;
use model::{Attention, Ffn, LayerGroup, Mla, Moe, MultiHead};

/// A weight matrix of `outputs` by `inputs` as one rank holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    /// Output features.
    pub outputs: f64,
    /// Input features.
    pub inputs: f64,
}

impl Product {
    fn new(outputs: f64, inputs: f64) -> Self {
        Self { outputs, inputs }
    }

    /// Weights in it.
    pub fn weights(&self) -> f64 {
        self.outputs * self.inputs
    }
}

/// The attention core on one rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Core {
    /// Query heads.
    pub heads: f64,
    /// Key/value heads.
    pub kv_heads: f64,
    /// Query/key head width.
    pub qk_dim: f64,
    /// Value head width.
    pub v_dim: f64,
    /// Sliding window in tokens.
    pub window: Option<f64>,
    /// Whether queries and keys are rotated or normalised, which reads and writes them once more.
    pub rotated: bool,
}

/// The routed experts on one rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Experts {
    /// Experts held.
    pub local: f64,
    /// Experts of the model.
    pub total: f64,
    /// Token-expert pairs per token.
    pub topk: f64,
    /// First product (gate and up) of one expert.
    pub up: Product,
    /// Second product.
    pub down: Product,
    /// Inner width on this rank.
    pub inner: f64,
    /// Whether there is a gate.
    pub gated: bool,
    /// Most nodes a token's experts may lie on, where the router limits groups and a group is a node's experts.
    pub node_limit: Option<u32>,
}

/// One layer on one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerShape {
    /// Width of the residual stream.
    pub hidden: f64,
    /// Dense products, attention's first.
    pub products: Vec<Product>,
    /// Which of them widen latent queries, keys and values.
    latent: std::ops::Range<usize>,
    /// Attention core, if the layer has one.
    pub core: Option<Core>,
    /// Inner width of the dense feed-forward part (shared experts included) on this rank; 0 for none.
    pub dense_inner: f64,
    /// Whether that part has a gate.
    pub gated: bool,
    /// Routed experts.
    pub experts: Option<Experts>,
    /// Norms of the layer.
    pub norms: f64,
}

impl LayerShape {
    /// The layer `group` of `job`.
    pub fn new(job: &Job, group: &LayerGroup) -> Self {
        let hidden = f64::from(job.model.hidden);
        let mut shape = Self {
            hidden,
            products: Vec::new(),
            latent: 0..0,
            core: None,
            dense_inner: 0.0,
            gated: false,
            experts: None,
            norms: f64::from(group.norms),
        };
        let rotary = job.model.learned_positions == 0;
        match &group.attention {
            Attention::MultiHead(attention) => shape.add_multi_head(job, attention, rotary),
            Attention::Mla(attention) => shape.add_mla(job, attention),
            _ => {}
        }
        match &group.ffn {
            Ffn::Dense { intermediate, gated, .. } => {
                shape.add_dense(f64::from(*intermediate) / f64::from(job.layout.tp), *gated);
            }
            Ffn::Moe(moe) => shape.add_experts(job, moe),
            Ffn::None => {}
        }
        shape
    }

    fn add_multi_head(&mut self, job: &Job, attention: &MultiHead, rotary: bool) {
        let tp = f64::from(job.layout.tp);
        let heads = f64::from(attention.heads) / tp;
        // Fewer key/value heads than ranks are replicated.
        let kv_heads = (f64::from(attention.kv_heads) / tp).max(1.0);
        let (qk, v) = (f64::from(attention.head_dim), f64::from(attention.v_head_dim));
        let gate = if attention.output_gate { heads * v } else { 0.0 };
        let value = if attention.shared_kv { 0.0 } else { kv_heads * v };
        self.products.push(Product::new(heads * qk + kv_heads * qk + value + gate, self.hidden));
        self.products.push(Product::new(self.hidden, heads * v));
        self.core = Some(Core {
            heads,
            kv_heads,
            qk_dim: qk,
            v_dim: v,
            window: attention.window.map(f64::from),
            rotated: rotary || attention.qk_norm,
        });
    }

    fn add_mla(&mut self, job: &Job, attention: &Mla) {
        let heads = f64::from(attention.heads) / f64::from(job.layout.tp);
        let rope = f64::from(attention.qk_rope_head_dim);
        let qk = f64::from(attention.qk_nope_head_dim) + rope;
        let v = f64::from(attention.v_head_dim);
        let latent = f64::from(attention.kv_lora_rank);
        match attention.q_lora_rank {
            Some(rank) => {
                self.products.push(Product::new(f64::from(rank) + latent + rope, self.hidden));
                self.products.push(Product::new(heads * qk, f64::from(rank)));
            }
            None => {
                self.products.push(Product::new(heads * qk, self.hidden));
                self.products.push(Product::new(latent + rope, self.hidden));
            }
        }
        self.products.push(Product::new(heads * (f64::from(attention.qk_nope_head_dim) + v), latent));
        // Without query compression the second product is the compression of keys and values.
        let first = if attention.q_lora_rank.is_some() { 1 } else { 2 };
        self.latent = first..self.products.len();
        self.products.push(Product::new(self.hidden, heads * v));
        self.core = Some(Core { heads, kv_heads: heads, qk_dim: qk, v_dim: v, window: None, rotated: true });
    }

    fn add_dense(&mut self, inner: f64, gated: bool) {
        let ups = if gated { 2.0 } else { 1.0 };
        self.products.push(Product::new(ups * inner, self.hidden));
        self.products.push(Product::new(self.hidden, inner));
        self.dense_inner += inner;
        self.gated = gated;
    }

    fn add_experts(&mut self, job: &Job, moe: &Moe) {
        let tp = f64::from(job.layout.tp);
        let shared = f64::from(moe.shared_intermediate + moe.dense_intermediate) / tp;
        if shared > 0.0 {
            self.add_dense(shared, moe.gated);
        }
        self.gated = moe.gated;
        let inner = f64::from(moe.intermediate) / f64::from(job.layout.etp);
        let width = moe.latent.map_or(self.hidden, f64::from);
        let ups = if moe.gated { 2.0 } else { 1.0 };
        self.experts = Some(Experts {
            local: f64::from(moe.experts) / f64::from(job.layout.ep),
            total: f64::from(moe.experts),
            topk: f64::from(moe.topk),
            up: Product::new(ups * inner, width),
            down: Product::new(width, inner),
            inner,
            gated: moe.gated,
            node_limit: (moe.groups > 1).then_some(moe.topk_groups),
        });
    }

    /// Weights outside the routed experts.
    pub fn dense_weights(&self) -> f64 {
        let router = self.experts.as_ref().map_or(0.0, |experts| experts.total * self.hidden);
        self.products.iter().map(Product::weights).sum::<f64>() + router + self.norms * self.hidden
    }

    /// Weights of the routed experts held.
    pub fn expert_weights(&self) -> f64 {
        self.experts
            .as_ref()
            .map_or(0.0, |experts| experts.local * (experts.up.weights() + experts.down.weights()))
    }

    /// Weights of the largest matrix; the experts' gate and up are two, stacked over the experts held.
    pub fn largest_matrix(&self) -> f64 {
        let dense = self.products.iter().map(Product::weights).fold(0.0, f64::max);
        let experts = self.experts.as_ref().map_or(0.0, |experts| experts.local * experts.down.weights());
        dense.max(experts)
    }

    /// Bytes kept per token from forward to backward when nothing is computed again (after arXiv 2205.05198 section 4, with
    /// grouped heads, gates and experts). `seq` is the sequence length, which only unfused attention minds.
    pub fn kept_bytes(&self, job: &Job, kernel: AttentionKernel, seq: f64) -> f64 {
        let tp = f64::from(job.layout.tp);
        let shards = if job.sequence_parallel { tp } else { 1.0 };
        // Inputs of 8-bit products are kept as they are multiplied.
        let operand = if job.precision.multiplier_bits() <= 8 { 1.0 } else { 2.0 };
        let mut bytes = self.norms * 2.0 * self.hidden / shards;
        if let Some(core) = &self.core {
            bytes += operand * self.hidden / shards;
            bytes += 2.0 * (core.heads * core.qk_dim + core.kv_heads * (core.qk_dim + core.v_dim));
            bytes += operand * core.heads * core.v_dim;
            if kernel == AttentionKernel::Unfused {
                bytes += self.hidden / shards + self.score_bytes(seq);
            }
        }
        if self.dense_inner > 0.0 {
            bytes += operand * self.hidden / shards;
            let ups = if self.gated { 2.0 } else { 1.0 };
            bytes += (2.0 * ups + operand) * self.dense_inner;
            if kernel == AttentionKernel::Unfused {
                bytes += self.hidden / shards;
            }
        }
        if let Some(experts) = &self.experts {
            let ups = if experts.gated { 2.0 } else { 1.0 };
            // Routing weights are applied between the two products, so that the second one's output is not kept.
            let pair = operand * self.hidden + (2.0 * ups + operand) * experts.inner;
            bytes += experts.topk * f64::from(job.layout.etp) * pair / tp;
        }
        bytes
    }

    /// The products that widen latent queries, keys and values.
    pub fn latent_products(&self) -> &[Product] {
        &self.products[self.latent.clone()]
    }

    /// Bytes per token that recomputing norms, activations and latent up-projections saves.
    pub fn module_bytes(&self, job: &Job) -> f64 {
        let shards = if job.sequence_parallel { f64::from(job.layout.tp) } else { 1.0 };
        let operand = if job.precision.multiplier_bits() <= 8 { 1.0 } else { 2.0 };
        let mut bytes = 0.0;
        if let Some(core) = &self.core {
            bytes += operand * self.hidden / shards;
            if !self.latent.is_empty() {
                bytes += 2.0 * (core.heads * core.qk_dim + core.kv_heads * (core.qk_dim + core.v_dim));
            }
        }
        if self.dense_inner > 0.0 {
            bytes += operand * (self.hidden / shards + self.dense_inner);
        }
        if let Some(experts) = &self.experts {
            bytes +=
                operand * experts.topk * f64::from(job.layout.etp) * experts.inner / f64::from(job.layout.tp);
        }
        bytes
    }

    /// Bytes per token of attention scores, their dropout mask and what is left after it.
    pub fn score_bytes(&self, seq: f64) -> f64 {
        self.core.as_ref().map_or(0.0, |core| 5.0 * core.heads * seq)
    }
}
