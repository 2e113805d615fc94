//! What the numbers of an input may be: one list for every front end, so that a flag, a key of a file and a column of a
//! table that mean the same are held to the same.
//!
//! Upper ends are far above what anybody runs; beyond them a number is taken for a slip of the pen, and would only cost
//! memory or time.

use std::fmt;

/// A number that is out of its range.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("`{key}` {value} is out of range; allowed is {range}")]
pub struct OutOfRange {
    /// The number's key.
    pub key: &'static str,
    /// As given.
    pub value: f64,
    /// What is allowed.
    pub range: Range,
}

/// The numbers that a key may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The key, as files write it.
    pub key: &'static str,
    /// The least number.
    pub least: f64,
    /// The greatest number.
    pub most: f64,
    /// Whether the least number itself is too little.
    pub above: bool,
    /// Whether the greatest number itself is too much.
    pub below: bool,
}

impl Range {
    const fn new(key: &'static str, least: f64, most: f64) -> Self {
        Self { key, least, most, above: false, below: false }
    }

    const fn above(key: &'static str, least: f64, most: f64) -> Self {
        Self { above: true, ..Self::new(key, least, most) }
    }

    const fn below(key: &'static str, least: f64, most: f64) -> Self {
        Self { below: true, ..Self::new(key, least, most) }
    }

    /// Whether `value` is within; what is not a number never is.
    pub fn holds(&self, value: f64) -> bool {
        let low = if self.above { value > self.least } else { value >= self.least };
        let high = if self.below { value < self.most } else { value <= self.most };
        low && high
    }

    /// Refuses what is not within.
    ///
    /// # Errors
    /// `value` is out of range.
    pub fn check(&self, value: impl Into<f64>) -> Result<(), OutOfRange> {
        let value = value.into();
        if self.holds(value) { Ok(()) } else { Err(OutOfRange { key: self.key, value, range: *self }) }
    }

    /// Refuses what is given and not within.
    ///
    /// # Errors
    /// As [`Range::check`].
    pub fn check_given(&self, value: Option<impl Into<f64>>) -> Result<(), OutOfRange> {
        value.map_or(Ok(()), |value| self.check(value))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let above = if self.above { "above " } else { "" };
        let below = if self.below { "below " } else { "" };
        write!(f, "{above}{} to {below}{}", self.least, self.most)
    }
}

/// Longest prompt, answer or context, tokens.
const TOKENS: f64 = 100e6;
/// Most ranks of one dimension of a layout.
const RANKS: f64 = 65_536.0;
/// Longest time that means something, seconds: about 300 years.
const TIME: f64 = 1e10;

