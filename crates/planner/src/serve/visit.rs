//! One kind of instance: everything about it that needs its step model.

use super::job::Job;
use super::kinds::{Ground, Kind};
use super::price::{self, DecodeStep, Prefilling, Serving, batches};
use super::worth::{Candidate, Class, Front, Hourly, Judge, Shape, Side, Worth};
use cost::step::{Speculation, StepError, StepModel};
use estimate::{EstimateError, Resolver};
use instance::KvTransfer;
use sim::PortConfig;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A decode instance at one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecodeOption {
    pub kind: Kind,
    pub drafts: u32,
    pub batch: u32,
    pub rate: f64,
    pub tpot: f64,
    /// Joules per request above idle.
    pub above_idle: f64,
    /// Watts of the instance when nothing runs.
    pub idle: f64,
    /// Where caches enter.
    pub port: CachePort,
    /// Seconds from when a request's cache is there until the client has its first token.
    pub streamed: f64,
}

/// Where caches leave or enter instances.
#[derive(Debug, Clone, Copy)]
pub(super) struct CachePort {
    pub port: PortConfig,
    /// Bytes of a prompt's cache on the ranks that hold it.
    pub bytes: f64,
}

impl CachePort {
    pub fn new(around: &Surroundings, kind: &Kind, model: &StepModel) -> Self {
        let ground = &around.grounds[kind.ground];
        let several = around.job.options.mix && around.grounds.len() > 1;
        Self {
            port: instance::port(model, instance::network_domain(&ground.system, ground.ranks(), several)),
            bytes: instance::cache_bytes(model, around.job.work.prompt()).get(),
        }
    }

    /// Bytes per second of one sequence.
    pub fn own(&self) -> f64 {
        self.port.fabric.get() * self.port.sequence_share
    }

    /// Seconds in which a decode instance that caches enter here has one from a prefill instance.
    pub fn time(&self, prefill: &Self) -> f64 {
        let transfer = KvTransfer::between(&prefill.port, &self.port);
        (transfer.latency + units::Bytes::new(self.bytes) / transfer.bandwidth).get()
    }
}

/// Shares of the limit on the first token that are left for what comes after the prefill: moving the cache and sending.
const LEFT: [f64; 7] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7];

/// A prefill instance under one token budget, and under one share of the limit that is left for what comes after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PrefillOption {
    pub kind: Kind,
    pub budget: u32,
    /// Most requests per second within what the limit on the first token leaves.
    pub rate: f64,
    /// Seconds that are left.
    pub left: f64,
    /// Where caches leave.
    pub port: CachePort,
    /// Joules per request above idle.
    pub above_idle: f64,
    /// Watts of the instance when nothing runs.
    pub idle: f64,
}

/// Deployments of one kind and what became of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    /// Aggregated deployments, one per operating point and number of instances.
    pub covered: u64,
    /// Of them, those that the engine does not start.
    pub unstartable: u64,
    /// Those whose weights or caches do not fit.
    pub memory: u64,
    /// Those that instances of fewer stages do as well on the same chips.
    pub stages: u64,
    /// Those that are too slow for a token even without prompts.
    pub decode_alone: u64,
    /// Those that would not win even without prompts.
    pub bound: u64,
    /// Those that were priced and miss a limit.
    pub limits: u64,
    /// Operating points that were priced.
    pub priced: u64,
}

impl Counts {
    pub fn add(&mut self, other: &Self) {
        self.covered += other.covered;
        self.unstartable += other.unstartable;
        self.memory += other.memory;
        self.stages += other.stages;
        self.decode_alone += other.decode_alone;
        self.bound += other.bound;
        self.limits += other.limits;
        self.priced += other.priced;
    }
}

/// What a visit brings back.
#[derive(Default)]
pub(super) struct Visit {
    pub decode: Vec<DecodeOption>,
    pub prefill: Vec<PrefillOption>,
    /// Token budgets under which a prefill instance can keep the limit.
    pub prefill_within: u64,
    /// The best aggregated deployment of the kind.
    pub best: Option<Candidate>,
    pub front: Front<Candidate>,
    pub counts: Counts,
    /// Operating points of a decode instance that fit.
    pub decode_fit: u64,
    /// Of them, those that fewer stages hold as well.
    pub decode_skipped: u64,
    /// Whether the engine starts instances of this kind.
    pub starts: bool,
    /// Whether the weights fit.
    pub fits: bool,
    pub refused: Option<EstimateError>,
}

