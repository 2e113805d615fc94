//! How far a predicted step may be off: the 80 % band that held-out published runs earned.

use crate::framework::Profile;
use crate::job::Job;
use hardware::{BAND_80, Chip, Grade};
use model::Ffn;

/// Spread of ln(measured / predicted) of dense steps, set so that the band holds about 80 % of the published runs that are held out
/// (87 % of 46, docs/accuracy.md); a judgement, not a fit.
const DENSE: f64 = 0.13;
/// The same of models with routed experts, whose kernels and exchanges move most from one month of software to the next.
const EXPERTS: f64 = 0.22;
/// Further spread under a release that was fitted on no chip of the family, assumed: fits that leave a family out are off by
/// this much more.
const OTHER_FAMILY: f64 = 0.15;
/// Spread of the mean power of a package in training around the share of its rating that published nodes draw (76 to 82 %).
const POWER: f64 = 0.2;

/// Spread of a figure's logarithm, as a standard deviation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread(f64);

impl Spread {
    /// Of a step of `job` under `profile` on `chip`.
    pub fn of_step(job: &Job, profile: &Profile, chip: &Chip) -> Self {
        let experts = job.model.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_)));
        let own = if experts { EXPERTS } else { DENSE };
        let known = profile.fitted_families.contains(&chip.family);
        let other = if known { 0.0 } else { OTHER_FAMILY };
        Self(own.hypot(other).hypot(of_grade(chip.grade())))
    }

    /// This, of a figure that the mean power of a package enters too.
    #[must_use]
    pub fn with_power(self) -> Self {
        self.with(POWER)
    }

    /// This, with an independent `spread` more.
    #[must_use]
    pub fn with(self, spread: f64) -> Self {
        Self(self.0.hypot(spread))
    }

    /// As a standard deviation of the logarithm.
    pub fn sigma(self) -> f64 {
        self.0
    }

    /// The factor by which the ends of the 80 % band differ from the figure.
    pub fn factor(self) -> f64 {
        (BAND_80 * self.0).exp()
    }

    /// The 80 % band of `value`.
    pub fn band(self, value: f64) -> [f64; 2] {
        [value / self.factor(), value * self.factor()]
    }
}

/// What data sheet figures of a grade add: teardowns and analysts have been within a few percent of what vendors said
/// later; announced chips have shipped a quarter below or above what was said of them before.
fn of_grade(grade: Grade) -> f64 {
    match grade {
        Grade::Measured | Grade::Official => 0.0,
        Grade::Analyst => 0.04,
        Grade::Rumour | Grade::Assumed => 0.2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weaker_evidence_widens_the_band() {
        let spread = |grade| Spread(DENSE).with(of_grade(grade)).factor();
        assert!(spread(Grade::Official) < spread(Grade::Analyst));
        assert!(spread(Grade::Analyst) < spread(Grade::Rumour));
        let [low, high] = Spread(DENSE).band(10.0);
        assert!(low < 10.0 && 10.0 < high && (low * high - 100.0).abs() < 1e-9);
    }
}
