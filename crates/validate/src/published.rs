//! Published rows kept with the project, and the errors they are held to.
//!
//! The folder holds tables of measurements, each row a published fact with its source, and `errors.toml`: the errors
//! that were accepted when coefficients last changed. A change that makes them worse has to say so.

use crate::launch::{LaunchError, Launches};
use crate::measurements::{Measurements, MeasurementsError};
use crate::serving::Fidelity;
use crate::summary::{Scored, summarise};
use estimate::economics::Site;
use hardware::Catalog;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

/// Name of the file with the accepted errors.
pub const ERRORS_FILE: &str = "errors.toml";
/// Name of the folder with files of launches.
pub const LAUNCHES_FOLDER: &str = "launches";
/// Relative rise of an error that is too much.
pub const ALLOWED_RISE: f64 = 0.05;
/// Errors are written to this precision, and rises smaller than it are rounding.
const RESOLUTION: f64 = 1e-4;

/// Why published rows cannot be held to their errors.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// The folder or a file in it cannot be read.
    #[error("{}: cannot be read ({source}); give the folder with the published rows", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A table is malformed.
    #[error(transparent)]
    Rows(#[from] MeasurementsError),
    /// A file of launches cannot be used.
    #[error(transparent)]
    Launches(#[from] LaunchError),
    /// The accepted errors are malformed.
    #[error("{}: {source}", path.display())]
    Errors {
        /// The file.
        path: PathBuf,
        /// What the TOML reader says.
        source: toml::de::Error,
    },
}

/// Errors of one metric of one file.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Error {
    /// Rows with the metric.
    pub n: usize,
    /// Median of |predicted / measured - 1|.
    pub median: f64,
    /// Its mean.
    pub mean: f64,
}

/// Errors of one file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileErrors {
    /// Rows.
    pub rows: usize,
    /// Of them predicted.
    pub predicted: usize,
    /// By the metric's name.
    pub metrics: BTreeMap<String, Error>,
}

/// Errors by file name.
pub type Errors = BTreeMap<String, FileErrors>;

/// The tables of the folder with their rows predicted, in the order of their names.
///
/// # Errors
/// The folder cannot be read or a table is malformed.
pub fn predict_published(
    folder: &Path,
    catalog: &Catalog,
    site: &Site,
) -> Result<Vec<(String, Vec<Scored>)>, PublishedError> {
    let failed = |source| PublishedError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    files.sort();
    let launches = Launches::beside(&folder.join(LAUNCHES_FOLDER))?;
    files
        .into_iter()
        .map(|path| {
            let rows = Measurements::open(&path, None)?.launched_as(&launches).score(
                catalog,
                site,
                Fidelity::Simulate,
            )?;
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            Ok((name, rows))
        })
        .collect()
}

/// The errors of predicted tables.
pub fn errors_of(files: &[(String, Vec<Scored>)]) -> Errors {
    let round = |error: f64| (error / RESOLUTION).round() * RESOLUTION;
    files
        .iter()
        .map(|(name, rows)| {
            let summary = summarise(rows);
            let metrics = summary.metrics.iter().map(|(metric, stats)| {
                let error =
                    Error { n: stats.n, median: round(stats.median_ape), mean: round(stats.mean_ape) };
                (metric.name().to_owned(), error)
            });
            let errors =
                FileErrors { rows: summary.rows, predicted: summary.predicted, metrics: metrics.collect() };
            (name.clone(), errors)
        })
        .collect()
}

/// The accepted errors.
///
/// # Errors
/// The file cannot be read or is malformed.
pub fn accepted_errors(folder: &Path) -> Result<Errors, PublishedError> {
    let path = folder.join(ERRORS_FILE);
    let text = std::fs::read_to_string(&path)
        .map_err(|source| PublishedError::Read { path: path.clone(), source })?;
    toml::from_str(&text).map_err(|source| PublishedError::Errors { path, source })
}

/// Errors as the file holds them.
pub fn errors_toml(errors: &Errors) -> String {
    let mut text = String::from(
        "# Errors that the published rows beside this file are held to: median and mean of |predicted / measured - 1|.\n\
         # `supernode accuracy --published validation` fails if one of them rises by more than 5 % of itself;\n\
         # `supernode accuracy --published validation --accept` writes the present ones.\n",
    );
    for (name, file) in errors {
        let _ = write!(
            text,
            "\n[\"{name}\"]\nrows = {}\npredicted = {}\n\n[\"{name}\".metrics]\n",
            file.rows, file.predicted
        );
        for (metric, error) in &file.metrics {
            let _ = writeln!(
                text,
                "{metric} = {{ n = {}, median = {:.4}, mean = {:.4} }}",
                error.n, error.median, error.mean
            );
        }
    }
    text
}

/// Something that got worse.
#[derive(Debug, Clone, PartialEq)]
pub struct Rise {
    /// File.
    pub file: String,
    /// What rose, or what is missing.
    pub what: String,
    /// As accepted.
    pub accepted: f64,
    /// As it is.
    pub now: f64,
}

impl fmt::Display for Rise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} was {:.4}, is {:.4}", self.file, self.what, self.accepted, self.now)
    }
}

/// What of `now` is worse than accepted by more than [`ALLOWED_RISE`]: an error, or a row that is no longer predicted.
pub fn rises(accepted: &Errors, now: &Errors) -> Vec<Rise> {
    let none = FileErrors { rows: 0, predicted: 0, metrics: BTreeMap::new() };
    let mut found = Vec::new();
    for (file, accepted) in accepted {
        let present = now.get(file).unwrap_or(&none);
        let mut note = |what: String, accepted: f64, now: f64| {
            found.push(Rise { file: file.clone(), what, accepted, now });
        };
        if present.predicted < accepted.predicted {
            note("rows predicted".to_owned(), accepted.predicted as f64, present.predicted as f64);
        }
        for (metric, was) in &accepted.metrics {
            let Some(is) = present.metrics.get(metric) else { continue };
            for (name, was, is) in [("median", was.median, is.median), ("mean", was.mean, is.mean)] {
                if is > was * (1.0 + ALLOWED_RISE) + RESOLUTION {
                    note(format!("{name} error of {metric}"), was, is);
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(predicted: usize, median: f64, mean: f64) -> Errors {
        let metrics = BTreeMap::from([("tpot".to_owned(), Error { n: predicted, median, mean })]);
        BTreeMap::from([("serving.csv".to_owned(), FileErrors { rows: 10, predicted, metrics })])
    }

    #[test]
    fn a_file_of_errors_reads_as_written() {
        let some = errors(9, 0.1, 0.1234);
        assert_eq!(toml::from_str::<Errors>(&errors_toml(&some)).unwrap(), some);
    }

    #[test]
    fn what_gets_worse_by_more_than_a_twentieth_is_a_rise() {
        let accepted = errors(9, 0.1, 0.2);
        assert!(rises(&accepted, &errors(9, 0.1049, 0.2099)).is_empty());
        assert!(rises(&accepted, &errors(10, 0.05, 0.1)).is_empty());
        let worse: Vec<String> =
            rises(&accepted, &errors(8, 0.106, 0.3)).iter().map(ToString::to_string).collect();
        insta::assert_debug_snapshot!(worse, @r#"
        [
            "serving.csv: rows predicted was 9.0000, is 8.0000",
            "serving.csv: median error of tpot was 0.1000, is 0.1060",
            "serving.csv: mean error of tpot was 0.2000, is 0.3000",
        ]
        "#);
        assert_eq!(rises(&accepted, &Errors::new()).len(), 1);
    }
}