/// What an aggregated deployment must beat to matter, fixed while a block of kinds is visited so that the outcome does
/// not depend on which thread comes first.
#[derive(Debug, Clone, Default)]
pub(super) struct Bar {
    pub front: Front<Candidate>,
    pub classes: BTreeMap<Class, Candidate>,
    /// Score of the last that would be listed.
    pub listed: Option<f64>,
}

impl Bar {
    /// Whether a deployment of `class` with this worth at most can be left out.
    fn out_of_reach(&self, judge: &Judge, class: &Class, most: &Worth) -> bool {
        if !self.front.beats(1.0 / most.tpot, judge.density(most)) {
            return false;
        }
        let score = judge.score(most);
        let known = self.classes.get(class).map(|best| judge.score(&best.worth));
        // An unknown score compares with nothing.
        known.is_some_and(|known| score < known) || self.listed.is_some_and(|listed| score < listed)
    }

    pub fn take(&mut self, judge: &Judge, visit: &mut Visit, top: usize) {
        self.front.merge(std::mem::take(&mut visit.front));
        if let Some(best) = visit.best.take() {
            let class = best.shape.class();
            match self.classes.get(&class) {
                Some(known) if !judge.prefers(&best.worth, &known.worth) => {}
                _ => {
                    self.classes.insert(class, best);
                }
            }
        }
        let mut scores: Vec<f64> = self.classes.values().map(|best| judge.score(&best.worth)).collect();
        scores.sort_by(|a, b| b.total_cmp(a));
        self.listed = scores.get(top.saturating_sub(1)).copied();
    }
}

/// Everything a visit looks at and nothing it changes.
#[derive(Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub resolver: &'a Resolver,
    pub job: &'a Job,
    pub grounds: &'a [Ground],
    pub judge: Judge,
    /// What packages of each ground cost.
    pub hourly: &'a [Hourly],
    pub drafts: u32,
    pub bar: &'a Bar,
    /// Whether everything is priced, for tests.
    pub exhaustive: bool,
    /// Set from outside to stop: what is under way ends with what it has.
    pub cancel: &'a AtomicBool,
}

impl Surroundings<'_> {
    /// Whether the search was stopped.
    pub fn stopped(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    /// Instances that a deployment has: as many as there are chips for, or as the target takes.
    pub fn instances(&self, ground: usize, ranks: u32, rate: f64) -> Option<u32> {
        let most = self.grounds[ground].ranks() / ranks;
        let wanted = match self.judge.target {
            None => most,
            Some(target) => (target / rate).ceil().max(1.0).min(f64::from(u32::MAX)) as u32,
        };
        (wanted >= 1 && wanted <= most).then_some(wanted)
    }

    fn worth(&self, kind: &Kind, serving: &Serving, idle: f64) -> Option<(u32, Worth)> {
        let instances = self.instances(kind.ground, kind.ranks(), serving.rate)?;
        Some((instances, self.worth_of(kind, serving, idle, instances)))
    }

    /// The same of as many instances as the power budget allows.
    fn afforded(&self, kind: &Kind, serving: &Serving, idle: f64) -> Option<(u32, Worth)> {
        let (instances, worth) = self.worth(kind, serving, idle)?;
        if self.judge.affords(&worth) {
            return Some((instances, worth));
        }
        // A load that is asked for cannot be served by less; chips may be left idle.
        let budget = self.judge.power.filter(|_| self.judge.target.is_none())?;
        let instances = (budget / serving.power).floor();
        let instances = (instances >= 1.0).then_some(instances as u32)?;
        Some((instances, self.worth_of(kind, serving, idle, instances)))
    }

    fn worth_of(&self, kind: &Kind, serving: &Serving, idle: f64, instances: u32) -> Worth {
        let chips = self.grounds[kind.ground].chips_of(kind.ranks() * instances);
        let most = serving.rate * f64::from(instances);
        let rate = self.judge.target.unwrap_or(most);
        let power = f64::from(instances) * (idle + (serving.power - idle) * rate / most);
        let money = self.hourly[kind.ground].of(chips, power);
        Worth { rate, tpot: serving.tpot, chips, power, money }
    }
}

/// The worth that no aggregated deployment exceeds whose instances do no more than `alone`, which is decoding without
/// prompts: requests come no faster, tokens no sooner, and a request takes no less energy.
fn most_worth(around: &Surroundings, kind: &Kind, alone: &Serving) -> Option<Worth> {
    // Idle power and a power budget that are left out make the bound looser, never wrong.
    around.worth(kind, alone, 0.0).map(|(_, worth)| worth)
}

