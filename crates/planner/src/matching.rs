//! The inverse question: what must a chip be to do a job as well as another?
//!
//! Either chip's best plan for the job counts, found anew for every value tried, so that a faster memory may bring
//! another layout with it. More of a figure never makes a plan worse, so that bisection finds the least that does.

use crate::serve::{self, Best, Job, Place, PlanError, Watch};
use estimate::Resolver;
use estimate::economics::Site;
use hardware::overrides::{Override, OverrideError};
use hardware::{Catalog, Chip, DomainKind, Grade, System};
use units::{Bytes, BytesPerSecond, Dtype, FlopPerSecond, TokensPerSecond};

/// Factor by which a figure is changed at most in either direction.
const REACH: f64 = 64.0;
/// Relative width at which a value counts as found.
const WIDTH: f64 = 0.004;
/// A plan this close to the goal reaches it.
const CLOSE: f64 = 1e-3;
/// Values of the first figure that an iso-performance front has.
const FRONT_STEPS: i32 = 4;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum MatchError {
    /// A search failed.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The search was stopped before anything could be said.
    #[error("stopped before the figure could be bounded")]
    Stopped,
    /// The figure cannot be set.
    #[error(transparent)]
    Override(#[from] OverrideError),
    /// The figure cannot be varied continuously, or the chip has none.
    #[error(
        "`vary` {key}: {chip} has no such figure that can be varied; use chip.hbm.bandwidth, chip.hbm.capacity, \
         chip.matrix.<format>, chip.scale-up.bandwidth, chip.scale-out.bandwidth, chip.package-link.bandwidth or \
         system.domain.<domain>.bandwidth"
    )]
    Key {
        /// As given.
        key: String,
        /// Catalog key.
        chip: String,
    },
}

/// A figure that is varied, with what it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its key, as `--set` takes it.
    pub key: String,
    value: f64,
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Unit {
    Bytes,
    BytesPerSecond,
    Flop,
}

impl Figure {
    /// The figure `key` of a chip in a system.
    ///
    /// # Errors
    /// There is none, or it is not one that can be varied.
    pub fn of(key: &str, chip: &Chip, system: &System) -> Result<Self, MatchError> {
        let rate = |rate: BytesPerSecond| (rate.get(), Unit::BytesPerSecond);
        let found = match key.trim() {
            "chip.hbm.bandwidth" => Some(rate(chip.rank.bandwidth.value)),
            "chip.hbm.capacity" => Some((chip.rank.memory.value.get(), Unit::Bytes)),
            "chip.scale-up.bandwidth" => chip.scale_up.as_ref().map(|port| rate(port.bandwidth.value)),
            "chip.scale-out.bandwidth" => chip.scale_out.as_ref().map(|port| rate(port.bandwidth.value)),
            "chip.package-link.bandwidth" => chip.package_link.as_ref().map(|link| rate(link.0.value)),
            other => of_part(other, chip, system),
        };
        let (value, unit) =
            found.ok_or_else(|| MatchError::Key { key: key.to_owned(), chip: chip.id.clone() })?;
        Ok(Self { key: key.trim().to_owned(), value, unit })
    }

    /// As it is read and shown.
    pub fn show(&self, value: f64) -> String {
        match self.unit {
            Unit::Bytes => Bytes::new(value).to_string(),
            Unit::BytesPerSecond => BytesPerSecond::new(value).to_string(),
            Unit::Flop => FlopPerSecond::new(value).to_string(),
        }
    }

    /// What it is now, in base units.
    pub fn now(&self) -> f64 {
        self.value
    }

    /// The figure replaced by `value`, in base units.
    ///
    /// # Errors
    /// A value that the figure cannot have.
    pub fn set(&self, value: f64) -> Result<Override, OverrideError> {
        let unit = match self.unit {
            Unit::Bytes => "B",
            Unit::BytesPerSecond => "B/s",
            Unit::Flop => "FLOPS",
        };
        Override::parse(&format!("{}={value:.0} {unit}", self.key))
    }
}

/// Figures whose key has a name in it.
fn of_part(key: &str, chip: &Chip, system: &System) -> Option<(f64, Unit)> {
    if let Some(format) = key.strip_prefix("chip.matrix.") {
        let format: Dtype = format.parse().ok()?;
        return Some((chip.rank.matrix.get(&format)?.value.get(), Unit::Flop));
    }
    let domain = key.strip_prefix("system.domain.")?.strip_suffix(".bandwidth")?;
    let kind = DomainKind::ALL.into_iter().find(|kind| kind.to_string() == domain)?;
    Some((system.domain(kind)?.bandwidth.value.get(), Unit::BytesPerSecond))
}

