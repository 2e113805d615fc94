//! What physics asks of every price: bytes that must move over bandwidth, operations over peak, wire time.
//!
//! Coefficients are fitted one by one and carried to other chips and sizes, where a share of peak that fits its own rows
//! may come out above one. Whatever prices an operator, a step pays at least its bound.

use super::ideal::{IdealCollectives, IdealOperators};
use super::operators::{Collectives, Evidence, Operators};
use super::tally::Family;
use crate::ops::attention_indexer::IndexScores;
use crate::ops::{AttentionDecode, AttentionPrefill, Gemm, GroupedMoe, OpCost, Precision};
use model::{Linear, StateSpace};
use std::sync::Arc;
use units::Bytes;

fn at_least(cost: OpCost, bound: OpCost) -> OpCost {
    if bound.time > cost.time { OpCost { time: bound.time, bound: bound.bound, ..cost } } else { cost }
}

/// Operator prices that are never below their bound.
pub(super) struct BoundedOperators {
    pub(super) priced: Arc<dyn Operators>,
    pub(super) bound: IdealOperators,
}

impl Operators for BoundedOperators {
    fn gemm(&self, op: Gemm, precision: Precision) -> OpCost {
        at_least(self.priced.gemm(op, precision), self.bound.gemm(op, precision))
    }

    fn attention_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        at_least(self.priced.attention_prefill(op, precision), self.bound.attention_prefill(op, precision))
    }

    fn attention_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        at_least(self.priced.attention_decode(op, precision), self.bound.attention_decode(op, precision))
    }

    fn mla_prefill(&self, op: AttentionPrefill, precision: Precision) -> OpCost {
        at_least(self.priced.mla_prefill(op, precision), self.bound.mla_prefill(op, precision))
    }

    fn mla_decode(&self, op: AttentionDecode, precision: Precision) -> OpCost {
        at_least(self.priced.mla_decode(op, precision), self.bound.mla_decode(op, precision))
    }

    fn moe(&self, op: GroupedMoe, precision: Precision) -> OpCost {
        at_least(self.priced.moe(op, precision), self.bound.moe(op, precision))
    }

    fn elementwise(&self, bytes: Bytes) -> OpCost {
        at_least(self.priced.elementwise(bytes), self.bound.elementwise(bytes))
    }

    fn linear_attention(&self, op: &Linear, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        at_least(
            self.priced.linear_attention(op, sequences, tokens, shard),
            self.bound.linear_attention(op, sequences, tokens, shard),
        )
    }

    fn state_space(&self, op: &StateSpace, sequences: f64, tokens: f64, shard: f64) -> OpCost {
        at_least(
            self.priced.state_space(op, sequences, tokens, shard),
            self.bound.state_space(op, sequences, tokens, shard),
        )
    }

    fn indexer(&self, op: IndexScores) -> OpCost {
        at_least(self.priced.indexer(op), self.bound.indexer(op))
    }

    fn evidence(&self, family: Family) -> Evidence {
        self.priced.evidence(family)
    }
}

/// Prices of communication that are never below line rate.
pub(super) struct BoundedCollectives {
    pub(super) priced: Arc<dyn Collectives>,
    pub(super) bound: IdealCollectives,
}

impl Collectives for BoundedCollectives {
    fn all_reduce(&self, bytes: Bytes, group: u32) -> OpCost {
        at_least(self.priced.all_reduce(bytes, group), self.bound.all_reduce(bytes, group))
    }

    fn all_gather(&self, bytes: Bytes, group: u32) -> OpCost {
        at_least(self.priced.all_gather(bytes, group), self.bound.all_gather(bytes, group))
    }

    fn dispatch(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        at_least(
            self.priced.dispatch(tokens, topk, token_bytes, group),
            self.bound.dispatch(tokens, topk, token_bytes, group),
        )
    }

    fn combine(&self, tokens: f64, topk: f64, token_bytes: Bytes, group: u32) -> OpCost {
        at_least(
            self.priced.combine(tokens, topk, token_bytes, group),
            self.bound.combine(tokens, topk, token_bytes, group),
        )
    }

    fn send(&self, bytes: Bytes, stage: u32) -> OpCost {
        at_least(self.priced.send(bytes, stage), self.bound.send(bytes, stage))
    }

    fn evidence(&self) -> Evidence {
        self.priced.evidence()
    }
}
