//! Candidates worked out in full: every figure of the plan, from step models made the way `estimate` makes them.

use super::job::Job;
use super::kinds::Ground;
use super::price::{self, Prefilling, Serving};
use super::worth::{Candidate, Shape, Side, money};
use super::{Best, Found, Outcome, PlanError, reasons};
use crate::plan_file::{
    DeploymentFile, DeploymentMode, JobFile, PlanFile, PoolFile, PoolRole, PredictedFile, SCHEMA, Value,
};
use cost::step::{Bound, StepCost, StepModel};
use estimate::economics::{CARBON_SPREAD, Ownership, POWER_SPREAD, Site};
use estimate::{EstimateError, Resolver, Roles};
use hardware::Grade;
use instance::KvTransfer;
use std::sync::Arc;
use units::{GramsCo2, Joules, Seconds, TokensPerSecond};

/// Points of the front that are worked out.
const FRONT_POINTS: usize = 40;

/// A deployment of the plan with the step models behind it.
#[derive(Clone)]
pub struct Planned {
    /// As it is written.
    pub file: DeploymentFile,
    pub(super) pools: Vec<SettledPool>,
    pub(super) detail: Detail,
}

impl Planned {
    /// The step of the instances that decode, at the plan's batch.
    pub fn decoding(&self, job: &Job) -> StepCost {
        let batch = self.detail.batch;
        let decodes = self.pools.last().expect("a deployment has a pool");
        price::decode_cost(&decodes.model, &job.work, batch)
    }

    /// The weakest grade among the figures of its chips.
    pub fn grade(&self) -> Grade {
        weakest(&self.pools)
    }
}

/// The weakest grade among the figures of the chips of pools.
fn weakest(pools: &[SettledPool]) -> Grade {
    let grades = pools.iter().map(|pool| pool.model.deployment().chip.grade());
    grades.max().unwrap_or(Grade::Assumed)
}

/// Instances of one kind, ready to run.
#[derive(Clone)]
pub(super) struct SettledPool {
    pub side: Side,
    pub model: Arc<StepModel>,
}

/// What the sentences about a deployment need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Detail {
    /// Sequences per rank that decode.
    pub batch: f64,
    /// Seconds per output token if no prompts came.
    pub tpot_alone: f64,
    /// Share of time in which prompts hold decoding up.
    pub prompts: f64,
    /// Share of time that prefill instances work; 0 where there are none.
    pub prefill_busy: f64,
    /// Share of the decode step under its main bound.
    pub bound_share: f64,
    /// Requests per second.
    pub rate: f64,
    /// Seconds.
    pub ttft: f64,
    /// Seconds.
    pub tpot: f64,
}

struct Bench<'a> {
    resolver: &'a Resolver,
    job: &'a Job,
    site: &'a Site,
    grounds: &'a [Ground],
}

/// The plan of what a search has found.
pub(super) fn outcome(
    resolver: &Resolver,
    job: &Job,
    site: &Site,
    found: Found,
) -> Result<Outcome, PlanError> {
    let bench = Bench { resolver, job, site, grounds: &found.grounds };
    let Some(winner) = found.best.first() else { return Err(nothing(job, &found)) };
    if !found.judge.score(&winner.worth).is_finite() {
        return Err(PlanError::Flags(
            "the objective needs a figure that the catalog does not have for this system: \
             set chip.tdp for energy, system.price for the cost of buying or system.hourly for that of renting",
        ));
    }
    let best = bench.settle(winner)?;
    let of = |aggregated: bool| {
        let candidate = found.best.iter().find(|one| one.shape.is_aggregated() == aggregated);
        candidate.map(|candidate| bench.settle(candidate)).transpose()
    };
    let (aggregated, disaggregated) = (of(true)?, of(false)?);
    let settled = |candidates: Vec<&Candidate>| -> Result<Vec<DeploymentFile>, EstimateError> {
        candidates.into_iter().map(|candidate| Ok(bench.settle(candidate)?.file)).collect()
    };
    let top = settled(found.best.iter().take(job.options.top.max(1)).collect())?;
    let front = settled(spread(found.front.points()))?;
    let file = PlanFile {
        schema: SCHEMA.to_owned(),
        model: job.model.clone(),
        objective: job.objective.to_string(),
        job: JobFile {
            isl: job.isl,
            osl: job.osl,
            max_length: job.longest,
            prefix_hit: job.work.cached / job.work.prompt(),
            ttft: job.ttft.into(),
            tpot: job.tpot.into(),
            power_budget: job.power_budget.map(Into::into),
        },
        best: best.file.clone(),
        aggregated: aggregated.as_ref().map(|one| one.file.clone()),
        disaggregated: disaggregated.as_ref().map(|one| one.file.clone()),
        reasons: reasons::reasons(job, &best, aggregated.as_ref(), disaggregated.as_ref()),
        front,
        top,
        search: found.counts,
    };
    Ok(Outcome { file, best, aggregated, disaggregated })
}

