//! The best layout of a job: exact search over every way to cut it.
//!
//! Each candidate has a lower bound of its time that needs no pipeline to be executed, and a lower bound of its
//! memory. Candidates are priced in the order of their bound until the bound passes the best price found: everything left
//! is worse, so that the answer is that of trying them all.

use crate::error::JobError;
use crate::goodput;
use crate::job::{ContextMethod, Job, Layout, Offload, Recompute, Zero};
use crate::layer::{Context, PassTimes};
use crate::memory::{LayerMemory, Weights, vocabulary_weights};
use crate::remembered::Remembered;
use crate::schedule::Schedule;
use crate::stages::EDGES;
use crate::step::{Machine, Runs, Step, Verdict, judge};
use crate::way::Way;
use hardware::System;
use model::Ffn;
use std::collections::BTreeMap;
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

/// The values each knob may take; what does not go together is skipped.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    /// Ranks to use.
    pub ranks: u32,
    /// Whether fewer ranks may be used, the rest idle: the next multiples of 8, 64 and 512 below.
    pub at_most: bool,
    /// Tensor parallel sizes.
    pub tp: Vec<u32>,
    /// Pipeline sizes.
    pub pp: Vec<u32>,
    /// Virtual pipeline sizes.
    pub vpp: Vec<u32>,
    /// Context parallel sizes.
    pub cp: Vec<u32>,
    /// Expert parallel sizes.
    pub ep: Vec<u32>,
    /// Micro-batch sizes.
    pub micro: Vec<u32>,
    /// Recomputation.
    pub recompute: Vec<Recompute>,
    /// Sharding.
    pub zero: Vec<Zero>,
    /// Sequence parallelism.
    pub sequence_parallel: Vec<bool>,
    /// Plain schedules besides interleaving.
    pub schedules: Vec<Schedule>,
    /// What lives on the host.
    pub offload: Vec<Offload>,
    /// Methods of context parallelism.
    pub context: Vec<ContextMethod>,
}

impl Space {
    /// Every sensible value of every knob for `job` on `ranks` ranks of `system`: tensor parallelism within the largest
    /// scale-up domain, any number of stages up to the layers.
    pub fn all(job: &Job, system: &System, ranks: u32, at_most: bool) -> Self {
        let layers = job.layers();
        let heads = job.model.layers.iter().filter_map(heads_of).min().unwrap_or(1);
        let domains = system.domains.len();
        let scale_up =
            system.domains[..domains.saturating_sub(1)].iter().filter_map(|domain| domain.ranks).max();
        let scale_up = scale_up.unwrap_or(8);
        let experts = job.model.layers.iter().find_map(|group| match &group.ffn {
            Ffn::Moe(moe) => Some(moe.experts),
            _ => None,
        });
        let divisors =
            |value: u32, limit: u32| (1..=value.min(limit)).filter(|d| value % d == 0).collect::<Vec<_>>();
        let offload = |optimizer, activations| Offload { optimizer, activations };
        Self {
            ranks,
            at_most,
            tp: divisors(heads, scale_up),
            pp: (1..=layers.min(ranks)).collect(),
            vpp: divisors(layers + EDGES, layers)
                .into_iter()
                .chain(divisors(layers, layers))
                .chain([1])
                .collect(),
            cp: divisors(job.batch.seq, 16).into_iter().filter(|cp| cp.is_power_of_two()).collect(),
            ep: experts.map_or(vec![1], |experts| divisors(experts, ranks)),
            micro: (1..=32).collect(),
            recompute: vec![Recompute::None, Recompute::Selective, Recompute::Full],
            zero: vec![Zero::None, Zero::Optimizer, Zero::Gradients, Zero::Weights],
            sequence_parallel: vec![true, false],
            schedules: vec![Schedule::OneFOneB, Schedule::ZeroBubbleH1, Schedule::GPipe, Schedule::DualPipe],
            offload: vec![
                offload(false, false),
                offload(true, false),
                offload(false, true),
                offload(true, true),
            ],
            context: vec![ContextMethod::Ring, ContextMethod::Ulysses],
        }
        .sorted()
    }

