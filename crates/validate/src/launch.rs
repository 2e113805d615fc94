//! How a measured row was launched, beyond its deployment: what columns of its table say, and what files of launches say
//! where the table has no column for it.
//!
//! A file of launches holds facts of published scripts and configurations, each with the place it is read from. An entry is
//! about all rows whose cells agree with it; a later entry replaces what an earlier one set. Nothing of it is fitted.

use crate::serving::ServingRow;
use estimate::OperatingPoint;
use serde::Deserialize;
use serving::Gathering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Value;

/// Why a file of launches cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It cannot be read.
    #[error("{}: cannot be read ({source}); give a file of launches, or a folder of them", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is malformed.
    #[error("{}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What the TOML reader says, with line and column.
        source: Box<toml::de::Error>,
    },
    /// An entry sets what cannot be set.
    #[error("{}: entry {entry}, `{key}`: {problem}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// Which entry, counted from 1.
        entry: usize,
        /// The key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Files of launches, read.
#[derive(Debug, Clone, Default)]
pub struct Launches {
    entries: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    launch: Vec<Entry>,
}

/// Rows of one kind and what their launches set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// Where it is published.
    source: String,
    /// What the cells of a row have to be.
    rows: BTreeMap<String, Condition>,
    /// What is set where the table leaves it open.
    #[serde(default)]
    set: Settings,
    /// What is set whatever the table says, because the script cannot launch that.
    #[serde(default)]
    replace: Settings,
}

/// What a cell has to be.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Condition {
    /// One of these, each as below.
    OneOf(Vec<Value>),
    /// A number above this one.
    Above {
        /// The number.
        above: f64,
    },
    /// This; a text that ends in `*` is the beginning of one.
    Is(Value),
}

/// What a launch sets: keys of an operating point, and those that only a run has.
#[derive(Debug, Clone, Default, Deserialize)]
struct Settings {
    /// Tokens of a step, in terms of the row's lengths and users.
    token_budget: Option<Budget>,
    /// When waiting prompts start.
    gathering: Option<Gather>,
    /// Requests of the run.
    requests: Option<u32>,
    /// Most requests sent per second.
    request_rate: Option<f64>,
    /// Whether experts are spread over all ranks.
    #[serde(default)]
    expert_parallel: bool,
    /// Every other key of an operating point.
    #[serde(flatten)]
    keys: BTreeMap<String, Value>,
}

/// A number of tokens, or `tokens + per_prompt_token * ISL + per_output_token * OSL + per_user * users`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Budget {
    Tokens(u32),
    Sum(Sum),
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sum {
    #[serde(default)]
    tokens: u32,
    #[serde(default)]
    per_prompt_token: u32,
    #[serde(default)]
    per_output_token: u32,
    #[serde(default)]
    per_user: u32,
}

/// As [`Gathering`], with `every_rank` for as many prompts as there are attention data-parallel ranks.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Gather {
    #[serde(default)]
    tokens: u32,
    #[serde(default)]
    every_rank: bool,
    #[serde(default)]
    settle: u32,
    timeout: u32,
}

/// A row as it was launched.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Launch {
    /// What was run.
    pub point: OperatingPoint,
    /// When waiting prompts start.
    pub gathering: Option<Gathering>,
    /// Requests of the run; ten per user if absent.
    pub requests: Option<u32>,
    /// Most requests sent per second; as fast as users are free if absent.
    pub request_rate: Option<f64>,
    /// Where that is published; empty where the table says all that is known.
    pub sources: Vec<String>,
}

impl Launches {
    /// Reads a file of launches, or every `.toml` of a folder in the order of their names.
    ///
    /// # Errors
    /// A file cannot be read, or sets what cannot be set.
    pub fn open(path: &Path) -> Result<Self, LaunchError> {
        let failed = |source| LaunchError::Read { path: path.to_owned(), source };
        let mut files = vec![path.to_owned()];
        if path.is_dir() {
            let entries = std::fs::read_dir(path).map_err(failed)?;
            let all: Result<Vec<PathBuf>, _> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
            files = all.map_err(failed)?;
            files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
            files.sort();
        }
        let mut launches = Self::default();
        for file in files {
            let text = bounded::read_text(&file, bounded::TEXT)
                .map_err(|error| LaunchError::Read { path: file.clone(), source: error })?;
            launches.add(&text, &file)?;
        }
        Ok(launches)
    }

    /// Those of a folder, none if it is not there.
    ///
    /// # Errors
    /// As [`Launches::open`].
    pub fn beside(folder: &Path) -> Result<Self, LaunchError> {
        if folder.is_dir() { Self::open(folder) } else { Ok(Self::default()) }
    }

