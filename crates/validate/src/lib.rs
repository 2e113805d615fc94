//! Predictions held to measurements: read a table, predict each row, say how far off.

mod engine_fit;
mod serving;
mod simulate;
mod summary;
mod table;

pub use engine_fit::{EngineFit, fit_engine, group};
pub use serving::{
    Fidelity, Measured, Outcome, Prediction, ServingRow, UnknownFidelity, predict, read_serving,
};
pub use summary::{Band, Group, Metric, PairOrder, Summary, summarise};
pub use table::{Table, TableError};
