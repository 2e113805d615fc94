//! Dense matrix products: a tile and wave roofline with twelve coefficients.
//!
//! A kernel cuts the output into tiles, hands them to the cores in waves, and may split the inner dimension to fill
//! cores that would idle. Libraries choose the tile; the form takes the fastest of a set. The time is
//! `t0 + [quantise] + min over tiles and splits of (w te + pn(w tk, memory, p) [+ split reduction])`, where a tile
//! takes the longer of its arithmetic and the operands it loads.

use super::common::{Cache, boost, pn, waves};
use super::{Bound, Gemm, Machine, OpCost};
use crate::kernels::ParamSpec;
use units::{Bytes, Flop, Seconds};

/// Buffers that the benchmarks behind the shipped coefficients take turns with.
pub const BENCHMARK_ROTATION: f64 = 6.0;

/// The coefficients, in the order of [`Wave12::from_slice`].
pub const PARAMS: [ParamSpec; 13] = [
    ParamSpec::new("t0", "s", "launch latency", 5e-8, 1e-3, 1.5e-6, 1.5),
    ParamSpec::new("ec", "", "sustained share of peak arithmetic", 0.03, 1.1, 0.6, 0.3),
    ParamSpec::new("em", "", "share of peak memory bandwidth", 0.1, 1.2, 0.85, 0.2),
    ParamSpec::new("p", "", "sharpness of compute-memory overlap", 0.8, 10.0, 2.2, 0.5),
    ParamSpec::new(
        "bc",
        "",
        "load bandwidth of a core over its share of memory bandwidth",
        0.5,
        30.0,
        4.5,
        0.6,
    ),
    ParamSpec::new("kf", "inner elements", "pipeline fill and epilogue", 0.3, 4000.0, 100.0, 1.7),
    ParamSpec::new("te", "s", "overhead per wave", 1e-8, 2e-5, 1e-6, 1.4),
    ParamSpec::new("eh", "", "extra arithmetic rate of short kernels", 0.01, 2.0, 0.3, 0.8),
    ParamSpec::new("F0", "ms at peak", "work at which half of it is gone", 1e-3, 200.0, 1.2, 1.5),
    ParamSpec::new("a", "", "share of a partly filled wave that is paid", 0.02, 1.0, 0.3, 1.0),
    ParamSpec::new("r2", "", "cache bandwidth over memory bandwidth", 1.0, 20.0, 1.4, 0.7),
    ParamSpec::new("cl2", "", "usable share of the cache", 0.02, 4.0, 0.6, 0.7),
    ParamSpec::new("eq", "", "share of memory bandwidth of the quantise kernel", 0.02, 3.0, 0.5, 0.5),
];

/// Coefficients of one set of measured kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wave12 {
    t0: f64,
    ec: f64,
    em: f64,
    p: f64,
    bc: f64,
    kf: f64,
    te: f64,
    eh: f64,
    f0: f64,
    a: f64,
    cache: Cache,
    eq: f64,
}

impl Wave12 {
    /// The launch latency.
    pub fn launch(&self) -> Seconds {
        Seconds::new(self.t0)
    }

    /// With the launch latency of another set, where that is shorter.
    #[must_use]
    pub fn with_launch_of(mut self, other: &Self) -> Self {
        self.t0 = self.t0.min(other.t0);
        self
    }

    /// From values in the order of [`PARAMS`]; a missing `eq` (kernels that quantise nothing) is one.
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
            eh: at(7),
            f0: at(8),
            a: at(9),
            cache: Cache { speedup: at(10), usable: at(11) },
            eq: at(12),
        }
    }
}

/// Which tiles a kernel library offers; a structural choice that is searched, not fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TileSet {
    /// From 16 x 64 to 256 x 256.
    All,
    /// At least 64 rows.
    M64,
    /// At least 128 rows.
    M128,
    /// At least 128 rows and columns.
    M128L,
}

impl TileSet {
    /// Every choice.
    pub const ALL: [Self; 4] = [Self::All, Self::M64, Self::M128, Self::M128L];

