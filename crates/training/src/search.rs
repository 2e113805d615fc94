//! The best layout of a job: exact search over every way to cut it.
//!
//! Layouts that cut the operators alike share a lower bound: the work itself. Cuts are taken in the order of it, and those
//! that cannot beat the best found are left out whole. Within a cut each layout has a lower bound of its time that needs no
//! pipeline to be executed, and one of its memory; what is left is priced in the order of that bound. Everything left out is
//! worse, so that the answer is that of trying them all.

mod bound;
mod space;

pub use space::Space;

use crate::error::JobError;
use crate::framework::Coefficients;
use crate::job::{ContextMethod, Job, Layout, Offload, Recompute, Zero};
use crate::remembered::Remembered;
use crate::schedule::Schedule;
use crate::stages::EDGES;
use crate::step::{Machine, Runs, Step, Verdict, judge, send_time};
use crate::way::Way;
use bound::Whole;
use model::Ffn;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;
use std::rc::Rc;
use units::Seconds;

/// What the best layout is best in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Least step time.
    Time,
    /// Least chip-hours per step, which is least rent.
    Cost,
    /// Least energy per step.
    Energy,
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
}

/// A layout with its price.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The job.
    pub job: Job,
    /// Its price.
    pub step: Step,
    /// The objective's value: seconds, chip-seconds or joules.
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
    micro: u32,
    recompute: Recompute,
    sequence_parallel: bool,
    context: ContextMethod,
    activations: bool,
    sharded_over: u32,
    /// Whether experts' exchanges run beside the other direction's work, as under DualPipe.
    dual: bool,
}

impl Cut {
    /// With nothing computed again, sharded or moved.
    fn plain(tp: u32, cp: u32, ep: u32, micro: u32) -> Self {
        Self {
            tp,
            cp,
            ep,
            micro,
            recompute: Recompute::None,
            sequence_parallel: false,
            context: ContextMethod::Ring,
            activations: false,
            sharded_over: 0,
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
    schedule: Schedule,
    zero: Zero,
    optimizer: bool,
}

impl JobIndex {
    fn layout(&self) -> Layout {
        let cut = &self.cut;
        let etp = if cut.ep > 1 { 1 } else { cut.tp };
        Layout { tp: cut.tp, cp: cut.cp, pp: self.pp, dp: self.dp, ep: cut.ep, etp }
    }
}

/// Layouts that share a cut, but for sharded weights and for layers that are computed again.
struct Family {
    bound: f64,
    cut: Cut,
    /// Pipeline and data parallel sizes that go with it.
    sizes: Rc<[(u32, u32)]>,
}

/// Searches `space` around `template`, whose model, batch, sequence and precision stay as they are.
///
/// # Errors
/// The model cannot be priced at all.
pub fn search(
    template: &Job,
    space: &Space,
    machine: &Machine<'_>,
    objective: Objective,
    keep: usize,
) -> Result<Outcome, JobError> {
    let mut outcome = Outcome { best: Vec::new(), counts: Counts::default() };
    let remembered = Remembered::new(machine.pricer);
    let machine = &Machine { pricer: &remembered, ..*machine };
    for ranks in space.rank_counts() {
        let space = Space { ranks, ..space.clone() };
        let mut search = Search {
            template,
            space: &space,
            machine,
            objective,
            wholes: FxHashMap::default(),
            ways: BTreeMap::new(),
            runs: Runs::default(),
            counts: outcome.counts,
            coefficients: machine.profile.for_family(&machine.chip.family),
            job: Job { edge_layers: (None, None), ..template.clone() },
            alike: template.model.layers.len() == 1,
            send: 0.0,
            layer_again: 0.0,
            exchanges: template.model.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_))),
        };
        let mut families = search.families();
        families.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        for family in &families {
            search.explore(family, &mut outcome.best, keep);
        }
        outcome.counts = search.counts;
    }
    Ok(outcome)
}

struct Search<'a> {
    template: &'a Job,
    space: &'a Space,
    machine: &'a Machine<'a>,
    objective: Objective,
    wholes: FxHashMap<Cut, Whole>,
    /// Every schedule that can cut the layers, by pipeline size.
    ways: BTreeMap<u32, Rc<[Way]>>,
    runs: Runs,
    /// The template under the layout that is looked at.
    job: Job,
    counts: Counts,
    coefficients: Coefficients,
    /// Whether all layers are of one kind.
    alike: bool,
    /// Time from one stage to the next under the cut that is looked at, and of computing one layer again.
    send: f64,
    layer_again: f64,
    /// Whether there are experts, whose exchanges DualPipe hides.
    exchanges: bool,
}

