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

/// The characters of a text, with `None` for a blank that parts two words: one that is not within marks.
pub(crate) fn parted(text: &str) -> impl Iterator<Item = Option<char>> {
    let mut marked = false;
    text.chars().map(move |c| {
        match c {
            OPEN => marked = true,
            CLOSE | CLOSE_QUOTED => marked = false,
            c if c.is_ascii_whitespace() && !marked => return None,
            _ => {}
        }
        Some(c)
    })
}

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
pub(crate) struct Fork {
    /// Which condition.
    pub condition: usize,
    /// One value per branch; the elements of arrays apart.
    pub arms: Vec<Var>,
}

/// Where characters that mean something to the shell lie inside a mark, so that a text with marks can be read again.
const VEIL: u32 = 0xE000;

/// Removes the characters of marks from what comes from outside.
pub(crate) fn clean(text: &str) -> String {
    let own = |c: char| {
        [OPEN, CLOSE, CLOSE_QUOTED, '\0'].contains(&c) || (VEIL..VEIL + 128).contains(&u32::from(c))
    };
    text.chars().filter(|c| !own(*c)).collect()
}

fn veil(name: &str) -> String {
    let plain = |c: char| {
        !c.is_ascii() || c.is_ascii_alphanumeric() || matches!(c, '_' | '?' | '=' | '#' | '.' | '/' | '-')
    };
    name.chars()
        .map(|c| if plain(c) { c } else { char::from_u32(VEIL + u32::from(c)).unwrap_or('.') })
        .collect()
}

/// A name as it was before it was put into a mark.
pub(crate) fn unveil(name: &str) -> String {
    let plain = |c: char| {
        u32::from(c).checked_sub(VEIL).filter(|code| *code < 128).and_then(char::from_u32).unwrap_or(c)
    };
    name.chars().map(plain).collect()
}

/// A mark for what depends on `names`.
pub(crate) fn unknown(names: &[String]) -> String {
    let mut names: Vec<String> = names.iter().map(|name| veil(name)).collect();
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
