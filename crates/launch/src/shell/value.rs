//! Values of variables, parts of which may not be known.
//!
//! What is not known stands in the text as a mark: between two characters that no text holds, either the names it depends
//! on, or the number of a choice between the values that the branches of a condition gave.

use std::collections::BTreeMap;

/// Begins a mark.
pub(crate) const OPEN: char = '\u{FDD0}';
/// Ends a mark whose value is split at blanks.
pub(crate) const CLOSE: char = '\u{FDD1}';
/// Ends a mark that stood in quotes.
pub(crate) const CLOSE_QUOTED: char = '\u{FDD2}';

/// A variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Var {
    /// One text.
    Text(String),
    /// An array.
    List(Vec<String>),
    /// An associative array.
    Map(BTreeMap<String, String>),
}

impl Var {
    /// The value of `$NAME`: the first element of an array.
    pub fn first(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(list) => list.first().cloned().unwrap_or_default(),
            Self::Map(map) => map.get("0").cloned().unwrap_or_default(),
        }
    }

    /// All elements.
    pub fn elements(&self) -> Vec<String> {
        match self {
            Self::Text(text) => vec![text.clone()],
            Self::List(list) => list.clone(),
            Self::Map(map) => map.values().cloned().collect(),
        }
    }

    /// Bytes it holds.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::List(list) => list.iter().map(|text| text.len() + 24).sum(),
            Self::Map(map) => map.iter().map(|(key, value)| key.len() + value.len() + 48).sum(),
        }
    }
}

/// A condition that could not be evaluated.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Condition {
    /// Line it stands on.
    pub line: u32,
    /// Its text.
    pub text: String,
    /// Names it depends on.
    pub causes: Vec<String>,
    /// Values that the script names for a `case`.
    pub known: Vec<String>,
    /// Branches.
    pub arms: usize,
}

/// The values that the branches of a condition gave a variable.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Choice {
    /// Which condition.
    pub condition: usize,
    /// One value per branch; the elements of arrays apart.
    pub arms: Vec<Var>,
}

/// Removes the characters of marks from what comes from outside.
pub(crate) fn clean(text: &str) -> String {
    text.chars().filter(|c| ![OPEN, CLOSE, CLOSE_QUOTED, '\0'].contains(c)).collect()
}

/// A mark for what depends on `names`.
pub(crate) fn unknown(names: &[String]) -> String {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names.truncate(8);
    format!("{OPEN}{}{CLOSE}", names.join("\u{1f}"))
}

/// Whether a part of `text` is not known.
pub(crate) fn is_unknown(text: &str) -> bool {
    text.contains(OPEN)
}

/// The marks in `text`: their bodies.
pub(crate) fn marks(text: &str) -> impl Iterator<Item = &str> {
    text.split(OPEN).skip(1).map(|rest| rest.split([CLOSE, CLOSE_QUOTED]).next().unwrap_or(""))
}

/// Whether `text` is one mark and nothing else.
pub(crate) fn only_mark(text: &str) -> bool {
    text.starts_with(OPEN)
        && text.find([CLOSE, CLOSE_QUOTED]).is_some_and(|at| at + CLOSE.len_utf8() == text.len())
}

/// The choice a mark's body names.
pub(crate) fn choice_of(body: &str) -> Option<usize> {
    body.strip_prefix('#')?.parse().ok()
}
