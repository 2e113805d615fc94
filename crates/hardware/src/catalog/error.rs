//! What can be wrong with a catalog, and where.

use std::fmt;

/// A spot in a catalog file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was given or below `catalog/` for a built-in one.
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Dotted key the spot belongs to; empty where there is none.
    pub key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)?;
        if !self.key.is_empty() {
            write!(f, ": `{}`", self.key)?;
        }
        Ok(())
    }
}

impl Place {
    /// The spot of byte `offset` of `text`; the key is read off the text around it.
    pub(crate) fn of(file: &str, text: &str, offset: usize) -> Self {
        let offset = text.floor_char_boundary_at(offset);
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or("");
        let table = before[..line_start]
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| line.starts_with('[') && line.ends_with(']') && !line.contains('='))
            .map_or("", |header| header.trim_matches(['[', ']', ' ']));
        let own = line.split_once('=').map_or("", |(key, _)| key.trim());
        let key = match (table, own) {
            ("", own) => own.to_owned(),
            (table, "") => table.to_owned(),
            (table, own) => format!("{table}.{own}"),
        };
        Self { file: file.to_owned(), line: before.matches('\n').count() + 1, key }
    }
}

/// Rounds an offset down to a character boundary, so that a text may be cut there.
trait FloorBoundary {
    fn floor_char_boundary_at(&self, offset: usize) -> usize;
}

impl FloorBoundary for str {
    fn floor_char_boundary_at(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.len());
        while !self.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// Why a catalog, or an entry of it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// No entry has this name.
    #[error("{kind}: there is no `{name}` in the catalog{hint}")]
    UnknownName {
        /// Folder of the catalog: `chips`, `systems` ...
        kind: String,
        /// What was asked for.
        name: String,
        /// The nearest name, or how to list all.
        hint: String,
    },
    /// A file or folder cannot be read.
    #[error(
        "{path}: cannot be read ({reason}); give the folder that holds `chips/`, `systems/` and the like"
    )]
    Read {
        /// File or folder.
        path: String,
        /// What the operating system said.
        reason: String,
    },
    /// A file is not text.
    #[error("{path}: is not UTF-8 text at byte {offset}; catalog files are TOML in UTF-8")]
    NotUtf8 {
        /// The file.
        path: String,
        /// First bad byte.
        offset: usize,
    },
    /// A file lies where the catalog has no place for it.
    #[error("{path}: the catalog has no place for this; allowed are {allowed}")]
    Misplaced {
        /// The file or folder.
        path: String,
        /// Folders and files that are known.
        allowed: String,
    },
    /// A file name is not a catalog key.
    #[error("{path}: `{id}` cannot be a catalog key; name the file with a-z, 0-9, `-`, `_` and `.` only")]
    BadId {
        /// The file.
        path: String,
        /// Its stem.
        id: String,
    },
    /// Two entries answer to one name.
    #[error("{second}: the name `{name}` already belongs to {first}; choose another alias or file name")]
    Collision {
        /// The name both claim.
        name: String,
        /// The file that had it.
        first: String,
        /// The file that wants it too.
        second: String,
    },
    /// A file is not the TOML it should be: syntax, a missing or unknown key, a value of the wrong type or unit.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A file is well formed but says something impossible.
    #[error("{place}: {message}")]
    Invalid {
        /// Where.
        place: Place,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// A figure given by the user does not fit the entry.
    #[error(transparent)]
    Override(#[from] crate::overrides::OverrideError),
}
