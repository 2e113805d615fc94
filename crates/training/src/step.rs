//! One optimizer step of a job: time, its breakdown, memory, FLOPs.

use crate::error::JobError;
use crate::flops;
use crate::framework::{Coefficients, Profile};
use crate::job::{Job, Layout, Recompute, Zero};
use crate::layer::{Context, PassTimes, network};
use crate::memory::{self, LayerMemory, Memory, RankContents, Weights};
use crate::pricer::{Collective, Group, Pricer};
use crate::schedule::{self, StageTimes};
use crate::stages;
use crate::times::{Part, Times};
use hardware::Chip;
use rustc_hash::FxHashMap;
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
    let peak = machine.chip.rank.peak(job.precision).ok_or_else(|| JobError::Precision {
        chip: machine.chip.id.clone(),
        precision: job.precision.to_string(),
    })?;
    let context = Context::new(job, machine.profile, &machine.chip.family, machine.pricer);
    let plan = Plan::new(job, &context)?;
    let outline = plan.outline(machine.chip);
    let finish = run(job, &outline);
    Ok(plan.step(outline, &finish, peak, machine.chip))
}

/// What a search learns of a job.
pub(crate) enum Verdict {
    /// It fits; its price.
    Fits(Box<Step>),
    /// It fits, and takes longer than asked for.
    Slower,
    /// It does not fit.
    TooBig,
    /// Even without waiting for other ranks it would take longer than asked for.
    TooSlow,
}

/// Prices a job for a search, going no further than it takes to rule it out: memory first, then the time that the ranks work
/// against `most`, and only then the pipeline, whose runs are kept in `runs`.
///
/// # Errors
/// As of [`price`].
pub(crate) fn judge(
    job: &Job,
    machine: &Machine<'_>,
    most: Seconds,
    runs: &mut Runs,
) -> Result<Verdict, JobError> {
    job.check()?;
    let Some(peak) = machine.chip.rank.peak(job.precision) else {
        return price(job, machine).map(|step| Verdict::Fits(Box::new(step)));
    };
    let split = stages::split(job.layers(), job.schedule.virtual_stages(job.layout.pp), job.edge_layers)?;
    let contents = contents(job, &split);
    let kinds: Vec<LayerMemory> =
        job.model.layers.iter().map(|group| LayerMemory::new(job, machine.profile, group)).collect();
    let capacity = machine.chip.rank.memory.value;
    let memory = |rank| Held::new(job, &contents, rank).memory(job, machine.profile, &kinds, capacity).0;
    if (0..job.layout.pp).any(|rank| memory(rank).total() > capacity) {
        return Ok(Verdict::TooBig);
    }
    let context = Context::new(job, machine.profile, &machine.chip.family, machine.pricer);
    let plan = Plan::new(job, &context)?;
    let outline = plan.outline(machine.chip);
    if outline.least(job) >= most {
        return Ok(Verdict::TooSlow);
    }
    let finish = runs.finish(job, &outline);
    if outline.time(&finish) >= most {
        return Ok(Verdict::Slower);
    }
    Ok(Verdict::Fits(Box::new(plan.step(outline, &finish, peak, machine.chip))))
}

/// All of a step but when each rank is done.
struct Outline {
    stage_times: Vec<StageTimes>,
    /// Time between neighbouring stages that is not part of either's work.
    send: Seconds,
    ranks: Vec<RankStep>,
    tail: Vec<(&'static str, Seconds)>,
}

impl Outline {
    /// The step whose ranks are done at `finish`.
    fn time(&self, finish: &[Seconds]) -> Seconds {
        self.last(finish) + self.tail.iter().map(|(_, time)| *time).sum::<Seconds>()
    }

    /// When the last gradient is exchanged.
    fn last(&self, finish: &[Seconds]) -> Seconds {
        let ends = self.ranks.iter().zip(finish).map(|(rank, finish)| *finish + rank.exposed_gradients);
        ends.fold(Seconds::ZERO, Seconds::max)
    }

