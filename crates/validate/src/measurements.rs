//! A file of measurements, whatever its kind.

use crate::launch::{LaunchError, Launches};
use crate::operators::{accepts, predict_operators};
use crate::score::score_serving;
use crate::serving::{Fidelity, ServingRow, predict, read_serving};
use crate::summary::Scored;
use crate::table::{Table, TableError, open_text};
use crate::training::predict_training;
use calibration::ops::{CalibrateError, OpTable};
use calibration::training::{Predictor, RowError, TrainingDataError, TrainingRow};
use estimate::Resolver;
use estimate::economics::Site;
use hardware::Catalog;
use std::path::Path;

/// Why measurements cannot be read or predicted.
#[derive(Debug, thiserror::Error)]
pub enum MeasurementsError {
    /// A table that cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table of operators that cannot be read.
    #[error(transparent)]
    Operators(#[from] CalibrateError),
    /// A table of training runs that cannot be read.
    #[error(transparent)]
    Training(#[from] TrainingDataError),
    /// A file of launches.
    #[error(transparent)]
    Launches(#[from] LaunchError),
    /// The catalog's frameworks cannot be used.
    #[error(transparent)]
    Frameworks(#[from] RowError),
    /// No row.
    #[error("{path}: has a header and no rows; give a table of measurements")]
    Empty {
        /// The file.
        path: String,
    },
}

impl From<calibration::ops::TableError> for MeasurementsError {
    fn from(error: calibration::ops::TableError) -> Self {
        Self::Operators(error.into())
    }
}

/// The rows of a file by what they measure.
#[derive(Debug, Clone)]
pub enum Measurements {
    /// Operators on a chip.
    Operators(OpTable),
    /// Training runs.
    Training(Vec<TrainingRow>),
    /// Deployments that serve.
    Serving(Vec<ServingRow>),
}

impl Measurements {
    /// Reads a `.csv` or `.csv.gz`, whose header tells the kind. `chip` is what operator rows without a `chip` column
    /// were measured on.
    ///
    /// # Errors
    /// It cannot be read, is of no known kind, or has no rows.
    pub fn open(path: &Path, chip: Option<&str>) -> Result<Self, MeasurementsError> {
        let operators = OpTable::open(path)?.on_chip(chip);
        let shown = path.display().to_string();
        if operators.records().next().is_none() {
            return Err(MeasurementsError::Empty { path: shown });
        }
        if accepts(&operators) {
            return Ok(Self::Operators(operators));
        }
        if operators.has(&["framework", "seq_len"]) {
            return Ok(Self::Training(calibration::training::read(&shown, open_text(path)?)?));
        }
        Ok(Self::Serving(read_serving(&Table::open(path)?)?))
    }

    /// Serving rows launched as is known of such rows; other rows have no launch.
    #[must_use]
    pub fn launched_as(self, launches: &Launches) -> Self {
        match self {
            Self::Serving(rows) => {
                Self::Serving(rows.into_iter().map(|row| row.launched_as(launches)).collect())
            }
            other => other,
        }
    }

    /// Predicts every row.
    ///
    /// # Errors
    /// A malformed operator row, or a catalog whose frameworks cannot be read.
    pub fn score(
        &self,
        catalog: &Catalog,
        site: &Site,
        fidelity: Fidelity,
    ) -> Result<Vec<Scored>, MeasurementsError> {
        Ok(match self {
            Self::Operators(table) => predict_operators(table, catalog)?,
            Self::Training(rows) => predict_training(&Predictor::new(catalog.clone())?, rows),
            Self::Serving(rows) => {
                let resolver = Resolver::new(catalog.clone());
                score_serving(catalog, &predict(&resolver, rows, site, fidelity))
            }
        })
    }
}
