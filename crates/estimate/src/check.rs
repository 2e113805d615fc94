//! What the numbers of a point may be, and whether its requests can be held.

use crate::keys::{Key, KeyError, Slot};
use crate::resolve::EstimateError;
use crate::spec::{Mode, OperatingPoint, Sizes};
use bounded::ranges::{self, OutOfRange};
use cost::step::StepModel;

/// Checks every number of a point, whatever its mode uses of them.
///
/// # Errors
/// The first that is out of range.
pub(crate) fn check(point: &OperatingPoint) -> Result<(), OutOfRange> {
    for sizes in [&point.sizes, &point.prefill, &point.decode] {
        check_sizes(sizes)?;
    }
    ranges::CHIPS.check_given(point.chips)?;
    ranges::ISL.check_given(point.isl)?;
    ranges::OSL.check_given(point.osl)?;
    ranges::KV_LEN.check_given(point.kv_len)?;
    ranges::CONCURRENCY.check_given(point.concurrency)?;
    ranges::BATCH_PER_RANK.check_given(point.batch_per_rank)?;
    ranges::TOKEN_BUDGET.check_given(point.token_budget)?;
    ranges::LENGTH_SPREAD.check_given(point.length_spread)?;
    ranges::MEMORY_FRACTION.check_given(point.memory_fraction)?;
    ranges::STREAM_INTERVAL.check_given(point.stream_interval)?;
    ranges::SPEC_TOKENS.check(point.spec_tokens)?;
    ranges::SPEC_ACCEPT.check_given(point.spec_accept)?;
    ranges::PREFIX_HIT.check(point.prefix_hit)?;
    ranges::EXPERT_SKEW.check_given(point.expert_skew)
}

fn check_sizes(sizes: &Sizes) -> Result<(), OutOfRange> {
    ranges::INSTANCES.check_given(sizes.instances)?;
    ranges::TP.check_given(sizes.tp)?;
    ranges::PP.check_given(sizes.pp)?;
    ranges::DP.check_given(sizes.dp)?;
    ranges::EP.check_given(sizes.ep)?;
    ranges::MOE_TP.check_given(sizes.moe_tp)?;
    ranges::REDUNDANT_EXPERTS.check_given(sizes.redundant_experts)?;
    let wide = |size: Option<u32>| f64::from(size.unwrap_or(1));
    ranges::INSTANCE_RANKS.check(wide(sizes.tp) * wide(sizes.pp) * wide(sizes.dp))
}

/// Checks that an attention rank holds `sequences` at once, each with `tokens` of prompt and answer.
///
/// # Errors
/// The model's context is shorter, or the cache smaller.
pub(crate) fn holds(step: &StepModel, tokens: f64, sequences: f64) -> Result<(), EstimateError> {
    let model = &step.deployment().model;
    if tokens > f64::from(model.max_context) {
        let (model, most) = (model.id.clone(), model.max_context);
        return Err(EstimateError::Context { model, tokens, most });
    }
    let (needed, room) = (step.memory().cache_bytes(tokens) * sequences, step.memory().for_cache());
    if needed > room {
        return Err(EstimateError::Cache { sequences, tokens, needed, room });
    }
    Ok(())
}

/// Whether a key of a point says something.
fn is_given(point: &OperatingPoint, key: &Key) -> bool {
    let mut point = point.clone();
    match (key.slot)(&mut point) {
        Slot::Name(name) => !name.is_empty(),
        Slot::Text(text) => text.is_some(),
        Slot::Count(count) => count.is_some(),
        Slot::Whole(count) => *count > 0,
        Slot::Number(number) => number.is_some(),
        Slot::Share(share) => *share > 0.0,
        Slot::Truth(truth) => truth.is_some(),
        Slot::Format(format) => format.is_some(),
        Slot::Execution(execution) => execution.is_some(),
        Slot::Mode(_) => false,
    }
}

/// Refuses numbers out of their range, and keys that change nothing in the mode of a point; tables of measurements may
/// have such keys all the same.
///
/// # Errors
/// The first key that is wrong or changes nothing.
pub fn refuse_unused(point: &OperatingPoint) -> Result<(), KeyError> {
    check(point).map_err(|OutOfRange { key, value, range }| {
        let problem = format!("{value} is out of range; allowed is {range}");
        KeyError { key: key.to_owned(), problem }
    })?;
    let side = |name: &str| name.starts_with("prefill_") || name.starts_with("decode_");
    let sizes = ["tp", "pp", "dp", "ep", "moe_tp", "redundant_experts"];
    let decode = (point.kv_len.is_some(), point.batch_per_rank.is_some());
    for key in crate::keys::KEYS.iter().filter(|key| is_given(point, key)) {
        let name = key.name;
        let why = match point.mode {
            Mode::Agg if side(name) || ["batch_per_rank", "kv_len"].contains(&name) => "in mode agg",
            Mode::Disagg if sizes.contains(&name) => "in mode disagg; its sides have sizes of their own",
            Mode::Disagg if ["batch_per_rank", "kv_len"].contains(&name) => "in mode disagg",
            Mode::Prefill if side(name) => "in mode prefill",
            Mode::Prefill if ["osl", "concurrency", "kv_len", "length_spread"].contains(&name) => {
                "in mode prefill"
            }
            Mode::Decode if side(name) || ["length_spread", "prefix_hit", "token_budget"].contains(&name) => {
                "in mode decode"
            }
            Mode::Decode if decode.0 && ["isl", "osl"].contains(&name) => "beside `kv_len`",
            Mode::Decode if decode.1 && name == "concurrency" => "beside `batch_per_rank`",
            _ if name == "spec_accept" && point.spec_tokens == 0 => "without draft tokens",
            _ => continue,
        };
        let problem = format!("has no effect {why}; leave it out");
        return Err(KeyError { key: name.to_owned(), problem });
    }
    Ok(())
}
