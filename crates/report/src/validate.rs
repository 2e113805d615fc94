//! Errors as text and as JSON.

use crate::table;
use calibration::stats::ErrorStats;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use validate::{Band, Metric, Scored, Summary};

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn stats_row(name: String, rows: String, stats: &ErrorStats) -> Vec<String> {
    vec![
        name,
        rows,
        percent(stats.median_ape),
        percent(stats.mean_ape),
        percent(stats.p90_ape),
        format!("{:+.1} %", 100.0 * stats.bias),
    ]
}

/// For people: coverage, errors by metric, band, order of pairs, and errors by group.
pub fn validate_text(summary: &Summary) -> String {
    let share = summary.predicted as f64 / summary.rows.max(1) as f64;
    let mut text =
        format!("{} of {} rows predicted ({})\n\n", summary.predicted, summary.rows, percent(share));
    let rows = summary
        .metrics
        .iter()
        .map(|(metric, stats)| stats_row(metric.name().to_owned(), stats.n.to_string(), stats));
    text.push_str(&table(&["metric", "rows", "median", "mean", "p90", "bias"], rows));
    if let Some(band) = &summary.band {
        let _ = writeln!(
            text,
            "\n{} of figures lie inside the {} band",
            percent(band.inside),
            percent(band.level)
        );
    }
    if let Some(order) = &summary.pair_order {
        let _ = writeln!(
            text,
            "{} pairs of layouts: {} ordered right by TPOT, {} by throughput",
            order.n,
            percent(order.tpot),
            percent(order.throughput)
        );
    }
    let mut columns: Vec<&str> = summary.groups.iter().map(|group| group.by).collect();
    columns.dedup();
    for column in columns {
        text.push_str(&group_text(summary, column));
    }
    for (reason, rows) in &summary.failures {
        let _ = writeln!(text, "\nnot predicted ({rows}): {reason}");
    }
    text
}

fn group_text(summary: &Summary, column: &str) -> String {
    let metrics: Vec<Metric> = summary.metrics.keys().copied().collect();
    let mut header = vec![column, "rows", "predicted"];
    let names: Vec<String> =
        metrics.iter().map(|metric| format!("{} median (bias)", metric.name())).collect();
    header.extend(names.iter().map(String::as_str));
    let rows = summary.groups.iter().filter(|group| group.by == column).map(|group| {
        let mut row = vec![group.value.clone(), group.rows.to_string(), group.predicted.to_string()];
        row.extend(metrics.iter().map(|metric| {
            group.metrics.get(metric).map_or_else(
                || "-".to_owned(),
                |stats| format!("{} ({:+.1} %)", percent(stats.median_ape), 100.0 * stats.bias),
            )
        }));
        row
    });
    format!("\n{}", table(&header, rows))
}

/// The `count` rows that are furthest off, furthest first.
pub fn worst(rows: &[Scored], count: usize) -> Vec<&Scored> {
    let mut off: Vec<(f64, &Scored)> = rows.iter().filter_map(|row| Some((row.distance()?, row))).collect();
    off.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
    off.into_iter().take(count).map(|(_, row)| row).collect()
}

/// Rows with what was predicted and measured, and under each what the prediction is made of.
pub fn rows_text(title: &str, rows: &[(&Scored, String)]) -> String {
    let mut metrics: Vec<Metric> =
        rows.iter().flat_map(|(row, _)| row.pairs.iter().map(|pair| pair.metric)).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let names: Vec<String> =
        metrics.iter().map(|metric| format!("{} predicted / measured", metric.name())).collect();
    let mut header = vec![title];
    header.extend(names.iter().map(String::as_str));
    let cells = rows.iter().map(|(row, _)| {
        let mut line = vec![row.id.clone()];
        line.extend(metrics.iter().map(|metric| {
            row.pairs.iter().find(|pair| pair.metric == *metric).map_or_else(
                || "-".to_owned(),
                |pair| format!("{:.4} / {:.4}", pair.predicted, pair.measured),
            )
        }));
        line
    });
    let text = table(&header, cells);
    let mut lines = text.lines();
    let mut out = lines.next().map_or_else(String::new, |header| format!("{header}\n"));
    for (line, (_, detail)) in lines.zip(rows) {
        let _ = writeln!(out, "{line}");
        for line in detail.lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
    out
}

fn stats_json(stats: &ErrorStats) -> Value {
    json!({
        "n": stats.n, "median_ape": stats.median_ape, "mean_ape": stats.mean_ape, "p90_ape": stats.p90_ape,
        "bias": stats.bias,
    })
}

fn band_json(band: Band) -> Value {
    json!({ "level": band.level, "inside": band.inside, "n": band.n })
}

/// One row: what was run, and each figure as it was predicted, within which band, and as it was measured.
fn row_json(row: &Scored) -> Value {
    let figures: Map<String, Value> = row
        .pairs
        .iter()
        .map(|pair| {
            let (low, high) = pair.band();
            let figure = json!({
                "predicted": pair.predicted, "measured": pair.measured, "unit": pair.metric.unit(),
                "band": { "level": 0.8, "low": low, "high": high }, "inside": pair.inside(),
            });
            (pair.metric.name().to_owned(), figure)
        })
        .collect();
    let keys: Map<String, Value> =
        row.keys.iter().map(|(key, value)| ((*key).to_owned(), Value::from(value.as_str()))).collect();
    json!({
        "id": row.id, "keys": keys, "launch": row.launch, "figures": figures, "failure": row.failure,
    })
}

/// For programs; errors are fractions. `worst` are the rows that are furthest off, each with what its prediction is made of.
pub fn validate_json(summary: &Summary, rows: &[Scored], worst: &[(&Scored, String)]) -> Value {
    let metrics = |metrics: &BTreeMap<Metric, ErrorStats>| -> Map<String, Value> {
        metrics.iter().map(|(metric, stats)| (metric.name().to_owned(), stats_json(stats))).collect()
    };
    let groups: Vec<Value> = summary
        .groups
        .iter()
        .map(|group| {
            json!({
                "by": group.by, "value": group.value, "rows": group.rows, "predicted": group.predicted,
                "metrics": metrics(&group.metrics), "band": group.band.map(band_json),
            })
        })
        .collect();
    json!({
        "schema": "supernode.validate/1",
        "rows": summary.rows,
        "predicted": summary.predicted,
        "coverage": summary.predicted as f64 / summary.rows.max(1) as f64,
        "metrics": metrics(&summary.metrics),
        "band": summary.band.map(band_json),
        "pair_order": summary.pair_order.map(|order| json!({
            "n": order.n, "tpot": order.tpot, "throughput": order.throughput,
        })),
        "groups": groups,
        "failures": summary.failures,
        "predictions": rows.iter().map(row_json).collect::<Vec<_>>(),
        "worst": worst.iter().map(|(row, detail)| json!({ "id": row.id, "made_of": detail })).collect::<Vec<_>>(),
    })
}
