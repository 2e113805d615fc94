//! The summary of a run, for people and for programs. Both read the same fields.

use super::pools::{deployments_json, deployments_table, pool_json, pools_table, tiers_json};
use crate::table::table;
use scenario::{Costs, Outcome};
use serde_json::{Map, Value, json};
use sim::sketch::Sketch;
use units::{Dollars, GramsCo2, Joules, Seconds};

/// The percentiles reported.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// What is summed up over a run.
pub(crate) struct Sums {
    pub duration: Seconds,
    pub chips: f64,
    /// Rates and shares are unknown where nothing was counted that they could be of.
    pub output_rate: Option<f64>,
    pub input_rate: Option<f64>,
    pub request_rate: Option<f64>,
    pub goodput: Option<f64>,
    pub hit_rate: Option<f64>,
    pub fetch_rate: Option<f64>,
    /// At the facility.
    pub energy: Joules,
    pub joules_per_token: Option<f64>,
    pub mean_power: Option<f64>,
    pub carbon: Option<f64>,
    pub cost: Option<f64>,
}

/// Sums a run up.
pub(crate) fn sums<O>(outcome: &Outcome<O>, costs: &Costs) -> Sums {
    let metrics = &outcome.metrics;
    let duration = metrics.duration();
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let rate = |count: f64| share(count, duration.get()).filter(|_| metrics.completed > 0);
    let instances = |pool: usize| metrics.usage.values().filter(move |usage| usage.pool as usize == pool);
    let end = metrics.end.get();
    let pools = || outcome.pools.iter().enumerate();
    let alive = |pool: usize| instances(pool).map(|usage| usage.alive.get()).sum::<f64>();
    let chips = pools().map(|(index, pool)| pool.chips * share(alive(index), end).unwrap_or(0.0)).sum();
    let prompts = metrics.input_tokens as f64;
    let drawn = metrics.energy();
    let packages = |(index, pool): (usize, &scenario::PoolInfo)| Seconds::new(pool.chips * alive(index));
    let package_time: Vec<Seconds> = pools().map(packages).collect();
    let tokens = metrics.output_tokens;
    let per_million = |total: f64| (tokens > 0).then(|| total / tokens as f64 * 1e6);
    Sums {
        duration,
        chips,
        output_rate: rate(metrics.output_tokens as f64),
        input_rate: rate(prompts),
        request_rate: rate(metrics.completed as f64),
        goodput: rate(metrics.good as f64),
        hit_rate: share(metrics.cached_tokens as f64, prompts),
        fetch_rate: share(metrics.fetched_tokens as f64, prompts),
        energy: costs.facility(drawn),
        joules_per_token: (tokens > 0).then(|| costs.facility(drawn).get() / tokens as f64),
        mean_power: share(drawn.get(), end),
        carbon: per_million(costs.carbon(drawn).get()),
        cost: costs.money(&package_time, drawn).and_then(|money| per_million(money.get())),
    }
}

