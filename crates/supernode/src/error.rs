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
    /// What is wrong and what to do.
    pub reason: String,
}

impl Error {
    /// The input is wrong.
    pub fn input(reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        Self { kind: Kind::Input, key: first_key(&reason), reason }
    }

    /// The answer is no.
    pub fn no(reason: impl fmt::Display) -> Self {
        Self { kind: Kind::No, key: None, reason: reason.to_string() }
    }

    /// The value of a key is wrong.
    pub fn at(key: &str, problem: impl fmt::Display) -> Self {
        Self { kind: Kind::Input, key: Some(key.to_owned()), reason: format!("`{key}`: {problem}") }
    }
}

/// The key that a reason begins with.
fn first_key(reason: &str) -> Option<String> {
    let (key, _) = reason.strip_prefix('`')?.split_once('`')?;
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._".contains(letter);
    (!key.is_empty() && key.chars().all(plain)).then(|| key.to_owned())
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
    workload::WorkloadError,
    workload::ArrivalError,
    validate::MeasurementsError,
    sweep::SweepError
);
