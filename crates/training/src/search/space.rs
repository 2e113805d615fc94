//! The layouts a search covers.

use crate::job::{ContextMethod, Job, Offload, Recompute, Zero};
use crate::schedule::Schedule;
use crate::stages::EDGES;
use hardware::System;
use model::Ffn;

/// The values each knob may take; what does not go together is skipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// Ranks to use.
    pub ranks: u32,
    /// Whether fewer ranks may be used, the rest idle: the next multiples of 8, 64 and 512 below.
    pub at_most: bool,
    /// Tensor parallel sizes.
    pub tp: Vec<u32>,
    /// Pipeline sizes.
    pub pp: Vec<u32>,
    /// Virtual pipeline sizes.
    pub vpp: Vec<u32>,
    /// Context parallel sizes.
    pub cp: Vec<u32>,
    /// Expert parallel sizes.
    pub ep: Vec<u32>,
    /// Micro-batch sizes.
    pub micro: Vec<u32>,
    /// Recomputation.
    pub recompute: Vec<Recompute>,
    /// Sharding.
    pub zero: Vec<Zero>,
    /// Sequence parallelism.
    pub sequence_parallel: Vec<bool>,
    /// Plain schedules besides interleaving.
    pub schedules: Vec<Schedule>,
    /// What lives on the host.
    pub offload: Vec<Offload>,
    /// Methods of context parallelism.
    pub context: Vec<ContextMethod>,
}

impl Space {
    /// Every sensible value of every knob for `job` on `ranks` ranks of `system`: tensor parallelism within the largest
    /// scale-up domain, any number of stages up to the layers.
    pub fn all(job: &Job, system: &System, ranks: u32, at_most: bool) -> Self {
        let layers = job.layers();
        let heads = job.model.layers.iter().filter_map(heads_of).min().unwrap_or(1);
        let domains = system.domains.len();
        let scale_up =
            system.domains[..domains.saturating_sub(1)].iter().filter_map(|domain| domain.ranks).max();
        let scale_up = scale_up.unwrap_or(8);
        let experts = job.model.layers.iter().find_map(|group| match &group.ffn {
            Ffn::Moe(moe) => Some(moe.experts),
            _ => None,
        });
        let divisors =
            |value: u32, limit: u32| (1..=value.min(limit)).filter(|d| value % d == 0).collect::<Vec<_>>();
        let offload = |optimizer, activations| Offload { optimizer, activations };
        Self {
            ranks,
            at_most,
            tp: divisors(heads, scale_up),
            pp: (1..=layers.min(ranks)).collect(),
            vpp: divisors(layers + EDGES, layers)
                .into_iter()
                .chain(divisors(layers, layers))
                .chain([1])
                .collect(),
            cp: divisors(job.batch.seq, 16).into_iter().filter(|cp| cp.is_power_of_two()).collect(),
            ep: experts.map_or(vec![1], |experts| divisors(experts, ranks)),
            micro: (1..=32).collect(),
            recompute: vec![Recompute::None, Recompute::Selective, Recompute::Full],
            zero: vec![Zero::None, Zero::Optimizer, Zero::Gradients, Zero::Weights],
            sequence_parallel: vec![true, false],
            schedules: vec![Schedule::OneFOneB, Schedule::ZeroBubbleH1, Schedule::GPipe, Schedule::DualPipe],
            offload: vec![
                offload(false, false),
                offload(true, false),
                offload(false, true),
                offload(true, true),
            ],
            context: vec![ContextMethod::Ring, ContextMethod::Ulysses],
        }
        .sorted()
    }

    /// Numbers of ranks to cut the job over, all of them first.
    pub(super) fn rank_counts(&self) -> Vec<u32> {
        let mut counts = vec![self.ranks];
        if self.at_most {
            let rounded = [8, 64, 512].map(|unit| self.ranks / unit * unit);
            counts.extend(rounded.into_iter().filter(|count| *count > 0));
            counts.dedup();
        }
        counts
    }

    fn sorted(mut self) -> Self {
        for list in [&mut self.vpp, &mut self.tp, &mut self.ep] {
            list.sort_unstable();
            list.dedup();
        }
        self
    }
}

fn heads_of(group: &model::LayerGroup) -> Option<u32> {
    match &group.attention {
        model::Attention::MultiHead(attention) => Some(attention.heads),
        model::Attention::Mla(attention) => Some(attention.heads),
        _ => None,
    }
}