impl Search<'_> {
    fn families(&mut self) -> Vec<Family> {
        let space = self.space;
        let mut out = Vec::new();
        for &tp in &space.tp {
            for &cp in &space.cp {
                for &ep in &space.ep {
                    for &micro in &space.micro {
                        let sizes = self.sizes(tp, cp, ep, micro);
                        if !sizes.is_empty() {
                            self.cuts(&Cut::plain(tp, cp, ep, micro), &sizes.into(), &mut out);
                        }
                    }
                }
            }
        }
        out
    }

    /// Pipeline and data parallel sizes that go with a cut.
    fn sizes(&self, tp: u32, cp: u32, ep: u32, micro: u32) -> Vec<(u32, u32)> {
        let (space, global) = (self.space, self.template.batch.global);
        if self.template.batch.seq % cp != 0 {
            return Vec::new();
        }
        let goes = |pp: u32| {
            let rest = space.ranks / (tp * cp * pp);
            let whole = rest > 0
                && rest * tp * cp * pp == space.ranks
                && global % (rest * micro) == 0
                && (tp * cp * rest) % ep == 0;
            whole.then_some((pp, rest))
        };
        space.pp.iter().filter_map(|pp| goes(*pp)).collect()
    }

    fn cuts(&mut self, plain: &Cut, sizes: &Rc<[(u32, u32)]>, out: &mut Vec<Family>) {
        let space = self.space;
        let contexts = if plain.cp > 1 { &space.context[..] } else { &space.context[..1] };
        let parallel: &[bool] = if plain.tp > 1 { &space.sequence_parallel } else { &[false] };
        for (at, &recompute) in space.recompute.iter().enumerate() {
            for &sequence_parallel in parallel {
                for &context in contexts {
                    for activations in self.activations() {
                        let cut = Cut { recompute, sequence_parallel, context, activations, ..*plain };
                        let mut bound = self.least_of(&cut, sizes[0].1);
                        if at == 0 && recompute != Recompute::None {
                            // Layers computed again in part are in the first family.
                            let none = Cut { recompute: Recompute::None, ..cut };
                            bound = bound.min(self.least_of(&none, sizes[0].1));
                        }
                        out.push(Family { bound, cut, sizes: Rc::clone(sizes) });
                    }
                }
            }
        }
    }

    fn least_of(&mut self, cut: &Cut, dp: u32) -> f64 {
        let mut of = |schedule| {
            let index = JobIndex { cut: *cut, pp: 1, dp, schedule, zero: Zero::None, optimizer: false };
            let whole = self.whole(&index);
            self.cut_bound(cut, &whole)
        };
        of(Schedule::OneFOneB).min(of(Schedule::DualPipe))
    }

    /// Whether activations are kept on the device, on the host, or either.
    fn activations(&self) -> Vec<bool> {
        let any = |wanted: bool| self.space.offload.iter().any(|offload| offload.activations == wanted);
        [false, true].into_iter().filter(|wanted| any(*wanted)).collect()
    }

    /// Recomputation of a family's layouts over `pp` stages: of everything alike, and in the first family of a quarter, half
    /// or three quarters of a stage's layers too.
    fn recomputes(&self, family: Recompute, pp: u32) -> Vec<Recompute> {
        let mut all = vec![family];
        if self.space.recompute.first() == Some(&family) {
            let layers = self.template.layers().div_ceil(pp);
            let quarters = (1..4).map(|quarters| layers * quarters / 4);
            all.extend(quarters.filter(|some| (1..layers).contains(some)).map(Recompute::Layers));
            all.dedup();
        }
        all
    }

    /// Every schedule that can cut the layers over `pp` ranks.
    fn ways(&mut self, pp: u32) -> Rc<[Way]> {
        if let Some(known) = self.ways.get(&pp) {
            return Rc::clone(known);
        }
        let layers = self.template.layers();
        let made: Rc<[Way]> = if pp == 1 {
            Way::new(Schedule::OneFOneB, layers, self.alike, pp).into_iter().collect()
        } else {
            let plain = self.space.schedules.iter().copied();
            let chunks =
                self.space.vpp.iter().filter(|chunks| **chunks > 1 && pp * **chunks <= layers + EDGES);
            let interleaved = chunks.map(|chunks| Schedule::Interleaved { chunks: *chunks });
            // What no number of micro-batches makes run is left out when that number is known.
            let odd = |schedule: &Schedule| *schedule == Schedule::DualPipe && pp % 2 == 1;
            plain
                .chain(interleaved)
                .filter(|schedule| !odd(schedule))
                .filter_map(|schedule| Way::new(schedule, layers, self.alike, pp))
                .collect()
        };
        self.ways.insert(pp, Rc::clone(&made));
        made
    }

    fn explore(&mut self, family: &Family, best: &mut Vec<Found>, keep: usize) {
        let worst = best.get(keep - 1).map_or(f64::INFINITY, |found| found.value);
        let mut candidates = Vec::new();
        for &(pp, dp) in family.sizes.iter() {
            let micros = self.template.batch.global / (dp * family.cut.micro);
            let ways = self.ways(pp);
            let ways: Vec<&Way> = ways.iter().filter(|way| way.schedule.check(pp, micros).is_ok()).collect();
            let recomputes = self.recomputes(family.cut.recompute, pp);
            if family.bound >= worst {
                let optimizers =
                    self.space.offload.iter().filter(|offload| offload.activations == family.cut.activations);
                let all = ways.len() * recomputes.len() * self.space.zero.len() * optimizers.count();
                self.counts.covered += all as u64;
                self.counts.too_slow += all as u64;
                continue;
            }
            for recompute in recomputes {
                let cut = Cut { recompute, ..family.cut };
                self.options(cut, (pp, dp), &ways, worst, &mut candidates);
            }
        }
        candidates.sort_by(|a: &Candidate, b| a.bound.total_cmp(&b.bound));
        let mut left = candidates.len() as u64;
        for candidate in candidates {
            let worst = best.get(keep - 1).map_or(f64::INFINITY, |found| found.value);
            if candidate.bound >= worst {
                break;
            }
            self.try_one(&candidate.job_index, best, keep);
            left -= 1;
        }
        self.counts.too_slow += left;
    }

    fn options(
        &mut self,
        cut: Cut,
        (pp, dp): (u32, u32),
        ways: &[&Way],
        worst: f64,
        out: &mut Vec<Candidate>,
    ) {
        let space = self.space;
        for &zero in &space.zero {
            for offload in space.offload.iter().filter(|offload| offload.activations == cut.activations) {
                let sharded_over = if zero == Zero::Weights { dp } else { 0 };
                let index = JobIndex {
                    cut: Cut { sharded_over, ..cut },
                    pp,
                    dp,
                    schedule: Schedule::OneFOneB,
                    zero,
                    optimizer: offload.optimizer,
                };
                self.consider(index, ways, worst, out);
            }
        }
    }

    fn consider(&mut self, index: JobIndex, ways: &[&Way], worst: f64, out: &mut Vec<Candidate>) {
        self.counts.covered += ways.len() as u64;
        let whole = self.whole(&index);
        if self.least_memory(&index, &whole) > self.machine.chip.rank.memory.value.get() {
            self.counts.too_big += ways.len() as u64;
            return;
        }
        let micros = self.template.batch.global / (index.dp * index.cut.micro);
        self.between(&index, &whole);
        let capacity = self.machine.chip.rank.memory.value.get();
        let after = self.tail(&index, &whole);
        let dual = self.whole(&JobIndex { schedule: Schedule::DualPipe, ..index });
        for way in ways {
            let whole = if way.schedule == Schedule::DualPipe { &dual } else { &whole };
            if self.first_memory(&index, whole, way, micros) > capacity {
                self.counts.too_big += 1;
                continue;
            }
            let bound = self.bound(&index, whole, way, f64::from(micros), after);
            if bound >= worst {
                self.counts.too_slow += 1;
            } else {
                out.push(Candidate { bound, job_index: JobIndex { schedule: way.schedule, ..index } });
            }
        }
    }

    /// Sets what the bounds of one cut and size need besides the work: sends, and layers done again.
    fn between(&mut self, index: &JobIndex, whole: &Whole) {
        self.layer_again = 0.0;
        if matches!(index.cut.recompute, Recompute::Layers(_)) && self.alike {
            let full = Cut { recompute: Recompute::Full, ..index.cut };
            let full = self.whole(&JobIndex { cut: full, ..*index });
            self.layer_again = full.more_per_layer(whole, self.template.layers());
        }
        self.job(index);
        self.send = send_time(&self.job, &self.coefficients, self.machine.pricer).get();
    }

    /// The job of a candidate; only the layout of the one before is replaced.
    fn job(&mut self, index: &JobIndex) -> &Job {
        let cut = &index.cut;
        let job = &mut self.job;
        job.layout = index.layout();
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
        Seconds::new(match self.objective {
            Objective::Time => worst,
            Objective::Cost => worst / self.chips(index),
            Objective::Energy => f64::INFINITY,
        })
    }

    /// Packages that a candidate uses.
    fn chips(&self, index: &JobIndex) -> f64 {
        f64::from(index.layout().ranks()) / f64::from(self.machine.chip.ranks.max(1))
    }

    fn try_one(&mut self, index: &JobIndex, best: &mut Vec<Found>, keep: usize) {
        self.job(index);
        let worst = best.get(keep - 1).map_or(f64::INFINITY, |found| found.value);
        let step = match judge(&self.job, self.machine, self.longest(index, worst), &mut self.runs) {
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
            Objective::Energy => {
                let busy = 1.0 - step.part("pipeline bubble") / step.time;
                self.power(busy) * step.time.get() * step.chips
            }
        };
        let at = best.partition_point(|found| found.value <= value);
        if at < keep {
            best.insert(at, Found { job: self.job.clone(), step, value });
            best.truncate(keep);
        }
    }
}
