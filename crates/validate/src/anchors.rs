//! An engine on a chip corrected by a few runs of the user's own.
//!
//! Three to ten rows say how a deployment ran end to end; that is enough for four figures and for no more: how much longer
//! decoding and prefill take than the shipped coefficients say, and what the host takes per step and per request. Each is held
//! near the shipped figure by a log-normal prior, so that few rows move what they agree on and nothing else. What the
//! correction is worth is what it earns on rows left out of it, one at a time.

use crate::figure::{EngineFigure, number, time};
use crate::serving::{Fidelity, Outcome, ServingRow, predict};
use calibration::stats::median;
use estimate::Resolver;
use estimate::economics::Site;
use hardware::Engine;
use units::Seconds;

/// Rows that a correction is made from.
pub const ANCHORS: std::ops::RangeInclusive<usize> = 3..=10;

/// A figure that anchors move.
struct Knob {
    figure: EngineFigure,
    /// Standard deviation of the logarithm of what the shipped figure is off by, from the groups of rows that shipped fits
    /// were kept from.
    sigma: f64,
    range: (f64, f64),
}

const KNOBS: [Knob; 4] = [
    Knob { figure: number!(device.decode_correction), sigma: 0.25, range: (0.4, 4.0) },
    Knob { figure: number!(device.prefill_correction), sigma: 0.35, range: (0.4, 4.0) },
    Knob { figure: time!(host.step), sigma: 0.7, range: (1e-5, 0.1) },
    Knob { figure: time!(host.request), sigma: 1.0, range: (1e-4, 2.0) },
];

/// Standard deviation of ln(measured / predicted) of one row where every figure is right: what runs of one deployment differ
/// by.
const NOISE: f64 = 0.06;
/// Times to the first token scatter more.
const TTFT_NOISE: f64 = 0.15;
/// Passes over the figures; each halves the stride of a figure that did not move.
const PASSES: usize = 7;

/// Why rows cannot correct an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnchorsError {
    /// Too few or too many.
    #[error("{given} rows; give {} to {} rows of one deployment's kind: fewer say too little, and more are a fit (`engine`)", ANCHORS.start(), ANCHORS.end())]
    Count {
        /// How many there are.
        given: usize,
    },
    /// They are not of one engine on one chip.
    #[error(
        "rows `{first}` and `{other}` are of {of} and {with}; anchors correct one engine on one chip at a time"
    )]
    Mixed {
        /// A row.
        first: String,
        /// One that differs from it.
        other: String,
        /// What the first is of.
        of: String,
        /// What the other is of.
        with: String,
    },
    /// A row cannot be predicted.
    #[error("row `{id}` cannot be predicted: {reason}")]
    Row {
        /// Its id.
        id: String,
        /// Why.
        reason: String,
    },
}

/// An engine corrected, and what that earned.
#[derive(Debug, Clone)]
pub struct Anchored {
    /// The engine with its corrected figures.
    pub engine: Engine,
    /// Figure, as shipped, as corrected.
    pub figures: Vec<(&'static str, f64, f64)>,
    /// Median of |predicted / measured - 1| over the rows' figures with the shipped engine.
    pub shipped: f64,
    /// The same where each row is predicted by the correction that the other rows make.
    pub left_out: f64,
    /// The same on the rows that the correction was made from.
    pub fitted: f64,
}

/// Squared errors of one row in standard deviations, robustly counted.
fn misfit(outcome: &Outcome) -> f64 {
    let robust = |ratio: f64, noise: f64| 2.0 * ((1.0 + (ratio.ln() / noise).powi(2)).sqrt() - 1.0);
    ratios(outcome).map(|(ratio, late)| robust(ratio, if late { TTFT_NOISE } else { NOISE })).sum()
}

/// Predicted over measured of the figures of a row, and whether it is the time to the first token. Where the time per token is
/// given, throughput is the same measurement again.
fn ratios(outcome: &Outcome) -> impl Iterator<Item = (f64, bool)> {
    let measured = outcome.row.measured;
    let figures = outcome.prediction.as_ref().map(|prediction| prediction.figures).unwrap_or_default();
    let rate = measured.throughput.filter(|_| measured.tpot.is_none());
    let of = |predicted: Option<f64>, measured: Option<f64>| Some(predicted? / measured?);
    let seconds = |time: Option<Seconds>| time.map(Seconds::get);
    let found = [
        (of(seconds(figures.tpot), seconds(measured.tpot)), false),
        (of(figures.throughput.map(|rate| rate.get()), rate.map(|rate| rate.get())), false),
        (of(seconds(figures.ttft), seconds(measured.ttft)), true),
    ];
    found.into_iter().filter_map(|(ratio, late)| ratio.map(|ratio| (ratio, late)))
}

fn errors(outcomes: &[Outcome]) -> f64 {
    let all: Vec<f64> =
        outcomes.iter().flat_map(|one| ratios(one).map(|(ratio, _)| (ratio - 1.0).abs())).collect();
    if all.is_empty() { f64::NAN } else { median(&all) }
}

/// What the rows are predicted and corrected with.
struct Bench<'a> {
    resolver: &'a Resolver,
    site: &'a Site,
    fidelity: Fidelity,
    shipped: &'a Engine,
}

