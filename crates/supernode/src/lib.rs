//! supernode as a library: plain data in, plain data out.
//!
//! A [`Session`] holds the facts that questions are answered from. Questions are data that serde reads and writes: an
//! [`OperatingPoint`], a [`ServingJob`], a scenario, a sweep. An [`Answer`] is what was found, as text for people and as a
//! JSON document that names its schema. An [`Error`] says whether the question was wrong or the answer is no, and which
//! key is to blame.
//!
//! ```
//! use supernode::{Answer, Facts, OperatingPoint, Session};
//!
//! let session = Session::open(&Facts::default())?;
//! let point: OperatingPoint = serde_json::from_str(
//!     r#"{"system": "h100-8", "model": "meta-llama/Llama-3.1-8B", "tp": 1, "isl": 1024, "osl": 128, "concurrency": 1}"#,
//! ).expect("an operating point");
//! let found = supernode::estimate(&session, &point)?;
//! assert_eq!(found.document()["schema"], "supernode.estimate/1");
//! # Ok::<(), supernode::Error>(())
//! ```

mod decide;
mod error;
mod job;
mod matching;
mod plan_train;
mod read;
mod session;
mod simulate;
mod train;
#[cfg(feature = "live")]
pub mod up;

pub use decide::{
    Doubt, EngineFit, Fit, FitRequest, Odds, Own, OwnRequest, SecondSource, SecondSourceRequest, Supplier,
    available, fit, odds, own, second_source, unsupported,
};
pub use error::{Error, Kind};
pub use estimate::{Estimate, KEYS as POINT_KEYS, OperatingPoint};
pub use job::ServingJob;
pub use matching::{Match, MatchRequest, match_};
pub use plan_train::{TrainingPlan, TrainingSearch, plan_train};
pub use planner::compare::Entry;
pub use planner::plan_file::PlanFile;
pub use planner::serve::{Options, Outcome, Watch};
pub use read::{question, training_job};
pub use scenario::raw::Raw as Scenario;
pub use session::{Facts, Session};
pub use simulate::{RunOptions, Simulated, Simulation, completed, scenario, simulate};
pub use train::{Launched, LongRun, Prepared, Training, train};
pub use training::spec::JobSpec as TrainingJob;

use planner::serve::Planned;
use serde_json::Value;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// What was found.
pub trait Answer {
    /// For programs: a document whose `schema` says what it is and in which version.
    fn document(&self) -> Value;

    /// The same as it is printed: an object, its end of line included.
    fn json(&self) -> String {
        format!("{:#}\n", self.document())
    }

    /// For people.
    fn text(&self) -> String;
}

/// A watch that shows nothing and never stops a search.
pub fn unwatched() -> Watch<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Watch { cancel: &NEVER, progress: &|_, _| () }
}

/// What a deployment does in the steady state.
///
/// # Errors
/// Names that are unknown, keys that are missing or out of range, a model that does not fit.
pub fn estimate(session: &Session, point: &OperatingPoint) -> Result<Estimate, Error> {
    let found = estimate_at(session, point)?;
    session.refuse_idle_figures(|| found.document(), |other| Ok(estimate_at(other, point)?.document()))?;
    Ok(found)
}

fn estimate_at(session: &Session, point: &OperatingPoint) -> Result<Estimate, Error> {
    estimate::refuse_unused(point)?;
    let found = estimate::estimate(session.resolver(), point, session.site())?;
    let instances = found.pools.iter().map(|pool| (pool.role, &*pool.model));
    estimate::refuse_idle(session.resolver(), point, instances)?;
    Ok(found)
}

impl Answer for Estimate {
    fn document(&self) -> Value {
        report::estimate_json(self)
    }

    fn text(&self) -> String {
        report::estimate_text(self)
    }
}

