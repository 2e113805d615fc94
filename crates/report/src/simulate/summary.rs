//! The summary of a run, for people and for programs. Both read the same fields.

use super::bands::{Band, Bands, bands};
use super::pools::{deployments_json, deployments_table, pool_json, pools_table, tiers_json};
use crate::pages::time_unit;
use crate::table::table;
use scenario::{Costs, Outcome};
use serde_json::{Map, Value, json};
use sim::Metrics;
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
pub(crate) fn latencies<'a, O>(
    outcome: &'a Outcome<O>,
    bands: &Bands,
) -> [(&'static str, &'a Sketch, Band); 5] {
    let metrics = &outcome.metrics;
    [
        ("TTFT", &metrics.ttft, bands.queue),
        ("TPOT", &metrics.tpot, bands.token),
        ("ITL", &metrics.itl, bands.token),
        ("E2E", &metrics.e2e, bands.request),
        ("queue", &metrics.queue, bands.queue),
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

/// A time in the unit of which a second has `scale`.
fn time(seconds: Option<f64>, scale: f64) -> String {
    shown(seconds, |seconds| {
        let value = seconds * scale;
        if value >= 1000.0 { format!("{value:.0}") } else { format!("{value:.2}") }
    })
}

/// The summary table.
pub fn simulate_text<O>(outcome: &Outcome<O>, costs: &Costs) -> String {
    let metrics = &outcome.metrics;
    let (sums, bands) = (sums(outcome, costs), bands(outcome, costs));
    let mut text = format!("{}\n\n{}\n", outcome.name, latency_table(outcome, &bands));
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
        shown(sums.request_rate, |rate| {
            let rate = bands.rate.text(rate, |rate| format!("{rate:.3} /s"));
            format!("{rate}, goodput {good:.3} /s ({goodput:.1} %)")
        }),
    );
    let (chips, size) = (sums.chips, sums.chips.max(1e-9));
    line(
        "output throughput",
        shown(sums.output_rate, |rate| {
            let all = bands.rate.text(rate, |rate| format!("{rate:.1} tokens/s"));
            format!("{all}, {:.1} per chip ({chips:.0} chips)", rate / size)
        }),
    );
    let tokens = |rate: f64| format!("{rate:.1} tokens/s");
    line("input throughput", shown(sums.input_rate, |rate| bands.rate.text(rate, tokens)));
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
    text += &resources_text(outcome, costs, &sums, &bands);
    text.push('\n');
    text += &deployments_table(outcome);
    text += &pools_table(outcome);
    text
}

/// Latencies, each with its band.
fn latency_table<O>(outcome: &Outcome<O>, bands: &Bands) -> String {
    let all = latencies(outcome, bands);
    let longest = all.iter().filter_map(|(_, sketch, _)| known(sketch, |sketch| sketch.quantile(0.999)));
    let (unit, scale) = time_unit(longest);
    let rows = all.into_iter().map(|(name, sketch, band)| {
        let quantiles =
            PERCENTILES.iter().map(|(_, q)| time(known(sketch, |sketch| sketch.quantile(*q)), scale));
        let mean = time(known(sketch, Sketch::mean), scale);
        [name.to_owned(), mean].into_iter().chain(quantiles).chain([band.shares()]).collect()
    });
    let names = PERCENTILES.map(|(name, _)| name);
    let header: Vec<&str> = [unit, "mean"].into_iter().chain(names).chain(["80 % band"]).collect();
    table(&header, rows)
}

/// Energy, power, money and carbon, a line each.
fn resources_text<O>(outcome: &Outcome<O>, costs: &Costs, sums: &Sums, bands: &Bands) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| text += &format!("{name:<22}{value}\n");
    let joules = |joules: f64| format!("{joules:.3} J");
    let per_token = shown(sums.joules_per_token, |value| bands.energy.text(value, joules));
    line(
        "energy",
        format!("{}, {per_token} per output token, at the facility (PUE {})", sums.energy, costs.site.pue),
    );
    let peak = outcome.metrics.peak_power().get() / 1e3;
    let kilowatts = |watts: f64| format!("{:.1} kW", watts / 1e3);
    let power = |mean: f64| format!("mean {}, peak {peak:.1} kW", bands.power.text(mean, kilowatts));
    line("power", shown(sums.mean_power, power));
    if let Some(cost) = sums.cost {
        let cost = bands.money.text(cost, |cost| Dollars::new(cost).to_string());
        line("cost", format!("{cost} per million output tokens (basis: {})", costs.site.basis));
    }
    if let Some(carbon) = sums.carbon {
        let carbon = bands.carbon.text(carbon, |carbon| GramsCo2::new(carbon).to_string());
        line("CO2e", format!("{carbon} per million output tokens"));
    }
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
    let (sums, bands) = (sums(outcome, costs), bands(outcome, costs));
    let (rate, per_chip) = (bands.rate, sums.output_rate.map(|rate| rate / sums.chips.max(1e-9)));
    let rejected: Map<String, Value> =
        metrics.rejected.iter().map(|(reason, count)| (reason.name().to_owned(), json!(count))).collect();
    let pools: Vec<Value> =
        outcome.pools.iter().enumerate().map(|(index, pool)| pool_json(outcome, index, pool)).collect();
    let mut latency = Map::new();
    for (name, sketch, band) in latencies(outcome, &bands) {
        let mut statistics = latency_json(sketch);
        if let Some(statistics) = statistics.as_object_mut() {
            band.add_to(statistics);
        }
        latency.insert(name.to_ascii_lowercase(), statistics);
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
        "request_throughput": rate.quantity(sums.request_rate, "requests/s"),
        "goodput": rate.quantity(sums.goodput, "requests/s"),
        "output_throughput": rate.quantity(sums.output_rate, "tokens/s"),
        "output_throughput_per_chip": rate.quantity(per_chip, "tokens/s"),
        "input_throughput": rate.quantity(sums.input_rate, "tokens/s"),
        "tokens": { "input": metrics.input_tokens, "output": metrics.output_tokens, "recomputed": metrics.lost_tokens },
        "chips": sums.chips,
        "prefix_hit_rate": { "device": sums.hit_rate, "tiers": sums.fetch_rate },
        "restarts": metrics.restarts,
        "failures": metrics.failures,
        "deployments": deployments_json(outcome),
        "tiers": tiers_json(outcome),
        "kv_moved": quantity(metrics.moved.get(), "B"),
        "evidence_grade": bands.rate.grade,
        "energy": bands.energy.quantity(sums.energy.get(), "J"),
        "energy_at": "facility",
        "energy_per_output_token": sums.joules_per_token.map(|joules| bands.energy.quantity(joules, "J")),
        "power": power_json(sums.mean_power, metrics.peak_power().get(), bands.power),
        "cost_basis": costs.site.basis.to_string(),
        "cost_per_million_output_tokens": sums.cost.map(|cost| bands.money.quantity(cost, "USD")),
        "co2e_per_million_output_tokens": sums.carbon.map(|carbon| bands.carbon.quantity(carbon, "g")),
        "pools": pools,
        "tenants": tenants_json(metrics),
        "run": { "events": outcome.totals.events, "steps": outcome.totals.steps, "interrupted": outcome.totals.interrupted },
    })
}

fn power_json(mean: Option<f64>, peak: f64, band: Band) -> Value {
    let mut power = Map::new();
    power.insert("mean".to_owned(), json!(mean));
    power.insert("peak".to_owned(), json!(peak));
    band.add_to(&mut power);
    power.insert("unit".to_owned(), json!("W"));
    Value::Object(power)
}

fn tenants_json(metrics: &Metrics) -> Map<String, Value> {
    let tenants = metrics.tenants.iter().map(|(tenant, count)| {
        let mean = (count.completed > 0).then(|| count.ttft.get() / count.completed as f64);
        let entry = json!({
            "completed": count.completed, "rejected": count.rejected, "output_tokens": count.output,
            "mean_ttft": quantity(mean, "s"),
        });
        (tenant.to_string(), entry)
    });
    tenants.collect()
}