/// What the winner does per chip at hand and what bounds it.
pub(super) fn best(resolver: &Resolver, job: &Job, site: &Site, found: &Found) -> Result<Best, PlanError> {
    let bench = Bench { resolver, job, site, grounds: &found.grounds };
    let Some(winner) = found.best.first() else { return Err(nothing(job, found)) };
    let planned = bench.settle(winner)?;
    let predicted = &planned.file.predicted;
    let tokens = found.judge.density(&winner.worth) * job.work.output;
    let rate = &predicted.throughput;
    let sigma = rate.high.map_or(0.0, |high| (high / rate.value).ln() / estimate::BAND_80);
    Ok(Best {
        throughput: TokensPerSecond::new(tokens),
        sigma,
        grade: planned.grade(),
        bound: format!("{}, {}", predicted.bound, predicted.limit),
    })
}

fn nothing(job: &Job, found: &Found) -> PlanError {
    let covered = found.counts.covered;
    if found.counts.interrupted {
        return PlanError::Nothing("stopped before anything that meets the limits was found".to_owned());
    }
    let fits = found.counts.priced > 0;
    let reason = match (&found.refused, fits) {
        (Some(error), false) => error.to_string(),
        _ => format!(
            "none keeps a mean of {} to the first token and {} per token{}{}; allow longer times, more chips or other formats",
            job.ttft,
            job.tpot,
            job.power_budget.map_or(String::new(), |budget| format!(" within {budget}")),
            if found.judge.target.is_some() { " under the load asked for" } else { "" },
        ),
    };
    PlanError::Nothing(format!("no deployment out of {covered} will do: {reason}"))
}

/// At most [`FRONT_POINTS`] of the front, evenly spread in speed, both ends among them.
fn spread(points: &[(f64, f64, Candidate)]) -> Vec<&Candidate> {
    let last = points.len().saturating_sub(1);
    let count = points.len().min(FRONT_POINTS);
    let mut indices: Vec<usize> =
        (0..count).map(|index| if count > 1 { index * last / (count - 1) } else { 0 }).collect();
    indices.dedup();
    indices.into_iter().map(|index| &points[index].2).collect()
}

