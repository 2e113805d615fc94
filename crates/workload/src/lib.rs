//! Request traces and generators: who sends what when.
//!
//! A [`Source`] hands out [`Arrival`]s in the order of time, one at a time, so that a trace is never in memory as a
//! whole, and is told when requests end, so that closed loops and conversations can go on.

mod arrivals;
mod closed;
mod error;
mod lengths;
mod mix;
mod open;
pub mod random;
mod sessions;
mod source;
pub mod trace;

pub use arrivals::{ArrivalError, Arrivals, Process};
pub use closed::ClosedLoop;
pub use error::WorkloadError;
pub use lengths::{LengthError, Lengths};
pub use mix::{Mix, Mixed, SharedPrefix, TenantShare};
pub use open::OpenLoop;
pub use sessions::{Sessions, SessionsConfig};
pub use source::{Arrival, Source};
pub use trace::{ColumnNames, Format, Reading, Replay, ReplayOptions, TimeUnit, TraceWriter};
