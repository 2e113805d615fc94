//! Questions as documents: what a program sends as JSON, with the key named where it says what cannot be said.

use crate::TrainingJob;
use crate::error::Error;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Reads a question. Keys are spelled as their structure spells them.
///
/// # Errors
/// A key that is unknown, missing, or whose value is of the wrong kind; the error names its path.
pub fn question<T: DeserializeOwned>(document: Value) -> Result<T, Error> {
    serde_path_to_error::deserialize(document).map_err(|error| {
        let (path, problem) = (error.path().to_string(), error.inner().to_string());
        at_path(&path, &problem)
    })
}

/// An error at a path of a document. A message about a key that is unknown or missing names it, and it ends the path.
pub(crate) fn at_path(path: &str, problem: &str) -> Error {
    let named = ["unknown field `", "missing field `"].iter().find_map(|lead| {
        let rest = problem.strip_prefix(lead)?;
        rest.split_once('`').map(|(key, _)| key)
    });
    let path = if path == "." { "" } else { path };
    match named {
        Some(key) if path == key || path.ends_with(&format!(".{key}")) => Error::at(path, problem),
        Some(key) if path.is_empty() => Error::at(key, problem),
        Some(key) => Error::at(&format!("{path}.{key}"), problem),
        None if path.is_empty() => Error::input(problem),
        None => Error::at(path, problem),
    }
}

/// The same document with the dashes of its keys as underscores, or the other way round: jobs of training are written with
/// dashes in files and with underscores in programs.
fn respelled(document: Value, from: char, to: &str) -> Value {
    match document {
        Value::Object(table) => {
            Value::Object(table.into_iter().map(|(key, value)| (key.replace(from, to), value)).collect())
        }
        other => other,
    }
}

/// Reads a training job whose keys are spelled with underscores.
///
/// # Errors
/// As [`question`].
pub fn training_job(document: Value) -> Result<TrainingJob, Error> {
    question(respelled(document, '_', "-")).map_err(|error: Error| {
        let Some(key) = error.key else { return error };
        let spelled = key.replace('-', "_");
        let reason = error.reason.replacen(&key, &spelled, 1);
        Error { key: Some(spelled), reason, ..error }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MatchRequest, ServingJob};
    use serde_json::json;

    #[track_caller]
    fn check<T: DeserializeOwned>(document: Value, key: Option<&str>, words: &str) {
        let Err(error) = question::<T>(document) else { panic!("it was read") };
        assert_eq!(error.key.as_deref(), key, "{error}");
        assert!(error.reason.contains(words), "{error}");
    }

    #[test]
    fn errors_name_the_key() {
        check::<ServingJob>(json!({ "model": "x", "islands": 3 }), Some("islands"), "unknown field");
        check::<ServingJob>(json!({ "model": "x", "isl": "many" }), Some("isl"), "invalid type");
        check::<ServingJob>(json!({ "model": "x", "ttft": "2 parsecs" }), Some("ttft"), "parsecs");
        check::<MatchRequest>(json!({ "vary": [1] }), Some("vary[0]"), "invalid type");
        check::<TrainingJob>(json!({ "tp": -1 }), Some("tp"), "invalid value");
        check::<scenario::raw::Raw>(json!({ "seed": "x" }), Some("seed"), "invalid type");
        check::<ServingJob>(json!(3), None, "invalid type");
    }

    #[track_caller]
    fn survives<T: DeserializeOwned + serde::Serialize + PartialEq + std::fmt::Debug>(asked: &T) {
        let document = serde_json::to_value(asked).expect("a document");
        assert_eq!(question::<T>(document).as_ref(), Ok(asked));
    }

    #[test]
    fn questions_survive_their_documents() {
        let job = ServingJob { model: "m".to_owned(), pp: vec![1, 2], top: Some(3), ..ServingJob::default() };
        survives(&job);
        survives(&MatchRequest {
            chip: "a".to_owned(),
            vary: vec!["b".to_owned()],
            ..MatchRequest::default()
        });
        survives(&TrainingJob { tp: Some(2), recompute: Some("full".to_owned()), ..TrainingJob::default() });
        survives(&crate::LongRun { tokens: Some("1T".to_owned()), spares: Some(4), ..Default::default() });
        survives(&crate::TrainingSearch { front: vec![64], at_most: true, ..Default::default() });
        survives(&crate::RunOptions { seed: Some(3), exact: true, ..Default::default() });
        survives(&crate::Facts { set: vec!["chip.hbm.bandwidth=1TB/s".to_owned()], ..Default::default() });
    }
}
