//! The parts of a step that depend on one token count each, and the draft module.

use super::plan::{ExpertPlan, LayerPlan, MixPlan, Product, SoftmaxPlan};
use super::step_model::{Load, StepModel};
use super::table::Position;
use super::tally::{Family, Tally};
use crate::ops::{Gemm, GroupedMoe};
use crate::routing;
use units::{Bytes, Dtype};

impl StepModel {
    fn product(&self, product: &Product, tokens: f64, count: f64, tally: &mut Tally) {
        let cost = self.operators.gemm(Gemm { m: tokens, n: product.n, k: product.k }, product.precision);
        tally.add(product.family, cost, count);
    }

    fn linear_layer(&self, layer: &LayerPlan, tokens: f64, tally: &mut Tally) {
        for product in &layer.products {
            self.product(product, tokens, layer.count, tally);
        }
        let moved = self.operators.elementwise(Bytes::new(layer.elementwise_bytes * tokens));
        tally.add(Family::Elementwise, moved, layer.count);
        let row = Bytes::new(tokens * self.plan.hidden * Dtype::Bf16.bytes());
        let tp = self.deployment.layout.tp;
        if tp > 1 && layer.reductions > 0.0 {
            tally.add(
                Family::Collective,
                self.collectives.all_reduce(row, tp),
                layer.count * layer.reductions,
            );
        }
    }

    /// Everything that depends on the tokens of this rank alone.
    pub(super) fn linear_at(&self, tokens: f64) -> Tally {
        let mut tally = Tally::default();
        if tokens == 0.0 {
            return tally;
        }
        for layer in &self.plan.layers {
            self.linear_layer(layer, tokens, &mut tally);
        }
        self.norm_reductions(tokens, &mut tally);
        let stages = self.deployment.layout.pp;
        if stages > 1 {
            let row = Bytes::new(tokens * self.plan.hidden * Dtype::Bf16.bytes());
            let ranks = self.deployment.layout.tp * self.deployment.layout.dp;
            tally.add(Family::Collective, self.collectives.send(row, ranks), f64::from(stages - 1));
        }
        tally
    }

    /// A norm over heads that lie on several ranks sums the squares of queries and keys, two numbers a token, over them.
    fn norm_reductions(&self, tokens: f64, tally: &mut Tally) {
        let layers = self.plan.layers.iter().filter(|layer| layer.norm_reduction);
        let count: f64 = layers.map(|layer| layer.count).sum();
        let tp = self.deployment.layout.tp;
        if tp > 1 && count > 0.0 {
            let sums = Bytes::new(tokens * 2.0 * Dtype::Fp32.bytes());
            tally.add(Family::Collective, self.collectives.all_reduce(sums, tp), count);
        }
    }

    fn softmax_layers(&self) -> impl Iterator<Item = (&SoftmaxPlan, f64)> {
        self.plan.layers.iter().filter_map(|layer| match &layer.mix {
            MixPlan::Softmax(softmax) => Some((softmax, layer.count)),
            _ => None,
        })
    }

    pub(super) fn absorb_at(&self, tokens: f64) -> Tally {
        let mut tally = Tally::default();
        if tokens > 0.0 {
            for (softmax, count) in self.softmax_layers() {
                for product in &softmax.decode_products {
                    self.product(product, tokens, count, &mut tally);
                }
            }
        }
        tally
    }

    pub(super) fn expand_at(&self, tokens: f64) -> Tally {
        let mut tally = Tally::default();
        if tokens > 0.0 {
            for (softmax, count) in self.softmax_layers() {
                for product in &softmax.expand_products {
                    self.product(product, tokens, count, &mut tally);
                }
            }
        }
        tally
    }

    pub(super) fn head_at(&self, rows: f64) -> Tally {
        let mut tally = Tally::default();
        if rows == 0.0 {
            return tally;
        }
        self.product(&self.plan.head, rows, 1.0, &mut tally);
        let tp = self.deployment.layout.tp;
        let logits = rows * f64::from(self.deployment.model.vocab);
        if tp > 1 {
            let gathered = self.collectives.all_gather(Bytes::new(logits * 2.0), tp);
            tally.add(Family::Collective, gathered, 1.0);
        }
        // Sampling reads the logits about twice in single precision.
        tally.add(Family::Head, self.operators.elementwise(Bytes::new(logits * 8.0)), 1.0);
        tally
    }

