//! Operator tables: reading them, fitting kernel profiles to them, predicting their rows.
//!
//! A table is a CSV (plain or gzipped) whose header tells which families of operators it holds. A family implements
//! [`OpFamily`]: how a record becomes a shape and a set, which coefficients and structures its form has, and what its
//! time is. Everything else (splits, searches, residual grids, few-row fits from a relative, errors, files) is shared:
//! [`calibrate_ops`] turns tables into profiles, [`predict_ops`] profiles into predictions.

mod calibrate;
mod family;
mod fit_set;
mod predict;
mod relatives;
mod study;
mod table;

pub use calibrate::{CalibrateError, CalibrateOptions, Calibrated, calibrate_ops};
pub use family::{AnyFamily, Draft, Form, OpFamily, OpRow, SetKey, Structure, families};
pub use fit_set::{MIN_ROWS, SetOptions};
pub use predict::{Estimate, Prediction, Unpredicted, predict_ops};
pub use study::{Study, UnknownStudy, study_ops};
pub use table::{OpTable, Record, TableError};

/// Catalog key of the chip behind the Ascend tables that name none: labelled 910B by their source, measured on Atlas A3
/// hosts, one row being one die of a 910C.
pub const ASCEND_TABLES_CHIP: &str = "ascend-910c";