/// The latencies in the order they are shown.
pub(crate) fn latencies<O>(outcome: &Outcome<O>) -> [(&'static str, &Sketch); 5] {
    let metrics = &outcome.metrics;
    [
        ("TTFT", &metrics.ttft),
        ("TPOT", &metrics.tpot),
        ("ITL", &metrics.itl),
        ("E2E", &metrics.e2e),
        ("queue", &metrics.queue),
    ]
}

/// A figure of a distribution, unless nothing was measured.
pub(crate) fn known(sketch: &Sketch, figure: impl Fn(&Sketch) -> f64) -> Option<f64> {
    Some(figure(sketch)).filter(|value| sketch.count() > 0.0 && value.is_finite())
}

/// A figure, or that there is none.
pub(super) fn shown(value: Option<f64>, show: impl Fn(f64) -> String) -> String {
    value.map_or_else(|| "none".to_owned(), show)
}

pub(super) fn milliseconds(seconds: Option<f64>) -> String {
    shown(seconds, |seconds| {
        let value = seconds * 1e3;
        if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
    })
}

/// The summary table.
pub fn simulate_text<O>(outcome: &Outcome<O>, costs: &Costs) -> String {
    let metrics = &outcome.metrics;
    let sums = sums(outcome, costs);
    let mut text = format!("{}\n\n", outcome.name);
    let rows = latencies(outcome).into_iter().map(|(name, sketch)| {
        let quantiles =
            PERCENTILES.iter().map(|(_, q)| milliseconds(known(sketch, |sketch| sketch.quantile(*q))));
        [name.to_owned(), milliseconds(known(sketch, Sketch::mean))].into_iter().chain(quantiles).collect()
    });
    let header: Vec<&str> = ["ms", "mean"].into_iter().chain(PERCENTILES.map(|(name, _)| name)).collect();
    text += &table(&header, rows);
    text.push('\n');
    let mut line = |name: &str, value: String| text += &format!("{name:<22}{value}\n");
    line(
        "requests",
        format!("{} completed of {} in {}", metrics.completed, outcome.totals.arrived, sums.duration),
    );
    if outcome.totals.interrupted {
        line("stopped", "by an interrupt; what had not ended by then is cancelled".to_owned());
    }
    for (reason, count) in &metrics.rejected {
        line("  rejected", format!("{count} {}", reason.name()));
    }
    if metrics.cancelled > 0 {
        line("  cancelled", metrics.cancelled.to_string());
    }
    let goodput = metrics.good as f64 / metrics.completed.max(1) as f64 * 100.0;
    let good = sums.goodput.unwrap_or(0.0);
    line(
        "request throughput",
        shown(sums.request_rate, |rate| format!("{rate:.3} /s, goodput {good:.3} /s ({goodput:.1} %)")),
    );
    let (chips, size) = (sums.chips, sums.chips.max(1e-9));
    line(
        "output throughput",
        shown(sums.output_rate, |rate| {
            format!("{rate:.1} tokens/s, {:.1} per chip ({chips:.0} chips)", rate / size)
        }),
    );
    line("input throughput", shown(sums.input_rate, |rate| format!("{rate:.1} tokens/s")));
    if metrics.cached_tokens + metrics.fetched_tokens > 0 {
        line(
            "prefix cache",
            format!(
                "{:.1} % of prompt tokens on the device, {:.1} % from other tiers",
                sums.hit_rate.unwrap_or(0.0) * 100.0,
                sums.fetch_rate.unwrap_or(0.0) * 100.0
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
    let per_token = shown(sums.joules_per_token, |joules| format!("{joules:.3} J"));
    line(
        "energy",
        format!("{}, {per_token} per output token, at the facility (PUE {})", sums.energy, costs.site.pue),
    );
    let peak = metrics.peak_power().get() / 1e3;
    line("power", shown(sums.mean_power, |mean| format!("{:.1} kW mean, {peak:.1} kW peak", mean / 1e3)));
    if let Some(cost) = sums.cost {
        line(
            "cost",
            format!("{} per million output tokens (basis: {})", Dollars::new(cost), costs.site.basis),
        );
    }
    if let Some(carbon) = sums.carbon {
        line("CO2e", format!("{} per million output tokens", GramsCo2::new(carbon)));
    }
    text.push('\n');
    text += &deployments_table(outcome);
    text += &pools_table(outcome);
    text
}

pub(super) fn quantity(value: impl Into<Option<f64>>, unit: &str) -> Value {
    let value: Option<f64> = value.into().filter(|value| value.is_finite());
    json!({ "value": value, "unit": unit })
}

pub(super) fn latency_json(sketch: &Sketch) -> Value {
    let mut object = Map::new();
    object.insert("unit".to_owned(), json!("s"));
    object.insert("mean".to_owned(), json!(known(sketch, Sketch::mean)));
    object.insert("std".to_owned(), json!(known(sketch, Sketch::deviation)));
    for (name, q) in PERCENTILES {
        object.insert(name.to_owned(), json!(known(sketch, |sketch| sketch.quantile(q))));
    }
    object.insert("max".to_owned(), json!(known(sketch, Sketch::max)));
    Value::Object(object)
}

/// The same for programs. `schema` names the form and its version.
pub fn simulate_json<O>(outcome: &Outcome<O>, costs: &Costs) -> Value {
    let metrics = &outcome.metrics;
    let sums = sums(outcome, costs);
    let rejected: Map<String, Value> =
        metrics.rejected.iter().map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect();
    let pools: Vec<Value> =
        outcome.pools.iter().enumerate().map(|(index, pool)| pool_json(outcome, index, pool)).collect();
    let tenants: Map<String, Value> = metrics
        .tenants
        .iter()
        .map(|(tenant, count)| {
            let mean = (count.completed > 0).then(|| count.ttft.get() / count.completed as f64);
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
        "output_throughput_per_chip": quantity(sums.output_rate.map(|rate| rate / sums.chips.max(1e-9)), "tokens/s"),
        "input_throughput": quantity(sums.input_rate, "tokens/s"),
        "tokens": { "input": metrics.input_tokens, "output": metrics.output_tokens, "recomputed": metrics.lost_tokens },
        "chips": sums.chips,
        "prefix_hit_rate": { "device": sums.hit_rate, "tiers": sums.fetch_rate },
        "restarts": metrics.restarts,
        "failures": metrics.failures,
        "deployments": deployments_json(outcome),
        "tiers": tiers_json(outcome),
        "kv_moved": quantity(metrics.moved.get(), "B"),
        "energy": quantity(sums.energy.get(), "J"),
        "energy_at": "facility",
        "energy_per_output_token": sums.joules_per_token.map(|joules| quantity(joules, "J")),
        "power": { "mean": sums.mean_power, "peak": metrics.peak_power().get(), "unit": "W" },
        "cost_basis": costs.site.basis.to_string(),
        "cost_per_million_output_tokens": sums.cost.map(|cost| quantity(cost, "USD")),
        "co2e_per_million_output_tokens": sums.carbon.map(|carbon| quantity(carbon, "g")),
        "pools": pools,
        "tenants": tenants,
        "run": { "events": outcome.totals.events, "steps": outcome.totals.steps, "interrupted": outcome.totals.interrupted },
    })
}
