//! From a unit to its row.

mod caches;
mod estimate;
mod simulate;
mod train;

use crate::unit::{Kind, Unit};
use caches::Caches;
use report::ColumnKind;
use serde_json::{Map, Value};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a cell ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It has a result.
    Ok,
    /// The answer is no: the model does not fit.
    Refused,
    /// The job makes no sense: sizes contradict each other, a name is unknown.
    Invalid,
    /// The program failed on it.
    Failed,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Invalid, Self::Failed];

    /// Its name in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Failed => "failed",
        }
    }
}

/// Why a cell has no result.
pub(crate) struct Refusal {
    status: Status,
    reason: String,
}

impl Refusal {
    fn invalid(reason: impl ToString) -> Self {
        Self { status: Status::Invalid, reason: reason.to_string() }
    }

    fn refused(reason: impl ToString) -> Self {
        Self { status: Status::Refused, reason: reason.to_string() }
    }
}

/// The row of a cell: its columns by name, without those that are absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The index of the cell.
    pub cell: u64,
    /// Every column that has a value.
    pub values: Map<String, Value>,
}

impl Row {
    /// As one line of JSON.
    pub fn line(&self) -> String {
        serde_json::to_string(&self.values).unwrap_or_default()
    }

    /// The row of a unit that could not be evaluated anywhere.
    pub fn failed(unit: &Unit, reason: &str) -> Self {
        Self::ended(unit, Map::new(), Status::Failed, Some(reason.to_owned()))
    }

    fn ended(unit: &Unit, results: Map<String, Value>, status: Status, reason: Option<String>) -> Self {
        let mut values = results;
        values.extend(unit.varied.clone());
        values.insert("cell".to_owned(), unit.cell.into());
        values.insert("status".to_owned(), status.name().into());
        values.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
        Self { cell: unit.cell, values }
    }

    /// Reads a line; `None` where it is no row.
    pub fn parse(line: &str) -> Option<Self> {
        let values: Map<String, Value> = serde_json::from_str(line).ok()?;
        let cell = values.get("cell")?.as_u64()?;
        values.get("status")?.as_str()?;
        Some(Self { cell, values })
    }
}

/// A result: its column, where the JSON of the command has it, and its kind.
pub(crate) type Wanted = (&'static str, &'static str, ColumnKind);

/// The results of a kind.
pub(crate) fn results(kind: Kind) -> &'static [Wanted] {
    match kind {
        Kind::Estimate => estimate::RESULTS,
        Kind::Simulate => simulate::RESULTS,
        Kind::Train => train::RESULTS,
    }
}

/// Whether the unit's job can be read, without evaluating it.
pub(crate) fn check(unit: &Unit) -> Result<(), String> {
    for set in &unit.set {
        hardware::overrides::Override::parse(set).map_err(|error| error.to_string())?;
    }
    match unit.kind {
        Kind::Estimate => estimate::read(&unit.job).map(drop),
        Kind::Simulate => simulate::read(&unit.job).map(drop),
        Kind::Train => train::read(&unit.job).map(drop),
    }
}

/// Evaluates units; what several of them look up is shared.
#[derive(Default)]
pub struct Evaluator {
    caches: Caches,
}

impl Evaluator {
    /// The row of a unit. The same unit always gives the same row.
    pub fn row(&self, unit: &Unit) -> Row {
        // A row says so if the program fails on a cell: the others are worth having.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.evaluate(unit))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("unknown");
            Err(Refusal { status: Status::Failed, reason: format!("internal error: {text}") })
        });
        let mut values = Map::new();
        let (status, reason) = match outcome {
            Ok(document) => {
                for (name, pointer, _) in results(unit.kind) {
                    if let Some(value) = document.pointer(pointer).filter(|value| !value.is_null()) {
                        values.insert((*name).to_owned(), value.clone());
                    }
                }
                (Status::Ok, None)
            }
            Err(refusal) => (refusal.status, Some(refusal.reason)),
        };
        Row::ended(unit, values, status, reason)
    }

    fn evaluate(&self, unit: &Unit) -> Result<Value, Refusal> {
        let shared = self.caches.of(unit).map_err(Refusal::invalid)?;
        match unit.kind {
            Kind::Estimate => estimate::evaluate(unit, &shared),
            Kind::Simulate => simulate::evaluate(unit, &shared),
            Kind::Train => train::evaluate(unit, &shared),
        }
    }
}

/// Keys of a table as the reader spells them: names of flags may be given in either spelling.
fn respelled(job: &Value, from: char, to: &str) -> Value {
    match job {
        Value::Object(table) => {
            Value::Object(table.iter().map(|(key, value)| (key.replace(from, to), value.clone())).collect())
        }
        other => other.clone(),
    }
}

/// A model by the name a job gives it: a path is relative to the unit's folder.
fn model_name(unit: &Unit, name: &str) -> String {
    let path = std::path::Path::new(&unit.folder).join(name);
    if path.exists() { path.display().to_string() } else { name.to_owned() }
}