    /// Numbers of ranks to cut the job over, all of them first.
    fn rank_counts(&self) -> Vec<u32> {
        let mut counts = vec![self.ranks];
        if self.at_most {
            let rounded = [8, 64, 512].map(|unit| self.ranks / unit * unit);
            counts.extend(rounded.into_iter().filter(|count| *count > 0));
            counts.dedup();
        }
        counts
    }

    fn sorted(mut self) -> Self {
        for list in [&mut self.vpp, &mut self.tp, &mut self.ep] {
            list.sort_unstable();
            list.dedup();
        }
        self
    }
}

fn heads_of(group: &model::LayerGroup) -> Option<u32> {
    match &group.attention {
        model::Attention::MultiHead(attention) => Some(attention.heads),
        model::Attention::Mla(attention) => Some(attention.heads),
        _ => None,
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
}

/// A micro-batch through the whole model under one cut, and its weights.
#[derive(Debug, Clone, Copy)]
struct Whole {
    /// Times of all layers, embedding and head.
    layers_total: f64,
    /// Forward and input gradient of all layers.
    chain: f64,
    edges_total: f64,
    head_total: f64,
    weights: Weights,
    vocabulary: f64,
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
            wholes: BTreeMap::new(),
            runs: Runs::default(),
            counts: outcome.counts,
            overhead: machine.profile.for_family(&machine.chip.family).get("host_step").unwrap_or(0.0),
        };
        let mut candidates = Vec::new();
        search.enumerate(&mut candidates);
        candidates.sort_by(|a, b| a.bound.total_cmp(&b.bound));
        let mut left = candidates.len() as u64;
        for candidate in candidates {
            let worst = outcome.best.get(keep - 1).map_or(f64::INFINITY, |found| found.value);
            if candidate.bound >= worst {
                break;
            }
            search.try_one(&candidate.job_index, &mut outcome.best, keep);
            left -= 1;
        }
        search.counts.too_slow += left;
        outcome.counts = search.counts;
    }
    Ok(outcome)
}

struct Search<'a> {
    template: &'a Job,
    space: &'a Space,
    machine: &'a Machine<'a>,
    objective: Objective,
    wholes: BTreeMap<Cut, Whole>,
    runs: Runs,
    counts: Counts,
    /// Fixed time of every step, seconds.
    overhead: f64,
}

