//! The best layout of a job: exact search over every way to cut it.
//!
//! Layouts that cut the operators alike share a lower bound: the work itself. Cuts are taken in the order of it, and those
//! that cannot beat the best found are left out whole. Within a cut each layout has a lower bound of its time that needs no
//! pipeline to be executed, and one of its memory; what is left is priced in the order of that bound. Everything left out is
//! worse, so that the answer is that of trying them all.

mod bound;
mod families;
mod layouts;
mod space;

pub use space::Space;

use crate::error::JobError;
use crate::formats;
use crate::framework::Coefficients;
use crate::job::{ContextMethod, Job, Layout, Offload, Recompute, Zero};
use crate::remembered::Remembered;
use crate::schedule::{Schedule, StageTimes};
use crate::step::{Machine, Plan, Runs, Step, Verdict, judge};
use crate::way::Way;
use bound::Whole;
use model::Ffn;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use units::{Seconds, Watts};

/// What the best layout is best in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Objective {
    /// Least step time.
    Time,
    /// Least chip-hours per step, which is least rent.
    Cost,
    /// Least energy per step, at the rack.
    Energy {
        /// Power beside a package, its share of the machine's.
        overhead: Watts,
    },
}

/// How the search went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Layouts whose sizes go together: the space searched.
    pub covered: u64,
    /// Of these, ruled out because their states alone do not fit.
    pub too_big: u64,
    /// Ruled out because even without waiting they would be slower than the best.
    pub too_slow: u64,
    /// Priced in full and found not to fit.
    pub misfits: u64,
    /// Priced in full.
    pub priced: u64,
    /// Whether the search was stopped before its end.
    pub interrupted: bool,
}

/// A layout with its price.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The job.
    pub job: Job,
    /// Its price.
    pub step: Step,
    /// The objective's value for as many sequences as the batch asked for has: seconds, chip-seconds or joules.
    pub value: f64,
}

/// The best layouts, best first, and how many were looked at.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The best `keep` layouts; none fits if empty.
    pub best: Vec<Found>,
    /// How the search went.
    pub counts: Counts,
}

/// What a micro-batch costs does not depend on: pipeline depth, data parallelism (unless weights are sharded),
/// schedule, optimizer sharding and offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Cut {
    tp: u32,
    cp: u32,
    ep: u32,
    etp: u32,
    micro: u32,
    recompute: Recompute,
    sequence_parallel: bool,
    context: ContextMethod,
    activations: bool,
    sharded_over: u32,
    /// Micro-batches that share a gathering of sharded weights; 0 if each gathers for itself.
    sharing: u32,
    /// Whether experts' exchanges run beside the other direction's work, as under DualPipe.
    dual: bool,
}

impl Cut {
    /// With nothing computed again, sharded or moved.
    fn plain([tp, cp, ep, etp]: [u32; 4], micro: u32) -> Self {
        Self {
            tp,
            cp,
            ep,
            etp,
            micro,
            recompute: Recompute::None,
            sequence_parallel: false,
            context: ContextMethod::Ring,
            activations: false,
            sharded_over: 0,
            sharing: 0,
            dual: false,
        }
    }
}

struct Candidate {
    bound: f64,
    job_index: JobIndex,
}

/// A candidate in few bytes; the job is made of it when it is priced.
#[derive(Clone, Copy)]
struct JobIndex {
    cut: Cut,
    pp: u32,
    dp: u32,
    micros: u32,
    schedule: Schedule,
    zero: Zero,
    optimizer: bool,
}

impl JobIndex {
    fn layout(&self) -> Layout {
        let Cut { tp, cp, ep, etp, .. } = self.cut;
        Layout { tp, cp, pp: self.pp, dp: self.dp, ep, etp }
    }

    /// Sequences of a step.
    fn global_batch(&self) -> u32 {
        self.dp * self.cut.micro * self.micros
    }
}

/// Searches `space` around `template`, whose model, batch, sequence and precision stay as they are (the batch unless it is
/// only the largest allowed). Once `cancel` is set it ends with the best so far.
///
/// # Errors
/// The model cannot be priced at all, or the chip has no matrix unit for the precision.
pub fn search(
    template: &Job,
    space: &Space,
    machine: &Machine<'_>,
    objective: Objective,
    keep: usize,
    cancel: &AtomicBool,
) -> Result<Outcome, JobError> {
    formats::peak(machine.chip, template.precision)?;
    let mut outcome = Outcome { best: Vec::new(), counts: Counts::default() };
    let remembered = Remembered::new(machine.pricer);
    let machine = &Machine { pricer: &remembered, ..*machine };
    for ranks in space.rank_counts() {
        let space = Space { ranks, ..space.clone() };
        let mut search = Search {
            template,
            space: &space,
            machine,
            cancel,
            objective,
            wholes: FxHashMap::default(),
            ways: BTreeMap::new(),
            runs: Runs::default(),
            counts: outcome.counts,
            coefficients: machine.profile.for_family(&machine.chip.family),
            job: Job { edge_layers: space.edge_layers, ..template.clone() },
            alike: template.model.layers.len() == 1,
            stages: Vec::new(),
            exchanges: template.model.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_))),
        };
        let mut families = search.families();
        families.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        for family in &families {
            search.explore(family, &mut outcome.best, keep);
        }
        search.counts.interrupted |= search.is_stopped();
        outcome.counts = search.counts;
    }
    Ok(outcome)
}

