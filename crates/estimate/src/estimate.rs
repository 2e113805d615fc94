//! The steady state of a point with everything counted from it.

use crate::check::{check_ranges, holds};
use crate::resolve::{EstimateError, Resolver, Roles};
use crate::spec::{Mode, OperatingPoint};
use crate::steady::{self, Load};
use cost::step::{Bound, Family, MemoryFit, RankLoad, StepCost, StepModel, StepShape};
use hardware::money::{self as economics, Ownership, Site, TokenCost};
use hardware::{BAND_80, Grade};
use instance::KvTransfer;
use std::sync::Arc;
use units::{Seconds, TokensPerSecond, Watts};

/// A figure with the standard deviation of ln(true / predicted) behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure<T> {
    /// The figure.
    pub value: T,
    /// Spread of its logarithm.
    pub sigma: f64,
}

impl<T: Copy + std::ops::Mul<f64, Output = T>> Figure<T> {
    /// The 80 % error band.
    pub fn band(&self) -> (T, T) {
        let spread = (BAND_80 * self.sigma).exp();
        (self.value * (1.0 / spread), self.value * spread)
    }
}

/// One kind of instance of the deployment.
#[derive(Clone)]
pub struct Pool {
    /// What it does.
    pub role: Roles,
    /// How many there are.
    pub instances: u32,
    /// Its step model.
    pub model: Arc<StepModel>,
    /// The step it spends most of its time on.
    pub step: StepCost,
}

impl Pool {
    /// How the memory of its fullest rank is used.
    pub fn memory(&self) -> &MemoryFit {
        self.model.memory()
    }

    /// The bound under which the step spends most time.
    pub fn bound(&self) -> Bound {
        Bound::ALL
            .into_iter()
            .max_by(|a, b| {
                self.step.tally.bound_time(*a).get().total_cmp(&self.step.tally.bound_time(*b).get())
            })
            .unwrap_or(Bound::Launch)
    }

    /// The family that takes most time.
    pub fn largest(&self) -> Family {
        Family::ALL
            .into_iter()
            .max_by(|a, b| {
                self.step.tally.family_time(*a).get().total_cmp(&self.step.tally.family_time(*b).get())
            })
            .unwrap_or(Family::Host)
    }
}

/// What a deployment does in the steady state.
#[derive(Clone)]
pub struct Estimate {
    /// Packages used.
    pub chips: f64,
    /// Kinds of instances.
    pub pools: Vec<Pool>,
    /// Mean time to the first token.
    pub ttft: Option<Figure<Seconds>>,
    /// Mean time per output token.
    pub tpot: Option<Figure<Seconds>>,
    /// Output tokens (prompt tokens for a prefill point) of the whole deployment.
    pub throughput: Figure<TokensPerSecond>,
    /// Of all chips and what surrounds them, before the facility's share; `None` where a chip's rating is unknown.
    pub power: Option<Figure<Watts>>,
    /// Energy, money and carbon per token.
    pub cost: Option<TokenCost>,
    /// Requests in flight.
    pub concurrency: f64,
    /// Requests that decode at once.
    pub decoding: f64,
}

impl Estimate {
    /// The weakest grade among the facts of the chips.
    pub fn grade(&self) -> Grade {
        let grades = self.pools.iter().map(|pool| pool.model.deployment().chip.grade());
        grades.max().unwrap_or(Grade::Assumed)
    }

    /// The weakest grade among the facts of the chips and of what is paid for them.
    pub fn money_grade(&self) -> Grade {
        let paid = self.cost.as_ref().and_then(|cost| cost.price_grade);
        paid.map_or(self.grade(), |grade| grade.max(self.grade()))
    }

    /// Throughput per package.
    pub fn throughput_per_chip(&self) -> Figure<TokensPerSecond> {
        Figure { value: self.throughput.value / self.chips, sigma: self.throughput.sigma }
    }

