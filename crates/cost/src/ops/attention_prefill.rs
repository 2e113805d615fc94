//! Attention of new tokens: blocks of query rows in waves, with the softmax counted in operations per score.
//!
//! With `units` blocks of `rows` query rows, each against `keys` keys on average (half a block more for the ragged
//! diagonal), and `per = 2 (dqk + dv) + sx` operations per score:
//! `t = t0 + cache write + w te + pn(pn(throughput, longest block, 3), memory, 3)`.

use super::common::{boost, pn, waves};
use super::{AttentionPrefill, Bound, Machine, OpCost};
use crate::kernels::ParamSpec;
use units::{Bytes, Flop, Seconds};

/// The coefficients, in the order of [`PrefillWave10::from_slice`]. Centres and widths of the priors are the medians
/// and spreads over the chips and stacks measured.
pub const PARAMS: [ParamSpec; 10] = [
    ParamSpec::new("t0", "s", "launch latency", 1e-7, 1e-3, 8.6e-6, 0.5),
    ParamSpec::new("ec", "", "sustained share of peak arithmetic", 0.02, 1.3, 0.67, 0.25),
    ParamSpec::new("ew", "", "share of memory bandwidth when the cache is written", 0.02, 20.0, 0.9, 0.85),
    ParamSpec::new("sx", "operations", "cost of the softmax per score", 1.0, 1500.0, 150.0, 0.8),
    ParamSpec::new("kf", "keys", "pipeline fill and epilogue", 0.2, 3000.0, 15.0, 2.0),
    ParamSpec::new("te", "s", "overhead per wave", 1e-8, 1e-4, 3e-6, 0.9),
    ParamSpec::new("eh", "", "extra arithmetic rate of short kernels", 1e-3, 2.5, 0.08, 1.0),
    ParamSpec::new("F0", "ms at peak", "work at which half of it is gone", 1e-3, 1e3, 20.0, 2.0),
    ParamSpec::new("a", "", "share of a partly filled wave that is paid", 0.02, 1.0, 0.8, 0.6),
    ParamSpec::new(
        "lp",
        "",
        "time of the longest block over its share of a core's arithmetic",
        0.3,
        6.0,
        1.2,
        0.3,
    ),
];

/// Share of peak memory bandwidth at which queries, cache and outputs can at best be streamed.
const STREAM_SHARE: f64 = 0.8;
/// Sharpness with which throughput, critical path and memory overlap.
const OVERLAP: f64 = 3.0;

/// Coefficients of one set of measured kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillWave10 {
    t0: f64,
    ec: f64,
    ew: f64,
    sx: f64,
    kf: f64,
    te: f64,
    eh: f64,
    f0: f64,
    a: f64,
    lp: f64,
}

impl PrefillWave10 {
    /// From values in the order of [`PARAMS`].
    pub fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(1.0);
        Self {
            t0: at(0),
            ec: at(1),
            ew: at(2),
            sx: at(3),
            kf: at(4),
            te: at(5),
            eh: at(6),
            f0: at(7),
            a: at(8),
            lp: at(9),
        }
    }
}

/// What a prefill kernel does, beside its coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrefillKernel {
    /// Query rows per block: 64, 128 or 256.
    pub rows: f64,
    /// Whether the heads that share a key/value head fill blocks together.
    pub packed: bool,
    /// Bytes of a cached element.
    pub cache_bytes: f64,
}

impl PrefillKernel {
    /// Time of `op`.
    pub fn price(&self, c: &PrefillWave10, machine: &Machine, op: &AttentionPrefill) -> OpCost {
        let total = op.new_tokens + op.past_tokens;
        let blocks = if self.packed {
            op.kv_heads * (op.new_tokens * op.group() / self.rows).ceil()
        } else {
            op.heads * (op.new_tokens / self.rows).ceil()
        };
        let units = op.batch * blocks;
        let scores = op.pairs();
        let mean = scores / op.new_tokens + self.rows / 2.0;
        let longest = op.window.map_or(total, |window| total.min(window + self.rows));
        let per_key = self.rows * (2.0 * (op.qk_dim + op.v_dim) + c.sx);
        let work = Flop::new(units * (mean + c.kf) * per_key);
        let core = boost(c.ec, c.eh, c.f0, work, machine) * machine.peak.get() / machine.cores;
        let w = waves(units / machine.cores, c.a);
        let throughput = w * (mean + c.kf) * per_key / core;
        let path = c.lp * (longest + c.kf) * per_key / core;

        let tokens = op.batch * op.new_tokens;
        let written = tokens * op.cached() * (2.0 + self.cache_bytes);
        let read = op.batch * op.live() * op.cached() * self.cache_bytes;
        let streamed = 2.0 * tokens * op.heads * (op.qk_dim + op.v_dim) + read;
        let bandwidth = machine.bandwidth.get();
        let write = written / (c.ew * bandwidth);
        let memory = streamed / (STREAM_SHARE * bandwidth);
        let fixed = c.t0 + w * c.te;
        let arithmetic = pn(throughput, path, OVERLAP);
        let time = fixed + write + pn(arithmetic, memory, OVERLAP);
        let bound = match () {
            () if fixed > arithmetic.max(memory + write) => Bound::Launch,
            () if arithmetic > memory + write => Bound::Compute,
            () => Bound::Memory,
        };
        OpCost {
            time: Seconds::new(time),
            bound,
            flop: Flop::new(2.0 * op.batch * op.heads * scores * (op.qk_dim + op.v_dim)),
            bytes: Bytes::new(streamed + tokens * op.cached() * self.cache_bytes),
        }
    }
}
