//! Configurations as the hub has them, reduced to keys of weight and some noise, against the counts that are published.

use serde_json::Value;
use supernode_model::import::from_json;

/// Relative difference allowed: a tenth of a percent.
const TOLERANCE: f64 = 0.001;

/// One line of `hub.jsonl`: the model's id, its parameters, where the number is from, and its `config.json`.
fn models() -> Vec<Value> {
    include_str!("hub.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn parameters(model: &Value) -> f64 {
    model["parameters"].as_f64().expect("a number of parameters")
}

fn read(config: &Value, id: &str) -> u64 {
    from_json(&config.to_string(), id).unwrap_or_else(|error| panic!("{error}")).parameters().total()
}

#[test]
fn published_counts() {
    let models = models();
    assert!(models.len() >= 60, "{} models", models.len());
    for model in &models {
        let id = model["id"].as_str().expect("an id");
        let counted = read(&model["config"], id) as f64;
        let off = counted / parameters(model) - 1.0;
        assert!(
            off.abs() < TOLERANCE,
            "{id}: {counted} counted, {} published ({:.3} %)",
            parameters(model),
            off * 100.0
        );
    }
}

/// The same sizes under a name that nothing knows: grouped heads, gated networks and experts are read by their keys.
/// Classes whose biases, norms or gates no key states may be off by a few percent, and say what was assumed.
#[test]
fn by_structure_alone() {
    let mut read_right = 0;
    for model in models() {
        let id = model["id"].as_str().expect("an id").to_owned();
        let mut config = model["config"].clone();
        let Some(object) = config.as_object_mut() else { continue };
        object.insert("model_type".to_owned(), Value::from("something_new"));
        object.remove("architectures");
        if object.contains_key("text_config") || object.contains_key("llm_config") {
            continue;
        }
        let Ok(found) = from_json(&config.to_string(), &id) else { continue };
        assert!(!found.reading.is_empty(), "{id}: nothing is said of a reading by structure");
        let off = found.parameters().total() as f64 / parameters(&model) - 1.0;
        read_right += usize::from(off.abs() < 0.02);
    }
    assert!(read_right >= 35, "{read_right} models were read right by their structure");
}

#[test]
fn architectures_are_a_second_key() {
    for model in models() {
        let id = model["id"].as_str().expect("an id").to_owned();
        let mut config = model["config"].clone();
        let object = config.as_object_mut().expect("an object");
        let plain = object.get("llm_config").is_none() && object.get("text_config").is_none();
        // These classes bear other names than their `model_type`, or one that several classes share.
        let other = ["phimoe", "hunyuan", "chatglm", "qwen", "mpt", "openai-gpt", "bloom"];
        let known =
            object.get("model_type").and_then(Value::as_str).is_some_and(|name| !other.contains(&name));
        if !plain || !known {
            continue;
        }
        object.remove("model_type");
        let off = read(&config, &id) as f64 / parameters(&model) - 1.0;
        assert!(off.abs() < TOLERANCE, "{id} by its class: {:.3} %", off * 100.0);
    }
}
