//! The best way to serve a job: every deployment of the space, aggregated and disaggregated.
//!
//! The search goes over kinds of instances (layout and formats) in blocks. Visiting a kind prices its decode curve, its
//! prefill queue, and those aggregated deployments that could still win: decoding without prompts bounds what an
//! aggregated instance can do. Then pools of prefill and decode instances are put together. Nothing is left out that
//! could be on the front or among the best; a test holds this against pricing everything.

mod combine;
mod confirm;
mod job;
mod kinds;
mod price;
mod reasons;
mod settle;
#[cfg(test)]
mod tests;
mod visit;
mod worth;

pub use confirm::confirm;
pub use job::{Job, Objective, Options, Place, Target, UnknownObjective, Work};
pub use settle::Planned;

use crate::plan_file::{PlanFile, SearchFile};
use combine::{Combined, Pools, combine};
use estimate::economics::Site;
use estimate::{EstimateError, Resolver};
use hardware::Grade;
use kinds::{Ground, Kind, kinds};
use rayon::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use units::TokensPerSecond;
use visit::{Bar, Counts, Surroundings, Visit, visit_all};
use worth::{Candidate, Front, Hourly, Judge};

/// Kinds, whatever their number of stages, visited before what is known is brought up to date.
const BLOCK: usize = 16;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A name is unknown or the input contradicts itself.
    #[error(transparent)]
    Input(#[from] EstimateError),
    /// Flags that do not go together.
    #[error("{0}")]
    Flags(&'static str),
    /// The search came to its end and nothing meets the limits.
    #[error("{0}")]
    Nothing(String),
}

/// A search that can be watched and stopped.
pub struct Watch<'a> {
    /// Set from outside to stop; the best found so far is the answer.
    pub cancel: &'a AtomicBool,
    /// Told how many of how many kinds of instances are done.
    pub progress: &'a (dyn Fn(usize, usize) + Sync),
}

/// A plan with the step models behind it.
pub struct Outcome {
    /// The plan as it is written.
    pub file: PlanFile,
    /// The winner, ready to be simulated.
    pub best: Planned,
    /// The best aggregated deployment.
    pub aggregated: Option<Planned>,
    /// The best disaggregated deployment.
    pub disaggregated: Option<Planned>,
}

/// Everything that was found, before it is worked out in full.
struct Found {
    grounds: Vec<Ground>,
    judge: Judge,
    /// The best of each class, best first.
    best: Vec<Candidate>,
    front: Front<Candidate>,
    counts: SearchFile,
    refused: Option<EstimateError>,
}

/// Searches for the best plan of `job` on `places`.
///
/// # Errors
/// Names that are unknown, flags that contradict each other, or no deployment that meets the limits.
pub fn plan(
    resolver: &Resolver,
    job: &Job,
    places: &[Place],
    site: &Site,
    watch: &Watch,
) -> Result<Outcome, PlanError> {
    check(job, places)?;
    let found = search(resolver, job, places, site, watch, false)?;
    settle::outcome(resolver, job, site, found)
}

/// What the best plan of a job does.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// Output tokens per second and chip.
    pub throughput: TokensPerSecond,
    /// Spread of ln(true / predicted) of it.
    pub sigma: f64,
    /// The weakest grade among the facts of its chips.
    pub grade: Grade,
    /// What takes most of the time, and what stops the batch from growing.
    pub bound: String,
}

/// What the best plan of `job` does on one place.
///
/// # Errors
/// As those of [`plan`].
pub fn best(
    resolver: &Resolver,
    job: &Job,
    place: &Place,
    site: &Site,
    watch: &Watch,
) -> Result<Best, PlanError> {
    let places = std::slice::from_ref(place);
    check(job, places)?;
    let found = search(resolver, job, places, site, watch, false)?;
    settle::best(resolver, job, site, &found)
}

fn check(job: &Job, places: &[Place]) -> Result<(), PlanError> {
    if places.is_empty() {
        return Err(PlanError::Flags("`system` is needed; the catalog lists them"));
    }
    if job.objective == Objective::Chips && job.target == Target::Most {
        let hint = "`objective` chips needs a load: give `target_rate` or `target_concurrency`";
        return Err(PlanError::Flags(hint));
    }
    if job.options.mix && job.target == Target::Most && places.iter().any(|place| place.chips.is_none()) {
        let hint = "`mix` needs `chips` or a load (`target_rate` or `target_concurrency`): \
                    otherwise there is no telling how many chips of either system to count";
        return Err(PlanError::Flags(hint));
    }
    if job.work.new < 1.0 || job.work.output < 1.0 {
        return Err(PlanError::Flags("prompts need at least one token to compute and outputs one token"));
    }
    Ok(())
}

/// Requests per second that the target amounts to: users who wait no longer than the limits allow.
fn target_rate(job: &Job) -> Option<f64> {
    match job.target {
        Target::Most => None,
        Target::Rate(rate) => Some(rate.get()),
        Target::Concurrency(users) => {
            Some(users / (job.ttft.get() + job.tpot.get() * job.work.after_first()))
        }
    }
}

fn search(
    resolver: &Resolver,
    job: &Job,
    places: &[Place],
    site: &Site,
    watch: &Watch,
    exhaustive: bool,
) -> Result<Found, PlanError> {
    let model = resolver.model(&job.model)?;
    let mut best: Option<Found> = None;
    // Systems that are not mixed do not share chips: each is a search of its own, and the best answer counts.
    let groups: Vec<&[Place]> = if job.options.mix { vec![places] } else { places.chunks(1).collect() };
    for group in groups {
        let grounds = group
            .iter()
            .map(|place| Ground::survey(resolver, job, place))
            .collect::<Result<Vec<Ground>, EstimateError>>()?;
        let found = search_grounds(resolver, job, &model, grounds, site, watch, exhaustive)?;
        best = Some(match best {
            None => found,
            Some(best) => merge(best, found),
        });
        if watch.cancel.load(Ordering::Relaxed) {
            break;
        }
    }
    best.ok_or(PlanError::Flags("`system` is needed"))
}

