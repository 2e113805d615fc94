//! Memories that keep prefixes: what a scenario does not say of them is taken from the system.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::raw::RawTier;
use cost::step::StepModel;
use serving::TierSpec;
use units::Seconds;

const TABLE: &str = "deployment.tier";

/// The `index`-th tier of the scenario, read by instances that `model` prices.
pub(crate) fn tier(
    place: &Place,
    index: usize,
    raw: &RawTier,
    model: &StepModel,
) -> Result<TierSpec, ScenarioError> {
    let deployment = model.deployment();
    let (system, ranks) = (&deployment.system, f64::from(deployment.layout.ranks()));
    let dram = system.host.dram.as_ref().map(|fact| fact.value);
    let link = system.host.link.as_ref().map(|fact| fact.value * ranks);
    let packages = ranks / f64::from(deployment.chip.ranks);
    let (capacity, bandwidth, latency, pooled) = match raw.kind.as_deref() {
        Some("host") => (dram.map(|dram| dram * packages), link, Seconds::from_us(10.0), false),
        Some("pool") => {
            let fabric = system.domain_for(deployment.layout.ranks() * 2);
            // Every rank reads over its own port, from hosts that are anywhere.
            let bandwidth = link.map(|link| link.min(fabric.bandwidth.value * ranks));
            (dram.map(|dram| dram * f64::from(system.chips)), bandwidth, fabric.latency.value, true)
        }
        Some("ssd") => (None, None, Seconds::from_us(100.0), false),
        None => (None, None, Seconds::from_us(20.0), false),
        Some(other) => {
            let problem = format!("`{other}` is not known; use one of host, pool, ssd");
            return Err(place.wrong(TABLE, index, "kind", problem));
        }
    };
    let missing = |key: &str, example: &str| {
        let problem =
            format!("is needed, as the system does not say it; for example `{key} = \"{example}\"`");
        place.wrong(TABLE, index, key, problem)
    };
    let capacity = raw.capacity.or(capacity).ok_or_else(|| missing("capacity", "4 TB"))?;
    let bandwidth = raw.bandwidth.or(bandwidth).ok_or_else(|| missing("bandwidth", "12 GB/s"))?;
    if capacity.get() <= 0.0 || bandwidth.get() <= 0.0 {
        return Err(place.wrong(TABLE, index, "bandwidth", "capacity and bandwidth must be more than 0"));
    }
    let name = raw.name.clone().or_else(|| raw.kind.clone()).unwrap_or_else(|| format!("tier {index}"));
    Ok(TierSpec {
        name,
        capacity,
        bandwidth,
        latency: raw.latency.unwrap_or(latency),
        shared: raw.shared.unwrap_or(pooled),
    })
}