    /// Adds the entries of a file's text.
    ///
    /// # Errors
    /// It is malformed, or sets what cannot be set.
    pub fn add(&mut self, text: &str, path: &Path) -> Result<(), LaunchError> {
        let File { launch } = toml::from_str(text)
            .map_err(|source| LaunchError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        for (index, entry) in launch.iter().enumerate() {
            let wrong = |(key, problem): (String, String)| LaunchError::Entry {
                path: path.to_owned(),
                entry: index + 1,
                key,
                problem,
            };
            entry.check().map_err(wrong)?;
        }
        self.entries.extend(launch);
        Ok(())
    }

    /// Launches a row as the entries about it say.
    pub(crate) fn apply(&self, row: &mut ServingRow) {
        let cells = cells(row);
        for entry in self.entries.iter().filter(|entry| entry.agrees(&cells)) {
            entry.set.apply(&row.point, &mut row.launch, false);
            entry.replace.apply(&row.point, &mut row.launch, true);
            row.launch.sources.push(entry.source.clone());
        }
    }
}

/// The cells of a row that an entry may ask for, by column.
fn cells(row: &ServingRow) -> BTreeMap<String, serde_json::Value> {
    let mut cells = match serde_json::to_value(&row.point) {
        Ok(serde_json::Value::Object(map)) => map.into_iter().collect(),
        _ => BTreeMap::new(),
    };
    cells.insert("mode".to_owned(), format!("{:?}", row.point.mode).to_lowercase().into());
    cells.insert("id".to_owned(), row.id.clone().into());
    cells.insert("source".to_owned(), row.source.clone().into());
    cells
}

/// Columns that rows can be told by beside the keys of an operating point.
const OTHER_COLUMNS: [&str; 2] = ["id", "source"];

impl Entry {
    fn check(&self) -> Result<(), (String, String)> {
        for column in self.rows.keys() {
            let known = OTHER_COLUMNS.contains(&column.as_str()) || estimate::Key::find(column).is_some();
            if !known {
                let problem =
                    "is no column that rows can be told by; use id, source or a key of a deployment";
                return Err((column.clone(), problem.to_owned()));
            }
        }
        if self.source.trim().is_empty() {
            return Err(("source".to_owned(), "is empty; say where the launch is published".to_owned()));
        }
        for settings in [&self.set, &self.replace] {
            let mut point = OperatingPoint::default();
            for (key, value) in &settings.keys {
                point.set(key, &text(value)).map_err(|error| (key.clone(), error.problem))?;
            }
        }
        Ok(())
    }

    fn agrees(&self, cells: &BTreeMap<String, serde_json::Value>) -> bool {
        self.rows.iter().all(|(column, condition)| {
            cells.get(column).is_some_and(|cell| match condition {
                Condition::OneOf(values) => values.iter().any(|value| same(value, cell)),
                Condition::Above { above } => cell.as_f64().is_some_and(|number| number > *above),
                Condition::Is(value) => same(value, cell),
            })
        })
    }
}

/// A value as a key reads it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn same(value: &Value, cell: &serde_json::Value) -> bool {
    match (value, cell) {
        (Value::String(value), serde_json::Value::String(cell)) => match value.strip_suffix('*') {
            Some(beginning) => cell.starts_with(beginning),
            None => value == cell,
        },
        (Value::Integer(value), cell) => cell.as_f64() == Some(*value as f64),
        (Value::Float(value), cell) => cell.as_f64() == Some(*value),
        _ => false,
    }
}

impl Settings {
    /// Sets what the table of `row` leaves open, or everything if `replacing`.
    fn apply(&self, row: &OperatingPoint, launch: &mut Launch, replacing: bool) {
        let given = match serde_json::to_value(row) {
            Ok(serde_json::Value::Object(map)) if !replacing => map,
            _ => serde_json::Map::new(),
        };
        for (key, value) in self.keys.iter().filter(|(key, _)| !given.contains_key(key.as_str())) {
            // Checked when the file was read.
            let _ = launch.point.set(key, &text(value));
        }
        if let Some(budget) = self.token_budget.filter(|_| !given.contains_key("token_budget")) {
            launch.point.token_budget = budget.of(row);
        }
        let sizes = &mut launch.point.sizes;
        if self.expert_parallel {
            let ranks = sizes.tp.unwrap_or(1).saturating_mul(sizes.dp.unwrap_or(1));
            (sizes.ep, sizes.moe_tp) = (Some(ranks), Some(1));
        }
        if let Some(gather) = self.gathering {
            let requests = if gather.every_rank { sizes.dp.unwrap_or(1) } else { 1 };
            let Gather { tokens, settle, timeout, .. } = gather;
            launch.gathering = Some(Gathering { tokens, requests, settle, timeout });
        }
        launch.requests = self.requests.or(launch.requests);
        launch.request_rate = self.request_rate.or(launch.request_rate);
    }
}

impl Budget {
    fn of(self, point: &OperatingPoint) -> Option<u32> {
        let sum = match self {
            Self::Tokens(tokens) => return Some(tokens),
            Self::Sum(sum) => sum,
        };
        let times = |factor: u32, count: Option<u32>| {
            if factor == 0 { Some(0) } else { count.map(|count| factor.saturating_mul(count)) }
        };
        let parts = [
            times(sum.per_prompt_token, point.isl)?,
            times(sum.per_output_token, point.osl)?,
            times(sum.per_user, point.concurrency)?,
        ];
        Some(parts.into_iter().fold(sum.tokens, u32::saturating_add))
    }
}

/// Reads the cell of a column `gathering`: `timeout=60`, with `requests`, `tokens` and `settle` where they are said, set
/// apart by `;`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn gathering(cell: &str) -> Result<Gathering, String> {
    let mut found = Gathering { tokens: 0, requests: 1, settle: 0, timeout: 0 };
    for part in cell.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let wrong = || {
            format!(
                "`{part}` is not one of tokens=N, requests=N, settle=STEPS and timeout=STEPS; separate them with `;`"
            )
        };
        let (key, count) = part.split_once('=').ok_or_else(wrong)?;
        let count = count.trim().parse().map_err(|_| wrong())?;
        match key.trim() {
            "tokens" => found.tokens = count,
            "requests" => found.requests = count,
            "settle" => found.settle = count,
            "timeout" => found.timeout = count,
            _ => return Err(wrong()),
        }
    }
    if found.timeout == 0 {
        return Err(format!(
            "`{cell}` has no timeout; say after how many steps prompts start anyway, timeout=STEPS"
        ));
    }
    Ok(found)
}

#[cfg(test)]
#[path = "launch_tests.rs"]
mod tests;
