//! The fused routed-experts operator: two grouped products per expert in one wave roofline, with fourteen coefficients.
//!
//! Both products of all experts on the rank (gate and up together, then down) are cut into tiles that no two experts
//! share, handed to the cores in waves, and overlap with reading the weights of the experts touched. Around them
//! tokens are routed, permuted, activated and reduced. The time is
//! `t0 + t1 x / (x + rc) + sum over products of min over tiles of (w te + pn(w tk, weights, p)) + activations`, with
//! `x` the token-expert pairs of the whole expert-parallel group: the helper kernels around the products launch more
//! blocks, and some only appear, as there is more to sort, until they fill the chip. Benchmarks read the same weights
//! again and again, so small layers come from the cache there; in a model they never do.

use super::Precision;
use super::common::{Cache, ceil, pn, waves};
use super::{Bound, GroupedMoe, Machine, OpCost};
use crate::kernels::{ParamSpec, ProfileError};
use crate::routing::Load;
use std::collections::BTreeMap;
use units::{Bytes, Flop, Seconds};

/// The coefficients, in the order of [`MoeWave14::from_slice`].
pub const PARAMS: [ParamSpec; 14] = [
    ParamSpec::new("t0", "s", "launch latency of the kernels together", 1e-7, 1e-3, 2.0e-5, 0.8),
    ParamSpec::new("ec", "", "sustained share of peak arithmetic", 0.02, 1.2, 0.6, 0.5),
    ParamSpec::new("em", "", "share of peak memory bandwidth", 0.1, 1.0, 0.9, 0.3),
    ParamSpec::new("p", "", "sharpness of compute-memory overlap", 0.8, 10.0, 1.7, 0.55),
    ParamSpec::new(
        "bc",
        "",
        "load bandwidth of a core over its share of memory bandwidth",
        0.5,
        30.0,
        3.3,
        0.45,
    ),
    ParamSpec::new("kf", "inner elements", "pipeline fill and epilogue", 0.3, 4000.0, 100.0, 2.0),
    ParamSpec::new("te", "s", "overhead per wave", 1e-8, 2e-5, 9e-7, 1.8),
    ParamSpec::new("a", "", "share of a partly filled wave that is paid", 0.02, 1.0, 0.6, 0.6),
    ParamSpec::new("ea", "", "share of memory bandwidth of this rank's activations", 0.02, 20.0, 1.0, 1.5),
    ParamSpec::new("eg", "", "share of memory bandwidth of all tokens' activations", 0.02, 20.0, 0.85, 1.05),
    ParamSpec::new("t1", "s", "growth of the launch latency with the rows routed", 1e-8, 1e-3, 6e-6, 1.1),
    ParamSpec::new(
        "rc",
        "token-expert pairs",
        "rows at which half of that growth is reached",
        1.0,
        1e5,
        200.0,
        1.5,
    ),
    ParamSpec::new("r2", "", "cache bandwidth over memory bandwidth", 1.0, 20.0, 2.0, 0.7),
    ParamSpec::new("cl2", "", "usable share of the cache", 0.02, 4.0, 0.6, 0.7),
];

/// Coefficients of one set of measured kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeWave14 {
    t0: f64,
    ec: f64,
    em: f64,
    p: f64,
    bc: f64,
    kf: f64,
    te: f64,
    a: f64,
    ea: f64,
    eg: f64,
    t1: f64,
    rc: f64,
    cache: Cache,
}

impl MoeWave14 {
    /// From values in the order of [`PARAMS`].
    pub fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(1.0);
        Self {
            t0: at(0),
            ec: at(1),
            em: at(2),
            p: at(3),
            bc: at(4),
            kf: at(5),
            te: at(6),
            a: at(7),
            ea: at(8),
            eg: at(9),
            t1: at(10),
            rc: at(11),
            cache: Cache { speedup: at(12), usable: at(13) },
        }
    }
}

/// Rows of the tiles a kernel library offers; a structural choice that is searched, not fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowTiles {
    /// 16 to 128.
    Any,
    /// 8 to 256.
    Wide,
    /// 64 only.
    B64,
}

impl RowTiles {
    /// Every choice.
    pub const ALL: [Self; 3] = [Self::Any, Self::Wide, Self::B64];

    /// The name it has in kernel profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Wide => "wide",
            Self::B64 => "b64",
        }
    }

    /// The choice of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tiles| tiles.name() == name)
    }

    /// Indices into [`crate::routing::BLOCKS`].
    const fn blocks(self) -> std::ops::Range<usize> {
        match self {
            Self::Any => 1..5,
            Self::Wide => 0..6,
            Self::B64 => 3..4,
        }
    }
}

/// What a kernel library does, beside its coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeKernel {
    /// The tiles it chooses from.
    pub tiles: RowTiles,
    /// Whether activation buffers hold the rows of all ranks of the expert-parallel group (sglang's and vLLM's Triton
    /// kernels) rather than those of this rank.
    pub global_rows: bool,
    /// Bytes of a weight element, scales included.
    pub weight_bytes: f64,
    /// Bytes of an activation element as the matrix unit reads it.
    pub activation_bytes: f64,
}

/// Weight sets that the benchmarks take turns with: one, read again in every repetition.
pub const BENCHMARK_ROTATION: f64 = 1.0;

/// Columns of the tiles.
const COLUMNS: [f64; 3] = [64.0, 128.0, 256.0];

