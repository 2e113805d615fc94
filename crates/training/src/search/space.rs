//! The layouts a search covers.

use crate::capabilities::{Axis, Capabilities, OffloadName, RecomputeName, ScheduleName};
use crate::error::JobError;
use crate::job::{ContextMethod, Job, Offload, Recompute, Zero};
use crate::schedule::Schedule;
use crate::spec::{JobSpec, context_method};
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
    /// Whether a quarter, half or three quarters of a stage's layers may be computed again besides.
    pub recompute_parts: bool,
    /// Data parallel size, where it is set.
    pub dp: Option<u32>,
    /// Tensor parallel size of the experts, where it is set; else 1 with expert parallelism and that of the layers without.
    pub etp: Option<u32>,
    /// Layers of the first and of the last virtual stage, where they are set.
    pub edge_layers: (Option<u32>, Option<u32>),
    /// Whether the batch is the largest allowed instead of the one to have: each layout takes the largest below it that it
    /// divides, and is judged by its time per sequence.
    pub at_most_batch: bool,
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
            recompute_parts: true,
            dp: None,
            etp: None,
            edge_layers: (None, None),
            at_most_batch: false,
        }
        .sorted()
    }

    /// What of it a framework release can be told to do.
    #[must_use]
    pub fn within(mut self, can: &Capabilities) -> Self {
        let one = |values: &mut Vec<u32>, axis| {
            if !can.cuts(axis) {
                values.retain(|value| *value == 1);
            }
        };
        one(&mut self.tp, Axis::Tensor);
        one(&mut self.pp, Axis::Pipeline);
        one(&mut self.cp, Axis::Context);
        one(&mut self.ep, Axis::Expert);
        if !can.cuts(Axis::Sequence) {
            self.sequence_parallel = vec![false];
        }
        let schedules = &can.schedules.value;
        self.schedules.retain(|schedule| schedules.contains(&ScheduleName::from(*schedule)));
        if !schedules.contains(&ScheduleName::Interleaved) {
            self.vpp = vec![1];
        }
        self.zero.retain(|zero| can.zero.value.contains(&zero.stage()));
        self.recompute.retain(|again| can.recompute.value.contains(&RecomputeName::from(*again)));
        self.recompute_parts &= can.recompute.value.contains(&RecomputeName::Layers);
        self.context.retain(|method| can.context.value.contains(method));
        if self.context.is_empty() {
            self.context = vec![ContextMethod::Ring];
            self.cp = vec![1];
        }
        let offloads = &can.offload.value;
        self.offload.retain(|offload| {
            (!offload.optimizer || offloads.contains(&OffloadName::Optimizer))
                && (!offload.activations || offloads.contains(&OffloadName::Activations))
        });
        self
    }

    /// What of it agrees with everything that `spec` says of the layout.
    ///
    /// # Errors
    /// A name is unknown, a size is zero, or nothing of the space agrees.
    pub fn fixed(mut self, spec: &JobSpec) -> Result<Self, JobError> {
        let sizes = [
            ("--tp", spec.tp, &mut self.tp),
            ("--pp", spec.pp, &mut self.pp),
            ("--cp", spec.cp, &mut self.cp),
            ("--ep", spec.ep, &mut self.ep),
        ];
        for (flag, size, all) in sizes {
            let Some(size) = size else { continue };
            if size == 0 {
                return Err(JobError::Zero { flag });
            }
            *all = vec![size];
        }
        for (flag, size) in [("--dp", spec.dp), ("--etp", spec.etp), ("--micro-batch", spec.micro_batch)] {
            if size == Some(0) {
                return Err(JobError::Zero { flag });
            }
        }
        (self.dp, self.etp) = (spec.dp, spec.etp);
        if let Some(micro) = spec.micro_batch {
            self.micro = vec![micro];
        }
        self.fix_schedule(spec)?;
        if let Some(recompute) = &spec.recompute {
            self.recompute = vec![Recompute::parse(recompute)?];
            self.recompute_parts = false;
        }
        if let Some(stage) = spec.zero {
            self.zero = vec![Zero::from_stage(stage)?];
        }
        if let Some(parallel) = spec.sequence_parallel {
            self.sequence_parallel = vec![parallel];
        }
        if spec.context.is_some() {
            self.context = vec![context_method(spec.context.as_deref())?];
        }
        let as_wanted = |wanted: Option<bool>, has: bool| wanted.is_none_or(|wanted| wanted == has);
        self.offload.retain(|offload| {
            as_wanted(spec.offload_optimizer, offload.optimizer)
                && as_wanted(spec.offload_activations, offload.activations)
        });
        for (wanted, flag) in [
            (spec.offload_optimizer, "--offload-optimizer"),
            (spec.offload_activations, "--offload-activations"),
        ] {
            if wanted.is_some() && self.offload.is_empty() {
                let why = "the framework release cannot do that".to_owned();
                return Err(JobError::Value { key: flag.to_owned(), why });
            }
        }
        self.edge_layers = (spec.first_stage_layers, spec.last_stage_layers);
        Ok(self)
    }

    fn fix_schedule(&mut self, spec: &JobSpec) -> Result<(), JobError> {
        if spec.vpp == Some(0) {
            return Err(JobError::Zero { flag: "--vpp" });
        }
        let name = spec.schedule.as_deref();
        let interleaved = match (name, spec.vpp) {
            (Some("interleaved"), chunks) => Some(chunks),
            (None | Some("1f1b"), Some(chunks)) if chunks > 1 => Some(Some(chunks)),
            _ => None,
        };
        if let Some(chunks) = interleaved {
            self.schedules.clear();
            if let Some(chunks) = chunks {
                Schedule::parse("interleaved", chunks)?;
                self.vpp = vec![chunks];
            }
        } else if spec.vpp == Some(1) {
            self.vpp = vec![1];
        }
        if let (Some(name), None) = (name, interleaved) {
            self.schedules = vec![Schedule::parse(name, spec.vpp.unwrap_or(1))?];
            self.vpp = vec![1];
        }
        // One stage has no order of work to choose.
        if interleaved.is_some() || name.is_some_and(|name| name != "1f1b") {
            self.pp.retain(|pp| *pp > 1);
        }
        Ok(())
    }

    /// Tensor parallel size of the experts under these sizes.
    pub(super) fn expert_tp(&self, tp: u32, ep: u32) -> u32 {
        self.etp.unwrap_or(if ep > 1 { 1 } else { tp })
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