    fn expert_layer(&self, experts: &ExpertPlan, count: f64, total: f64, tally: &mut Tally) {
        let ep = f64::from(self.deployment.layout.ep);
        // Chance and popularity are independent reasons for one rank to be busier than the mean.
        let chance = routing::busiest::chance(total, experts.experts, experts.topk, ep);
        let skew = if self.deployment.layout.ep > 1 { 1.0 + (chance - 1.0).hypot(self.skew) } else { 1.0 };
        let rows = (total * experts.topk / ep * skew).min(total * experts.topk);
        // After a dispatch a rank sees the tokens sent to it; without one, all of them.
        let tokens = if self.deployment.layout.dp > 1 { rows / experts.topk } else { total };
        let op = GroupedMoe {
            tokens,
            topk: experts.topk,
            experts: experts.experts,
            local_experts: experts.local_experts,
            local_rows: rows,
            active_experts: routing::touched_unequally(rows, experts.local_experts, self.spread),
            spread: self.spread,
            hidden: experts.hidden,
            intermediate: experts.intermediate,
            gated: experts.gated,
        };
        tally.add(Family::Experts, self.operators.moe(op, experts.precision), count);
    }

    /// Routed experts, by the tokens of all data-parallel ranks.
    pub(super) fn experts_at(&self, total: f64) -> Tally {
        let mut tally = Tally::default();
        if total > 0.0 {
            for layer in &self.plan.layers {
                if let Some(experts) = &layer.experts {
                    self.expert_layer(experts, layer.count, total, &mut tally);
                }
            }
        }
        tally
    }

    /// Communication around the experts of one layer.
    fn exchange_layer(&self, experts: &ExpertPlan, count: f64, total: f64, tally: &mut Tally) {
        let layout = &self.deployment.layout;
        let group = layout.tp * layout.dp;
        if group == 1 {
            return;
        }
        let per_token = Bytes::new(experts.hidden * Dtype::Bf16.bytes());
        if layout.dp == 1 {
            // Every rank holds every token: each adds its experts' share and one all-reduce sums them.
            tally.add(Family::Collective, self.collectives.all_reduce(per_token * total, group), count);
            return;
        }
        let mine = total / f64::from(group);
        let sent = Bytes::new(experts.hidden * experts.precision.activation.bytes());
        tally.add(Family::Dispatch, self.collectives.dispatch(mine, experts.topk, sent, group), count);
        tally.add(Family::Dispatch, self.collectives.combine(mine, experts.topk, per_token, group), count);
    }

    pub(super) fn exchange_at(&self, total: f64) -> Tally {
        let mut tally = Tally::default();
        if total > 0.0 {
            for layer in &self.plan.layers {
                if let Some(experts) = &layer.experts {
                    self.exchange_layer(experts, layer.count, total, &mut tally);
                }
            }
        }
        tally
    }

    /// The draft module, if drafts are made: once over everything the step prefills or verifies, and once more per further
    /// draft token.
    pub(super) fn draft(&self, load: &Load) -> Option<Tally> {
        let layer = self.plan.draft.as_ref().filter(|_| self.deployment.speculation.tokens > 0)?;
        let mut tally = Tally::default();
        self.draft_layer(layer, load, &mut tally);
        Some(tally)
    }

    fn draft_layer(&self, layer: &LayerPlan, load: &Load, tally: &mut Tally) {
        let rounds = f64::from(self.deployment.speculation.tokens);
        let linear = |tokens: f64| {
            let mut tally = Tally::default();
            if tokens > 0.0 {
                self.linear_layer(layer, tokens, &mut tally);
                if let MixPlan::Softmax(softmax) = &layer.mix {
                    for product in &softmax.decode_products {
                        self.product(product, tokens, layer.count, &mut tally);
                    }
                }
            }
            tally
        };
        let experts = |total: f64| {
            let mut tally = Tally::default();
            if let Some(experts) = layer.experts.as_ref().filter(|_| total > 0.0) {
                self.expert_layer(experts, layer.count, total, &mut tally);
                self.exchange_layer(experts, layer.count, total, &mut tally);
            }
            tally
        };
        let once = Load { decode_tokens: load.decode_seqs, prefill_tokens: 0.0, prefill_seqs: 0.0, ..*load };
        let decoding = Position::of(load.decode_seqs);
        self.tables.draft_linear.add(tally, rounds, decoding, linear);
        self.tables.draft_experts.add(tally, rounds, Position::of(load.total_decode_seqs), experts);
        self.tables.head.add(tally, rounds, decoding, |rows| self.head_at(rows));
        self.mix(&layer.mix, layer.count * rounds, &once, tally);
        if load.prefill_tokens > 0.0 {
            let prompts = Load { decode_seqs: 0.0, decode_tokens: 0.0, ..*load };
            self.tables.draft_linear.add(tally, 1.0, Position::of(load.prefill_tokens), linear);
            self.tables.draft_experts.add(tally, 1.0, Position::of(load.total_tokens), experts);
            self.mix(&layer.mix, layer.count, &prompts, tally);
        }
    }
}
