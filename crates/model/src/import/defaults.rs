//! Values that a class supplies where a file leaves them out.
//!
//! Transformers writes only what differs from the class's own values into the objects of parts, so that the decoder of a
//! multimodal model often states two or three keys. The values are those of the classes' configurations.

use super::wrapper::Nested;
use serde_json::Value;

/// One class: its `model_type` and the sizes it starts from.
struct Class {
    name: &'static str,
    values: &'static [(&'static str, u32)],
}

include!("defaults_table.rs");

/// Values that even whole files of the family leave out.
const ALWAYS: &[(&str, &[(&str, u32)])] = &[
    ("bloom", &[("seq_length", 2048)]),
    (
        "gemma3_text",
        &[
            ("num_attention_heads", 8),
            ("num_key_value_heads", 4),
            ("head_dim", 256),
            ("vocab_size", 262_208),
            ("max_position_embeddings", 131_072),
            ("sliding_window", 1024),
        ],
    ),
];

/// Other names of the same key.
const SPELLINGS: &[&[&str]] = &[
    &["hidden_size", "n_embd", "d_model", "dim"],
    &["num_hidden_layers", "n_layer", "n_layers", "num_layers"],
    &["num_attention_heads", "n_head", "n_heads", "num_heads"],
    &["intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "d_ff"],
    &["max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx"],
    &["num_experts", "num_local_experts", "n_routed_experts"],
];

/// What a class supplied.
#[derive(Default)]
pub(super) struct Supplied {
    pub keys: Vec<&'static str>,
    pub note: Option<String>,
}

/// Fills in what the class supplies, and says so.
pub(super) fn supply(nested: &mut Nested, family: Option<&str>) -> Supplied {
    let Some(family) = family else { return Supplied::default() };
    let config = &mut nested.config;
    for (_, values) in ALWAYS.iter().filter(|(name, _)| *name == family) {
        for (key, value) in *values {
            config.entry(*key).or_insert_with(|| Value::from(*value));
        }
    }
    if nested.prefix.is_empty() {
        return Supplied::default();
    }
    let Some(class) = CLASSES.iter().find(|class| class.name == family) else { return Supplied::default() };
    let (mut keys, mut supplied) = (Vec::new(), Vec::new());
    for (key, value) in class.values {
        let spellings = SPELLINGS.iter().find(|names| names.contains(key)).copied();
        let present = |name: &str| config.contains_key(name);
        // A head width follows from the hidden size and the heads where the file has them.
        let follows = *key == "head_dim" && present("num_attention_heads");
        if follows || present(key) || spellings.is_some_and(|names| names.iter().any(|name| present(name))) {
            continue;
        }
        config.insert((*key).to_owned(), Value::from(*value));
        keys.push(*key);
        supplied.push(format!("{key} {value}"));
    }
    let note =
        format!("assumed: {}, as the class {family} has where a file does not say", supplied.join(", "));
    Supplied { note: (!keys.is_empty()).then_some(note), keys }
}
