//! Reading a Hugging Face `config.json`, and the quantisation files beside it.

mod decoder;
mod error;
mod family;
mod keys;
mod neutral;
mod relaxed;

pub use error::ImportError;

use crate::arch::{Model, Quantization};
use decoder::Frame;
use keys::Keys;
use serde_json::{Map, Value};
use std::path::Path;
use units::Dtype;

/// The largest description read: long exclusion lists make megabytes, checkpoints gigabytes.
const SIZE_LIMIT: u64 = 32 << 20;

/// Reads a `config.json`, or the directory that holds one.
///
/// # Errors
/// The file cannot be read, is not JSON, or describes something that the importer does not understand.
pub fn from_path(path: &Path) -> Result<Model, ImportError> {
    let file = if path.is_dir() { path.join("config.json") } else { path.to_owned() };
    from_json(&read(&file)?, &file.display().to_string())
}

/// Reads the text of a `config.json`; `origin` is the name that errors and the model bear.
///
/// # Errors
/// As [`from_path`].
pub fn from_json(text: &str, origin: &str) -> Result<Model, ImportError> {
    let root = parse(text, origin)?;
    let outer = Keys::new(origin, "", &root);
    let outer_type = outer.text("model_type")?;
    let merged = nested_decoder(&root);
    let keys = match &merged {
        Some(text_config) => Keys::new(origin, "text_config", text_config),
        None => outer,
    };
    let family = family::find(&keys, outer_type)?;
    let mut decoder = (family.read)(&keys, Frame::read(&keys)?)?;
    decoder.ignored.extend(towers(&root));
    keys.ignore("quantization_config|vision_config|audio_config");
    keys.finish()?;
    Ok(decoder.into_model(origin, family.name, Quantization::uniform(Dtype::Bf16)))
}

/// The decoder of a multimodal model, with what its description leaves to the outer object.
fn nested_decoder(root: &Map<String, Value>) -> Option<Map<String, Value>> {
    let mut merged = root.get("text_config")?.as_object()?.clone();
    for key in ["tie_word_embeddings", "quantization_config"] {
        if let (None, Some(value)) = (merged.get(key), root.get(key)) {
            merged.insert(key.to_owned(), value.clone());
        }
    }
    Some(merged)
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