/// The best way to serve a job on `chips` chips of `systems`; the system's own number if absent and no load is given.
/// `confirm` runs the best deployments in the simulator.
///
/// # Errors
/// Names that are unknown, keys out of range or that contradict each other, no deployment that meets the limits.
pub fn plan_serve(
    session: &Session,
    job: &ServingJob,
    systems: &[String],
    chips: Option<u32>,
    confirm: bool,
    watch: &Watch,
) -> Result<PlanFile, Error> {
    let places = job.places(systems, chips);
    let job = job.resolve(Options::default())?;
    let plan = |session: &Session| -> Result<Outcome, Error> {
        Ok(planner::serve::plan(session.resolver(), &job, &places, session.site(), watch)?)
    };
    let Outcome { mut file, aggregated, disaggregated, .. } = plan(session)?;
    // What was interrupted is shown at once, as far as it came.
    let stopped = || watch.cancel.load(std::sync::atomic::Ordering::Relaxed);
    if !stopped() {
        session.refuse_idle_figures(|| file.document(), |other| Ok(plan(other)?.file.document()))?;
    }
    if confirm && !stopped() {
        let run = |planned: &Option<Planned>| -> Result<_, Error> {
            let Some(planned) = planned else { return Ok(None) };
            Ok(planner::serve::confirm(planned, &job, watch.cancel)?)
        };
        let (together, apart) = both(|| run(&aggregated), || run(&disaggregated));
        file.simulated(together?, apart?);
    }
    Ok(file)
}

/// Two things at once.
fn both<A: Send, B: Send>(one: impl FnOnce() -> A + Send, other: impl FnOnce() -> B) -> (A, B) {
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

impl Answer for PlanFile {
    fn document(&self) -> Value {
        report::plan_json(self)
    }

    fn text(&self) -> String {
        report::plan_text(self)
    }
}

/// What is considered where a comparison does not say: to be quick, no draft tokens, pipelines or token budgets beside the
/// engine's own.
pub fn quick() -> Options {
    Options { drafts: 0, budgets: Vec::new(), stages: vec![1], ..Options::default() }
}

/// The same job on several systems: what [`plan_serve`] finds on each, on `chips` chips of each; as many as the largest of
/// them has if absent. A system may name the region whose prices it pays: `h20-8@cn`. Without systems, the job's chips are
/// compared, each in its usual one.
///
/// # Errors
/// As [`plan_serve`]; a system that cannot do the job has its reason in its entry.
pub fn compare(
    session: &Session,
    job: &ServingJob,
    systems: &[String],
    chips: Option<u32>,
    watch: &Watch,
) -> Result<Vec<Entry>, Error> {
    let answer = |session: &Session| -> Result<Vec<Entry>, Error> {
        let entrants = job.entrants(session, systems)?;
        let job = job.resolve(quick())?;
        let chips = match chips {
            Some(chips) => chips,
            None => planner::compare::common_chips(session.resolver(), &entrants)?,
        };
        Ok(planner::compare::compare(session.resolver(), &job, &entrants, chips, watch)?)
    };
    let entries = answer(session)?;
    if !watch.cancel.load(std::sync::atomic::Ordering::Relaxed) {
        session.refuse_idle_figures(|| entries.document(), |other| Ok(answer(other)?.document()))?;
    }
    Ok(entries)
}

impl Answer for Vec<Entry> {
    fn document(&self) -> Value {
        report::compare_json(self)
    }

    fn text(&self) -> String {
        report::compare_text(self)
    }
}

/// Holds the predictions of every row of a table of measurements to what was measured.
///
/// # Errors
/// A table that cannot be read.
pub fn validate(
    session: &Session,
    table: &Path,
    chip: Option<&str>,
    fidelity: validate::Fidelity,
) -> Result<Vec<validate::Scored>, Error> {
    let rows = validate::Measurements::open(table, chip)?;
    Ok(rows.score(session.catalog(), session.site(), fidelity)?)
}

/// Sweeps: plans, units of work, rows and the folder that keeps them.
pub mod sweeps {
    pub use sweep::{Evaluator, Plan, Row, Status, Store, SweepError, Tally, Unit, run};
}

/// Rows of the cells of a sweep, in the order of its cells. `text` is that of a sweep's file, as for; `simulate` by default.
///
/// # Errors
/// A specification that says what it cannot say.
pub fn sweep(facts: &Facts, path: &Path, text: &str) -> Result<Vec<sweep::Row>, Error> {
    let plan = sweep::Plan::parse(path, text, facts.catalog.as_deref(), &facts.set)?;
    let evaluator = sweep::Evaluator::default();
    Ok((0..plan.cells()).map(|cell| evaluator.row(&plan.unit(cell))).collect())
}
