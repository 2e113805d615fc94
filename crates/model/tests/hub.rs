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

/// Files as Transformers 5 writes them: the rotary settings in one object, `dtype`, and a list of which layers are sparse.
#[test]
fn the_spelling_of_transformers_5() {
    for model in models() {
        let id = model["id"].as_str().expect("an id").to_owned();
        let mut config = model["config"].clone();
        respell(&mut config);
        let off = read(&config, &id) as f64 / parameters(&model) - 1.0;
        assert!(off.abs() < TOLERANCE, "{id}: {:.3} %", off * 100.0);
    }
}

fn respell(config: &mut Value) {
    let Some(object) = config.as_object_mut() else { return };
    for part in ["text_config", "llm_config", "language_config"] {
        object.get_mut(part).into_iter().for_each(respell);
    }
    let mut rope = serde_json::Map::from_iter([("rope_type".to_owned(), Value::from("default"))]);
    for key in ["rope_theta", "partial_rotary_factor"] {
        rope.extend(object.remove(key).map(|value| (key.to_owned(), value)));
    }
    if let Some(Value::Object(scaling)) = object.remove("rope_scaling") {
        rope.extend(scaling);
    }
    object.insert("rope_parameters".to_owned(), Value::Object(rope));
    let dtype = object.remove("torch_dtype").unwrap_or(Value::from("bfloat16"));
    object.insert("dtype".to_owned(), dtype);
    object.insert("transformers_version".to_owned(), Value::from("5.24.0"));
    let layers = object.get("num_hidden_layers").and_then(Value::as_u64);
    let every = object.get("moe_layer_freq").is_none_or(|freq| freq.as_u64() == Some(1));
    let dense = object.get("first_k_dense_replace").and_then(Value::as_u64);
    if let (Some(layers), Some(dense), true) = (layers, dense, every) {
        object.remove("first_k_dense_replace");
        object.remove("moe_layer_freq");
        let kind = |layer| Value::from(if layer < dense { "dense" } else { "sparse" });
        object.insert("mlp_layer_types".to_owned(), (0..layers).map(kind).collect());
    }
}

/// What classes of Transformers 5.24 write of themselves, against their parameters on the meta device, towers left out;
/// experts that only images meet are counted.
#[test]
fn classes_of_transformers_5() {
    let rows = include_str!("classes.jsonl").lines();
    let rows: Vec<Value> = rows.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    assert!(rows.len() >= 35, "{} classes", rows.len());
    for row in &rows {
        let name = row["type"].as_str().expect("a name");
        let model =
            from_json(&row["config"].to_string(), name).unwrap_or_else(|error| panic!("{name}: {error}"));
        let apart: u64 = model.towers.iter().map(|tower| tower.parameters).sum();
        let counted = (model.parameters().total() + apart) as f64;
        let off = counted / parameters(row) - 1.0;
        assert!(off.abs() < TOLERANCE, "{name}: {counted} counted ({:.3} %)", off * 100.0);
    }
}
