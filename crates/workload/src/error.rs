//! What can be wrong with a workload.

/// A trace that cannot be used, with the line to look at.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// The file's name.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// The compressed stream ends early or is damaged.
    #[error("{file}: the compressed data is damaged or cut off after line {line} ({detail})")]
    Compression {
        /// The file's name.
        file: String,
        /// The last whole line.
        line: u64,
        /// What the decoder says.
        detail: String,
    },
    /// A line is not what the format says.
    #[error("{file}:{line}: {problem}")]
    Line {
        /// The file's name.
        file: String,
        /// Counted from one.
        line: u64,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// The format cannot be told.
    #[error("{file}: {problem}")]
    Format {
        /// The file's name.
        file: String,
        /// What was seen, and which formats are known.
        problem: String,
    },
}