impl Search<'_> {
    fn enumerate(&mut self, out: &mut Vec<Candidate>) {
        let space = self.space;
        for &tp in &space.tp {
            for &cp in &space.cp {
                for &ep in &space.ep {
                    for &micro in &space.micro {
                        self.sizes(tp, cp, ep, micro, out);
                    }
                }
            }
        }
    }

    /// Pipeline and data parallel sizes that go with a cut.
    fn sizes(&mut self, tp: u32, cp: u32, ep: u32, micro: u32, out: &mut Vec<Candidate>) {
        let (space, global) = (self.space, self.template.batch.global);
        if self.template.batch.seq % cp != 0 {
            return;
        }
        for &pp in &space.pp {
            let Some(rest) = space.ranks.checked_div(tp * cp * pp).filter(|rest| *rest > 0) else { continue };
            let goes = rest * tp * cp * pp == space.ranks
                && global % (rest * micro) == 0
                && (tp * cp * rest) % ep == 0;
            if goes {
                self.options(tp, cp, ep, micro, pp, rest, out);
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "the loops of a search over seven sizes")]
    fn options(&mut self, tp: u32, cp: u32, ep: u32, micro: u32, pp: u32, dp: u32, out: &mut Vec<Candidate>) {
        let space = self.space;
        let micros = self.template.batch.global / (dp * micro);
        let schedules = self.schedules(pp, micros);
        let contexts = if cp > 1 { &space.context[..] } else { &space.context[..1] };
        let parallel: &[bool] = if tp > 1 { &space.sequence_parallel } else { &[false] };
        for recompute in self.recomputes(pp) {
            for &sequence_parallel in parallel {
                for &context in contexts {
                    for &zero in &space.zero {
                        for &offload in &space.offload {
                            let sharded_over = if zero == Zero::Weights { dp } else { 0 };
                            let activations = offload.activations;
                            let cut = Cut {
                                tp,
                                cp,
                                ep,
                                micro,
                                recompute,
                                sequence_parallel,
                                context,
                                activations,
                                sharded_over,
                            };
                            let index = JobIndex {
                                cut,
                                pp,
                                dp,
                                schedule: Schedule::OneFOneB,
                                zero,
                                optimizer: offload.optimizer,
                            };
                            self.consider(index, &schedules, micros, out);
                        }
                    }
                }
            }
        }
    }

    /// Recomputation of everything alike, or of a quarter, half or three quarters of a stage's layers.
    fn recomputes(&self, pp: u32) -> Vec<Recompute> {
        let layers = self.template.layers().div_ceil(pp);
        let quarters = (1..4).map(|quarters| layers * quarters / 4).filter(|some| (1..layers).contains(some));
        let mut all = self.space.recompute.clone();
        all.extend(quarters.map(Recompute::Layers));
        all.dedup();
        all
    }

    fn schedules(&self, pp: u32, micros: u32) -> Vec<Way> {
        let layers = self.template.layers();
        let alike = self.template.model.layers.len() == 1;
        if pp == 1 {
            return Way::new(Schedule::OneFOneB, layers, alike, pp).into_iter().collect();
        }
        let plain = self.space.schedules.iter().copied();
        let interleaved =
            self.space.vpp.iter().filter(|chunks| **chunks > 1 && pp * **chunks <= layers + EDGES);
        plain
            .chain(interleaved.map(|chunks| Schedule::Interleaved { chunks: *chunks }))
            .filter(|schedule| schedule.check(pp, micros).is_ok())
            .filter_map(|schedule| Way::new(schedule, layers, alike, pp))
            .collect()
    }

    fn consider(&mut self, index: JobIndex, schedules: &[Way], micros: u32, out: &mut Vec<Candidate>) {
        self.counts.covered += schedules.len() as u64;
        let whole = self.whole(&index);
        if self.least_memory(&index, &whole) > self.machine.chip.rank.memory.value.get() {
            self.counts.too_big += schedules.len() as u64;
            return;
        }
        for way in schedules {
            let schedule = way.schedule;
            let bound = self.bound(&index, &whole, way, f64::from(micros));
            out.push(Candidate { bound, job_index: JobIndex { schedule, ..index } });
        }
    }

    /// Prices of the whole model under a cut, worked out once.
    fn whole(&mut self, index: &JobIndex) -> Whole {
        // Where some layers are computed again, no less is done than where none is.
        let recompute = match index.cut.recompute {
            Recompute::Layers(_) => Recompute::None,
            recompute => recompute,
        };
        let cut = Cut { recompute, ..index.cut };
        if let Some(known) = self.wholes.get(&cut) {
            return *known;
        }
        let job = self.job(&JobIndex { pp: 1, cut, ..*index });
        let context =
            Context::new(&job, self.machine.profile, &self.machine.chip.family, self.machine.pricer);
        let mut layers = PassTimes::default();
        let mut weights = Weights::default();
        for group in &job.model.layers {
            let count = f64::from(group.count);
            layers.add(&context.layer(group, job.recompute), count);
            let own = LayerMemory::new(&job, self.machine.profile, group).weights();
            weights.dense += count * own.dense;
            weights.experts += count * own.experts;
        }
        let mut head = context.head();
        head.add(&context.mtp(), 1.0);
        let total = |passes: &PassTimes| passes.total().total().get();
        let whole = Whole {
            layers_total: total(&layers),
            chain: (layers.forward.total() + layers.backward_input.total()).get(),
            edges_total: total(&context.embedding()),
            head_total: total(&head),
            weights,
            vocabulary: vocabulary_weights(&job),
        };
        self.wholes.insert(cut, whole);
        whole
    }

    /// Memory of the mean stage's states: the fullest has no less.
    fn least_memory(&self, index: &JobIndex, whole: &Whole) -> f64 {
        let (pp, cut) = (f64::from(index.pp), &index.cut);
        let dense = (whole.weights.dense + 2.0 * whole.vocabulary) / pp;
        let experts = whole.weights.experts / pp;
        let shards = f64::from(index.dp * cut.cp);
        let etp = if cut.ep > 1 { 1 } else { cut.tp };
        let expert_shards = f64::from((cut.tp * cut.cp * index.dp / (cut.ep * etp)).max(1));
        let sharded = dense / shards + experts / expert_shards;
        let at = |zero: Zero| if index.zero >= zero { sharded } else { dense + experts };
        let profile = self.machine.profile;
        let gradients = if profile.reduces_early { sharded } else { at(Zero::Gradients) };
        let optimizer = if index.optimizer { 0.0 } else { 12.0 * at(Zero::Optimizer) };
        let states = 2.0 * at(Zero::Weights) + profile.accumulator_bytes * gradients + optimizer;
        states + profile.reserve * self.machine.chip.rank.memory.value.get()
    }

    /// A time no execution of the candidate can beat: the mean rank's work, the fullest rank's, or the last rank's after
    /// the first micro-batch has come down and before the last has gone back up.
    fn bound(&self, index: &JobIndex, whole: &Whole, way: &Way, micros: f64) -> f64 {
        let mean = micros * (whole.layers_total + whole.edges_total + whole.head_total) / f64::from(index.pp);
        let head = if way.last > 0.0 { whole.head_total } else { 0.0 };
        let last = if matches!(way.schedule, Schedule::ZeroBubbleH1 | Schedule::DualPipe) {
            // Weight gradients may wait until the last micro-batch has gone up.
            way.ramp * whole.chain + micros * way.last * whole.chain
        } else {
            way.ramp * whole.chain + micros * (way.last * whole.layers_total + head)
        };
        let fullest = micros * way.fullest * whole.layers_total;
        let time = mean.max(fullest).max(last) + self.overhead;
        let chips = self.chips(index);
        match self.objective {
            Objective::Time => time,
            Objective::Cost => time * chips,
            // Every part of the bound is drawn at no less than idle power, and the mean rank's work at full power.
            Objective::Energy => {
                let at = |busy| self.power(busy);
                (at(0.0) * time + (at(1.0) - at(0.0)) * mean) * chips
            }
        }
    }

    fn power(&self, busy: f64) -> f64 {
        goodput::chip_power(self.machine.chip, units::Watts::ZERO, busy).map_or(1.0, units::Watts::get)
    }

    fn job(&self, index: &JobIndex) -> Job {
        let cut = &index.cut;
        let mut job = self.template.clone();
        let etp = if cut.ep > 1 { 1 } else { cut.tp };
        job.layout = Layout { tp: cut.tp, cp: cut.cp, pp: index.pp, dp: index.dp, ep: cut.ep, etp };
        job.batch.micro = cut.micro;
        job.schedule = index.schedule;
        job.recompute = cut.recompute;
        job.zero = index.zero;
        job.sequence_parallel = cut.sequence_parallel;
        job.context = cut.context;
        job.offload = Offload { optimizer: index.optimizer, activations: cut.activations };
        job.edge_layers = (None, None);
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
        f64::from(index.dp * index.cut.tp * index.cut.cp * index.pp)
            / f64::from(self.machine.chip.ranks.max(1))
    }

    fn try_one(&mut self, index: &JobIndex, best: &mut Vec<Found>, keep: usize) {
        let job = self.job(index);
        let worst = best.get(keep - 1).map_or(f64::INFINITY, |found| found.value);
        let step = match judge(&job, self.machine, self.longest(index, worst), &mut self.runs) {
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
            Err(_) => {
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
            best.insert(at, Found { job, step, value });
            best.truncate(keep);
        }
    }
}