    /// What one package draws, without the host, fans and switches around it; `None` where its rating is unknown.
    pub fn chip_power(&self) -> Option<Figure<Watts>> {
        let around = |pool: &Pool| Some(pool.model.overhead_power()? * f64::from(pool.instances));
        let around = self.pools.iter().map(around).sum::<Option<Watts>>()?;
        self.power.map(|power| Figure { value: (power.value - around) / self.chips, sigma: power.sigma })
    }
}

/// Requests in flight where the point does not say.
const DEFAULT_CONCURRENCY: u32 = 64;

/// Estimates a point.
///
/// # Errors
/// What [`Resolver::step_model`] refuses, and keys the mode needs that are missing or out of range.
pub fn estimate(resolver: &Resolver, point: &OperatingPoint, site: &Site) -> Result<Estimate, EstimateError> {
    check_ranges(point)?;
    match point.mode {
        Mode::Agg => aggregated(resolver, point, site),
        Mode::Disagg => disaggregated(resolver, point, site),
        Mode::Prefill => prefill_point(resolver, point, site),
        Mode::Decode => decode_point(resolver, point, site),
    }
}

fn needed(
    value: Option<u32>,
    key: &'static str,
    mode: &'static str,
    hint: &'static str,
) -> Result<f64, EstimateError> {
    value.map(f64::from).ok_or(EstimateError::Missing { key, mode, hint })
}

/// Lengths as requests have them on average: (computed prompt, cached prompt, output).
fn lengths(point: &OperatingPoint, mode: &'static str) -> Result<(f64, f64, f64), EstimateError> {
    let isl = needed(point.isl, "isl", mode, "give the prompt length in tokens")?;
    let osl = needed(point.osl, "osl", mode, "give the output length in tokens")?;
    let factor = point.length_factor();
    let prompt = (isl * factor).max(1.0);
    Ok((prompt * (1.0 - point.prefix_hit), prompt * point.prefix_hit, (osl * factor).max(1.0)))
}

/// Tokens of a request of nominal length with its answer.
fn longest(point: &OperatingPoint) -> f64 {
    point.isl.map_or(0.0, f64::from) + point.osl.map_or(0.0, f64::from)
}

/// Spread of ln(true / predicted) that queues add to a time with a wait in it. Times to the first token of serving rows
/// that no fit has seen are off by 54 % at the 90th percentile (docs/accuracy.md), which a spread of 0.34 would cover; the
/// rest is for what those closed loops do not show: arrivals in bursts, and front ends other than the benchmark's.
const QUEUE_SIGMA: f64 = 0.6;

/// Spread of whole steps around what their operators add up to: engine versions and settings that sources do not
/// record. From serving rows of groups that no fit has seen, on which 80 % of TPOT errors lie within 20 %.
const ENGINE_SIGMA: f64 = 0.15;

/// Spread of ln(true / predicted) of a step's time with that of the engine around it.
pub fn of_engine(step: &StepCost) -> f64 {
    with_engine(step.sigma)
}

/// Spread of ln(true / predicted) of a time to which the engine adds its own.
pub fn with_engine(sigma: f64) -> f64 {
    sigma.hypot(ENGINE_SIGMA)
}

/// The same for a time that has a queue in it.
pub fn with_queue(sigma: f64) -> f64 {
    sigma.hypot(QUEUE_SIGMA)
}

fn aggregated(resolver: &Resolver, point: &OperatingPoint, site: &Site) -> Result<Estimate, EstimateError> {
    let model = resolver.step_model(point, Roles::Both)?;
    let instances = resolver.instances(point, &model.deployment().layout)?;
    let (new, cached, output) = lengths(point, "agg")?;
    holds(&model, longest(point), 1.0)?;
    let users = f64::from(point.concurrency.unwrap_or(DEFAULT_CONCURRENCY));
    let load = Load {
        users: (users / f64::from(instances)).max(1.0),
        new_tokens: new,
        cached_tokens: cached,
        output_tokens: output,
    };
    let state = steady::steady(&model, &load);
    let active = f64::from(instances).min(users);
    let step = steady::mean_step(&model, &load, &state);
    let throughput = TokensPerSecond::new(state.rate * output * active);
    let sigma = of_engine(&step);
    let pool = Pool { role: Roles::Both, instances, model, step };
    let parts = Parts {
        ttft: Some(Figure { value: state.ttft, sigma: with_queue(sigma) }),
        // A client that gets all tokens together has no time between them.
        tpot: (output > 1.0 && state.tpot > Seconds::ZERO).then_some(Figure { value: state.tpot, sigma }),
        throughput: Figure { value: throughput, sigma },
        concurrency: users,
        decoding: state.decoding * active,
        busy: 1.0,
    };
    assemble(point, site, vec![pool], parts)
}

