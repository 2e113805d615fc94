//! Errors of operator rows by set: one kernel of one stack in one format on one chip.

use crate::operators::operator_predictions;
use calibration::ops::{CalibrateError, OpTable, SetKey};
use calibration::stats::{ErrorStats, Z80, share_inside};
use hardware::Catalog;
use std::collections::BTreeMap;

/// Errors of one set of a table's rows.
#[derive(Debug, Clone, PartialEq)]
pub struct SetErrors {
    /// Operator family.
    pub family: &'static str,
    /// The set.
    pub key: SetKey,
    /// Of rows that were fitted.
    pub fitted: ErrorStats,
    /// Of rows that were kept out of the fit.
    pub held_out: ErrorStats,
    /// Share of the rows kept out that lie inside the 80 % band.
    pub inside: f64,
    /// Rows that are not predicted.
    pub missing: usize,
}

/// Predicts a table and sums its errors up by set.
///
/// # Errors
/// A malformed row, or a table of no known kind.
pub fn operator_sets(table: &OpTable, catalog: &Catalog) -> Result<Vec<SetErrors>, CalibrateError> {
    #[derive(Default)]
    struct Figures {
        fitted: Vec<(f64, f64)>,
        held_out: Vec<(f64, f64, f64)>,
        missing: usize,
    }
    let mut sets: BTreeMap<(&'static str, SetKey), Figures> = BTreeMap::new();
    for row in operator_predictions(table, catalog)? {
        let figures = sets.entry((row.family, row.key)).or_default();
        match row.predicted {
            Ok(estimate) => {
                let (predicted, measured) = (estimate.time.us(), row.measured.us());
                if row.held_out {
                    figures.held_out.push((predicted, measured, estimate.sigma));
                } else {
                    figures.fitted.push((predicted, measured));
                }
            }
            Err(_) => figures.missing += 1,
        }
    }
    let errors = |((family, key), figures): ((&'static str, SetKey), Figures)| {
        let pairs: Vec<(f64, f64)> = figures.held_out.iter().map(|(p, m, _)| (*p, *m)).collect();
        SetErrors {
            family,
            key,
            fitted: ErrorStats::of(&figures.fitted),
            held_out: ErrorStats::of(&pairs),
            inside: share_inside(&figures.held_out, Z80),
            missing: figures.missing,
        }
    };
    Ok(sets.into_iter().map(errors).collect())
}
