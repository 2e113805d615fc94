//! Models around a decoder: several inputs, or one part of a larger whole.

use super::error::ImportError;
use super::family::Names;
use super::keys::Keys;
use serde_json::{Map, Value};

/// A decoder's object with the path to it and what the objects around it say in its place.
pub(super) struct Nested {
    /// Path of the object, empty for the file itself.
    pub prefix: String,
    pub config: Map<String, Value>,
}

/// Objects that hold a decoder, or a model that has one.
const NESTED: &[&str] = &[
    "text_config",
    "language_config",
    "llm_config",
    "thinker_config",
    "language_model_config",
    "llm",
    "text_model_config",
    "lm_config",
    "decoder_config",
];

/// Objects flattened into the one that holds them: sizes by topic.
const TOPICS: &[&str] = &["attn_config", "ffn_config", "ssm_cfg"];

/// How deep models are nested at most.
const DEPTH: usize = 3;

/// Keys that an outer object states for the decoder too, where the decoder's own does not.
const SHARED: &[&str] = &["quantization_config", "vocab_size"];

/// The key that an outer object states for the decoder whatever the decoder's own says: the class as a whole ties its
/// output projection to the embedding, or does not.
const OUTER: &str = "tie_word_embeddings";

/// Whether a key is that of a decoder, or of a model that has one.
pub(super) fn holds_decoder(key: &str) -> bool {
    NESTED.contains(&key)
}

/// The decoder of a model.
pub(super) fn decoder(root: &Map<String, Value>) -> Nested {
    let mut nested = Nested { prefix: String::new(), config: root.clone() };
    for _ in 0..DEPTH {
        let inner = NESTED.iter().find_map(|key| Some((*key, nested.config.get(*key)?.as_object()?)));
        let Some((key, inner)) = inner else { break };
        let mut merged = inner.clone();
        inherit(&mut merged, &nested.config);
        let dot = if nested.prefix.is_empty() { "" } else { "." };
        nested = Nested { prefix: format!("{}{dot}{key}", nested.prefix), config: merged };
    }
    for topic in TOPICS {
        let Some(Value::Object(inner)) = nested.config.get(*topic).cloned() else { continue };
        for (key, value) in inner {
            // The sub-object's own type and the names of its kernels say nothing of the model.
            if key != "model_type" && key != "dropout" {
                nested.config.entry(key).or_insert(value);
            }
        }
        nested.config.remove(*topic);
    }
    nested
}

fn inherit(inner: &mut Map<String, Value>, outer: &Map<String, Value>) {
    if let Some(value) = outer.get(OUTER) {
        inner.insert(OUTER.to_owned(), value.clone());
    }
    for key in SHARED {
        if let (None, Some(value)) = (inner.get(*key), outer.get(*key)) {
            inner.insert((*key).to_owned(), value.clone());
        }
    }
    for (key, other) in [("torch_dtype", "dtype"), ("dtype", "torch_dtype")] {
        if let (None, None, Some(value)) = (inner.get(key), inner.get(other), outer.get(key)) {
            inner.insert(key.to_owned(), value.clone());
        }
    }
}

/// The names of the decoder and of the model around it.
pub(super) fn names(origin: &str, root: &Map<String, Value>, nested: &Nested) -> Result<Names, ImportError> {
    let mut names = Names::default();
    let inner = Keys::new(origin, &nested.prefix, &nested.config);
    let outer = Keys::new(origin, "", root);
    for keys in [&inner, &outer] {
        let model_type = keys.text("model_type")?.map(str::to_owned);
        names.types.extend(model_type.filter(|name| !name.is_empty()));
        let listed = keys.list("architectures")?.unwrap_or_default();
        names.architectures.extend(listed.iter().filter_map(Value::as_str).map(str::to_owned));
    }
    names.types.dedup();
    names.architectures.dedup();
    Ok(names)
}

/// Parts beside the decoder whose keys say nothing of it.
pub(super) fn ignore_towers(keys: &Keys) {
    for name in keys.names() {
        let tower = [
            "vision",
            "visual",
            "audio",
            "speech",
            "image",
            "video",
            "talker",
            "token2wav",
            "code2wav",
            "vit",
        ];
        if tower.iter().any(|word| name.starts_with(word)) || name.ends_with("projector_config") {
            keys.ignore(name);
        }
    }
}