/// Figures of a mode before power and cost are added.
struct Parts {
    ttft: Option<Figure<Seconds>>,
    tpot: Option<Figure<Seconds>>,
    throughput: Figure<TokensPerSecond>,
    concurrency: f64,
    decoding: f64,
    /// Share of time the first pool computes (the others always do).
    busy: f64,
}

fn assemble(
    point: &OperatingPoint,
    site: &Site,
    pools: Vec<Pool>,
    parts: Parts,
) -> Result<Estimate, EstimateError> {
    let ranks_per_chip = pools.first().map_or(1, |pool| pool.model.deployment().chip.ranks);
    let ranks: u32 = pools.iter().map(|pool| pool.instances * pool.model.deployment().layout.ranks()).sum();
    let chips = (f64::from(ranks) / f64::from(ranks_per_chip)).max(point.chips.unwrap_or(0.0));
    let power = pools
        .iter()
        .enumerate()
        .map(|(index, pool)| {
            let busy = if index == 0 { parts.busy } else { 1.0 };
            let drawn = pool.step.energy? / pool.step.time;
            let idle = pool.model.idle_power()?;
            Some((drawn * busy + idle * (1.0 - busy)) * f64::from(pool.instances))
        })
        .sum::<Option<Watts>>();
    let ownership = pools.first().and_then(|pool| {
        let deployment = pool.model.deployment();
        Ownership::of(&deployment.system, &deployment.chip, site.basis)
    });
    let cost = power.map(|power| {
        let throughput = parts.throughput;
        economics::token_cost(site, ownership, chips, power, throughput.value, throughput.sigma)
    });
    Ok(Estimate {
        chips,
        ttft: parts.ttft,
        tpot: parts.tpot,
        throughput: parts.throughput,
        power: power.map(|value| Figure { value, sigma: economics::POWER_SPREAD }),
        cost,
        concurrency: parts.concurrency,
        decoding: parts.decoding,
        pools,
    })
}

fn decode_point(resolver: &Resolver, point: &OperatingPoint, site: &Site) -> Result<Estimate, EstimateError> {
    let model = resolver.step_model(point, Roles::Both)?;
    let layout = model.deployment().layout;
    let instances = resolver.instances(point, &layout)?;
    let attention_ranks = f64::from(layout.dp * instances);
    let batch = match (point.batch_per_rank, point.concurrency) {
        (Some(batch), _) => f64::from(batch),
        (None, Some(users)) => (f64::from(users) / attention_ranks).max(1.0),
        (None, None) => {
            needed(None, "batch_per_rank", "decode", "give the sequences per rank, or `concurrency`")?
        }
    };
    let context = match (point.kv_len, point.isl) {
        (Some(length), _) => f64::from(length),
        (None, Some(isl)) => f64::from(isl) + point.osl.map_or(0.0, f64::from) / 2.0,
        (None, None) => needed(None, "kv_len", "decode", "give the context length in tokens")?,
    };
    holds(&model, context, batch)?;
    let step = model.cost(&StepShape::even(RankLoad::decode(batch, context), layout.dp));
    let tpot = step.time / model.deployment().speculation.tokens_per_step();
    let sequences = batch * attention_ranks;
    let sigma = of_engine(&step);
    let parts = Parts {
        ttft: None,
        tpot: Some(Figure { value: tpot, sigma }),
        throughput: Figure { value: TokensPerSecond::new(sequences / tpot.get()), sigma },
        concurrency: sequences,
        decoding: sequences,
        busy: 1.0,
    };
    assemble(point, site, vec![Pool { role: Roles::Decode, instances, model, step }], parts)
}

