//! A comparison of systems as text and as JSON.

use crate::table::table_keeping;
use planner::compare::{Compared, Entry};
use planner::plan_file::{PoolFile, Value as Figure};
use serde_json::{Value, json};
use std::fmt::Write;

/// Sizes of the instances of a pool.
pub(crate) fn sizes(pool: &PoolFile) -> String {
    let mut text = format!("{} x TP{}", pool.instances, pool.tp);
    if pool.pp > 1 {
        let _ = write!(text, " PP{}", pool.pp);
    }
    if pool.dp > 1 {
        let _ = write!(text, " DP{}", pool.dp);
    }
    if pool.ep > 1 {
        let _ = write!(text, " EP{}", pool.ep);
    }
    text
}

fn optional(value: Option<&Figure>, digits: usize) -> String {
    value.map_or_else(|| "unknown".to_owned(), |figure| format!("{:.digits$}", figure.value))
}

fn row(system: &str, plan: &Compared) -> Vec<String> {
    let best = plan.best();
    let predicted = &best.predicted;
    let (prefill, decode) = match best.pools.as_slice() {
        [prefill, decode] => (sizes(prefill), sizes(decode)),
        [both] => ("the same".to_owned(), sizes(both)),
        _ => (String::new(), String::new()),
    };
    let throughput = &predicted.throughput_per_chip;
    vec![
        system.to_owned(),
        best.pools.last().map_or_else(String::new, |pool| pool.weight_dtype.to_string()),
        prefill,
        decode,
        format!("{:.0}", predicted.chips),
        format!("{:.2} s", predicted.ttft.value),
        format!("{:.1} ms", predicted.tpot.value * 1e3),
        format!("{:.0}", throughput.value),
        throughput
            .high
            .map_or_else(String::new, |high| format!("+-{:.0} %", 100.0 * (high / throughput.value - 1.0))),
        predicted
            .power
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |power| format!("{:.0} W", power.value / predicted.chips)),
        optional(predicted.energy_per_token.as_ref(), 2),
        optional(predicted.cost_per_million_tokens.as_ref(), 3),
        optional(predicted.co2e_per_million_tokens.as_ref(), 0),
        predicted.bound.clone(),
        plan.grade.to_string(),
    ]
}

/// For people: one row per system, and below why a system has none.
pub fn compare_text(entries: &[Entry]) -> String {
    let header = [
        "system",
        "format",
        "prefill",
        "decode",
        "chips",
        "TTFT",
        "TPOT",
        "tok/s/chip",
        "80 % band",
        "W/chip",
        "J/token",
        "$/M tokens",
        "g CO2e/M",
        "bound",
        "evidence",
    ];
    let rows = entries.iter().filter_map(|entry| Some(row(&entry.system, entry.plan.as_ref().ok()?)));
    let keep = ["tok/s/chip", "80 % band", "$/M tokens", "TPOT", "evidence"];
    let mut text = table_keeping(&header, rows, &keep);
    if let Some(plan) = entries.iter().find_map(|entry| entry.plan.as_ref().ok()) {
        let basis = plan.best().predicted.cost_basis;
        let _ =
            writeln!(text, "Money on the basis `{basis}` for all; energy and carbon at the facility's plug.");
        text.push_str(&sites(entries));
    }
    for entry in entries {
        if let Err(reason) = &entry.plan {
            let _ = writeln!(text, "{}: {reason}", entry.system);
        }
    }
    if let Some((first, second)) = tie(entries) {
        let _ = writeln!(text, "{first} and {second} lie within each other's error band: a tie.");
    }
    text
}

/// What the systems pay and emit, a line each, where it is not the same for all.
fn sites(entries: &[Entry]) -> String {
    let differ = entries.windows(2).any(|pair| pair[0].entrant.site != pair[1].entrant.site);
    let line = |entry: &Entry| {
        let site = &entry.entrant.site;
        format!(
            "{} pays {} at a PUE of {} and emits {}\n",
            entry.system, site.electricity, site.pue, site.carbon
        )
    };
    if differ { entries.iter().map(line).collect() } else { String::new() }
}

/// Standard deviations of the logarithm of a figure, times the width of its band.
fn spread(figure: &Figure) -> f64 {
    figure.high.map_or(0.0, |high| (high / figure.value).ln())
}

/// The two best systems, if their bands overlap at the other's middle.
pub(crate) fn tie(entries: &[Entry]) -> Option<(&str, &str)> {
    let mut plans: Vec<(&str, &Figure)> = entries
        .iter()
        .filter_map(|entry| {
            let plan = entry.plan.as_ref().ok()?;
            Some((entry.system.as_str(), &plan.best().predicted.throughput_per_chip))
        })
        .collect();
    plans.sort_by(|a, b| b.1.value.total_cmp(&a.1.value));
    let (first, second) = (plans.first()?, plans.get(1)?);
    let distance = (first.1.value / second.1.value).ln();
    (distance < spread(first.1).hypot(spread(second.1))).then_some((first.0, second.0))
}

/// For programs.
pub fn compare_json(entries: &[Entry]) -> Value {
    let systems: Vec<Value> = entries.iter().map(entry_json).collect();
    json!({ "schema": "supernode.compare/2", "systems": systems })
}

fn entry_json(entry: &Entry) -> Value {
    let plan = match &entry.plan {
        Ok(plan) => plan,
        Err(reason) => {
            return json!({ "system": entry.entrant.system, "label": entry.system, "error": reason });
        }
    };
    let site = &entry.entrant.site;
    json!({
        "system": entry.entrant.system,
        "chip": entry.entrant.chip,
        "region": entry.entrant.region,
        "label": entry.system,
        "site": {
            "electricity": { "value": site.electricity.get(), "unit": "USD/kWh" },
            "carbon": { "value": site.carbon.get(), "unit": "g/kWh" }, "pue": site.pue,
        },
        "name": plan.name,
        "evidence_grade": plan.grade.to_string(),
        "plan": plan.best(),
        "search": plan.file.search,
    })
}
