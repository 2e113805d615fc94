//! A small analytic price of a step, for tests and benches that need no catalog.

use steps::{StepPrice, StepPricer, StepShape};
use units::{Joules, Seconds};

/// A dense model on a roofline: weights and KV are read once per step, every token costs compute, attention costs
/// compute per query-key pair, and a step has a floor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Roofline {
    /// Launches and scheduling.
    pub floor: Seconds,
    /// Reading the weights.
    pub weights: Seconds,
    /// Reading the KV of one token.
    pub kv_token: Seconds,
    /// Computing one token.
    pub token: Seconds,
    /// Computing one query-key pair.
    pub pair: Seconds,
    /// Energy per second of a busy step, J/s times one second.
    pub power: Joules,
}

impl Default for Roofline {
    /// About a 70-billion-parameter model in FP8 on eight H100.
    fn default() -> Self {
        Self {
            floor: Seconds::from_ms(2.0),
            weights: Seconds::from_ms(4.0),
            kv_token: Seconds::new(1.5e-8),
            token: Seconds::new(2.5e-5),
            pair: Seconds::new(5e-10),
            power: Joules::new(5000.0),
        }
    }
}

impl StepPricer for Roofline {
    fn price(&self, shape: &StepShape) -> StepPrice {
        let load = &shape.busiest;
        let tokens = load.decode_seqs + load.prefill_tokens;
        let compute = self.token.get() * tokens;
        let memory = self.weights.get() + self.kv_token.get() * load.decode_context;
        // The two overlap, but not without friction: the fourth-power sum of a soft maximum.
        let overlapped = (compute.powi(4) + memory.powi(4)).powf(0.25);
        let time = self.floor + Seconds::new(overlapped + self.pair.get() * load.prefill_pairs);
        StepPrice { time, energy: self.power * time.get() }
    }
}

/// A server that takes the same time for every step, for comparisons with queueing theory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Constant(
    /// The time of a step.
    pub Seconds,
);

impl StepPricer for Constant {
    fn price(&self, _: &StepShape) -> StepPrice {
        StepPrice { time: self.0, energy: Joules::ZERO }
    }
}
