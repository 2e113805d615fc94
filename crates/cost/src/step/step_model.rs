//! The price of a step of one deployment.

use super::deployment::{Deployment, LayoutError, Speculation};
use super::energy::EnergyModel;
use super::floor::{BoundedCollectives, BoundedOperators};
use super::ideal::{IdealCollectives, IdealOperators};
use super::memory::{DoesNotFit, MemoryFit};
use super::operators::{Collectives, Evidence, Operators};
use super::plan::{self, RankPlan};
use super::pool::TablePool;
use super::startable::{self, Unstartable};
use super::table::{Position, Table};
use super::tally::{Family, Tally};
use crate::ops::Bound;
use hardware::Engine;
use std::sync::{Arc, OnceLock};
use steps::{RankLoad, StepPrice, StepPricer, StepShape};
use units::{Dtype, Joules, Seconds, Watts};

/// Why a deployment cannot be priced.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StepError {
    /// The sizes do not make a layout.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The engine does not start a model cut like this.
    #[error(transparent)]
    Unstartable(#[from] Unstartable),
    /// The memory is too small.
    #[error(transparent)]
    Memory(#[from] DoesNotFit),
    /// The chip has no peak for any format that could multiply this one.
    #[error("chip `{chip}` has no peak rate for {format} or a wider format; choose another `weight_dtype`")]
    Format {
        /// Catalog key.
        chip: String,
        /// What the model wants.
        format: Dtype,
    },
}

impl StepError {
    /// Whether the deployment is one that cannot run, rather than a slip in what was asked.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Memory(_) | Self::Unstartable(_))
    }
}

/// A step with everything that is known about its price.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCost {
    /// Duration, overlap taken off.
    pub time: Seconds,
    /// By family and bound, before overlap.
    pub tally: Tally,
    /// Communication behind computation.
    pub hidden: Seconds,
    /// Of all ranks of the instance; `None` where the chip's rating is unknown.
    pub energy: Option<Joules>,
    /// Standard deviation of ln(predicted / measured) that the parts add up to.
    pub sigma: f64,
}

impl StepCost {
    /// Adds `share` of another step: time, breakdown and energy. The spread stays that of this one.
    pub fn add_scaled(&mut self, other: &Self, share: f64) {
        self.time += other.time * share;
        self.hidden += other.hidden * share;
        self.tally.add_scaled(&other.tally, share);
        self.energy = self.energy.zip(other.energy).map(|(mine, theirs)| mine + theirs * share);
    }
}

/// Prices steps of one deployment; everything that does not depend on the step is worked out once.
pub struct StepModel {
    pub(super) deployment: Deployment,
    pub(super) plan: RankPlan,
    memory: MemoryFit,
    energy: Option<EnergyModel>,
    pub(super) operators: Arc<dyn Operators>,
    pub(super) collectives: Arc<dyn Collectives>,
    pub(super) queries: f64,
    pub(super) skew: f64,
    pub(super) spread: f64,
    pub(super) tables: Arc<Tables>,
    /// Set once the kernels of every kind of step have been looked up, so that what prices rest on does not depend on which
    /// steps have been priced before.
    looked_up: OnceLock<()>,
}

/// Prices by one token count each.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) linear: Arc<Table>,
    pub(super) absorb: Arc<Table>,
    pub(super) expand: Arc<Table>,
    pub(super) experts: Arc<Table>,
    pub(super) exchange: Arc<Table>,
    pub(super) head: Arc<Table>,
    pub(super) draft_linear: Arc<Table>,
    pub(super) draft_experts: Arc<Table>,
}

/// A step with its breakdown before overlap, what overlap hides of it, and the clock it ran at.
struct Timed {
    tally: Tally,
    hidden: Seconds,
    clock: f64,
}

impl Timed {
    fn time(&self) -> Seconds {
        self.tally.total() - self.hidden
    }
}

/// Tokens and sequences of one step, with drafts counted.
pub(super) struct Load {
    pub(super) decode_seqs: f64,
    pub(super) decode_tokens: f64,
    pub(super) context: f64,
    pub(super) prefill_seqs: f64,
    pub(super) prefill_tokens: f64,
    pub(super) prefill_past: f64,
    pub(super) tokens: f64,
    pub(super) total_tokens: f64,
    pub(super) total_decode_tokens: f64,
    pub(super) total_decode_seqs: f64,
}

