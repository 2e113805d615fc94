//! The bound nothing can beat: every operator at the datasheet's peak, every link at line rate, no latency.
//!
//! Bytes that must move are weights and cache, read once; activations may stay on the chip from one operator to the next.

use super::operators::{Basis, Collectives, Evidence, Operators};
use super::tally::Family;
use crate::ops::attention_indexer::IndexScores;
use crate::ops::{AttentionDecode, AttentionPrefill, Bound, Gemm, GroupedMoe, OpCost, Precision};
use hardware::{Chip, Domain, Rank, System, Topology};
use model::{Linear, StateSpace};
use units::{Bytes, Dtype, Flop, Seconds};

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
            scored(precision),
        )
    }

    fn decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        let context = op.window.map_or(op.context, |window| op.context.min(window));
        let pairs = op.batch * op.queries * context;
        self.roofline(
            2.0 * pairs * op.heads * (op.qk_dim + op.v_dim),
            op.batch * context * op.kv_heads * op.kv_dim * precision.weight.bytes(),
            scored(precision),
        )
    }
}

/// The format scores are multiplied in at best: queries may be cast to that of the cache.
fn scored(precision: Precision) -> Dtype {
    if precision.weight.bytes() < precision.activation.bytes() {
        precision.weight
    } else {
        precision.activation
    }
}

/// Matrix units that take 4-bit operands are fed microscaled 8-bit activations with them.
pub(super) fn as_multiplied(rank: &Rank, precision: Precision) -> Precision {
    let narrow = rank.matrix.contains_key(&Dtype::Nvfp4) || rank.matrix.contains_key(&Dtype::Mxfp4);
    let widened = precision == Precision { weight: Dtype::Mxfp4, activation: Dtype::Bf16 };
    if narrow && widened { Precision { activation: Dtype::Mxfp8, ..precision } } else { precision }
}

impl Operators for IdealOperators {
    fn gemm(&self, op: Gemm, precision: Precision) -> OpCost {
        let weights = op.k * op.n * precision.weight.bytes();
        self.roofline(2.0 * op.m * op.n * op.k, weights, precision.activation)
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
        let precision = as_multiplied(&self.rank, precision);
        self.roofline(
            2.0 * op.local_rows * size,
            op.active_experts * size * precision.weight.bytes(),
            precision.activation,
        )
    }

    fn elementwise(&self, bytes: Bytes) -> OpCost {
        self.roofline(0.0, bytes.get(), Dtype::Bf16)
    }

    fn linear_attention(&self, op: &Linear, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        let state = f64::from(op.v_heads) * f64::from(op.k_head_dim) * f64::from(op.v_head_dim) / shard;
        self.roofline(6.0 * tokens * state, sequences * state * 4.0, Dtype::Bf16)
    }

    fn state_space(&self, op: &StateSpace, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        let state = f64::from(op.heads) * f64::from(op.head_dim) * f64::from(op.state) / shard;
        self.roofline(6.0 * tokens * state, sequences * state * 4.0, Dtype::Bf16)
    }

    fn indexer(&self, op: IndexScores) -> OpCost {
        let flop = 2.0 * op.heads * op.head_dim * op.queries * op.context;
        self.roofline(flop, op.sequences * op.head_dim * op.context, Dtype::Fp8)
    }

    fn evidence(&self, _: Family) -> Evidence {
        Evidence { basis: Basis::Generic, rows: 0, sigma: 0.0 }
    }
}

/// Line-rate prices between the ranks of one instance: what any algorithm has to send over the ports of a rank into each
/// domain, all domains at once.
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

    /// The longest over the domains of a group of what `sent` says that one rank sends into a domain, given the parts of
    /// the group that it joins and the ranks in each.
    fn longest(&self, group: u32, sent: impl Fn(&Domain, f64, f64) -> f64) -> OpCost {
        let group = f64::from(group.max(1));
        let (mut time, mut most) = (0.0_f64, 0.0_f64);
        let mut inside = 1.0_f64;
        for domain in &self.system.domains {
            let held = domain.ranks.map_or(group, |ranks| f64::from(ranks).min(group)).max(inside);
            if held > inside {
                let bytes = sent(domain, held / inside, inside);
                time = time.max(bytes / domain.bandwidth.value.get());
                most = most.max(bytes);
            }
            inside = held;
        }
        if inside < group
            && let Some(last) = self.system.domains.last()
        {
            let bytes = sent(last, group / inside, inside);
            time = time.max(bytes / last.bandwidth.value.get());
            most = most.max(bytes);
        }
        OpCost { time: Seconds::new(time), bound: Bound::Network, flop: Flop::ZERO, bytes: Bytes::new(most) }
    }

    /// Tokens to (or from) experts: a part of the group gets one copy of a token however many of its experts want it.
    fn exchange(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        self.longest(group, |_, parts, _| {
            let reached = (parts - 1.0) * (1.0 - (1.0 - 1.0 / parts).powf(topk));
            tokens * token_bytes.get() * reached
        })
    }
}

impl Collectives for IdealCollectives {
    fn all_reduce(&self, bytes: Bytes, group: u32) -> OpCost {
        self.longest(group, |domain, parts, inside| {
            let reduces = matches!(domain.topology, Topology::Switch { in_network_reduction: true });
            // A ring sends its share twice; a switch that reduces takes each byte once and returns it.
            let factor = if reduces { 1.0 } else { 2.0 * (1.0 - 1.0 / parts) };
            bytes.get() / inside * factor
        })
    }

    fn all_gather(&self, bytes: Bytes, group: u32) -> OpCost {
        self.longest(group, |_, parts, inside| bytes.get() / inside * (1.0 - 1.0 / parts))
    }

    fn dispatch(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        self.exchange(tokens, topk, token_bytes, group)
    }

    fn combine(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        self.exchange(tokens, topk, token_bytes, group)
    }

    fn send(&self, bytes: Bytes, stage: u32) -> OpCost {
        let reach = stage.saturating_mul(2).max(self.ranks_per_package);
        let fastest =
            self.system.domains.iter().take_while(|domain| domain.ranks.is_none_or(|held| held < reach));
        let within = self.system.domain_for(reach).bandwidth.value;
        let bandwidth =
            fastest.map(|domain| domain.bandwidth.value).fold(within, |a, b| if b > a { b } else { a });
        OpCost { time: bytes / bandwidth, bound: Bound::Network, flop: Flop::ZERO, bytes }
    }

    fn evidence(&self) -> Evidence {
        Evidence { basis: Basis::Generic, rows: 0, sigma: 0.0 }
    }
}
