//! The bound nothing can beat: every operator at the datasheet's peak, every link at line rate, no latency.

use super::operators::{Basis, Collectives, Evidence, Operators};
use super::tally::Family;
use crate::ops::attention_indexer::IndexScores;
use crate::ops::{AttentionDecode, AttentionPrefill, Bound, Gemm, GroupedMoe, OpCost, Precision};
use hardware::{Chip, Rank, System};
use model::{Linear, StateSpace};
use units::{Bytes, BytesPerSecond, Dtype, Flop, Seconds};

/// Roofline prices on one rank.
#[derive(Debug, Clone)]
pub struct IdealOperators {
    rank: Rank,
}

impl IdealOperators {
    /// For one rank of a chip.
    pub fn new(rank: &Rank) -> Self {
        Self { rank: rank.clone() }
    }

    fn roofline(&self, flop: f64, bytes: f64, format: Dtype) -> OpCost {
        let (flop, bytes) = (Flop::new(flop), Bytes::new(bytes));
        let memory = bytes / self.rank.bandwidth.value;
        let compute = self.rank.peak(format).map_or(Seconds::ZERO, |peak| flop / peak);
        let bound = if compute > memory { Bound::Compute } else { Bound::Memory };
        OpCost { time: compute.max(memory), bound, flop, bytes }
    }

    fn prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        let seen = op.past_tokens + op.new_tokens / 2.0;
        let seen = op.window.map_or(seen, |window| seen.min(window));
        let pairs = op.batch * op.new_tokens * seen;
        let cached = op.batch * (op.past_tokens + op.new_tokens) * op.kv_heads * (op.qk_dim + op.v_dim);
        self.roofline(
            2.0 * pairs * op.heads * (op.qk_dim + op.v_dim),
            cached * precision.weight.bytes(),
            precision.activation,
        )
    }

    fn decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        let context = op.window.map_or(op.context, |window| op.context.min(window));
        let pairs = op.batch * op.queries * context;
        self.roofline(
            2.0 * pairs * op.heads * (op.qk_dim + op.v_dim),
            op.batch * context * op.kv_heads * op.kv_dim * precision.weight.bytes(),
            precision.activation,
        )
    }
}

impl Operators for IdealOperators {
    fn gemm(&self, op: Gemm, precision: Precision) -> OpCost {
        let moved = op.k * op.n * precision.weight.bytes()
            + op.m * op.k * precision.activation.bytes()
            + op.m * op.n * Dtype::Bf16.bytes();
        self.roofline(2.0 * op.m * op.n * op.k, moved, precision.activation)
    }

    fn attention_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        self.prefill(op, precision)
    }

    fn attention_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        self.decode(op, precision)
    }

    fn mla_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        self.prefill(op, precision)
    }

    fn mla_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        self.decode(op, precision)
    }

    fn moe(&self, op: GroupedMoe, precision: Precision) -> OpCost {
        let matrices = if op.gated { 3.0 } else { 2.0 };
        let size = matrices * op.hidden * op.intermediate;
        let rows = op.local_rows * op.hidden * (precision.activation.bytes() + Dtype::Bf16.bytes());
        self.roofline(
            2.0 * op.local_rows * size,
            op.active_experts * size * precision.weight.bytes() + rows,
            precision.activation,
        )
    }

    fn elementwise(&self, bytes: Bytes) -> OpCost {
        self.roofline(0.0, bytes.get(), Dtype::Bf16)
    }

    fn linear_attention(&self, op: &Linear, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        let state = f64::from(op.v_heads) * f64::from(op.k_head_dim) * f64::from(op.v_head_dim) / shard;
        let rows = f64::from(2 * op.k_heads * op.k_head_dim + 2 * op.v_heads * op.v_head_dim) / shard;
        self.roofline(6.0 * tokens * state, sequences * state * 8.0 + tokens * rows * 2.0, Dtype::Bf16)
    }

    fn state_space(&self, op: &StateSpace, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        let state = f64::from(op.heads) * f64::from(op.head_dim) * f64::from(op.state) / shard;
        let rows = f64::from(2 * op.heads * op.head_dim + 2 * op.groups * op.state) / shard;
        self.roofline(6.0 * tokens * state, sequences * state * 8.0 + tokens * rows * 2.0, Dtype::Bf16)
    }

    fn indexer(&self, op: IndexScores) -> OpCost {
        let flop = 2.0 * op.heads * op.head_dim * op.queries * op.context;
        self.roofline(flop, op.sequences * op.head_dim * op.context, Dtype::Fp8)
    }

    fn evidence(&self, _: Family) -> Evidence {
        Evidence { basis: Basis::Generic, sigma: 0.0 }
    }
}

/// Line-rate prices between the ranks of one instance.
#[derive(Debug, Clone)]
pub struct IdealCollectives {
    system: System,
    ranks_per_package: u32,
}

impl IdealCollectives {
    /// For a chip in a system.
    pub fn new(system: &System, chip: &Chip) -> Self {
        Self { system: system.clone(), ranks_per_package: chip.ranks }
    }

    fn bandwidth(&self, group: u32) -> BytesPerSecond {
        self.system.domain_for(group.max(self.ranks_per_package)).bandwidth.value
    }

    fn wire(&self, bytes: Bytes, group: u32) -> OpCost {
        OpCost { time: bytes / self.bandwidth(group), bound: Bound::Network, flop: Flop::ZERO, bytes }
    }

    fn others(group: u32) -> f64 {
        1.0 - 1.0 / f64::from(group.max(1))
    }
}

impl Collectives for IdealCollectives {
    fn all_reduce(&self, bytes: Bytes, group: u32) -> OpCost {
        self.wire(bytes * 2.0 * Self::others(group), group)
    }

    fn all_gather(&self, bytes: Bytes, group: u32) -> OpCost {
        self.wire(bytes * Self::others(group), group)
    }

    fn dispatch(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        self.wire(token_bytes * tokens * topk * Self::others(group), group)
    }

    fn combine(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        self.wire(token_bytes * tokens * topk * Self::others(group), group)
    }

    fn send(&self, bytes: Bytes, stage: u32) -> OpCost {
        self.wire(bytes, stage.saturating_mul(2))
    }

    fn evidence(&self) -> Evidence {
        Evidence { basis: Basis::Generic, sigma: 0.0 }
    }
}
