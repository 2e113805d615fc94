//! Errors of many rows: overall, by group, inside the band, and in the order of alternatives.

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
    /// Power of a package.
    Power,
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
            Self::Power => "power",
            Self::StepTime => "step_time",
            Self::Latency => "latency",
        }
    }

    /// The unit of its figures in rows.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::Tpot | Self::Ttft => "ms",
            Self::Throughput => "tokens/s/chip",
            Self::Power => "W",
            Self::StepTime => "s",
            Self::Latency => "us",
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
    /// The 80 % band.
    pub band: Option<Band>,
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

/// A predicted figure beside the measured one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pair {
    /// What it is.
    pub metric: Metric,
    /// As predicted.
    pub predicted: f64,
    /// As measured, in the same unit.
    pub measured: f64,
    /// Spread of ln(true / predicted) that is stated.
    pub sigma: f64,
}

impl Pair {
    /// The 80 % band around what is predicted.
    pub fn band(&self) -> (f64, f64) {
        let spread = (stats::Z80 * self.sigma).exp();
        (self.predicted / spread, self.predicted * spread)
    }

    /// Whether what was measured lies in it.
    pub fn inside(&self) -> bool {
        let (low, high) = self.band();
        (low..=high).contains(&self.measured)
    }
}

/// A row of any kind with its prediction.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    /// The row's id, or what stands for it.
    pub id: String,
    /// Columns that it is grouped by, with its values.
    pub keys: Vec<(&'static str, String)>,
    /// What was predicted and measured; empty if nothing could be predicted.
    pub pairs: Vec<Pair>,
    /// Why nothing could be predicted.
    pub failure: Option<String>,
    /// What makes two rows alternatives of each other, and which alternative this one is.
    pub alternative: Option<(String, String)>,
    /// Whether this is a further part of the row before it: tables of exchanges time both directions in one row.
    pub continues: bool,
    /// What was run as the prediction has it, by key: what the table says and what was filled in.
    pub launch: BTreeMap<&'static str, String>,
}

impl Scored {
    fn pair(&self, metric: Metric) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.metric == metric)
    }

    /// How far off the row is: |ln(predicted / measured)| of its first figure.
    pub fn distance(&self) -> Option<f64> {
        self.pairs.first().map(|pair| (pair.predicted / pair.measured).ln().abs())
    }
}

fn errors<'a>(rows: impl Iterator<Item = &'a Scored>) -> BTreeMap<Metric, ErrorStats> {
    let mut by_metric: BTreeMap<Metric, Vec<(f64, f64)>> = BTreeMap::new();
    for pair in rows.flat_map(|row| &row.pairs) {
        by_metric.entry(pair.metric).or_default().push((pair.predicted, pair.measured));
    }
    by_metric.into_iter().map(|(metric, pairs)| (metric, ErrorStats::of(&pairs))).collect()
}

/// Rows and predicted rows among parts, each with the number of the row it belongs to. A row is predicted if all of
/// its parts are.
fn count(parts: &[(usize, &Scored)]) -> (usize, usize) {
    let mut whole: BTreeMap<usize, bool> = BTreeMap::new();
    for (row, part) in parts {
        *whole.entry(*row).or_insert(true) &= part.failure.is_none();
    }
    (whole.len(), whole.values().filter(|predicted| **predicted).count())
}

/// Counts up the rows of a table.
pub fn summarise(rows: &[Scored]) -> Summary {
    let mut parts: Vec<(usize, &Scored)> = Vec::new();
    let mut groups: BTreeMap<(&'static str, &str), Vec<(usize, &Scored)>> = BTreeMap::new();
    let mut failures: BTreeMap<String, usize> = BTreeMap::new();
    let mut number = 0;
    for row in rows {
        number += usize::from(!row.continues);
        parts.push((number, row));
        for (column, value) in &row.keys {
            groups.entry((column, value)).or_default().push((number, row));
        }
        if let Some(reason) = &row.failure {
            *failures.entry(reason.clone()).or_default() += 1;
        }
    }
    let (all, predicted) = count(&parts);
    let group = |((by, value), members): ((&'static str, &str), Vec<(usize, &Scored)>)| {
        let (rows, predicted) = count(&members);
        let members = || members.iter().map(|(_, row)| *row);
        let value = value.to_owned();
        Group { by, value, rows, predicted, metrics: errors(members()), band: band(members()) }
    };
    Summary {
        rows: all,
        predicted,
        metrics: errors(rows.iter()),
        band: band(rows.iter()),
        pair_order: pair_order(rows),
        groups: groups.into_iter().map(group).collect(),
        failures,
    }
}

/// Share of figures inside the 80 % band.
fn band<'a>(rows: impl Iterator<Item = &'a Scored>) -> Option<Band> {
    let figures: Vec<(f64, f64, f64)> =
        rows.flat_map(|row| &row.pairs).map(|pair| (pair.predicted, pair.measured, pair.sigma)).collect();
    (!figures.is_empty()).then(|| Band {
        level: 0.8,
        inside: stats::share_inside(&figures, stats::Z80),
        n: figures.len(),
    })
}

/// Two alternatives measured closer than this are not an order: TPOT of one deployment measured twice differs by 3.4 % on
/// average.
const TIE: f64 = 0.034;

/// Pairs of rows that differ in their alternative only.
fn pair_order(rows: &[Scored]) -> Option<PairOrder> {
    let mut alternatives: BTreeMap<&str, Vec<(&str, &Scored)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.failure.is_none()) {
        if let Some((question, answer)) = &row.alternative {
            alternatives.entry(question).or_default().push((answer, row));
        }
    }
    let mut order = [(0usize, 0usize); 2];
    let mut pairs_seen = 0;
    for members in alternatives.values() {
        for (index, (layout, a)) in members.iter().enumerate() {
            for (other, b) in &members[index + 1..] {
                if layout == other {
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

/// Whether the prediction orders a pair as measured; `None` for a tie in the measurement.
fn ordered(a: &Scored, b: &Scored, metric: Metric) -> Option<bool> {
    let (a, b) = (a.pair(metric)?, b.pair(metric)?);
    if (a.measured / b.measured).ln().abs() < TIE {
        return None;
    }
    Some((a.measured > b.measured) == (a.predicted > b.predicted))
}
