//! Prices from a data sheet alone: sustained shares of the peaks, tiles and waves.

use crate::fabric::Fabric;
use crate::pricer::{Collective, Exchange, Group, Pricer};
use cost::ops::{AttentionPrefill, Gemm};
use hardware::{Chip, System};
use units::{Bytes, Dtype, Flop, Seconds};

/// Share of the matrix peak that large products sustain; libraries reach 0.7 to 0.85 of the dense peak on every chip
/// whose kernels the calibration data covers.
const MATRIX_SHARE: f64 = 0.78;
/// Share of the matrix peak that fused attention sustains in the forward pass.
const ATTENTION_SHARE: f64 = 0.55;
/// Share of the memory peak that streaming kernels sustain.
const STREAM_SHARE: f64 = 0.85;
/// Share of the vector peak that unaligned matrix kernels reach.
const VECTOR_SHARE: f64 = 0.45;
/// Launch of one kernel.
const LAUNCH: f64 = 4e-6;
/// Side of an output tile.
const TILE: f64 = 128.0;

/// A chip known by its data sheet, in a system.
#[derive(Debug, Clone, PartialEq)]
pub struct Roofline {
    chip: Chip,
    fabric: Fabric,
}

impl Roofline {
    /// One rank of `chip` in `system`.
    pub fn new(chip: &Chip, system: &System) -> Self {
        Self { chip: chip.clone(), fabric: Fabric::new(system) }
    }

    fn peak(&self, dtype: Dtype) -> f64 {
        self.chip.rank.peak(dtype).map_or(1.0, units::FlopPerSecond::get)
    }

    fn bandwidth(&self) -> f64 {
        self.chip.rank.bandwidth.value.get()
    }
}

impl Pricer for Roofline {
    fn gemm(&self, op: Gemm, dtype: Dtype) -> Seconds {
        let cores = f64::from(self.chip.rank.cores.value);
        let tiles = (op.m / TILE).ceil() * (op.n / TILE).ceil();
        let waves = (tiles / cores).max(1.0);
        // A wave that is partly filled is partly paid: the next kernel's blocks fill what it leaves.
        let paid = 0.5 * waves.ceil() + 0.5 * waves;
        let arithmetic = paid * cores * TILE * TILE * 2.0 * op.k / (self.peak(dtype) * MATRIX_SHARE);
        let bytes = dtype.bytes() * (op.m * op.k + op.k * op.n) + 2.0 * op.m * op.n;
        Seconds::new(arithmetic.max(bytes / (self.bandwidth() * STREAM_SHARE)) + LAUNCH)
    }

    fn attention(&self, op: AttentionPrefill) -> Seconds {
        let pairs = op.new_tokens * (op.past_tokens + (op.new_tokens + 1.0) / 2.0);
        let pairs = op.window.map_or(pairs, |window| pairs.min(op.new_tokens * window));
        let flop = 2.0 * op.batch * op.heads * pairs * (op.qk_dim + op.v_dim);
        Seconds::new(flop / (self.peak(Dtype::Bf16) * ATTENTION_SHARE) + LAUNCH)
    }

    fn vector(&self, flop: Flop) -> Seconds {
        let vector =
            self.chip.rank.vector.as_ref().map_or(self.peak(Dtype::Bf16) / 16.0, |fact| fact.value.get());
        Seconds::new(flop.get() / (vector * VECTOR_SHARE))
    }

    fn stream(&self, bytes: Bytes) -> Seconds {
        Seconds::new(bytes.get() / (self.bandwidth() * STREAM_SHARE))
    }

    fn inside_scale_up(&self, group: Group) -> bool {
        self.fabric.inside_scale_up(group)
    }

    fn collective(&self, op: Collective, bytes: Bytes, group: Group) -> Seconds {
        self.fabric.collective(op, bytes, group)
    }

    fn exchange(&self, op: &Exchange) -> Seconds {
        let bytes = op.row * op.tokens * f64::from(op.topk);
        self.fabric.collective(Collective::AllToAll, bytes, op.group) * 2.0
    }

    fn send(&self, bytes: Bytes, stride: u32) -> Seconds {
        self.fabric.send(bytes, stride)
    }

    fn host_copy(&self, bytes: Bytes) -> Seconds {
        self.fabric.host_copy(bytes)
    }
}
