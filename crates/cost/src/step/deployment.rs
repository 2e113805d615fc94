//! A model on a set of ranks: the parallel layout, the formats, and what the engine is told.

use hardware::{Chip, Engine, System};
use model::Model;
use std::sync::Arc;

/// Parallel sizes of one instance, in ranks.
///
/// Attention is sharded over `tp` ranks and replicated over `dp`; `pp` stages follow each other. The experts of a
/// layer live on the `tp * dp` ranks of a stage: `ep` groups of experts, each expert cut over `moe_tp` ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Layout {
    /// Tensor-parallel ranks of attention and dense layers.
    pub tp: u32,
    /// Pipeline stages.
    pub pp: u32,
    /// Attention data-parallel ranks: each owns its sequences, all step together.
    pub dp: u32,
    /// Expert-parallel ranks.
    pub ep: u32,
    /// Tensor-parallel ranks of one expert.
    pub moe_tp: u32,
    /// Expert replicas beyond one of each, over the whole expert-parallel group.
    pub redundant_experts: u32,
}

/// Why sizes do not make a layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A size is zero.
    #[error("`{0}` must be at least 1")]
    Zero(&'static str),
    /// Expert sizes do not cover the attention ranks.
    #[error(
        "`ep` {ep} x `moe_tp` {moe_tp} must equal `tp` {tp} x `dp` {dp} (the ranks that hold the experts); \
         for all ranks use `ep` {all} `moe_tp` 1"
    )]
    Experts {
        /// As given.
        ep: u32,
        /// As given.
        moe_tp: u32,
        /// As given.
        tp: u32,
        /// As given.
        dp: u32,
        /// Their product.
        all: u64,
    },
    /// More expert-parallel ranks than experts and replicas.
    #[error(
        "`ep` {ep} is more than the {experts} experts of the model plus {redundant} redundant ones; \
         lower `ep` or raise `redundant_experts` to {needed}"
    )]
    TooManyExpertRanks {
        /// As given.
        ep: u32,
        /// Of the model.
        experts: u32,
        /// As given.
        redundant: u32,
        /// What would do.
        needed: u32,
    },
    /// More pipeline stages than layers.
    #[error("`pp` {pp} is more than the model's {layers} layers; lower `pp`")]
    Stages {
        /// As given.
        pp: u32,
        /// Of the model.
        layers: u32,
    },
    /// More tensor-parallel ranks than attention heads.
    #[error("`tp` {tp} is more than the model's {heads} attention heads; lower `tp` or use `dp`")]
    Heads {
        /// As given.
        tp: u32,
        /// Of the model.
        heads: u32,
    },
}

impl Layout {
    /// One rank.
    pub const SINGLE: Self = Self { tp: 1, pp: 1, dp: 1, ep: 1, moe_tp: 1, redundant_experts: 0 };

    /// Tensor parallelism only, experts cut like everything else.
    pub const fn tensor(tp: u32) -> Self {
        Self { tp, moe_tp: tp, ..Self::SINGLE }
    }

    /// Data-parallel attention over `dp` ranks with each expert whole on one of them.
    pub const fn wide_expert(dp: u32) -> Self {
        Self { dp, ep: dp, ..Self::SINGLE }
    }

    /// Ranks of the instance.
    pub const fn ranks(&self) -> u32 {
        self.tp * self.pp * self.dp
    }

    /// Checks the sizes against each other and against the model.
    pub fn check(&self, model: &Model) -> Result<(), LayoutError> {
        for (name, size) in
            [("tp", self.tp), ("pp", self.pp), ("dp", self.dp), ("ep", self.ep), ("moe_tp", self.moe_tp)]
        {
            if size == 0 {
                return Err(LayoutError::Zero(name));
            }
        }
        let layers: u32 = model.layers.iter().map(|group| group.count).sum();
        if self.pp > layers {
            return Err(LayoutError::Stages { pp: self.pp, layers });
        }
        let heads = model.layers.iter().filter_map(|group| attention_heads(&group.attention)).min();
        if let Some(heads) = heads
            && self.tp > heads
        {
            return Err(LayoutError::Heads { tp: self.tp, heads });
        }
        let experts = model.layers.iter().find_map(|group| match &group.ffn {
            model::Ffn::Moe(moe) => Some(moe.experts),
            _ => None,
        });
        if let Some(experts) = experts {
            self.check_experts(experts)?;
        }
        Ok(())
    }

    fn check_experts(&self, experts: u32) -> Result<(), LayoutError> {
        let all = u64::from(self.tp) * u64::from(self.dp);
        if u64::from(self.ep) * u64::from(self.moe_tp) != all {
            return Err(LayoutError::Experts {
                ep: self.ep,
                moe_tp: self.moe_tp,
                tp: self.tp,
                dp: self.dp,
                all,
            });
        }
        if self.ep > experts.saturating_add(self.redundant_experts) {
            return Err(LayoutError::TooManyExpertRanks {
                ep: self.ep,
                experts,
                redundant: self.redundant_experts,
                needed: self.ep - experts,
            });
        }
        Ok(())
    }
}

fn attention_heads(attention: &model::Attention) -> Option<u32> {
    match attention {
        model::Attention::MultiHead(heads) => Some(heads.heads),
        model::Attention::Mla(mla) => Some(mla.heads),
        _ => None,
    }
}

/// Speculative decoding with drafts from the model's own multi-token-prediction module, or one like it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Draft tokens verified per step.
    pub tokens: u32,
    /// Mean share of them that is accepted, 0..1.
    pub acceptance: f64,
}

impl Speculation {
    /// Plain decoding.
    pub const NONE: Self = Self { tokens: 0, acceptance: 0.0 };

    /// Mean share of `tokens` drafts accepted where each is accepted with chance `each` after those before it were.
    pub fn accepted_share(tokens: u32, each: f64) -> f64 {
        let chain: f64 = (1..=tokens).map(|length| each.powi(length as i32)).sum();
        if tokens == 0 { 0.0 } else { chain / f64::from(tokens) }
    }

    /// Tokens a sequence gains per step.
    pub fn tokens_per_step(&self) -> f64 {
        1.0 + f64::from(self.tokens) * self.acceptance
    }
}

/// Everything that fixes what a step costs, except its shape.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// What runs, with its formats resolved.
    pub model: Arc<Model>,
    /// On which chip.
    pub chip: Arc<Chip>,
    /// In which system.
    pub system: Arc<System>,
    /// Under which engine.
    pub engine: Arc<Engine>,
    /// Cut how.
    pub layout: Layout,
    /// Drafting.
    pub speculation: Speculation,
    /// Replaces the engine's usual expert skew (0 for forced balance).
    pub expert_skew: Option<f64>,
    /// Whether two micro-batches overlap communication with computation.
    pub micro_batches: bool,
}
