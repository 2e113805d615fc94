//! Kernels that stream operands through the vector units: quantisation, norms, activations, residual adds.

use super::common::Cache;
use super::{Bound, Machine, OpCost};
use crate::kernels::ParamSpec;
use units::{Bytes, Flop, Seconds};

/// The coefficients, in the order of [`Elementwise::from_slice`].
pub const PARAMS: [ParamSpec; 5] = [
    ParamSpec::new("t0", "s", "launch latency", 5e-8, 1e-3, 3e-6, 1.2),
    ParamSpec::new("em", "", "share of peak memory bandwidth", 0.02, 1.2, 0.7, 0.5),
    ParamSpec::new("tr", "s", "time scale of the ramp to full bandwidth", 1e-9, 1e-4, 1e-6, 1.5),
    ParamSpec::new("r2", "", "cache bandwidth over memory bandwidth", 1.0, 20.0, 2.0, 0.8),
    ParamSpec::new("cl2", "", "usable share of the cache", 0.02, 4.0, 0.6, 0.7),
];

/// Coefficients of one streaming kernel: `t0 + x + sqrt(x tr)`, `x` the time of its bytes at the fitted bandwidth.
/// The root is the ramp: a transfer needs many requests in flight before it runs at full bandwidth.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Elementwise {
    t0: f64,
    em: f64,
    tr: f64,
    cache: Cache,
}

impl Elementwise {
    /// Share of memory bandwidth that norms, activations and residual adds are assumed to reach. No measured table
    /// covers them; 0.8 is what large copies and the measured quantise kernels reach on most chips.
    pub const ASSUMED_EFFICIENCY: f64 = 0.8;
    /// Their assumed launch latency inside a captured graph, where no quantise kernel of the chip was measured.
    pub const ASSUMED_LAUNCH: Seconds = Seconds::new(2e-6);

    /// From values in the order of [`PARAMS`].
    pub fn from_slice(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(1.0);
        Self { t0: at(0), em: at(1), tr: at(2), cache: Cache { speedup: at(3), usable: at(4) } }
    }

    /// A kernel nobody measured, launched in `launch`.
    pub fn assumed(launch: Seconds) -> Self {
        Self {
            t0: launch.get(),
            em: Self::ASSUMED_EFFICIENCY,
            tr: 0.0,
            cache: Cache { speedup: 1.0, usable: 1.0 },
        }
    }

    /// Launch latency.
    pub fn launch(&self) -> Seconds {
        Seconds::new(self.t0)
    }

    /// Time to move `bytes` (reads and writes); see [`Cache::hit`] for `rotation`.
    pub fn price(&self, machine: &Machine, bytes: Bytes, rotation: f64) -> OpCost {
        let stream = self.cache.read_time(bytes, rotation, self.em, machine).get();
        let moving = stream + (stream * self.tr).sqrt();
        let bound = if self.t0 > moving { Bound::Launch } else { Bound::Memory };
        OpCost { time: Seconds::new(self.t0 + moving), bound, flop: Flop::ZERO, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use units::{BytesPerSecond, FlopPerSecond};

    #[test]
    fn a_large_transfer_runs_at_the_assumed_bandwidth() {
        let machine = Machine {
            peak: FlopPerSecond::new(1e15),
            bandwidth: BytesPerSecond::new(1e12),
            cores: 100.0,
            l2: Bytes::new(5e7),
        };
        let kernel = Elementwise::assumed(Seconds::new(2e-6));
        let cost = kernel.price(&machine, Bytes::new(8e9), f64::INFINITY);
        assert!((cost.time.get() - 0.010002).abs() < 1e-9, "{:?}", cost.time);
        assert_eq!(kernel.price(&machine, Bytes::new(1e3), f64::INFINITY).bound, Bound::Launch);
    }
}
