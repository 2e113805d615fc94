//! Request traces and generators: who sends what when.
//!
//! A [`Source`] hands out [`Arrival`]s in the order of time, one at a time, so that a trace is never in memory as a
//! whole, and is told when requests end, so that closed loops and conversations can go on.

mod closed;
mod error;
mod lengths;
pub mod random;
mod source;

pub use closed::ClosedLoop;
pub use error::WorkloadError;
pub use lengths::{LengthError, Lengths};
pub use source::{Arrival, Source};
