//! Published training runs: reading them, predicting their step time as laid out, fitting framework profiles.

mod date;
mod fit;
mod predict;
mod row;

pub use fit::{FittedRelease, fit_releases};
pub use predict::{Chosen, Predictor, Priced, RowError};
pub use row::{TrainingDataError, TrainingRow, held_out_rows, read};
