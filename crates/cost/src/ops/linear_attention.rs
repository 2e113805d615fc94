//! Linear attention: a short convolution and a scan over a state matrix per head.
//!
//! Gated delta rule, Mamba-2 and their kin do the same work: with keys (or state elements) of width `dk` and values of
//! width `dv`, each head carries a `dk x dv` state through the sequence. Prefill works in chunks: inside one it is
//! attention, between them the state is updated. Decode reads and writes the state once per token.

use super::common::{Cache, pn};
use super::{Bound, Machine, OpCost};
use crate::kernels::ParamSpec;
use units::{Bytes, Flop, Seconds};

/// Tokens that a scan works on at a time.
const CHUNK: f64 = 64.0;
/// Bytes of an activation and of a state element as the measured kernels keep them.
const ELEMENT: f64 = 2.0;

/// New tokens of some sequences through one linear-attention layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinearAttention {
    /// Sequences.
    pub sequences: f64,
    /// New tokens per sequence; 1 in decode.
    pub new_tokens: f64,
    /// Key heads on this rank (groups, for Mamba-2).
    pub k_heads: f64,
    /// Value heads on this rank, one state each.
    pub v_heads: f64,
    /// Width of a key head (state size, for Mamba-2).
    pub k_dim: f64,
    /// Width of a value head.
    pub v_dim: f64,
    /// Taps of the convolution.
    pub taps: f64,
}

impl LinearAttention {
    /// New tokens in all.
    pub fn tokens(&self) -> f64 {
        self.sequences * self.new_tokens
    }

    /// Channels that the convolution runs over: queries, keys and values.
    pub fn channels(&self) -> f64 {
        2.0 * self.k_heads * self.k_dim + self.v_heads * self.v_dim
    }

    /// Bytes of one sequence's states.
    pub fn state_bytes(&self) -> f64 {
        self.v_heads * self.k_dim * self.v_dim * ELEMENT
    }

    fn convolved_bytes(&self) -> f64 {
        2.0 * ELEMENT * self.tokens() * self.channels()
    }

    fn scanned_bytes(&self) -> f64 {
        ELEMENT * self.tokens() * (self.channels() + self.v_heads * self.v_dim)
    }

    fn scan_flop(&self) -> f64 {
        // Scores and values inside a chunk, then the state's update and its reading.
        let inside = 2.0 * CHUNK * (self.k_dim + self.v_dim);
        self.tokens() * self.v_heads * (inside + 4.0 * self.k_dim * self.v_dim)
    }
}

/// Coefficients of a kernel that streams tokens and touches a state per sequence: both convolutions and the decode
/// scan. In the order of [`Stream6::from_slice`].
pub const STREAM_PARAMS: [ParamSpec; 6] = [
    ParamSpec::new("t0", "s", "launch latency", 2e-7, 1e-3, 3.5e-6, 0.8),
    ParamSpec::new("em", "", "share of peak memory bandwidth for tokens", 0.005, 1.2, 0.5, 0.6),
    ParamSpec::new("tr", "s", "time scale of the ramp to full bandwidth", 1e-9, 1e-4, 3e-7, 1.5),
    ParamSpec::new("r2", "", "cache bandwidth over memory bandwidth", 1.0, 20.0, 2.0, 0.6),
    ParamSpec::new("cl2", "", "usable share of the cache", 0.02, 4.0, 0.6, 0.5),
    ParamSpec::new("es", "", "share of peak memory bandwidth for states", 1e-4, 2.0, 0.5, 1.0),
];

/// Coefficients of the chunked scan, in the order of [`Scan5::from_slice`].
pub const SCAN_PARAMS: [ParamSpec; 5] = [
    ParamSpec::new("t0", "s", "launch latency of the scan's kernels", 1e-6, 1e-3, 1.8e-5, 0.5),
    ParamSpec::new("ec", "", "sustained share of peak arithmetic", 0.002, 1.0, 0.08, 0.6),
    ParamSpec::new("em", "", "share of peak memory bandwidth", 0.02, 1.2, 0.5, 0.6),
    ParamSpec::new("tc", "s", "latency of one chunk in a sequence's chain", 1e-8, 1e-4, 1e-6, 1.0),
    ParamSpec::new("p", "", "sharpness of overlap", 0.8, 10.0, 2.0, 0.5),
];

/// `t0 + x + sqrt(x tr) + states`, `x` the time of the tokens' bytes: the root is the ramp to full bandwidth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stream6 {
    t0: f64,
    em: f64,
    tr: f64,
    cache: Cache,
    es: f64,
}

/// `t0 + pn(pn(arithmetic, chain of chunks, 3), memory, p)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scan5 {
    t0: f64,
    ec: f64,
    em: f64,
    tc: f64,
    p: f64,
}

/// Which kernel streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streaming {
    /// The convolution over new tokens.
    Convolution,
    /// One token per sequence through the state.
    DecodeScan,
}