    /// The step if no rank ever waited for another.
    fn least(&self, job: &Job) -> Seconds {
        let micros = f64::from(job.micros());
        let busy = |rank: &RankStep| rank.micro.total().total() * micros + rank.exposed_gradients;
        let longest = self.ranks.iter().map(busy).fold(Seconds::ZERO, Seconds::max);
        longest + self.tail.iter().map(|(_, time)| *time).sum::<Seconds>()
    }
}

/// When each rank is done.
fn run(job: &Job, outline: &Outline) -> Vec<Seconds> {
    schedule::makespan(job.schedule, job.layout.pp, job.micros(), &outline.stage_times, outline.send).1
}

/// Pipelines run before. Sharding of the optimizer and what lives on the host leave a pipeline as it is, so that jobs which
/// differ in these alone share a run.
#[derive(Default)]
pub(crate) struct Runs(FxHashMap<RunKey, Vec<Seconds>>);

/// What a run depends on: schedule, ranks, micro-batches, and the bits of every time.
type RunKey = (schedule::Schedule, u32, u32, Vec<u64>);

impl Runs {
    fn finish(&mut self, job: &Job, outline: &Outline) -> Vec<Seconds> {
        let mut bits = Vec::with_capacity(3 * outline.stage_times.len() + 1);
        bits.push(outline.send.get().to_bits());
        for times in &outline.stage_times {
            let all = [times.forward, times.backward_input, times.backward_weight];
            bits.extend(all.map(|time| time.get().to_bits()));
        }
        let key = (job.schedule, job.layout.pp, job.micros(), bits);
        self.0.entry(key).or_insert_with(|| run(job, outline)).clone()
    }
}

/// Whether every stage of a priced job fits the chip's memory.
///
/// # Errors
/// It does not; the error names stage, term and remedy.
pub fn check_memory(job: &Job, step: &Step, chip: &Chip) -> Result<(), JobError> {
    let stages: Vec<Memory> = step.ranks.iter().map(|rank| rank.memory).collect();
    memory::check(job, &stages, chip.rank.memory.value)
}

/// Layer kinds priced once, and how many of each a virtual stage holds.
struct Plan<'a> {
    job: &'a Job,
    context: &'a Context<'a>,
    /// Per kind: kept as the job says, computed again, memory.
    kinds: Vec<(PassTimes, PassTimes, LayerMemory)>,
    /// Per virtual stage, count of each kind.
    contents: Vec<Vec<u32>>,
    embedding: PassTimes,
    head: PassTimes,
    send: Seconds,
}

impl<'a> Plan<'a> {
    fn new(job: &'a Job, context: &'a Context<'a>) -> Result<Self, JobError> {
        let (some, other) = match job.recompute {
            Recompute::Layers(_) => (Recompute::None, Recompute::Full),
            recompute => (recompute, recompute),
        };
        let kinds = job
            .model
            .layers
            .iter()
            .map(|group| {
                let kept = context.layer(group, some);
                let again = if some == other { kept } else { context.layer(group, other) };
                (kept, again, LayerMemory::new(job, context.profile, group))
            })
            .collect();
        let split = stages::split(job.layers(), job.schedule.virtual_stages(job.layout.pp), job.edge_layers)?;
        let mut head = context.head();
        head.add(&context.mtp(), 1.0);
        Ok(Self {
            job,
            context,
            kinds,
            contents: contents(job, &split),
            embedding: context.embedding(),
            head,
            send: send_time(job, &context.coefficients, context.pricer),
        })
    }

    /// A micro-batch through virtual stage `stage`.
    fn stage(&self, stage: usize) -> PassTimes {
        let job = self.job;
        let mut passes = PassTimes::default();
        let mut again = match job.recompute {
            Recompute::Layers(layers) => layers.div_ceil(job.schedule.chunks()),
            _ => 0,
        };
        for (kind, count) in self.kinds.iter().zip(&self.contents[stage]) {
            let recomputed = again.min(*count);
            again -= recomputed;
            passes.add(&kind.0, f64::from(count - recomputed));
            passes.add(&kind.1, f64::from(recomputed));
        }
        if stage == 0 {
            passes.add(&self.embedding, 1.0);
        }
        if stage + 1 == self.contents.len() {
            passes.add(&self.head, 1.0);
        }
        if job.layout.pp > 1 {
            let exposed = self.send * (1.0 - self.context.coefficients.hidden_pp);
            passes.forward.add(Part::Pipeline, exposed);
            passes.backward_input.add(Part::Pipeline, exposed);
        }
        let fixed =
            Seconds::new(self.context.coefficients.host_micro / f64::from(job.schedule.chunks()) / 2.0);
        passes.forward.add(Part::Host, fixed);
        passes.backward_input.add(Part::Host, fixed);
        passes
    }

