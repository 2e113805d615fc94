//! Operator rows: one kernel on one chip.

use crate::summary::{Metric, Pair, Scored};
use calibration::ops::{CalibrateError, CalibrateOptions, OpTable, SetKey, families, predict_ops};
use hardware::Catalog;

/// Whether a table's header is one of operators.
pub fn accepts(table: &OpTable) -> bool {
    families().iter().any(|family| family.accepts(table))
}

/// Predicts every row of a table of operators as its benchmark measured it.
///
/// # Errors
/// A malformed row, or a table of no known kind.
pub fn predict_operators(table: &OpTable, catalog: &Catalog) -> Result<Vec<Scored>, CalibrateError> {
    let options = CalibrateOptions { catalog, date: "", source: "", seed: 1, study: false };
    let predictions = predict_ops(table, &families(), &options)?;
    Ok(predictions
        .into_iter()
        .map(|row| {
            let set = label(&row.key);
            let (pairs, failure) = match &row.predicted {
                Ok(estimate) => {
                    let pair = Pair {
                        metric: Metric::Latency,
                        predicted: estimate.time.us(),
                        measured: row.measured.us(),
                        sigma: estimate.sigma,
                    };
                    (vec![pair], None)
                }
                Err(reason) => (Vec::new(), Some(reason.to_string())),
            };
            Scored {
                id: format!("line {}", row.line),
                keys: vec![
                    ("chip", row.key.chip.clone()),
                    ("family", row.family.to_owned()),
                    ("set", format!("{} {set}", row.family)),
                    ("split", if row.held_out { "held out" } else { "fitted" }.to_owned()),
                ],
                pairs,
                failure,
                alternative: None,
            }
        })
        .collect())
}

/// Chip, stack, version, formats and kernel.
fn label(key: &SetKey) -> String {
    let precision = &key.precision;
    let formats = format!("{}/{}", precision.weight, precision.activation);
    [key.chip.as_str(), &key.stack, &key.version, &formats, &key.kernel].join(" ").trim_end().to_owned()
}
