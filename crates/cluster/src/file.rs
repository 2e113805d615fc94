//! Cluster files: read, checked, and turned into what runs.

mod limits;
mod place;
pub mod raw;
mod resolve;
mod surroundings;
mod what_if;

pub use place::Place;
pub use resolve::{Machine, Setup, setup, standing};
pub use what_if::with_change;

use raw::Raw;
use std::path::Path;

/// Why a cluster cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Its name.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is not what its name says, or has a key that is not known.
    #[error("{file}: {message}")]
    Syntax {
        /// Its name.
        file: String,
        /// Line, key and what is allowed.
        message: String,
    },
    /// A value makes no sense.
    #[error("{at}: {problem}")]
    Value {
        /// File, line and key, or the flag.
        at: String,
        /// What is wrong and what would be right.
        problem: String,
    },
}

/// Reads a file of text, gzipped if its name says so.
///
/// # Errors
/// It cannot be read, is no text, or holds more than [`bounded::TABLE`] bytes.
pub fn read_text(path: &Path) -> Result<String, ClusterError> {
    let bad = |error| ClusterError::Read { file: path.display().to_string(), error };
    let open = std::fs::File::open(path).map_err(bad)?;
    let gzipped = path.extension().is_some_and(|extension| extension == "gz");
    let read = if gzipped {
        bounded::text_of(flate2::read::MultiGzDecoder::new(open), bounded::TABLE)
    } else {
        bounded::text_of(open, bounded::TABLE)
    };
    read.map_err(bad)
}

/// Parses a cluster file; `file` is what messages call it.
///
/// # Errors
/// It says what a cluster file cannot say.
pub fn parse(file: &str, text: &str) -> Result<Raw, ClusterError> {
    toml::from_str(text).map_err(|error| ClusterError::Syntax {
        file: file.to_owned(),
        message: error.to_string().trim().to_owned(),
    })
}
