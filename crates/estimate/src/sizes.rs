//! What a launch sets, and sizes that are derived where nobody gives them.

use crate::spec::{OperatingPoint, Sizes};
use hardware::Engine;
use model::Model;

/// An engine with what a launch sets.
pub(crate) fn as_launched(engine: &Engine, point: &OperatingPoint) -> Engine {
    let mut engine = engine.clone();
    let scheduler = &mut engine.scheduler;
    scheduler.token_budget.value = point.token_budget.unwrap_or(scheduler.token_budget.value);
    scheduler.max_sequences.value = point.max_sequences.unwrap_or(scheduler.max_sequences.value);
    engine.execution = point.execution.unwrap_or(engine.execution);
    let taken = &mut engine.memory.utilisation.value;
    *taken = point.memory_fraction.unwrap_or(*taken);
    let interval = &mut engine.host.stream_interval.value;
    *interval = point.stream_interval.unwrap_or(*interval);
    engine
}

/// Expert sizes as given, or as the engines choose them: experts whole on ranks where attention is data-parallel, cut
/// where it is tensor-parallel. A 1 beside data-parallel attention means that the source did not record it.
pub(crate) fn expert_sizes(sizes: &Sizes, all: u32, dp: u32) -> (u32, u32) {
    let given = |size: Option<u32>| size.filter(|size| *size > 0);
    match (given(sizes.ep), given(sizes.moe_tp)) {
        (Some(ep), Some(moe_tp)) if ep.saturating_mul(moe_tp) == all => (ep, moe_tp),
        (Some(ep), None) if ep > 1 && all % ep == 0 => (ep, all / ep),
        (Some(1) | None, None) if dp == 1 => (1, all),
        (None | Some(1), Some(moe_tp)) if moe_tp > 1 && all % moe_tp == 0 => (all / moe_tp, moe_tp),
        (Some(1) | None, Some(1) | None) => (all, 1),
        (ep, moe_tp) => (ep.unwrap_or(1), moe_tp.unwrap_or(1)),
    }
}

/// Replicas that fill up the expert-parallel ranks.
pub(crate) fn spare_experts(model: &Model, ep: u32) -> u32 {
    let experts = model.layers.iter().find_map(|group| match &group.ffn {
        model::Ffn::Moe(moe) => Some(moe.experts),
        _ => None,
    });
    experts.map_or(0, |experts| experts.div_ceil(ep) * ep - experts)
}
