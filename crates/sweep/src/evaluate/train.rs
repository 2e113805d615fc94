//! Jobs of `train`: its job file.

use super::{Refusal, Wanted};
use crate::unit::Unit;
use estimate::Resolver;
use report::ColumnKind::{Flag, Real, Text, Whole};
use report::train::{LongRunRequest, TrainReport, Trained};
use serde_json::Value;
use training::goodput::Reliability;
use training::site::{self, Site};
use training::spec::{JobSpec, parse_tokens};
use training::{Machine, check_memory, price};

pub(super) const RESULTS: &[Wanted] = &[
    ("model", "/model", Text),
    ("system", "/system", Text),
    ("framework", "/framework", Text),
    ("chips", "/layout/chips", Real),
    ("tp", "/layout/tp", Whole),
    ("pp", "/layout/pp", Whole),
    ("vpp", "/layout/vpp", Whole),
    ("dp", "/layout/dp", Whole),
    ("cp", "/layout/cp", Whole),
    ("ep", "/layout/ep", Whole),
    ("etp", "/layout/etp", Whole),
    ("micro_batch", "/layout/micro_batch", Whole),
    ("global_batch", "/layout/global_batch", Whole),
    ("micro_batches", "/layout/micro_batches", Whole),
    ("seq", "/layout/seq", Whole),
    ("schedule", "/layout/schedule", Text),
    ("recompute", "/layout/recompute", Text),
    ("zero", "/layout/zero", Whole),
    ("precision", "/layout/precision", Text),
    ("sequence_parallel", "/layout/sequence_parallel", Flag),
    ("context", "/layout/context", Text),
    ("offload_optimizer", "/layout/offload_optimizer", Flag),
    ("offload_activations", "/layout/offload_activations", Flag),
    ("step_s", "/step_time/value", Real),
    ("step_low_s", "/step_time/low", Real),
    ("step_high_s", "/step_time/high", Real),
    ("grade", "/evidence/grade", Text),
    ("tokens_per_s", "/tokens_per_second/value", Real),
    ("tokens_per_s_per_chip", "/tokens_per_second_per_chip/value", Real),
    ("model_tflops_per_chip", "/model_tflops_per_chip/value", Real),
    ("mfu", "/mfu", Real),
    ("hfu", "/hfu", Real),
    ("memory_first_stage_bytes", "/memory/0/total/value", Real),
    ("memory_capacity_bytes", "/memory_capacity/value", Real),
    ("chip_power_w", "/chip_power/value", Real),
    ("energy_per_token_at_plug_j", "/tokens/energy_per_token_at_plug/value", Real),
    ("carbon_per_million_tokens_g", "/tokens/carbon_per_million_tokens/value", Real),
    ("cost_per_million_tokens_usd", "/tokens/cost_per_million_tokens/value", Real),
    ("run_elapsed_s", "/run/elapsed/value", Real),
    ("run_cost_usd", "/run/cost/value", Real),
];

/// Ranks beyond which a count is taken for a slip of the pen.
const MAX_RANKS: u32 = 4_000_000;

pub(super) fn read(job: &Value) -> Result<JobSpec, String> {
    serde_json::from_value(super::respelled(job, '_', "-")).map_err(|error| error.to_string())
}

pub(super) fn evaluate(unit: &Unit, resolver: &Resolver) -> Result<Value, Refusal> {
    let spec = read(&unit.job).map_err(Refusal::invalid)?;
    let catalog = resolver.catalog();
    let model = match (&spec.model, spec.shape_model().map_err(Refusal::invalid)?) {
        (Some(name), _) => {
            resolver.model(&super::model_name(unit, name)).map_err(Refusal::invalid)?.as_ref().clone()
        }
        (None, Some(model)) => model,
        (None, None) => return Err(Refusal::invalid("say what to train: model or shape")),
    };
    let system = spec.system.as_deref().ok_or_else(|| Refusal::invalid("say where to train: system"))?;
    let site = Site::new(catalog, system, spec.chip.as_deref(), spec.nic).map_err(Refusal::invalid)?;
    let name = spec.framework.as_deref().unwrap_or("megatron");
    let profile = site::profile(catalog, name, spec.release.as_deref()).map_err(Refusal::invalid)?;
    let chips = spec.chips.unwrap_or(site.system.chips);
    let ranks = chips.checked_mul(site.chip.ranks.max(1)).filter(|ranks| (1..=MAX_RANKS).contains(ranks));
    let ranks =
        ranks.ok_or_else(|| Refusal::invalid(format!("chips {chips}: give 1 to {MAX_RANKS} ranks")))?;
    spec.check_effects(&spec, &model).map_err(Refusal::invalid)?;
    let job = spec.job_under(model, ranks, &profile).map_err(Refusal::invalid)?;
    let machine = Machine { chip: &site.chip, pricer: &site.pricer, profile: &profile };
    let step = price(&job, &machine).map_err(Refusal::invalid)?;
    check_memory(&job, &step, &site.chip).map_err(Refusal::refused)?;
    let words = Value::Null;
    let prices = catalog.economics().map_err(Refusal::invalid)?.prices;
    let basis = catalog.basis(None).map_err(Refusal::invalid)?;
    let paying = hardware::money::Site::new(&prices, basis);
    let trained = Trained { job: &job, step: &step, site: &site, profile: &profile, paying, words: &words };
    let reliability = catalog.text("failures", "default").map_err(Refusal::invalid)?;
    let reliability = Reliability::parse(reliability).map_err(Refusal::invalid)?;
    let tokens = spec.tokens.as_deref().map(parse_tokens).transpose().map_err(Refusal::invalid)?;
    let long = tokens.map(|tokens| LongRunRequest {
        tokens,
        reliability: &reliability,
        interval: None,
        spares: None,
    });
    serde_json::to_value(TrainReport::new(&trained, long.as_ref())).map_err(Refusal::invalid)
}
