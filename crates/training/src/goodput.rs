//! What failures and checkpoints leave of a long run.

use crate::error::JobError;
use serde::Deserialize;
use units::{Bytes, BytesPerSecond, PerSecond, Seconds, Watts};

/// Failure rates of one chip family, by cause.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureRates {
    /// Chip families they hold for; empty for all others.
    pub families: Vec<String>,
    /// Device and its memory, per package.
    pub chip: PerSecond,
    /// Network interfaces, cables, switches and collective timeouts, per package.
    pub network: PerSecond,
    /// Host, storage, power, per package's share.
    pub host: PerSecond,
    /// Software, per package's share.
    pub software: PerSecond,
    /// Where they come from.
    pub source: String,
    /// How good the evidence is.
    pub grade: hardware::Grade,
}

impl FailureRates {
    /// Interruptions per package from all causes.
    pub fn total(&self) -> PerSecond {
        self.causes().into_iter().map(|(_, rate)| rate).sum()
    }

    /// Each cause with its rate.
    pub fn causes(&self) -> [(&'static str, PerSecond); 4] {
        [("chip", self.chip), ("network", self.network), ("host", self.host), ("software", self.software)]
    }
}

/// What happens around a failure; the catalog's `failures/default.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reliability {
    /// From the failure until it is noticed and located.
    pub detection: Seconds,
    /// From then until the job computes again on other hardware, reading the checkpoint aside.
    pub restart: Seconds,
    /// What starting again takes longer for each package: processes to place, groups to join.
    #[serde(default)]
    pub restart_per_chip: Seconds,
    /// Rate at which one package writes or reads a checkpoint.
    pub storage_per_chip: BytesPerSecond,
    /// Rate of the storage, however many packages write.
    pub storage_most: Option<BytesPerSecond>,
    /// Until a failed machine is back.
    pub repair: Seconds,
    /// Packages that leave together when one of them fails.
    pub chips_per_machine: u32,
    /// Where these come from.
    pub source: String,
    /// Failure rates, the general ones last.
    pub rates: Vec<FailureRates>,
}

impl Reliability {
    /// Reads the catalog's file.
    ///
    /// # Errors
    /// It is no TOML of this shape or holds no rates.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        let bad = |why: String| JobError::Value { key: "failures/default.toml".to_owned(), why };
        let reliability: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        if reliability.rates.is_empty() {
            return Err(bad("it has no [[rates]]".to_owned()));
        }
        Ok(reliability)
    }

    /// From the diagnosis of a failure until so many packages compute again, reading the checkpoint aside.
    pub fn restart_of(&self, chips: f64) -> Seconds {
        self.restart + self.restart_per_chip * chips
    }

    /// The rates for a chip family: its own, else the last.
    pub fn rates_for(&self, family: &str) -> &FailureRates {
        let own = self.rates.iter().find(|rates| rates.families.iter().any(|name| name == family));
        own.unwrap_or(&self.rates[self.rates.len() - 1])
    }
}

