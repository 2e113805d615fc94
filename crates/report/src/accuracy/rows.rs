//! Tables of rows: serving, training, published.

use super::{markdown, percent, signed};
use calibration::stats::{ErrorStats, median};
use std::collections::BTreeMap;
use std::fmt::Write;
use validate::{Metric, Pair, Scored, ServingTable, Summary, summarise};

/// The value of one of a row's columns.
pub(super) fn key<'a>(row: &'a Scored, column: &str) -> Option<&'a str> {
    row.keys.iter().find(|(name, _)| *name == column).map(|(_, value)| value.as_str())
}

/// Rows by the value of a column.
pub(super) fn by<'a>(rows: &'a [Scored], column: &str) -> BTreeMap<&'a str, Vec<Scored>> {
    let mut groups: BTreeMap<&str, Vec<Scored>> = BTreeMap::new();
    for row in rows {
        if let Some(value) = key(row, column) {
            groups.entry(value).or_default().push(row.clone());
        }
    }
    groups
}

fn errors(stats: Option<&ErrorStats>) -> Vec<String> {
    stats.map_or_else(
        || vec!["-".to_owned(); 4],
        |stats| {
            vec![
                percent(stats.median_ape),
                percent(stats.mean_ape),
                percent(stats.p90_ape),
                signed(stats.bias),
            ]
        },
    )
}

fn share(part: usize, whole: usize) -> String {
    percent(part as f64 / whole.max(1) as f64)
}

/// All rows and each split of them, by metric.
fn splits(rows: &[Scored]) -> String {
    let mut parts: Vec<(String, Summary)> = vec![("all".to_owned(), summarise(rows))];
    parts.extend(by(rows, "split").into_iter().map(|(name, rows)| (name.to_owned(), summarise(&rows))));
    let mut lines = Vec::new();
    for (name, summary) in &parts {
        for (metric, stats) in &summary.metrics {
            let mut line = vec![
                name.clone(),
                summary.rows.to_string(),
                share(summary.predicted, summary.rows),
                metric.name().to_owned(),
                stats.n.to_string(),
            ];
            line.extend(errors(Some(stats)));
            line.push(summary.band.map_or("-".to_owned(), |band| percent(band.inside)));
            lines.push(line);
        }
    }
    let header = [
        "rows",
        "count",
        "predicted",
        "metric",
        "n",
        "median",
        "mean",
        "p90",
        "bias",
        "inside (all metrics)",
    ];
    markdown(&header, lines)
}

/// Median errors by the values of a column.
fn groups(rows: &[Scored], column: &str, metrics: &[Metric]) -> String {
    let mut header = vec![column, "rows", "predicted"];
    let names: Vec<String> = metrics.iter().map(|metric| format!("{} median", metric.name())).collect();
    for name in &names {
        header.extend([name.as_str(), "bias"]);
    }
    header.push("inside");
    let lines = by(rows, column).into_iter().map(|(value, rows)| {
        let summary = summarise(&rows);
        let mut line =
            vec![value.to_owned(), summary.rows.to_string(), share(summary.predicted, summary.rows)];
        for metric in metrics {
            match summary.metrics.get(metric) {
                Some(stats) => line.extend([percent(stats.median_ape), signed(stats.bias)]),
                None => line.extend(["-".to_owned(), "-".to_owned()]),
            }
        }
        line.push(summary.band.map_or("-".to_owned(), |band| percent(band.inside)));
        line
    });
    markdown(&header, lines)
}

fn failures(rows: &[Scored]) -> String {
    let summary = summarise(rows);
    let mut text = String::new();
    for (reason, count) in &summary.failures {
        let _ = writeln!(text, "\nNot predicted ({count}): {reason}.");
    }
    text
}

/// Predicted over measured at the median of a metric.
pub(super) fn ratio(rows: &[Scored], metric: Metric) -> Option<(usize, f64)> {
    let ratios: Vec<f64> = rows
        .iter()
        .flat_map(|row| &row.pairs)
        .filter(|pair| pair.metric == metric)
        .map(|pair| pair.predicted / pair.measured)
        .collect();
    (!ratios.is_empty()).then(|| (ratios.len(), median(&ratios)))
}

/// Errors of the same rows with what is known of their launches and with the engines' defaults instead.
fn launches(table: &ServingTable) -> String {
    let launched = [("as launched", &table.rows), ("with the engines' defaults", &table.bare)];
    let lines = launched.iter().flat_map(|(name, rows)| {
        let summary = summarise(rows);
        let predicted = share(summary.predicted, summary.rows);
        let inside = summary.band.map_or("-".to_owned(), |band| percent(band.inside));
        summary
            .metrics
            .iter()
            .map(|(metric, stats)| {
                let mut line = vec![(*name).to_owned(), predicted.clone(), metric.name().to_owned()];
                line.extend(errors(Some(stats)));
                line.push(inside.clone());
                line
            })
            .collect::<Vec<_>>()
    });
    let header = ["launch", "predicted", "metric", "median", "mean", "p90", "bias", "inside (all metrics)"];
    markdown(&header, lines)
}

