//! Tiers of the scale-out network beyond one pod, and chips that are not all alike.
//!
//! A pod has full bisection: any rank talks to any other at the rate of its port. What joins pods, and buildings, is slimmer and
//! longer. A step waits for its slowest chip, and the more there are the slower that one is.

use crate::error::JobError;
use crate::pricer::{Collective, Exchange, Group, Pricer};
use cost::ops::{AttentionPrefill, Gemm};
use hardware::Grade;
use serde::Deserialize;
use units::{Bytes, Dtype, Flop, Seconds};

/// What joins more chips than `above`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Its name.
    pub name: String,
    /// Packages that are joined below it.
    pub above: u32,
    /// Bandwidth of all ports below over that of the links upwards.
    pub oversubscription: f64,
    /// Latency of a crossing, beyond that of the network below.
    pub latency: Seconds,
    /// Where that comes from.
    pub source: String,
    /// How good the evidence is.
    pub grade: Grade,
}

/// A network larger than one pod; the catalog's `networks/default.toml`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tiers {
    /// Spread of the speed of chips of one kind, as a standard deviation over the mean.
    pub spread: f64,
    /// Where that comes from.
    pub spread_source: String,
    /// Chips up to which the wait for the slowest is part of what frameworks' coefficients were fitted on.
    pub alike: u32,
    /// How good the evidence for the spread is.
    pub grade: Grade,
    /// Tiers from the inside out.
    #[serde(rename = "tier", default)]
    pub tiers: Vec<Tier>,
}

impl Tiers {
    /// One flat network of chips that are all alike.
    pub fn flat() -> Self {
        Self {
            spread: 0.0,
            spread_source: "none".to_owned(),
            alike: 1,
            grade: Grade::Assumed,
            tiers: Vec::new(),
        }
    }

    /// Reads the catalog's file.
    ///
    /// # Errors
    /// It is no TOML of this shape, or its tiers do not grow and slim outwards.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        let bad = |why: String| JobError::Value { key: "networks/default.toml".to_owned(), why };
        let tiers: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        if !(0.0..0.2).contains(&tiers.spread) || tiers.alike == 0 {
            return Err(bad("`spread` is 0 to 0.2 and `alike` at least 1".to_owned()));
        }
        let mut inner = (0, 1.0);
        for tier in &tiers.tiers {
            let slimmer = tier.oversubscription.is_finite() && tier.oversubscription >= inner.1;
            if tier.above <= inner.0
                || !slimmer
                || tier.latency.get().is_nan()
                || tier.latency < Seconds::ZERO
            {
                return Err(bad(format!(
                    "tier `{}` must be larger and no faster than those below it",
                    tier.name
                )));
            }
            inner = (tier.above, tier.oversubscription);
        }
        Ok(tiers)
    }

    /// What a step of `chips` packages takes longer than one of [`Tiers::alike`], as a share: the expected maximum of so many
    /// normal deviates grows with the root of twice their logarithm.
    pub fn straggling(&self, chips: f64) -> f64 {
        let slowest = |count: f64| (2.0 * count.max(1.0).ln()).sqrt();
        self.spread * (slowest(chips) - slowest(f64::from(self.alike))).max(0.0)
    }
}

/// Prices of a flat network, those of groups beyond a pod made longer.
pub struct Tiered<P> {
    flat: P,
    tiers: Tiers,
    /// Ranks of a package.
    ranks: f64,
}

impl<P: Pricer> Tiered<P> {
    /// `flat` joined by `tiers`; a package has `ranks` ranks.
    pub fn new(flat: P, tiers: Tiers, ranks: u32) -> Self {
        Self { flat, tiers, ranks: f64::from(ranks.max(1)) }
    }

    /// Factor of the time on the wire, and latency of one crossing, of `group` under `op`.
    ///
    /// A ring enters and leaves each pod once, so that a pod's uplinks carry one member's rate for each of its groups: with as
    /// many members in a pod as ports share an uplink nothing is lost. All-to-all sends most of its bytes across.
    fn crossing(&self, op: Collective, group: Group) -> (f64, Seconds) {
        let (size, stride) = (f64::from(group.size), f64::from(group.stride));
        let (mut factor, mut latency) = (1.0f64, Seconds::ZERO);
        for tier in &self.tiers.tiers {
            let below = f64::from(tier.above) * self.ranks;
            if size * stride <= below {
                break;
            }
            let members = (below / stride).clamp(1.0, size);
            let shared = match op {
                Collective::AllToAll => tier.oversubscription * (1.0 - members / size),
                _ => tier.oversubscription / members,
            };
            factor = factor.max(shared);
            latency += tier.latency * (size / members).log2().max(1.0);
        }
        (factor, latency)
    }
}

impl<P: Pricer> Pricer for Tiered<P> {
    fn gemm(&self, op: Gemm, dtype: Dtype) -> Seconds {
        self.flat.gemm(op, dtype)
    }

    fn attention(&self, op: AttentionPrefill) -> Seconds {
        self.flat.attention(op)
    }

    fn vector(&self, flop: Flop) -> Seconds {
        self.flat.vector(flop)
    }

    fn stream(&self, bytes: Bytes) -> Seconds {
        self.flat.stream(bytes)
    }

    fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds {
        let time = self.flat.collective(op, bytes, group);
        if time <= Seconds::ZERO || self.flat.inside_scale_up(group) {
            return time;
        }
        let (factor, latency) = self.crossing(op, group);
        let rounds = if op == Collective::AllReduce { 2.0 } else { 1.0 };
        time * factor + latency * rounds
    }

    fn inside_scale_up(&self, group: Group) -> bool {
        self.flat.inside_scale_up(group)
    }

    fn exchange(&self, op: &Exchange) -> Seconds {
        let time = self.flat.exchange(op);
        if time <= Seconds::ZERO || self.flat.inside_scale_up(op.group) {
            return time;
        }
        let (factor, latency) = self.crossing(Collective::AllToAll, op.group);
        time * factor + latency * 2.0
    }

    fn send(&self, bytes: Bytes, stride: u32) -> Seconds {
        let time = self.flat.send(bytes, stride);
        if self.flat.inside_scale_up(Group::new(2, stride)) {
            return time;
        }
        // Of the pairs of neighbours so far apart, the share that lies on both sides of a boundary takes a crossing.
        let (mut factor, mut latency) = (1.0f64, Seconds::ZERO);
        for tier in &self.tiers.tiers {
            let across = (f64::from(stride) / (f64::from(tier.above) * self.ranks)).min(1.0);
            let slowed = (tier.oversubscription * across).max(1.0);
            factor = factor.max(1.0 + (slowed - 1.0) * across);
            latency += tier.latency * across;
        }
        time * factor + latency
    }

    fn host_copy(&self, bytes: Bytes) -> Seconds {
        self.flat.host_copy(bytes)
    }

    fn straggling(&self, chips: f64) -> f64 {
        self.tiers.straggling(chips)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Tiers {
        Tiers::parse(include_str!("../../../catalog/networks/default.toml")).expect("the catalog's own file")
    }

    #[test]
    fn the_slowest_of_more_chips_is_slower() {
        let tiers = tiers();
        assert!(tiers.straggling(512.0) <= 0.0);
        let (some, many) = (tiers.straggling(16_384.0), tiers.straggling(98_304.0));
        assert!(0.0 < some && some < many && many < 0.05, "{some} {many}");
    }

    #[test]
    fn outer_tiers_are_no_faster() {
        let swapped = include_str!("../../../catalog/networks/default.toml").replace("24576", "1024");
        assert!(Tiers::parse(&swapped).is_err());
    }
}
