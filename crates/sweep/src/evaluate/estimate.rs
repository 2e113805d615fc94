//! Jobs of `estimate`: its flags as keys.

use super::{Refusal, Wanted};
use crate::unit::Unit;
use cost::step::StepError;
use estimate::economics::Site;
use estimate::{EstimateError, Formats, Point, Resolver, Sizes, estimate};
use report::ColumnKind::{Real, Text, Whole};
use serde::Deserialize;
use serde_json::Value;
use units::Dtype;

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

/// The flags of `estimate`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Job {
    system: String,
    chip: Option<String>,
    chips: Option<f64>,
    model: String,
    engine: Option<String>,
    engine_version: Option<String>,
    mode: Option<String>,
    weight_dtype: Option<Dtype>,
    act_dtype: Option<Dtype>,
    kv_dtype: Option<Dtype>,
    moe_dtype: Option<Dtype>,
    isl: Option<u32>,
    osl: Option<u32>,
    length_spread: Option<f64>,
    concurrency: Option<u32>,
    tp: Option<u32>,
    pp: Option<u32>,
    dp: Option<u32>,
    ep: Option<u32>,
    moe_tp: Option<u32>,
    redundant_experts: Option<u32>,
    prefill_instances: Option<u32>,
    prefill_tp: Option<u32>,
    prefill_dp: Option<u32>,
    prefill_ep: Option<u32>,
    decode_instances: Option<u32>,
    decode_tp: Option<u32>,
    decode_dp: Option<u32>,
    decode_ep: Option<u32>,
    batch_per_rank: Option<u32>,
    kv_len: Option<u32>,
    #[serde(default)]
    spec_tokens: u32,
    spec_accept: Option<f64>,
    #[serde(default)]
    prefix_hit: f64,
    token_budget: Option<u32>,
    expert_skew: Option<f64>,
    micro_batches: Option<bool>,
    region: Option<String>,
}

impl Job {
    fn point(&self) -> Result<Point, String> {
        let mode = self.mode.as_deref().unwrap_or("agg");
        let side = |instances, tp, dp, ep| Sizes { instances, tp, dp, ep, ..Sizes::default() };
        Ok(Point {
            system: self.system.clone(),
            chip: self.chip.clone(),
            chips: self.chips,
            model: self.model.clone(),
            engine: self.engine.clone(),
            engine_version: self.engine_version.clone(),
            formats: Formats {
                weight: self.weight_dtype,
                act: self.act_dtype,
                kv: self.kv_dtype,
                moe: self.moe_dtype,
            },
            mode: mode.parse().map_err(|error: estimate::UnknownMode| error.to_string())?,
            isl: self.isl,
            osl: self.osl,
            length_spread: self.length_spread,
            concurrency: self.concurrency,
            sizes: Sizes {
                instances: None,
                tp: self.tp,
                pp: self.pp,
                dp: self.dp,
                ep: self.ep,
                moe_tp: self.moe_tp,
                redundant_experts: self.redundant_experts,
            },
            prefill: side(self.prefill_instances, self.prefill_tp, self.prefill_dp, self.prefill_ep),
            decode: side(self.decode_instances, self.decode_tp, self.decode_dp, self.decode_ep),
            batch_per_rank: self.batch_per_rank,
            kv_len: self.kv_len,
            spec_tokens: self.spec_tokens,
            spec_accept: self.spec_accept,
            prefix_hit: self.prefix_hit,
            token_budget: self.token_budget,
            expert_skew: self.expert_skew,
            micro_batches: self.micro_batches,
        })
    }
}

pub(super) fn read(job: &Value) -> Result<(Job, Point), String> {
    let job: Job =
        serde_json::from_value(super::respelled(job, '-', "_")).map_err(|error| error.to_string())?;
    let point = job.point()?;
    Ok((job, point))
}

pub(super) fn evaluate(unit: &Unit, resolver: &Resolver) -> Result<Value, Refusal> {
    let (job, mut point) = read(&unit.job).map_err(Refusal::invalid)?;
    point.model = super::model_name(unit, &point.model);
    let site = site(resolver, job.region.as_deref()).map_err(Refusal::invalid)?;
    let estimate = estimate(resolver, &point, &site).map_err(|error| match error {
        EstimateError::Step(StepError::Memory(refusal)) => Refusal::refused(refusal),
        other => Refusal::invalid(other),
    })?;
    Ok(report::estimate_json(&estimate))
}

/// What electricity and buildings cost in a region.
fn site(resolver: &Resolver, region: Option<&str>) -> Result<Site, hardware::CatalogError> {
    let prices = match region {
        Some(region) => resolver.catalog().prices(region)?,
        None => resolver.catalog().economics()?.prices,
    };
    Ok(Site {
        electricity: prices.electricity.value,
        pue: prices.pue.value,
        carbon: prices.carbon.value,
        lifetime: prices.depreciation.value,
    })
}
