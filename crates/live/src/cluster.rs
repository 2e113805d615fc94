//! A cluster before it is brought up: its world, and what its clients are told of it.

use crate::app::{Model, Money, PoolFacts};
use crate::jobs::Jobs;
use crate::meters::Meters;
use sim::World;
use units::Watts;

/// A cluster before it is brought up.
pub struct Cluster<P> {
    /// The world, not started.
    pub world: World<P>,
    /// Draw of an idle instance of each pool.
    pub idle: Vec<Watts>,
    /// Models in the order of deployments.
    pub models: Vec<Model>,
    /// Pools in order.
    pub pools: Vec<PoolFacts>,
    /// Instances of the start that take prompts, by number.
    pub entries: Vec<u32>,
    /// Chips in use at the start.
    pub chips: u32,
    /// What it costs.
    pub money: Money,
    /// Jobs on the chips that no instance stands on.
    pub jobs: Option<Jobs>,
}

impl<P> Cluster<P> {
    /// Meters that go with it.
    pub fn meters(&self) -> Meters {
        Meters::new(self.idle.clone())
    }
}