impl Load {
    /// What one of the micro-batches holds that keep `stages` pipeline stages at work at once: an even share of the
    /// sequences and of the prompts, never a part of one. All of them pass the pipeline in the time that one does, so that
    /// its price is that of the whole step; a micro-batch with a prompt sets the pace of those behind it.
    fn in_flight(self, stages: f64) -> Self {
        if stages <= 1.0 {
            return self;
        }
        let decoding = stages.min(self.decode_seqs.max(1.0));
        let prompts = stages.min(self.prefill_seqs.max(1.0));
        let decode_tokens = self.decode_tokens / decoding;
        let prefill_tokens = self.prefill_tokens / prompts;
        let total_prefill = self.total_tokens - self.total_decode_tokens;
        Self {
            decode_seqs: self.decode_seqs / decoding,
            decode_tokens,
            context: self.context,
            prefill_seqs: self.prefill_seqs / prompts,
            prefill_tokens,
            prefill_past: self.prefill_past / prompts,
            tokens: decode_tokens + prefill_tokens,
            total_tokens: self.total_decode_tokens / decoding + total_prefill / prompts,
            total_decode_tokens: self.total_decode_tokens / decoding,
            total_decode_seqs: self.total_decode_seqs / decoding,
        }
    }

    /// One of `parts` equal micro-batches.
    pub(super) fn part(&self, parts: f64) -> Self {
        Self {
            decode_seqs: self.decode_seqs / parts,
            decode_tokens: self.decode_tokens / parts,
            context: self.context,
            prefill_seqs: self.prefill_seqs / parts,
            prefill_tokens: self.prefill_tokens / parts,
            prefill_past: self.prefill_past / parts,
            tokens: self.tokens / parts,
            total_tokens: self.total_tokens / parts,
            total_decode_tokens: self.total_decode_tokens / parts,
            total_decode_seqs: self.total_decode_seqs / parts,
        }
    }
}

impl StepModel {
    /// Checks the layout and the memory, and prepares the tables.
    pub fn new(
        deployment: Deployment,
        operators: Arc<dyn Operators>,
        collectives: Arc<dyn Collectives>,
    ) -> Result<Self, StepError> {
        deployment.layout.check(&deployment.model)?;
        startable::check(&deployment)?;
        let formats = &deployment.model.quantization;
        for format in [formats.activations, formats.experts] {
            if deployment.chip.rank.peak(format).is_none() {
                return Err(StepError::Format { chip: deployment.chip.id.clone(), format });
            }
        }
        let plan = plan::plan(&deployment.model, &deployment.layout);
        let memory = MemoryFit::new(&deployment, &plan)?;
        let energy = EnergyModel::new(&deployment.chip, &deployment.system, formats.activations);
        let bound = IdealOperators::new(&deployment.chip.rank);
        let operators = Arc::new(BoundedOperators { priced: operators, bound });
        let bound = IdealCollectives::new(&deployment.system, &deployment.chip);
        let collectives = Arc::new(BoundedCollectives { priced: collectives, bound });
        Ok(Self {
            queries: 1.0 + f64::from(deployment.speculation.tokens),
            skew: deployment.expert_skew.unwrap_or(deployment.engine.device.expert_skew.value),
            spread: deployment.engine.device.expert_spread.value,
            plan,
            memory,
            energy,
            operators,
            collectives,
            deployment,
            tables: Arc::default(),
            looked_up: OnceLock::new(),
        })
    }

    /// The same deployment under another engine with the same kernels, sharing every price that does not depend on it.
    ///
    /// # Errors
    /// The other engine leaves too little memory.
    pub fn with_engine(&self, engine: Arc<Engine>) -> Result<Self, StepError> {
        let deployment = Deployment { engine, ..self.deployment.clone() };
        startable::check(&deployment)?;
        let skew = deployment.expert_skew.unwrap_or(deployment.engine.device.expert_skew.value);
        let spread = deployment.engine.device.expert_spread.value;
        let same = skew == self.skew && spread == self.spread;
        Ok(Self {
            memory: MemoryFit::new(&deployment, &self.plan)?,
            plan: self.plan.clone(),
            energy: self.energy,
            operators: Arc::clone(&self.operators),
            collectives: Arc::clone(&self.collectives),
            queries: self.queries,
            skew,
            spread,
            tables: if same { Arc::clone(&self.tables) } else { Arc::default() },
            looked_up: OnceLock::new(),
            deployment,
        })
    }

