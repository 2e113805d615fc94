//! The form of one collective on one flat group: a minimum over protocols, each linear in the bytes.
//!
//! A group of `n` ranks moves `S` bytes over links of `B` bytes/s per rank and direction. With
//! `latency = start + step * steps(n)` and `w` the bytes one rank sends ([`Collective::wire`]), the protocols are
//!
//! ```text
//! low latency  latency + w / (low * growth(n) * B)                    flags travel with the data (LL, LL128, AIV)
//! direct       latency + (n-1) S / (direct * B)                       one-shot: every rank reads all peers' buffers
//! bandwidth    latency' + high_start + w / (high * growth(n) * B)     large chunks, pipelined (Simple, two-shot)
//! in-network   latency + network_start + S / (network * B)            the switch reduces, all-reduce only
//! ```
//!
//! and the library takes the quickest. `growth(n) = growth^(log2(n/8))` is what doubling the ranks does to the
//! bandwidth of each: a little more on NVLink (more channels), a fraction on PCIe (shared paths through the host).
//! Low latency and direct protocols may stage through buffers of limited size, `chunk` bytes per peer, `far_chunk` where
//! the group leaves its node: a choice of the library and no coefficient of the link. A message that overfills the buffers
//! goes in as many rounds as it fills them, each with the latency of its own, so that the time has no step in it.
//! The two-protocol alpha-beta model is that of Thakur, Rabenseifner and Gropp, "Optimization of Collective
//! Communication Operations in MPICH" (2005), with NCCL's protocols.

use crate::kernels::ParamSpec;
use std::collections::BTreeMap;

/// A collective with coefficients of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Collective {
    /// Sum of `S` bytes on each rank, left on all of them.
    AllReduce,
    /// `S` bytes in total, an equal share from each rank, gathered on all of them.
    AllGather,
    /// Sum of `S` bytes on each rank, an equal share left on each.
    ReduceScatter,
    /// `S` bytes on each rank, an equal share to each rank.
    AllToAll,
}

impl Collective {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::AllReduce, Self::AllGather, Self::ReduceScatter, Self::AllToAll];

    /// Its name in link files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AllReduce => "all_reduce",
            Self::AllGather => "all_gather",
            Self::ReduceScatter => "reduce_scatter",
            Self::AllToAll => "all_to_all",
        }
    }

    /// The one of that name; measurement tables also write `alltoall`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "alltoall" { "all_to_all" } else { name };
        Self::ALL.into_iter().find(|collective| collective.name() == name)
    }

    /// Bytes that one of `ranks` ranks sends for `bytes` bytes of message: `2(n-1)/n S` for an all-reduce, `(n-1)/n S`
    /// for the others (the convention of nccl-tests' bus bandwidth).
    pub fn wire(self, ranks: f64, bytes: f64) -> f64 {
        let share = (ranks - 1.0) / ranks * bytes;
        if self == Self::AllReduce { 2.0 * share } else { share }
    }
}

/// Ranks at which the efficiencies are stated; `growth` scales from here.
const REFERENCE_RANKS: f64 = 8.0;

const fn spec(
    name: &'static str,
    unit: &'static str,
    meaning: &'static str,
    range: [f64; 2],
    prior: f64,
    sd: f64,
) -> ParamSpec {
    ParamSpec::new(name, unit, meaning, range[0], range[1], prior, sd)
}

/// Bytes per peer that the buffers of the low-latency protocol hold.
pub const CHUNK: &str = "chunk";
/// The same for groups over several nodes.
pub const FAR_CHUNK: &str = "far_chunk";

/// Share of a fitted latency that software alone accounts for: a quicker link cannot save more than the rest.
const LEAST_LATENCY: f64 = 0.2;

