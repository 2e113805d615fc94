//! Prices from the kernel profiles, each kernel looked up once.

use super::ideal::as_multiplied;
use super::operators::{Basis, Evidence, Operators};
use super::tally::Family;
use crate::kernels::{CONVOLUTION_DECODE, CONVOLUTION_PREFILL, LinearLayer, SCAN_DECODE, SCAN_PREFILL};
use crate::kernels::{
    DecodeTable, Kernels, KernelsError, Origin, PricedDecode, PricedGemm, PricedLinear, PricedMoe,
    PricedPrefill,
};
use crate::ops::attention_indexer::IndexScores;
use crate::ops::elementwise::Elementwise;
use crate::ops::linear_attention::LinearAttention;
use crate::ops::{AttentionDecode, AttentionPrefill, Bound, Gemm, GroupedMoe, Machine, OpCost, Precision};
use model::{Linear, StateSpace};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use units::{Bytes, Dtype, Flop, Seconds};

/// Kernels by what selects them, looked up on first use.
struct Shelf<Key, Kernel>(RwLock<BTreeMap<Key, Option<Arc<Kernel>>>>);

impl<Key, Kernel> Default for Shelf<Key, Kernel> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<Key: Ord, Kernel> Shelf<Key, Kernel> {
    fn get(&self, key: Key, find: impl FnOnce() -> Result<Kernel, KernelsError>) -> Option<Arc<Kernel>> {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return found.clone();
        }
        let found = find().ok().map(Arc::new);
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(key, found.clone());
        found
    }
}

/// Operators of one rank under one engine's kernel stacks.
///
/// The generic profiles cover every family and format, so a kernel is always found on a chip that can multiply the
/// format, which [`super::StepModel::new`] has checked.
pub struct KernelOperators {
    kernels: Arc<Kernels>,
    fused_quantise: bool,
    /// Share of the tables' launch latency that a step pays.
    launch: f64,
    machine: Option<Machine>,
    elementwise: Elementwise,
    gemm: Shelf<Precision, PricedGemm>,
    prefill: Shelf<(Precision, u32), PricedPrefill>,
    decode: Shelf<DecodeKey, DecodeTable>,
    mla_prefill: Shelf<Precision, PricedPrefill>,
    mla_decode: Shelf<DecodeKey, DecodeTable>,
    moe: Shelf<(Precision, bool), PricedMoe>,
    linear: Shelf<(&'static str, LinearLayer), PricedLinear>,
}

/// The structure of a decode attention (all of it but batch and context) as bits, which order and compare.
type DecodeKey = (Precision, [u64; 7]);

fn decode_key(op: &AttentionDecode, precision: Precision) -> DecodeKey {
    let structure = [
        op.queries,
        op.heads,
        op.kv_heads,
        op.qk_dim,
        op.v_dim,
        op.kv_dim,
        op.window.unwrap_or(f64::INFINITY),
    ];
    (precision, structure.map(f64::to_bits))
}

/// Price by the table of the operator's structure, made when first asked for.
fn tabulated(
    shelf: &Shelf<DecodeKey, DecodeTable>,
    op: AttentionDecode,
    precision: Precision,
    find: impl FnOnce() -> Result<PricedDecode, KernelsError>,
) -> OpCost {
    let table = shelf.get(decode_key(&op, precision), || Ok(DecodeTable::new(find()?, op)));
    table.map_or(UNPRICED, |table| table.price(op.batch, op.context))
}

const BF16: Precision = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };

/// However much launch latency is saved, this share of a measured time remains.
const SMALLEST_SHARE: f64 = 0.05;

/// What cannot be priced takes forever: no plan will choose it, and none is silently free.
const UNPRICED: OpCost =
    OpCost { time: Seconds::new(f64::INFINITY), bound: Bound::Compute, flop: Flop::ZERO, bytes: Bytes::ZERO };

impl KernelOperators {
    /// Over loaded profiles. With `fused_quantise` products in per-tensor formats take activations that the kernel
    /// before them has quantised; `launch` is the share of the tables' launch latency that a step pays.
    pub fn new(kernels: Arc<Kernels>, fused_quantise: bool, launch: f64) -> Self {
        Self {
            fused_quantise,
            launch,
            machine: kernels.machine(Dtype::Bf16).ok(),
            elementwise: kernels.elementwise_kernel(),
            gemm: Shelf::default(),
            prefill: Shelf::default(),
            decode: Shelf::default(),
            mla_prefill: Shelf::default(),
            mla_decode: Shelf::default(),
            moe: Shelf::default(),
            linear: Shelf::default(),
            kernels,
        }
    }

    fn gemm_kernel(&self, precision: Precision) -> Option<Arc<PricedGemm>> {
        self.gemm.get(precision, || {
            let kernel = self.kernels.gemm_kernel(precision)?;
            let static_scales = matches!(precision.activation, Dtype::Fp8 | Dtype::Nvfp4 | Dtype::Int8);
            if self.fused_quantise && static_scales {
                return Ok(kernel.fused(&self.kernels.gemm_kernel(BF16)?));
            }
            Ok(kernel)
        })
    }

    /// A price without the part of its launch latency that a captured graph saves.
    fn launched(&self, cost: OpCost, launch: Seconds) -> OpCost {
        let saved = launch * (1.0 - self.launch);
        OpCost { time: (cost.time - saved).max(cost.time * SMALLEST_SHARE), ..cost }
    }

    fn linear_kernel(&self, family: &'static str, layer: LinearLayer) -> Option<Arc<PricedLinear>> {
        self.linear.get((family, layer), || self.kernels.linear_kernel(family, layer))
    }