fn prefill_point(
    resolver: &Resolver,
    point: &OperatingPoint,
    site: &Site,
) -> Result<Estimate, EstimateError> {
    let model = resolver.step_model(point, Roles::Both)?;
    let layout = model.deployment().layout;
    let instances = resolver.instances(point, &layout)?;
    let isl = needed(point.isl, "isl", "prefill", "give the prompt length in tokens")?;
    let budget = point.batch_per_rank.map_or(isl, f64::from);
    let cached = isl * point.prefix_hit;
    let sequences = (budget / isl).max(1.0_f64.min(budget / isl));
    holds(&model, isl, sequences.min(1.0))?;
    let load = RankLoad::prefill(sequences, isl - cached, cached);
    let step = model.cost(&StepShape::even(load, layout.dp));
    let tokens = sequences * isl * f64::from(layout.dp * instances);
    let sigma = of_engine(&step);
    let parts = Parts {
        ttft: Some(Figure { value: step.time, sigma: with_queue(sigma) }),
        tpot: None,
        throughput: Figure { value: TokensPerSecond::new(tokens / step.time.get()), sigma },
        concurrency: sequences * f64::from(layout.dp * instances),
        decoding: 0.0,
        busy: 1.0,
    };
    assemble(point, site, vec![Pool { role: Roles::Prefill, instances, model, step }], parts)
}

fn disaggregated(
    resolver: &Resolver,
    point: &OperatingPoint,
    site: &Site,
) -> Result<Estimate, EstimateError> {
    let prefill = resolver.step_model(point, Roles::Prefill)?;
    let decode = resolver.step_model(point, Roles::Decode)?;
    let prefills = point.prefill.instances.unwrap_or(1).max(1);
    let decodes = point.decode.instances.unwrap_or(1).max(1);
    let (new, cached, output) = lengths(point, "disagg")?;
    holds(&prefill, point.isl.map_or(0.0, f64::from), 1.0)?;
    holds(&decode, longest(point), 1.0)?;
    let users = f64::from(point.concurrency.unwrap_or(DEFAULT_CONCURRENCY));
    let ranks =
        |model: &StepModel, instances: u32| model.deployment().layout.ranks().saturating_mul(instances);
    let all = ranks(&prefill, prefills).saturating_add(ranks(&decode, decodes));
    let transfer = KvTransfer::new(&prefill, &decode, all);
    let state = steady::disaggregated(
        &steady::Side { model: &prefill, instances: f64::from(prefills) },
        &steady::Side { model: &decode, instances: f64::from(decodes) },
        &Load { users, new_tokens: new, cached_tokens: cached, output_tokens: output },
        transfer.time(&decode, new + cached),
    );
    let prefill_step =
        prefill.cost(&StepShape::even(RankLoad::prefill(1.0, new, cached), prefill.deployment().layout.dp));
    let ranks = f64::from(decode.deployment().layout.dp * decodes);
    let per_rank = (state.decoding / ranks).max(1.0);
    let decode_step = decode.cost(&StepShape::even(
        RankLoad::decode(per_rank, new + cached + output / 2.0),
        decode.deployment().layout.dp,
    ));
    let sigma = of_engine(&decode_step);
    let parts = Parts {
        ttft: Some(Figure { value: state.ttft, sigma: with_queue(of_engine(&prefill_step)) }),
        tpot: Some(Figure { value: state.tpot, sigma }),
        throughput: Figure { value: TokensPerSecond::new(state.rate * output), sigma },
        concurrency: users,
        decoding: state.decoding,
        busy: state.prefill_share,
    };
    let pools = vec![
        Pool { role: Roles::Prefill, instances: prefills, model: prefill, step: prefill_step },
        Pool { role: Roles::Decode, instances: decodes, model: decode, step: decode_step },
    ];
    assemble(point, site, pools, parts)
}
