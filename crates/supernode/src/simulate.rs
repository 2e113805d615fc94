//! Scenarios, run request by request in virtual time.

use crate::Answer;
use crate::error::Error;
use crate::session::Session;
use ::scenario::raw::Raw;
use ::scenario::{Costs, Resolved};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sim::Observer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use units::Seconds;

/// How a scenario is run, instead of as it says itself.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunOptions {
    /// Step through every iteration instead of leaping.
    pub exact: bool,
    /// Hold the control plane to its laws after every event.
    pub check: bool,
    /// Seed of everything random; the scenario's by default.
    pub seed: Option<u64>,
    /// Stop at this time; when everything has ended by default.
    pub until: Option<Seconds>,
}

/// A scenario with every name in it looked up.
pub struct Simulation {
    /// What runs.
    pub resolved: Resolved,
    costs: Costs,
    /// To ask again on other facts.
    asked: Question,
}

struct Question {
    session: Session,
    raw: Raw,
    path: PathBuf,
    text: String,
    options: RunOptions,
}

impl Question {
    fn resolve(&self, session: &Session) -> Result<(Resolved, Costs), Error> {
        let mut resolved = ::scenario::resolve(&self.raw, &self.path, &self.text, session.resolver())?;
        resolved.options.exact = self.options.exact;
        resolved.options.checks = self.options.check;
        let costs = resolved.costs(*session.site());
        Ok((resolved, costs))
    }

    /// Refuses replaced figures that have no part in the answer; what came from standard input cannot be asked again.
    fn refuse_idle_figures(&self, answer: &Simulated, stop: Option<&Arc<AtomicBool>>) -> Result<(), Error> {
        let stopped = stop.is_some_and(|stop| stop.load(Ordering::Relaxed));
        if stopped || self.raw.workload.trace.as_deref() == Some("-") {
            return Ok(());
        }
        self.session.refuse_idle_figures(
            || answer.document(),
            |session| {
                let (mut resolved, costs) = self.resolve(session)?;
                resolved.options.stop = stop.cloned();
                let (outcome, ()) = ::scenario::run(resolved, ())?.split();
                Ok(Simulated { outcome, costs }.document())
            },
        )
    }
}

impl Simulation {
    /// Looks up what a scenario names. `text` is that of its file, empty if it has none; `path` is what messages call it
    /// and what its own paths are relative to.
    ///
    /// # Errors
    /// A scenario that says what it cannot say, a model that does not fit, a trace that cannot be read.
    pub fn new(
        session: &Session,
        mut raw: Raw,
        path: &Path,
        text: &str,
        options: &RunOptions,
    ) -> Result<Self, Error> {
        raw.seed = options.seed.unwrap_or(raw.seed);
        raw.until = options.until.or(raw.until);
        let (session, path, text) = (session.clone(), path.to_owned(), text.to_owned());
        let asked = Question { raw, path, text, options: options.clone(), session };
        let (resolved, costs) = asked.resolve(&asked.session)?;
        Ok(Self { resolved, costs, asked })
    }

    /// Ends with what it has once `stop` is set.
    #[must_use]
    pub fn stopped_by(mut self, stop: &Arc<AtomicBool>) -> Self {
        self.resolved.options.stop = Some(Arc::clone(stop));
        self
    }

    /// Runs it, watched by `observer`.
    ///
    /// # Errors
    /// A trace that turns out to be malformed, or a broken law.
    pub fn run<O: Observer>(self, observer: O) -> Result<(Simulated, O), Error> {
        let stop = self.resolved.options.stop.clone();
        let (outcome, observer) = ::scenario::run(self.resolved, observer)?.split();
        let simulated = Simulated { outcome, costs: self.costs };
        self.asked.refuse_idle_figures(&simulated, stop.as_ref())?;
        Ok((simulated, observer))
    }
}

/// A run in virtual time.
pub struct Simulated {
    /// What was measured.
    pub outcome: ::scenario::Outcome<()>,
    /// What the chips of each pool cost per hour.
    pub costs: Costs,
}

impl Simulated {
    /// Why nothing completed, if nothing did.
    ///
    /// # Errors
    /// None of the requests completed: there is no latency to speak of.
    pub fn completed(&self) -> Result<(), Error> {
        completed(&self.outcome)
    }
}

/// Why nothing completed in a run, if nothing did.
///
/// # Errors
/// None of the requests completed: there is no latency to speak of.
pub fn completed<O>(outcome: &::scenario::Outcome<O>) -> Result<(), Error> {
    let metrics = &outcome.metrics;
    if metrics.completed + metrics.warm_up > 0 {
        return Ok(());
    }
    let rejected = metrics.rejected.iter().map(|(reason, count)| format!("{count} {}", reason.words()));
    let mut causes: Vec<String> = rejected.collect();
    if metrics.cancelled > 0 {
        causes.push(format!("{} were cancelled", metrics.cancelled));
    }
    let arrived = outcome.totals.arrived;
    let causes = if causes.is_empty() { "none was sent".to_owned() } else { causes.join(", ") };
    Err(Error::no(format!("none of {arrived} requests completed: {causes}")))
}

impl Answer for Simulated {
    fn document(&self) -> Value {
        report::simulate_json(&self.outcome, &self.costs)
    }

    fn text(&self) -> String {
        report::simulate_text(&self.outcome, &self.costs)
    }
}

/// Reads the text of a scenario; `path` is what messages call it.
///
/// # Errors
/// Text that says what a scenario cannot say, with file, line and key.
pub fn scenario(path: &Path, text: &str) -> Result<Raw, Error> {
    Ok(::scenario::parse(&path.display().to_string(), text)?)
}

/// Runs a scenario, request by request. `text` is that of a scenario file; `path` is what messages call it and what its own
/// paths are relative to.
///
/// # Errors
/// As [`Simulation::new`] and [`Simulation::run`].
pub fn simulate(session: &Session, path: &Path, text: &str) -> Result<Simulated, Error> {
    let simulation = Simulation::new(session, scenario(path, text)?, path, text, &RunOptions::default())?;
    Ok(simulation.run(())?.0)
}