impl Stream6 {
    /// From values in the order of [`STREAM_PARAMS`].
    pub fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(1.0);
        Self { t0: at(0), em: at(1), tr: at(2), cache: Cache { speedup: at(3), usable: at(4) }, es: at(5) }
    }

    /// Time of `kernel` over `op`. `warm` says that the same operands were read just before, as in a benchmark.
    pub fn price(&self, machine: &Machine, op: &LinearAttention, kernel: Streaming, warm: bool) -> OpCost {
        let (tokens, states, flop) = match kernel {
            Streaming::Convolution => (
                op.convolved_bytes(),
                2.0 * ELEMENT * op.sequences * op.channels() * (op.taps - 1.0).max(0.0),
                2.0 * op.tokens() * op.channels() * op.taps,
            ),
            Streaming::DecodeScan => (
                op.scanned_bytes(),
                2.0 * op.sequences * op.state_bytes(),
                6.0 * op.tokens() * op.v_heads * op.k_dim * op.v_dim,
            ),
        };
        let rotation = if warm { 1.0 } else { f64::INFINITY };
        let moving = self.cache.read_time(Bytes::new(tokens), rotation, self.em, machine).get();
        let kept = self.cache.read_time(Bytes::new(states), rotation, self.es, machine).get();
        let body = moving + (moving * self.tr).sqrt() + kept;
        let bound = if self.t0 > body { Bound::Launch } else { Bound::Memory };
        OpCost {
            time: Seconds::new(self.t0 + body),
            bound,
            flop: Flop::new(flop),
            bytes: Bytes::new(tokens + states),
        }
    }
}

impl Scan5 {
    /// From values in the order of [`SCAN_PARAMS`].
    pub fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(1.0);
        Self { t0: at(0), ec: at(1), em: at(2), tc: at(3), p: at(4) }
    }

    /// Time of the chunked scan over `op`.
    pub fn price(&self, machine: &Machine, op: &LinearAttention) -> OpCost {
        let flop = op.scan_flop();
        let bytes = op.scanned_bytes() + 2.0 * op.sequences * op.state_bytes();
        let arithmetic = flop / (self.ec * machine.peak.get());
        let chain = (op.new_tokens / CHUNK).ceil() * self.tc;
        let memory = bytes / (self.em * machine.bandwidth.get());
        let computing = pn(arithmetic, chain, 3.0);
        let bound = match () {
            () if self.t0 > computing.max(memory) => Bound::Launch,
            () if computing > memory => Bound::Compute,
            () => Bound::Memory,
        };
        OpCost {
            time: Seconds::new(self.t0 + pn(computing, memory, self.p)),
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

    fn machine() -> Machine {
        Machine {
            peak: FlopPerSecond::new(1e15),
            bandwidth: BytesPerSecond::new(3e12),
            cores: 132.0,
            l2: Bytes::new(5e7),
        }
    }

    fn layer(sequences: f64, new_tokens: f64) -> LinearAttention {
        LinearAttention {
            sequences,
            new_tokens,
            k_heads: 16.0,
            v_heads: 64.0,
            k_dim: 128.0,
            v_dim: 128.0,
            taps: 4.0,
        }
    }

    #[test]
    fn a_large_decode_batch_streams_its_states() {
        let kernel = Stream6::from_slice(&[3e-6, 0.5, 1e-9, 2.0, 0.6, 0.6]);
        let cost = kernel.price(&machine(), &layer(512.0, 1.0), Streaming::DecodeScan, false);
        let states = 2.0 * 512.0 * 64.0 * 128.0 * 128.0 * 2.0 / (0.6 * 3e12);
        assert!((cost.time.get() / states - 1.0).abs() < 0.05, "{:?} {states}", cost.time);
        assert_eq!(cost.bound, Bound::Memory);
    }

    #[test]
    fn one_long_sequence_waits_for_its_chain() {
        let kernel = Scan5::from_slice(&[2e-5, 0.1, 0.5, 5e-6, 2.0]);
        let narrow = LinearAttention { k_heads: 1.0, v_heads: 4.0, ..layer(1.0, 32_768.0) };
        let cost = kernel.price(&machine(), &narrow);
        let chain = 512.0 * 5e-6;
        assert!(cost.time.get() > chain && cost.time.get() < 1.2 * chain, "{:?}", cost.time);
    }

    #[test]
    fn more_tokens_never_take_less() {
        let stream = Stream6::from_slice(&STREAM_PARAMS.map(|spec| spec.prior));
        let scan = Scan5::from_slice(&SCAN_PARAMS.map(|spec| spec.prior));
        let times = |tokens: f64| {
            let op = layer(4.0, tokens);
            [
                stream.price(&machine(), &op, Streaming::Convolution, true).time,
                scan.price(&machine(), &op).time,
            ]
        };
        for tokens in [1.0, 63.0, 64.0, 65.0, 1000.0, 4096.0] {
            let (before, after) = (times(tokens), times(tokens + 1.0));
            assert!(before[0] <= after[0] && before[1] <= after[1], "{tokens}");
        }
    }
}
