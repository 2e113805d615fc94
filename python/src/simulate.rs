//! Scenarios.

use crate::policy::Policy;
use crate::recorder::Recorder;
use crate::sessions::session;
use crate::table::{Columns, Table};
use crate::verbs::parse;
use crate::work;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use supernode::{Answer, Error, Facts, RunOptions, Scenario, Simulation, question};

/// A scenario: the text of its file or a document, and what messages call it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// The text of a file.
    #[serde(default)]
    text: Option<String>,
    /// The same as a document.
    #[serde(default)]
    document: Option<Value>,
    /// What messages call it, and what its paths are relative to.
    #[serde(default)]
    pub path: PathBuf,
}

impl Described {
    /// Reads it; the text is empty where there is none.
    ///
    /// # Errors
    /// What is no scenario, and why.
    pub fn read(&self) -> Result<(Scenario, String), Error> {
        match (&self.text, &self.document) {
            (Some(text), _) => Ok((supernode::scenario(&self.path, text)?, text.clone())),
            (None, Some(document)) => Ok((question(document.clone())?, String::new())),
            (None, None) => Err(Error::at("scenario", "is needed")),
        }
    }
}

/// What to run and what to keep.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    scenario: Described,
    options: RunOptions,
    records: bool,
    steps: bool,
}

fn table(columns: Option<Columns>) -> Result<Option<Table>, Error> {
    columns.map(Columns::finish).transpose().map_err(Error::no)
}

/// JSON and text of the answer; requests, steps.
type Ran = (String, String, Option<Table>, Option<Table>);

/// Runs a scenario; `facts` and `document` are JSON.
#[pyfunction]
#[pyo3(signature = (facts, document, policy=None))]
pub fn simulate(py: Python<'_>, facts: String, document: String, policy: Option<Py<PyAny>>) -> PyResult<Ran> {
    let stop = Arc::new(AtomicBool::new(false));
    let policy = policy.map(|policy| Policy::new(py, policy, Arc::clone(&stop))).transpose()?;
    let (until, custom) = (Arc::clone(&stop), policy.as_ref().map(Policy::shared));
    let ran = work::run(py, &stop, move || {
        let facts: Facts = question(parse(&facts)?)?;
        let wanted: Wanted = question(parse(&document)?)?;
        let (raw, text) = wanted.scenario.read()?;
        let session = session(&facts)?;
        let mut simulation = Simulation::new(&session, raw, &wanted.scenario.path, &text, &wanted.options)?;
        simulation.resolved.options.policy = custom;
        let recorder = Recorder::new(wanted.records, wanted.steps);
        let (simulated, recorder) = simulation.stopped_by(&until).run(recorder)?;
        simulated.completed()?;
        let (requests, steps) = (table(recorder.requests)?, table(recorder.steps)?);
        Ok((simulated.json(), simulated.text(), requests, steps))
    });
    match policy.and_then(|policy| policy.failed()) {
        Some(error) => Err(error),
        None => ran,
    }
}
