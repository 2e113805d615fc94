//! Outcomes of serving rows as a summary counts them.

use crate::serving::{Outcome, ServingRow};
use crate::summary::Scored;
use hardware::Catalog;

/// No row has the id that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: no row has the id `{id}`; {hint}")]
pub struct Unscored {
    /// The file.
    pub path: String,
    /// The id.
    pub id: String,
    /// Where ids are found.
    pub hint: &'static str,
}

/// Scores outcomes, with the chip of each row's system beside the columns that the row has itself.
pub fn score_serving(catalog: &Catalog, outcomes: &[Outcome]) -> Vec<Scored> {
    outcomes
        .iter()
        .map(|outcome| {
            let mut scored = outcome.scored();
            let chip = catalog.system(&outcome.row.point.system).map_or_else(
                |_| "unknown".to_owned(),
                |system| outcome.row.point.chip.clone().unwrap_or(system.chip),
            );
            scored.keys.insert(1, ("chip", chip));
            scored
        })
        .collect()
}

/// The row with an id.
///
/// # Errors
/// There is none.
pub fn find<'a>(rows: &'a [ServingRow], id: &str, path: &str) -> Result<&'a ServingRow, Unscored> {
    let hint = "ids stand in the column `id`, and `worst` lists some";
    let missing = || Unscored { path: path.to_owned(), id: id.to_owned(), hint };
    rows.iter().find(|row| row.id == id).ok_or_else(missing)
}
