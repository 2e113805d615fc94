//! Where in a file a key is, for messages.

use crate::error::ScenarioError;
use bounded::place::line_of;

/// The text of a scenario and its name; flags have no text.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    pub file: String,
    pub text: String,
}

impl Place {
    /// An error at `key` of the `index`-th table called `table` (`deployment.pool`, say; empty for the top level).
    pub fn wrong(&self, table: &str, index: usize, key: &str, problem: impl Into<String>) -> ScenarioError {
        ScenarioError::Value { at: self.at(table, index, key), problem: problem.into() }
    }

    /// File, line and key.
    pub fn at(&self, table: &str, index: usize, key: &str) -> String {
        let path = if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
        match self.line(table, index, key) {
            Some(line) => format!("{}:{line}: {path}", self.file),
            None if self.text.is_empty() => plain(table, key),
            None => format!("{}: {path}", self.file),
        }
    }

    /// The `index`-th pool as a whole, which has that role.
    pub fn pool(&self, index: usize, role: &str) -> String {
        let flags = self.text.is_empty();
        if flags { format!("{role} instances") } else { self.at("deployment.pool", index, "role") }
    }

    /// The line of the key, or of the table if the key is not written.
    fn line(&self, table: &str, index: usize, key: &str) -> Option<usize> {
        line_of(&self.text, table, index, |name| {
            estimate::Key::find(name).map_or(name, |found| found.name) == key
        })
    }
}

/// The name that a key has where there is no file.
fn plain(table: &str, key: &str) -> String {
    match (table, key) {
        ("workload", "users") => "`concurrency`".to_owned(),
        ("slo", key) => format!("`slo_{key}`"),
        (_, key) => format!("`{key}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_the_table_meant() {
        let text = "seed = 1\n[[deployment]]\nmodel = \"a\"\n[[deployment.pool]]\ntp = 1\n[[deployment.pool]]\n\ntp = 2\n";
        let place = Place { file: "s.toml".to_owned(), text: text.to_owned() };
        assert_eq!(place.at("", 0, "seed"), "s.toml:1: seed");
        assert_eq!(place.at("deployment.pool", 0, "tp"), "s.toml:5: deployment.pool.tp");
        assert_eq!(place.at("deployment.pool", 1, "tp"), "s.toml:8: deployment.pool.tp");
        assert_eq!(place.at("deployment.pool", 1, "dp"), "s.toml:6: deployment.pool.dp");
    }
}
