//! Policies: who goes next, who goes before his turn, and who has to make room. Each is a file of its own.

mod buddy;
mod conservative;
mod drf;
mod easy;
mod fifo;
mod gang;
mod goodput;
mod las;
mod max_min;
mod multifactor;
mod shortest;
mod slurm;
#[cfg(test)]
mod testing;

pub use buddy::Buddy;
pub use conservative::Conservative;
pub use drf::Drf;
pub use easy::Easy;
pub use fifo::Fifo;
pub use gang::Gang;
pub use goodput::Goodput;
pub use las::Las;
pub use max_min::MaxMin;
pub use multifactor::Multifactor;
pub use shortest::Shortest;

use crate::job::Job;
use crate::pass::Pass;
use crate::place::Placement;
use crate::state::{Entry, Key, State};
use crate::tree::Tree;
use serving::Nanos;
use units::Seconds;

/// A scheduling policy.
pub trait Policy: Send {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// A job's place in the queue; lower goes first. Higher priority, then earlier submission, by default.
    fn key(&self, entry: &Entry, _state: &State, _now: Nanos) -> Key {
        (-i64::from(entry.job.priority), entry.queued.get() as i64)
    }

    /// Starts, stops and resizes jobs.
    fn plan(&mut self, pass: &mut Pass<'_>);

    /// How often it wants to look again while jobs wait.
    fn period(&self) -> Option<Nanos> {
        None
    }

    /// Whether places in the queue change with time.
    fn ages(&self) -> bool {
        false
    }

    /// Whether it looks at running jobs when nobody waits.
    fn resizes(&self) -> bool {
        false
    }

    /// Whether it must be told the work left, which no real scheduler knows.
    fn needs_oracle(&self) -> bool {
        false
    }

    /// The only placement it works with, if so.
    fn placement(&self) -> Option<Placement> {
        None
    }

    /// Changes a job's request to what the policy deals in.
    fn admit(&mut self, _job: &mut Job, _tree: &Tree) {}
}

/// What may be set of the policies.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Waiting jobs looked at in one pass, as Slurm's `bf_max_job_test`.
    pub depth: usize,
    /// Whether jobs of higher priority stop jobs of lower priority.
    pub preempt: bool,
    /// Time between two passes of conservative backfill, as Slurm's `bf_interval`; in between only the head is tried.
    pub backfill_interval: Seconds,
    /// Weight of a job's age in multifactor priority.
    pub age_weight: f64,
    /// Age at which that factor is full.
    pub max_age: Seconds,
    /// Weight of the fair-share factor.
    pub fair_share_weight: f64,
    /// Weight of the size factor: chips over the cluster's.
    pub size_weight: f64,
    /// Weight of one unit of priority.
    pub priority_weight: f64,
    /// Time over which past usage is halved.
    pub half_life: Seconds,
    /// Attained service, in seconds on one chip, at which a job falls into the next queue of LAS.
    pub las_thresholds: Vec<Seconds>,
    /// Length of a round of policies that go by rounds.
    pub round: Seconds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            depth: 500,
            preempt: true,
            backfill_interval: Seconds::new(30.0),
            age_weight: 1000.0,
            max_age: Seconds::new(7.0 * 86_400.0),
            fair_share_weight: 10_000.0,
            size_weight: 0.0,
            priority_weight: 1000.0,
            half_life: Seconds::new(7.0 * 86_400.0),
            las_thresholds: vec![Seconds::new(3600.0), Seconds::new(36_000.0)],
            round: Seconds::new(360.0),
        }
    }
}

/// Names of all policies.
pub const NAMES: [&str; 11] = [
    "fifo",
    "easy",
    "conservative",
    "multifactor",
    "drf",
    "gang",
    "las",
    "shortest",
    "max-min",
    "goodput",
    "buddy",
];

/// The policy of that name.
pub fn by_name(name: &str, settings: &Settings) -> Option<Box<dyn Policy>> {
    let nanos = Nanos::from_seconds;
    Some(match name {
        "fifo" => Box::new(Fifo { preempt: settings.preempt }),
        "easy" => Box::new(Easy::new(settings.depth, settings.preempt)),
        "conservative" => {
            Box::new(Conservative::new(settings.depth, settings.preempt, nanos(settings.backfill_interval)))
        }
        "multifactor" => Box::new(Multifactor::new(settings)),
        "drf" => Box::new(Drf { depth: settings.depth }),
        "gang" => Box::new(Gang { depth: settings.depth, preempt: settings.preempt }),
        "las" => Box::new(Las {
            thresholds: settings.las_thresholds.iter().map(|limit| limit.get()).collect(),
            depth: settings.depth,
        }),
        "shortest" => Box::new(Shortest { depth: settings.depth }),
        "max-min" => Box::new(MaxMin::new(nanos(settings.round), settings.depth)),
        "goodput" => Box::new(Goodput::new(nanos(settings.round), settings.depth)),
        "buddy" => Box::new(Buddy { depth: settings.depth }),
        _ => return None,
    })
}