struct Search<'a> {
    template: &'a Job,
    space: &'a Space,
    machine: &'a Machine<'a>,
    cancel: &'a AtomicBool,
    objective: Objective,
    wholes: FxHashMap<Cut, Rc<Whole>>,
    /// Every schedule that can cut the layers, by pipeline size.
    ways: BTreeMap<u32, Rc<[Way]>>,
    runs: Runs,
    /// The template under the layout that is looked at.
    job: Job,
    counts: Counts,
    coefficients: Coefficients,
    /// Whether all layers are of one kind.
    alike: bool,
    /// Times of the distinct stages of the pipeline that is looked at.
    stages: Vec<StageTimes>,
    /// Whether there are experts, whose exchanges DualPipe hides.
    exchanges: bool,
}

impl Search<'_> {
    fn is_stopped(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// The job of a candidate; only the layout of the one before is replaced.
    fn job(&mut self, index: &JobIndex) -> &Job {
        let cut = &index.cut;
        let job = &mut self.job;
        job.layout = index.layout();
        job.batch.global = index.global_batch();
        job.batch.micro = cut.micro;
        job.schedule = index.schedule;
        job.recompute = cut.recompute;
        job.zero = index.zero;
        job.sequence_parallel = cut.sequence_parallel;
        job.context = cut.context;
        job.offload = Offload { optimizer: index.optimizer, activations: cut.activations };
        job
    }

    /// The step time at which a candidate is no better than `worst`; energy depends on more than time.
    fn longest(&self, index: &JobIndex, worst: f64) -> Seconds {
        let worst = worst / self.scale(index);
        Seconds::new(match self.objective {
            Objective::Time => worst,
            Objective::Cost => worst / self.chips(index),
            Objective::Energy { .. } => f64::INFINITY,
        })
    }

    /// Packages that a candidate uses.
    fn chips(&self, index: &JobIndex) -> f64 {
        f64::from(index.layout().ranks()) / f64::from(self.machine.chip.ranks.max(1))
    }

    /// Steps of a candidate that take as many sequences as one of the template.
    fn scale(&self, index: &JobIndex) -> f64 {
        f64::from(self.template.batch.global) / f64::from(index.global_batch())
    }

    fn try_one(&mut self, index: &JobIndex, best: &mut Vec<Found>, keep: usize) {
        let (whole, ways) = (self.whole(index), self.ways(index.pp));
        let Some(way) = ways.iter().find(|way| way.schedule == index.schedule) else { return };
        self.job(index);
        let plan = Plan {
            job: &self.job,
            machine: self.machine,
            coefficients: &self.coefficients,
            parts: &whole.parts,
            kinds: &whole.kinds,
            partition: &way.partition,
        };
        let most = self.longest(index, worst_of(best, keep));
        let step = match judge(&plan, most, &mut self.runs) {
            Ok(Verdict::Fits(step)) => *step,
            Ok(Verdict::TooSlow) => {
                self.counts.too_slow += 1;
                return;
            }
            Ok(Verdict::TooBig) => {
                self.counts.priced += 1;
                self.counts.misfits += 1;
                return;
            }
            Ok(Verdict::Slower) | Err(_) => {
                self.counts.priced += 1;
                return;
            }
        };
        self.counts.priced += 1;
        let value = match self.objective {
            Objective::Time => step.time.get(),
            Objective::Cost => step.time.get() * step.chips,
            Objective::Energy { .. } => {
                let busy = 1.0 - step.part("pipeline bubble") / step.time;
                self.power(busy) * step.time.get() * step.chips
            }
        };
        let value = value * self.scale(index);
        let at = best.partition_point(|found| found.value <= value);
        if at < keep {
            best.insert(at, Found { job: self.job.clone(), step, value });
            best.truncate(keep);
        }
    }
}

/// What a layout has to be better than to be among the `keep` best.
fn worst_of(best: &[Found], keep: usize) -> f64 {
    best.get(keep - 1).map_or(f64::INFINITY, |found| found.value)
}
