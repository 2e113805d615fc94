//! The range each figure must lie in. Wide enough for hardware that does not exist yet; narrow enough to catch a
//! slipped prefix.

use std::fmt::Display;
use units::{
    Bytes, BytesPerSecond, Dollars, DollarsPerHour, DollarsPerKilowattHour, FlopPerSecond,
    GramsCo2PerKilowattHour, Seconds, SquareMillimetres, Watts,
};

/// Smallest and largest allowed value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit<T> {
    pub(crate) min: T,
    pub(crate) max: T,
}

impl<T: PartialOrd + Display + Copy> Limit<T> {
    /// Whether `value` is inside, else what to say.
    pub(crate) fn hold(self, value: T) -> Result<(), String> {
        if value >= self.min && value <= self.max {
            Ok(())
        } else {
            Err(format!("{value} is out of range; allowed is {} to {}", self.min, self.max))
        }
    }
}

pub(crate) const COMPUTE: Limit<FlopPerSecond> =
    Limit { min: FlopPerSecond::new(1e10), max: FlopPerSecond::new(1e18) };
pub(crate) const CAPACITY: Limit<Bytes> = Limit { min: Bytes::new(1e8), max: Bytes::new(1e14) };
pub(crate) const CACHE: Limit<Bytes> = Limit { min: Bytes::new(1e4), max: Bytes::new(1e12) };
pub(crate) const MEMORY_RATE: Limit<BytesPerSecond> =
    Limit { min: BytesPerSecond::new(1e9), max: BytesPerSecond::new(1e17) };
pub(crate) const LINK_RATE: Limit<BytesPerSecond> =
    Limit { min: BytesPerSecond::new(1e7), max: BytesPerSecond::new(1e15) };
pub(crate) const LATENCY: Limit<Seconds> = Limit { min: Seconds::new(1e-10), max: Seconds::new(1.0) };
pub(crate) const POWER: Limit<Watts> = Limit { min: Watts::new(0.1), max: Watts::new(1e5) };
pub(crate) const OVERHEAD: Limit<Watts> = Limit { min: Watts::ZERO, max: Watts::new(1e5) };
pub(crate) const AREA: Limit<SquareMillimetres> =
    Limit { min: SquareMillimetres::new(10.0), max: SquareMillimetres::new(1e5) };
pub(crate) const CORES: Limit<u32> = Limit { min: 1, max: 1_000_000 };
pub(crate) const RANKS: Limit<u32> = Limit { min: 1, max: 64 };
pub(crate) const DOMAIN_RANKS: Limit<u32> = Limit { min: 1, max: 10_000_000 };
pub(crate) const CHIPS: Limit<u32> = Limit { min: 1, max: 1_000_000 };
pub(crate) const PRICE: Limit<Dollars> = Limit { min: Dollars::new(1.0), max: Dollars::new(1e7) };
pub(crate) const RENT: Limit<DollarsPerHour> =
    Limit { min: DollarsPerHour::new(0.001), max: DollarsPerHour::new(1e4) };
pub(crate) const OVERSUBSCRIPTION: Limit<f64> = Limit { min: 1.0, max: 100.0 };
pub(crate) const DIMENSIONS: Limit<u32> = Limit { min: 1, max: 6 };
pub(crate) const OVERHEAD_TIME: Limit<Seconds> = Limit { min: Seconds::ZERO, max: Seconds::new(1.0) };
pub(crate) const SHARE: Limit<f64> = Limit { min: 0.0, max: 1.0 };
pub(crate) const FACTOR: Limit<f64> = Limit { min: 0.1, max: 10.0 };
pub(crate) const SKEW: Limit<f64> = Limit { min: 0.0, max: 20.0 };
pub(crate) const CHUNK: Limit<f64> = Limit { min: 1.0, max: 1000.0 };
pub(crate) const TOKENS: Limit<u32> = Limit { min: 1, max: 10_000_000 };
pub(crate) const BLOCK: Limit<u32> = Limit { min: 1, max: 65_536 };
pub(crate) const RESERVE: Limit<Bytes> = Limit { min: Bytes::ZERO, max: Bytes::new(1e13) };
pub(crate) const ELECTRICITY: Limit<DollarsPerKilowattHour> =
    Limit { min: DollarsPerKilowattHour::ZERO, max: DollarsPerKilowattHour::new(10.0) };
pub(crate) const CARBON: Limit<GramsCo2PerKilowattHour> =
    Limit { min: GramsCo2PerKilowattHour::ZERO, max: GramsCo2PerKilowattHour::new(3000.0) };
pub(crate) const PUE: Limit<f64> = Limit { min: 1.0, max: 5.0 };
/// A share of a purchase, once or per year.
pub(crate) const YEARLY: Limit<f64> = Limit { min: 0.0, max: 1.0 };
pub(crate) const DEPRECIATION: Limit<Seconds> = Limit { min: Seconds::new(86400.0), max: Seconds::new(1e9) };
pub(crate) const FRACTION: Limit<f64> = Limit { min: 0.0, max: 1.5 };