/// What one figure must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// This, in base units; with what the plan does there.
    Value(f64, Reached),
    /// It does not matter within reach: even this little will do.
    Enough(f64, Reached),
    /// It cannot make up for the rest: even this much will not do.
    Never(f64, Reached),
    /// The search was stopped: it is over the first and at most the second, where the plan does this.
    Between(f64, f64, Reached),
}

/// What the best plan does at some value.
#[derive(Debug, Clone, PartialEq)]
pub struct Reached {
    /// Output tokens per second and chip.
    pub throughput: TokensPerSecond,
    /// Spread of ln(true / predicted) of it.
    pub sigma: f64,
    /// The weakest grade among the facts of the chip; `None` where there is no plan.
    pub grade: Option<Grade>,
    /// What takes most of the time, and what stops the batch from growing.
    pub bound: String,
}

/// A chip to be matched to a goal.
pub struct Subject<'a> {
    /// With what the user has replaced already.
    pub catalog: &'a Catalog,
    /// The job.
    pub job: &'a Job,
    /// Where.
    pub place: &'a Place,
    /// Prices.
    pub site: &'a Site,
    /// To be watched and stopped.
    pub watch: &'a Watch<'a>,
}

impl Subject<'_> {
    fn stopped(&self) -> bool {
        self.watch.cancel.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// What the best plan does with `sets` in place; nothing where no deployment meets the limits.
    ///
    /// # Errors
    /// Names that are unknown and the like, and [`MatchError::Stopped`] where the search for the plan was.
    pub fn reached(&self, sets: &[Override]) -> Result<Reached, MatchError> {
        let resolver = Resolver::new(self.catalog.clone().with_overrides(sets));
        let found = serve::best(&resolver, self.job, self.place, self.site, self.watch);
        // The best of half a search says nothing of the chip.
        if self.stopped() {
            return Err(MatchError::Stopped);
        }
        match found {
            Ok(Best { throughput, sigma, grade, bound }) => {
                Ok(Reached { throughput, sigma, grade: Some(grade), bound })
            }
            Err(PlanError::Nothing(reason)) => {
                Ok(Reached { throughput: TokensPerSecond::ZERO, sigma: 0.0, grade: None, bound: reason })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The least value of `figure` with which the job is done at `goal` tokens per second and chip, `others` in place.
    ///
    /// # Errors
    /// As those of [`Subject::reached`].
    pub fn solve(
        &self,
        figure: &Figure,
        goal: TokensPerSecond,
        others: &[Override],
    ) -> Result<Answer, MatchError> {
        let at = |value: f64| -> Result<Reached, MatchError> {
            let mut sets = others.to_vec();
            sets.push(figure.set(value)?);
            self.reached(&sets)
        };
        let does = |reached: &Reached| reached.throughput >= goal * (1.0 - CLOSE);
        let now = at(figure.value)?;
        let (mut low, mut high, mut found) = if does(&now) {
            let least = figure.value / REACH;
            let there = at(least)?;
            if does(&there) {
                return Ok(Answer::Enough(least, there));
            }
            (least, figure.value, now)
        } else {
            let most = figure.value * REACH;
            let there = at(most)?;
            if !does(&there) {
                return Ok(Answer::Never(most, there));
            }
            (figure.value, most, there)
        };
        while high / low > 1.0 + WIDTH {
            let middle = (low * high).sqrt();
            let there = match at(middle) {
                Err(MatchError::Stopped) => return Ok(Answer::Between(low, high, found)),
                there => there?,
            };
            if does(&there) {
                (high, found) = (middle, there);
            } else {
                low = middle;
            }
        }
        Ok(Answer::Value(high, found))
    }

    /// The second figure for each of several values of the first, a quarter of it to four times it; for fewer of them
    /// where the search is stopped.
    ///
    /// # Errors
    /// As those of [`Subject::reached`].
    pub fn front(
        &self,
        first: &Figure,
        second: &Figure,
        goal: TokensPerSecond,
    ) -> Result<Vec<(f64, Answer)>, MatchError> {
        let mut points = Vec::new();
        for step in -FRONT_STEPS..=FRONT_STEPS {
            let value = first.value * (f64::from(step) / 2.0).exp2();
            match self.solve(second, goal, &[first.set(value)?]) {
                Err(MatchError::Stopped) if !points.is_empty() => break,
                answer => points.push((value, answer?)),
            }
            if self.stopped() {
                break;
            }
        }
        Ok(points)
    }
}
