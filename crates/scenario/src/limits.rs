//! What the numbers of a scenario may be, and which keys go together: whatever is written changes what runs, or is
//! refused.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::raw::{Raw, RawDeployment, RawFailures, RawPool, RawTier, RawWorkload};
use bounded::ranges::{self, OutOfRange, Range};
use estimate::OperatingPoint;
use units::Seconds;
use workload::Lengths;

type Checked = Result<(), ScenarioError>;

/// One table of the file, for messages.
struct Table<'a> {
    place: &'a Place,
    name: &'a str,
    index: usize,
}

impl Table<'_> {
    fn wrong(&self, key: &str, problem: impl Into<String>) -> Checked {
        Err(self.place.wrong(self.name, self.index, key, problem))
    }

    fn within(&self, key: &str, range: Range, value: Option<f64>) -> Checked {
        match value {
            Some(value) if !range.holds(value) => {
                self.wrong(key, format!("{value} is out of range; allowed is {range}"))
            }
            _ => Ok(()),
        }
    }

    fn point(&self, point: &OperatingPoint) -> Checked {
        estimate::check_ranges(point).or_else(|OutOfRange { key, value, range }| {
            self.wrong(key, format!("{value} is out of range; allowed is {range}"))
        })
    }

    fn counts(&self, counts: &[(&str, Range, Option<u32>)]) -> Checked {
        counts.iter().try_for_each(|(key, range, value)| self.within(key, *range, value.map(f64::from)))
    }

    fn shares(&self, shares: &[(&str, Option<f64>)]) -> Checked {
        shares.iter().try_for_each(|(key, value)| self.within(key, ranges::SPEC_ACCEPT, *value))
    }

    fn times(&self, range: Range, times: &[(&str, Option<Seconds>)]) -> Checked {
        times.iter().try_for_each(|(key, value)| self.within(key, range, value.map(Seconds::get)))
    }

    fn lengths(&self, key: &str, lengths: Option<Lengths>) -> Checked {
        let longest = match lengths {
            Some(Lengths::Fixed(length) | Lengths::Uniform(_, length)) => Some(length),
            Some(Lengths::LogNormal { max, .. }) => Some(max),
            None => None,
        };
        self.within(key, ranges::ISL, longest.map(f64::from))
    }

    /// Refuses the first of `keys` that is given, where what they belong to is not.
    fn belong(&self, keys: &[(&str, bool)], to: &str, there: bool) -> Checked {
        match keys.iter().find(|(_, given)| *given && !there) {
            Some((key, _)) => self.wrong(key, format!("has no effect here; it belongs to {to}")),
            None => Ok(()),
        }
    }
}

/// Checks every number of a scenario.
pub(crate) fn check(raw: &Raw, place: &Place) -> Checked {
    let table = |name, index| Table { place, name, index };
    table("", 0).times(ranges::UNTIL, &[("until", raw.until)])?;
    let (mut pools, mut tiers) = (0, 0);
    for (index, deployment) in raw.deployment.iter().enumerate() {
        check_deployment(&table("deployment", index), deployment)?;
        for pool in &deployment.pool {
            check_pool(&table("deployment.pool", pools), pool)?;
            pools += 1;
        }
        for tier in &deployment.tier {
            check_tier(&table("deployment.tier", tiers), tier)?;
            tiers += 1;
        }
    }
    check_workload(&table("workload", 0), &raw.workload)?;
    let slo = [("ttft", raw.slo.ttft), ("tpot", raw.slo.tpot), ("e2e", raw.slo.e2e)];
    table("slo", 0).times(ranges::LATENCY_LIMIT, &slo)?;
    for (index, tenant) in raw.tenant.iter().enumerate() {
        let table = table("tenant", index);
        table.within("weight", ranges::WEIGHT, tenant.weight)?;
        table.within("share", ranges::WEIGHT, tenant.share)?;
        table.within("rate", ranges::RATE, tenant.rate.map(units::PerSecond::get))?;
    }
    for (index, fault) in raw.fault.iter().enumerate() {
        let table = table("fault", index);
        table.times(ranges::DURATION, &[("at", Some(fault.at)), ("repair", fault.repair)])?;
        table.shares(&[("left", fault.left)])?;
    }
    raw.failures.as_ref().map_or(Ok(()), |failures| check_failures(&table("failures", 0), failures))
}

fn check_deployment(table: &Table, raw: &RawDeployment) -> Checked {
    let point = &raw.point;
    for (key, name) in [("model", &point.model), ("system", &point.system)] {
        if name.is_empty() {
            table.wrong(key, "is needed")?;
        }
    }
    table.point(point)?;
    let accepted = [("spec_accept", point.spec_accept.is_some())];
    table.belong(&accepted, "draft tokens (`spec_tokens`)", point.spec_tokens > 0)?;
    table.within("share", ranges::WEIGHT, raw.share)?;
    table.times(ranges::DURATION, &[("shrink", raw.shrink)])?;
    table.counts(&[("spares", ranges::SPARES, raw.spares)])
}

