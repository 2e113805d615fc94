//! What can be wrong with a scenario.

use estimate::EstimateError;

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The file cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// Its name.
        file: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is not TOML, has a key that is not known, or a value of the wrong kind.
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
    /// A name is not in the catalog, or a deployment is impossible.
    #[error("{at}: {error}")]
    Deployment {
        /// File and deployment.
        at: String,
        /// What is wrong.
        error: EstimateError,
    },
    /// The trace cannot be used.
    #[error(transparent)]
    Workload(#[from] workload::WorkloadError),
    /// The cluster cannot be set up.
    #[error(transparent)]
    Config(#[from] serving::ConfigError),
}

impl ScenarioError {
    /// Whether the answer is no (the model does not fit) rather than the input wrong.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Deployment { error, .. } if error.is_refusal())
    }
}
