//! Collectives of strided groups on nested domains, from bandwidth and latency alone.

use crate::pricer::{Collective, Group};
use hardware::{Domain, DomainKind, System, Topology};
use units::{Bytes, Seconds};

/// One level of nesting as a collective sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Level {
    /// Ranks inside one domain of this level.
    ranks: f64,
    /// Bytes per second out of one rank.
    bandwidth: f64,
    /// Seconds per message.
    latency: f64,
    /// Whether the switch adds.
    reduces: bool,
    /// Whether a pair gets only its own link's share.
    mesh: bool,
}

/// The links of a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Fabric {
    levels: Vec<Level>,
    /// Ranks inside the widest domain below the scale-out network.
    scale_up: f64,
    host: f64,
}

/// Software part of a collective's latency per message on top of the link's own, and the share of the link rate that
/// library rings reach on large messages.
const LAUNCH: f64 = 6e-6;
const PER_MESSAGE: f64 = 1.5e-6;
const RING_SHARE: f64 = 0.82;

impl Fabric {
    /// The links of `system`.
    pub fn new(system: &System) -> Self {
        let levels = system.domains.iter().map(Level::new).collect();
        let host = system.host.link.as_ref().map_or(32e9, |fact| fact.value.get());
        let below = system.domains.iter().filter(|domain| domain.kind != DomainKind::Cluster);
        let scale_up = below.map(|domain| domain.ranks.map_or(f64::INFINITY, f64::from)).fold(1.0, f64::max);
        Self { levels, scale_up, host }
    }

    /// Whether `group` stays below the scale-out network.
    pub fn inside_scale_up(&self, group: Group) -> bool {
        f64::from(group.size) * f64::from(group.stride) <= self.scale_up
    }

    /// Duration of a collective, nothing else running.
    pub fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds {
        if group.size <= 1 || bytes.get() <= 0.0 {
            return Seconds::ZERO;
        }
        let size = f64::from(group.size);
        let mut inside = 1.0f64;
        let (mut wire, mut latency) = (0.0f64, LAUNCH);
        for level in &self.levels {
            let held = (level.ranks / f64::from(group.stride)).floor().clamp(1.0, size);
            let members = held / inside;
            if members <= 1.0 {
                continue;
            }
            wire = wire.max(level.wire(op, bytes.get(), inside, members, size));
            latency += level.latency_of(op, members);
            inside = held;
            if inside >= size {
                break;
            }
        }
        Seconds::new(wire + latency)
    }

    /// Duration of a message to the rank `stride` further.
    pub fn send(&self, bytes: Bytes, stride: u32) -> Seconds {
        let level = self.levels.iter().find(|level| level.ranks > f64::from(stride)).or(self.levels.last());
        level.map_or(Seconds::ZERO, |level| {
            let share = if level.mesh { 1.0 / (level.ranks - 1.0).max(1.0) } else { 1.0 };
            Seconds::new(bytes.get() / (level.bandwidth * share * RING_SHARE) + level.latency + LAUNCH)
        })
    }

    /// Duration of a transfer to or from the host.
    pub fn host_copy(&self, bytes: Bytes) -> Seconds {
        Seconds::new(bytes.get() / (self.host * RING_SHARE))
    }
}

impl Level {
    fn new(domain: &Domain) -> Self {
        let slimmed = match domain.topology {
            Topology::Clos { oversubscription } => oversubscription.max(1.0),
            _ => 1.0,
        };
        Self {
            ranks: domain.ranks.map_or(f64::INFINITY, f64::from),
            bandwidth: domain.bandwidth.value.get() / slimmed,
            latency: domain.latency.value.get(),
            reduces: matches!(domain.topology, Topology::Switch { in_network_reduction: true }),
            mesh: matches!(domain.topology, Topology::FullMesh),
        }
    }

    /// Time on the wire at this level when `inside` ranks below it each carry their part: rings over several levels are
    /// pipelined, so the slowest level sets the pace.
    fn wire(&self, op: Collective, bytes: f64, inside: f64, members: f64, size: f64) -> f64 {
        let share = (members - 1.0) / members;
        let volume = match op {
            Collective::AllReduce if self.reduces => 1.2 * share * bytes / inside,
            Collective::AllReduce => 2.0 * share * bytes / inside,
            Collective::AllGather | Collective::ReduceScatter => share * bytes / inside,
            Collective::AllToAll => bytes * (members - 1.0) * inside / size,
        };
        let links = if self.mesh { (members - 1.0) / (self.ranks - 1.0).max(1.0) } else { 1.0 };
        volume / (self.bandwidth * RING_SHARE * links.min(1.0))
    }

    /// Rings pay each step inside a node; between nodes libraries use trees.
    fn latency_of(&self, op: Collective, members: f64) -> f64 {
        let steps = if members <= 8.0 { members - 1.0 } else { 7.0 + (members / 8.0).log2().max(0.0) };
        let rounds = if op == Collective::AllReduce { 2.0 } else { 1.0 };
        rounds * steps * (self.latency + PER_MESSAGE)
    }
}
