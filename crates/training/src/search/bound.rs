//! What a layout takes at least, in time and in memory, without running its pipeline.

use super::{Cut, JobIndex, Objective, Search};
use crate::goodput;
use crate::job::{Job, Recompute, Zero};
use crate::layer::{Context, PassTimes};
use crate::memory::{LayerMemory, Weights, vocabulary_weights};
use crate::pricer::Collective;
use crate::schedule::Schedule;
use crate::step::{exchange, update};
use crate::way::Way;

/// A micro-batch through the whole model under one cut, and its weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole {
    /// Times of all layers, embedding and head.
    layers_total: f64,
    /// Forward and input gradient of all layers.
    chain: f64,
    edges_total: f64,
    head_total: f64,
    weights: Weights,
    vocabulary: f64,
    /// Bytes that all layers keep of a micro-batch.
    kept: f64,
}

impl Whole {
    fn total(&self) -> f64 {
        self.layers_total + self.edges_total + self.head_total
    }

    /// By how much one of `layers` layers takes longer than in `other`.
    pub(super) fn more_per_layer(&self, other: &Self, layers: u32) -> f64 {
        ((self.layers_total - other.layers_total) / f64::from(layers)).max(0.0)
    }
}

impl Search<'_> {
    /// Prices of the whole model under a cut, worked out once.
    pub(super) fn whole(&mut self, index: &JobIndex) -> Whole {
        // Where some layers are computed again, no less is done than where none is.
        let recompute = match index.cut.recompute {
            Recompute::Layers(_) => Recompute::None,
            recompute => recompute,
        };
        let dual = self.exchanges && index.schedule == Schedule::DualPipe;
        let cut = Cut { recompute, dual, ..index.cut };
        if let Some(known) = self.wholes.get(&cut) {
            return *known;
        }
        self.job(&JobIndex { pp: 1, cut, ..*index });
        let whole = self.priced_whole(&self.job);
        self.wholes.insert(cut, whole);
        whole
    }

    fn priced_whole(&self, job: &Job) -> Whole {
        let context = Context::new(job, self.machine.profile, &self.machine.chip.family, self.machine.pricer);
        let mut layers = PassTimes::default();
        let mut weights = Weights::default();
        let mut kept = 0.0;
        for group in &job.model.layers {
            let count = f64::from(group.count);
            layers.add(&context.layer(group, job.recompute), count);
            let memory = LayerMemory::new(job, self.machine.profile, group);
            kept += count * memory.kept(job.recompute);
            let own = memory.weights();
            weights.dense += count * own.dense;
            weights.experts += count * own.experts;
        }
        let mut head = context.head();
        head.add(&context.mtp(), 1.0);
        let total = |passes: &PassTimes| passes.total().total().get();
        Whole {
            layers_total: total(&layers),
            chain: (layers.forward.total() + layers.backward_input.total()).get(),
            edges_total: total(&context.embedding()),
            head_total: total(&head),
            weights,
            vocabulary: vocabulary_weights(job),
            kept,
        }
    }

    /// Memory of the mean stage's states: the fullest has no less.
    pub(super) fn least_memory(&self, index: &JobIndex, whole: &Whole) -> f64 {
        let pp = f64::from(index.pp);
        let dense = (whole.weights.dense + 2.0 * whole.vocabulary) / pp;
        self.states(index, dense, whole.weights.experts / pp)
    }

    /// Weights, gradients and optimizer state of so many parameters, and the reserve.
    fn states(&self, index: &JobIndex, dense: f64, experts: f64) -> f64 {
        let sharded = self.sharded(index, dense, experts);
        let at = |zero: Zero| if index.zero >= zero { sharded } else { dense + experts };
        let profile = self.machine.profile;
        let gradients = if profile.reduces_early { sharded } else { at(Zero::Gradients) };
        let optimizer = if index.optimizer { 0.0 } else { 12.0 * at(Zero::Optimizer) };
        let states = 2.0 * at(Zero::Weights) + profile.accumulator_bytes * gradients + optimizer;
        states + profile.reserve * self.machine.chip.rank.memory.value.get()
    }

    /// Memory of the first rank under a schedule, its buffers left out: no rank has more micro-batches in flight.
    pub(super) fn first_memory(&self, index: &JobIndex, whole: &Whole, way: &Way, micros: u32) -> f64 {
        let partly = matches!(index.cut.recompute, Recompute::Layers(_));
        if !self.alike || partly || index.cut.activations {
            return 0.0;
        }
        let ends = if way.schedule == Schedule::DualPipe || index.pp == 1 { 2.0 } else { 1.0 };
        let dense = whole.weights.dense * way.first + ends * whole.vocabulary;
        let states = self.states(index, dense, whole.weights.experts * way.first);
        let in_flight = f64::from(way.schedule.peak_in_flight(0, index.pp, micros));
        states + whole.kept * way.first * in_flight / f64::from(way.schedule.chunks())
    }

    /// Of so many parameters, those that a rank owns where they are sharded.
    fn sharded(&self, index: &JobIndex, dense: f64, experts: f64) -> f64 {
        let layout = index.layout();
        dense / f64::from(layout.dp * layout.cp) + experts / f64::from(layout.expert_dp())
    }

    /// The least that any layout of a cut is worth: every rank works its share of the batch and never waits.
    pub(super) fn cut_bound(&self, cut: &Cut, whole: &Whole) -> f64 {
        let share = f64::from(self.template.batch.global) * f64::from(cut.tp * cut.cp)
            / (f64::from(self.space.ranks) * f64::from(cut.micro));
        let work = whole.total() * share;
        self.value(work + self.coefficients.host_step, work, self.space.ranks)
    }

    /// What follows the last gradient at the least: the optimizer on the mean rank, and gathering its weights.
    ///
    /// Some rank holds no fewer layers than the mean, and the exchanges of a model of equal layers take no less time for more
    /// of them.
    pub(super) fn tail(&self, index: &JobIndex, whole: &Whole) -> f64 {
        let pp = f64::from(index.pp);
        let (dense, experts) = (whole.weights.dense / pp, whole.weights.experts / pp);
        let owned = match index.zero {
            Zero::None => dense + experts,
            _ => self.sharded(index, dense, experts),
        };
        let update = update(self.machine.pricer, owned, index.optimizer).get();
        if !self.alike || !matches!(index.zero, Zero::Optimizer | Zero::Gradients) {
            return update;
        }
        let gather = self.exchange(index, Collective::AllGather, &Weights { dense, experts }, 2.0);
        update + gather * (1.0 - self.coefficients.hidden_dp)
    }

    fn exchange(&self, index: &JobIndex, op: Collective, weights: &Weights, bytes: f64) -> f64 {
        exchange(self.machine.pricer, &self.coefficients, &index.layout(), op, weights, bytes).get()
    }

    /// Gradient exchange that stays visible on the rank with the fewest layers, `least` of all.
    pub(super) fn gradients(&self, index: &JobIndex, whole: &Whole, least: f64) -> f64 {
        let weights = Weights { dense: whole.weights.dense * least, experts: whole.weights.experts * least };
        let op = match index.zero {
            Zero::None => Collective::AllReduce,
            Zero::Optimizer | Zero::Gradients => Collective::ReduceScatter,
            Zero::Weights => return 0.0,
        };
        let time = self.exchange(index, op, &weights, self.machine.profile.gradient_bytes);
        time * (1.0 - self.coefficients.hidden_dp)
    }

    /// A worth no execution of the candidate can beat: the mean rank's work, the fullest rank's, or the last rank's after
    /// the first micro-batch has come down and before the last has gone back up; then what `after` at the least follows.
    pub(super) fn bound(&self, index: &JobIndex, whole: &Whole, way: &Way, micros: f64, after: f64) -> f64 {
        // Each of a rank's virtual stages has its part of the fixed time; a DualPipe rank takes half of the micro-batches
        // through each of its two.
        let fixed = if way.schedule == Schedule::DualPipe { 0.5 } else { 1.0 };
        let host = micros * fixed * self.coefficients.host_micro;
        let further = micros * (fixed * self.sends(index, way) + self.again(index, way));
        let mean = micros * whole.total() / f64::from(index.pp);
        let head = if way.last > 0.0 { whole.head_total } else { 0.0 };
        let last = if matches!(way.schedule, Schedule::ZeroBubbleH1 | Schedule::DualPipe) {
            // Weight gradients may wait until the last micro-batch has gone up.
            way.ramp * whole.chain + micros * way.last * whole.chain
        } else {
            way.ramp * whole.chain + micros * (way.last * whole.layers_total + head)
        };
        let fullest = micros * way.fullest * whole.layers_total;
        let working = mean.max(fullest).max(last) + host + further;
        let gradients = self.gradients(index, whole, way.least);
        self.value(working + gradients + after + self.coefficients.host_step, mean, index.layout().ranks())
    }

    /// What a rank visibly sends for one micro-batch, there and back.
    fn sends(&self, index: &JobIndex, way: &Way) -> f64 {
        if index.pp == 1 {
            return 0.0;
        }
        let exposed = self.send * (1.0 - self.coefficients.hidden_pp);
        2.0 * exposed * f64::from(way.schedule.chunks())
    }

    /// Work done again for one micro-batch on the rank with the fewest layers, where some of a stage's layers are.
    fn again(&self, index: &JobIndex, way: &Way) -> f64 {
        let Recompute::Layers(layers) = index.cut.recompute else { return 0.0 };
        let chunks = way.schedule.chunks();
        let of_each = layers.div_ceil(chunks).min(way.thinnest);
        let stages = if way.schedule == Schedule::DualPipe { 1 } else { chunks };
        f64::from(stages * of_each) * self.layer_again
    }

    /// The objective's value of `ranks` ranks that take `time`, of which each works `busy` on average.
    fn value(&self, time: f64, busy: f64, ranks: u32) -> f64 {
        let chips = f64::from(ranks) / f64::from(self.machine.chip.ranks.max(1));
        match self.objective {
            Objective::Time => time,
            Objective::Cost => time * chips,
            // Every part of the bound is drawn at no less than idle power, and the mean rank's work at full power.
            Objective::Energy => {
                let at = |busy| self.power(busy);
                (at(0.0) * time + (at(1.0) - at(0.0)) * busy) * chips
            }
        }
    }

    pub(super) fn power(&self, busy: f64) -> f64 {
        goodput::chip_power(self.machine.chip, units::Watts::ZERO, busy).map_or(1.0, units::Watts::get)
    }
}
