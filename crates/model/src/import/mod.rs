//! Reading a Hugging Face `config.json`, and the quantisation files beside it.

mod decoder;
mod error;
mod family;
mod keys;
mod neutral;
mod quant;
mod relaxed;

pub use error::ImportError;

use crate::arch::Model;
use decoder::Frame;
use keys::Keys;
use quant::Siblings;
use serde_json::{Map, Value};
use std::path::Path;

/// The largest description read: long exclusion lists make megabytes, checkpoints gigabytes.
const SIZE_LIMIT: u64 = 32 << 20;

/// Reads a `config.json`, or the directory that holds one, together with the files of quantisation tools beside it:
/// `hf_quant_config.json` (or `NAME.hf_quant.json` beside `NAME.json`) and `quant_model_description.json`.
///
/// # Errors
/// The file cannot be read, is not JSON, or describes something that the importer does not understand.
pub fn from_path(path: &Path) -> Result<Model, ImportError> {
    let file = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    let text = read(&file)?;
    let beside = |name: &str| sibling(&file.with_file_name(name));
    let named = file.with_extension("hf_quant.json");
    let is_config = file.file_name().is_some_and(|name| name == "config.json");
    let siblings = Siblings {
        modelopt: if is_config { beside("hf_quant_config.json")? } else { sibling(&named)? },
        modelslim: if is_config { beside("quant_model_description.json")? } else { None },
    };
    let origin = file.display().to_string();
    model(&parse(&text, &origin)?, &origin, &siblings)
}

/// Reads the text of a `config.json`; `origin` is the name that errors and the model bear.
///
/// # Errors
/// As [`from_path`].
pub fn from_json(text: &str, origin: &str) -> Result<Model, ImportError> {
    model(&parse(text, origin)?, origin, &Siblings::default())
}

/// Reads the texts of a `config.json` and of the `hf_quant_config.json` beside it.
///
/// # Errors
/// As [`from_path`].
pub fn from_json_quantized(text: &str, hf_quant_config: &str, origin: &str) -> Result<Model, ImportError> {
    let beside = format!("{origin} (hf_quant_config)");
    let modelopt = Some((beside.clone(), parse(hf_quant_config, &beside)?));
    model(&parse(text, origin)?, origin, &Siblings { modelopt, modelslim: None })
}

fn model(root: &Map<String, Value>, origin: &str, siblings: &Siblings) -> Result<Model, ImportError> {
    let outer = Keys::new(origin, "", root);
    let outer_type = outer.text("model_type")?;
    let (prefix, mut config) = nested_decoder(root).unwrap_or_else(|| ("", root.clone()));
    let family = family::find(origin, own_type(origin, prefix, &config)?.as_deref(), outer_type)?;
    for (key, value) in family.defaults() {
        config.entry(*key).or_insert_with(|| Value::from(*value));
    }
    let keys = Keys::new(origin, prefix, &config);
    keys.ignore("model_type|vision_config|audio_config|speech_config");
    let mut decoder = (family.read)(&keys, Frame::read(&keys)?)?;
    decoder.ignored.extend(towers(root));
    let quantization = quant::read(&keys, &decoder, siblings)?;
    keys.finish()?;
    let model = decoder.into_model(origin, family.name, quantization);
    check_size(&model, origin)?;
    Ok(model)
}

/// `model_type`, or what an entry of `architectures` says instead.
fn own_type(origin: &str, prefix: &str, config: &Map<String, Value>) -> Result<Option<String>, ImportError> {
    let keys = Keys::new(origin, prefix, config);
    if let Some(name) = keys.text("model_type")? {
        return Ok(Some(name.to_owned()));
    }
    let names = keys.list("architectures")?.unwrap_or_default();
    Ok(names.iter().filter_map(Value::as_str).find_map(family::type_of).map(str::to_owned))
}

/// Refuses models so large that a key must be wrong.
fn check_size(model: &Model, origin: &str) -> Result<(), ImportError> {
    const LIMIT: u64 = 100_000_000_000_000;
    let total = model.parameters().total();
    if total <= LIMIT {
        return Ok(());
    }
    Err(ImportError::Inconsistent {
        origin: origin.to_owned(),
        key: "hidden_size".to_owned(),
        reason: format!(
            "the sizes multiply to {total:.3e} parameters, more than any model has; correct them",
            total = total as f64
        ),
    })
}

/// A file beside the configuration, if it is there.
fn sibling(file: &Path) -> Result<Option<quant::Sibling>, ImportError> {
    if !file.is_file() {
        return Ok(None);
    }
    let origin = file.display().to_string();
    let map = parse(&read(file)?, &origin)?;
    Ok(Some((origin, map)))
}

/// The decoder of a multimodal model, with what its description leaves to the outer object.
fn nested_decoder(root: &Map<String, Value>) -> Option<(&'static str, Map<String, Value>)> {
    const NESTED: [&str; 3] = ["text_config", "language_config", "llm_config"];
    let (prefix, config) = NESTED.into_iter().find_map(|key| Some((key, root.get(key)?.as_object()?)))?;
    let mut merged = config.clone();
    for key in ["tie_word_embeddings", "quantization_config"] {
        if let (None, Some(value)) = (merged.get(key), root.get(key)) {
            merged.insert(key.to_owned(), value.clone());
        }
    }
    for (key, outer) in [("torch_dtype", "dtype"), ("dtype", "torch_dtype")] {
        if let (None, None, Some(value)) = (merged.get(key), merged.get(outer), root.get(key)) {
            merged.insert(key.to_owned(), value.clone());
        }
    }
    Some((prefix, merged))
}

/// The parts of a multimodal model beside its decoder.
fn towers(root: &Map<String, Value>) -> Vec<String> {
    let tower = |(key, value): (&String, &Value)| {
        let name = key.strip_suffix("_config").filter(|name| ["vision", "audio", "speech"].contains(name))?;
        value.is_object().then(|| format!("the {name} tower (`{key}`) is not described"))
    };
    root.iter().filter_map(tower).collect()
}

fn read(file: &Path) -> Result<String, ImportError> {
    let origin = file.display().to_string();
    let unreadable =
        |error: std::io::Error| ImportError::Unreadable { origin: origin.clone(), reason: error.to_string() };
    let size = std::fs::metadata(file).map_err(unreadable)?.len();
    if size > SIZE_LIMIT {
        return Err(ImportError::TooLarge { origin, size, limit: SIZE_LIMIT });
    }
    std::fs::read_to_string(file).map_err(unreadable)
}

fn parse(text: &str, origin: &str) -> Result<Map<String, Value>, ImportError> {
    let not_json = |reason: String| ImportError::NotJson { origin: origin.to_owned(), reason };
    if text.trim().is_empty() {
        return Err(not_json("the file is empty".to_owned()));
    }
    let parsed = serde_json::from_str::<Value>(text).or_else(|error| {
        relaxed::without_non_finite(text).map_or(Err(error), |text| serde_json::from_str(&text))
    });
    match parsed.map_err(|error| not_json(error.to_string()))? {
        Value::Object(map) => Ok(map),
        other => Err(not_json(format!("the file holds {}, not an object", keys::brief(&other)))),
    }
}
