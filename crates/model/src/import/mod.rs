//! Reading a Hugging Face `config.json`, and the quantisation files beside it.

mod decoder;
mod decoders;
mod defaults;
mod error;
mod family;
mod keys;
mod neutral;
mod per_layer;
mod quant;
mod relaxed;
mod towers;
mod wrapper;

pub use error::ImportError;

use crate::arch::Model;
use decoder::Decoder;
use family::Reader;
use keys::Keys;
use quant::Siblings;
use serde_json::{Map, Value};
use std::path::Path;

/// The largest description read: long exclusion lists make megabytes, checkpoints gigabytes.
const SIZE_LIMIT: u64 = 32 << 20;

/// What a user says of a file's reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// Keys that nothing reads and that leave the computation as it is (`--ignore-key`).
    pub ignore_keys: Vec<String>,
}

/// Reads a `config.json`, or the directory that holds one, together with the files of quantisation tools beside it:
/// `hf_quant_config.json` (or `NAME.hf_quant.json` beside `NAME.json`) and `quant_model_description.json`.
///
/// # Errors
/// The file cannot be read, is not JSON, or describes something that the importer does not understand.
pub fn from_path(path: &Path) -> Result<Model, ImportError> {
    from_path_with(path, &Options::default())
}

/// [`from_path`] with what the user says of the file.
///
/// # Errors
/// As [`from_path`].
pub fn from_path_with(path: &Path, options: &Options) -> Result<Model, ImportError> {
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
    model(&parse(&text, &origin)?, &origin, &siblings, options)
}

/// Reads the text of a `config.json`; `origin` is the name that errors and the model bear.
///
/// # Errors
/// As [`from_path`].
pub fn from_json(text: &str, origin: &str) -> Result<Model, ImportError> {
    from_json_with(text, origin, &Options::default())
}

/// [`from_json`] with what the user says of the text.
///
/// # Errors
/// As [`from_path`].
pub fn from_json_with(text: &str, origin: &str, options: &Options) -> Result<Model, ImportError> {
    model(&parse(text, origin)?, origin, &Siblings::default(), options)
}

/// Reads the texts of a `config.json` and of the `hf_quant_config.json` beside it.
///
/// # Errors
/// As [`from_path`].
pub fn from_json_quantized(text: &str, hf_quant_config: &str, origin: &str) -> Result<Model, ImportError> {
    let beside = format!("{origin} (hf_quant_config)");
    let modelopt = Some((beside.clone(), parse(hf_quant_config, &beside)?));
    model(&parse(text, origin)?, origin, &Siblings { modelopt, modelslim: None }, &Options::default())
}

fn model(
    root: &Map<String, Value>,
    origin: &str,
    siblings: &Siblings,
    options: &Options,
) -> Result<Model, ImportError> {
    let mut nested = wrapper::decoder(root);
    let names = wrapper::names(origin, root, &nested)?;
    decoders::check(origin, &names, root, &nested.config)?;
    let reader = family::find(&names);
    let supplied = defaults::supply(&mut nested, reader.name());
    let keys = Keys::new(origin, &nested.prefix, &nested.config);
    keys.ignore("model_type|architectures");
    wrapper::ignore_towers(&keys);
    supplied.keys.iter().for_each(|key| keys.ignore(key));
    let read = per_layer::read(&reader, &keys, (origin, &nested.prefix), &nested.config);
    let mut decoder = read.map_err(|error| explain(error, &keys, &reader, &names))?;
    towers::count(root, decoder.frame.hidden, &mut decoder);
    if !nested.prefix.is_empty() {
        towers::name_others(root, &mut decoder);
    }
    let quantization = quant::read(&keys, &decoder, siblings)?;
    keys.finish(&options.ignore_keys)?;
    let family = reader.name().map(str::to_owned).or_else(|| names.types.first().cloned());
    let reading = reading(&reader, &names, supplied.note, &keys, &decoder);
    let model = decoder.into_model(origin, &family.unwrap_or_default(), quantization);
    check_size(&model, origin)?;
    Ok(Model { reading, ..model })
}

/// How the file was read, sentence by sentence.
fn reading(
    reader: &Reader,
    names: &family::Names,
    supplied: Option<String>,
    keys: &Keys,
    decoder: &Decoder,
) -> Vec<String> {
    let called =
        names.types.first().or(names.architectures.first()).map_or("a model without a name", String::as_str);
    let what = family::summary(&decoder.layers);
    let how = match reader {
        Reader::Named(family) if names.types.first().is_some_and(|name| name == family.name) => None,
        Reader::Named(family) => Some(format!("read as {}: {what} ({called})", family.name)),
        Reader::Class(class) => Some(format!("read as {}: {what}", class.name)),
        Reader::Structure => Some(format!("read by structure, as no reader is called {called}: {what}")),
    };
    how.into_iter().chain(supplied).chain(keys.take_notes()).collect()
}

/// What is missing of an architecture without a reader is said together with what its keys look like.
fn explain(error: ImportError, keys: &Keys, reader: &Reader, names: &family::Names) -> ImportError {
    match (reader, error) {
        (Reader::Structure, ImportError::Missing { origin, key, .. }) => ImportError::UnknownArchitecture {
            origin,
            model_type: names.types.first().map_or("(no name)", String::as_str).to_owned(),
            reason: format!("key `{key}` is missing"),
            resembles: family::resembles(keys).to_owned(),
        },
        (_, error) => error,
    }
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
