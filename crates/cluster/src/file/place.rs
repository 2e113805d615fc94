//! Where in a file a key is, for messages.

use super::ClusterError;
use bounded::place::line_of;

/// The text of a file and its name.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// What messages call it.
    pub file: String,
    /// Its text; empty for flags.
    pub text: String,
}

impl Place {
    /// An error at `key` of the `index`-th table of that name (empty for the top level).
    pub fn wrong(&self, table: &str, index: usize, key: &str, problem: impl Into<String>) -> ClusterError {
        ClusterError::Value { at: self.at(table, index, key), problem: problem.into() }
    }

    /// File, line and key.
    pub fn at(&self, table: &str, index: usize, key: &str) -> String {
        let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
        match self.line(table, index, key) {
            Some(line) => format!("{}:{line}: {path}", self.file),
            None if self.text.is_empty() => format!("--{}", key.replace('_', "-")),
            None => format!("{}: {path}", self.file),
        }
    }

    /// The line of the key, or of its table if the key is not written.
    fn line(&self, table: &str, index: usize, key: &str) -> Option<usize> {
        line_of(&self.text, table, index, |name| name == key)
    }
}
