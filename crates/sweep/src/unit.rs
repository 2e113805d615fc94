//! The unit of work: one cell of a sweep with everything that evaluating it takes.

use crate::error::SweepError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Names the form of a unit and its version.
pub(crate) const SCHEMA: &str = "supernode.sweep.unit/1";

/// What is done with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The steady state of a deployment.
    Estimate,
    /// A scenario, request by request.
    Simulate,
    /// A training step.
    Train,
}

/// One cell. As JSON it can be sent anywhere that has the program and the files that the job names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// Always `supernode.sweep.unit/1`.
    pub schema: String,
    /// Its index in the sweep.
    pub cell: u64,
    /// What is done with the job.
    pub kind: Kind,
    /// Folder that relative paths in the job are relative to.
    #[serde(default)]
    pub folder: String,
    /// Folder laid over the built-in catalog.
    #[serde(default)]
    pub catalog: Option<String>,
    /// Figures of the catalog that are replaced, as `key=value`.
    #[serde(default)]
    pub set: Vec<String>,
    /// The varied keys of this cell, by column of the row.
    #[serde(default)]
    pub varied: Map<String, Value>,
    /// The whole job, with the varied keys in it.
    pub job: Value,
}

impl Unit {
    /// Reads a unit; `place` is what messages call it.
    ///
    /// # Errors
    /// Text that is no unit of this version.
    pub fn parse(place: &str, text: &str) -> Result<Self, SweepError> {
        let failed = |problem: String| SweepError::Unit { place: place.to_owned(), problem };
        let unit: Self = serde_json::from_str(text).map_err(|error| failed(error.to_string()))?;
        if unit.schema != SCHEMA {
            return Err(failed(format!("schema is `{}`; this version reads `{SCHEMA}`", unit.schema)));
        }
        Ok(unit)
    }

    /// As one line of JSON.
    pub fn line(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Puts `value` at the dotted `path` of `document`. Numbers in the path are places in an array, counted from zero;
/// tables that are missing are made.
pub(crate) fn put(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut slot = document;
    for key in path.split('.') {
        if slot.is_null() {
            *slot = Value::Object(Map::new());
        }
        slot = match slot {
            Value::Object(object) => object.entry(key).or_insert(Value::Null),
            Value::Array(array) => {
                let length = array.len();
                let at = key.parse::<usize>().ok();
                at.and_then(|at| array.get_mut(at)).ok_or_else(|| {
                    format!("`{key}` is no place in an array of {length}; they are counted from 0")
                })?
            }
            _ => return Err(format!("`{key}` lies inside a value that is no table")),
        };
    }
    *slot = value;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(path: &str, expected: Result<Value, &str>) {
        let mut document = json!({ "a": { "b": 1 }, "list": [{ "x": 1 }] });
        let found = put(&mut document, path, json!(9)).map(|()| document);
        assert_eq!(found.as_ref().map_err(String::as_str), expected.as_ref().map_err(|text| *text));
    }

    #[test]
    fn values_are_put_where_the_path_says() {
        check("a.b", Ok(json!({ "a": { "b": 9 }, "list": [{ "x": 1 }] })));
        check("new.deep", Ok(json!({ "a": { "b": 1 }, "list": [{ "x": 1 }], "new": { "deep": 9 } })));
        check("list.0.x", Ok(json!({ "a": { "b": 1 }, "list": [{ "x": 9 }] })));
        check("list.1.x", Err("`1` is no place in an array of 1; they are counted from 0"));
        check("list.x", Err("`x` is no place in an array of 1; they are counted from 0"));
        check("a.b.c", Err("`c` lies inside a value that is no table"));
    }

    #[test]
    fn units_survive_their_text() {
        let text = r#"{"schema":"supernode.sweep.unit/1","cell":3,"kind":"train","job":{"tp":2}}"#;
        let unit = Unit::parse("here", text).expect("a unit");
        assert_eq!(Unit::parse("here", &unit.line()), Ok(unit));
        let other = text.replace("unit/1", "unit/2");
        assert!(Unit::parse("here", &other).is_err_and(|error| error.to_string().contains("unit/2")));
        assert!(Unit::parse("here", "{}").is_err());
    }
}
