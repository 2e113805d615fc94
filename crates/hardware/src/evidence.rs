//! Where a figure comes from and how far to trust it.

use std::fmt;

/// Half-width of the 80 % band in standard deviations of a normal distribution.
pub const BAND_80: f64 = 1.2816;

/// How good the evidence for a figure is; the order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// Fitted on measurements, with the error on rows no fit has seen on record.
    Measured,
    /// A vendor's own document or repository.
    Official,
    /// A teardown, an analyst, or a vendor's figure quoted by others.
    Analyst,
    /// Unconfirmed.
    Rumour,
    /// Nobody says so: taken from a sibling or from usual practice, and why is in the source.
    Assumed,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Measured => "measured",
            Self::Official => "official",
            Self::Analyst => "analyst",
            Self::Rumour => "rumour",
            Self::Assumed => "assumed",
        })
    }
}

/// A figure with its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact<T> {
    /// The figure.
    pub value: T,
    /// Key into the catalog's list of sources, or the words of a user's own file.
    pub source: String,
    /// How good the evidence is.
    pub grade: Grade,
    /// What else to know: the range where sources disagree, or how the figure was derived.
    pub note: Option<String>,
}

/// A document that facts are taken from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is.
    pub title: String,
    /// When it was published or read, as precisely as known (`2025`, `2025-06`, `2025-06-15`).
    pub date: String,
    /// Where it is: a web address, or how to find it.
    pub address: String,
}

impl<T> Fact<T> {
    /// A figure that rests on an assumption stated in `why`.
    pub fn assumed(value: T, why: impl Into<String>) -> Self {
        Self { value, source: why.into(), grade: Grade::Assumed, note: None }
    }

    /// The same evidence for a figure derived from this one.
    pub fn map<U>(&self, derive: impl FnOnce(&T) -> U) -> Fact<U> {
        Fact {
            value: derive(&self.value),
            source: self.source.clone(),
            grade: self.grade,
            note: self.note.clone(),
        }
    }
}
