//! What can be wrong with a sweep.

use std::path::Path;

/// Why a sweep cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SweepError {
    /// A file cannot be read, or is not what it should be.
    #[error("{file}: {message}")]
    File {
        /// Its name.
        file: String,
        /// Line, key and what is allowed, or what the system says.
        message: String,
    },
    /// A key of the specification makes no sense.
    #[error("{file}: {key}: {problem}")]
    Spec {
        /// The specification.
        file: String,
        /// The key.
        key: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The folder for the rows cannot be used.
    #[error("`out` {folder}: {problem}")]
    Folder {
        /// The folder.
        folder: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A unit cannot be read.
    #[error("{place}: {problem}")]
    Unit {
        /// File and line.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// It was asked to stop.
    #[error("stopped; given again it goes on where it was")]
    Stopped,
}

impl SweepError {
    /// What the system says of a file.
    pub(crate) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::File { file: path.display().to_string(), message: error.to_string() }
    }
}