/// Prices kinds that differ in their number of stages only, each in every role.
pub(super) fn visit_all(around: &Surroundings, kinds: &[Kind]) -> Vec<Visit> {
    let mut held = vec![0; around.drafts as usize + 1];
    kinds.iter().take_while(|_| !around.stopped()).map(|kind| visit(around, kind, &mut held)).collect()
}

/// Prices a kind in every role.
///
/// `held` says how many of the batches kinds of fewer stages hold, by draft length. At these a kind is beaten by such
/// instances on the same chips: a step of theirs has the same work and fewer sends, and there are more of them.
fn visit(around: &Surroundings, kind: &Kind, held: &mut [usize]) -> Visit {
    let ground = &around.grounds[kind.ground];
    let mut visit = Visit::default();
    let grid = batches(ground.most_sequences);
    let instances = u64::from(ground.ranks() / kind.ranks());
    let draft_counts = u64::from(around.drafts) + 1;
    let per_point = instances * ground.budgets.len() as u64;
    visit.counts.covered = per_point * draft_counts * grid.len() as u64;
    let model = match around.resolver.step_model_on(&ground.shared, &kind.point(ground, around.job)) {
        Ok(model) => model,
        Err(error) => {
            visit.starts = !matches!(error, EstimateError::Step(StepError::Unstartable(_)));
            let refused = if visit.starts { &mut visit.counts.memory } else { &mut visit.counts.unstartable };
            *refused = visit.counts.covered;
            visit.refused = Some(error);
            return visit;
        }
    };
    (visit.starts, visit.fits) = (true, true);
    if around.job.options.disaggregated {
        prefill_options(around, kind, &model, &mut visit);
    }
    for drafts in (0..=around.drafts).take_while(|_| !around.stopped()) {
        let speculation = Speculation { tokens: drafts, acceptance: around.job.accepted_share(drafts) };
        let Ok(drafting) = model.with_speculation(speculation) else {
            visit.counts.memory += per_point * grid.len() as u64;
            continue;
        };
        let work = &around.job.work;
        let most = drafting.memory().sequences(work.held);
        let holds_longest = drafting.memory().sequences(f64::from(around.job.longest)) >= 1.0;
        let fit = if holds_longest { grid.partition_point(|batch| f64::from(*batch) <= most) } else { 0 };
        visit.counts.memory += per_point * (grid.len() - fit) as u64;
        visit.decode_fit += fit as u64;
        let known = &mut held[drafts as usize];
        // Under a power budget chips are not what is short, so that fewer stages need not do as well.
        let skipped = if around.exhaustive || around.judge.power.is_some() { 0 } else { (*known).min(fit) };
        *known = fit.max(*known);
        visit.counts.stages += per_point * skipped as u64;
        visit.decode_skipped += skipped as u64;
        let steps = decode_steps(around, &drafting, &grid[skipped..fit]);
        visit.counts.priced += steps.len() as u64;
        visit.counts.decode_alone += per_point * (fit - skipped - steps.len()) as u64;
        if around.job.options.disaggregated {
            decode_options(around, kind, &drafting, drafts, &steps, &mut visit);
        }
        if around.job.options.aggregated {
            aggregated(around, kind, &drafting, drafts, &steps, &mut visit);
        }
    }
    visit
}

/// Decoding steps at ascending batches, up to the first that takes longer per token than the limit: larger batches
/// never take less.
fn decode_steps(around: &Surroundings, model: &StepModel, batches: &[u32]) -> Vec<(u32, DecodeStep)> {
    let (work, limit) = (&around.job.work, around.job.tpot.get());
    let mut steps = Vec::with_capacity(batches.len());
    for batch in batches {
        let step = price::decode_step(model, work, f64::from(*batch));
        steps.push((*batch, step));
        if !around.exhaustive && price::decoding(model, work, &step).tpot > limit {
            break;
        }
    }
    steps
}

fn prefill_options(around: &Surroundings, kind: &Kind, model: &StepModel, visit: &mut Visit) {
    let ground = &around.grounds[kind.ground];
    for budget in ground.budgets.iter().take_while(|_| !around.stopped()) {
        let Some(budgeted) = with_budget(model, *budget) else { continue };
        let queue = Prefilling::new(&budgeted, &around.job.work);
        visit.counts.priced += 1;
        let port = CachePort::new(around, kind, &budgeted);
        let known = visit.prefill.len();
        for share in LEFT {
            let left = share * around.job.ttft.get();
            let Some(rate) = queue.most_rate(around.job.ttft.get() - left) else { break };
            // The same rate with more time left is the better option.
            visit.prefill.truncate(known.max(visit.prefill.len() - usize::from(same(visit, known, rate))));
            let above_idle = queue.above_idle(rate);
            let (kind, budget, idle) = (*kind, *budget, queue.idle);
            visit.prefill.push(PrefillOption { kind, budget, rate, left, port, above_idle, idle });
        }
        visit.prefill_within += u64::from(visit.prefill.len() > known);
    }
}

