//! A layout in the words of the flags.

use serde::Serialize;
use training::Job;

/// A layout in the words of the flags; what has no effect on the job is null.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayoutReport {
    chips: f64,
    tp: u32,
    pp: u32,
    vpp: u32,
    dp: u32,
    cp: u32,
    ep: u32,
    etp: u32,
    micro_batch: u32,
    global_batch: u32,
    micro_batches: u32,
    seq: u32,
    schedule: &'static str,
    recompute: String,
    zero: u32,
    precision: String,
    sequence_parallel: bool,
    context: Option<&'static str>,
    offload_optimizer: bool,
    offload_activations: bool,
    mtp: Option<bool>,
    first_stage_layers: Option<u32>,
    last_stage_layers: Option<u32>,
}

impl LayoutReport {
    /// Of `job` on `chips` packages.
    pub fn new(job: &Job, chips: f64) -> Self {
        let layout = &job.layout;
        Self {
            chips,
            tp: layout.tp,
            pp: layout.pp,
            vpp: job.schedule.virtual_stages(layout.pp) / layout.pp,
            dp: layout.dp,
            cp: layout.cp,
            ep: layout.ep,
            etp: layout.etp,
            micro_batch: job.batch.micro,
            global_batch: job.batch.global,
            micro_batches: job.micros(),
            seq: job.batch.seq,
            schedule: job.schedule.name(),
            recompute: job.recompute.name(),
            zero: job.zero.stage(),
            precision: job.precision.to_string(),
            sequence_parallel: job.sequence_parallel,
            context: (layout.cp > 1).then(|| job.context.name()),
            offload_optimizer: job.offload.optimizer,
            offload_activations: job.offload.activations,
            mtp: job.model.mtp.as_ref().map(|_| job.mtp),
            first_stage_layers: job.edge_layers.0,
            last_stage_layers: job.edge_layers.1,
        }
    }

    /// Packages.
    pub fn chips(&self) -> f64 {
        self.chips
    }

    /// As flags that `train` takes, those left out that say what it does anyway.
    pub fn flags(&self) -> String {
        let mut flags = vec![
            format!("--tp {} --pp {}", self.tp, self.pp),
            some("--vpp", (self.vpp > 1).then_some(self.vpp)),
            format!("--dp {}", self.dp),
            some("--cp", (self.cp > 1).then_some(self.cp)),
            some("--context", self.context),
        ];
        if self.ep > 1 || self.etp != self.tp {
            flags.push(format!("--ep {} --etp {}", self.ep, self.etp));
        }
        flags.push(format!(
            "--micro-batch {} --global-batch {} --seq {}",
            self.micro_batch, self.global_batch, self.seq
        ));
        flags.extend([
            some("--schedule", (self.pp > 1).then_some(self.schedule)),
            format!("--recompute {} --zero {} --precision {}", self.recompute, self.zero, self.precision),
            some("--sequence-parallel", (self.tp > 1).then_some(self.sequence_parallel)),
            some("--offload-optimizer", self.offload_optimizer.then_some(true)),
            some("--offload-activations", self.offload_activations.then_some(true)),
            some("--mtp", self.mtp.filter(|mtp| !mtp)),
            some("--first-stage-layers", self.first_stage_layers),
            some("--last-stage-layers", self.last_stage_layers),
        ]);
        flags.retain(|flag| !flag.is_empty());
        flags.join(" ")
    }
}

/// A flag with its value; nothing where it has none.
fn some<T: std::fmt::Display>(flag: &str, value: Option<T>) -> String {
    value.map_or_else(String::new, |value| format!("{flag} {value}"))
}