    fn outline(&self, chip: &Chip) -> Outline {
        let job = self.job;
        let stages: Vec<PassTimes> = (0..self.contents.len()).map(|stage| self.stage(stage)).collect();
        let stage_times: Vec<StageTimes> = stages.iter().map(stage_times).collect();
        let send =
            if job.layout.pp > 1 { self.send * self.context.coefficients.hidden_pp } else { Seconds::ZERO };
        let ranks: Vec<RankStep> = (0..job.layout.pp).map(|rank| self.rank(rank, &stages, chip)).collect();
        let tail = self.tail(&ranks);
        Outline { stage_times, send, ranks, tail }
    }

    fn step(&self, outline: Outline, finish: &[Seconds], peak: FlopPerSecond, chip: &Chip) -> Step {
        let job = self.job;
        let (last, time) = (outline.last(finish), outline.time(finish));
        let Outline { stage_times, send, mut ranks, tail } = outline;
        for (rank, finish) in ranks.iter_mut().zip(finish) {
            rank.finish = *finish;
        }
        let packages = f64::from(job.layout.ranks()) / f64::from(chip.ranks.max(1));
        let (model_flop, hardware_flop) = flops::of_step(job, self.context.profile);
        Step {
            time,
            breakdown: breakdown(job, &ranks, last, &tail),
            ranks,
            stage_times,
            send,
            model_flop,
            hardware_flop,
            tokens: job.batch.tokens(),
            rank_count: job.layout.ranks(),
            chips: packages,
            peak: peak * f64::from(chip.ranks.max(1)),
        }
    }

    fn rank(&self, rank: u32, stages: &[PassTimes], chip: &Chip) -> RankStep {
        let job = self.job;
        let held = Held::new(job, &self.contents, rank);
        let mut micro = PassTimes::default();
        for stage in &held.stages {
            // A DualPipe rank takes half of the micro-batches through each of its two stages.
            let share = if job.schedule == schedule::Schedule::DualPipe { 0.5 } else { 1.0 };
            micro.add(&stages[*stage], share);
        }
        let kinds: Vec<LayerMemory> = self.kinds.iter().map(|kind| kind.2).collect();
        let (memory, weights) = held.memory(job, self.context.profile, &kinds, chip.rank.memory.value);
        let exposed_gradients = self.exposed_gradients(&weights, &micro);
        let (layers, finish) = (held.counts.iter().sum(), Seconds::ZERO);
        RankStep { layers, micro, finish, exposed_gradients, memory, weights }
    }

    fn exchange(&self, op: Collective, weights: &Weights, bytes: f64) -> Seconds {
        let context = self.context;
        exchange(context.pricer, &context.coefficients, &self.job.layout, op, weights, bytes)
    }

    /// Gradient exchange that the last micro-batch's backward pass does not hide.
    fn exposed_gradients(&self, weights: &Weights, micro: &PassTimes) -> Seconds {
        let bytes = self.context.profile.gradient_bytes;
        let time = match self.job.zero {
            Zero::None => self.exchange(Collective::AllReduce, weights, bytes),
            Zero::Optimizer | Zero::Gradients => self.exchange(Collective::ReduceScatter, weights, bytes),
            Zero::Weights => return Seconds::ZERO,
        };
        let behind = micro.backward_input.compute() + micro.backward_weight.compute();
        time - (time * self.context.coefficients.hidden_dp).min(behind)
    }

