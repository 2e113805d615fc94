//! One optimizer step of a job: time, its breakdown, memory, FLOPs.

mod judge;
mod plan;

pub(crate) use judge::{Runs, Verdict, judge};
pub(crate) use plan::Plan;

use crate::error::JobError;
use crate::formats;
use crate::framework::{Coefficients, Profile};
use crate::job::{Job, Layout};
use crate::layer::{Context, PassTimes, network};
use crate::memory::{self, Memory, Weights};
use crate::partition::Partition;
use crate::pricer::{Collective, Group, Pricer};
use crate::prices::{self, Parts};
use crate::schedule::StageTimes;
use crate::times::Times;
use hardware::Chip;
use units::{Bytes, Flop, FlopPerSecond, Seconds, TokensPerSecond};

/// Bytes that an Adam step moves per parameter it owns: gradient, master weight and two moments read, the last three and the
/// 16-bit weight written, the gradient read for its norm and cleared.
const OPTIMIZER_BYTES: f64 = 4.0 + 12.0 + 12.0 + 2.0 + 4.0 + 4.0;
/// Bytes of optimizer state that cross the host link both ways when it is offloaded.
const OFFLOADED_BYTES: f64 = 4.0 + 2.0;

/// One pipeline rank in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct RankStep {
    /// Layers it holds.
    pub layers: u32,
    /// A micro-batch through all of them, forward and backward, by part.
    pub micro: PassTimes,
    /// When its last micro-batch is done.
    pub finish: Seconds,
    /// Gradient exchange after that which nothing hid.
    pub exposed_gradients: Seconds,
    /// Memory.
    pub memory: Memory,
    /// Weights.
    pub weights: Weights,
}

/// A job priced.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Duration of one optimizer step.
    pub time: Seconds,
    /// Its parts along the rank that ends last; they add up to `time`.
    pub breakdown: Vec<(&'static str, Seconds)>,
    /// Each pipeline rank.
    pub ranks: Vec<RankStep>,
    /// Times of each virtual stage, which the schedule was executed with.
    pub stage_times: Vec<StageTimes>,
    /// Time between neighbouring stages that is not part of either's work.
    pub send: Seconds,
    /// Work the model asks for, nothing computed twice, causal attention counted once.
    pub model_flop: Flop,
    /// Work the hardware does: with recomputation.
    pub hardware_flop: Flop,
    /// Tokens per step.
    pub tokens: f64,
    /// Ranks used.
    pub rank_count: u32,
    /// Packages used.
    pub chips: f64,
    /// Dense peak of one package in the job's precision.
    pub peak: FlopPerSecond,
}

impl Step {
    /// Tokens per second of the whole job.
    pub fn throughput(&self) -> TokensPerSecond {
        TokensPerSecond::new(self.tokens / self.time.get())
    }

    /// Tokens per second and package.
    pub fn throughput_per_chip(&self) -> TokensPerSecond {
        self.throughput() / self.chips
    }

    /// Model FLOP rate per package.
    pub fn model_rate(&self) -> FlopPerSecond {
        self.model_flop / self.time / self.chips
    }

    /// Model FLOPs utilisation against the dense peak of the precision.
    pub fn mfu(&self) -> f64 {
        self.model_rate() / self.peak
    }

    /// Hardware FLOPs utilisation.
    pub fn hfu(&self) -> f64 {
        self.hardware_flop / self.time / self.chips / self.peak
    }

    /// Time of a part of the breakdown.
    pub fn part(&self, name: &str) -> Seconds {
        self.breakdown.iter().filter(|(part, _)| *part == name).map(|(_, time)| *time).sum()
    }
}

/// A job on a chip under a framework.
pub struct Machine<'a> {
    /// The chip.
    pub chip: &'a Chip,
    /// Prices of its kernels and links.
    pub pricer: &'a dyn Pricer,
    /// The framework release.
    pub profile: &'a Profile,
}

