//! Values that make no sense whatever the machine is, and keys that a job of its kind does not have.

use super::raw::{Raw, RawJob, RawServe};
use super::{ClusterError, Place};
use crate::plan::Kind;
use crate::policy::Settings;

/// Failures per second of one chip or domain at most: one an hour, beyond which nothing is ever done.
const MOST_FAILURES: f64 = 1.0 / 3600.0;

/// Checks all that does not depend on the machine.
///
/// # Errors
/// The first value that makes no sense, named by file, line and key.
pub(super) fn check(raw: &Raw, place: &Place) -> Result<(), ClusterError> {
    if raw.until.is_some_and(|until| until.get() <= 0.0) {
        return Err(place.wrong("", 0, "until", "a run ends after it has begun"));
    }
    if raw.policy.as_ref().is_some_and(|policy| policy.list().iter().all(|name| name.trim().is_empty())) {
        return Err(place.wrong("", 0, "policy", "name at least one policy"));
    }
    settings(&raw.settings, place)?;
    machine(raw, place)?;
    for (index, window) in raw.maintenance.iter().enumerate() {
        let wrong = |key, problem| Err(place.wrong("maintenance", index, key, problem));
        if window.at.get() < 0.0 {
            return wrong("at", "maintenance begins at 0 or later");
        }
        if window.length.get() <= 0.0 {
            return wrong("length", "maintenance lasts for some time");
        }
    }
    for (index, tenant) in raw.tenant.iter().enumerate() {
        if tenant.name.trim().is_empty() {
            return Err(place.wrong("tenant", index, "name", "a tenant has a name"));
        }
    }
    let mut tables = 0;
    for (index, job) in raw.job.iter().enumerate() {
        times(job, index, place)?;
        others(job, index, place)?;
        if let Some(serve) = &job.serve {
            service(job, serve, tables, place)?;
            tables += 1;
        }
    }
    Ok(())
}

fn settings(settings: &Settings, place: &Place) -> Result<(), ClusterError> {
    let wrong = |key, problem| Err(place.wrong("settings", 0, key, problem));
    if settings.depth == 0 {
        return wrong("depth", "a pass looks at one job at least");
    }
    for (key, time) in
        [("max_age", settings.max_age), ("half_life", settings.half_life), ("round", settings.round)]
    {
        if time.get() < 1.0 {
            return wrong(key, "it lasts a second at least");
        }
    }
    if settings.backfill_interval.get() < 0.0 {
        return wrong("backfill_interval", "it is not negative");
    }
    for (key, weight) in [
        ("age_weight", settings.age_weight),
        ("fair_share_weight", settings.fair_share_weight),
        ("size_weight", settings.size_weight),
        ("priority_weight", settings.priority_weight),
    ] {
        if weight.is_nan() || weight.abs() > 1e9 {
            return wrong(key, "a weight is a number of at most 1e9");
        }
    }
    let rising = settings.las_thresholds.windows(2).all(|pair| pair[0].get() < pair[1].get());
    if !rising || settings.las_thresholds.iter().any(|limit| limit.get() <= 0.0) {
        return wrong("las_thresholds", "thresholds are more than nothing and rise");
    }
    Ok(())
}

fn machine(raw: &Raw, place: &Place) -> Result<(), ClusterError> {
    let cluster = &raw.cluster;
    let wrong = |key, problem| Err(place.wrong("cluster", 0, key, problem));
    for (key, power) in [
        ("busy_power", cluster.busy_power),
        ("idle_power", cluster.idle_power),
        ("power_cap", cluster.power_cap),
    ] {
        if power.is_some_and(|power| power.get() < 0.0) {
            return wrong(key, "a power is not negative");
        }
    }
    if cluster.price.is_some_and(|price| price.get() < 0.0) {
        return wrong("price", "a price is not negative");
    }
    if cluster.repair.is_some_and(|time| time.get() <= 0.0) {
        return wrong("repair", "a repair takes some time");
    }
    let rate = |rate: f64| (0.0..=MOST_FAILURES).contains(&rate);
    if cluster.failure_rate.is_some_and(|found| !rate(found.get())) {
        return wrong("failure_rate", "a chip fails from never to once an hour");
    }
    for (index, level) in cluster.level.iter().enumerate() {
        let wrong = |key, problem| Err(place.wrong("cluster.level", index, key, problem));
        if level.uplink.is_some_and(|uplink| uplink.get() <= 0.0) {
            return wrong("uplink", "an uplink carries something");
        }
        if level.failure_rate.is_some_and(|found| !rate(found.get())) {
            return wrong("failure_rate", "a domain fails from never to once an hour");
        }
    }
    Ok(())
}

