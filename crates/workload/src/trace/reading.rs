//! What a user says of a trace that its text does not.

use super::Format;
use std::str::FromStr;

/// The unit of a trace's times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
    /// Microseconds.
    Microseconds,
    /// Nanoseconds.
    Nanoseconds,
}

impl TimeUnit {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Microseconds => "us",
            Self::Nanoseconds => "ns",
        }
    }

    /// Nanoseconds in one.
    pub(crate) const fn nanoseconds(self) -> f64 {
        match self {
            Self::Seconds => 1e9,
            Self::Milliseconds => 1e6,
            Self::Microseconds => 1e3,
            Self::Nanoseconds => 1.0,
        }
    }
}

/// A unit that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a unit of time; give s, ms, us or ns")]
pub struct UnknownUnit(String);

impl FromStr for TimeUnit {
    type Err = UnknownUnit;

    fn from_str(text: &str) -> Result<Self, UnknownUnit> {
        match text.trim() {
            "s" | "seconds" => Ok(Self::Seconds),
            "ms" | "milliseconds" => Ok(Self::Milliseconds),
            "us" | "microseconds" => Ok(Self::Microseconds),
            "ns" | "nanoseconds" => Ok(Self::Nanoseconds),
            other => Err(UnknownUnit(other.to_owned())),
        }
    }
}

/// The columns of a table that has a header of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnNames {
    /// When a request is sent: seconds (or the unit given), or a date with a time. A trace without it needs an arrival
    /// process.
    pub arrival: Option<String>,
    /// Prompt tokens.
    pub input: String,
    /// Output tokens.
    pub output: String,
    /// The conversation.
    pub session: Option<String>,
    /// Class of service; smaller is more urgent.
    pub priority: Option<String>,
}

/// Names of columns that are none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}; write arrival=NAME,input=NAME,output=NAME and, where there are such columns, session=NAME,priority=NAME"
)]
pub struct BadColumns(String);

impl FromStr for ColumnNames {
    type Err = BadColumns;

    fn from_str(text: &str) -> Result<Self, BadColumns> {
        let (mut names, mut input, mut output) = (Self::default(), None, None);
        for item in text.split(',').filter(|item| !item.trim().is_empty()) {
            let (key, name) =
                item.split_once('=').ok_or_else(|| BadColumns(format!("`{item}` names no column")))?;
            let name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| BadColumns(format!("`{item}` names no column")))?;
            match key.trim() {
                "arrival" | "time" | "timestamp" => names.arrival = Some(name),
                "input" | "isl" => input = Some(name),
                "output" | "osl" => output = Some(name),
                "session" => names.session = Some(name),
                "priority" => names.priority = Some(name),
                other => return Err(BadColumns(format!("`{other}` is not known"))),
            }
        }
        names.input = input.ok_or_else(|| BadColumns("`input` is missing".to_owned()))?;
        names.output = output.ok_or_else(|| BadColumns("`output` is missing".to_owned()))?;
        Ok(names)
    }
}

/// How a trace's text is to be taken, as far as the user says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// The format; told from the file if not given.
    pub format: Option<Format>,
    /// The unit of times that are plain numbers.
    pub time_unit: Option<TimeUnit>,
    /// Tokens per hash of prefixes.
    pub block_size: Option<u32>,
    /// The columns of a table of no known format.
    pub columns: Option<ColumnNames>,
}
