//! Sweeps: one job with some of its keys varied, evaluated on all cores, its rows kept as Parquet.
//!
//! A [`Plan`] turns the index of a cell into a [`Unit`], which is all that is needed to evaluate it, here or on another
//! machine. An [`Evaluator`] turns a unit into a [`Row`]; a job that is refused is a row too, with the reason. A
//! [`Store`] keeps rows so that a process killed at any moment loses none and a later one repeats none. [`run`] puts
//! them together.

mod error;
mod evaluate;
mod run;
mod spec;
mod store;
mod unit;

pub use error::SweepError;
pub use evaluate::{Evaluator, Row, Status};
pub use run::run;
pub use spec::{Plan, Setting};
pub use store::{Store, Tally};
pub use unit::{Kind, Unit};