impl Bench<'_> {
    fn outcomes(&self, engine: &Engine, rows: &[ServingRow]) -> Vec<Outcome> {
        predict(&self.resolver.with_engine(engine.clone()), rows, self.site, self.fidelity)
    }

    /// Misfit of the rows and departure from the shipped figures.
    fn loss(&self, engine: &Engine, rows: &[ServingRow]) -> f64 {
        let departure = |knob: &Knob| {
            let value = |engine| (knob.figure.get)(engine).max(knob.range.0).ln();
            ((value(engine) - value(self.shipped)) / knob.sigma).powi(2)
        };
        let rows = self.outcomes(engine, rows).iter().map(misfit).sum::<f64>();
        rows + KNOBS.iter().map(departure).sum::<f64>()
    }

    /// The engine that fits the rows best, searched one figure at a time.
    fn corrected(&self, rows: &[ServingRow]) -> Engine {
        let mut best = self.shipped.clone();
        let mut lowest = self.loss(&best, rows);
        let mut strides = KNOBS.map(|knob| knob.sigma / 2.0);
        for _ in 0..PASSES {
            for (knob, stride) in KNOBS.iter().zip(&mut strides) {
                let mut improved = false;
                for direction in [1.0, -1.0] {
                    let value = (knob.figure.get)(&best).max(knob.range.0) * (direction * *stride).exp();
                    let mut tried = best.clone();
                    (knob.figure.set)(&mut tried, value.clamp(knob.range.0, knob.range.1));
                    let found = self.loss(&tried, rows);
                    if found < lowest {
                        (best, lowest, improved) = (tried, found, true);
                        break;
                    }
                }
                *stride *= if improved { 1.2 } else { 0.5 };
            }
        }
        best
    }
}

/// Corrects `shipped`, the engine that all `rows` ran under on one chip.
///
/// # Errors
/// Too few or too many rows, rows of several engines or chips, or one that cannot be predicted.
pub fn anchor(
    resolver: &Resolver,
    rows: &[ServingRow],
    shipped: &Engine,
    site: &Site,
    fidelity: Fidelity,
) -> Result<Anchored, AnchorsError> {
    if !ANCHORS.contains(&rows.len()) {
        return Err(AnchorsError::Count { given: rows.len() });
    }
    alike(rows)?;
    let bench = Bench { resolver, site, fidelity, shipped };
    let before = bench.outcomes(shipped, rows);
    if let Some(failed) = before.iter().find(|outcome| outcome.prediction.is_err()) {
        let reason = failed.prediction.as_ref().err().cloned().unwrap_or_default();
        return Err(AnchorsError::Row { id: failed.row.id.clone(), reason });
    }
    let engine = bench.corrected(rows);
    let mut alone = Vec::new();
    for at in 0..rows.len() {
        let mut others = rows.to_vec();
        let left_out = others.remove(at);
        alone.extend(bench.outcomes(&bench.corrected(&others), &[left_out]));
    }
    let figures = KNOBS
        .iter()
        .map(|knob| (knob.figure.name, (knob.figure.get)(shipped), (knob.figure.get)(&engine)))
        .collect();
    Ok(Anchored {
        figures,
        shipped: errors(&before),
        left_out: errors(&alone),
        fitted: errors(&bench.outcomes(&engine, rows)),
        engine,
    })
}

/// Checks that all rows are of one engine on one chip.
fn alike(rows: &[ServingRow]) -> Result<(), AnchorsError> {
    let of = |row: &ServingRow| {
        let point = &row.launch.point;
        let engine = point.engine.as_deref().unwrap_or("its chip's engine");
        let release = point.engine_version.as_deref().map_or(String::new(), |version| format!(" {version}"));
        format!("{engine}{release} on {}", point.chip.as_deref().unwrap_or(&point.system))
    };
    let Some(first) = rows.first() else { return Ok(()) };
    match rows.iter().find(|row| of(row) != of(first)) {
        None => Ok(()),
        Some(other) => Err(AnchorsError::Mixed {
            first: first.id.clone(),
            other: other.id.clone(),
            of: of(first),
            with: of(other),
        }),
    }
}

#[cfg(test)]
#[path = "anchors_tests.rs"]
mod tests;
