//! Fitting an engine's overheads to serving rows.
//!
//! Few coefficients, each a time or a factor with a meaning; robust (soft-L1 on log errors); every group of rows
//! (system, model, engine, mode) counts the same once it has more than a few rows, because what the engine will be asked
//! about is another group. Searched one coefficient at a time with a shrinking stride: the objective has kinks, and an
//! evaluation is a simulation of every row.

use crate::figure::{EngineFigure, number, time};
use crate::serving::{Fidelity, Outcome, ServingRow, predict};
use crate::split::group;
use estimate::Resolver;
use estimate::economics::Site;
use hardware::Engine;
use std::collections::BTreeMap;

/// A coefficient of an engine and where it may lie.
struct Knob {
    figure: EngineFigure,
    min: f64,
    max: f64,
}

/// Seconds below which a time is not told from nothing; keeps logarithms finite.
const SMALLEST: f64 = 1e-8;

const KNOBS: [Knob; 14] = [
    Knob { figure: time!(host.step), min: 1e-5, max: 2e-2 },
    Knob { figure: time!(host.sequence), min: SMALLEST, max: 2e-4 },
    Knob { figure: number!(host.hidden), min: 0.05, max: 0.98 },
    Knob { figure: time!(host.request), min: 1e-3, max: 0.5 },
    Knob { figure: time!(host.prompt_token), min: SMALLEST, max: 5e-6 },
    Knob { figure: time!(host.kv_transfer_time), min: 1e-3, max: 0.5 },
    Knob { figure: time!(host.dispatch), min: SMALLEST, max: 5e-4 },
    Knob { figure: time!(host.replay), min: SMALLEST, max: 3e-3 },
    Knob { figure: number!(device.expert_spread), min: 0.05, max: 2.0 },
    Knob { figure: time!(device.layer), min: SMALLEST, max: 1e-4 },
    Knob { figure: time!(device.layer_eager), min: SMALLEST, max: 1e-3 },
    Knob { figure: number!(device.decode_slowdown), min: 0.7, max: 1.6 },
    Knob { figure: number!(device.prefill_slowdown), min: 0.7, max: 2.0 },
    Knob { figure: number!(device.expert_skew), min: 0.01, max: 1.5 },
];

/// A fitted engine and how well it does.
#[derive(Debug, Clone)]
pub struct EngineFit {
    /// The engine with its coefficients replaced.
    pub engine: Engine,
    /// Value of each coefficient.
    pub coefficients: Vec<(&'static str, f64)>,
    /// Mean robust loss before and after.
    pub loss: (f64, f64),
    /// Evaluations of all rows.
    pub evaluations: usize,
}

/// Weight of TTFT errors beside TPOT errors, which are less noisy.
const TTFT_WEIGHT: f64 = 0.35;
/// Scale of the soft-L1 loss on ln(predicted / measured).
const SCALE: f64 = 0.15;

/// Standard deviation of the logarithm of a coefficient around where the fit starts, which is another engine's value
/// or what is typical: a few groups of rows must not move a coefficient that they say little about.
const PRIOR_SIGMA: f64 = 0.7;
/// Weight of the prior beside the mean loss of all groups.
const PRIOR_WEIGHT: f64 = 2e-4;

/// Rows at which a group says half of what it would say with many: what a few rows have in common may be chance.
const FEW_ROWS: f64 = 8.0;

/// What departing from the start costs.
fn prior(engine: &Engine, start: &Engine) -> f64 {
    let departure = |knob: &Knob| {
        let value = |engine| (knob.figure.get)(engine).max(knob.min).ln();
        ((value(engine) - value(start)) / PRIOR_SIGMA).powi(2)
    };
    PRIOR_WEIGHT * KNOBS.iter().map(departure).sum::<f64>()
}

/// Soft-L1 of a log error.
fn robust(error: f64) -> f64 {
    2.0 * SCALE * SCALE * ((1.0 + (error / SCALE).powi(2)).sqrt() - 1.0)
}

fn loss(outcomes: &[Outcome]) -> f64 {
    let mut groups: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for outcome in outcomes {
        let Ok(prediction) = &outcome.prediction else { continue };
        let (figures, measured) = (&prediction.figures, &outcome.row.measured);
        let entry = groups.entry(group(&outcome.row)).or_default();
        let mut add = |weight: f64, predicted: Option<f64>, measured: Option<f64>| {
            if let (Some(predicted), Some(measured)) = (predicted, measured) {
                entry.0 += weight * robust((predicted / measured).ln());
                entry.1 += weight;
            }
        };
        add(1.0, figures.tpot.map(|t| t.get()), measured.tpot.map(|t| t.get()));
        // Where the time per token is given, throughput is the same measurement again.
        if measured.tpot.is_none() {
            add(1.0, figures.throughput.map(|t| t.get()), measured.throughput.map(|t| t.get()));
        }
        add(TTFT_WEIGHT, figures.ttft.map(|t| t.get()), measured.ttft.map(|t| t.get()));
    }
    let means = groups.values().filter(|(_, weight)| *weight > 0.0).map(|(sum, weight)| {
        let says = weight / (weight + FEW_ROWS);
        (says * sum / weight, says)
    });
    let (sum, says) = means.fold((0.0, 0.0), |(sum, all), (mean, says)| (sum + mean, all + says));
    sum / says.max(f64::MIN_POSITIVE)
}

/// Fits the overheads of an engine to `rows`, which all ran under it, from those of `start`.
pub fn fit_engine(
    resolver: &Resolver,
    rows: &[ServingRow],
    start: &Engine,
    site: &Site,
    fidelity: Fidelity,
    rounds: usize,
) -> EngineFit {
    let mut evaluations = 0;
    let mut evaluate = |engine: &Engine| {
        evaluations += 1;
        let outcomes = predict(&resolver.with_engine(engine.clone()), rows, site, fidelity);
        loss(&outcomes) + prior(engine, start)
    };
    let mut best = start.clone();
    let mut lowest = evaluate(&best);
    let before = lowest;
    let mut strides = [0.5_f64; KNOBS.len()];
    for _ in 0..rounds {
        for (knob, stride) in KNOBS.iter().zip(&mut strides) {
            let mut improved = false;
            for direction in [1.0, -1.0] {
                let factor = (direction * *stride).exp();
                let mut tried = best.clone();
                let value = ((knob.figure.get)(&best).max(knob.min) * factor).clamp(knob.min, knob.max);
                (knob.figure.set)(&mut tried, value);
                let found = evaluate(&tried);
                if found < lowest {
                    (best, lowest, improved) = (tried, found, true);
                    break;
                }
            }
            *stride *= if improved { 1.3 } else { 0.45 };
        }
    }
    let coefficients = KNOBS.iter().map(|knob| (knob.figure.name, (knob.figure.get)(&best))).collect();
    EngineFit { engine: best, coefficients, loss: (before, lowest), evaluations }
}
