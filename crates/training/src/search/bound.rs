//! What a layout takes at least, in time and in memory, without running its pipeline.

use super::{Cut, JobIndex, Objective, Search};
use crate::goodput;
use crate::job::{Job, Recompute, Zero};
use crate::layer::{Context, PassTimes};
use crate::memory::{LayerMemory, Weights, vocabulary_weights};
use crate::pricer::Collective;
use crate::prices::{self, Between, Parts};
use crate::schedule::{Schedule, StageTimes};
use crate::step::{Machine, exchange, update};
use crate::way::Way;
use std::rc::Rc;
use units::{Seconds, Watts};

/// What sums of the same times in another order may differ by.
const ROUNDING: f64 = 1e-9;

/// A micro-batch through the whole model under one cut, and its weights.
pub(super) struct Whole {
    /// Layers and ends.
    pub parts: Parts<PassTimes>,
    /// The same by pass.
    totals: Parts<StageTimes>,
    /// Each kind of layer in memory.
    pub kinds: Vec<LayerMemory>,
    /// Time of everything.
    total: f64,
    weights: Weights,
    vocabulary: f64,
    /// Bytes that all layers keep of a micro-batch.
    kept: f64,
}

impl Whole {
    fn new(job: &Job, machine: &Machine<'_>) -> Self {
        let context = Context::new(job, machine.profile, &machine.chip.family, machine.pricer);
        let parts = Parts::new(&context);
        let totals = parts.totals();
        let kinds = prices::memories(job, machine.profile);
        let mut total = totals.embedding.total() + totals.head.total();
        let (mut weights, mut kept) = (Weights::default(), 0.0);
        for ((group, memory), [layer, _]) in job.model.layers.iter().zip(&kinds).zip(&totals.kinds) {
            let count = f64::from(group.count);
            total += layer.total() * count;
            kept += count * memory.kept(job.recompute);
            let own = memory.weights();
            weights.dense += count * own.dense;
            weights.experts += count * own.experts;
        }
        let vocabulary = vocabulary_weights(job);
        Self { parts, totals, kinds, total: total.get(), weights, vocabulary, kept }
    }
}

impl Search<'_> {
    /// Prices of the whole model under a cut, worked out once.
    pub(super) fn whole(&mut self, index: &JobIndex) -> Rc<Whole> {
        // How many layers of a stage are computed again does not matter to a layer.
        let recompute = match index.cut.recompute {
            Recompute::Layers(_) => Recompute::Layers(0),
            recompute => recompute,
        };
        let dual = self.exchanges && index.schedule == Schedule::DualPipe;
        let shares = index.cut.sharded_over > 0 && !self.machine.profile.reshard_every_micro;
        let sharing = if shares { index.micros } else { 0 };
        let cut = Cut { recompute, dual, sharing, ..index.cut };
        if let Some(known) = self.wholes.get(&cut) {
            return Rc::clone(known);
        }
        let zero = if cut.sharded_over > 0 { Zero::Weights } else { Zero::None };
        self.job(&JobIndex { pp: 1, cut, zero, ..*index });
        let whole = Rc::new(Whole::new(&self.job, self.machine));
        self.wholes.insert(cut, Rc::clone(&whole));
        whole
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
    pub(super) fn first_memory(&self, index: &JobIndex, whole: &Whole, way: &Way) -> f64 {
        let partly = matches!(index.cut.recompute, Recompute::Layers(_));
        if !self.alike || partly || index.cut.activations {
            return 0.0;
        }
        let ends = if way.schedule == Schedule::DualPipe || index.pp == 1 { 2.0 } else { 1.0 };
        let dense = whole.weights.dense * way.first + ends * whole.vocabulary;
        let states = self.states(index, dense, whole.weights.experts * way.first);
        let in_flight = f64::from(way.schedule.peak_in_flight(0, index.pp, index.micros));
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
        let work = whole.total * share;
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

    /// A time before which not every rank of a pipeline can be done, neighbours `send` away from each other.
    pub(super) fn pipeline(&mut self, index: &JobIndex, whole: &Whole, way: &Way, send: Seconds) -> f64 {
        let chunks = way.schedule.chunks();
        let between = Between::new(index.cut.recompute, chunks, index.pp, send, &self.coefficients);
        self.stages.clear();
        let stages = way.partition.stages.iter().map(|stage| whole.totals.stage(stage, &between));
        self.stages.extend(stages);
        let hidden = if index.pp > 1 { send.get() * self.coefficients.hidden_pp } else { 0.0 };
        way.least(&self.stages, index.micros, hidden) * (1.0 - ROUNDING)
    }

    /// What a candidate is worth at best whose gradients are exchanged and used at `time`.
    pub(super) fn worth(&self, index: &JobIndex, whole: &Whole, time: f64) -> f64 {
        let mean = f64::from(index.micros) * whole.total / f64::from(index.pp);
        self.value(time + self.coefficients.host_step, mean, index.layout().ranks()) * self.scale(index)
    }

    /// The objective's value of `ranks` ranks that take `time`, of which each works `busy` on average.
    fn value(&self, time: f64, busy: f64, ranks: u32) -> f64 {
        let chips = f64::from(ranks) / f64::from(self.machine.chip.ranks.max(1));
        match self.objective {
            Objective::Time => time,
            Objective::Cost => time * chips,
            // Every part of the bound is drawn at no less than idle power, and the mean rank's work at full power.
            Objective::Energy { .. } => {
                let at = |busy| self.power(busy);
                (at(0.0) * time + (at(1.0) - at(0.0)) * busy) * chips
            }
        }
    }

    pub(super) fn power(&self, busy: f64) -> f64 {
        let overhead = match self.objective {
            Objective::Energy { overhead } => overhead,
            _ => Watts::ZERO,
        };
        goodput::chip_power(self.machine.chip, overhead, busy).map_or(1.0, Watts::get)
    }
}
