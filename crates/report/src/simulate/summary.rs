//! The summary of a run, for people and for programs. Both read the same fields.

use super::pools::{deployments_json, deployments_table, pool_json, pools_table, tiers_json};
use crate::table::table;
use scenario::Outcome;
use serde_json::{Map, Value, json};
use sim::sketch::Sketch;
use units::{Dollars, DollarsPerHour, Seconds};

/// The percentiles reported.
const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// What chips cost per hour, by pool; `None` where nobody knows.
pub type Prices = Vec<Option<DollarsPerHour>>;

struct Sums {
    duration: Seconds,
    chips: f64,
    output_rate: f64,
    input_rate: f64,
    request_rate: f64,
    goodput: f64,
    hit_rate: f64,
    fetch_rate: f64,
    joules_per_token: f64,
    mean_power: f64,
    cost: Option<f64>,
}

fn sums<O>(outcome: &Outcome<O>, prices: &Prices) -> Sums {
    let metrics = &outcome.metrics;
    let duration = metrics.duration();
    let rate = |count: f64| if duration > Seconds::ZERO { count / duration.get() } else { 0.0 };
    let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
    let instances = |pool: usize| metrics.usage.values().filter(move |usage| usage.pool as usize == pool);
    let end = metrics.end.get();
    let pools = || outcome.pools.iter().enumerate();
    let alive = |pool: usize| instances(pool).map(|usage| usage.alive.get()).sum::<f64>();
    let chips = pools().map(|(index, pool)| pool.chips * share(alive(index), end)).sum();
    let prompts = metrics.input_tokens as f64;
    let energy = metrics.energy().get();
    let money: Option<f64> = pools()
        .map(|(index, pool)| {
            let hourly = prices.get(index).copied().flatten()?;
            Some(hourly.get() * pool.chips * alive(index) / 3600.0)
        })
        .sum();
    Sums {
        duration,
        chips,
        output_rate: rate(metrics.output_tokens as f64),
        input_rate: rate(prompts),
        request_rate: rate(metrics.completed as f64),
        goodput: rate(metrics.good as f64),
        hit_rate: share(metrics.cached_tokens as f64, prompts),
        fetch_rate: share(metrics.fetched_tokens as f64, prompts),
        joules_per_token: share(energy, metrics.output_tokens as f64),
        mean_power: share(energy, end),
        cost: money
            .filter(|_| metrics.output_tokens > 0)
            .map(|money| money / metrics.output_tokens as f64 * 1e6),
    }
}

