//! How much of each resource a run used: arithmetic, device memory, links and host, from a sample of its steps.

use crate::resolve::PoolInfo;
use cost::step::{Bound, Family, Layout, StepModel, StepShape};
use serving::{InstanceId, InstanceState};
use sim::{Observer, RunRecord};
use std::collections::BTreeMap;
use std::sync::Arc;
use units::Seconds;

/// Steps broken down before only every second one is, and so on: the effort grows with the logarithm of the run.
const SAMPLES: u64 = 1024;

/// What steps of one pool used, as shares of what its busiest rank could do in the time they took.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PoolUse {
    /// Arithmetic done, of the datasheet's peak in the format of the activations.
    pub compute: f64,
    /// Bytes moved, of the device memory's bandwidth.
    pub memory: f64,
    /// Bytes sent by collectives and expert exchange, of the bandwidth of the widest links they cross; no more than the
    /// share of time in which links are what a step waits for, as those that stay on narrower links take less.
    pub link: f64,
    /// The class of those links.
    pub link_class: String,
    /// Time in which the device waits for the host.
    pub host: f64,
    /// Spread of ln(true / predicted) of the time of its steps, by the time they took; that of no steps is nought.
    pub sigma: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    time: f64,
    flop: f64,
    memory: f64,
    link: f64,
    network: f64,
    host: f64,
    sigma: f64,
}

/// Breaks a sample of the steps down.
pub(crate) struct Utilisation {
    models: Vec<Arc<StepModel>>,
    pool_of: BTreeMap<InstanceId, u32>,
    sums: Vec<Sums>,
    seen: u64,
    stride: u64,
}

impl Utilisation {
    pub fn new(pools: &[PoolInfo]) -> Self {
        Self {
            models: pools.iter().map(|pool| Arc::clone(&pool.model)).collect(),
            pool_of: BTreeMap::new(),
            sums: vec![Sums::default(); pools.len()],
            seen: 0,
            stride: 1,
        }
    }

    /// By pool.
    pub fn result(&self) -> Vec<PoolUse> {
        self.sums.iter().zip(&self.models).map(|(sums, model)| shares(sums, model)).collect()
    }
}

fn shares(sums: &Sums, model: &StepModel) -> PoolUse {
    let deployment = model.deployment();
    let rank = &deployment.chip.rank;
    let links = deployment.system.domain_for(exchanging(&deployment.layout));
    let time = Seconds::new(sums.time.max(1e-12));
    let peak = rank.peak(deployment.model.quantization.activations).map_or(f64::INFINITY, |peak| peak.get());
    PoolUse {
        compute: sums.flop / (peak * time.get()),
        memory: sums.memory / (rank.bandwidth.value.get() * time.get()),
        link: (sums.link / (links.bandwidth.value.get() * time.get())).min(sums.network / time.get()),
        link_class: links.link.clone(),
        host: sums.host / time.get(),
        sigma: sums.sigma / time.get(),
    }
}

/// Ranks that send to each other: data-parallel ranks without experts have nothing to exchange.
fn exchanging(layout: &Layout) -> u32 {
    if layout.pp > 1 { layout.ranks() } else { layout.tp.max(layout.ep.saturating_mul(layout.moe_tp)) }
}

impl Observer for Utilisation {
    fn run_ended(&mut self, record: &RunRecord) {
        self.seen += 1;
        if self.seen % self.stride != 0 {
            return;
        }
        if self.seen >= SAMPLES * self.stride {
            self.stride *= 2;
        }
        let Some(pool) = self.pool_of.get(&record.instance) else { return };
        let run = &record.run;
        let steps = f64::from(record.steps);
        let mut shape: StepShape = run.shape;
        shape.busiest.decode_context += steps / 2.0 * run.context_per_step;
        let cost = self.models[*pool as usize].cost(&shape);
        let weight = steps * self.stride as f64;
        let sums = &mut self.sums[*pool as usize];
        sums.time += cost.time.get() * weight;
        sums.flop += cost.tally.flop().get() * weight;
        sums.memory += cost.tally.memory_bytes().get() * weight;
        sums.link += cost.tally.link_bytes().get() * weight;
        sums.sigma += cost.sigma * cost.time.get() * weight;
        sums.network += cost.tally.bound_time(Bound::Network).get() * weight;
        sums.host += cost.tally.family_time(Family::Host).get() * weight;
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, _: InstanceState, _: Seconds) {
        self.pool_of.insert(instance, pool);
    }
}