/// Prices one step of `job`.
///
/// # Errors
/// The job contradicts itself, or the chip cannot compute in its precision. Memory is not checked here; see
/// [`check_memory`].
pub fn price(job: &Job, machine: &Machine<'_>) -> Result<Step, JobError> {
    job.check()?;
    let peak = formats::peak(machine.chip, job.precision)?;
    let context = Context::new(job, machine.profile, &machine.chip.family, machine.pricer);
    let partition = Partition::new(&job.model.layers, job.schedule, job.layout.pp, job.edge_layers)?;
    let parts = Parts::new(&context);
    let kinds = prices::memories(job, machine.profile);
    let coefficients = &context.coefficients;
    let plan = Plan { job, machine, coefficients, parts: &parts, kinds: &kinds, partition: &partition };
    let outline = plan.outline(&plan.memories());
    Ok(plan.step(&outline, &plan.run(&outline), peak))
}

/// Whether every stage of a priced job fits the chip's memory.
///
/// # Errors
/// It does not; the error names stage, term and remedy.
pub fn check_memory(job: &Job, step: &Step, chip: &Chip) -> Result<(), JobError> {
    let stages: Vec<Memory> = step.ranks.iter().map(|rank| rank.memory).collect();
    memory::check(job, &stages, chip.rank.memory.value)
}

/// Time of a collective over the data-parallel ranks of a stage, dense and expert weights each over their own.
pub(crate) fn exchange(
    pricer: &dyn Pricer,
    coefficients: &Coefficients,
    layout: &Layout,
    op: Collective,
    weights: &Weights,
    bytes: f64,
) -> Seconds {
    let dense = Group::new(layout.dp * layout.cp, layout.tp);
    let experts = Group::new(layout.expert_dp(), layout.ep * layout.etp);
    let price = |count: f64, group| {
        pricer.collective(op, Bytes::new(bytes * count), group) / network(pricer, coefficients, group)
    };
    price(weights.dense, dense) + price(weights.experts, experts)
}

/// An optimizer step over the parameters that a rank owns.
pub(crate) fn update(pricer: &dyn Pricer, owned: f64, offloaded: bool) -> Seconds {
    let device = pricer.stream(Bytes::new(OPTIMIZER_BYTES * owned));
    if offloaded { device.max(pricer.host_copy(Bytes::new(OFFLOADED_BYTES * owned))) } else { device }
}

/// Activations of a micro-batch from one pipeline rank to the next.
pub(crate) fn send_time(job: &Job, coefficients: &Coefficients, pricer: &dyn Pricer) -> Seconds {
    let layout = &job.layout;
    if layout.pp == 1 {
        return Seconds::ZERO;
    }
    // Tensor-parallel ranks each send their shard, gathered again on the other side if it was not sharded before.
    let bytes = 2.0 * job.micro_tokens() * f64::from(job.model.hidden) / f64::from(layout.tp);
    let stride = layout.tp * layout.cp * layout.dp;
    // A message from one rank to one other has its port and its rail to itself: what slows collectives in a busy
    // cluster, in which every rank sends at once, does not slow it.
    let mut time = pricer.send(Bytes::new(bytes), stride);
    if !job.sequence_parallel && layout.tp > 1 {
        let whole = Bytes::new(bytes * f64::from(layout.tp));
        let group = Group::new(layout.tp, 1);
        time += pricer.collective(Collective::AllGather, whole, group) / network(pricer, coefficients, group);
    }
    time
}

/// The step along the pipeline rank that works most: its parts, its idle time, and what follows.
fn breakdown(
    job: &Job,
    ranks: &[RankStep],
    last: Seconds,
    tail: &[(&'static str, Seconds)],
) -> Vec<(&'static str, Seconds)> {
    let micros = f64::from(job.micros());
    let busiest =
        ranks.iter().max_by(|a, b| a.micro.total().total().get().total_cmp(&b.micro.total().total().get()));
    let Some(rank) = busiest else {
        return Vec::new();
    };
    let times: Times = rank.micro.total() * micros;
    let mut parts: Vec<(&'static str, Seconds)> =
        times.iter().map(|(part, time)| (part.name(), time)).collect();
    parts.push(("gradient exchange (exposed)", rank.exposed_gradients));
    let bubble = last - times.total() - rank.exposed_gradients;
    // Sums in another order differ in their last digits.
    parts.push(("pipeline bubble", if bubble > last * 1e-9 { bubble } else { Seconds::ZERO }));
    parts.extend_from_slice(tail);
    parts.retain(|(_, time)| time.get().abs() > 0.0);
    parts
}