/// A long run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Run {
    /// Packages at work.
    pub chips: f64,
    /// Useful time: steps times step time.
    pub useful: Seconds,
    /// Size of a checkpoint.
    pub checkpoint: Bytes,
    /// Time between checkpoints, if it is given instead of the optimum.
    pub interval: Option<Seconds>,
    /// Spare packages kept ready, if given.
    pub spares: Option<u32>,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Goodput {
    /// Mean time between interruptions.
    pub mtbf: Seconds,
    /// Expected interruptions over the run, by cause.
    pub interruptions: Vec<(&'static str, f64)>,
    /// Time between checkpoints.
    pub interval: Seconds,
    /// Time one checkpoint stops the job.
    pub write: Seconds,
    /// Useful time over elapsed time (effective training time ratio).
    pub effective: f64,
    /// Elapsed time.
    pub elapsed: Seconds,
    /// Spare packages assumed.
    pub spares: u32,
}

/// Elapsed time of `run` in closed form: Daly's expectation for exponential failures, checkpoints every
/// `interval` and restarts that may fail too (J. Daly, FGCS 2006, equation 13), times the share of time in which no more
/// machines are away than there are spares (Poisson).
pub fn goodput(run: &Run, rates: &FailureRates, reliability: &Reliability) -> Goodput {
    let ports = reliability.storage_per_chip * run.chips;
    let storage = reliability.storage_most.map_or(ports, |most| if most < ports { most } else { ports });
    let write = run.checkpoint / storage;
    let rate = rates.total() * run.chips;
    let mtbf = if rate.get() > 0.0 { 1.0 / rate.get() } else { f64::INFINITY };
    let restart = (reliability.detection + reliability.restart_of(run.chips) + write).get();
    let interval = run.interval.map_or_else(|| daly_interval(write.get(), mtbf), Seconds::get).max(1.0);
    let computing = if mtbf.is_finite() {
        interval / (mtbf * (restart / mtbf).exp() * ((interval + write.get()) / mtbf).exp_m1())
    } else {
        interval / (interval + write.get())
    };
    let away = rate.get() * reliability.repair.get() * hardware_share(rates);
    let per_machine = f64::from(reliability.chips_per_machine.max(1));
    let spares = run.spares.unwrap_or_else(|| (poisson_quantile(away, 0.999) as f64 * per_machine) as u32);
    let ready = poisson_cdf(away, (f64::from(spares) / per_machine).floor() as u32);
    let effective = computing * ready;
    let elapsed = run.useful / effective;
    let interruptions = rates
        .causes()
        .into_iter()
        .map(|(cause, rate)| (cause, rate.get() * run.chips * elapsed.get()))
        .collect();
    Goodput {
        mtbf: Seconds::new(mtbf),
        interruptions,
        interval: Seconds::new(interval),
        write,
        effective,
        elapsed,
        spares,
    }
}

/// Share of interruptions that take a machine away.
fn hardware_share(rates: &FailureRates) -> f64 {
    let total = rates.total().get();
    if total > 0.0 { 1.0 - rates.software.get() / total } else { 0.0 }
}

/// Daly's optimum checkpoint interval (equation 37; Young's `sqrt(2 w M)` is its first term).
fn daly_interval(write: f64, mtbf: f64) -> f64 {
    if !mtbf.is_finite() {
        return 86_400.0;
    }
    if write >= 2.0 * mtbf {
        return mtbf;
    }
    let ratio = (write / (2.0 * mtbf)).sqrt();
    (2.0 * write * mtbf).sqrt() * (1.0 + ratio / 3.0 + ratio * ratio / 9.0) - write
}

/// Probability of at most `count` events where `mean` are expected.
fn poisson_cdf(mean: f64, count: u32) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for k in 1..=count {
        term *= mean / f64::from(k);
        sum += term;
    }
    sum.min(1.0)
}

/// Least count that holds `probability`; large means go by the normal approximation.
fn poisson_quantile(mean: f64, probability: f64) -> u32 {
    if mean > 200.0 {
        return (mean + 3.1 * mean.sqrt()).ceil() as u32;
    }
    (0..2000).find(|count| poisson_cdf(mean, *count) >= probability).unwrap_or(2000)
}

/// Power of a package in training: the node draws 76 to 82 % of its rating (arXiv 2506.14551), less while it waits.
pub const BUSY_SHARE: f64 = 0.79;
/// Idle power over thermal design power where the catalog does not say (H200: 80 of 700 W).
pub const IDLE_SHARE: f64 = 0.12;