/// Whether the last option after the first `known` has this rate.
fn same(visit: &Visit, known: usize, rate: f64) -> bool {
    visit.prefill[known..].last().is_some_and(|last| last.rate <= rate)
}

/// The same instance with another token budget.
pub(super) fn with_budget(model: &StepModel, budget: u32) -> Option<StepModel> {
    let mut engine = model.deployment().engine.as_ref().clone();
    engine.scheduler.token_budget.value = budget;
    model.with_engine(Arc::new(engine)).ok()
}

fn decode_options(
    around: &Surroundings,
    kind: &Kind,
    model: &StepModel,
    drafts: u32,
    steps: &[(u32, DecodeStep)],
    visit: &mut Visit,
) {
    let idle = model.idle_power().map_or(f64::NAN, units::Watts::get);
    let port = CachePort::new(around, kind, model);
    for (batch, step) in steps {
        let alone = price::decoding(model, &around.job.work, step);
        if alone.tpot <= around.job.tpot.get() {
            visit.decode.push(DecodeOption {
                kind: *kind,
                drafts,
                batch: *batch,
                rate: alone.rate,
                tpot: alone.tpot,
                above_idle: (alone.power - idle) / alone.rate,
                idle,
                port,
                streamed: alone.ttft,
            });
        }
    }
}

/// The steps at which an aggregated instance could still win. Decoding alone costs the same under every budget, and so does
/// the bound.
fn reachable(
    around: &Surroundings,
    side: Side,
    model: &StepModel,
    steps: &[(u32, DecodeStep)],
    counts: &mut Counts,
) -> Vec<(u32, DecodeStep)> {
    let (kind, job) = (&side.kind, around.job);
    let ground = &around.grounds[kind.ground];
    let class = Shape::Aggregated(side).class();
    let deployments = u64::from(ground.ranks() / kind.ranks()) * ground.budgets.len() as u64;
    let in_reach = |(_, step): &&(u32, DecodeStep)| {
        let alone = price::decoding(model, &job.work, step);
        if alone.tpot > job.tpot.get() {
            counts.decode_alone += deployments;
            return false;
        }
        let most = most_worth(around, kind, &alone);
        let in_reach = around.exhaustive
            || most.is_some_and(|most| !around.bar.out_of_reach(&around.judge, &class, &most));
        if !in_reach {
            counts.bound += deployments;
        }
        in_reach
    };
    steps.iter().filter(in_reach).copied().collect()
}

fn aggregated(
    around: &Surroundings,
    kind: &Kind,
    model: &StepModel,
    drafts: u32,
    steps: &[(u32, DecodeStep)],
    visit: &mut Visit,
) {
    let (job, ground) = (around.job, &around.grounds[kind.ground]);
    let idle = model.idle_power().map_or(f64::NAN, units::Watts::get);
    let instances = u64::from(ground.ranks() / kind.ranks());
    let side = Side { kind: *kind, drafts, budget: 0, batch: 0, instances: 0 };
    let reachable = reachable(around, side, model, steps, &mut visit.counts);
    if reachable.is_empty() {
        return;
    }
    for budget in ground.budgets.iter().take_while(|_| !around.stopped()) {
        let Some(budgeted) = with_budget(model, *budget) else { continue };
        for (at, (batch, step)) in reachable.iter().enumerate() {
            visit.counts.priced += 1;
            let serving = price::aggregated(&budgeted, &job.work, step);
            // Larger batches bring more prompts and take longer per token still.
            let too_many = serving.is_none_or(|serving| serving.tpot > job.tpot.get());
            if too_many && !around.exhaustive {
                visit.counts.limits += instances * (reachable.len() - at) as u64;
                break;
            }
            let within =
                serving.filter(|serving| serving.tpot <= job.tpot.get() && serving.ttft <= job.ttft.get());
            let Some((count, worth)) = within.and_then(|serving| around.afforded(kind, &serving, idle))
            else {
                visit.counts.limits += instances;
                continue;
            };
            let shape = Shape::Aggregated(Side { budget: *budget, batch: *batch, instances: count, ..side });
            let candidate = Candidate { shape, worth };
            visit.front.offer(1.0 / worth.tpot, around.judge.density(&worth), || candidate);
            if visit.best.as_ref().is_none_or(|best| around.judge.prefers(&worth, &best.worth)) {
                visit.best = Some(candidate);
            }
        }
    }
}
