//! Policies by name.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::raw::{RawGathering, RawPool, RawScaling};
use serving::{Batching, Gathering, Nanos, Order, Preemption, Role, RouterPolicy, Scaling, ScalingRule};
use units::Seconds;

const TABLE: &str = "deployment.pool";

/// The choice called `name`, or an error that lists the names.
fn choose<T: Copy>(
    place: &Place,
    index: usize,
    key: &str,
    name: &str,
    choices: &[(&str, T)],
) -> Result<T, ScenarioError> {
    let found = choices.iter().find(|(known, _)| *known == name).map(|(_, choice)| *choice);
    found.ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        place.wrong(TABLE, index, key, format!("`{name}` is not known; use one of {}", names.join(", ")))
    })
}

pub(crate) fn role(place: &Place, index: usize, pool: &RawPool) -> Result<Role, ScenarioError> {
    let choices = [("aggregated", Role::Aggregated), ("prefill", Role::Prefill), ("decode", Role::Decode)];
    choose(place, index, "role", pool.role.as_deref().unwrap_or("aggregated"), &choices)
}

pub(crate) fn router(
    place: &Place,
    index: usize,
    pool: &RawPool,
) -> Result<Option<RouterPolicy>, ScenarioError> {
    let Some(name) = pool.router.as_deref() else { return Ok(None) };
    let choices = [
        ("round-robin", RouterPolicy::RoundRobin),
        ("least-requests", RouterPolicy::LeastRequests),
        ("least-tokens", RouterPolicy::LeastTokens),
        ("power-of-two", RouterPolicy::PowerOfTwo),
        ("prefix-aware", RouterPolicy::PrefixAware { load: 0.1 }),
        ("session-sticky", RouterPolicy::SessionSticky),
    ];
    choose(place, index, "router", name, &choices).map(Some)
}

pub(crate) fn batching(
    place: &Place,
    index: usize,
    pool: &RawPool,
) -> Result<Option<Batching>, ScenarioError> {
    let Some(name) = pool.batching.as_deref() else { return Ok(None) };
    let step = pool.step_limit.unwrap_or(Seconds::from_ms(50.0));
    let choices = [
        ("mixed", Batching::Mixed),
        ("prefill-first", Batching::PrefillFirst),
        ("decode-first", Batching::DecodeFirst),
        ("slo-aware", Batching::SloAware { step }),
    ];
    choose(place, index, "batching", name, &choices).map(Some)
}

pub(crate) fn gathering(raw: RawGathering) -> Gathering {
    let RawGathering { tokens, requests, settle, timeout } = raw;
    Gathering { tokens, requests, settle, timeout }
}

pub(crate) fn order(place: &Place, index: usize, pool: &RawPool) -> Result<Option<Order>, ScenarioError> {
    let Some(name) = pool.order.as_deref() else { return Ok(None) };
    let choices = [("fcfs", Order::Fcfs), ("priority", Order::Priority), ("fair-share", Order::FairShare)];
    choose(place, index, "order", name, &choices).map(Some)
}

pub(crate) fn preemption(
    place: &Place,
    index: usize,
    pool: &RawPool,
) -> Result<Option<Preemption>, ScenarioError> {
    let Some(name) = pool.preemption.as_deref() else { return Ok(None) };
    let choices = [("recompute", Preemption::Recompute), ("swap", Preemption::Swap)];
    choose(place, index, "preemption", name, &choices).map(Some)
}

pub(crate) fn scaling(
    place: &Place,
    index: usize,
    raw: &RawScaling,
    instances: u32,
) -> Result<Scaling, ScenarioError> {
    let table = "deployment.pool.scaling";
    let rule = match raw.rule.as_str() {
        "reactive" => ScalingRule::Reactive { up: raw.up.unwrap_or(4.0), down: raw.down.unwrap_or(1.0) },
        "balance" => ScalingRule::Balance { up: raw.up.unwrap_or(4.0) },
        "scheduled" => {
            let times: Vec<_> =
                raw.schedule.iter().map(|line| (Nanos::from_seconds(line.at), line.instances)).collect();
            if times.is_empty() || times.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
                return Err(place.wrong(
                    table,
                    index,
                    "schedule",
                    "give at least one line, in ascending times",
                ));
            }
            ScalingRule::Scheduled(times)
        }
        other => {
            let problem = format!("`{other}` is not known; use one of reactive, scheduled, balance");
            return Err(place.wrong(table, index, "rule", problem));
        }
    };
    let (min, max) = (raw.min.unwrap_or(1), raw.max.unwrap_or(instances.saturating_mul(4).max(1)));
    let interval = raw.interval.unwrap_or(Seconds::new(10.0));
    if min > max {
        return Err(place.wrong(table, index, "min", format!("{min} is more than the maximum of {max}")));
    }
    if !(min..=max).contains(&instances) {
        let problem = format!("the pool starts with {instances} instances, which are not {min} to {max}");
        let key = if instances < min { "min" } else { "max" };
        return Err(place.wrong(table, index, key, problem));
    }
    if interval <= Seconds::from_ms(1.0) {
        return Err(place.wrong(table, index, "interval", "must be more than 1 ms"));
    }
    Ok(Scaling { min, max, interval, rule })
}