    /// The same deployment with other drafts, sharing every price: prices by token count do not depend on how many of the
    /// tokens are drafts.
    ///
    /// # Errors
    /// The draft module leaves too little memory.
    pub fn with_speculation(&self, speculation: Speculation) -> Result<Self, StepError> {
        let deployment = Deployment { speculation, ..self.deployment.clone() };
        Ok(Self {
            memory: MemoryFit::new(&deployment, &self.plan)?,
            plan: self.plan.clone(),
            energy: self.energy,
            operators: Arc::clone(&self.operators),
            collectives: Arc::clone(&self.collectives),
            queries: 1.0 + f64::from(speculation.tokens),
            skew: self.skew,
            spread: self.spread,
            tables: Arc::clone(&self.tables),
            looked_up: OnceLock::new(),
            deployment,
        })
    }

    /// The same deployment with the tables of `pool`, so that what another layout has priced is not priced again.
    #[must_use]
    pub fn sharing(self, pool: &TablePool) -> Self {
        let tables = Arc::new(pool.tables(&self.deployment, self.skew));
        Self { tables, ..self }
    }

    /// What is priced.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// How the memory is used.
    pub fn memory(&self) -> &MemoryFit {
        &self.memory
    }

    /// What the instance draws when nothing runs; `None` where the chip's rating is unknown.
    pub fn idle_power(&self) -> Option<Watts> {
        self.energy.map(|energy| (energy.idle + energy.overhead) * f64::from(self.deployment.layout.ranks()))
    }

    /// What stands around the chips of the instance draws; `None` where the chip's rating is unknown.
    pub fn overhead_power(&self) -> Option<Watts> {
        self.energy.map(|energy| energy.overhead * f64::from(self.deployment.layout.ranks()))
    }

    /// The price with its breakdown, energy and error band.
    ///
    /// An engine that can run two micro-batches against each other does so where that is quicker: halves hide
    /// communication, but read every weight twice.
    pub fn cost(&self, shape: &StepShape) -> StepCost {
        let Timed { tally, hidden, clock } = self.timed(shape);
        let time = tally.total() - hidden;
        StepCost { time, energy: self.joules(&tally, time, clock), sigma: self.sigma(&tally), tally, hidden }
    }

    fn timed(&self, shape: &StepShape) -> Timed {
        let load = self.load(shape).in_flight(f64::from(self.deployment.layout.pp));
        let whole = self.timed_in(&load, 1.0);
        if !self.deployment.micro_batches {
            return self.capped(whole);
        }
        let halves = self.timed_in(&load, 2.0);
        self.capped(if halves.time() < whole.time() { halves } else { whole })
    }

    /// The step as it runs under the chip's power cap.
    fn capped(&self, mut timed: Timed) -> Timed {
        let Some(pace) = self.energy.and_then(|energy| energy.pace(&timed.tally, timed.hidden)) else {
            return timed;
        };
        for bound in [Bound::Compute, Bound::Launch] {
            timed.tally.stretch_bound(bound, 1.0 / pace.clock);
        }
        timed.tally.stretch(pace.wait);
        timed.hidden = timed.hidden * pace.wait;
        Timed { clock: pace.clock, ..timed }
    }

    /// Of all ranks.
    fn joules(&self, tally: &Tally, time: Seconds, clock: f64) -> Option<Joules> {
        let ranks = f64::from(self.deployment.layout.ranks());
        self.energy.map(|energy| energy.energy(tally, time, clock) * ranks)
    }

