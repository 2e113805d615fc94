//! The schedule of a training job.
pub mod error;
pub mod schedule;
pub use error::JobError;
