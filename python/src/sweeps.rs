//! Sweeps: their plan, their folder, and what evaluates their units.

use crate::errors;
use crate::table::{Columns, Table};
use crate::verbs::parse;
use crate::work;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use supernode::sweeps::{Evaluator, Plan, Row, Status, Store, Tally, Unit};
use supernode::{Error, Facts, question};

/// What a sweep is: the text of its file or a document.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    document: Option<Value>,
    path: PathBuf,
}

/// A sweep that is ready to run.
#[pyclass(frozen, module = "supernode._native")]
pub struct SweepPlan {
    plan: Arc<Plan>,
}

fn plan(facts: &str, described: &str) -> Result<Plan, Error> {
    let facts: Facts = question(parse(facts)?)?;
    for (key, given) in [("region", facts.region.is_some()), ("basis", facts.basis.is_some())] {
        if given {
            return Err(Error::at(key, "a sweep takes it as a key of its job, where the job has it"));
        }
    }
    let Described { text, document, path } = question(parse(described)?)?;
    let (catalog, set) = (facts.catalog.as_deref(), facts.set.as_slice());
    Ok(match (text, document) {
        (Some(text), _) => Plan::parse(&path, &text, catalog, set)?,
        (None, document) => Plan::of_document(&path, document.unwrap_or_default(), catalog, set)?,
    })
}

#[pymethods]
impl SweepPlan {
    #[new]
    fn new(py: Python<'_>, facts: String, described: String) -> PyResult<Self> {
        let read = move || plan(&facts, &described);
        let plan = work::run(py, &Arc::default(), read)?;
        Ok(Self { plan: Arc::new(plan) })
    }

    /// How many cells there are.
    #[getter]
    fn cells(&self) -> u64 {
        self.plan.cells()
    }

    /// Axes and how many values each has; none where values are drawn from a range.
    #[getter]
    fn axes(&self) -> Vec<(String, Option<u64>)> {
        self.plan.axes().map(|(name, count)| (name.to_owned(), count)).collect()
    }

    /// The units of work of cells, a JSON object each.
    fn units(&self, cells: Vec<u64>) -> PyResult<Vec<String>> {
        Ok(cells.into_iter().map(|cell| self.plan.unit(cell).line()).collect())
    }

    /// The row of a cell that cannot be evaluated anywhere, with the reason.
    fn lost(&self, cell: u64, reason: String) -> String {
        Row::failed(&self.plan.unit(cell), &reason).line()
    }

    /// All cells on all cores of this machine; `ended` is told how many have ended, some times a second.
    fn run(&self, py: Python<'_>, out: PathBuf, ended: Py<PyAny>) -> PyResult<Finished> {
        let stop = Arc::new(AtomicBool::new(false));
        let (plan, until) = (Arc::clone(&self.plan), Arc::clone(&stop));
        let done = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&done);
        let shown = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&shown);
        let shower = std::thread::spawn(move || show(&ended, &done, &shown));
        let finished = work::run(py, &stop, move || {
            let store = Store::open(&out, &plan)?;
            count.store(store.done(), Ordering::Relaxed);
            let one = || {
                count.fetch_add(1, Ordering::Relaxed);
            };
            let (path, tally) = supernode::sweeps::run(&plan, store, &Evaluator::default(), &one, &until)?;
            Ok(finished(&path, &tally))
        });
        over.store(true, Ordering::Relaxed);
        // The shower may be waiting for the interpreter, so it is let in before it is waited for.
        drop(py.detach(|| shower.join()));
        finished
    }
}

