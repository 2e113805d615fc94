//! The jobs of a cluster, priced: [`cluster`] decides and keeps time, this crate says how fast a training job goes on the
//! chips it got, what a replica serves within its SLO, and what chips draw and cost; then it runs policies side by side.

mod machine;
mod manager;
mod perfetto;
mod prices;
mod run;
mod sections;
mod serving;
mod tables;
mod trained;
mod web;
mod windows;

pub use machine::{Rates, machine};
pub use manager::{Intake, MOST_AT_ONCE, Manager, Submission};
pub use perfetto::perfetto;
pub use prices::Prices;
pub use run::{Comparison, Prepared, Side, prepare};
pub use tables::{json, text};
pub use web::document;
pub use windows::Window;

use cluster::ClusterError;

/// Why jobs cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum JobsError {
    /// The file, a trace or a value in them is wrong.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The catalog lacks a name or holds a malformed file.
    #[error(transparent)]
    Catalog(#[from] hardware::CatalogError),
    /// A training job cannot be built or priced.
    #[error("{at}: {problem}")]
    Job {
        /// File, line and key.
        at: String,
        /// What is wrong.
        problem: String,
    },
}
