//! The columns of a row: index and status, what was varied, what came out.

use super::axis::{Axis, Choice};
use crate::evaluate;
use crate::unit::Kind;
use report::{Column, ColumnKind};
use serde_json::Value;

/// Columns that every row has.
const COMMON: [(&str, ColumnKind); 3] =
    [("cell", ColumnKind::Whole), ("status", ColumnKind::Text), ("reason", ColumnKind::Text)];

/// The column of a varied key: dots and dashes are underscores, which query languages take without quotes.
pub fn name(key: &str) -> String {
    key.replace(['.', '-'], "_")
}

/// All columns of a sweep. A result of the name of a varied key is left out: the key says the same.
///
/// # Errors
/// The key and what is wrong with it: two axes set it, or it has the name of a common column.
pub fn columns(kind: Kind, axes: &[Axis]) -> Result<Vec<Column>, (String, String)> {
    let mut columns: Vec<Column> = COMMON.map(|(name, kind)| Column::new(name, kind)).into();
    for axis in axes {
        let mut own: Vec<Column> = Vec::new();
        for (key, kind) in kinds(axis) {
            match own.iter_mut().find(|column| column.name == name(&key)) {
                Some(column) => column.kind = widest(column.kind, kind),
                None => own.push(Column::new(name(&key), kind)),
            }
        }
        for column in own {
            if columns.iter().any(|other| other.name == column.name) {
                let problem = format!("the column `{}` is already taken by another key", column.name);
                return Err((format!("vary.{}", axis.name), problem));
            }
            columns.push(column);
        }
    }
    for (name, _, kind) in evaluate::results(kind) {
        if !columns.iter().any(|column| column.name == *name) {
            columns.push(Column::new(*name, *kind));
        }
    }
    Ok(columns)
}

fn kinds(axis: &Axis) -> Vec<(String, ColumnKind)> {
    match &axis.choice {
        Choice::Range(range) => vec![(axis.name.clone(), kind(&range.at(0.0)))],
        Choice::List(list) => list.iter().flatten().map(|(key, value)| (key.clone(), kind(value))).collect(),
    }
}

fn kind(value: &Value) -> ColumnKind {
    match value {
        Value::Bool(_) => ColumnKind::Flag,
        Value::Number(number) if number.is_i64() => ColumnKind::Whole,
        Value::Number(_) => ColumnKind::Real,
        _ => ColumnKind::Text,
    }
}

/// The kind that holds values of both.
fn widest(a: ColumnKind, b: ColumnKind) -> ColumnKind {
    match (a, b) {
        (a, b) if a == b => a,
        (ColumnKind::Whole, ColumnKind::Real) | (ColumnKind::Real, ColumnKind::Whole) => ColumnKind::Real,
        _ => ColumnKind::Text,
    }
}
