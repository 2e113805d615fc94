//! Questions that are answered with a document.

use crate::sessions::session;
use crate::work;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use supernode::{
    Answer, Error, Facts, LongRun, MatchRequest, OperatingPoint, Prepared, ServingJob, TrainingJob,
    TrainingSearch, Watch, question,
};

/// An answer as it is printed: JSON, then text.
type Printed = (String, String);

fn printed(answer: &dyn Answer) -> Printed {
    (answer.json(), answer.text())
}

/// A job to be served and where.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Serving {
    job: Map<String, Value>,
    systems: Vec<String>,
    chips: Option<u32>,
    #[serde(default)]
    confirm: bool,
}

/// A chip to be matched, and by which job.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Matching {
    job: Map<String, Value>,
    request: Map<String, Value>,
}

/// Reads a text of JSON.
pub fn parse(text: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(Error::input)
}

/// Takes the keys of `T` out of a document.
fn part<T: serde::de::DeserializeOwned + serde::Serialize + Default>(
    document: &mut Map<String, Value>,
) -> Result<T, Error> {
    let keys = serde_json::to_value(T::default()).map_err(Error::input)?;
    let known = keys.as_object().into_iter().flat_map(Map::keys);
    let own = known.filter_map(|key| document.remove_entry(key)).collect();
    question(Value::Object(own))
}

fn prepared(facts: &Facts, document: Map<String, Value>) -> Result<Prepared, Error> {
    let job: TrainingJob = supernode::training_job(Value::Object(document))?;
    Prepared::new(&session(facts)?, &job, None)
}

fn object(document: Value) -> Map<String, Value> {
    match document {
        Value::Object(keys) => keys,
        _ => Map::new(),
    }
}

fn answer(verb: &str, facts: &Facts, document: Value, watch: &Watch<'_>) -> Result<Printed, Error> {
    match verb {
        "estimate" => {
            let point: OperatingPoint = question(document)?;
            Ok(printed(&supernode::estimate(&session(facts)?, &point)?))
        }
        "plan_serve" => {
            let Serving { job, systems, chips, confirm } = question(document)?;
            let job: ServingJob = question(Value::Object(job))?;
            Ok(printed(&supernode::plan_serve(&session(facts)?, &job, &systems, chips, confirm, watch)?))
        }
        "compare" => {
            let Serving { job, systems, chips, .. } = question(document)?;
            let job: ServingJob = question(Value::Object(job))?;
            Ok(printed(&supernode::compare(&session(facts)?, &job, &systems, chips, watch)?))
        }
        "match" => {
            let Matching { job, request } = question(document)?;
            let job: ServingJob = question(Value::Object(job))?;
            let request: MatchRequest = question(Value::Object(request))?;
            Ok(printed(&supernode::match_(&session(facts)?, &job, &request, watch)?))
        }
        "train" => {
            let mut keys = object(document);
            let tokens = keys.get("tokens").cloned();
            let run: LongRun = part(&mut keys)?;
            keys.extend(tokens.map(|tokens| ("tokens".to_owned(), tokens)));
            Ok(printed(&supernode::train(&prepared(facts, keys)?, &run)?))
        }
        "plan_train" => {
            let mut keys = object(document);
            let run: LongRun = part(&mut keys)?;
            let wanted: TrainingSearch = part(&mut keys)?;
            Ok(printed(&supernode::plan_train(&prepared(facts, keys)?, &wanted, &run, watch)?))
        }
        #[cfg(debug_assertions)]
        "panic" => panic!("asked to"),
        other => Err(Error::input(format!("`{other}` is no question"))),
    }
}

/// Answers a question; `facts` and `question` are JSON. The answer is JSON as the command prints it, and its text.
#[pyfunction]
pub fn ask(py: Python<'_>, verb: String, facts: String, document: String) -> PyResult<Printed> {
    let stop = Arc::new(AtomicBool::new(false));
    let cancel = Arc::clone(&stop);
    work::run(py, &stop, move || {
        let facts: Facts = question(parse(&facts)?)?;
        let watch = Watch { cancel: &cancel, progress: &|_, _| () };
        answer(&verb, &facts, parse(&document)?, &watch)
    })
}

/// Keys of an operating point, with what each means.
#[pyfunction]
pub fn point_keys() -> Vec<(&'static str, &'static str)> {
    supernode::POINT_KEYS.iter().map(|key| (key.name, key.help)).collect()
}
