//! Rows as cells of Parquet columns.

use crate::error::SweepError;
use report::{Cell, Column, ColumnKind, read_parquet};
use serde_json::{Map, Value};
use std::fs::File;
use std::path::Path;

/// The cells of a row, in the order of columns.
pub fn cells(columns: &[Column], values: &Map<String, Value>) -> Vec<Cell> {
    columns
        .iter()
        .map(|column| values.get(&column.name).map_or(Cell::Absent, |value| cell(column.kind, value)))
        .collect()
}

fn cell(kind: ColumnKind, value: &Value) -> Cell {
    match (kind, value) {
        (_, Value::Null) => Cell::Absent,
        (ColumnKind::Flag, Value::Bool(flag)) => Cell::Flag(*flag),
        (ColumnKind::Whole, value) => value.as_i64().map_or(Cell::Absent, Cell::Whole),
        (ColumnKind::Real, value) => value.as_f64().map_or(Cell::Absent, Cell::Real),
        (ColumnKind::Text, Value::String(text)) => Cell::Text(text.clone()),
        (ColumnKind::Text, other) => Cell::Text(other.to_string()),
        _ => Cell::Absent,
    }
}

/// Hands every row of a file to `each`.
pub fn read(path: &Path, mut each: impl FnMut(Vec<Cell>)) -> Result<(), SweepError> {
    let rows = File::open(path).and_then(|file| {
        read_parquet(file, |row| {
            each(row);
            Ok(())
        })
    });
    rows.map_err(|error| SweepError::io(path, &error))
}
