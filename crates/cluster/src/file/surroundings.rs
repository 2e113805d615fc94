//! What surrounds the jobs of a file: power, failures, shared links, maintenance.

use super::raw::Raw;
use super::resolve::Machine;
use super::{ClusterError, Place};
use crate::driver::{Faults, Options};
use crate::tree::{NodeId, Tree};

/// What surrounds the jobs.
///
/// # Errors
/// A value that makes no sense on this machine.
pub(super) fn options(
    raw: &Raw,
    place: &Place,
    machine: &Machine,
    tree: &Tree,
) -> Result<Options, ClusterError> {
    let cluster = &raw.cluster;
    let busy_power = cluster.busy_power.map_or(machine.busy_power, units::Watts::get);
    let idle_power = cluster.idle_power.map_or(machine.idle_power, units::Watts::get);
    if busy_power < idle_power {
        let key = if cluster.busy_power.is_some() { "busy_power" } else { "idle_power" };
        let problem = format!(
            "a chip at work draws {} and an idle one {}",
            units::Watts::new(busy_power),
            units::Watts::new(idle_power)
        );
        return Err(place.wrong("cluster", 0, key, problem));
    }
    let power_chips = power_chips(raw, place, tree, (busy_power, idle_power))?;
    let level = |name: &str| raw.cluster.level.iter().find(|level| level.name == name);
    let levels = tree.levels();
    let per_domain: Vec<f64> = levels
        .iter()
        .map(|found| {
            level(&found.name).and_then(|level| level.failure_rate).map_or(0.0, units::PerSecond::get)
        })
        .collect();
    let per_chip =
        cluster.failure_rate.map(units::PerSecond::get).or(cluster.failures.then_some(machine.failure_rate));
    let repair = cluster.repair.map_or(machine.repair, units::Seconds::get);
    let faults = (per_chip.is_some() || per_domain.iter().any(|rate| *rate > 0.0)).then(|| Faults {
        per_chip: per_chip.unwrap_or(0.0),
        per_domain,
        repair,
    });
    let uplinks: Vec<Option<f64>> = levels
        .iter()
        .map(|found| level(&found.name).and_then(|level| level.uplink).map(units::BytesPerSecond::get))
        .collect();
    let uplinks = if uplinks.iter().all(Option::is_none) { Vec::new() } else { uplinks };
    let maintenance = maintenance(raw, place, tree)?;
    let until = raw.until.map(units::Seconds::get);
    Ok(Options {
        until,
        busy_power,
        idle_power,
        faults,
        maintenance,
        power_chips,
        uplinks,
        seed: raw.seed,
        ..Options::default()
    })
}

/// Nodes in maintenance: from when until when.
fn maintenance(raw: &Raw, place: &Place, tree: &Tree) -> Result<Vec<(NodeId, f64, f64)>, ClusterError> {
    let mut maintenance = Vec::new();
    for (index, window) in raw.maintenance.iter().enumerate() {
        for node in nodes(&window.nodes, tree)
            .map_err(|problem| place.wrong("maintenance", index, "nodes", problem))?
        {
            maintenance.push((node, window.at.get(), window.at.get() + window.length.get()));
        }
    }
    Ok(maintenance)
}

/// How many chips may work under the power cap.
fn power_chips(
    raw: &Raw,
    place: &Place,
    tree: &Tree,
    (busy_power, idle_power): (f64, f64),
) -> Result<Option<u32>, ClusterError> {
    let mut power_chips = None;
    if let Some(cap) = raw.cluster.power_cap {
        let idle = f64::from(tree.chips()) * idle_power;
        let chips = (cap.get() - idle) / (busy_power - idle_power).max(1e-9);
        if chips < 1.0 {
            let problem = format!("all chips idle draw {} already", units::Watts::new(idle));
            return Err(place.wrong("cluster", 0, "power_cap", problem));
        }
        power_chips = Some(chips.min(f64::from(tree.chips())) as u32);
    }
    Ok(power_chips)
}

/// Nodes by number: `3`, `0-7` or both with commas.
fn nodes(text: &str, tree: &Tree) -> Result<Vec<NodeId>, String> {
    let mut found = Vec::new();
    for part in text.split(',').map(str::trim) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| {
            text.trim().parse::<u32>().map_err(|_| format!("`{part}` is no node; write numbers such as 0-7"))
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last || last >= tree.nodes() {
            return Err(format!("there is no node `{part}`; the cluster has nodes 0-{}", tree.nodes() - 1));
        }
        found.extend((first..=last).map(NodeId));
    }
    Ok(found)
}
