//! Instants as integer nanoseconds, so that adding times is associative and a run is reproducible to the bit.

use units::Seconds;

/// Nanoseconds since the driver's start. The control plane is told it and never asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(u64);

impl Nanos {
    /// The start.
    pub const ZERO: Self = Self(0);
    /// Later than anything that happens.
    pub const NEVER: Self = Self(u64::MAX);

    /// From a count of nanoseconds.
    pub const fn new(nanoseconds: u64) -> Self {
        Self(nanoseconds)
    }

    /// The count of nanoseconds.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The instant nearest to `seconds` after the start; negative times become the start.
    pub fn from_seconds(seconds: Seconds) -> Self {
        Self((seconds.get() * 1e9).round() as u64)
    }

    /// The time since the start.
    pub fn seconds(self) -> Seconds {
        Seconds::new(self.0 as f64 * 1e-9)
    }

    /// The instant `duration` later.
    #[must_use]
    pub fn after(self, duration: Seconds) -> Self {
        Self(self.0.saturating_add(Self::from_seconds(duration).0))
    }

    /// The instant after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The time from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Seconds {
        Seconds::new(self.0.saturating_sub(earlier.0) as f64 * 1e-9)
    }
}
