//! Why there is no answer.

use estimate::{EstimateError, KeyError};
use hardware::CatalogError;
use planner::matching::MatchError;
use planner::serve::PlanError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Whether the question was wrong or the answer is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The input is wrong: a name is unknown, a value is out of its range, two contradict each other.
    Input,
    /// The answer is no: nothing fits, nothing meets the limits.
    No,
}

/// Why there is no answer. A reason names keys in backticks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// Whether the question was wrong or the answer is no.
    pub kind: Kind,
    /// The key that is to blame, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The file that is to blame, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line, counted from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// What is wrong and what to do.
    pub reason: String,
}

impl Error {
    fn new(kind: Kind, reason: impl fmt::Display) -> Self {
        let reason = in_backticks(&reason.to_string());
        Self { kind, key: None, file: None, line: None, reason }
    }

    /// The input is wrong.
    pub fn input(reason: impl fmt::Display) -> Self {
        let error = Self::new(Kind::Input, reason);
        let Blamed { file, line, key } = blamed(&error.reason);
        Self { file, line, key, ..error }
    }

    /// The answer is no.
    pub fn no(reason: impl fmt::Display) -> Self {
        Self::new(Kind::No, reason)
    }

    /// The value of a key is wrong.
    pub fn at(key: &str, problem: impl fmt::Display) -> Self {
        Self { key: Some(key.to_owned()), ..Self::new(Kind::Input, format!("`{key}`: {problem}")) }
    }

    /// The same, as an answer that is no.
    #[must_use]
    pub fn into_no(self) -> Self {
        Self { kind: Kind::No, key: None, ..self }
    }
}

/// What a reason says is to blame.
#[derive(Debug, Default, PartialEq, Eq)]
struct Blamed {
    file: Option<String>,
    line: Option<u32>,
    key: Option<String>,
}

/// Whether a text is the path of a key.
fn is_key(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-[]".contains(letter);
    text.starts_with(|letter: char| letter.is_ascii_alphabetic()) && text.chars().all(plain)
}

/// A reason begins with the key in backticks, with `FILE:LINE: KEY: `, or with `FILE: ` and what a TOML reader says.
fn blamed(reason: &str) -> Blamed {
    if let Some((key, _)) = reason.strip_prefix('`').and_then(|rest| rest.split_once('`')) {
        return Blamed { key: is_key(key).then(|| key.to_owned()), ..Blamed::default() };
    }
    let Some((place, rest)) = reason.split_once(": ") else { return Blamed::default() };
    if let Some((_, after)) = rest.split_once("TOML parse error at line ") {
        let line = after.split(',').next().and_then(|line| line.parse().ok());
        let unknown = rest.split_once("field `").and_then(|(_, key)| key.split_once('`'));
        return Blamed { file: Some(place.to_owned()), line, key: unknown.map(|(key, _)| key.to_owned()) };
    }
    let Some((file, line)) = place.rsplit_once(':') else { return Blamed::default() };
    let Ok(line) = line.parse() else { return Blamed::default() };
    let key = rest.split_once(": ").map(|(key, _)| key.trim_matches('`')).filter(|key| is_key(key));
    Blamed { file: Some(file.to_owned()), line: Some(line), key: key.map(str::to_owned) }
}

/// A reason with what parts of the library spell as flags spelled as keys in backticks: `--global-batch` is `global_batch`.
fn in_backticks(reason: &str) -> String {
    let mut parts = reason.split("--");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|letter: char| !(letter.is_ascii_lowercase() || letter == '-'));
        let (flag, rest) = part.split_at(end.unwrap_or(part.len()));
        let begins = text.chars().next_back().is_none_or(|letter| letter == ' ' || letter == '(');
        if flag.is_empty() || flag.starts_with('-') || flag.ends_with('-') || !begins {
            text = text + "--" + part;
        } else {
            text += &format!("`{}`{rest}", flag.replace('-', "_"));
        }
    }
    text
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}

impl From<EstimateError> for Error {
    /// A model that does not fit is an answer, not a mistake.
    fn from(error: EstimateError) -> Self {
        match error {
            refusal if refusal.is_refusal() => Self::no(refusal),
            other => Self::input(other),
        }
    }
}

impl From<PlanError> for Error {
    /// A search without a result is an answer, not a mistake.
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Nothing(reason) => Self::no(reason),
            PlanError::Input(error) => error.into(),
            other => Self::input(other),
        }
    }
}

impl From<MatchError> for Error {
    fn from(error: MatchError) -> Self {
        match error {
            MatchError::Plan(error) => error.into(),
            MatchError::Stopped => Self::no(error),
            other => Self::input(other),
        }
    }
}

impl From<scenario::ScenarioError> for Error {
    fn from(error: scenario::ScenarioError) -> Self {
        if error.is_refusal() { Self::no(error) } else { Self::input(error) }
    }
}

impl From<sim::SimError> for Error {
    fn from(error: sim::SimError) -> Self {
        match error {
            sim::SimError::Workload(error) => Self::input(error),
            other => Self::no(other),
        }
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::at(&error.key, error.problem)
    }
}

impl From<estimate::IdleKey> for Error {
    fn from(error: estimate::IdleKey) -> Self {
        match error {
            estimate::IdleKey::Lookup(error) => error.into(),
            estimate::IdleKey::Key(error) => error.into(),
        }
    }
}

macro_rules! input {
    ($($error:ty),+) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::input(error)
            }
        })+
    };
}

input!(
    CatalogError,
    hardware::overrides::OverrideError,
    training::JobError,
    training::site::SiteError,
    workload::WorkloadError,
    workload::ArrivalError,
    validate::MeasurementsError
);

impl From<sweep::SweepError> for Error {
    fn from(error: sweep::SweepError) -> Self {
        let (file, key) = match &error {
            sweep::SweepError::File { file, .. } => (Some(file.clone()), None),
            sweep::SweepError::Spec { file, key, .. } => (Some(file.clone()), Some(key.clone())),
            sweep::SweepError::Folder { folder, .. } => (Some(folder.clone()), Some("out".to_owned())),
            sweep::SweepError::Unit { .. } | sweep::SweepError::Stopped => (None, None),
        };
        let general = Self::input(error);
        Self { file: file.or(general.file), key: key.or(general.key), ..general }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(reason: &str, text: &str, file: Option<&str>, line: Option<u32>, key: Option<&str>) {
        let error = Error::input(reason);
        assert_eq!(error.reason, text);
        assert_eq!((error.file.as_deref(), error.line, error.key.as_deref()), (file, line, key));
    }

    #[test]
    fn what_is_to_blame_is_told() {
        check("--tp must be at least 1", "`tp` must be at least 1", None, None, Some("tp"));
        let flags = "x; change --global-batch, --dp (or --pp) -- now a--b";
        check(flags, "x; change `global_batch`, `dp` (or `pp`) -- now a--b", None, None, None);
        let place = "a b.toml:12: deployment.pool.tp: 3 is odd";
        check(place, place, Some("a b.toml"), Some(12), Some("deployment.pool.tp"));
        let trace = "t.jsonl:7: is no number";
        check(trace, trace, Some("t.jsonl"), Some(7), None);
        let toml = "s.toml: TOML parse error at line 3, column 1\nunknown field `sede`, expected";
        check(toml, toml, Some("s.toml"), Some(3), Some("sede"));
    }
}