/// Mean power of a package that computes for `busy` of the time.
pub fn chip_power(chip: &hardware::Chip, overhead: Watts, busy: f64) -> Option<Watts> {
    let tdp = chip.tdp.as_ref()?.value;
    let idle = chip.idle.as_ref().map_or(tdp * IDLE_SHARE, |idle| idle.value);
    Some(idle + (tdp * BUSY_SHARE - idle) * busy.clamp(0.0, 1.0) + overhead)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reliability() -> Reliability {
        Reliability::parse(include_str!("../../../catalog/failures/default.toml"))
            .expect("the catalog's own file")
    }

    fn run(chips: f64, days: f64, state: f64) -> Run {
        Run {
            chips,
            useful: Seconds::new(days * 86_400.0),
            checkpoint: Bytes::new(state),
            interval: None,
            spares: None,
        }
    }

    /// Llama 3: 419 unexpected interruptions in 54 days on 16,384 H100, more than 90 % effective (arXiv 2407.21783).
    #[test]
    fn llama_3_on_16384_h100() {
        let reliability = reliability();
        let result =
            goodput(&run(16_384.0, 54.0 * 0.91, 405e9 * 14.0), reliability.rates_for("hopper"), &reliability);
        let days = result.elapsed.get() / 86_400.0;
        let interruptions: f64 = result.interruptions.iter().map(|(_, count)| count).sum();
        let over_54 = interruptions / days * 54.0;
        assert!((over_54 / 419.0 - 1.0).abs() < 0.25, "{over_54} interruptions");
        assert!((0.90..0.93).contains(&result.effective), "{}", result.effective);
    }

    /// The closed form against a run drawn failure by failure.
    #[test]
    fn closed_form_agrees_with_drawing_failures() {
        let reliability = Reliability { repair: Seconds::ZERO, ..reliability() };
        let rates = reliability.rates_for("hopper").clone();
        let run = run(16_384.0, 2000.0, 405e9 * 14.0);
        let expected = goodput(&run, &rates, &reliability);
        let (interval, write) = (expected.interval.get(), expected.write.get());
        let restart = (reliability.detection + reliability.restart_of(16_384.0)).get() + write;
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next_failure = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            -expected.mtbf.get() * (1.0 - (state >> 11) as f64 / (1u64 << 53) as f64).ln()
        };
        let (mut done, mut clock) = (0.0, 0.0);
        let mut failure = next_failure();
        while done < run.useful.get() {
            if clock + interval + write <= failure {
                clock += interval + write;
                done += interval;
                continue;
            }
            clock = failure;
            failure += next_failure();
            while clock + restart > failure {
                clock = failure;
                failure += next_failure();
            }
            clock += restart;
        }
        let drawn = done / clock;
        assert!(
            (drawn / expected.effective - 1.0).abs() < 0.01,
            "drawn {drawn}, closed form {}",
            expected.effective
        );
    }

    #[test]
    fn the_default_interval_is_the_best() {
        let reliability = reliability();
        let rates = reliability.rates_for("ampere");
        let best = goodput(&run(4096.0, 30.0, 5e12), rates, &reliability);
        for factor in [0.5, 0.8, 1.25, 2.0] {
            let other = Run { interval: Some(best.interval * factor), ..run(4096.0, 30.0, 5e12) };
            assert!(
                goodput(&other, rates, &reliability).effective < best.effective + 1e-9,
                "factor {factor}"
            );
        }
    }

    #[test]
    fn larger_clusters_take_longer_to_save_and_to_restart() {
        let reliability = reliability();
        let rates = reliability.rates_for("hopper");
        let at =
            |chips: f64| goodput(&run(chips, 54.0, 405e9 * 14.0 * chips / 16_384.0), rates, &reliability);
        let (some, many) = (at(16_384.0), at(98_304.0));
        assert!(many.write > some.write, "{} {}", many.write, some.write);
        assert!(reliability.restart_of(98_304.0) > reliability.restart_of(16_384.0) * 2.0);
        assert!(many.effective < some.effective);
    }

    #[test]
    fn too_few_spares_cost_time() {
        let reliability = reliability();
        let rates = reliability.rates_for("hopper");
        let enough = goodput(&run(16_384.0, 30.0, 5e12), rates, &reliability);
        let none = goodput(&Run { spares: Some(0), ..run(16_384.0, 30.0, 5e12) }, rates, &reliability);
        assert!(none.effective < enough.effective);
    }
}
