//! Failures of a scenario: those it gives, and those drawn by rate.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::raw::{Raw, RawFailures, RawFault};
use crate::resolve::PoolInfo;
use hardware::{Catalog, DomainKind};
use rand::Rng;
use serving::{ClusterConfig, InstanceId};
use sim::faults::{Fault, FaultKind};
use std::collections::BTreeMap;
use training::goodput::Reliability;
use units::{PerSecond, Seconds};
use workload::random::{Stream, stream};

/// Ranks of a node where the system does not say.
const USUAL_NODE: u32 = 8;

/// Failures drawn at most; more is a rate that makes no sense.
const MOST_FAILURES: usize = 1_000_000;

/// Where an instance of the start is: ranks of its system, packed in the order of pools.
struct Seat<'a> {
    pool: &'a PoolInfo,
    first: u32,
    ranks: u32,
    node: u32,
}

impl Seat<'_> {
    fn nodes(&self) -> std::ops::RangeInclusive<u32> {
        self.first / self.node..=(self.first + self.ranks - 1) / self.node
    }

    /// Ranks of the instance that are on a node.
    fn on(&self, node: u32) -> u32 {
        let (start, end) = (node * self.node, (node + 1) * self.node);
        (self.first + self.ranks).min(end).saturating_sub(self.first.max(start))
    }

    fn same_system(&self, other: &Seat) -> bool {
        self.pool.model.deployment().system.id == other.pool.model.deployment().system.id
    }

    /// Attention ranks that go with so many ranks of the device.
    fn attention(&self, ranks: u32) -> u32 {
        ranks.div_ceil(self.pool.model.deployment().layout.tp.max(1)).max(1)
    }
}

fn seats<'a>(config: &ClusterConfig, pools: &'a [PoolInfo]) -> Vec<Seat<'a>> {
    let counts =
        config.deployments.iter().flat_map(|deployment| &deployment.pools).map(|pool| pool.instances);
    let mut next: BTreeMap<&str, u32> = BTreeMap::new();
    let mut seats = Vec::new();
    for (pool, count) in pools.iter().zip(counts) {
        let deployment = pool.model.deployment();
        let node = deployment.system.domain(DomainKind::Node).and_then(|domain| domain.ranks);
        let (node, ranks) = (node.unwrap_or(USUAL_NODE).max(1), deployment.layout.ranks());
        for _ in 0..count {
            let at = next.entry(deployment.system.id.as_str()).or_default();
            // An instance that fits a node is not spread over two.
            if ranks > node - *at % node && *at % node > 0 {
                *at += node - *at % node;
            }
            seats.push(Seat { pool, first: *at, ranks, node });
            *at += ranks;
        }
    }
    seats
}

/// Everything that fails and is mended, in the order of time.
pub(crate) fn faults(
    raw: &Raw,
    place: &Place,
    config: &ClusterConfig,
    pools: &[PoolInfo],
    catalog: &Catalog,
) -> Result<Vec<Fault>, ScenarioError> {
    let seats = seats(config, pools);
    let mut faults = Vec::new();
    for (index, fault) in raw.fault.iter().enumerate() {
        given(fault, index, place, &seats, &mut faults)?;
    }
    if let Some(rates) = &raw.failures {
        drawn(raw, rates, place, &seats, catalog, &mut faults)?;
    }
    faults.sort_by(|a, b| a.at.get().total_cmp(&b.at.get()));
    Ok(faults)
}

/// A failure that the scenario gives, and its repair.
fn given(
    raw: &RawFault,
    index: usize,
    place: &Place,
    seats: &[Seat],
    faults: &mut Vec<Fault>,
) -> Result<(), ScenarioError> {
    let wrong = |key: &str, problem: String| place.wrong("fault", index, key, problem);
    let named = || [raw.instance].into_iter().chain(raw.also.iter().copied());
    if let Some(unknown) = named().find(|instance| *instance as usize >= seats.len()) {
        let problem = format!("there is no instance {unknown}; the scenario starts with {}", seats.len());
        return Err(wrong("instance", problem));
    }
    let left = raw.left.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&left) {
        return Err(wrong("left", format!("{left} is not a share between 0 and 1")));
    }
    let mends = raw.repair.map(|after| raw.at + after);
    let hit: Vec<u32> = named().collect();
    let node = *seats[raw.instance as usize].nodes().start();
    match raw.kind.as_str() {
        "chip" => {
            for instance in hit {
                let seat = &seats[instance as usize];
                fail(
                    instance,
                    seat.attention(seat.pool.model.deployment().chip.ranks),
                    raw.at,
                    mends,
                    faults,
                );
            }
        }
        "node" => {
            for (instance, ranks) in on_node(seats, raw.instance, node, &hit) {
                fail(instance, seats[instance as usize].attention(ranks), raw.at, mends, faults);
            }
        }
        "instance" => hit.into_iter().for_each(|instance| fail(instance, u32::MAX, raw.at, mends, faults)),
        "link" => slow(hit, left, raw.at, mends, faults),
        "switch" => {
            let hit = on_node(seats, raw.instance, node, &hit).into_iter().map(|(instance, _)| instance);
            slow(hit.collect(), left, raw.at, mends, faults);
        }
        other => {
            let problem = format!("`{other}` is not known; use one of chip, node, instance, link, switch");
            return Err(wrong("kind", problem));
        }
    }
    Ok(())
}