/// Tensor-parallel ranks.
pub const TP: Range = Range::new("tp", 1.0, RANKS);
/// Pipeline stages.
pub const PP: Range = Range::new("pp", 1.0, RANKS);
/// Attention data-parallel ranks.
pub const DP: Range = Range::new("dp", 1.0, RANKS);
/// Expert-parallel ranks.
pub const EP: Range = Range::new("ep", 1.0, RANKS);
/// Tensor-parallel ranks of one expert.
pub const MOE_TP: Range = Range::new("moe_tp", 1.0, RANKS);
/// Expert replicas beyond one of each.
pub const REDUNDANT_EXPERTS: Range = Range::new("redundant_experts", 0.0, RANKS);
/// Ranks of one instance.
pub const INSTANCE_RANKS: Range = Range::new("tp x pp x dp", 1.0, 1_048_576.0);
/// Instances of a pool.
pub const INSTANCES: Range = Range::new("instances", 1.0, 100_000.0);
/// Packages of a deployment.
pub const CHIPS: Range = Range::above("chips", 0.0, 1e6);
/// Prompt tokens.
pub const ISL: Range = Range::new("isl", 1.0, TOKENS);
/// Output tokens.
pub const OSL: Range = Range::new("osl", 1.0, TOKENS);
/// Context of a decode point, tokens.
pub const KV_LEN: Range = Range::new("kv_len", 1.0, TOKENS);
/// Sequences or tokens of a rank and step.
pub const BATCH_PER_RANK: Range = Range::new("batch_per_rank", 1.0, TOKENS);
/// Requests in flight.
pub const CONCURRENCY: Range = Range::new("concurrency", 1.0, 1e6);
/// Requests of a run.
pub const REQUESTS: Range = Range::new("requests", 1.0, 1e9);
/// Requests of a closed loop that are not measured.
pub const WARM_UP: Range = Range::new("warm_up", 0.0, 1e9);
/// Tokens of a step.
pub const TOKEN_BUDGET: Range = Range::new("token_budget", 1.0, TOKENS);
/// Sequences of a rank.
pub const MAX_SEQS: Range = Range::new("max_seqs", 1.0, 1e6);
/// Tokens of a cache block or of a hash.
pub const BLOCK: Range = Range::new("block", 1.0, 65_536.0);
/// Draft tokens of a step.
pub const SPEC_TOKENS: Range = Range::new("spec_tokens", 0.0, 16.0);
/// Share of draft tokens accepted.
pub const SPEC_ACCEPT: Range = Range::new("spec_accept", 0.0, 1.0);
/// Share of prompt tokens that are cached.
pub const PREFIX_HIT: Range = Range::below("prefix_hit", 0.0, 1.0);
/// Lengths are uniform from this share of nominal.
pub const LENGTH_SPREAD: Range = Range::new("length_spread", 0.0, 1.0);
/// Share of device memory that an engine takes.
pub const MEMORY_FRACTION: Range = Range::above("memory_fraction", 0.0, 1.0);
/// Tokens that reach a client together.
pub const STREAM_INTERVAL: Range = Range::new("stream_interval", 1.0, 1000.0);
/// Load of the busiest expert rank over the mean, minus 1.
pub const EXPERT_SKEW: Range = Range::new("expert_skew", 0.0, 1000.0);
/// Requests per second.
pub const RATE: Range = Range::new("rate", 1e-9, 1e9);
/// Shape of gamma arrivals.
pub const BURSTINESS: Range = Range::new("burstiness", 1e-3, 1e3);
/// How much denser than recorded a trace is played.
pub const RATE_SCALE: Range = Range::new("rate_scale", 1e-6, 1e6);
/// How often a trace is played.
pub const REPEAT: Range = Range::new("repeat", 1.0, 1e6);
/// Conversations.
pub const SESSIONS: Range = Range::new("count", 1.0, 1e8);
/// Tokens of a system prompt.
pub const SYSTEM_TOKENS: Range = Range::new("system", 0.0, TOKENS);
/// Beginnings that prompts share.
pub const PREFIX_GROUPS: Range = Range::new("groups", 1.0, 1e6);
/// A part of something relative to the other parts, or a factor.
pub const WEIGHT: Range = Range::new("weight", 0.0, 1e9);
/// Spare instances.
pub const SPARES: Range = Range::new("spares", 0.0, 100_000.0);
/// Cache blocks of a rank.
pub const KV_BLOCKS: Range = Range::new("kv_blocks", 1.0, 1e9);
/// Ranks of all instances of a pool.
pub const ALL_RANKS: Range = Range::new("tp x pp x dp x instances", 1.0, 4_194_304.0);
/// Bytes of a store.
pub const BYTES: Range = Range::new("capacity", 0.0, 1e24);
/// A bandwidth.
pub const BYTES_PER_SECOND: Range = Range::above("bandwidth", 0.0, 1e18);
/// A limit on a latency, seconds.
pub const LATENCY_LIMIT: Range = Range::above("limit", 0.0, TIME);
/// A time that may be nought, seconds.
pub const DURATION: Range = Range::new("time", 0.0, TIME);
/// When a run is stopped, seconds.
pub const UNTIL: Range = Range::above("until", 0.0, TIME);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_belong_to_a_range_or_not() {
        assert!(TP.holds(1.0) && TP.holds(RANKS) && !TP.holds(0.0) && !TP.holds(RANKS + 1.0));
        assert!(PREFIX_HIT.holds(0.0) && !PREFIX_HIT.holds(1.0));
        assert!(CHIPS.holds(0.5) && !CHIPS.holds(0.0));
    }

    #[test]
    fn what_is_not_a_number_is_out_of_every_range() {
        for range in [TP, PREFIX_HIT, EXPERT_SKEW, RATE, LATENCY_LIMIT] {
            assert!(range.check(f64::NAN).is_err() && range.check(f64::INFINITY).is_err(), "{}", range.key);
        }
    }

    #[test]
    fn the_message_says_what_is_allowed() {
        let error = PREFIX_HIT.check(1.5).expect_err("out of range").to_string();
        assert_eq!(error, "`prefix_hit` 1.5 is out of range; allowed is 0 to below 1");
        let error = CHIPS.check_given(Some(0)).expect_err("out of range").to_string();
        assert_eq!(error, "`chips` 0 is out of range; allowed is above 0 to 1000000");
    }
}