fn search_grounds(
    resolver: &Resolver,
    job: &Job,
    model: &model::Model,
    grounds: Vec<Ground>,
    site: &Site,
    watch: &Watch,
    exhaustive: bool,
) -> Result<Found, PlanError> {
    let all: Vec<Vec<Kind>> =
        grounds.iter().enumerate().flat_map(|(index, ground)| kinds(index, ground, job, model)).collect();
    let chips: u32 = grounds.iter().map(|ground| ground.chips).sum();
    let shared = job.options.mix.then(|| grounds.iter().map(|ground| ground.chips).max().unwrap_or(0));
    let judge = Judge {
        objective: job.objective,
        target: target_rate(job),
        available: f64::from(shared.unwrap_or(chips)),
        power: job.power_budget.map(units::Watts::get),
    };
    let drafts = if model.mtp.is_some() { job.options.drafts.min(16) } else { 0 };
    let mut bar = Bar::default();
    let mut counts = Counts::default();
    let mut pools = Pools::default();
    let mut refused = None;
    let mut done = 0;
    let nothing = Bar::default();
    let hourly: Vec<Hourly> =
        grounds.iter().map(|ground| Hourly::new(site, ground.ownership(site))).collect();
    let around = Surroundings {
        resolver,
        job,
        grounds: &grounds,
        judge,
        hourly: &hourly,
        drafts,
        bar: &nothing,
        exhaustive,
        cancel: watch.cancel,
    };
    for block in all.chunks(BLOCK) {
        if watch.cancel.load(Ordering::Relaxed) {
            break;
        }
        let known = bar.clone();
        let within = Surroundings { bar: &known, ..around };
        let visits: Vec<Vec<Visit>> = block.par_iter().map(|kinds| visit_all(&within, kinds)).collect();
        // A stopped visit brings back fewer than it was sent to.
        let visited = block.iter().zip(visits).flat_map(|(kinds, visits)| kinds.iter().zip(visits));
        for (kind, mut visit) in visited {
            counts.add(&visit.counts);
            refused = visit.refused.take().or(refused);
            pools.take(&around, kind, &mut visit);
            bar.take(&judge, &mut visit, job.options.top);
        }
        done += block.len();
        (watch.progress)(done, all.len());
    }
    let energy = match job.objective {
        Objective::Energy => true,
        Objective::Cost => site.basis == hardware::Basis::Buy,
        _ => judge.power.is_some(),
    };
    let combined = if job.options.disaggregated {
        if exhaustive {
            pools.keep_all()
        } else {
            pools.thin(energy)
        }
        combine(&around, &pools)
    } else {
        Combined::default()
    };
    let search = tally(job, &counts, &combined, watch.cancel.load(Ordering::Relaxed));
    let mut best: Vec<Candidate> = bar.classes.into_values().chain(combined.classes.into_values()).collect();
    sort_by_preference(&mut best, &judge);
    let mut front = bar.front;
    front.merge(combined.front);
    Ok(Found { grounds, judge, best, front, counts: search, refused })
}

/// A stable sort by preference alone: equals stay in the order of their sizes.
fn sort_by_preference(candidates: &mut [Candidate], judge: &Judge) {
    let better = |x: &Candidate, y: &Candidate| judge.prefers(&x.worth, &y.worth);
    candidates.sort_by(|a, b| {
        if better(a, b) {
            std::cmp::Ordering::Less
        } else if better(b, a) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Equal
        }
    });
}

/// Counts under the names of the bounds.
fn tally(job: &Job, counts: &Counts, combined: &Combined, interrupted: bool) -> SearchFile {
    let pair = &combined.counts;
    let aggregated = |count: u64| if job.options.aggregated { count } else { 0 };
    let pruned = [
        ("the engine does not start with these sizes", aggregated(counts.unstartable)),
        ("weights or caches do not fit", aggregated(counts.memory).saturating_add(pair.memory)),
        (
            "fewer pipeline stages do as well on the same chips",
            aggregated(counts.stages).saturating_add(pair.stages),
        ),
        ("decoding alone exceeds the limit per token", aggregated(counts.decode_alone)),
        ("decoding alone is already worse than the best", aggregated(counts.bound)),
        ("a pool exceeds its limit", pair.limits),
        ("a pool of equal size is better in everything", pair.dominated),
        ("the ratio of pools wastes chips of one", pair.ratio),
    ];
    SearchFile {
        covered: aggregated(counts.covered).saturating_add(pair.covered),
        priced: counts.priced.saturating_add(pair.priced),
        pruned: pruned.into_iter().map(|(bound, count)| (bound.to_owned(), count)).collect(),
        interrupted,
    }
}

/// Of two searches on different systems, the one with the better answer, with the counts of both.
fn merge(a: Found, b: Found) -> Found {
    let score = |found: &Found| found.best.first().map(|best| found.judge.score(&best.worth));
    let a_wins = match (score(&a), score(&b)) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(a), Some(b)) => a >= b,
    };
    let (mut winner, loser) = if a_wins { (a, b) } else { (b, a) };
    winner.counts.covered = winner.counts.covered.saturating_add(loser.counts.covered);
    winner.counts.priced = winner.counts.priced.saturating_add(loser.counts.priced);
    for (bound, count) in loser.counts.pruned {
        let known = winner.counts.pruned.entry(bound).or_default();
        *known = known.saturating_add(count);
    }
    winner.counts.interrupted |= loser.counts.interrupted;
    winner
}