impl Bench<'_> {
    fn settle(&self, candidate: &Candidate) -> Result<Planned, EstimateError> {
        match &candidate.shape {
            Shape::Aggregated(side) => self.aggregated(candidate, side),
            Shape::Disaggregated(prefill, decode) => self.disaggregated(candidate, prefill, decode),
        }
    }

    /// The step model of a side, with `sequences` per rank at most.
    fn model(&self, side: &Side, sequences: Option<f64>) -> Result<Arc<StepModel>, EstimateError> {
        let ground = &self.grounds[side.kind.ground];
        let mut point = side.kind.point(ground, self.job);
        point.spec_tokens = side.drafts;
        point.spec_accept = Some(self.job.accepted_share(side.drafts));
        let model = self.resolver.step_model(&point, Roles::Both)?;
        let mut engine = model.deployment().engine.as_ref().clone();
        if side.budget > 0 {
            engine.scheduler.token_budget.value = side.budget;
        }
        if let Some(sequences) = sequences {
            // Room for ranks that are fuller than the mean, within what the cache holds.
            let room = (sequences * 1.125).ceil() as u32 + 1;
            let held = model.memory().sequences(self.job.work.held).floor().max(1.0) as u32;
            engine.scheduler.max_sequences.value = room.min(held.max(side.batch)).max(1);
        }
        Ok(Arc::new(model.with_engine(Arc::new(engine))?))
    }

    fn aggregated(&self, candidate: &Candidate, side: &Side) -> Result<Planned, EstimateError> {
        let work = &self.job.work;
        let instances = f64::from(side.instances);
        let priced = self.model(side, None)?;
        let at = |batch: f64| {
            let step = price::decode_step(&priced, work, batch);
            price::aggregated(&priced, work, &step)
        };
        let full = at(f64::from(side.batch));
        let needed = candidate.worth.rate / instances;
        let serving = match full.filter(|full| full.rate > needed * 1.001) {
            Some(_) => {
                at(matching(f64::from(side.batch), needed, |batch| at(batch).map_or(f64::MAX, |s| s.rate)))
            }
            None => full,
        };
        let Some(serving) = serving else { return Err(unstable()) };
        let ranks = f64::from(priced.deployment().layout.dp);
        let admitted = serving.batch + serving.rate * serving.ttft / ranks;
        let model = self.model(side, Some(admitted))?;
        let step = price::decode_cost(&model, work, serving.batch);
        let limit = self.limit_of(side, &model, |batch| {
            let step = price::decode_step(&model, work, batch);
            price::aggregated(&model, work, &step)
        });
        let pools = vec![SettledPool { side: *side, model }];
        let rate = serving.rate * instances;
        let alone = price::decoding(&priced, work, &price::decode_step(&priced, work, serving.batch));
        let sigma = estimate::of_engine(&step);
        let detail = Detail {
            batch: serving.batch,
            tpot_alone: alone.tpot,
            prompts: serving.prompts,
            prefill_busy: 0.0,
            bound_share: bound(&step).1,
            rate,
            ttft: serving.ttft,
            tpot: serving.tpot,
        };
        let power = serving.power * instances;
        Ok(self.planned(pools, detail, power, [sigma, sigma], bound(&step).0, limit))
    }

    fn disaggregated(
        &self,
        candidate: &Candidate,
        prefill: &Side,
        decode: &Side,
    ) -> Result<Planned, EstimateError> {
        let work = &self.job.work;
        let rate = candidate.worth.rate;
        let fills = self.model(prefill, None)?;
        let decodes = self.model(decode, Some(f64::from(decode.batch)))?;
        let queue = Prefilling::new(&fills, work);
        let all = ranks_of(prefill).saturating_add(ranks_of(decode));
        let moved = KvTransfer::new(&fills, &decodes, all).time(&decodes, work.prompt()).get();
        let count = f64::from(decode.instances);
        let at = |batch: f64| price::decoding(&decodes, work, &price::decode_step(&decodes, work, batch));
        let full = at(f64::from(decode.batch));
        let needed = rate / count;
        let serving = if full.rate > needed * 1.001 {
            at(matching(f64::from(decode.batch), needed, |batch| at(batch).rate))
        } else {
            full
        };
        let per_fill = rate / f64::from(prefill.instances);
        let step = price::decode_cost(&decodes, work, serving.batch);
        let busy = queue.busy(per_fill);
        let fill_power = queue.idle + per_fill * queue.above_idle(per_fill);
        let power = fill_power * f64::from(prefill.instances) + serving.power * count;
        let prefill_bound = full.rate > needed * 1.02;
        let limit = if prefill_bound {
            "prefill".to_owned()
        } else {
            self.limit_of(decode, &decodes, |batch| Some(at(batch)))
        };
        let detail = Detail {
            batch: serving.batch,
            tpot_alone: serving.tpot,
            prompts: 0.0,
            prefill_busy: busy,
            bound_share: bound(&step).1,
            rate,
            ttft: queue.ttft(per_fill) + moved + serving.ttft,
            tpot: serving.tpot,
        };
        let name = bound(&step).0;
        let sigma = estimate::of_engine(&step);
        let prompt_sigma = estimate::with_queue(sigma);
        let pools =
            vec![SettledPool { side: *prefill, model: fills }, SettledPool { side: *decode, model: decodes }];
        Ok(self.planned(pools, detail, power, [sigma, prompt_sigma], name, limit))
    }

    /// What stops the batch from growing.
    fn limit_of(&self, side: &Side, model: &StepModel, at: impl Fn(f64) -> Option<Serving>) -> String {
        let ground = &self.grounds[side.kind.ground];
        let grid = price::batches(ground.most_sequences);
        let next = grid.iter().find(|batch| **batch > side.batch);
        let Some(next) = next.map(|next| f64::from(*next)) else { return "max sequences".to_owned() };
        if next > model.memory().sequences(self.job.work.held) {
            return "cache memory".to_owned();
        }
        let limit = match at(next) {
            None => "prefill",
            Some(serving) if serving.tpot > self.job.tpot.get() => "tpot",
            Some(serving) if serving.ttft > self.job.ttft.get() => "ttft",
            Some(_) => "the objective",
        };
        limit.to_owned()
    }

    fn planned(
        &self,
        pools: Vec<SettledPool>,
        detail: Detail,
        power: f64,
        [sigma, ttft_sigma]: [f64; 2],
        bound: Bound,
        limit: String,
    ) -> Planned {
        let files: Vec<PoolFile> = pools.iter().map(|pool| self.pool_file(pool, pools.len() > 1)).collect();
        let chips: f64 = files.iter().map(|pool| pool.chips).sum();
        let tokens = detail.rate * self.job.work.output;
        let known = power.is_finite();
        let ownership = |pool: &SettledPool| self.grounds[pool.side.kind.ground].ownership(self.site);
        let paid: f64 = pools
            .iter()
            .zip(&files)
            .map(|(pool, file)| money(self.site, ownership(pool), file.chips, power * file.chips / chips))
            .sum();
        let owned: Vec<Ownership> = pools.iter().filter_map(ownership).collect();
        let price_spread = owned.iter().map(Ownership::spread).fold(0.0, f64::max);
        let grade = weakest(&pools);
        let price_grade = owned.iter().map(Ownership::grade).fold(grade, Grade::max);
        let energy_spread = sigma.hypot(POWER_SPREAD);
        let energy = Joules::new(power * self.site.pue / tokens);
        let carbon = GramsCo2::new(energy.kilowatt_hours() * 1e6 * self.site.carbon.get());
        let figure = |value: Value, sigma: f64| value.banded(sigma).graded(grade);
        let cost = Value::new(paid / 3600.0 / tokens * 1e6, "USD");
        let predicted = PredictedFile {
            chips,
            throughput: figure(Value::new(tokens, "tokens/s"), sigma),
            throughput_per_chip: figure(Value::new(tokens / chips, "tokens/s/chip"), sigma),
            tokens_per_user: figure(Value::new(1.0 / detail.tpot, "tokens/s"), sigma),
            request_rate: figure(Value::new(detail.rate, "requests/s"), sigma),
            concurrency: detail.rate * (detail.ttft + detail.tpot * self.job.work.after_first()),
            ttft: figure(Value::from(Seconds::new(detail.ttft)), estimate::with_queue(ttft_sigma)),
            tpot: figure(Value::from(Seconds::new(detail.tpot)), sigma),
            power: known.then(|| figure(Value::new(power, "W"), POWER_SPREAD)),
            energy_per_token: known.then(|| figure(Value::from(energy), energy_spread)),
            cost_per_million_tokens: paid
                .is_finite()
                .then(|| cost.banded(sigma.hypot(price_spread)).graded(price_grade)),
            cost_basis: self.site.basis,
            co2e_per_million_tokens: known
                .then(|| figure(Value::from(carbon), energy_spread.hypot(CARBON_SPREAD))),
            bound: bound.name().to_owned(),
            limit,
        };
        let mode = if files.len() > 1 { DeploymentMode::Disaggregated } else { DeploymentMode::Aggregated };
        let file = DeploymentFile { mode, pools: files, predicted, simulated: None };
        Planned { file, pools, detail }
    }

    fn pool_file(&self, pool: &SettledPool, apart: bool) -> PoolFile {
        let (side, deployment) = (&pool.side, pool.model.deployment());
        let ground = &self.grounds[side.kind.ground];
        let layout = &deployment.layout;
        let formats = &deployment.model.quantization;
        let role = match (apart, side.batch) {
            (false, _) => PoolRole::Aggregated,
            (true, 0) => PoolRole::Prefill,
            (true, _) => PoolRole::Decode,
        };
        let node = ground.system.domain(hardware::DomainKind::Node).and_then(|domain| domain.ranks);
        let ranks_per_chip = ground.chip.ranks.max(1);
        let checkpoint = self.resolver.model(&self.job.model).map(|model| model.quantization);
        let engine = &deployment.engine;
        PoolFile {
            role,
            system: ground.system.id.clone(),
            chip: ground.chip.id.clone(),
            vendor: ground.chip.vendor.clone(),
            ranks_per_chip,
            chips_per_node: node.map_or(ground.system.chips, |ranks| (ranks / ranks_per_chip).max(1)),
            engine: engine.id.clone(),
            instances: side.instances,
            chips: ground.chips_of(layout.ranks() * side.instances),
            tp: layout.tp,
            pp: layout.pp,
            dp: layout.dp,
            ep: layout.ep,
            moe_tp: layout.moe_tp,
            redundant_experts: layout.redundant_experts,
            weight_dtype: formats.weights,
            act_dtype: formats.activations,
            kv_dtype: formats.kv,
            moe_dtype: formats.experts,
            requantised: checkpoint.is_ok_and(|checkpoint| {
                checkpoint.weights != formats.weights || checkpoint.experts != formats.experts
            }),
            max_sequences_per_rank: engine.scheduler.max_sequences.value,
            token_budget: engine.scheduler.token_budget.value,
            chunked_prefill: engine.scheduler.chunked_prefill,
            max_model_length: self.job.longest,
            spec_tokens: side.drafts,
            memory_utilisation: engine.memory.utilisation.value,
            block: engine.scheduler.block.value,
            micro_batches: deployment.micro_batches,
            expert_backend: engine.comm.expert.clone(),
        }
    }
}

/// Ranks of all instances of a side.
fn ranks_of(side: &Side) -> u32 {
    side.kind.ranks().saturating_mul(side.instances)
}

fn unstable() -> EstimateError {
    EstimateError::Range {
        key: "osl",
        value: "this".to_owned(),
        allowed: "longer: prompts come faster than they can be computed",
    }
}

/// The batch below `most` at which `rate` of it is `needed`.
fn matching(most: f64, needed: f64, rate: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, most);
    for _ in 0..50 {
        let middle = f64::midpoint(low, high);
        if rate(middle) < needed {
            low = middle
        } else {
            high = middle
        }
        if high - low < 1e-4 * high {
            break;
        }
    }
    high
}

/// The bound under which a step spends most time, and its share of it.
fn bound(step: &StepCost) -> (Bound, f64) {
    let time = |bound: &Bound| step.tally.bound_time(*bound).get();
    let main = Bound::ALL.into_iter().max_by(|a, b| time(a).total_cmp(&time(b))).unwrap_or(Bound::Launch);
    (main, time(&main) / step.tally.total().get())
}
