//! Jobs of `simulate`: scenarios.

use super::{Refusal, Wanted};
use crate::unit::Unit;
use estimate::Resolver;
use report::ColumnKind::{Real, Text, Whole};
use scenario::raw::Raw;
use serde_json::Value;
use std::path::Path;

pub(super) const RESULTS: &[Wanted] = &[
    ("name", "/name", Text),
    ("seed", "/seed", Whole),
    ("duration_s", "/duration/value", Real),
    ("chips", "/chips", Real),
    ("arrived", "/requests/arrived", Whole),
    ("completed", "/requests/completed", Whole),
    ("cancelled", "/requests/cancelled", Whole),
    ("good", "/requests/good", Whole),
    ("ttft_mean_s", "/latency/ttft/mean", Real),
    ("ttft_p50_s", "/latency/ttft/p50", Real),
    ("ttft_p90_s", "/latency/ttft/p90", Real),
    ("ttft_p95_s", "/latency/ttft/p95", Real),
    ("ttft_p99_s", "/latency/ttft/p99", Real),
    ("tpot_mean_s", "/latency/tpot/mean", Real),
    ("tpot_p50_s", "/latency/tpot/p50", Real),
    ("tpot_p90_s", "/latency/tpot/p90", Real),
    ("tpot_p95_s", "/latency/tpot/p95", Real),
    ("tpot_p99_s", "/latency/tpot/p99", Real),
    ("itl_p99_s", "/latency/itl/p99", Real),
    ("e2e_mean_s", "/latency/e2e/mean", Real),
    ("e2e_p99_s", "/latency/e2e/p99", Real),
    ("queue_mean_s", "/latency/queue/mean", Real),
    ("queue_p99_s", "/latency/queue/p99", Real),
    ("requests_per_s", "/request_throughput/value", Real),
    ("goodput_per_s", "/goodput/value", Real),
    ("tokens_per_s", "/output_throughput/value", Real),
    ("tokens_per_s_per_chip", "/output_throughput_per_chip/value", Real),
    ("input_tokens_per_s", "/input_throughput/value", Real),
    ("prefix_hit_device", "/prefix_hit_rate/device", Real),
    ("prefix_hit_tiers", "/prefix_hit_rate/tiers", Real),
    ("restarts", "/restarts", Whole),
    ("failures", "/failures", Whole),
    ("kv_moved_bytes", "/kv_moved/value", Real),
    ("energy_j", "/energy/value", Real),
    ("energy_per_token_j", "/energy_per_output_token/value", Real),
    ("power_mean_w", "/power/mean", Real),
    ("power_peak_w", "/power/peak", Real),
    ("cost_per_million_tokens_usd", "/cost_per_million_output_tokens/value", Real),
];

pub(super) fn read(job: &Value) -> Result<Raw, String> {
    let raw: Raw = serde_json::from_value(job.clone()).map_err(|error| error.to_string())?;
    if raw.workload.trace.as_deref() == Some("-") {
        return Err("workload.trace: standard input can be read once only; give a file".to_owned());
    }
    Ok(raw)
}

pub(super) fn evaluate(unit: &Unit, resolver: &Resolver) -> Result<Value, Refusal> {
    let raw = read(&unit.job).map_err(Refusal::invalid)?;
    // Messages and relative paths start from the folder; the job has no file of its own.
    let path = Path::new(&unit.folder).join("job");
    let mut resolved = scenario::resolve(&raw, &path, "", resolver).map_err(|error| {
        if error.is_refusal() { Refusal::refused(error) } else { Refusal::invalid(error) }
    })?;
    resolved.options.checks = cfg!(debug_assertions);
    let costs = resolved.costs(super::estimate::site(resolver, None).map_err(Refusal::invalid)?);
    let outcome = scenario::run(resolved, ()).map_err(Refusal::invalid)?;
    Ok(report::simulate_json(&outcome, &costs))
}
