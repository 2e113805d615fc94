//! What is to be served, within which limits, and what counts as better.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use units::{Dtype, PerSecond, Seconds, Watts};

/// Requests as they are on average, in tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Prompt tokens that must be computed.
    pub new: f64,
    /// Prompt tokens served from a cache.
    pub cached: f64,
    /// Output tokens.
    pub output: f64,
    /// Context of a decoding sequence, averaged over its decoding.
    pub context: f64,
    /// Context at the end of a request.
    pub held: f64,
    /// By how much of the mean the longest of many prompts exceeds it.
    pub excess: f64,
}

/// How far lengths of which only the mean is known are taken to lie around it.
pub(super) const VARIATION: f64 = 0.25;

impl Work {
    /// Of prompts of `isl` tokens, a share `prefix_hit` of them cached, and outputs of `osl`.
    pub fn new(isl: u32, osl: u32, prefix_hit: f64) -> Self {
        let (isl, osl) = (f64::from(isl), f64::from(osl));
        Self {
            new: isl * (1.0 - prefix_hit),
            cached: isl * prefix_hit,
            output: osl,
            context: isl + osl / 2.0,
            held: isl + osl,
            excess: VARIATION,
        }
    }

    /// Prompt tokens, computed or not.
    pub fn prompt(&self) -> f64 {
        self.new + self.cached
    }

    /// Output tokens after the first.
    pub fn after_first(&self) -> f64 {
        (self.output - 1.0).max(1.0)
    }
}

/// What counts as better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Most output tokens per second on the chips given.
    Throughput,
    /// Least money per token (or per hour, where the load is given).
    Cost,
    /// Least energy per token (or least power, where the load is given).
    Energy,
    /// Fewest chips for the load given.
    Chips,
}

impl Objective {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Throughput => "throughput",
            Self::Cost => "cost",
            Self::Energy => "energy",
            Self::Chips => "chips",
        }
    }
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that is no objective.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an objective; use throughput, cost, energy or chips")]
pub struct UnknownObjective(String);

impl FromStr for Objective {
    type Err = UnknownObjective;

    fn from_str(text: &str) -> Result<Self, UnknownObjective> {
        let all = [Self::Throughput, Self::Cost, Self::Energy, Self::Chips];
        all.into_iter().find(|one| one.name() == text).ok_or_else(|| UnknownObjective(text.to_owned()))
    }
}

/// How much is to be served.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// As much as the chips can.
    Most,
    /// At least this many requests per second.
    Rate(PerSecond),
    /// At least this many requests in flight.
    Concurrency(f64),
}

/// Everything a search is told, apart from where it may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Built-in model or path of a `config.json`.
    pub model: String,
    /// Mean prompt length, tokens.
    pub isl: u32,
    /// Mean output length, tokens.
    pub osl: u32,
    /// Longest context that must fit on a rank, tokens.
    pub longest: u32,
    /// Requests as they are on average.
    pub work: Work,
    /// Lengths of requests, prompt and output, to draw from in a simulation; around the means if `None`.
    pub lengths: Option<Arc<Vec<(u32, u32)>>>,
    /// Most mean time to the first token.
    pub ttft: Seconds,
    /// Most mean time per output token after it.
    pub tpot: Seconds,
    /// How much is to be served.
    pub target: Target,
    /// What counts as better.
    pub objective: Objective,
    /// Most that the chips and what stands around them may draw, without cooling.
    pub power_budget: Option<Watts>,
    /// Chance that a draft token is accepted if the one before it was.
    pub acceptance: f64,
    /// Freedom of the search.
    pub options: Options,
}

/// What the search may choose from.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Engine on every system, instead of each vendor's usual one.
    pub engine: Option<String>,
    /// Weight formats to consider; the checkpoint's and, where the chip multiplies it, eight bits if empty.
    pub weights: Vec<Dtype>,
    /// Cache formats to consider; the engine's and, where the chip multiplies it, eight bits if empty.
    pub caches: Vec<Dtype>,
    /// Most draft tokens per step, for models that ship a draft module.
    pub drafts: u32,
    /// Token budgets to consider, beside the engine's own.
    pub budgets: Vec<u32>,
    /// Pipeline stages to consider.
    pub stages: Vec<u32>,
    /// Most ranks of an instance.
    pub widest: u32,
    /// Whether to look at aggregated deployments.
    pub aggregated: bool,
    /// Whether to look at disaggregated deployments.
    pub disaggregated: bool,
    /// Whether prefill and decode instances may be in different systems.
    pub mix: bool,
    /// Deployments to list.
    pub top: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            engine: None,
            weights: Vec::new(),
            caches: Vec::new(),
            drafts: 3,
            budgets: vec![2048, 4096, 8192, 16384],
            stages: vec![1, 2, 4, 8],
            widest: u32::MAX,
            aggregated: true,
            disaggregated: true,
            mix: false,
            top: 5,
        }
    }
}

impl Job {
    /// The search for the most throughput of requests of fixed mean lengths within limits.
    pub fn new(model: &str, isl: u32, osl: u32, ttft: Seconds, tpot: Seconds) -> Self {
        Self {
            model: model.to_owned(),
            isl,
            osl,
            longest: isl.saturating_add(osl),
            work: Work::new(isl, osl, 0.0),
            lengths: None,
            ttft,
            tpot,
            target: Target::Most,
            objective: Objective::Throughput,
            power_budget: None,
            acceptance: 0.7,
            options: Options::default(),
        }
    }

    /// Mean share of `drafts` draft tokens that is accepted: each needs the one before it.
    pub fn accepted_share(&self, drafts: u32) -> f64 {
        cost::step::Speculation::accepted_share(drafts, self.acceptance)
    }
}

/// Where the job may run.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Catalog key of the system.
    pub system: String,
    /// Catalog key of a chip to put in it instead of its own.
    pub chip: Option<String>,
    /// Chips that may be used; the system's own number if `None`.
    pub chips: Option<u32>,
}