    /// The name it has in kernel profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::M64 => "m64",
            Self::M128 => "m128",
            Self::M128L => "m128L",
        }
    }

    /// The choice of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tiles| tiles.name() == name)
    }

    /// Rows and columns of each tile.
    pub const fn tiles(self) -> &'static [(f64, f64)] {
        const ALL: [(f64, f64); 12] = [
            (16.0, 64.0),
            (16.0, 128.0),
            (32.0, 64.0),
            (32.0, 128.0),
            (64.0, 64.0),
            (64.0, 128.0),
            (64.0, 256.0),
            (128.0, 64.0),
            (128.0, 128.0),
            (128.0, 256.0),
            (256.0, 128.0),
            (256.0, 256.0),
        ];
        const M128: [(f64, f64); 6] =
            [(128.0, 32.0), (128.0, 64.0), (128.0, 128.0), (128.0, 256.0), (256.0, 128.0), (256.0, 256.0)];
        match self {
            Self::All => &ALL,
            Self::M64 => ALL.split_at(4).1,
            Self::M128 => &M128,
            Self::M128L => M128.split_at(2).1,
        }
    }
}

/// What a kernel library does, beside its coefficients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GemmKernel {
    /// The tiles it chooses from.
    pub tiles: TileSet,
    /// Whether it may split the inner dimension over cores.
    pub split_k: bool,
    /// Bytes of a weight element, scales included.
    pub weight_bytes: f64,
    /// Bytes of an activation element as the matrix unit reads it.
    pub activation_bytes: f64,
    /// Whether activations are quantised by a kernel of their own before the product.
    pub quantise: bool,
}

impl GemmKernel {
    /// Time of `op` when `rotation` sets of operands take turns: [`BENCHMARK_ROTATION`] for a benchmark row,
    /// infinity for a model, whose weights are cold.
    pub fn price(&self, c: &Wave12, machine: &Machine, op: Gemm, rotation: f64) -> OpCost {
        let flop = 2.0 * op.m * op.n * op.k;
        let bytes = op.m * op.k * self.activation_bytes + op.n * op.k * self.weight_bytes + 2.0 * op.m * op.n;
        let memory = c.cache.read_time(Bytes::new(bytes), rotation, c.em, machine).get();
        let (body, arithmetic) = self.body(c, machine, op, memory);
        let quantise = if self.quantise {
            let moved = Bytes::new(op.m * op.k * (2.0 + self.activation_bytes));
            c.cache.read_time(moved, rotation, c.eq, machine).get()
        } else {
            0.0
        };
        let bound = match () {
            () if c.t0 > arithmetic.max(memory + quantise) => Bound::Launch,
            () if arithmetic > memory + quantise => Bound::Compute,
            () => Bound::Memory,
        };
        OpCost {
            time: Seconds::new(c.t0 + quantise + body),
            bound,
            flop: Flop::new(flop),
            bytes: Bytes::new(bytes),
        }
    }

    /// The fastest tile and split: its time beyond launch and quantisation, and the arithmetic part of it, seconds.
    fn body(&self, c: &Wave12, machine: &Machine, op: Gemm, memory: f64) -> (f64, f64) {
        let flop = Flop::new(2.0 * op.m * op.n * op.k);
        let rate = boost(c.ec, c.eh, c.f0, flop, machine) * machine.peak.get() / machine.cores;
        let load = c.bc * c.em * machine.bandwidth.get() / machine.cores;
        let splits: &[f64] = if self.split_k { &[1.0, 2.0, 4.0, 8.0, 16.0] } else { &[1.0] };
        let mut best = (f64::INFINITY, 0.0);
        for &(bm, bn) in self.tiles.tiles() {
            let tiles = (op.m / bm).ceil() * (op.n / bn).ceil();
            let per_k =
                (2.0 * bm * bn / rate).max((bm * self.activation_bytes + bn * self.weight_bytes) / load);
            for &split in splits {
                if split > 1.0 && (tiles * split > 2.0 * machine.cores || op.k / split < 128.0) {
                    break;
                }
                let w = waves(tiles * split / machine.cores, c.a);
                let mut fixed = w * c.te;
                if split > 1.0 {
                    fixed += c.te + 8.0 * split * op.m * op.n / (c.bc * c.em * machine.bandwidth.get());
                }
                let arithmetic = w * per_k * (op.k / split + c.kf);
                // The overlap of two times is at least the longer one: skip the logarithms if that is too long.
                if fixed + arithmetic.max(memory) < best.0 {
                    let time = fixed + pn(arithmetic, memory, c.p);
                    if time < best.0 {
                        best = (time, arithmetic);
                    }
                }
            }
        }
        best
    }
}
