//! Token mixing in a step: attention over what is cached and what is new, and scans.

use super::plan::{MixPlan, SoftmaxPlan};
use super::step_model::{Load, StepModel};
use super::tally::{Family, Tally};
use crate::ops::attention_indexer::IndexScores;
use crate::ops::{AttentionDecode, AttentionPrefill, Precision};
use units::Dtype;

/// Queries that an indexer scores against the contexts of their sequences.
struct Scored {
    queries: f64,
    context: f64,
    sequences: f64,
}

impl StepModel {
    /// Adds `count` layers of one kind of mixing.
    pub(super) fn mix(&self, mix: &MixPlan, count: f64, load: &Load, tally: &mut Tally) {
        match mix {
            MixPlan::Softmax(softmax) => {
                self.softmax_decode(softmax, count, load, tally);
                self.softmax_prefill(softmax, count, load, tally);
            }
            MixPlan::Linear(linear) => {
                let shard = f64::from(self.deployment.layout.tp);
                for (sequences, tokens) in self.scans(load) {
                    let cost = self.operators.linear_attention(linear, sequences, tokens, shard);
                    tally.add(Family::Attention, cost, count);
                }
            }
            MixPlan::StateSpace(ssm) => {
                let shard = f64::from(self.deployment.layout.tp);
                for (sequences, tokens) in self.scans(load) {
                    tally.add(
                        Family::Attention,
                        self.operators.state_space(ssm, sequences, tokens, shard),
                        count,
                    );
                }
            }
            MixPlan::None => {}
        }
    }

    /// (sequences, tokens) of the decoding and of the prefilling part of a step, the empty ones left out.
    fn scans(&self, load: &Load) -> impl Iterator<Item = (f64, f64)> {
        [(load.decode_seqs, load.decode_tokens), (load.prefill_seqs, load.prefill_tokens)]
            .into_iter()
            .filter(|(sequences, tokens)| *sequences > 0.0 && *tokens > 0.0)
    }

    fn softmax_decode(&self, softmax: &SoftmaxPlan, count: f64, load: &Load, tally: &mut Tally) {
        if load.decode_seqs <= 0.0 {
            return;
        }
        // A plain window goes to the operator; a folded or selected past is a shorter context to it.
        let plain = softmax.fold.is_none() && softmax.indexer.is_none();
        let op = AttentionDecode {
            batch: load.decode_seqs,
            queries: self.queries,
            context: if plain { load.context } else { softmax.read(load.context) },
            heads: softmax.heads,
            kv_heads: softmax.kv_heads,
            qk_dim: softmax.qk_dim,
            v_dim: softmax.v_dim,
            kv_dim: softmax.kv_dim,
            window: if plain { softmax.window } else { None },
        };
        let (queries, context) = (load.decode_tokens, load.context);
        self.score(softmax, count, Scored { queries, context, sequences: load.decode_seqs }, tally);
        let cost = if softmax.latent {
            self.operators.mla_decode(absorbed(softmax, op), softmax.precision)
        } else {
            self.operators.attention_decode(op, softmax.precision)
        };
        tally.add(Family::Attention, cost, count);
    }

    /// The indexer in front of a sparse attention.
    fn score(&self, softmax: &SoftmaxPlan, count: f64, scored: Scored, tally: &mut Tally) {
        let Some(indexer) = softmax.indexer.as_ref().filter(|indexer| !indexer.shared) else { return };
        let cost = self.operators.indexer(IndexScores {
            queries: scored.queries,
            context: softmax.scored(scored.context),
            sequences: scored.sequences,
            heads: f64::from(indexer.heads),
            head_dim: f64::from(indexer.head_dim),
        });
        tally.add(Family::Attention, cost, count);
    }

    fn softmax_prefill(&self, softmax: &SoftmaxPlan, count: f64, load: &Load, tally: &mut Tally) {
        if load.prefill_seqs <= 0.0 || load.prefill_tokens <= 0.0 {
            return;
        }
        let (new, past) = (load.prefill_tokens / load.prefill_seqs, load.prefill_past / load.prefill_seqs);
        let mean = past + new / 2.0;
        let plain = softmax.fold.is_none() && softmax.indexer.is_none();
        let read = softmax.read(mean);
        let op = AttentionPrefill {
            batch: load.prefill_seqs,
            new_tokens: new,
            past_tokens: past,
            heads: softmax.heads,
            kv_heads: if softmax.latent && !softmax.decode_products.is_empty() {
                softmax.heads
            } else {
                softmax.kv_heads
            },
            qk_dim: softmax.qk_dim,
            v_dim: softmax.v_dim,
            window: if plain { softmax.window } else { (read < mean).then_some(read) },
        };
        let (queries, sequences) = (load.prefill_tokens, load.prefill_seqs);
        self.score(softmax, count, Scored { queries, context: mean, sequences }, tally);
        let precision = Precision { activation: Dtype::Bf16, ..softmax.precision };
        let cost = if softmax.latent {
            self.operators.mla_prefill(op, precision)
        } else {
            self.operators.attention_prefill(op, precision)
        };
        tally.add(Family::Attention, cost, count);
    }
}

/// Latent attention as its kernel sees it: queries as wide as what is cached, values as wide as the latent.
fn absorbed(softmax: &SoftmaxPlan, op: AttentionDecode) -> AttentionDecode {
    let v_dim = softmax.decode_products.last().map_or(softmax.v_dim, |product| product.k);
    AttentionDecode { qk_dim: softmax.kv_dim, v_dim, ..op }
}
