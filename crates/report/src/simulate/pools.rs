//! The parts of a summary that are told apart: deployments, pools, tiers.

use super::summary::{known, latency_json, quantity, shown};
use crate::table::table;
use scenario::{Outcome, PoolInfo};
use serde_json::{Map, Value, json};
use sim::metrics::Usage;

/// What the instances of a pool did.
pub(crate) struct PoolRow {
    pub instances: usize,
    pub busy: f64,
    pub batch: f64,
    pub steps: u64,
    pub energy: f64,
    pub kv_mean: f64,
    pub kv_peak: f64,
}

/// Sums the instances of a pool up.
pub(crate) fn pool_row<O>(outcome: &Outcome<O>, index: usize) -> PoolRow {
    let metrics = &outcome.metrics;
    let usage: Vec<&Usage> = metrics.usage.values().filter(|usage| usage.pool as usize == index).collect();
    let sum = |of: &dyn Fn(&Usage) -> f64| usage.iter().map(|usage| of(usage)).sum::<f64>();
    let busy = sum(&|usage| usage.busy.get());
    PoolRow {
        instances: usage.len(),
        busy: busy / sum(&|usage| usage.alive.get()).max(1e-9),
        batch: sum(&|usage| usage.batch_time) / busy.max(1e-9),
        steps: usage.iter().map(|usage| usage.steps).sum(),
        energy: sum(&|usage| metrics.energy_of(usage).get()),
        kv_mean: sum(&|usage| usage.kv_time.get()) / busy.max(1e-9),
        kv_peak: usage.iter().map(|usage| usage.kv_peak).fold(0.0, f64::max),
    }
}

/// Pools, their load, and what their busiest rank used of the hardware while they were busy.
pub(super) fn pools_table<O>(outcome: &Outcome<O>) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let rows = outcome.pools.iter().enumerate().map(|(index, pool)| {
        let row = pool_row(outcome, index);
        let used = &outcome.used[index];
        vec![
            label(pool),
            format!("{} x {}", row.instances, pool.chips),
            percent(row.busy),
            format!("{:.1}", row.batch),
            row.steps.to_string(),
            percent(row.kv_mean),
            percent(row.kv_peak),
            percent(used.compute),
            percent(used.memory),
            format!("{} {}", percent(used.link), used.link_class),
            percent(used.host),
        ]
    });
    let header = [
        "pool",
        "instances x chips",
        "busy",
        "mean batch",
        "steps",
        "KV mean",
        "KV peak",
        "compute",
        "HBM",
        "links",
        "host",
    ];
    table(&header, rows)
}

fn label(pool: &PoolInfo) -> String {
    let deployment = pool.model.deployment();
    format!("{} {} ({}, {})", pool.deployment, pool.name, deployment.chip.id, deployment.engine.id)
}

/// One pool for programs.
pub(super) fn pool_json<O>(outcome: &Outcome<O>, index: usize, pool: &PoolInfo) -> Value {
    let row = pool_row(outcome, index);
    let used = &outcome.used[index];
    let deployment = pool.model.deployment();
    json!({
        "deployment": pool.deployment, "role": pool.name, "system": deployment.system.id, "chip": deployment.chip.id,
        "engine": deployment.engine.id, "instances": row.instances, "chips_per_instance": pool.chips, "busy": row.busy,
        "mean_batch": row.batch, "steps": row.steps, "energy_it": quantity(row.energy, "J"),
        "kv_blocks_per_rank": pool.limits.kv_blocks, "kv_used": { "mean": row.kv_mean, "peak": row.kv_peak },
        "utilisation_while_busy": {
            "compute": used.compute, "hbm": used.memory, "link": { "class": used.link_class, "share": used.link },
            "host": used.host,
        },
    })
}

/// What each deployment's requests got, where there are several.
pub(super) fn deployments_table<O>(outcome: &Outcome<O>) -> String {
    let services = &outcome.metrics.deployments;
    if services.is_empty() {
        return String::new();
    }
    let duration = outcome.metrics.duration().get().max(1e-9);
    let rows = outcome.deployments.iter().zip(services).map(|(info, service)| {
        let time = |sketch: &sim::sketch::Sketch, q: f64| {
            shown(known(sketch, |sketch| sketch.quantile(q)), crate::pages::duration)
        };
        vec![
            info.name.clone(),
            service.completed.to_string(),
            service.rejected.to_string(),
            format!("{:.1} %", service.good as f64 / service.completed.max(1) as f64 * 100.0),
            format!("{:.1}", service.output_tokens as f64 / duration),
            time(&service.ttft, 0.5),
            time(&service.ttft, 0.99),
            time(&service.tpot, 0.5),
            time(&service.tpot, 0.99),
            time(&service.e2e, 0.99),
        ]
    });
    let header = [
        "deployment",
        "completed",
        "rejected",
        "good",
        "tokens/s",
        "TTFT p50",
        "TTFT p99",
        "TPOT p50",
        "TPOT p99",
        "E2E p99",
    ];
    table(&header, rows) + "\n"
}

/// The same for programs.
pub(super) fn deployments_json<O>(outcome: &Outcome<O>) -> Vec<Value> {
    let services = outcome.deployments.iter().zip(&outcome.metrics.deployments);
    services
        .map(|(info, service)| {
            json!({
                "name": info.name, "completed": service.completed, "good": service.good, "rejected": service.rejected,
                "output_tokens": service.output_tokens, "last_end": quantity(service.last.get(), "s"),
                "latency": {
                    "ttft": latency_json(&service.ttft), "tpot": latency_json(&service.tpot),
                    "e2e": latency_json(&service.e2e),
                },
            })
        })
        .collect()
}

/// Bytes fetched and the share of prompt tokens they spared, by deployment and tier.
pub(super) fn tiers_json<O>(outcome: &Outcome<O>) -> Value {
    let prompts = outcome.metrics.input_tokens.max(1) as f64;
    let mut tiers = Map::new();
    for ((pool, tier), bytes) in &outcome.metrics.fetched_bytes {
        let pool = &outcome.pools[*pool as usize];
        let named = outcome.deployments.iter().find(|deployment| deployment.name == pool.deployment);
        let name = named.and_then(|deployment| deployment.tiers.get(*tier as usize));
        let tokens = *bytes / pool.limits.kv_bytes_per_token;
        let entry = json!({
            "fetched": quantity(bytes.get(), "B"), "prefix_hit_rate": tokens / prompts,
        });
        tiers.insert(format!("{}/{}", pool.deployment, name.map_or("?", String::as_str)), entry);
    }
    Value::Object(tiers)
}
