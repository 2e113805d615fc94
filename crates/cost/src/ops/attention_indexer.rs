//! The scores of a sparse-attention indexer: which cached tokens a query will attend to.
//!
//! A small attention in 8 bits: some index heads score every cached index key, the scores of the heads are summed with
//! a weight each, and the best tokens are kept. No table measures it. The form is a matrix product with a short inner
//! length and a wide output, whose efficiency is assumed, not fitted: 0.35 of the 8-bit peak, about what the measured
//! 8-bit products of inner length 128 to 256 reach, and 0.8 of memory bandwidth.

use super::common::pn;
use super::{Bound, Machine, OpCost};
use units::{Bytes, Flop, Seconds};

/// Share of peak arithmetic that scoring is assumed to reach.
pub const ASSUMED_ARITHMETIC: f64 = 0.35;
/// Share of peak memory bandwidth that keys and scores are assumed to stream at.
pub const ASSUMED_BANDWIDTH: f64 = 0.8;
/// Assumed launch latency of the two kernels, scoring and selection, where no attention kernel of the chip says better.
pub const ASSUMED_LAUNCH: Seconds = Seconds::new(1e-5);
/// Small kernels around those two: rotation, normalisation and quantisation of queries and keys, the write of the key
/// cache, weights of the heads, and the metadata of the selection. Served GLM-5 spends about 50 us a layer more than its
/// other kernels add up to (InferenceX, 2026: 4 ms of 78 layers on B200 and B300), which is five such launches.
pub const SMALL_KERNELS: f64 = 5.0;
/// Standard deviation to state for figures nobody measured.
pub const ASSUMED_SIGMA: f64 = 0.4;

/// Bytes of an index key beside its 8-bit elements: its scale.
const KEY_SCALE: f64 = 4.0;
/// Bytes of a score: written once in 32 bits, read once by the selection.
const SCORE: f64 = 8.0;

/// Scores of some queries against cached index keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct IndexScores {
    /// Queries (new tokens).
    pub queries: f64,
    /// Cached keys that each is scored against, on average.
    pub context: f64,
    /// Sequences that the queries belong to; each has keys of its own.
    pub sequences: f64,
    /// Index heads.
    pub heads: f64,
    /// Width of an index head.
    pub head_dim: f64,
}

impl IndexScores {
    /// Time of scoring and selection, launched in `launch`; the machine's peak is that of 8-bit products.
    pub fn price(&self, machine: &Machine, launch: Seconds) -> OpCost {
        let scores = self.queries * self.context;
        let flop = 2.0 * scores * self.heads * self.head_dim;
        let keys = self.sequences * self.context * (self.head_dim + KEY_SCALE);
        let bytes = keys + self.queries * self.heads * self.head_dim + scores * SCORE;
        let arithmetic = flop / (ASSUMED_ARITHMETIC * machine.peak.get());
        let memory = bytes / (ASSUMED_BANDWIDTH * machine.bandwidth.get());
        let bound = match () {
            () if launch.get() > arithmetic.max(memory) => Bound::Launch,
            () if arithmetic > memory => Bound::Compute,
            () => Bound::Memory,
        };
        OpCost {
            time: launch + Seconds::new(pn(arithmetic, memory, 2.0)),
            bound,
            flop: Flop::new(flop),
            bytes: Bytes::new(bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::{BytesPerSecond, FlopPerSecond};

    #[test]
    fn decode_reads_keys_and_prefill_multiplies() {
        let machine = Machine {
            peak: FlopPerSecond::new(2e15),
            bandwidth: BytesPerSecond::new(3e12),
            cores: 132.0,
            l2: Bytes::new(5e7),
        };
        let op = |queries, sequences| IndexScores {
            queries,
            context: 65_536.0,
            sequences,
            heads: 64.0,
            head_dim: 128.0,
        };
        let price = |op: IndexScores| op.price(&machine, ASSUMED_LAUNCH);
        assert_eq!(price(op(64.0, 64.0)).bound, Bound::Memory);
        assert_eq!(price(op(2048.0, 1.0)).bound, Bound::Compute);
        assert_eq!(price(op(0.0, 0.0)).time, ASSUMED_LAUNCH);
    }
}
