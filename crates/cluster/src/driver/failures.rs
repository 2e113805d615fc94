//! Nodes that fail, alone or with their domain, and come back.

use super::{Driver, What, seconds};
use crate::job::Event;
use crate::plan::Pricer;
use crate::tree::{NodeId, Tree};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

/// How often what fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults {
    /// Failures of a node per chip and second.
    pub per_chip: f64,
    /// Failures of a whole domain of each level above the node, per domain and second.
    pub per_domain: Vec<f64>,
    /// Time until what failed is back, seconds; drawn from an exponential with this mean.
    pub repair: f64,
}

/// Draws failures of a cluster.
pub(super) struct Source {
    faults: Faults,
    random: Pcg64Mcg,
    /// Rates of nodes and of each level, per second for the whole cluster.
    rates: Vec<f64>,
}

impl Source {
    pub fn new(faults: &Faults, tree: &Tree, seed: u64) -> Self {
        let mut rates = vec![faults.per_chip * f64::from(tree.chips())];
        for (level, rate) in faults.per_domain.iter().enumerate().take(tree.levels().len()) {
            rates.push(rate * f64::from(tree.domains(level)));
        }
        Self { faults: faults.clone(), random: Pcg64Mcg::seed_from_u64(seed ^ 0x6661_696c), rates }
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.random.random::<f64>()).ln()
    }

    /// Seconds until the next failure.
    fn wait(&mut self) -> Option<f64> {
        let total: f64 = self.rates.iter().sum();
        (total > 0.0).then(|| self.exponential(1.0 / total))
    }

    /// Which nodes fail.
    fn draw(&mut self, tree: &Tree) -> Vec<NodeId> {
        let mut at = self.random.random::<f64>() * self.rates.iter().sum::<f64>();
        for index in 0..self.rates.len() {
            if at >= self.rates[index] && index + 1 < self.rates.len() {
                at -= self.rates[index];
                continue;
            }
            if index == 0 {
                return vec![NodeId(self.random.random_range(0..tree.nodes()))];
            }
            let domain = self.random.random_range(0..tree.domains(index - 1));
            return tree.members(index - 1, domain).map(NodeId).collect();
        }
        Vec::new()
    }
}

impl<P: Pricer> Driver<'_, P> {
    pub(super) fn next_failure(&mut self) {
        let wait = self.failures.as_mut().and_then(Source::wait);
        if let Some(wait) = wait {
            let at = seconds(self.now.seconds().get() + wait);
            self.push(at, What::Fail);
        }
    }

    pub(super) fn fail(&mut self, events: &mut Vec<Event>) {
        let Some(source) = &mut self.failures else {
            return;
        };
        let state = self.scheduler.state();
        let nodes = source.draw(&state.tree);
        let repair = source.exponential(source.faults.repair);
        let back = seconds(self.now.seconds().get() + repair);
        for node in nodes {
            // A node that is broken already cannot fail again.
            if !state.broken.contains(&node) {
                events.push(Event::Failed(node));
            }
        }
        for event in events.clone() {
            if let Event::Failed(node) = event {
                self.node_failures += 1;
                self.push(back, What::Repair(node));
            }
        }
        self.next_failure();
    }
}
