//! Terms that several operator forms share.
//!
//! They are the vocabulary of the kernel forms: how two overlapping times add, how a grid of tiles fills the cores in
//! waves, how fast a chip runs before its power limit bites, and what a last-level cache saves.

use super::Machine;
use units::{Bytes, Flop, Seconds};

/// The p-norm `(x^p + y^p)^(1/p)`: two activities that overlap the better the larger `p` is. `p = 1` is a sum,
/// `p -> infinity` the maximum.
#[inline]
pub fn pn(x: f64, y: f64, p: f64) -> f64 {
    let (low, high) = if x < y { (x, y) } else { (y, x) };
    if low <= 0.0 {
        return high;
    }
    high * ((p * (low / high).ln()).exp().ln_1p() / p).exp()
}

/// The ceiling of a count, which must be positive and below 2^63. Unlike [`f64::ceil`] it needs no call on targets
/// without a rounding instruction.
#[inline]
pub fn ceil(count: f64) -> f64 {
    let whole = count as i64 as f64;
    if whole < count { whole + 1.0 } else { whole }
}

/// Waves that `units` of work per core take. Up to one it is one wave; beyond, `strength` says how much of the last,
/// partly filled wave is paid: 1 for all of it (static scheduling), 0 for its filled share (perfect balance).
#[inline]
pub fn waves(units_per_core: f64, strength: f64) -> f64 {
    if units_per_core <= 1.0 {
        1.0
    } else {
        strength * ceil(units_per_core) + (1.0 - strength) * units_per_core
    }
}

/// Arithmetic efficiency of a kernel of `work` operations: `sustained` for long kernels (power-limited), higher by the
/// share `headroom` for short ones; `scale` is the work, in milliseconds at peak, at which half the headroom is gone.
#[inline]
pub fn boost(sustained: f64, headroom: f64, scale: f64, work: Flop, machine: &Machine) -> f64 {
    sustained * (1.0 + headroom / (1.0 + work.get() / (scale * machine.peak.get() * 1e-3)))
}

/// What the last-level cache does for data that is read again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cache {
    /// Bandwidth of the cache over that of memory.
    pub speedup: f64,
    /// Share of the cache's capacity that holds such data.
    pub usable: f64,
}

impl Cache {
    /// Share of `bytes` served from the cache when `rotation` buffers of that size take turns. Infinite rotation
    /// means that nothing is read twice while cached, as with the weights of a real model.
    #[inline]
    pub fn hit(&self, bytes: Bytes, rotation: f64, machine: &Machine) -> f64 {
        if rotation.is_infinite() {
            return 0.0;
        }
        let fill = rotation * bytes.get() / (self.usable * machine.l2.get());
        1.0 / (1.0 + fill * fill * fill)
    }

    /// Time to read `bytes` at the share `efficiency` of peak memory bandwidth, less what the cache serves.
    #[inline]
    pub fn read_time(&self, bytes: Bytes, rotation: f64, efficiency: f64, machine: &Machine) -> Seconds {
        let hit = self.hit(bytes, rotation, machine);
        bytes * ((1.0 - hit) + hit / self.speedup) / (machine.bandwidth * efficiency)
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

    #[test]
    fn overlap_lies_between_maximum_and_sum() {
        for p in [1.0, 2.0, 8.0] {
            let both = pn(3.0, 4.0, p);
            assert!((4.0..=7.0 + 1e-12).contains(&both), "{p}: {both}");
        }
        assert!((pn(3.0, 4.0, 2.0) - 5.0).abs() < 1e-12);
        assert_eq!(pn(0.0, 4.0, 2.0), 4.0);
    }

    #[test]
    fn waves_interpolate_between_balance_and_quantisation() {
        assert_eq!([ceil(0.0), ceil(0.2), ceil(3.0), ceil(3.0 + 1e-12)], [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(waves(0.2, 0.5), 1.0);
        assert_eq!(waves(1.5, 1.0), 2.0);
        assert_eq!(waves(1.5, 0.0), 1.5);
    }

    #[test]
    fn short_kernels_run_faster_than_the_power_limit() {
        let short = boost(0.6, 0.3, 1.0, Flop::new(1e6), &machine());
        let long = boost(0.6, 0.3, 1.0, Flop::new(1e16), &machine());
        assert!((short - 0.78).abs() < 1e-3 && (long - 0.6).abs() < 1e-3, "{short} {long}");
    }

    #[test]
    fn nothing_is_cached_under_infinite_rotation() {
        let cache = Cache { speedup: 4.0, usable: 1.0 };
        let cold = cache.read_time(Bytes::new(1e6), f64::INFINITY, 0.5, &machine());
        assert!((cold.get() - 1e6 / 1.5e12).abs() < 1e-18);
        let warm = cache.read_time(Bytes::new(1e6), 6.0, 0.5, &machine());
        assert!(warm < cold);
    }
}
