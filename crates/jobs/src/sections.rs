//! Sections of the results: use by level, and windows of services.

use crate::run::{Comparison, Prepared};
use crate::tables::{percent, productive, time, value};
use crate::windows::Window;
use cluster::results::Usage;
use report::table;
use serde_json::{Value, json};

/// Windows of services beside the fluid of the run.
pub(crate) fn windows(comparison: &Comparison<'_>) -> String {
    let header = [
        "service",
        "policy",
        "from",
        "until",
        "replicas",
        "requests/s",
        "within SLO",
        "as a fluid",
        "TTFT p50",
        "p99",
        "TPOT p50",
        "p99",
    ];
    let mut rows = Vec::new();
    for side in &comparison.sides {
        for window in &side.windows {
            rows.push(vec![
                comparison.prepared.services[window.service].name.clone(),
                side.label.clone(),
                time(window.span.0),
                time(window.span.1),
                window.replicas.to_string(),
                format!("{:.2}", window.rate),
                percent(window.within, 1.0),
                percent(window.fluid, 1.0),
                time(window.ttft.0),
                time(window.ttft.1),
                time(window.tpot.0),
                time(window.tpot.1),
            ]);
        }
    }
    table(&header, rows)
}

/// Names of the node and the levels above it.
fn level_names(prepared: &Prepared) -> Vec<&str> {
    let above = prepared.setup.tree.levels().iter().map(|level| level.name.as_str());
    std::iter::once("node").chain(above).collect()
}

/// How full the domains of each level were: where jobs held any chip, where they held all, and how much of what they
/// touched they held and used.
pub(crate) fn levels(comparison: &Comparison<'_>) -> String {
    let header = ["policy", "level", "domains", "in use", "held whole", "held of those in use", "productive"];
    let prepared = comparison.prepared;
    let mut rows = Vec::new();
    for side in &comparison.sides {
        let usage = &side.outcome.usage;
        for (level, (name, used)) in level_names(prepared).into_iter().zip(&usage.levels).enumerate() {
            let tree = &prepared.setup.tree;
            let domains = if level == 0 { tree.nodes() } else { tree.domains(level - 1) };
            rows.push(vec![
                side.label.clone(),
                name.to_owned(),
                domains.to_string(),
                percent(used.touched, usage.chip_seconds),
                percent(used.full, usage.chip_seconds),
                percent(usage.allocated, used.touched),
                percent(productive(side), used.touched),
            ]);
        }
    }
    table(&header, rows)
}

/// A window as JSON.
pub(crate) fn window_json(prepared: &Prepared, window: &Window) -> Value {
    json!({
        "service": prepared.services[window.service].name,
        "from": value(window.span.0, "s"),
        "until": value(window.span.1, "s"),
        "replicas": window.replicas,
        "rate": value(window.rate, "requests/s"),
        "within_slo_share": window.within,
        "within_slo_share_fluid": window.fluid,
        "ttft_p50": value(window.ttft.0, "s"),
        "ttft_p99": value(window.ttft.1, "s"),
        "tpot_p50": value(window.tpot.0, "s"),
        "tpot_p99": value(window.tpot.1, "s"),
    })
}

/// Use by level as JSON.
pub(crate) fn levels_json(prepared: &Prepared, usage: &Usage) -> Vec<Value> {
    let levels = level_names(prepared).into_iter().zip(&usage.levels);
    levels
        .map(|(name, used)| {
            json!({ "level": name, "in_use": value(used.touched, "chip*s"), "held_whole": value(used.full, "chip*s") })
        })
        .collect()
}
