//! Attention of a few query tokens per sequence over its cache: split contexts, read by the cores in waves.
//!
//! A unit is a sequence, a key/value head and a block of query rows. Its context may be split over cores so that none
//! idles; the pieces are then combined. The kernel takes the split that is quickest. With `units` units, pieces of `l`
//! keys and `w` waves: `t = t0 + min over splits of (w te + pn(w tk, memory, p) [+ combine])`, where a piece takes the
//! longer of its arithmetic and its load at a core's own bandwidth.
//!
//! The time depends on the lengths of the sequences only through their mean. It does not fall when the batch or the
//! contexts grow: each split alone is monotone, every split is open to every context (no piece is shorter than one
//! block of keys), and the least of monotone functions is monotone.

use super::attention::{DECODE_ROWS, KEY_BLOCK, LEAST_ROWS};
use super::common::{Cache, pn, waves};
use super::{AttentionDecode, Bound, Machine, OpCost};
use crate::kernels::ParamSpec;
use units::{Bytes, Flop, Seconds};

/// The coefficients, in the order of [`DecodeWave10::from_slice`]. Centres and widths of the priors are the medians
/// and spreads over the chips and stacks measured, but for `eb`: that long contexts stream at 0.8 to 0.95 of peak
/// bandwidth is what large tables show, and small ones cannot.
pub const PARAMS: [ParamSpec; 10] = [
    ParamSpec::new("t0", "s", "launch latency", 1e-7, 1e-3, 8.5e-6, 0.5),
    ParamSpec::new(
        "eb",
        "",
        "share of peak memory bandwidth that long contexts reach",
        0.1,
        0.97,
        0.88,
        0.06,
    ),
    ParamSpec::new("ec", "", "sustained share of peak arithmetic", 0.02, 1.5, 0.4, 0.2),
    ParamSpec::new("p", "", "sharpness of load-memory overlap", 0.7, 20.0, 2.0, 0.4),
    ParamSpec::new(
        "bc",
        "",
        "load bandwidth of a core over its share of memory bandwidth",
        0.3,
        50.0,
        2.0,
        0.5,
    ),
    ParamSpec::new("te", "s", "overhead per wave", 1e-9, 1e-4, 1.1e-6, 1.1),
    ParamSpec::new("ts", "s", "latency of combining a split context", 1e-8, 1e-3, 2.1e-6, 0.8),
    ParamSpec::new("r2", "", "cache bandwidth over memory bandwidth", 1.0, 20.0, 1.9, 0.7),
    ParamSpec::new("cl2", "", "usable share of the cache", 0.02, 2.0, 0.6, 0.3),
    ParamSpec::new("a", "", "share of a partly filled wave that is paid", 0.02, 1.0, 0.8, 0.4),
];

/// Coefficients of one set of measured kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeWave10 {
    t0: f64,
    em: f64,
    ec: f64,
    p: f64,
    bc: f64,
    te: f64,
    ts: f64,
    cache: Cache,
    a: f64,
}

impl DecodeWave10 {
    /// From values in the order of [`PARAMS`].
    ///
    /// Long contexts take `pn(1/bc, 1, p) / em` of the time at peak bandwidth, so the share `eb` they reach fixes the
    /// share `em` of the memory term alone, which `bc` and `p` would otherwise leave open.
    pub fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(1.0);
        let (eb, p, bc) = (at(1), at(3), at(4));
        Self {
            t0: at(0),
            em: eb * pn(1.0 / bc, 1.0, p),
            ec: at(2),
            p,
            bc,
            te: at(5),
            ts: at(6),
            cache: Cache { speedup: at(7), usable: at(8) },
            a: at(9),
        }
    }

    /// The share of peak bandwidth that the memory term alone would reach.
    pub fn memory_share(&self) -> f64 {
        self.em
    }

    /// With `memory` as the share of peak bandwidth of the memory term instead of what long contexts reach.
    #[must_use]
    pub fn with_memory_share(self, memory: f64) -> Self {
        Self { em: memory, ..self }
    }
}

/// What a decode kernel reads, beside its coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodeKernel {
    /// Bytes of a cached element.
    pub cache_bytes: f64,
}

/// Whether the cache is in the last-level cache when the kernel starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warmth {
    /// As in a model's step: layers of weights and other caches have passed since.
    Cold,
    /// As in a benchmark that runs the same kernel again and again.
    Benchmark,
}

/// Most pieces that a context is split into.
const MOST_SPLITS: f64 = 128.0;

impl DecodeKernel {
    /// Time of `op`.
    pub fn price(&self, c: &DecodeWave10, machine: &Machine, op: &AttentionDecode, warmth: Warmth) -> OpCost {
        let rows = op.rows();
        let blocks = (rows / DECODE_ROWS).ceil();
        let block_rows =
            if blocks > 1.0 { DECODE_ROWS } else { rows.max(1.0).log2().ceil().exp2().max(LEAST_ROWS) };
        let units = op.batch * op.kv_heads * blocks;
        let cached = op.batch * op.live() * op.kv_heads * op.kv_dim * self.cache_bytes;
        let rotation = if warmth == Warmth::Cold { f64::INFINITY } else { 1.0 };
        let hit = c.cache.hit(Bytes::new(cached), rotation, machine);
        let bandwidth = c.em * machine.bandwidth.get();
        let memory = op.bytes(self.cache_bytes) * ((1.0 - hit) + hit / c.cache.speedup) / bandwidth;

        let keys = op.mean_keys();
        let core = c.ec * machine.peak.get() / machine.cores;
        let load = c.bc * bandwidth / machine.cores;
        let arithmetic_per_key = 2.0 * block_rows * (op.qk_dim + op.v_dim) / core;
        let load_per_key = op.kv_dim * self.cache_bytes / load;
        let per_key = arithmetic_per_key.max(load_per_key);
        let combined_bytes = 8.0 * units * block_rows * op.v_dim;
        let mut best = (f64::INFINITY, 0.0, 0.0);
        let mut split = 1.0;
        while split <= MOST_SPLITS {
            let piece = (keys / split / KEY_BLOCK).ceil().max(1.0) * KEY_BLOCK;
            let w = waves(units * split / machine.cores, c.a);
            let mut fixed = w * c.te;
            if split > 1.0 {
                fixed += c.ts + combined_bytes * split / (c.bc * bandwidth);
            }
            let cores = w * piece * per_key;
            // The overlap of two times is at least the longer one: skip the logarithms if that is too long.
            if fixed + cores.max(memory) < best.0 {
                let time = fixed + pn(cores, memory, c.p);
                if time < best.0 {
                    best = (time, fixed, cores);
                }
            }
            if piece <= KEY_BLOCK {
                break;
            }
            split *= 2.0;
        }
        let (body, fixed, cores) = best;
        let bound = match () {
            () if c.t0 + fixed > cores.max(memory) => Bound::Launch,
            () if cores > memory && arithmetic_per_key > load_per_key => Bound::Compute,
            () => Bound::Memory,
        };
        OpCost {
            time: Seconds::new(c.t0 + body),
            bound,
            flop: Flop::new(op.flop()),
            bytes: Bytes::new(op.bytes(self.cache_bytes)),
        }
    }
}
