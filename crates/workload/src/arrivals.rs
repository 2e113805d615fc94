//! When requests are sent, if nobody waits for anybody.

use crate::random::{Stream, stream};
use rand::Rng;
use rand_distr::{Distribution, Exp1, Gamma};
use units::{PerSecond, Seconds};

/// An arrival process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Process {
    /// One every `1 / rate`.
    Constant {
        /// Requests per second.
        rate: PerSecond,
    },
    /// Independent arrivals.
    Poisson {
        /// Requests per second.
        rate: PerSecond,
    },
    /// Gamma-distributed gaps, as `vllm bench serve --burstiness`: one is Poisson, less is burstier, more is steadier.
    Gamma {
        /// Requests per second.
        rate: PerSecond,
        /// Shape of the gamma law.
        burstiness: f64,
    },
    /// Poisson-distributed bursts of so many requests at once.
    Bursts {
        /// Requests per second.
        rate: PerSecond,
        /// Requests per burst.
        size: u32,
    },
    /// Poisson with a rate that swings around its mean: `rate * (1 + swing * sin(2 pi t / period))`.
    Diurnal {
        /// Mean requests per second.
        rate: PerSecond,
        /// How far it swings, 0 to 1.
        swing: f64,
        /// Time of one swing.
        period: Seconds,
    },
}

/// A process that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("arrival {key}: {problem}")]
pub struct ArrivalError {
    /// The parameter.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Process {
    /// Mean requests per second.
    pub fn rate(&self) -> PerSecond {
        match *self {
            Self::Constant { rate }
            | Self::Poisson { rate }
            | Self::Gamma { rate, .. }
            | Self::Bursts { rate, .. }
            | Self::Diurnal { rate, .. } => rate,
        }
    }

    fn check(&self) -> Result<(), ArrivalError> {
        let wrong = |key, problem: &str| Err(ArrivalError { key, problem: problem.to_owned() });
        let rate = self.rate().get();
        if !rate.is_finite() || rate <= 0.0 {
            return wrong("rate", "must be more than 0 requests per second");
        }
        match *self {
            Self::Gamma { burstiness, .. } if !(1e-3..=1e6).contains(&burstiness) => {
                wrong("burstiness", "must be between 0.001 and 1000000")
            }
            Self::Bursts { size: 0, .. } => wrong("burst", "must be at least 1 request"),
            Self::Diurnal { swing, .. } if !(0.0..=1.0).contains(&swing) => {
                wrong("swing", "must be between 0 and 1")
            }
            Self::Diurnal { period, .. } if !period.is_finite() || period <= Seconds::ZERO => {
                wrong("period", "must be more than 0 s")
            }
            _ => Ok(()),
        }
    }
}

/// The times of a process, without end.
#[derive(Debug, Clone)]
pub struct Arrivals {
    process: Process,
    random: Stream,
    now: f64,
    left_in_burst: u32,
}

impl Arrivals {
    /// Starts a process at time zero.
    ///
    /// # Errors
    /// A parameter out of its range.
    pub fn new(process: Process, seed: u64) -> Result<Self, ArrivalError> {
        process.check()?;
        Ok(Self { process, random: stream(seed, "arrivals"), now: 0.0, left_in_burst: 0 })
    }

    fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.random)
    }
}

impl Iterator for Arrivals {
    type Item = Seconds;

    fn next(&mut self) -> Option<Seconds> {
        let rate = self.process.rate().get();
        match self.process {
            Process::Constant { .. } => self.now += 1.0 / rate,
            Process::Poisson { .. } => self.now += self.exponential() / rate,
            Process::Gamma { burstiness, .. } => {
                let law = Gamma::new(burstiness, 1.0 / (rate * burstiness)).ok()?;
                self.now += law.sample(&mut self.random);
            }
            Process::Bursts { size, .. } => {
                if self.left_in_burst == 0 {
                    self.now += self.exponential() * f64::from(size) / rate;
                    self.left_in_burst = size;
                }
                self.left_in_burst -= 1;
            }
            Process::Diurnal { swing, period, .. } => {
                // Thinning: candidates at the highest rate, kept in proportion to the rate of the moment.
                loop {
                    self.now += self.exponential() / (rate * (1.0 + swing));
                    let angle = std::f64::consts::TAU * self.now / period.get();
                    if self.random.random::<f64>() * (1.0 + swing) <= 1.0 + swing * angle.sin() {
                        break;
                    }
                }
            }
        }
        Some(Seconds::new(self.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Mean gap times rate, and the coefficient of variation of the gaps.
    fn gaps(process: Process) -> (f64, f64) {
        let times: Vec<f64> = Arrivals::new(process, 7).unwrap().take(60_000).map(Seconds::get).collect();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean * process.rate().get(), variance.sqrt() / mean)
    }

    #[test]
    fn means_and_variations_are_those_of_the_laws() {
        let rate = PerSecond::new(5.0);
        let cases = [
            (Process::Constant { rate }, 0.0),
            (Process::Poisson { rate }, 1.0),
            (Process::Gamma { rate, burstiness: 0.25 }, 2.0),
            (Process::Gamma { rate, burstiness: 4.0 }, 0.5),
            // A burst of k: gaps are zero but for one in k, which is exponential: cv^2 = 2k - 1.
            (Process::Bursts { rate, size: 5 }, 3.0),
        ];
        for (process, variation) in cases {
            let (mean, cv) = gaps(process);
            assert!((mean - 1.0).abs() < 0.03, "{process:?}: mean {mean}");
            assert!((cv - variation).abs() < 0.06, "{process:?}: cv {cv}");
        }
    }

    #[test]
    fn a_day_has_a_peak_and_a_trough() {
        let day = Process::Diurnal { rate: PerSecond::new(2.0), swing: 0.8, period: Seconds::new(1000.0) };
        let times: Vec<f64> =
            Arrivals::new(day, 7).unwrap().map(Seconds::get).take_while(|at| *at < 1e5).collect();
        let phase =
            |low: f64, high: f64| times.iter().filter(|at| (low..high).contains(&(*at % 1000.0))).count();
        // Integrals of 2 * (1 + 0.8 sin) over the two halves of a period: 1000 +- 509.
        let ratio = phase(0.0, 500.0) as f64 / phase(500.0, 1000.0) as f64;
        assert!((ratio / (1509.3 / 490.7) - 1.0).abs() < 0.05, "{ratio}");
    }

    #[test]
    fn parameters_out_of_range_are_named() {
        let rate = PerSecond::new(1.0);
        for (process, key) in [
            (Process::Poisson { rate: PerSecond::ZERO }, "rate"),
            (Process::Gamma { rate, burstiness: 0.0 }, "burstiness"),
            (Process::Bursts { rate, size: 0 }, "burst"),
            (Process::Diurnal { rate, swing: 1.5, period: Seconds::new(1.0) }, "swing"),
            (Process::Diurnal { rate, swing: 0.5, period: Seconds::ZERO }, "period"),
        ] {
            assert_eq!(Arrivals::new(process, 0).unwrap_err().key, key);
        }
    }
}
