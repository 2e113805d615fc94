//! Published training runs: reading them, predicting their step time as laid out, fitting framework profiles.

mod date;
mod fit;
mod predict;
mod row;
mod split;

pub use fit::fit_releases;
pub use predict::{Chosen, Predictor, Priced, RowError};
pub use row::{TrainingDataError, TrainingRow, read};
pub use split::{held_out, part};
