//! Predictions held to measurements: read a table, predict each row, say how far off.

mod engine_fit;
mod operators;
mod ranking;
mod serving;
mod simulate;
mod split;
mod summary;
mod table;
mod training;

pub use engine_fit::{EngineFit, fit_engine};
pub use operators::{accepts, predict_operators};
pub use ranking::{CLOSE, Choice, Contest, Ranking, rank};
pub use serving::{
    Fidelity, Measured, Outcome, Prediction, ServingRow, UnknownFidelity, predict, read_serving,
};
pub use split::{Split, group, split, split_of};
pub use summary::{Band, Group, Metric, Pair, PairOrder, Scored, Summary, summarise};
pub use table::{Table, TableError, open_text};
pub use training::predict_training;
