//! How far the figures of a run may be off, and how good the evidence behind them is.
//!
//! A run adds to the spread of its steps what engines add to them ([`with_engine`]), and to times with a queue in them what
//! queues add ([`with_queue`]). What is offered, not the speed of the cluster, sets the rates of a cluster that is not busy,
//! so that the spread of a rate is that of the steps for the share of time in which there are steps.

use estimate::economics::{CARBON_SPREAD, POWER_SPREAD};
use estimate::{BAND_80, with_engine, with_queue};
use hardware::Grade;
use scenario::{Costs, Outcome};
use serde_json::{Map, Value, json};
use serving::Role;
use sim::metrics::Usage;

/// A spread of ln(true / predicted) with the grade of what it rests on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    /// Standard deviation.
    pub sigma: f64,
    /// The weakest grade among the facts.
    pub grade: Grade,
}

impl Band {
    fn factor(self) -> f64 {
        (BAND_80 * self.sigma).exp()
    }

    /// The 80 % band around a value.
    pub fn around(self, value: f64) -> (f64, f64) {
        (value / self.factor(), value * self.factor())
    }

    /// For people: a value with its band and grade.
    pub fn text(self, value: f64, show: impl Fn(f64) -> String) -> String {
        let (low, high) = self.around(value);
        format!("{}  (80 %: {} to {}; {})", show(value), show(low), show(high), self.grade)
    }

    /// For people: the ends of the band as shares of a value.
    pub fn shares(self) -> String {
        let factor = self.factor();
        format!("{:+.0} % {:+.0} % ({})", (1.0 / factor - 1.0) * 100.0, (factor - 1.0) * 100.0, self.grade)
    }

    /// For programs.
    pub fn quantity(self, value: impl Into<Option<f64>>, unit: &str) -> Value {
        let value: Option<f64> = value.into().filter(|value| value.is_finite());
        let ends = value.map(|value| self.around(value));
        json!({
            "value": value, "unit": unit, "low": ends.map(|ends| ends.0), "high": ends.map(|ends| ends.1),
            "band": 0.8, "grade": self.grade,
        })
    }

    /// Adds the band of every statistic of a distribution.
    pub fn add_to(self, distribution: &mut Map<String, Value>) {
        let ends: Vec<(String, (f64, f64))> = distribution
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), self.around(value.as_f64()?))))
            .collect();
        let low: Map<String, Value> =
            ends.iter().map(|(name, (low, _))| (name.clone(), json!(low))).collect();
        let high: Map<String, Value> =
            ends.iter().map(|(name, (_, high))| (name.clone(), json!(high))).collect();
        distribution.insert("low".to_owned(), Value::Object(low));
        distribution.insert("high".to_owned(), Value::Object(high));
        distribution.insert("band".to_owned(), json!(0.8));
        distribution.insert("grade".to_owned(), json!(self.grade));
    }
}

/// The bands of a run.
pub(crate) struct Bands {
    /// Times from one token to the next.
    pub token: Band,
    /// Times with a queue in them.
    pub queue: Band,
    /// Times of whole requests.
    pub request: Band,
    /// Rates of requests and tokens.
    pub rate: Band,
    /// Electric power.
    pub power: Band,
    /// Energy, in all and per token.
    pub energy: Band,
    /// Money per token.
    pub money: Band,
    /// Carbon per token.
    pub carbon: Band,
}

/// Share of time in which the busiest pool computes.
fn busy<O>(outcome: &Outcome<O>) -> f64 {
    let share = |pool: usize| {
        let of = || outcome.metrics.usage.values().filter(move |usage| usage.pool as usize == pool);
        let sum = |value: fn(&Usage) -> f64| of().map(value).sum::<f64>();
        sum(|usage| usage.busy.get()) / sum(|usage| usage.alive.get()).max(1e-9)
    };
    (0..outcome.pools.len()).map(share).fold(0.0, f64::max).min(1.0)
}

/// The bands of a run that is paid for as `costs` say.
pub(crate) fn bands<O>(outcome: &Outcome<O>, costs: &Costs) -> Bands {
    let metrics = &outcome.metrics;
    let pools = || outcome.pools.iter().zip(&outcome.used);
    let widest = |leaves_out: Role| {
        let of = pools().filter(|(pool, _)| pool.role != leaves_out).map(|(_, used)| used.sigma);
        with_engine(of.fold(0.0, f64::max))
    };
    let (decode, prefill) = (widest(Role::Prefill), widest(Role::Decode));
    let weakest = pools().map(|(pool, _)| pool.model.deployment().chip.grade()).max();
    let grade = weakest.unwrap_or(Grade::Assumed);
    let band = |sigma: f64| Band { sigma, grade };
    // Errors of the parts of a request go together: those of its steps are errors of the same prices.
    let (first, whole) = (metrics.ttft.mean(), metrics.e2e.mean());
    let share = if whole > 0.0 { (first / whole).clamp(0.0, 1.0) } else { 1.0 };
    let rate = decode.max(prefill) * busy(outcome);
    let energy = rate.hypot(POWER_SPREAD);
    let paid = costs.pools.iter().flatten();
    let price = paid.clone().map(|ownership| ownership.spread()).fold(0.0, f64::max);
    let price_grade = paid.map(|ownership| ownership.grade()).max().unwrap_or(grade);
    Bands {
        token: band(decode),
        queue: band(with_queue(prefill)),
        request: band(share * with_queue(prefill) + (1.0 - share) * decode),
        rate: band(rate),
        power: band(POWER_SPREAD),
        energy: band(energy),
        money: Band { sigma: rate.hypot(price), grade: grade.max(price_grade) },
        carbon: band(energy.hypot(CARBON_SPREAD)),
    }
}