impl MoeKernel {
    /// From the structural choices of a profile's set, with the element sizes of the formats `wanted`; `set` names the
    /// set in errors.
    ///
    /// # Errors
    /// If a choice is unknown.
    pub fn from_structure(
        structure: &BTreeMap<String, String>,
        wanted: Precision,
        set: &str,
    ) -> Result<Self, ProfileError> {
        let wrong = |key, value: &str, allowed| {
            Err(ProfileError::Structure { set: set.to_owned(), key, value: value.to_owned(), allowed })
        };
        let tiles = match structure.get("tiles").map_or(Some(RowTiles::Any), |name| RowTiles::from_name(name))
        {
            Some(tiles) => tiles,
            None => return wrong("tiles", &structure["tiles"], "`any`, `wide` or `b64`"),
        };
        let global_rows = match structure.get("global_rows").map(String::as_str) {
            Some("yes") => true,
            Some("no") | None => false,
            Some(other) => return wrong("global_rows", other, "`yes` or `no`"),
        };
        let (weight_bytes, activation_bytes) = (wanted.weight.bytes(), wanted.activation.bytes());
        Ok(Self { tiles, global_rows, weight_bytes, activation_bytes })
    }

    /// Time of `op` under `load` when `rotation` sets of weights take turns: [`BENCHMARK_ROTATION`] for a benchmark
    /// row, infinity for a model. Non-decreasing in tokens, rows, experts touched and tiles.
    pub fn price(
        &self,
        c: &MoeWave14,
        machine: &Machine,
        op: &GroupedMoe,
        load: &Load,
        rotation: f64,
    ) -> OpCost {
        let fan = if op.gated { 2.0 } else { 1.0 };
        let (hidden, inner) = (op.hidden, op.intermediate);
        let bandwidth = machine.bandwidth.get();
        let matrix = load.active_experts * hidden * inner * self.weight_bytes;
        let weights = Bytes::new(matrix * (fan + 1.0));
        // Both products share the cache, so what it holds is told by the weights of both.
        let reading = c.cache.read_time(weights, rotation, c.em, machine).get() / (fan + 1.0);
        let (up, up_arithmetic) = self.product(c, machine, load, [fan * inner, hidden], fan * reading);
        let (down, down_arithmetic) = self.product(c, machine, load, [hidden, inner], reading);
        let pairs = op.tokens * op.topk;
        let activated = inner * (2.0 * fan + 2.0 + self.activation_bytes);
        let local = load.rows * (hidden * (2.0 + 2.0 * self.activation_bytes) + activated);
        let global = pairs * (2.0 * hidden + if self.global_rows { activated } else { 0.0 });
        let launch = c.t0 + c.t1 * pairs / (pairs + c.rc);
        let streamed = local / (c.ea * bandwidth) + global / (c.eg * bandwidth);
        let time = launch + up + down + streamed;
        let arithmetic = up_arithmetic + down_arithmetic;
        let bound = match () {
            () if launch > 0.5 * time => Bound::Launch,
            () if arithmetic > time - launch - arithmetic => Bound::Compute,
            () => Bound::Memory,
        };
        OpCost {
            time: Seconds::new(time),
            bound,
            flop: Flop::new(2.0 * load.rows * (fan + 1.0) * hidden * inner),
            bytes: weights + Bytes::new(local + global),
        }
    }

    /// One grouped product `[rows, k] x [k, n]` per expert whose weights take `memory` seconds to read: the time of the
    /// fastest tile and its arithmetic part.
    fn product(
        &self,
        c: &MoeWave14,
        machine: &Machine,
        load: &Load,
        [n, k]: [f64; 2],
        memory: f64,
    ) -> (f64, f64) {
        let rate = c.ec * machine.peak.get() / machine.cores;
        let feed = c.bc * c.em * machine.bandwidth.get() / machine.cores;
        let mut choices = [(0.0, 0.0); 6 * COLUMNS.len()];
        let mut count = 0;
        let mut first = (f64::INFINITY, f64::INFINITY);
        for bn in COLUMNS {
            let across = ceil(n / bn) / machine.cores;
            for index in self.tiles.blocks() {
                let bm = crate::routing::BLOCKS[index];
                let w = waves(load.tiles[index] * across, c.a);
                let operands = (bm * self.activation_bytes + bn * self.weight_bytes) / feed;
                let choice = (w * c.te, w * (2.0 * bm * bn / rate).max(operands) * (k + c.kf));
                choices[count] = choice;
                count += 1;
                if choice.0 + choice.1 < first.0 + first.1 {
                    first = choice;
                }
            }
        }
        fastest(&choices[..count], first, memory, c.p)
    }
}

/// The least `fixed + pn(arithmetic, memory, p)` over `choices`, with its arithmetic, given the one with the least
/// `fixed + arithmetic`. As the norm grows at most as fast as `arithmetic`, no choice with less arithmetic beats that
/// one, and none with more does unless its fixed part is smaller: few are left to take logarithms for.
fn fastest(choices: &[(f64, f64)], first: (f64, f64), memory: f64, p: f64) -> (f64, f64) {
    let mut best = (first.0 + pn(first.1, memory, p), first.1);
    for (fixed, arithmetic) in choices {
        if *arithmetic > first.1 && *fixed < first.0 && fixed + arithmetic.max(memory) < best.0 {
            let time = fixed + pn(*arithmetic, memory, p);
            if time < best.0 {
                best = (time, *arithmetic);
            }
        }
    }
    best
}

#[cfg(test)]
#[path = "moe_tests.rs"]
mod tests;