fn latencies<O>(outcome: &Outcome<O>) -> [(&'static str, &Sketch); 5] {
    let metrics = &outcome.metrics;
    [
        ("TTFT", &metrics.ttft),
        ("TPOT", &metrics.tpot),
        ("ITL", &metrics.itl),
        ("E2E", &metrics.e2e),
        ("queue", &metrics.queue),
    ]
}

pub(super) fn milliseconds(seconds: f64) -> String {
    let value = seconds * 1e3;
    if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The summary table.
pub fn simulate_text<O>(outcome: &Outcome<O>, prices: &Prices) -> String {
    let metrics = &outcome.metrics;
    let sums = sums(outcome, prices);
    let mut text = format!("{}\n\n", outcome.name);
    let rows = latencies(outcome).into_iter().map(|(name, sketch)| {
        let quantiles = PERCENTILES.iter().map(|(_, q)| milliseconds(sketch.quantile(*q)));
        [name.to_owned(), milliseconds(sketch.mean())].into_iter().chain(quantiles).collect()
    });
    let header: Vec<&str> = ["ms", "mean"].into_iter().chain(PERCENTILES.map(|(name, _)| name)).collect();
    text += &table(&header, rows);
    text.push('\n');
    let mut line = |name: &str, value: String| text += &format!("{name:<22}{value}\n");
    line(
        "requests",
        format!("{} completed of {} in {}", metrics.completed, outcome.totals.arrived, sums.duration),
    );
    for (reason, count) in &metrics.rejected {
        line("  rejected", format!("{count} {}", reason.name()));
    }
    if metrics.cancelled > 0 {
        line("  cancelled", metrics.cancelled.to_string());
    }
    let goodput =
        if metrics.completed > 0 { metrics.good as f64 / metrics.completed as f64 * 100.0 } else { 0.0 };
    line(
        "request throughput",
        format!("{:.3} /s, goodput {:.3} /s ({goodput:.1} %)", sums.request_rate, sums.goodput),
    );
    let per_chip = sums.output_rate / sums.chips.max(1e-9);
    line(
        "output throughput",
        format!("{:.1} tokens/s, {per_chip:.1} per chip ({:.0} chips)", sums.output_rate, sums.chips),
    );
    line("input throughput", format!("{:.1} tokens/s", sums.input_rate));
    if metrics.cached_tokens + metrics.fetched_tokens > 0 {
        line(
            "prefix cache",
            format!(
                "{:.1} % of prompt tokens on the device, {:.1} % from other tiers",
                sums.hit_rate * 100.0,
                sums.fetch_rate * 100.0
            ),
        );
    }
    if metrics.restarts > 0 {
        line(
            "restarts",
            format!(
                "{} (preempted or lost), {} tokens computed again",
                metrics.restarts, metrics.lost_tokens
            ),
        );
    }
    if metrics.failures > 0 {
        line("failures", format!("{} of instances, in whole or in part", metrics.failures));
    }
    if metrics.transfers > 0 {
        line("KV moved", format!("{} in {} transfers", metrics.moved, metrics.transfers));
    }
    line("energy", format!("{}, {:.3} J per output token", metrics.energy(), sums.joules_per_token));
    line(
        "power",
        format!("{:.1} kW mean, {:.1} kW peak", sums.mean_power / 1e3, metrics.peak_power().get() / 1e3),
    );
    if let Some(cost) = sums.cost {
        line("cost", format!("{} per million output tokens", Dollars::new(cost)));
    }
    text.push('\n');
    text += &deployments_table(outcome);
    text += &pools_table(outcome);
    text
}

pub(super) fn quantity(value: f64, unit: &str) -> Value {
    json!({ "value": value, "unit": unit })
}

pub(super) fn latency_json(sketch: &Sketch) -> Value {
    let mut object = Map::new();
    object.insert("unit".to_owned(), json!("s"));
    object.insert("mean".to_owned(), json!(sketch.mean()));
    object.insert("std".to_owned(), json!(sketch.deviation()));
    for (name, q) in PERCENTILES {
        object.insert(name.to_owned(), json!(sketch.quantile(q)));
    }
    object.insert("max".to_owned(), json!(sketch.max()));
    Value::Object(object)
}

/// The same for programs. `schema` names the form and its version.
pub fn simulate_json<O>(outcome: &Outcome<O>, prices: &Prices) -> Value {
    let metrics = &outcome.metrics;
    let sums = sums(outcome, prices);
    let rejected: Map<String, Value> =
        metrics.rejected.iter().map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect();
    let pools: Vec<Value> =
        outcome.pools.iter().enumerate().map(|(index, pool)| pool_json(outcome, index, pool)).collect();
    let tenants: Map<String, Value> = metrics
        .tenants
        .iter()
        .map(|(tenant, count)| {
            let mean = count.ttft.get() / count.completed.max(1) as f64;
            let entry = json!({
                "completed": count.completed, "rejected": count.rejected, "output_tokens": count.output,
                "mean_ttft": quantity(mean, "s"),
            });
            (tenant.to_string(), entry)
        })
        .collect();
    let mut latency = Map::new();
    for (name, sketch) in latencies(outcome) {
        latency.insert(name.to_ascii_lowercase(), latency_json(sketch));
    }
    json!({
        "schema": "supernode.simulate/1",
        "name": outcome.name,
        "seed": outcome.seed,
        "duration": quantity(sums.duration.get(), "s"),
        "requests": {
            "arrived": outcome.totals.arrived, "completed": metrics.completed, "warm_up": metrics.warm_up,
            "cancelled": metrics.cancelled, "rejected": rejected, "good": metrics.good,
        },
        "latency": latency,
        "request_throughput": quantity(sums.request_rate, "requests/s"),
        "goodput": quantity(sums.goodput, "requests/s"),
        "output_throughput": quantity(sums.output_rate, "tokens/s"),
        "output_throughput_per_chip": quantity(sums.output_rate / sums.chips.max(1e-9), "tokens/s"),
        "input_throughput": quantity(sums.input_rate, "tokens/s"),
        "tokens": { "input": metrics.input_tokens, "output": metrics.output_tokens, "recomputed": metrics.lost_tokens },
        "chips": sums.chips,
        "prefix_hit_rate": { "device": sums.hit_rate, "tiers": sums.fetch_rate },
        "restarts": metrics.restarts,
        "failures": metrics.failures,
        "deployments": deployments_json(outcome),
        "tiers": tiers_json(outcome),
        "kv_moved": quantity(metrics.moved.get(), "B"),
        "energy": quantity(metrics.energy().get(), "J"),
        "energy_per_output_token": quantity(sums.joules_per_token, "J"),
        "power": { "mean": sums.mean_power, "peak": metrics.peak_power().get(), "unit": "W" },
        "cost_per_million_output_tokens": sums.cost.map(|cost| quantity(cost, "USD")),
        "pools": pools,
        "tenants": tenants,
        "run": { "events": outcome.totals.events, "steps": outcome.totals.steps },
    })
}
