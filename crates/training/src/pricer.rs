//! What a training step asks of the machine: prices of kernels and of collectives.

use cost::ops::{AttentionPrefill, Gemm};
use units::{Bytes, Dtype, Flop, Seconds};

/// A collective operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collective {
    /// Every rank ends with the sum.
    AllReduce,
    /// Every rank ends with everyone's shard.
    AllGather,
    /// Every rank ends with its shard of the sum.
    ReduceScatter,
    /// Every rank sends a different part to every other.
    AllToAll,
}

/// `size` ranks, `stride` apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    /// Members.
    pub size: u32,
    /// Distance between neighbours in the numbering of ranks.
    pub stride: u32,
}

impl Group {
    /// A group.
    pub fn new(size: u32, stride: u32) -> Self {
        Self { size, stride }
    }
}

/// How experts get their tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dispatcher {
    /// One message per token and expert through the library's all-to-all.
    AllToAll,
    /// DeepEP: a token crosses to each node once and is spread there.
    DeepEp,
    /// HybridEP: as DeepEP, copying with the memory engines, so that few cores saturate the links.
    HybridEp,
    /// CANN's fused kernels.
    Cann,
}

/// Tokens on their way to experts and back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exchange {
    /// Who carries them.
    pub dispatcher: Dispatcher,
    /// Tokens of one rank.
    pub tokens: f64,
    /// Bytes of one token.
    pub row: Bytes,
    /// Experts per token.
    pub topk: u32,
    /// Experts of the layer.
    pub experts: u32,
    /// Most nodes a token may go to, if routing limits them.
    pub node_limit: Option<u32>,
    /// The ranks that hold the experts.
    pub group: Group,
}

/// Prices kernels and collectives of one rank of a system.
pub trait Pricer {
    /// A matrix product with operands in `dtype`.
    fn gemm(&self, op: Gemm, dtype: Dtype) -> Seconds;

    /// The forward pass of fused (flash) causal attention in 16 bits.
    fn attention(&self, op: AttentionPrefill) -> Seconds;

    /// Matrix products whose inner or outer width does not fit the matrix unit and run on the vector unit.
    fn vector(&self, flop: Flop) -> Seconds;

    /// A kernel that reads and writes `bytes` in all.
    fn stream(&self, bytes: Bytes) -> Seconds;

    /// A collective; `bytes` is the whole tensor that a gather ends with or a reduction starts from, and for an
    /// all-to-all what one rank holds before (and after).
    fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds;

    /// Whether a group stays on the links inside a node or rack, which no other job shares.
    fn inside_scale_up(&self, group: Group) -> bool;

    /// Dispatch and combine of one pass.
    fn exchange(&self, op: &Exchange) -> Seconds;

    /// A message to the rank `stride` further.
    fn send(&self, bytes: Bytes, stride: u32) -> Seconds;

    /// A transfer between a rank and its host's memory.
    fn host_copy(&self, bytes: Bytes) -> Seconds;

    /// What a step of `chips` packages takes longer because it waits for the slowest of them, as a share.
    fn straggling(&self, chips: f64) -> f64 {
        let _ = chips;
        0.0
    }
}
