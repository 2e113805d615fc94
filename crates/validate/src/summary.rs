//! Errors of many rows: overall, by group, inside the band, and in the order of alternatives.

use crate::serving::{Measured, Outcome};
use calibration::stats::{self, ErrorStats};
use std::collections::BTreeMap;

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Time per output token.
    Tpot,
    /// Time to the first token.
    Ttft,
    /// Tokens per second and chip.
    Throughput,
    /// Duration of a training step.
    StepTime,
    /// Duration of an operator.
    Latency,
}

impl Metric {
    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tpot => "tpot",
            Self::Ttft => "ttft",
            Self::Throughput => "throughput",
            Self::StepTime => "step_time",
            Self::Latency => "latency",
        }
    }
}

/// Rows inside the stated error band.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Band {
    /// Share of rows that the band claims to hold.
    pub level: f64,
    /// Share that it holds.
    pub inside: f64,
    /// Rows counted.
    pub n: usize,
}

/// Pairs of alternatives ordered as measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct PairOrder {
    /// Pairs.
    pub n: usize,
    /// Share ordered right by TPOT.
    pub tpot: f64,
    /// Share ordered right by throughput.
    pub throughput: f64,
}

/// Errors of the rows that share a value of one column.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// The column.
    pub by: &'static str,
    /// The value.
    pub value: String,
    /// Rows.
    pub rows: usize,
    /// Of them predicted.
    pub predicted: usize,
    /// Errors by metric.
    pub metrics: BTreeMap<Metric, ErrorStats>,
}

/// Everything said about a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Rows.
    pub rows: usize,
    /// Of them predicted.
    pub predicted: usize,
    /// Errors by metric.
    pub metrics: BTreeMap<Metric, ErrorStats>,
    /// The 80 % band.
    pub band: Option<Band>,
    /// Pairs of layouts.
    pub pair_order: Option<PairOrder>,
    /// Errors by column.
    pub groups: Vec<Group>,
    /// Why rows were not predicted, with how many.
    pub failures: BTreeMap<String, usize>,
}

/// (predicted, measured) of each metric of one row.
fn pairs(outcome: &Outcome) -> Vec<(Metric, f64, f64)> {
    let Ok(prediction) = &outcome.prediction else { return Vec::new() };
    let Measured { ttft, tpot, .. } = outcome.row.measured;
    let figures = &prediction.figures;
    let mut found = Vec::new();
    let mut add = |metric, predicted: Option<f64>, measured: Option<f64>| {
        if let (Some(predicted), Some(measured)) = (predicted, measured) {
            found.push((metric, predicted, measured));
        }
    };
    add(Metric::Tpot, figures.tpot.map(|t| t.get()), tpot.map(|t| t.get()));
    add(Metric::Ttft, figures.ttft.map(|t| t.get()), ttft.map(|t| t.get()));
    add(Metric::Throughput, figures.throughput.map(|r| r.get()), outcome.row.throughput().map(|r| r.get()));
    found
}

fn errors<'a>(outcomes: impl Iterator<Item = &'a Outcome>) -> BTreeMap<Metric, ErrorStats> {
    let mut by_metric: BTreeMap<Metric, Vec<(f64, f64)>> = BTreeMap::new();
    for outcome in outcomes {
        for (metric, predicted, measured) in pairs(outcome) {
            by_metric.entry(metric).or_default().push((predicted, measured));
        }
    }
    by_metric.into_iter().map(|(metric, pairs)| (metric, ErrorStats::of(&pairs))).collect()
}

