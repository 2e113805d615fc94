//! What a deployment is worth, which of two is better, and the front of those that nothing beats.

use super::job::Objective;
use super::kinds::Kind;
use estimate::economics::{Ownership, Site};
use units::Watts;

/// Instances of one kind at one operating point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Side {
    pub kind: Kind,
    pub drafts: u32,
    pub budget: u32,
    /// Sequences per rank that decode; 0 for prefill.
    pub batch: u32,
    pub instances: u32,
}

/// A deployment: one pool, or prefill and decode.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    Aggregated(Side),
    Disaggregated(Side, Side),
}

/// What deployments are alike in of which only the best is listed: systems and ranks of a stage of their instances.
pub(super) type Class = [(usize, u32); 2];

impl Shape {
    pub fn class(&self) -> Class {
        let of = |side: &Side| (side.kind.ground, side.kind.stage());
        match self {
            Self::Aggregated(side) => [of(side), (usize::MAX, 0)],
            Self::Disaggregated(prefill, decode) => [of(prefill), of(decode)],
        }
    }

    pub fn is_aggregated(&self) -> bool {
        matches!(self, Self::Aggregated(_))
    }
}

/// What a deployment does and takes; what is unknown is not a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worth {
    /// Requests per second.
    pub rate: f64,
    /// Seconds per output token.
    pub tpot: f64,
    /// Packages.
    pub chips: f64,
    /// Watts.
    pub power: f64,
    /// Dollars per hour.
    pub money: f64,
}

/// A deployment and its worth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub shape: Shape,
    pub worth: Worth,
}

/// Dollars per hour of `chips` packages that draw `power` watts; not a number where nothing has a price.
pub(super) fn money(site: &Site, ownership: Option<Ownership>, chips: f64, power: f64) -> f64 {
    ownership.map_or(f64::NAN, |ownership| ownership.running(site, chips, Watts::new(power)).get())
}

/// What packages of one system cost, which is linear in their number and in what they draw: found once, asked for every
/// deployment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hourly {
    /// Dollars per hour of a package.
    chip: f64,
    /// Of a watt.
    watt: f64,
}

impl Hourly {
    pub fn new(site: &Site, ownership: Option<Ownership>) -> Self {
        let chip = money(site, ownership, 1.0, 0.0);
        Self { chip, watt: money(site, ownership, 1.0, 1.0) - chip }
    }

    /// Dollars per hour of `chips` packages that draw `power` watts.
    pub fn of(&self, chips: f64, power: f64) -> f64 {
        // Where watts cost nothing, as they do for whoever rents, it does not matter that nobody knows them.
        chips * self.chip + if self.watt == 0.0 { 0.0 } else { power * self.watt }
    }
}

/// Says which of two deployments is better.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judge {
    pub objective: Objective,
    /// Requests per second that must be reached.
    pub target: Option<f64>,
    /// Chips at hand, idle ones included; of those used if there is a target.
    pub available: f64,
    /// Watts that a deployment may draw.
    pub power: Option<f64>,
}

impl Judge {
    /// Whether a deployment keeps to the power budget; one whose power nobody knows does not.
    pub fn affords(&self, worth: &Worth) -> bool {
        self.power.is_none_or(|budget| worth.rate > 0.0 && worth.power <= budget)
    }

    /// Requests per second of `most` that the power budget allows to instances that idle at `idle` watts and take `above` joules
    /// more per request: fewer are let in where it does not stretch to all. A load that is asked for is served whole or not at all.
    pub(super) fn within_power(&self, most: f64, idle: f64, above: f64) -> f64 {
        match self.power {
            // Rounding must not carry the power above the budget.
            Some(budget) if self.target.is_none() && idle + most * above > budget => {
                ((budget - idle) / above * (1.0 - 1e-12)).max(0.0)
            }
            _ => most,
        }
    }

    /// Larger is better.
    pub fn score(&self, worth: &Worth) -> f64 {
        let served = self.target.map_or(worth.rate, |_| 1.0);
        match (self.objective, self.target) {
            (Objective::Throughput, None) => worth.rate / self.available,
            (Objective::Throughput | Objective::Chips, _) => -worth.chips,
            (Objective::Cost, _) => -worth.money / served,
            (Objective::Energy, _) => -worth.power / served,
        }
    }

    /// Requests per second and chip.
    pub fn density(&self, worth: &Worth) -> f64 {
        worth.rate / if self.target.is_some() { worth.chips } else { self.available }
    }

    /// Whether `a` is to be preferred to `b`: by the objective, then by rate, chips and time per token.
    pub fn prefers(&self, a: &Worth, b: &Worth) -> bool {
        let key = |worth: &Worth| [self.score(worth), self.density(worth), -worth.chips, -worth.tpot];
        let (a, b) = (key(a), key(b));
        a.iter().zip(&b).map(|(a, b)| a.total_cmp(b)).find(|order| order.is_ne()).is_some_and(|o| o.is_gt())
    }
}

/// Deployments that no other beats in both speed for the user and density: speed falls, density rises.
#[derive(Debug, Clone)]
pub(super) struct Front<T> {
    points: Vec<(f64, f64, T)>,
}

impl<T> Default for Front<T> {
    fn default() -> Self {
        Self { points: Vec::new() }
    }
}

impl<T> Front<T> {
    /// Whether something in it is at least as good in both.
    pub fn beats(&self, speed: f64, density: f64) -> bool {
        let faster = self.points.partition_point(|point| point.0 >= speed);
        faster > 0 && self.points[faster - 1].1 >= density
    }

    /// Takes a point in unless it is beaten, and those out that it beats.
    pub fn offer(&mut self, speed: f64, density: f64, what: impl FnOnce() -> T) {
        if !speed.is_finite() || !density.is_finite() || self.beats(speed, density) {
            return;
        }
        let from = self.points.partition_point(|point| point.0 > speed);
        let beaten = self.points[from..].iter().take_while(|point| point.1 <= density).count();
        self.points.splice(from..from + beaten, [(speed, density, what())]);
    }

    /// Everything of another front.
    pub fn merge(&mut self, other: Self) {
        for (speed, density, what) in other.points {
            self.offer(speed, density, || what);
        }
    }

    pub fn points(&self) -> &[(f64, f64, T)] {
        &self.points
    }
}

#[cfg(test)]
mod tests {
    use super::Front;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_front_holds_what_nothing_beats(points in proptest::collection::vec((1_u8..20, 1_u8..20), 1..60)) {
            let mut front = Front::default();
            for (speed, density) in &points {
                front.offer(f64::from(*speed), f64::from(*density), || ());
            }
            let beaten = |(speed, density): &(u8, u8)| {
                points.iter().any(|(s, d)| s >= speed && d >= density && (s, d) != (speed, density))
            };
            let mut expected: Vec<(f64, f64)> = points
                .iter()
                .filter(|point| !beaten(point))
                .map(|(speed, density)| (f64::from(*speed), f64::from(*density)))
                .collect();
            expected.sort_by(|a, b| b.0.total_cmp(&a.0));
            expected.dedup();
            let found: Vec<(f64, f64)> = front.points().iter().map(|(s, d, ())| (*s, *d)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