    fn linear(&self, op: &LinearAttention, layer: LinearLayer) -> OpCost {
        let families = if op.new_tokens > 1.0 {
            [CONVOLUTION_PREFILL, SCAN_PREFILL]
        } else {
            [CONVOLUTION_DECODE, SCAN_DECODE]
        };
        let Some(scan) = self.linear_kernel(families[1], layer) else { return UNPRICED };
        let mut cost = scan.price(op);
        if let Some(convolution) = self.linear_kernel(families[0], layer).filter(|_| op.taps > 0.0) {
            let convolution = convolution.price(op);
            cost.time += convolution.time;
            cost.flop += convolution.flop;
            cost.bytes += convolution.bytes;
        }
        cost
    }

    /// Origin and spread of the kernel that stands for a family: the ones in use, else that of dense products.
    fn origin(&self, family: Family) -> Option<(Origin, f64)> {
        fn any<Key: Ord, Kernel, T>(shelf: &Shelf<Key, Kernel>, of: impl Fn(&Kernel) -> T) -> Option<T> {
            let held = shelf.0.read().unwrap_or_else(PoisonError::into_inner);
            held.values().flatten().next().map(|kernel| of(kernel))
        }
        match family {
            Family::Attention => any(&self.mla_decode, |t| (t.kernel().origin().clone(), t.kernel().sigma()))
                .or_else(|| any(&self.decode, |t| (t.kernel().origin().clone(), t.kernel().sigma())))
                .or_else(|| any(&self.mla_prefill, |k| (k.origin().clone(), k.sigma())))
                .or_else(|| any(&self.prefill, |k| (k.origin().clone(), k.sigma()))),
            Family::Experts => any(&self.moe, |k| (k.origin().clone(), k.sigma())),
            Family::Elementwise | Family::Host => None,
            _ => any(&self.gemm, |k| (k.origin().clone(), k.sigma())),
        }
    }
}

fn evidence(origin: &Origin, sigma: f64) -> Evidence {
    let (basis, rows) = match origin {
        Origin::Measured { rows, .. } => (Basis::Measured, *rows),
        Origin::Derived { .. } => (Basis::Derived, 0),
        Origin::Transferred { chip, rows, .. } => (Basis::Transferred(chip.clone()), *rows),
        Origin::Generic => (Basis::Generic, 0),
    };
    Evidence { basis, rows, sigma }
}

impl Operators for KernelOperators {
    fn gemm(&self, op: Gemm, precision: Precision) -> OpCost {
        let kernel = self.gemm_kernel(precision);
        kernel.map_or(UNPRICED, |kernel| self.launched(kernel.price(op), kernel.launch()))
    }

    fn attention_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        let kernel = self.prefill.get((precision, op.qk_dim as u32), || {
            self.kernels.attention_prefill_kernel(precision, op.qk_dim)
        });
        kernel.map_or(UNPRICED, |kernel| self.launched(kernel.price(&op), kernel.launch()))
    }

    fn attention_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        tabulated(&self.decode, op, precision, || self.kernels.attention_decode_kernel(precision, op.qk_dim))
    }

    fn mla_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        let kernel = self.mla_prefill.get(precision, || self.kernels.mla_prefill_kernel(precision));
        kernel.map_or(UNPRICED, |kernel| self.launched(kernel.price(&op), kernel.launch()))
    }

    fn mla_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        tabulated(&self.mla_decode, op, precision, || self.kernels.mla_decode_kernel(precision))
    }

    fn moe(&self, op: GroupedMoe, precision: Precision) -> OpCost {
        let precision = as_multiplied(self.kernels.rank(), precision);
        let kernel = self.moe.get((precision, op.gated), || self.kernels.moe_kernel(precision, op.gated));
        kernel.map_or(UNPRICED, |kernel| self.launched(kernel.price(&op), kernel.launch()))
    }

    fn elementwise(&self, bytes: Bytes) -> OpCost {
        self.machine
            .as_ref()
            .map_or(UNPRICED, |machine| self.elementwise.price(machine, bytes, f64::INFINITY))
    }

    fn linear_attention(&self, op: &Linear, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        let layer = LinearAttention {
            sequences,
            new_tokens: tokens / sequences,
            k_heads: f64::from(op.k_heads) / shard,
            v_heads: f64::from(op.v_heads) / shard,
            k_dim: f64::from(op.k_head_dim),
            v_dim: f64::from(op.v_head_dim),
            taps: f64::from(op.conv_kernel),
        };
        self.linear(&layer, LinearLayer::DeltaRule)
    }

    fn state_space(&self, op: &StateSpace, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        let layer = LinearAttention {
            sequences,
            new_tokens: tokens / sequences,
            k_heads: (f64::from(op.groups) / shard).max(1.0),
            v_heads: f64::from(op.heads) / shard,
            k_dim: f64::from(op.state),
            v_dim: f64::from(op.head_dim),
            taps: f64::from(op.conv_kernel),
        };
        self.linear(&layer, LinearLayer::StateSpace)
    }

    fn indexer(&self, op: IndexScores) -> OpCost {
        self.kernels.index_scores(op, self.launch).map_or(UNPRICED, |priced| priced.cost)
    }

    fn evidence(&self, family: Family) -> Evidence {
        // Small kernels and the host are in no table; their spread is that of kernels nobody measured.
        const UNMEASURED: f64 = 0.4;
        match self.origin(family) {
            Some((origin, sigma)) => evidence(&origin, sigma),
            None => Evidence { basis: Basis::Generic, rows: 0, sigma: UNMEASURED },
        }
    }
}
