//! `supernode calibrate` on tables of training runs: the profiles of frameworks.

use crate::common::{Failure, print};
use ::validate::{Scored, predict_training, summarise};
use calibration::training::{Predictor, TrainingRow, fit_releases, held_out, part, read};
use hardware::Catalog;
use report::Outputs;
use std::path::{Path, PathBuf};

/// Parts of the groups that are kept out of a fit in turn.
const FOLDS: u64 = 5;

/// The rows of all tables.
pub fn rows(files: &[PathBuf]) -> Result<Vec<TrainingRow>, Failure> {
    let mut rows = Vec::new();
    for file in files {
        rows.extend(read(&file.display().to_string(), ::validate::open_text(file)?)?);
    }
    Ok(rows)
}

/// Fits the profiles of all frameworks, one group of runs in five left out, and writes a file of each into `out`.
pub fn fit(catalog: Catalog, rows: &[TrainingRow], out: &Path) -> Result<(), Failure> {
    let (mut outputs, path) = (Outputs::new(), out.join("frameworks"));
    outputs.folder(&path)?;
    let mut predictor = Predictor::new(catalog)?;
    let mut seen = Vec::new();
    for row in rows {
        if !held_out(&predictor.group(row)?) {
            seen.push(row);
        }
    }
    predictor.adopt(fit_releases(&predictor, &seen));
    for framework in predictor.frameworks() {
        let file = outputs.open(&path.join(format!("{}.toml", framework.id)))?;
        outputs.write(file, &framework.to_toml()?)?;
    }
    outputs.commit()?;
    show(&predict_training(&predictor, rows))
}

/// Fits five times, each time without another fifth of the groups, and says how well each predicts what it has not seen.
pub fn cross(catalog: Catalog, rows: &[TrainingRow]) -> Result<(), Failure> {
    let mut predictor = Predictor::new(catalog)?;
    let mut parts = Vec::new();
    for row in rows {
        parts.push(part(&predictor.group(row)?, FOLDS));
    }
    let mut scored = Vec::new();
    for fold in 0..FOLDS {
        let of = |inside: bool| {
            rows.iter().zip(&parts).filter(move |(_, part)| (**part == fold) == inside).map(|(row, _)| row)
        };
        predictor.adopt(fit_releases(&predictor, &of(false).collect::<Vec<_>>()));
        scored.extend(predict_training(&predictor, &of(true).cloned().collect::<Vec<_>>()));
    }
    show(&scored)
}

fn show(rows: &[Scored]) -> Result<(), Failure> {
    print(&report::validate_text(&summarise(rows)))
}