/// What rows are grouped by.
fn keys(outcome: &Outcome) -> [(&'static str, String); 6] {
    let row = &outcome.row;
    let point = &row.point;
    let engine = point.engine.clone().unwrap_or_else(|| "unknown".to_owned());
    let mode = format!("{:?}", point.mode).to_lowercase();
    [
        ("system", point.system.clone()),
        ("model", point.model.clone()),
        ("engine", engine.clone()),
        ("mode", mode),
        ("load", row.load_region().to_owned()),
        ("cell", format!("{} / {} / {engine}", point.system, point.model)),
    ]
}

/// Counts up the outcomes of a table.
pub fn summarise(outcomes: &[Outcome]) -> Summary {
    let mut groups: BTreeMap<(&'static str, String), Vec<&Outcome>> = BTreeMap::new();
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    for outcome in outcomes {
        for key in keys(outcome) {
            groups.entry(key).or_default().push(outcome);
        }
        if let Err(reason) = &outcome.prediction {
            *failures.entry(reason.clone()).or_default() += 1;
        }
    }
    let predicted =
        |outcomes: &[&Outcome]| outcomes.iter().filter(|outcome| outcome.prediction.is_ok()).count();
    Summary {
        rows: outcomes.len(),
        predicted: outcomes.iter().filter(|outcome| outcome.prediction.is_ok()).count(),
        metrics: errors(outcomes.iter()),
        band: band(outcomes),
        pair_order: pair_order(outcomes),
        groups: groups
            .into_iter()
            .map(|((by, value), members)| Group {
                by,
                value,
                rows: members.len(),
                predicted: predicted(&members),
                metrics: errors(members.iter().copied()),
            })
            .collect(),
        failures,
    }
}

/// Share of latencies and rates inside the 80 % band.
fn band(outcomes: &[Outcome]) -> Option<Band> {
    let mut rows = Vec::new();
    for outcome in outcomes {
        let Ok(prediction) = &outcome.prediction else { continue };
        for (metric, predicted, measured) in pairs(outcome) {
            let sigma = if metric == Metric::Ttft { prediction.ttft_sigma } else { prediction.sigma };
            rows.push((predicted, measured, sigma));
        }
    }
    (!rows.is_empty()).then(|| Band {
        level: 0.8,
        inside: stats::share_inside(&rows, stats::Z80),
        n: rows.len(),
    })
}

/// Two layouts closer than this are not an order.
const TIE: f64 = 0.01;

/// Pairs with the same system, model, engine, formats, lengths, chips and concurrency but another layout.
fn pair_order(outcomes: &[Outcome]) -> Option<PairOrder> {
    let mut alternatives: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes.iter().filter(|outcome| outcome.prediction.is_ok()) {
        let p = &outcome.row.point;
        let key = format!(
            "{}|{}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{:?}",
            p.system, p.model, p.engine, p.formats, p.mode, p.isl, p.osl, p.chips, p.concurrency
        );
        alternatives.entry(key).or_default().push(outcome);
    }
    let mut order = [(0usize, 0usize); 2];
    let mut pairs_seen = 0;
    for members in alternatives.values() {
        for (index, a) in members.iter().enumerate() {
            for b in &members[index + 1..] {
                if same_layout(a, b) {
                    continue;
                }
                pairs_seen += 1;
                for (slot, metric) in [Metric::Tpot, Metric::Throughput].into_iter().enumerate() {
                    if let Some(right) = ordered(a, b, metric) {
                        order[slot].0 += usize::from(right);
                        order[slot].1 += 1;
                    }
                }
            }
        }
    }
    let share = |(right, all): (usize, usize)| if all == 0 { 0.0 } else { right as f64 / all as f64 };
    (pairs_seen > 0).then(|| PairOrder { n: pairs_seen, tpot: share(order[0]), throughput: share(order[1]) })
}

fn same_layout(a: &Outcome, b: &Outcome) -> bool {
    let (a, b) = (&a.row.point, &b.row.point);
    a.sizes == b.sizes && a.prefill == b.prefill && a.decode == b.decode
}

/// Whether the prediction orders a pair as measured; `None` for a tie in the measurement.
fn ordered(a: &Outcome, b: &Outcome, metric: Metric) -> Option<bool> {
    let of = |outcome| pairs(outcome).into_iter().find(|(found, ..)| *found == metric);
    let (_, predicted_a, measured_a) = of(a)?;
    let (_, predicted_b, measured_b) = of(b)?;
    if (measured_a / measured_b).ln().abs() < TIE {
        return None;
    }
    Some((measured_a > measured_b) == (predicted_a > predicted_b))
}