/// Coefficients of collectives. Priors are medians over the measured NVLink sets.
pub const COLLECTIVE_PARAMS: [ParamSpec; 10] = [
    spec("start", "s", "launch and first synchronisation", [3e-7, 3e-4], 6e-6, 1.0),
    spec("step", "s", "one more peer to synchronise with", [1e-9, 3e-5], 6e-7, 1.2),
    spec("low", "", "share of bandwidth of the low-latency protocol", [0.003, 1.0], 0.3, 0.7),
    spec("direct", "", "share of bandwidth reading every peer's whole buffer", [0.01, 1.5], 0.6, 0.7),
    spec("high_start", "s", "extra latency of the bandwidth protocol", [1e-8, 5e-4], 1.5e-5, 1.0),
    spec("high_step", "s", "one more peer in the bandwidth protocol", [1e-9, 1e-4], 5e-6, 1.2),
    spec("high", "", "share of bandwidth of the bandwidth protocol", [0.01, 1.0], 0.72, 0.12),
    spec("growth", "", "bandwidth per rank after doubling the ranks", [0.2, 1.4], 1.08, 0.15),
    spec("network_start", "s", "extra latency of reducing in the switch", [1e-8, 2e-4], 2e-5, 1.0),
    spec("network", "", "share of bandwidth when the switch reduces", [0.1, 1.0], 0.55, 0.15),
];

/// Where a flat group sits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    /// Ranks of the group; not a whole number where a placement is uneven.
    pub ranks: f64,
    /// Bytes/s that one rank can send into the domain.
    pub bandwidth: f64,
    /// Seconds a first byte takes beyond what it took where the coefficients were measured.
    pub extra_latency: f64,
    /// Whether the switch reduces.
    pub in_network: bool,
    /// Whether the ranks are in several nodes.
    pub far: bool,
}

/// Coefficients of one collective of one library on one class of link; see the module for their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CollectiveForm {
    start: f64,
    step: f64,
    low: Option<f64>,
    direct: Option<f64>,
    high_start: f64,
    high_step: Option<f64>,
    high: Option<f64>,
    growth: Option<f64>,
    network_start: f64,
    network: Option<f64>,
    chunk: Option<f64>,
    far_chunk: Option<f64>,
    /// Largest group measured; beyond it synchronisation is taken to go in trees.
    most_ranks: f64,
}

impl CollectiveForm {
    /// From coefficients by name; one that is absent switches its term off.
    pub fn new(params: &BTreeMap<String, f64>, most_ranks: f64) -> Self {
        let get = |name: &str| params.get(name).copied();
        let or_zero = |name: &str| get(name).unwrap_or(0.0);
        Self {
            start: or_zero("start"),
            step: or_zero("step"),
            low: get("low"),
            direct: get("direct"),
            high_start: or_zero("high_start"),
            high_step: get("high_step"),
            high: get("high"),
            growth: get("growth"),
            network_start: or_zero("network_start"),
            network: get("network"),
            chunk: get(CHUNK),
            far_chunk: get(FAR_CHUNK).or(get(CHUNK)),
            most_ranks,
        }
    }

    /// Steps of synchronisation: a ring or mesh of `n - 1` as measured, a logarithmic tree over such rings beyond.
    fn steps(&self, ranks: f64) -> f64 {
        let most = self.most_ranks.max(2.0);
        if ranks <= most { ranks - 1.0 } else { (most - 1.0) * (1.0 + (ranks / most).log2()) }
    }

    /// Seconds for `bytes` of message.
    pub fn time(&self, collective: Collective, bytes: f64, place: &Place) -> f64 {
        let Place { ranks, bandwidth, .. } = *place;
        let steps = self.steps(ranks);
        let later = |seconds: f64| (seconds + place.extra_latency).max(LEAST_LATENCY * seconds);
        let start = later(self.start);
        let latency = start + later(self.step) * steps;
        let growth = self.growth.map_or(1.0, |growth| {
            growth.powf((ranks.min(self.most_ranks.max(REFERENCE_RANKS)) / REFERENCE_RANKS).log2())
        });
        let wire = collective.wire(ranks, bytes);
        let over = |efficiency: f64| wire / (efficiency.min(1.0) * bandwidth);
        let mut best = f64::INFINITY;
        let chunk = if place.far { self.far_chunk } else { self.chunk };
        let rounds = chunk.map_or(1.0, |chunk| (bytes / ranks / chunk).max(1.0));
        if let Some(low) = self.low {
            best = best.min(rounds * latency + over(low * growth));
        }
        if let Some(direct) = self.direct {
            best = best.min(rounds * latency + (ranks - 1.0) * bytes / (direct * bandwidth));
        }
        if let Some(high) = self.high {
            let latency = self.high_step.map_or(latency, |step| start + later(step) * steps);
            best = best.min(latency + self.high_start + over(high * growth));
        }
        if let (Some(network), true, Collective::AllReduce) = (self.network, place.in_network, collective) {
            best = best.min(latency + self.network_start + bytes / (network * bandwidth));
        }
        best
    }
}