/// Tells how far it is until it is over.
fn show(ended: &Py<PyAny>, done: &AtomicU64, over: &AtomicBool) {
    let mut last = u64::MAX;
    loop {
        let last_time = over.load(Ordering::Relaxed);
        let now = done.load(Ordering::Relaxed);
        if now != last {
            last = now;
            // A progress bar that fails does not stop the work.
            drop(Python::attach(|py| ended.call1(py, (now,))));
        }
        if last_time {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Where the rows are, and how many cells ended how.
type Finished = (PathBuf, Vec<(&'static str, u64)>);

fn finished(path: &Path, tally: &Tally) -> Finished {
    (path.to_owned(), Status::ALL.into_iter().map(|status| (status.name(), tally.of(status))).collect())
}

/// The folder of a sweep, which no other process can use at the same time.
#[pyclass(frozen, module = "supernode._native")]
pub struct SweepStore {
    store: Mutex<Option<Store>>,
}

impl SweepStore {
    fn with<T>(&self, py: Python<'_>, act: impl FnOnce(&Store) -> Result<T, Error>) -> PyResult<T> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let store = store.as_ref().ok_or_else(|| errors::gone("the folder"))?;
        act(store).map_err(|error| errors::of_error(py, &error))
    }
}

#[pymethods]
impl SweepStore {
    #[new]
    fn new(py: Python<'_>, out: PathBuf, plan: &SweepPlan) -> PyResult<Self> {
        let plan = Arc::clone(&plan.plan);
        let store = work::run(py, &Arc::default(), move || Ok(Store::open(&out, &plan)?))?;
        Ok(Self { store: Mutex::new(Some(store)) })
    }

    /// Cells whose rows were there when the folder was opened.
    #[getter]
    fn done(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |store| Ok(store.done()))
    }

    /// Cells whose rows were not there when the folder was opened, as ranges without their ends.
    fn pending(&self, py: Python<'_>) -> PyResult<Vec<(u64, u64)>> {
        self.with(py, |store| {
            let mut ranges: Vec<(u64, u64)> = Vec::new();
            for cell in store.pending() {
                match ranges.last_mut() {
                    Some((_, end)) if *end == cell => *end += 1,
                    _ => ranges.push((cell, cell + 1)),
                }
            }
            Ok(ranges)
        })
    }

    /// Keeps rows, a JSON object each. When this returns, a killed process does not lose them.
    fn keep(&self, py: Python<'_>, rows: Vec<String>) -> PyResult<()> {
        self.with(py, |store| {
            rows.iter().try_for_each(|line| {
                let row = Row::parse(line).ok_or_else(|| Error::input(format!("`{line}` is no row")))?;
                Ok(store.keep(&row)?)
            })
        })
    }

    /// Puts all rows together.
    fn finish(&self, py: Python<'_>) -> PyResult<Finished> {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner).take();
        let store = store.ok_or_else(|| errors::gone("the folder"))?;
        work::run(py, &Arc::default(), move || {
            let (path, tally) = store.finish()?;
            Ok(finished(&path, &tally))
        })
    }

    /// Lets others use the folder.
    fn close(&self) {
        drop(self.store.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// Evaluates units; what several of them look up is shared.
#[pyclass(frozen, module = "supernode._native")]
#[derive(Default)]
pub struct SweepEvaluator {
    evaluator: Arc<Evaluator>,
}

#[pymethods]
impl SweepEvaluator {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The rows of units, a JSON object each.
    fn rows(&self, py: Python<'_>, units: Vec<String>) -> PyResult<Vec<String>> {
        let stop = Arc::new(AtomicBool::new(false));
        let (until, evaluator) = (Arc::clone(&stop), Arc::clone(&self.evaluator));
        work::run(py, &stop, move || {
            let mut rows = Vec::with_capacity(units.len());
            for (at, line) in units.iter().enumerate() {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                rows.push(evaluator.row(&Unit::parse(&format!("unit {at}"), line)?).line());
            }
            Ok(rows)
        })
    }
}

/// The rows of a sweep that has finished.
#[pyfunction]
pub fn sweep_rows(py: Python<'_>, path: PathBuf) -> PyResult<Table> {
    work::run(py, &Arc::default(), move || {
        let failed = |error: std::io::Error| Error::input(format!("{}: {error}", path.display()));
        let file = std::fs::File::open(&path).map_err(failed)?;
        let columns = report::parquet_columns(&file).map_err(failed)?;
        let kinds = columns.iter().map(|column| (column.name.as_str(), column.kind));
        let mut growing = Columns::new(kinds, &["status"]);
        report::read_parquet(file, |row| {
            growing.push(&row);
            Ok(())
        })
        .map_err(failed)?;
        growing.finish().map_err(Error::no)
    })
}
