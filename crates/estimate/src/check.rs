//! What the numbers of a point may be, and whether its requests can be held.

use crate::keys::{KEYS, Key, KeyError};
use crate::resolve::EstimateError;
use crate::spec::{Mode, OperatingPoint};
use bounded::ranges::{self, OutOfRange};
use cost::step::StepModel;

/// Checks every number of a point, whatever its mode uses of them.
///
/// # Errors
/// The first that is out of range.
pub fn check_ranges(point: &OperatingPoint) -> Result<(), OutOfRange> {
    let mut point = point.clone();
    for key in KEYS {
        if let Some((range, value)) = key.range.zip((key.slot)(&mut point).number()) {
            let held = range.check(value);
            held.map_err(|wrong| OutOfRange { key: key.name, ..wrong })?;
        }
    }
    [&point.sizes, &point.prefill, &point.decode].into_iter().try_for_each(|sizes| {
        let wide = |size: Option<u32>| f64::from(size.unwrap_or(1));
        ranges::INSTANCE_RANKS.check(wide(sizes.tp) * wide(sizes.pp) * wide(sizes.dp))
    })
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

/// Refuses numbers out of their range, and keys that change nothing in the mode of a point; tables of measurements may
/// have such keys all the same.
///
/// # Errors
/// The first key that is wrong or changes nothing.
pub fn refuse_unused(point: &OperatingPoint) -> Result<(), KeyError> {
    check_ranges(point).map_err(|OutOfRange { key, value, range }| {
        let problem = format!("{value} is out of range; allowed is {range}");
        KeyError { key: key.to_owned(), problem }
    })?;
    for key in KEYS.iter().filter(|key| key.said(point).is_some()) {
        if let Some(why) = unused_in_mode(point, key) {
            let problem = format!("has no effect {why}; leave it out");
            return Err(KeyError { key: key.name.to_owned(), problem });
        }
    }
    Ok(())
}

/// Where a key has no effect in the mode of a point.
fn unused_in_mode(point: &OperatingPoint, key: &Key) -> Option<&'static str> {
    let (name, side) = (key.name, key.is_of_side());
    let sizes = ["tp", "pp", "dp", "ep", "moe_tp", "redundant_experts"];
    let step = ["batch_per_rank", "kv_len"];
    let (context, batch) = (point.kv_len.is_some(), point.batch_per_rank.is_some());
    let prefilling = ["osl", "concurrency", "kv_len", "length_spread"];
    let why = match point.mode {
        Mode::Agg if side || step.contains(&name) => "in mode agg",
        Mode::Disagg if sizes.contains(&name) => "in mode disagg; its sides have sizes of their own",
        Mode::Disagg if step.contains(&name) => "in mode disagg",
        Mode::Prefill if side || prefilling.contains(&name) => "in mode prefill",
        // The step is what the point says it is, whatever the scheduler would make of it.
        Mode::Prefill if name == "execution" => "on prompts, which are launched operator by operator",
        Mode::Prefill | Mode::Decode if name == "stream_interval" => {
            "on a single step, from which nothing is streamed"
        }
        Mode::Prefill | Mode::Decode if ["token_budget", "max_sequences"].contains(&name) => {
            "on a single step, whose size `batch_per_rank` says"
        }
        Mode::Decode if side || ["length_spread", "prefix_hit"].contains(&name) => "in mode decode",
        Mode::Decode if context && ["isl", "osl"].contains(&name) => "beside `kv_len`",
        Mode::Decode if batch && name == "concurrency" => "beside `batch_per_rank`",
        _ if name == "spec_accept" && point.spec_tokens == 0 => "without draft tokens",
        _ => return None,
    };
    Some(why)
}