/// Instances with ranks on a node of the system that instance `of` is in, with those named beside, and how many ranks.
fn on_node(seats: &[Seat], of: u32, node: u32, named: &[u32]) -> Vec<(u32, u32)> {
    let here = &seats[of as usize];
    let each = seats.iter().enumerate().map(|(index, seat)| (index as u32, seat));
    each.filter_map(|(index, seat)| {
        let ranks = if seat.same_system(here) { seat.on(node) } else { 0 };
        let named = if named.contains(&index) { seat.ranks.min(seat.node) } else { 0 };
        (ranks.max(named) > 0).then_some((index, ranks.max(named)))
    })
    .collect()
}

fn fail(instance: u32, ranks: u32, at: Seconds, mends: Option<Seconds>, faults: &mut Vec<Fault>) {
    let instance = InstanceId(instance);
    faults.push(Fault { at, kind: FaultKind::Fail { instance, ranks, repairable: mends.is_some() } });
    faults.extend(mends.map(|at| Fault { at, kind: FaultKind::Repair { instance } }));
}

fn slow(instances: Vec<u32>, left: f64, at: Seconds, mends: Option<Seconds>, faults: &mut Vec<Fault>) {
    let instances: Vec<InstanceId> = instances.into_iter().map(InstanceId).collect();
    faults.push(Fault { at, kind: FaultKind::Links { instances: instances.clone(), share: left } });
    faults.extend(mends.map(|at| Fault { at, kind: FaultKind::Links { instances, share: 1.0 } }));
}

/// What can break by rate.
#[derive(Clone, Copy)]
enum Part {
    Chip,
    Node,
    Link,
    Switch,
}

/// Failures drawn by rate, part by part.
fn drawn(
    raw: &Raw,
    rates: &RawFailures,
    place: &Place,
    seats: &[Seat],
    catalog: &Catalog,
    faults: &mut Vec<Fault>,
) -> Result<(), ScenarioError> {
    let wrong = |key: &str, problem: String| place.wrong("failures", 0, key, problem);
    let text = catalog.text("failures", "default").map_err(|error| wrong("scale", error.to_string()))?;
    let known = Reliability::parse(text).map_err(|error| wrong("scale", error.to_string()))?;
    let horizon = rates.horizon.or(raw.until).ok_or_else(|| {
        wrong(
            "horizon",
            "is needed where the scenario has no `until`; say up to when failures are drawn".to_owned(),
        )
    })?;
    let times = [rates.chip_mtbf, rates.node_mtbf, rates.link_mtbf, rates.switch_mtbf, rates.repair];
    if times.into_iter().flatten().any(|time| time <= Seconds::ZERO) {
        return Err(wrong("chip_mtbf", "times must be more than 0".to_owned()));
    }
    let (scale, left) = (rates.scale.unwrap_or(1.0), rates.left.unwrap_or(0.5));
    if !scale.is_finite() || scale < 0.0 || !(0.0..=1.0).contains(&left) {
        return Err(wrong("scale", "must not be negative, and `left` between 0 and 1".to_owned()));
    }
    let repair = rates.repair.unwrap_or(known.repair);
    let mut random = stream(raw.seed, "failures");
    for (index, seat) in seats.iter().enumerate() {
        let own = known.rates_for(&seat.pool.model.deployment().chip.family);
        let per = |mtbf: Option<Seconds>, usual: PerSecond| mtbf.map_or(usual.get(), |time| 1.0 / time.get());
        let (chips, nodes) = (seat.pool.chips, f64::from(seat.ranks) / f64::from(seat.node));
        let chips_per_node = chips / nodes;
        let parts = [
            (Part::Chip, per(rates.chip_mtbf, own.chip) * chips),
            (Part::Node, per(rates.node_mtbf, (own.host + own.software) * chips_per_node) * nodes),
            (Part::Link, per(rates.link_mtbf, own.network) * chips),
            (Part::Switch, per(rates.switch_mtbf, PerSecond::ZERO) * nodes),
        ];
        for (part, rate) in parts {
            for (at, mends) in breaks(&mut random, rate * scale, repair, horizon) {
                if faults.len() >= MOST_FAILURES {
                    return Err(wrong(
                        "scale",
                        format!("draws more than {MOST_FAILURES} failures; lower it"),
                    ));
                }
                broken(part, index as u32, (at, mends), left, seats, faults);
            }
        }
    }
    Ok(())
}

/// Times of failures and repairs of parts that fail at `rate` together, one after the other.
fn breaks(random: &mut Stream, rate: f64, repair: Seconds, horizon: Seconds) -> Vec<(Seconds, Seconds)> {
    let mut times = Vec::new();
    if rate <= 0.0 {
        return times;
    }
    let mut draw = |mean: Seconds| mean * -(1.0 - random.random::<f64>()).ln();
    let mut at = draw(Seconds::new(1.0 / rate));
    while at < horizon && times.len() <= MOST_FAILURES {
        let mends = at + draw(repair);
        times.push((at, mends));
        at = mends + draw(Seconds::new(1.0 / rate));
    }
    times
}

fn broken(
    part: Part,
    instance: u32,
    (at, mends): (Seconds, Seconds),
    left: f64,
    seats: &[Seat],
    faults: &mut Vec<Fault>,
) {
    let seat = &seats[instance as usize];
    let node = *seat.nodes().start();
    match part {
        Part::Chip => {
            let ranks = seat.attention(seat.pool.model.deployment().chip.ranks);
            fail(instance, ranks, at, Some(mends), faults);
        }
        Part::Node => {
            for (hit, ranks) in on_node(seats, instance, node, &[]) {
                fail(hit, seats[hit as usize].attention(ranks), at, Some(mends), faults);
            }
        }
        Part::Link => slow(vec![instance], left, at, Some(mends), faults),
        Part::Switch => {
            let hit = on_node(seats, instance, node, &[]).into_iter().map(|(hit, _)| hit).collect();
            slow(hit, left, at, Some(mends), faults);
        }
    }
}
