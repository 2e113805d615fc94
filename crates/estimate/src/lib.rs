//! The steady state of one deployment: from names and sizes to latency, throughput, memory, power and cost.
//!
//! [`OperatingPoint`] says what is asked in the words of the measurement tables; [`Resolver`] turns it into step models;
//! [`estimate`] finds the steady state and everything that is counted from it.

mod check;
mod estimate;
mod idle;
mod keys;
mod resolve;
mod sizes;
mod spec;
pub mod steady;

pub use check::{check_ranges, refuse_unused};
pub use estimate::{Estimate, Figure, Pool, estimate, of_engine, with_engine, with_queue};
pub use hardware::BAND_80;
pub use hardware::money as economics;
pub use idle::{IdleKey, refuse_idle};
pub use keys::{KEYS, Key, KeyError, KeySeed, Slot};
pub use resolve::{EstimateError, Resolver, Roles, SharedPrices};
pub use spec::{Formats, Mode, OperatingPoint, Sizes, UnknownMode};