    /// What follows the last gradient: optimizer, gathering the new weights, fixed host time.
    fn tail(&self, ranks: &[RankStep]) -> Vec<(&'static str, Seconds)> {
        let job = self.job;
        let coefficients = &self.context.coefficients;
        let shards = f64::from(job.layout.dp * job.layout.cp);
        let expert_shards = f64::from(job.layout.expert_dp());
        let (mut longest, mut gather) = (Seconds::ZERO, Seconds::ZERO);
        for rank in ranks {
            let owned = if job.zero >= Zero::Optimizer {
                rank.weights.dense / shards + rank.weights.experts / expert_shards
            } else {
                rank.weights.total()
            };
            longest = longest.max(update(self.context.pricer, owned, job.offload.optimizer));
            if matches!(job.zero, Zero::Optimizer | Zero::Gradients) {
                let time = self.exchange(Collective::AllGather, &rank.weights, 2.0);
                let behind = rank.micro.forward.compute();
                gather = gather.max(time - (time * coefficients.hidden_dp).min(behind));
            }
        }
        vec![
            ("optimizer", longest),
            ("weight gather (exposed)", gather),
            ("step overhead", Seconds::new(coefficients.host_step)),
        ]
    }
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

/// What a pipeline rank holds.
struct Held {
    rank: u32,
    /// Its virtual stages.
    stages: Vec<usize>,
    /// Layers of each kind.
    counts: Vec<u32>,
    first: bool,
    last: bool,
}

impl Held {
    fn new(job: &Job, contents: &[Vec<u32>], rank: u32) -> Self {
        let schedule = job.schedule;
        let stage = |chunk| schedule.stage_of(rank, chunk, job.layout.pp) as usize;
        let stages: Vec<usize> = (0..schedule.chunks()).map(stage).collect();
        let mut counts = vec![0u32; job.model.layers.len()];
        for stage in &stages {
            for (sum, count) in counts.iter_mut().zip(&contents[*stage]) {
                *sum += count;
            }
        }
        let (first, last) = (stages.contains(&0), stages.contains(&(contents.len() - 1)));
        Self { rank, stages, counts, first, last }
    }

    fn memory(
        &self,
        job: &Job,
        profile: &Profile,
        kinds: &[LayerMemory],
        capacity: Bytes,
    ) -> (Memory, Weights) {
        let layers: Vec<(LayerMemory, f64)> =
            kinds.iter().zip(&self.counts).map(|(kind, count)| (*kind, f64::from(*count))).collect();
        let in_flight = job.schedule.peak_in_flight(self.rank, job.layout.pp, job.micros());
        let contents = RankContents {
            layers: &layers,
            in_flight: f64::from(in_flight) / f64::from(job.schedule.chunks()),
            first: self.first,
            last: self.last,
        };
        memory::rank_memory(job, profile, &contents, capacity)
    }
}

/// Which kinds of layer each virtual stage holds.
fn contents(job: &Job, split: &[u32]) -> Vec<Vec<u32>> {
    let kinds: Vec<usize> = job
        .model
        .layers
        .iter()
        .enumerate()
        .flat_map(|(kind, group)| std::iter::repeat_n(kind, group.count as usize))
        .collect();
    let mut next = 0;
    split
        .iter()
        .map(|layers| {
            let mut counts = vec![0u32; job.model.layers.len()];
            for kind in &kinds[next..next + *layers as usize] {
                counts[*kind] += 1;
            }
            next += *layers as usize;
            counts
        })
        .collect()
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
    let mut time = pricer.send(Bytes::new(bytes), stride);
    if !job.sequence_parallel && layout.tp > 1 {
        let whole = Bytes::new(bytes * f64::from(layout.tp));
        time += pricer.collective(Collective::AllGather, whole, Group::new(layout.tp, 1));
    }
    time / network(pricer, coefficients, Group::new(2, stride))
}

fn stage_times(passes: &PassTimes) -> StageTimes {
    StageTimes {
        forward: passes.forward.total(),
        backward_input: passes.backward_input.total(),
        backward_weight: passes.backward_weight.total(),
    }
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
    parts.push(("pipeline bubble", last - times.total() - rank.exposed_gradients));
    parts.extend_from_slice(tail);
    parts.retain(|(_, time)| time.get().abs() > 0.0);
    parts
}
