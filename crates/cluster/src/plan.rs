//! What a job really is: its work and its speed, which the scheduler is not told.

use crate::job::{Range, TenantId, Uses};
use crate::tree::{Ask, Part, Tree, Wish};
use serving::Nanos;

/// What kind of work a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Steps of training.
    Training,
    /// A replica of a service.
    Serving,
    /// Requests that nobody waits for.
    BatchInference,
    /// Chips for a time.
    Opaque,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::Serving => "serving",
            Self::BatchInference => "batch-inference",
            Self::Opaque => "opaque",
        }
    }
}

/// What it takes to stop a job and go on later, seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checkpoint {
    /// Time between checkpoints; infinite for a job that writes none unless it is stopped.
    pub interval: f64,
    /// Time to write one, during which the job stands still.
    pub write: f64,
    /// From getting chips until the job goes on: start of processes, reading the checkpoint.
    pub restore: f64,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self { interval: f64::INFINITY, write: 0.0, restore: 0.0 }
    }
}

/// A job as it will be submitted, with its work.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPlan {
    /// Its name.
    pub name: Box<str>,
    /// What kind of work it is.
    pub kind: Kind,
    /// Whose it is.
    pub tenant: TenantId,
    /// Higher goes first.
    pub priority: i32,
    /// What it asks for.
    pub ask: Ask,
    /// What it needs besides chips.
    pub uses: Uses,
    /// Sizes it can run at.
    pub elastic: Option<Range>,
    /// Declared limit.
    pub limit: Option<f64>,
    /// Where it wants to be.
    pub wish: Option<Wish>,
    /// Whether it may be stopped.
    pub preemptible: bool,
    /// Seconds after submission by which it ought to be done.
    pub deadline: Option<f64>,
    /// Exponent of speed over chips.
    pub scaling: f64,
    /// When it is submitted.
    pub submit: Nanos,
    /// Its work, in units that its pricer knows; seconds at the requested size for an opaque job.
    pub work: f64,
    /// What stopping it costs.
    pub checkpoint: Checkpoint,
}

/// The shape of a placement: all that a job's speed depends on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Chips.
    pub chips: u32,
    /// Nodes.
    pub nodes: u32,
    /// Fewest chips on one of its nodes, the last one aside.
    pub per_node: u32,
    /// For each level above the node: the fewest chips in one of its domains, the smallest aside.
    pub per_domain: Vec<u32>,
    /// The innermost level that holds all of it: 0 is the node, `n` the `n`-th level above it.
    pub span: usize,
}

impl Shape {
    /// The shape of these chips.
    pub fn of(tree: &Tree, parts: &[Part]) -> Self {
        let per_node = second_least(parts.iter().map(|part| part.count()).collect());
        let mut per_domain = Vec::with_capacity(tree.levels().len());
        for level in 0..tree.levels().len() {
            let mut domains: Vec<(u32, u32)> =
                parts.iter().map(|part| (tree.domain(level, part.node), part.count())).collect();
            domains.sort_unstable();
            let mut sums: Vec<(u32, u32)> = Vec::new();
            for (domain, chips) in domains {
                match sums.last_mut() {
                    Some((last, sum)) if *last == domain => *sum += chips,
                    _ => sums.push((domain, chips)),
                }
            }
            per_domain.push(second_least(sums.into_iter().map(|(_, sum)| sum).collect()));
        }
        let one = |level: &usize| {
            let first = tree.domain(*level, parts[0].node);
            parts.iter().all(|part| tree.domain(*level, part.node) == first)
        };
        let span = match parts.len() {
            0 | 1 => 0,
            _ => (0..tree.levels().len()).find(one).map_or(tree.levels().len(), |level| level + 1),
        };
        Self {
            chips: parts.iter().map(|part| part.count()).sum(),
            nodes: parts.len() as u32,
            per_node,
            per_domain,
            span,
        }
    }
}

/// The least of all but the smallest: a remainder that is smaller does not cut a group that fits the others.
fn second_least(mut counts: Vec<u32>) -> u32 {
    counts.sort_unstable();
    counts.get(1).or(counts.first()).copied().unwrap_or(0)
}

/// How fast a job goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Units of work per second when its links are its own.
    pub rate: f64,
    /// Share of its time that goes over the outermost links it uses, 0 to 1.
    pub crossing: f64,
    /// What one chip sends over them meanwhile, bytes per second.
    pub demand: f64,
}

/// Prices jobs by their placement.
pub trait Pricer {
    /// The pace of the job with that index at that shape; `None` if it cannot run there.
    fn pace(&mut self, index: usize, plan: &JobPlan, shape: &Shape) -> Option<Pace>;
}

impl<P: Pricer> Pricer for &mut P {
    fn pace(&mut self, index: usize, plan: &JobPlan, shape: &Shape) -> Option<Pace> {
        (**self).pace(index, plan, shape)
    }
}

/// Opaque jobs: as fast as declared at the requested size, and `(chips / requested)^scaling` of that at another.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linear;

impl Pricer for Linear {
    fn pace(&mut self, _index: usize, plan: &JobPlan, shape: &Shape) -> Option<Pace> {
        let ratio = f64::from(shape.chips) / f64::from(plan.ask.chips().max(1));
        // A job that holds more than it asked for, as a rounded-up cell, is no faster.
        let ratio = if plan.elastic.is_none() { ratio.min(1.0) } else { ratio };
        Some(Pace { rate: ratio.powf(plan.scaling), crossing: 0.0, demand: 0.0 })
    }
}
