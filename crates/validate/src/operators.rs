//! Operator rows: one kernel on one chip.

use crate::summary::{Metric, Pair, Scored};
use calibration::ops::{
    CalibrateError, CalibrateOptions, OpTable, Prediction, Record, SetKey, families, predict_ops,
};
use hardware::Catalog;
use std::collections::BTreeMap;

/// Whether a table's header is one of operators.
pub fn accepts(table: &OpTable) -> bool {
    families().iter().any(|family| family.accepts(table))
}

/// What `table`'s rows are predicted as, in the order of their lines; rows of which nothing can be read are absent.
///
/// # Errors
/// A malformed row, or a table of no known kind.
pub fn operator_predictions(table: &OpTable, catalog: &Catalog) -> Result<Vec<Prediction>, CalibrateError> {
    let options = CalibrateOptions { catalog, date: "", source: "", seed: 1, study: false };
    predict_ops(table, &families(), &options)
}

/// Predicts every row of a table of operators as its benchmark measured it. A row that times several operators, as
/// tables of exchanges do, gives one part for each.
///
/// # Errors
/// A malformed row, or a table of no known kind.
pub fn predict_operators(table: &OpTable, catalog: &Catalog) -> Result<Vec<Scored>, CalibrateError> {
    let mut by_line: BTreeMap<u64, Vec<Scored>> = BTreeMap::new();
    for prediction in operator_predictions(table, catalog)? {
        let parts = by_line.entry(prediction.line).or_default();
        let continues = !parts.is_empty();
        parts.push(Scored { continues, ..scored(&prediction) });
    }
    Ok(table
        .records()
        .flat_map(|record| by_line.remove(&record.line()).unwrap_or_else(|| vec![unread(&record)]))
        .collect())
}

/// The id of an operator row: tables give none, so its line stands for it.
pub fn operator_id(line: u64) -> String {
    format!("line {line}")
}

fn scored(row: &Prediction) -> Scored {
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
    let stack = [row.key.stack.as_str(), &row.key.version].join(" ");
    Scored {
        id: operator_id(row.line),
        keys: vec![
            ("chip", row.key.chip.clone()),
            ("engine", stack.trim_end().to_owned()),
            ("family", row.family.to_owned()),
            ("set", format!("{} {}", row.family, set_label(&row.key))),
            ("split", if row.held_out { "held out" } else { "fitted" }.to_owned()),
        ],
        pairs,
        failure,
        ..Scored::default()
    }
}

/// A row that no family reads: a figure of another kind, an unknown expert load, or no time at all.
fn unread(record: &Record<'_>) -> Scored {
    let named = ["op_name", "op", "collective", "table"].map(|column| record.text(column));
    let name = named.into_iter().find(|name| !name.is_empty()).unwrap_or("its operator");
    Scored {
        id: operator_id(record.line()),
        keys: vec![("chip", record.text("chip").to_owned())],
        failure: Some(format!("not a time of an operator in a form that is known here: `{name}`")),
        ..Scored::default()
    }
}

/// Chip, stack, version, formats and kernel.
pub fn set_label(key: &SetKey) -> String {
    let precision = &key.precision;
    let formats = format!("{}/{}", precision.weight, precision.activation);
    [key.chip.as_str(), &key.stack, &key.version, &formats, &key.kernel].join(" ").trim_end().to_owned()
}
