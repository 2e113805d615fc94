//! Wall time to virtual time: a start and a speed.

use serving::Nanos;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

/// How much faster than the wall clock virtual time goes, as a ratio of whole numbers so that nothing is rounded twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speed {
    over: u64,
    under: u64,
}

impl Default for Speed {
    /// As fast as the described cluster.
    fn default() -> Self {
        Self { over: 1, under: 1 }
    }
}

/// Why a text is no speed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a speed; give a number between 0.001 and 100000, for example 10 or 0.5")]
pub struct SpeedError(String);

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, SpeedError> {
        let wrong = || SpeedError(text.to_owned());
        let value: f64 = text.trim().parse().map_err(|_| wrong())?;
        if !(0.001..=100_000.0).contains(&value) {
            return Err(wrong());
        }
        Ok(Self { over: (value * 1000.0).round() as u64, under: 1000 })
    }
}

impl fmt::Display for Speed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.over as f64 / self.under as f64)
    }
}

impl Speed {
    /// Virtual nanoseconds in `wall` nanoseconds.
    pub fn virtual_in(self, wall: u64) -> u64 {
        (u128::from(wall) * u128::from(self.over) / u128::from(self.under)) as u64
    }

    /// The least wall nanoseconds after which `nanos` virtual ones have gone.
    pub fn wall_for(self, nanos: u64) -> u64 {
        let wall = (u128::from(nanos) * u128::from(self.under)).div_ceil(u128::from(self.over));
        u64::try_from(wall).unwrap_or(u64::MAX)
    }
}

/// A running clock.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    start: Instant,
    /// Seconds since 1970 at the start, for dates in answers.
    pub epoch: u64,
    /// Its speed.
    pub speed: Speed,
}

impl Pace {
    /// Starts now.
    pub fn start(speed: Speed) -> Self {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self { start: Instant::now(), epoch: since_1970.map_or(0, |time| time.as_secs()), speed }
    }

    /// Virtual time at an instant.
    pub fn at(&self, instant: Instant) -> Nanos {
        let wall = instant.saturating_duration_since(self.start).as_nanos() as u64;
        Nanos::new(self.speed.virtual_in(wall))
    }

    /// Virtual time now.
    pub fn now(&self) -> Nanos {
        self.at(Instant::now())
    }

    /// The instant at which virtual time is `at`.
    pub fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(self.speed.wall_for(at.get()))
    }

    /// Seconds since 1970.
    pub fn date(&self) -> u64 {
        self.epoch + self.start.elapsed().as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_ends_when_its_instant_has_come_and_no_earlier(nanos in 0u64..1 << 50, thousandths in 1u64..100_000_000) {
            let speed = Speed { over: thousandths, under: 1000 };
            let wall = speed.wall_for(nanos);
            prop_assert!(speed.virtual_in(wall) >= nanos);
            prop_assert!(wall == 0 || speed.virtual_in(wall - 1) < nanos);
        }
    }

    #[test]
    fn speeds_are_checked() {
        assert_eq!("2.5".parse::<Speed>().unwrap().virtual_in(1000), 2500);
        for wrong in ["0", "-1", "nan", "inf", "1e9", "", "fast"] {
            assert!(wrong.parse::<Speed>().is_err(), "{wrong}");
        }
    }
}
