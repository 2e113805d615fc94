//! Prices from the kernel profiles, each kernel looked up once.

use super::ideal::IdealOperators;
use super::operators::{Basis, Evidence, Operators};
use super::tally::Family;
use crate::kernels::{Kernels, Origin, PricedGemm};
use crate::ops::elementwise::Elementwise;
use crate::ops::{AttentionDecode, AttentionPrefill, Gemm, GroupedMoe, Machine, OpCost, Precision};
use model::{Linear, StateSpace};
use std::sync::{Arc, OnceLock};
use units::{Bytes, Dtype};

const FORMATS: usize = Dtype::ALL.len();

/// A kernel per pair of formats, filled on first use.
struct ByPrecision<K>([OnceLock<Option<K>>; FORMATS * FORMATS]);

impl<K> Default for ByPrecision<K> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl<K> ByPrecision<K> {
    fn get(&self, precision: Precision, find: impl FnOnce() -> Option<K>) -> Option<&K> {
        let index = precision.weight as usize * FORMATS + precision.activation as usize;
        self.0[index].get_or_init(find).as_ref()
    }
}

/// Operators of one rank under one engine's kernel stacks.
pub struct KernelOperators {
    kernels: Arc<Kernels>,
    bound: IdealOperators,
    machine: Option<Machine>,
    elementwise: Elementwise,
    gemm: ByPrecision<PricedGemm>,
}

impl KernelOperators {
    /// Over loaded profiles.
    pub fn new(kernels: Arc<Kernels>) -> Self {
        Self {
            bound: IdealOperators::new(kernels.rank()),
            machine: kernels.machine(Dtype::Bf16).ok(),
            elementwise: kernels.elementwise_kernel(),
            gemm: ByPrecision::default(),
            kernels,
        }
    }

    fn gemm_kernel(&self, precision: Precision) -> Option<&PricedGemm> {
        self.gemm.get(precision, || self.kernels.gemm_kernel(precision).ok())
    }
}

fn basis(origin: &Origin) -> Basis {
    match origin {
        Origin::Measured { .. } => Basis::Measured,
        Origin::Transferred { chip, .. } => Basis::Transferred(chip.clone()),
        Origin::Generic => Basis::Generic,
    }
}

impl Operators for KernelOperators {
    fn gemm(&self, op: Gemm, precision: Precision) -> OpCost {
        match self.gemm_kernel(precision) {
            Some(kernel) => kernel.price(op),
            None => self.bound.gemm(op, precision),
        }
    }

    fn attention_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        self.bound.attention_prefill(op, precision)
    }

    fn attention_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        self.bound.attention_decode(op, precision)
    }

    fn mla_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        self.bound.mla_prefill(op, precision)
    }

    fn mla_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        self.bound.mla_decode(op, precision)
    }

    fn moe(&self, op: GroupedMoe, precision: Precision) -> OpCost {
        self.bound.moe(op, precision)
    }

    fn elementwise(&self, bytes: Bytes) -> OpCost {
        match &self.machine {
            Some(machine) => self.elementwise.price(machine, bytes, f64::INFINITY),
            None => self.bound.elementwise(bytes),
        }
    }

    fn linear_attention(&self, op: &Linear, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        self.bound.linear_attention(op, sequences, tokens, shard)
    }

    fn state_space(&self, op: &StateSpace, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        self.bound.state_space(op, sequences, tokens, shard)
    }

    fn indexer(&self, heads: f64, head_dim: f64, queries: f64, context: f64) -> OpCost {
        self.bound.indexer(heads, head_dim, queries, context)
    }

    fn evidence(&self, family: Family) -> Evidence {
        let bf16 = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
        match (family, self.gemm_kernel(bf16)) {
            (_, Some(kernel)) => Evidence { basis: basis(kernel.origin()), sigma: kernel.sigma() },
            _ => Evidence { basis: Basis::Generic, sigma: 0.4 },
        }
    }
}
