//! A job put together from the prices of its parts: what each kind of rank works, holds and exchanges.

use super::{Machine, RankStep, Step, breakdown, exchange, send_time, update};
use crate::flops;
use crate::framework::Coefficients;
use crate::job::{Job, Zero};
use crate::layer::PassTimes;
use crate::memory::{self, LayerMemory, Memory, RankContents, Weights};
use crate::partition::{Contents, Partition, Rank};
use crate::pricer::Collective;
use crate::prices::{Between, Parts, stage_times};
use crate::schedule::{self, Schedule, StageTimes};
use units::{FlopPerSecond, Seconds};

/// What follows the last gradient, by part.
type Tail = [(&'static str, Seconds); 3];

/// A job with the prices of its parts.
pub(crate) struct Plan<'a> {
    /// The job.
    pub job: &'a Job,
    /// What it runs on.
    pub machine: &'a Machine<'a>,
    /// The framework's coefficients for the chip.
    pub coefficients: &'a Coefficients,
    /// What its parts cost a micro-batch.
    pub parts: &'a Parts<PassTimes>,
    /// Each kind of layer in memory.
    pub kinds: &'a [LayerMemory],
    /// Which parts go where.
    pub partition: &'a Partition,
}

/// A kind of rank: a micro-batch through all of its stages, its weights, and gradient exchange that nothing hides.
struct RankWork {
    micro: PassTimes,
    weights: Weights,
    exposed_gradients: Seconds,
}

/// All of a step but when each rank is done; stages and ranks that are alike are worked out once.
pub(super) struct Outline {
    pub stages: Vec<StageTimes>,
    /// Time between neighbouring stages that is not part of either's work.
    pub send: Seconds,
    ranks: Vec<RankWork>,
    tail: Tail,
}

impl Outline {
    /// What follows the last gradient.
    fn after(&self) -> Seconds {
        self.tail.iter().map(|(_, time)| *time).sum()
    }

    /// When the last gradient is exchanged.
    fn last(&self, partition: &Partition, finish: &[Seconds]) -> Seconds {
        let ranks = partition.rank_of.iter().map(|rank| &self.ranks[*rank]);
        let ends = ranks.zip(finish).map(|(rank, finish)| *finish + rank.exposed_gradients);
        ends.fold(Seconds::ZERO, Seconds::max)
    }
}

impl Plan<'_> {
    /// Memory of each kind of rank at its fullest, and weights.
    pub(super) fn memories(&self) -> Vec<(Memory, Weights)> {
        self.partition.ranks.iter().map(|rank| self.memory(&rank.contents, rank.lowest)).collect()
    }

    /// Memory and weights of rank `rank`, which holds `contents`.
    fn memory(&self, contents: &Contents, rank: u32) -> (Memory, Weights) {
        let job = self.job;
        let counts = contents.layers.iter().map(|count| f64::from(*count));
        let layers: Vec<_> = self.kinds.iter().copied().zip(counts).collect();
        let in_flight = job.schedule.peak_in_flight(rank, job.layout.pp, job.micros());
        let contents = RankContents {
            layers: &layers,
            in_flight: f64::from(in_flight) / f64::from(job.schedule.chunks()),
            first: contents.first,
            last: contents.last,
        };
        memory::rank_memory(job, self.machine.profile, &contents, self.machine.chip.rank.memory.value)
    }

    /// Everything but the pipeline's run; `memories` as of [`Self::memories`].
    pub(super) fn outline(&self, memories: &[(Memory, Weights)]) -> Outline {
        let send = send_time(self.job, self.coefficients, self.machine.pricer);
        let (job, hidden) = (self.job, self.coefficients.hidden_pp);
        let chunks = job.schedule.chunks();
        let between = Between::new(job.recompute, chunks, job.layout.pp, send, self.coefficients);
        let stages: Vec<PassTimes> =
            self.partition.stages.iter().map(|stage| self.parts.stage(stage, &between)).collect();
        let kinds = self.partition.ranks.iter().zip(memories);
        let ranks: Vec<RankWork> =
            kinds.map(|(rank, (_, weights))| self.rank(rank, *weights, &stages)).collect();
        let tail = self.tail(&ranks);
        let send = if job.layout.pp > 1 { send * hidden } else { Seconds::ZERO };
        Outline { stages: stages.iter().map(stage_times).collect(), send, ranks, tail }
    }

    fn rank(&self, rank: &Rank, weights: Weights, stages: &[PassTimes]) -> RankWork {
        let mut micro = PassTimes::default();
        for stage in &rank.stages {
            // A DualPipe rank takes half of the micro-batches through each of its two stages.
            let share = if self.job.schedule == Schedule::DualPipe { 0.5 } else { 1.0 };
            micro.add(&stages[*stage], share);
        }
        let exposed_gradients = self.exposed_gradients(&weights, &micro);
        RankWork { micro, weights, exposed_gradients }
    }

    fn exchange(&self, op: Collective, weights: &Weights, bytes: f64) -> Seconds {
        exchange(self.machine.pricer, self.coefficients, &self.job.layout, op, weights, bytes)
    }

    /// Gradient exchange that the last micro-batch's backward pass does not hide.
    fn exposed_gradients(&self, weights: &Weights, micro: &PassTimes) -> Seconds {
        let bytes = self.machine.profile.gradient_bytes;
        let time = match self.job.zero {
            Zero::None => self.exchange(Collective::AllReduce, weights, bytes),
            Zero::Optimizer | Zero::Gradients => self.exchange(Collective::ReduceScatter, weights, bytes),
            Zero::Weights => return Seconds::ZERO,
        };
        let behind = micro.backward_input.compute() + micro.backward_weight.compute();
        time - (time * self.coefficients.hidden_dp).min(behind)
    }

    /// What follows the last gradient: optimizer, gathering the new weights, fixed host time.
    fn tail(&self, ranks: &[RankWork]) -> Tail {
        let job = self.job;
        let shards = f64::from(job.layout.dp * job.layout.cp);
        let expert_shards = f64::from(job.layout.expert_dp());
        let (mut longest, mut gather) = (Seconds::ZERO, Seconds::ZERO);
        for rank in ranks {
            let owned = if job.zero >= Zero::Optimizer {
                rank.weights.dense / shards + rank.weights.experts / expert_shards
            } else {
                rank.weights.total()
            };
            longest = longest.max(update(self.machine.pricer, owned, job.offload.optimizer));
            if matches!(job.zero, Zero::Optimizer | Zero::Gradients) {
                let time = self.exchange(Collective::AllGather, &rank.weights, 2.0);
                let behind = rank.micro.forward.compute();
                gather = gather.max(time - (time * self.coefficients.hidden_dp).min(behind));
            }
        }
        [
            ("optimizer", longest),
            ("weight gather (exposed)", gather),
            ("step overhead", Seconds::new(self.coefficients.host_step)),
        ]
    }

    /// The step if no rank ever waited for another.
    pub(super) fn least(&self, outline: &Outline) -> Seconds {
        let micros = f64::from(self.job.micros());
        let busy = |rank: &RankWork| rank.micro.total().total() * micros + rank.exposed_gradients;
        outline.ranks.iter().map(busy).fold(Seconds::ZERO, Seconds::max) + outline.after()
    }

    /// The step whose ranks are done at `finish`.
    pub(super) fn time(&self, outline: &Outline, finish: &[Seconds]) -> Seconds {
        let time = outline.last(self.partition, finish) + outline.after();
        time + self.straggling(time)
    }

    /// What a step of `time` on chips all alike waits for the slowest of as many as there are.
    fn straggling(&self, time: Seconds) -> Seconds {
        time * self.machine.pricer.straggling(self.packages())
    }

    fn packages(&self) -> f64 {
        f64::from(self.job.layout.ranks()) / f64::from(self.machine.chip.ranks.max(1))
    }

    /// When each rank is done.
    pub(super) fn run(&self, outline: &Outline) -> Vec<Seconds> {
        let (job, stages) = (self.job, self.every_stage(outline));
        schedule::makespan(job.schedule, job.layout.pp, job.micros(), &stages, outline.send).1
    }

    fn every_stage(&self, outline: &Outline) -> Vec<StageTimes> {
        self.partition.stage_of.iter().map(|stage| outline.stages[*stage]).collect()
    }

    /// Everything there is to say of the step whose ranks are done at `finish`.
    pub(super) fn step(&self, outline: &Outline, finish: &[Seconds], peak: FlopPerSecond) -> Step {
        let (job, chip) = (self.job, self.machine.chip);
        let (model_flop, hardware_flop) = flops::of_step(job, self.machine.profile);
        let ranks = self.every_rank(outline, finish);
        let last = outline.last(self.partition, finish);
        let mut breakdown = breakdown(job, &ranks, last, &outline.tail);
        let waiting = self.straggling(last + outline.after());
        if waiting > Seconds::ZERO {
            breakdown.push(("waiting for the slowest chip", waiting));
        }
        Step {
            time: self.time(outline, finish),
            breakdown,
            ranks,
            stage_times: self.every_stage(outline),
            send: outline.send,
            model_flop,
            hardware_flop,
            tokens: job.batch.tokens(),
            rank_count: job.layout.ranks(),
            chips: self.packages(),
            peak: peak * f64::from(chip.ranks.max(1)),
        }
    }

    fn every_rank(&self, outline: &Outline, finish: &[Seconds]) -> Vec<RankStep> {
        let kinds = self.partition.rank_of.iter().zip(finish).zip(0..);
        kinds
            .map(|((kind, finish), rank)| {
                let (contents, work) = (&self.partition.ranks[*kind].contents, &outline.ranks[*kind]);
                RankStep {
                    layers: contents.count(),
                    micro: work.micro,
                    finish: *finish,
                    exposed_gradients: work.exposed_gradients,
                    memory: self.memory(contents, rank).0,
                    weights: work.weights,
                }
            })
            .collect()
    }
}