fn check_pool(table: &Table, raw: &RawPool) -> Checked {
    table.point(&raw.point)?;
    table.counts(&[
        ("instances", ranges::INSTANCES, raw.instances),
        ("kv_blocks", ranges::KV_BLOCKS, raw.kv_blocks),
        ("block", ranges::BLOCK, raw.block),
        ("max_context", ranges::KV_LEN, raw.max_context),
    ])?;
    let wide = |size: Option<u32>| f64::from(size.unwrap_or(1));
    let sizes = &raw.point.sizes;
    let ranks = wide(sizes.tp) * wide(sizes.pp) * wide(sizes.dp) * wide(raw.instances);
    table.within("dp", ranges::ALL_RANKS, Some(ranks))?;
    table.times(ranges::DURATION, &[("load_warm", raw.load_warm), ("load_cold", raw.load_cold)])?;
    table.times(ranges::LATENCY_LIMIT, &[("step_limit", raw.step_limit)])?;
    let Some(scaling) = &raw.scaling else { return Ok(()) };
    let table = Table { name: "deployment.pool.scaling", ..*table };
    table.counts(&[("min", ranges::INSTANCES, scaling.min), ("max", ranges::INSTANCES, scaling.max)])?;
    table.within("up", ranges::WEIGHT, scaling.up)?;
    table.within("down", ranges::WEIGHT, scaling.down)?;
    table.times(ranges::DURATION, &[("interval", scaling.interval)])?;
    scaling.schedule.iter().try_for_each(|line| {
        table.times(ranges::DURATION, &[("schedule", Some(line.at))])?;
        table.counts(&[("schedule", ranges::INSTANCES, Some(line.instances))])
    })
}

fn check_tier(table: &Table, raw: &RawTier) -> Checked {
    table.times(ranges::DURATION, &[("latency", raw.latency)])?;
    table.within("capacity", ranges::BYTES, raw.capacity.map(units::Bytes::get))?;
    for (key, value) in [("bandwidth", raw.bandwidth), ("total_bandwidth", raw.total_bandwidth)] {
        table.within(key, ranges::BYTES_PER_SECOND, value.map(units::BytesPerSecond::get))?;
    }
    Ok(())
}

fn check_workload(table: &Table, raw: &RawWorkload) -> Checked {
    table.within("rate", ranges::RATE, raw.rate.map(units::PerSecond::get))?;
    table.within("burstiness", ranges::BURSTINESS, raw.burstiness)?;
    table.within("rate_scale", ranges::RATE_SCALE, raw.rate_scale)?;
    table.shares(&[("swing", raw.swing)])?;
    table.counts(&[
        ("burst", ranges::CONCURRENCY, raw.burst),
        ("users", ranges::CONCURRENCY, raw.users),
        ("repeat", ranges::REPEAT, raw.repeat),
    ])?;
    table.within("requests", ranges::REQUESTS, raw.requests.map(|count| count as f64))?;
    table.within("warm_up", ranges::WARM_UP, raw.warm_up.map(|count| count as f64))?;
    table.lengths("isl", raw.isl)?;
    table.lengths("osl", raw.osl)?;
    let limits = [("period", raw.period), ("deadline", raw.deadline), ("patience", raw.patience)];
    table.times(ranges::LATENCY_LIMIT, &limits)?;
    if let Some(sessions) = &raw.sessions {
        let table = Table { name: "workload.sessions", ..*table };
        table.within("count", ranges::SESSIONS, Some(sessions.count as f64))?;
        table.lengths("turns", Some(sessions.turns))?;
        table.counts(&[("system", ranges::SYSTEM_TOKENS, Some(sessions.system))])?;
        table.times(ranges::DURATION, &[("think", Some(sessions.think))])?;
    }
    if let Some(prefix) = &raw.prefix {
        let table = Table { name: "workload.prefix", ..*table };
        table.counts(&[
            ("groups", ranges::PREFIX_GROUPS, Some(prefix.groups)),
            ("block", ranges::BLOCK, prefix.block),
        ])?;
        table.shares(&[("share", Some(prefix.share))])?;
    }
    belonging(table, raw)
}

/// Keys of a workload that belong to another kind of workload.
fn belonging(table: &Table, raw: &RawWorkload) -> Checked {
    let arrival = raw.arrival.as_deref();
    let traced = raw.trace.is_some();
    let closed = arrival == Some("closed");
    table.belong(
        &[("burstiness", raw.burstiness.is_some())],
        "arrivals of the kind gamma",
        arrival == Some("gamma"),
    )?;
    table.belong(
        &[("burst", raw.burst.is_some())],
        "arrivals of the kind bursts",
        arrival == Some("bursts"),
    )?;
    let diurnal = [("swing", raw.swing.is_some()), ("period", raw.period.is_some())];
    table.belong(&diurnal, "arrivals of the kind diurnal", arrival == Some("diurnal"))?;
    let users = [("users", raw.users.is_some()), ("warm_up", raw.warm_up.is_some())];
    table.belong(&users, "a closed loop (arrivals of the kind closed)", closed)?;
    table.belong(&[("rate", raw.rate.is_some())], "arrivals that do not wait for answers", !closed)?;
    let recorded = [
        ("trace_format", raw.trace_format.is_some()),
        ("rate_scale", raw.rate_scale.is_some()),
        ("repeat", raw.repeat.is_some()),
    ];
    table.belong(&recorded, "a trace", traced)?;
    let lengths =
        [("isl", raw.isl.is_some()), ("osl", raw.osl.is_some()), ("sessions", raw.sessions.is_some())];
    table.belong(&lengths, "traffic that is generated; a trace has its own", !traced)?;
    let requests = [("requests", raw.requests.is_some())];
    table.belong(&requests, "single requests; conversations have `count`", raw.sessions.is_none())
}

fn check_failures(table: &Table, raw: &RawFailures) -> Checked {
    table.within("scale", ranges::WEIGHT, raw.scale)?;
    table.shares(&[("left", raw.left)])?;
    table.times(
        ranges::LATENCY_LIMIT,
        &[
            ("horizon", raw.horizon),
            ("chip_mtbf", raw.chip_mtbf),
            ("node_mtbf", raw.node_mtbf),
            ("link_mtbf", raw.link_mtbf),
            ("switch_mtbf", raw.switch_mtbf),
            ("repair", raw.repair),
        ],
    )
}
