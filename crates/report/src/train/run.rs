//! A run of many steps, failures included.

use super::{Named, Trained, Value, band_text, exact, value};
use serde::Serialize;
use std::fmt::Write as _;
use training::goodput::{self, Goodput, Reliability, Run};
use training::site::Site;
use training::{Job, Step};
use units::{Bytes, Dollars, GramsCo2, Joules, Seconds};

/// Bytes of checkpoint per parameter: 16-bit weight, 32-bit master and two moments.
const CHECKPOINT_BYTES: f64 = 14.0;
/// Spread of the time that interruptions take: published fleets differ by a factor of three in their failure rates
/// (0.107 to 0.297 per chip and year).
const INTERRUPTIONS: f64 = 0.6;

/// What to work out over a whole training run.
pub struct LongRunRequest<'a> {
    /// Tokens to train on.
    pub tokens: f64,
    /// Failure behaviour.
    pub reliability: &'a Reliability,
    /// Time between checkpoints, if given.
    pub interval: Option<Seconds>,
    /// Spare packages, if given.
    pub spares: Option<u32>,
}

/// A run of many steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LongRun {
    pub(crate) tokens: f64,
    pub(crate) steps: f64,
    pub(crate) useful: Value,
    pub(crate) method: &'static str,
    pub(crate) mean_time_between_interruptions: Value,
    pub(crate) interruptions: Vec<Named>,
    pub(crate) checkpoint: Value,
    pub(crate) checkpoint_interval: Value,
    pub(crate) checkpoint_write: Value,
    pub(crate) effective_time_ratio: f64,
    pub(crate) elapsed: Value,
    pub(crate) tokens_per_day: Value,
    pub(crate) spare_chips: u32,
    pub(crate) energy_at_plug: Option<Value>,
    pub(crate) carbon: Option<Value>,
    pub(crate) cost: Option<Value>,
    pub(crate) rates_source: String,
    pub(crate) rates_grade: String,
}

impl LongRun {
    pub(super) fn text(&self, out: &mut String) {
        let days = |seconds: f64| format!("{:.1} days", seconds / 86_400.0);
        let count: f64 = self.interruptions.iter().map(|cause| cause.value.value).sum();
        let _ = writeln!(
            out,
            "\n{:.3e} tokens in {:.0} steps: {}{} ({})",
            self.tokens,
            self.steps,
            days(self.elapsed.value),
            band_text(&self.elapsed, days),
            self.method
        );
        let _ = writeln!(
            out,
            "  {count:.0} interruptions (one per {}; rates {}), effective time {:.1} %",
            Seconds::new(self.mean_time_between_interruptions.value),
            self.rates_grade,
            100.0 * self.effective_time_ratio
        );
        let _ = writeln!(
            out,
            "  checkpoint {} every {}, {} each, {} spare chips",
            Bytes::new(self.checkpoint.value),
            Seconds::new(self.checkpoint_interval.value),
            Seconds::new(self.checkpoint_write.value),
            self.spare_chips
        );
        if let Some(energy) = &self.energy_at_plug {
            let (shown, band) = (Joules::new(energy.value), band_text(energy, Joules::new));
            let _ = writeln!(out, "  energy at the facility's plug {shown}{band}");
        }
        if let Some(carbon) = &self.carbon {
            let (shown, band) = (GramsCo2::new(carbon.value), band_text(carbon, GramsCo2::new));
            let _ = writeln!(out, "  CO2e {shown}{band}");
        }
        let _ = match &self.cost {
            Some(cost) => {
                writeln!(out, "  cost {}{}", Dollars::new(cost.value), band_text(cost, Dollars::new))
            }
            None => writeln!(out, "  cost unknown: the catalog has no price for this system"),
        };
    }
}

/// The run and what failures leave of it.
pub fn run_goodput(job: &Job, step: &Step, site: &Site, request: &LongRunRequest<'_>) -> (Run, Goodput) {
    let layout = &job.layout;
    let weights: f64 = step
        .ranks
        .iter()
        .map(|rank| {
            rank.weights.dense * f64::from(layout.tp)
                + rank.weights.experts * f64::from(layout.ep * layout.etp)
        })
        .sum();
    let run = Run {
        chips: step.chips,
        useful: step.time * (request.tokens / job.batch.tokens()),
        checkpoint: Bytes::new(weights * CHECKPOINT_BYTES),
        interval: request.interval,
        spares: request.spares,
    };
    let rates = request.reliability.rates_for(&site.chip.family);
    (run, goodput::goodput(&run, rates, request.reliability))
}

pub(super) fn long_run(trained: &Trained<'_>, request: &LongRunRequest<'_>) -> LongRun {
    let (run, goodput) = run_goodput(trained.job, trained.step, trained.site, request);
    let all = trained.step.chips + f64::from(goodput.spares);
    let energy = trained.energy(goodput.elapsed);
    let money = trained.money(all, goodput.elapsed, energy);
    let spread = trained.spread();
    let long = spread.with(INTERRUPTIONS * (1.0 - goodput.effective));
    let carbon = energy.map(|energy| energy.kilowatt_hours() * trained.paying.carbon.get());
    let rates = request.reliability.rates_for(&trained.site.chip.family);
    LongRun {
        tokens: request.tokens,
        steps: request.tokens / trained.job.batch.tokens(),
        useful: value(run.useful.get(), "s", spread),
        method: "closed form: exponential failures, Daly's checkpoint interval",
        mean_time_between_interruptions: exact(goodput.mtbf.get(), "s"),
        interruptions: goodput
            .interruptions
            .iter()
            .map(|(name, count)| Named { name, value: exact(*count, "interruptions") })
            .collect(),
        checkpoint: exact(run.checkpoint.get(), "B"),
        checkpoint_interval: exact(goodput.interval.get(), "s"),
        checkpoint_write: exact(goodput.write.get(), "s"),
        effective_time_ratio: goodput.effective,
        elapsed: value(goodput.elapsed.get(), "s", long),
        tokens_per_day: value(request.tokens / (goodput.elapsed.get() / 86_400.0), "tokens/day", long),
        spare_chips: goodput.spares,
        energy_at_plug: energy.map(|energy| value(energy.get(), "J", long.with_power())),
        carbon: carbon.map(|carbon| value(carbon, "gCO2e", long.with_power())),
        cost: money.map(|money| value(money.get(), "USD", long)),
        rates_source: rates.source.clone(),
        rates_grade: rates.grade.to_string(),
    }
}
