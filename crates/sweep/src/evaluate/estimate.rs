//! Jobs of `estimate`: the keys of an operating point, and a region.

use super::{Refusal, Wanted};
use crate::unit::Unit;
use estimate::economics::Site;
use estimate::{OperatingPoint, Resolver, estimate};
use report::ColumnKind::{Real, Text, Whole};
use serde_json::Value;

pub(super) const RESULTS: &[Wanted] = &[
    ("model", "/model", Text),
    ("system", "/system", Text),
    ("chip", "/chip", Text),
    ("engine", "/engine", Text),
    ("evidence_grade", "/evidence_grade", Text),
    ("chips", "/chips", Real),
    ("concurrency", "/concurrency", Real),
    ("decoding", "/decoding", Real),
    ("ttft_ms", "/ttft/value", Real),
    ("ttft_low_ms", "/ttft/low", Real),
    ("ttft_high_ms", "/ttft/high", Real),
    ("tpot_ms", "/tpot/value", Real),
    ("tpot_low_ms", "/tpot/low", Real),
    ("tpot_high_ms", "/tpot/high", Real),
    ("tokens_per_s", "/throughput/value", Real),
    ("tokens_per_s_per_chip", "/throughput_per_chip/value", Real),
    ("tokens_per_s_per_chip_low", "/throughput_per_chip/low", Real),
    ("tokens_per_s_per_chip_high", "/throughput_per_chip/high", Real),
    ("power_w", "/power/value", Real),
    ("energy_per_token_j", "/energy_per_token/value", Real),
    ("cost_per_million_tokens_usd", "/cost_per_million_tokens/value", Real),
    ("co2e_per_million_tokens_g", "/co2e_per_million_tokens/value", Real),
    ("pool1_role", "/pools/0/role", Text),
    ("pool1_instances", "/pools/0/instances", Whole),
    ("pool1_tp", "/pools/0/tp", Whole),
    ("pool1_pp", "/pools/0/pp", Whole),
    ("pool1_dp", "/pools/0/dp", Whole),
    ("pool1_ep", "/pools/0/ep", Whole),
    ("pool1_moe_tp", "/pools/0/moe_tp", Whole),
    ("pool1_step_ms", "/pools/0/step/value", Real),
    ("pool1_bound", "/pools/0/bound", Text),
    ("pool2_role", "/pools/1/role", Text),
    ("pool2_instances", "/pools/1/instances", Whole),
    ("pool2_tp", "/pools/1/tp", Whole),
    ("pool2_pp", "/pools/1/pp", Whole),
    ("pool2_dp", "/pools/1/dp", Whole),
    ("pool2_ep", "/pools/1/ep", Whole),
    ("pool2_moe_tp", "/pools/1/moe_tp", Whole),
    ("pool2_step_ms", "/pools/1/step/value", Real),
    ("pool2_bound", "/pools/1/bound", Text),
];

/// The point and the region of a job.
pub(super) fn read(job: &Value) -> Result<(OperatingPoint, Option<String>), String> {
    let mut job = super::respelled(job, '-', "_");
    let region = job.as_object_mut().and_then(|keys| keys.remove("region"));
    let region = match region {
        None | Some(Value::Null) => None,
        Some(Value::String(region)) => Some(region),
        Some(other) => return Err(format!("region: `{other}` is not a name")),
    };
    let point: OperatingPoint = serde_json::from_value(job).map_err(|error| error.to_string())?;
    for (key, given) in [("system", &point.system), ("model", &point.model)] {
        if given.is_empty() {
            return Err(format!("missing field `{key}`"));
        }
    }
    Ok((point, region))
}

pub(super) fn evaluate(unit: &Unit, resolver: &Resolver) -> Result<Value, Refusal> {
    let (mut point, region) = read(&unit.job).map_err(Refusal::invalid)?;
    point.model = super::model_name(unit, &point.model);
    let site = site(resolver, region.as_deref()).map_err(Refusal::invalid)?;
    let estimate = estimate(resolver, &point, &site).map_err(|error| match error {
        refusal if refusal.is_refusal() => Refusal::refused(refusal),
        other => Refusal::invalid(other),
    })?;
    Ok(report::estimate_json(&estimate))
}

/// What electricity and buildings cost in a region.
pub(super) fn site(resolver: &Resolver, region: Option<&str>) -> Result<Site, hardware::CatalogError> {
    let prices = match region {
        Some(region) => resolver.catalog().prices(region)?,
        None => resolver.catalog().economics()?.prices,
    };
    Ok(Site::new(&prices, resolver.catalog().basis(None)?))
}