fn times(job: &RawJob, index: usize, place: &Place) -> Result<(), ClusterError> {
    for (key, time) in [("limit", job.limit), ("deadline", job.deadline)] {
        if time.is_some_and(|time| time.get() <= 0.0) {
            return Err(place.wrong("job", index, key, "it is more than nothing"));
        }
    }
    if job.every.is_some_and(|every| every.get() < 0.0) {
        return Err(place.wrong("job", index, "every", "times do not go back"));
    }
    Ok(())
}

/// Keys that would be read by nobody.
fn others(job: &RawJob, index: usize, place: &Place) -> Result<(), ClusterError> {
    let kind = job.kind.unwrap_or(Kind::Opaque);
    let wrong = |key: &str, wanted: &str| {
        let problem = format!("a job of kind `{}` does not have it; {wanted}", kind.name());
        Err(place.wrong("job", index, key, problem))
    };
    if job.train.is_some() && kind != Kind::Training {
        return wrong("train", "say `kind = \"training\"`");
    }
    if job.serve.is_some() && !matches!(kind, Kind::Serving | Kind::BatchInference) {
        return wrong("serve", "say `kind = \"serving\"` or `kind = \"batch-inference\"`");
    }
    if kind != Kind::Serving {
        return Ok(());
    }
    for (key, given) in [
        ("duration", job.duration.is_some()),
        ("steps", job.steps.is_some()),
        ("requests", job.requests.is_some()),
        ("limit", job.limit.is_some()),
        ("deadline", job.deadline.is_some()),
        ("at", job.at.is_some()),
        ("count", job.count.is_some()),
        ("every", job.every.is_some()),
        ("min_chips", job.min_chips.is_some()),
        ("max_chips", job.max_chips.is_some()),
        ("scaling", job.scaling.is_some()),
        ("uses", !job.uses.is_empty()),
        ("preemptible", job.preemptible.is_some()),
        ("checkpoint_interval", job.checkpoint_interval.is_some()),
        ("checkpoint_write", job.checkpoint_write.is_some()),
        ("restart", job.restart.is_some()),
    ] {
        if given {
            return wrong(key, "a service has replicas, `min` to `max` of them, from the start to the end");
        }
    }
    Ok(())
}

fn service(job: &RawJob, serve: &RawServe, table: usize, place: &Place) -> Result<(), ClusterError> {
    let wrong = |key: &str, problem: &str| Err(place.wrong("job.serve", table, key, problem));
    if job.kind == Some(Kind::BatchInference) {
        for (key, given) in [
            ("capacity", serve.capacity.is_some()),
            ("peak", serve.peak.is_some()),
            ("trough", serve.trough.is_some()),
            ("peak_at", serve.peak_at.is_some()),
            ("load", !serve.load.is_empty()),
            ("min", serve.min.is_some()),
            ("max", serve.max.is_some()),
            ("interval", serve.interval.is_some()),
            ("headroom", serve.headroom.is_some()),
            ("load_time", serve.load_time.is_some()),
            ("patience", serve.patience.is_some()),
            ("window", !serve.window.is_empty()),
        ] {
            if given {
                return wrong(key, "batch inference has `requests`, which nobody waits for; leave it out");
            }
        }
    }
    for (key, time) in [
        ("interval", serve.interval),
        ("ttft", serve.ttft),
        ("tpot", serve.tpot),
        ("patience", serve.patience),
    ] {
        if time.is_some_and(|time| time.get() <= 0.0) {
            return wrong(key, "it is more than nothing");
        }
    }
    if serve.headroom.is_some_and(|headroom| !(0.0..=10.0).contains(&headroom)) {
        return wrong("headroom", "it is a share of the load, 0 to 10");
    }
    if serve.load_time.is_some_and(|time| time.get() < 0.0) {
        return wrong("load_time", "it is not negative");
    }
    if serve.min == Some(0) && serve.max == Some(0) {
        return wrong("max", "a service has a replica now and then");
    }
    Ok(())
}