    /// The step cut into `split` equal micro-batches.
    fn timed_in(&self, load: &Load, split: f64) -> Timed {
        let tables = &self.tables;
        let mut device = Tally::default();
        tables.linear.add(&mut device, split, Position::of(load.tokens / split), |m| self.linear_at(m));
        tables.absorb.add(&mut device, 1.0, Position::of(load.decode_tokens), |m| self.absorb_at(m));
        if load.prefill_tokens > 0.0 {
            let expanded = load.prefill_tokens + load.prefill_past;
            tables.expand.add(&mut device, 1.0, Position::of(expanded), |m| self.expand_at(m));
        }
        tables.head.add(&mut device, 1.0, Position::of(self.sampled(load)), |m| self.head_at(m));
        let routed = Position::of(load.total_tokens / split);
        tables.experts.add(&mut device, split, routed, |m| self.experts_at(m));
        let part = load.part(split);
        for (mix, count) in &self.plan.mixes {
            self.mix(mix, count * split, &part, &mut device);
        }
        let slowdown = self.slowdown(load) * self.correction(load, &device);
        device.stretch(slowdown);
        let mut exchange = Tally::default();
        tables.exchange.add(&mut exchange, split, routed, |m| self.exchange_at(m));
        let hidden = self.hidden(load, split, &device, &exchange);
        device.add_scaled(&exchange, 1.0);
        let one_by_one = self.one_by_one(load, &device);
        device.add_time(Family::Elementwise, Bound::Launch, self.gaps(one_by_one, &device, split));
        let mut behind = waited(self.issue(load, one_by_one), || device.total() - hidden);
        // Drafting starts from tokens that the step has verified, so that nothing of it is launched ahead.
        if let Some(mut drafts) = self.draft(load) {
            drafts.stretch(slowdown);
            behind += waited(self.issue_drafts(load, &drafts), || drafts.total());
            device.add_scaled(&drafts, 1.0);
        }
        device.add_time(Family::Host, Bound::Launch, behind);
        let busy = device.total() - hidden;
        device.add_time(Family::Host, Bound::Launch, self.host(load, busy));
        Timed { tally: device, hidden, clock: 1.0 }
    }

    fn load(&self, shape: &StepShape) -> Load {
        let rank = &shape.busiest;
        // A mean below one sequence is a mean over steps, and each of them has a whole one.
        let whole = |sequences: f64| if sequences > 0.0 { sequences.max(1.0) } else { 0.0 };
        let decode_seqs = whole(rank.decode_seqs);
        let total_decode_seqs = whole(shape.total_decode_seqs).max(decode_seqs);
        let decode_tokens = decode_seqs * self.queries;
        Load {
            decode_seqs,
            decode_tokens,
            context: if rank.decode_seqs > 0.0 { rank.decode_context / rank.decode_seqs } else { 0.0 },
            prefill_seqs: rank.prefill_seqs,
            prefill_tokens: rank.prefill_tokens,
            prefill_past: rank.prefill_past,
            tokens: decode_tokens + rank.prefill_tokens,
            total_tokens: total_decode_seqs * self.queries + shape.total_prefill_tokens,
            total_decode_tokens: total_decode_seqs * self.queries,
            total_decode_seqs,
        }
    }

    /// Rows the output projection runs on: every query of a decoding sequence, the last token of a prompt.
    fn sampled(&self, load: &Load) -> f64 {
        load.decode_tokens + load.prefill_seqs
    }

    /// Errors of one family go together, those of different families apart; what is not known of the chip comes on top.
    fn sigma(&self, tally: &Tally) -> f64 {
        let total = tally.total().get().max(f64::MIN_POSITIVE);
        let variance: f64 = Family::ALL
            .iter()
            .map(|family| {
                let share = tally.family_time(*family).get() / total;
                (share * self.evidence(*family).sigma).powi(2)
            })
            .sum();
        variance.sqrt().hypot(self.deployment.chip.spread()).hypot(self.deployment.engine.spread.value)
    }

    /// What the prices of a family rest on.
    pub fn evidence(&self, family: Family) -> Evidence {
        self.looked_up.get_or_init(|| {
            for load in [RankLoad::decode(1.0, 1024.0), RankLoad::prefill(1.0, 1024.0, 0.0)] {
                self.timed(&StepShape::even(load, self.deployment.layout.dp));
            }
        });
        match family {
            Family::Collective | Family::Dispatch => self.collectives.evidence(),
            other => self.operators.evidence(other),
        }
    }
}

/// What a device that is `busy` for so long waits for launches that take the host the time `issue`.
fn waited(issue: Seconds, busy: impl FnOnce() -> Seconds) -> Seconds {
    if issue > Seconds::ZERO { (issue - busy()).max(Seconds::ZERO) } else { Seconds::ZERO }
}

impl StepPricer for StepModel {
    fn price(&self, shape: &StepShape) -> StepPrice {
        let timed = self.timed(shape);
        let time = timed.time();
        StepPrice { time, energy: self.joules(&timed.tally, time, timed.clock).unwrap_or(Joules::ZERO) }
    }
}
