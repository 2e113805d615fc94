//! Why a launch cannot be read.

/// A launch that is refused: where, which flag or key, why, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// The text is no script, TOML, YAML or JSON of the expected kind.
    #[error("{place}: cannot be read: {why}")]
    Syntax {
        /// File and line.
        place: Location,
        /// What is wrong.
        why: String,
    },
    /// The script does more than a reader is willing to follow.
    #[error("{place}: {what} goes beyond {cap}; simplify the script, or give its final command line instead")]
    TooMuch {
        /// File and line.
        place: Location,
        /// What grows.
        what: &'static str,
        /// The limit, in words.
        cap: String,
    },
    /// Nothing in the text starts a job of the wanted kind.
    #[error("{file}: {why}")]
    NoCommand {
        /// The file.
        file: String,
        /// What was looked for.
        why: String,
    },
    /// A value that cannot be used, or is missing.
    #[error("{place}: {key}: {why}")]
    Value {
        /// File and line.
        place: Location,
        /// Flag or key.
        key: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// A condition or value that only the user knows.
    #[error("{place}: {what}; {ask}")]
    Ask {
        /// File and line.
        place: Location,
        /// What depends on it.
        what: String,
        /// What to give.
        ask: String,
    },
    /// Flags that change the model in a way that is not modelled.
    #[error(
        "{place}: {flag} changes the model ({effect}) and is not read; describe the model with --model or --shape, which replaces the launch's own"
    )]
    Model {
        /// File and line.
        place: Location,
        /// The flag.
        flag: String,
        /// What it does.
        effect: String,
    },
}

/// A place in a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file, as the user named it.
    pub file: String,
    /// Line, from 1; 0 for the file as a whole.
    pub line: u32,
}

impl Location {
    /// A line of a file.
    pub fn new(file: &str, line: u32) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.line == 0 { write!(f, "{}", self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}