/// A table of serving rows.
pub(super) fn serving(table: &ServingTable) -> String {
    let metrics = [Metric::Tpot, Metric::Ttft, Metric::Throughput];
    let mut rows = table.rows.clone();
    if table.apart {
        rows.iter_mut().for_each(|row| row.keys.retain(|(column, _)| *column != "split"));
    }
    let rows = &rows;
    let mut text = splits(rows);
    if table.rows.iter().zip(&table.bare).any(|(launched, bare)| launched.pairs != bare.pairs) {
        let _ = write!(text, "\n{}", launches(table));
    }
    let mut pairs: Vec<(String, Vec<Scored>)> = vec![("all".to_owned(), rows.to_vec())];
    pairs.extend(by(rows, "split").into_iter().map(|(name, rows)| (name.to_owned(), rows)));
    for (name, rows) in pairs {
        if let Some(order) = summarise(&rows).pair_order {
            let _ = writeln!(
                text,
                "\nPairs of layouts that answer one question ({name}, {} pairs): {} ordered right by TPOT, {} by throughput.",
                order.n,
                percent(order.tpot),
                percent(order.throughput)
            );
        }
    }
    for column in ["load", "mode", "engine", "system", "quality"] {
        let _ = write!(text, "\n{}", groups(rows, column, &metrics));
    }
    let lines = by(rows, "cell").into_iter().flat_map(|(cell, rows)| {
        let parts = by(&rows, "split");
        let parts = if parts.is_empty() { BTreeMap::from([("-", rows.clone())]) } else { parts };
        parts
            .into_iter()
            .map(|(split, rows)| {
                let shown =
                    |metric| ratio(&rows, metric).map_or("-".to_owned(), |(_, ratio)| format!("{ratio:.2}"));
                vec![
                    cell.to_owned(),
                    split.to_owned(),
                    rows.len().to_string(),
                    shown(Metric::Tpot),
                    shown(Metric::Ttft),
                    shown(Metric::Throughput),
                ]
            })
            .collect::<Vec<_>>()
    });
    let header = ["system / model / engine", "split", "rows", "TPOT", "TTFT", "throughput"];
    let _ = write!(text, "\nMedian of predicted / measured by cell:\n\n{}", markdown(&header, lines));
    text + &failures(rows)
}

/// A table of training rows.
pub(super) fn training(rows: &[Scored]) -> String {
    let mut text = splits(rows);
    for column in ["framework", "chip"] {
        let _ = write!(text, "\n{}", groups(rows, column, &[Metric::StepTime]));
    }
    text + &failures(rows)
}

/// Published rows one by one.
pub(super) fn published(files: &[(String, Vec<Scored>)]) -> String {
    let mut text = String::from(
        "Rows of `validation/`, each a published fact with its source beside it. Times in ms (TTFT, TPOT), s (training steps) and us\n\
         (operators), throughput in tokens per second and chip.\n",
    );
    for (name, rows) in files {
        let pairs = rows.iter().flat_map(|row| row.pairs.iter().map(move |pair| (row, pair)));
        let mut pairs: Vec<_> = pairs.collect();
        let _ = write!(text, "\n`{name}`:");
        if pairs.len() > MOST_ROWS {
            let off = |pair: &Pair| (pair.predicted / pair.measured).ln().abs();
            pairs.sort_by(|(_, a), (_, b)| off(b).total_cmp(&off(a)));
            let half = signed(off(pairs[pairs.len() / 2].1).exp_m1());
            let _ = write!(
                text,
                " {} rows, half of them within {half}; the {FURTHEST} furthest off",
                pairs.len()
            );
            pairs.truncate(FURTHEST);
        }
        let lines = pairs.into_iter().map(|(row, pair)| {
            vec![
                row.id.clone(),
                pair.metric.name().to_owned(),
                significant(pair.predicted),
                significant(pair.measured),
                signed(pair.predicted / pair.measured - 1.0),
            ]
        });
        let header = ["row", "metric", "predicted", "measured", "off by"];
        let _ = write!(text, "\n\n{}", markdown(&header, lines));
        text.push_str(&failures(rows));
    }
    text
}

/// Published rows of one file that are shown each; of a longer one the [`FURTHEST`] off are.
const MOST_ROWS: usize = 60;
const FURTHEST: usize = 10;

/// Four significant digits.
fn significant(value: f64) -> String {
    let digits = (3.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.digits$}")
}
