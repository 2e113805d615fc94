//! Predictions held to measurements: read a table, predict each row, say how far off.

mod accuracy;
mod anchors;
mod engine_fit;
mod figure;
mod launch;
mod measurements;
mod operator_sets;
mod operators;
mod published;
mod ranking;
mod score;
mod serving;
mod simulate;
mod split;
mod summary;
mod table;
mod training;

pub use accuracy::{Accuracy, AccuracyError, Carried, ChipBand, ServingTable, Unmeasured, collect};
pub use anchors::{ANCHORS, Anchored, AnchorsError, anchor};
pub use engine_fit::{EngineFit, fit_engine};
pub use launch::{Launch, LaunchError, Launches};
pub use measurements::{Measurements, MeasurementsError};
pub use operator_sets::{SetErrors, operator_sets};
pub use operators::{accepts, operator_id, operator_predictions, predict_operators, set_label};
pub use published::{
    ALLOWED_RISE, ERRORS_FILE, Errors, FileErrors, LAUNCHES_FOLDER, PublishedError, Rise, accepted_errors,
    errors_of, errors_toml, predict_published, rises,
};
pub use ranking::{CLOSE, Choice, Contest, Ranking, rank};
pub use score::{Unscored, find, score_serving};
pub use serving::{
    Fidelity, Measured, Outcome, Prediction, ServingRow, UnknownFidelity, predict, read_serving,
};
pub use split::{Split, group, split, split_of};
pub use summary::{Band, Group, Metric, Pair, PairOrder, Scored, Summary, summarise};
pub use table::{Table, TableError, open_text};
pub use training::predict_training;
