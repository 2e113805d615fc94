//! A comparison of systems as text and as JSON.

use crate::page::{self, BarPoint};
use crate::table;
use cost::step::Family;
use estimate::{BAND_80, Estimate};
use planner::compare::{Entry, Plan};
use serde_json::{Value, json};
use std::fmt::Write;

fn sizes(estimate: &Estimate) -> String {
    estimate.pools.first().map_or_else(String::new, |pool| {
        let layout = pool.model.deployment().layout;
        if layout.ep > 1 {
            format!("TP{} DP{} EP{}", layout.tp, layout.dp, layout.ep)
        } else {
            format!("TP{} DP{}", layout.tp, layout.dp)
        }
    })
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

fn row(plan: &Plan) -> Vec<String> {
    let tpot = plan.decode.tpot.map(|figure| figure.value);
    vec![
        plan.system.clone(),
        plan.format.to_string(),
        sizes(&plan.decode),
        format!("{:.0}", batch(plan)),
        optional(tpot),
        optional(plan.prefill.ttft.map(|figure| figure.value)),
        format!("{:.0}", plan.throughput.value.get()),
        format!("+-{:.0} %", 100.0 * ((BAND_80 * plan.throughput.sigma).exp() - 1.0)),
        format!("{:.0}", plan.throughput.value.get() * f64::from(plan.system_chips)),
        optional(plan.power),
        optional(plan.energy),
        optional(plan.money),
        optional(plan.carbon),
        bound(plan).to_owned(),
        grade(plan),
    ]
}

/// Decoding sequences per package.
fn batch(plan: &Plan) -> f64 {
    plan.decode.decoding / plan.decode.chips
}

fn bound(plan: &Plan) -> &'static str {
    plan.decode.pools.first().map_or("", |pool| pool.bound().name())
}

fn grade(plan: &Plan) -> String {
    plan.decode
        .pools
        .first()
        .map_or_else(String::new, |pool| pool.model.deployment().chip.grade().to_string())
}

/// For people: one row per system, and below why a system has none.
pub fn compare_text(entries: &[Entry]) -> String {
    let header = [
        "system",
        "format",
        "decode",
        "batch/chip",
        "TPOT",
        "prefill",
        "tok/s/chip",
        "80 % band",
        "tok/s/system",
        "W/chip",
        "energy/token",
        "$/M tokens",
        "CO2e/M tokens",
        "bound",
        "evidence",
    ];
    let rows = entries.iter().filter_map(|entry| entry.plan.as_ref().ok()).map(row);
    let mut text = table(&header, rows);
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

/// The two best systems, if their bands overlap at the other's middle.
fn tie(entries: &[Entry]) -> Option<(&str, &str)> {
    let mut plans: Vec<&Plan> = entries.iter().filter_map(|entry| entry.plan.as_ref().ok()).collect();
    plans.sort_by(|a, b| b.throughput.value.get().total_cmp(&a.throughput.value.get()));
    let (first, second) = (plans.first()?, plans.get(1)?);
    let distance = (first.throughput.value / second.throughput.value).ln();
    let spread = BAND_80 * first.throughput.sigma.hypot(second.throughput.sigma);
    (distance < spread).then_some((first.system.as_str(), second.system.as_str()))
}

/// For programs.
pub fn compare_json(entries: &[Entry]) -> Value {
    let systems: Vec<Value> = entries.iter().map(entry_json).collect();
    json!({ "schema": "supernode.compare/1", "systems": systems })
}

fn entry_json(entry: &Entry) -> Value {
    let plan = match &entry.plan {
        Ok(plan) => plan,
        Err(reason) => return json!({ "system": entry.system, "error": reason }),
    };
    let (low, high) = plan.throughput.band();
    json!({
        "system": plan.system,
        "name": plan.name,
        "chip": plan.chip,
        "engine": plan.engine,
        "format": plan.format,
        "evidence_grade": grade(plan),
        "throughput_per_chip": {
            "value": plan.throughput.value.get(), "unit": "tokens/s", "low": low.get(), "high": high.get(), "band": 0.8,
        },
        "system_chips": plan.system_chips,
        "decode_share": plan.decode_share,
        "decode": crate::estimate_json(&plan.decode),
        "prefill": crate::estimate_json(&plan.prefill),
        "power_per_chip": plan.power.map(|power| json!({ "value": power.get(), "unit": "W" })),
        "energy_per_token": plan.energy.map(|energy| json!({ "value": energy.get(), "unit": "J" })),
        "cost_per_million_tokens": plan.money.map(|money| json!({ "value": money.get(), "unit": "USD" })),
        "co2e_per_million_tokens": plan.carbon.map(|carbon| json!({ "value": carbon.get(), "unit": "g" })),
        "bound": bound(plan),
        "priced": plan.priced,
    })
}

/// A page with the table and charts: throughput with its band, where decode time goes, energy and cost.
pub fn compare_html(entries: &[Entry]) -> String {
    let plans: Vec<&Plan> = entries.iter().filter_map(|entry| entry.plan.as_ref().ok()).collect();
    let names: Vec<String> = plans.iter().map(|plan| plan.system.clone()).collect();
    let throughput: Vec<BarPoint> = plans
        .iter()
        .map(|plan| {
            let (low, high) = plan.throughput.band();
            let value = plan.throughput.value;
            let band = Some(((value - low).get(), (high - value).get()));
            BarPoint { name: plan.system.clone(), value: value.get(), band }
        })
        .collect();
    let simple = |value: fn(&Plan) -> Option<f64>| -> Vec<BarPoint> {
        let points = plans.iter().filter_map(|plan| Some((plan.system.clone(), value(plan)?)));
        points.map(|(name, value)| BarPoint { name, value, band: None }).collect()
    };
    let parts: Vec<(String, Vec<f64>)> = Family::ALL
        .into_iter()
        .map(|family| {
            let times = plans.iter().map(|plan| {
                plan.decode.pools.first().map_or(0.0, |pool| pool.step.tally.family_time(family).ms())
            });
            (family.name().to_owned(), times.collect())
        })
        .collect();
    let charts = [
        page::bars("Output tokens per second and chip", "tokens/s/chip", &throughput),
        page::stacked("Decode step by operator family", "ms", &names, &parts),
        page::bars("Energy per output token", "J", &simple(|plan| Some(plan.energy?.get()))),
        page::bars("Cost per million output tokens", "USD", &simple(|plan| Some(plan.money?.get()))),
    ];
    page::page("supernode compare", &compare_text(entries), &charts)
}
