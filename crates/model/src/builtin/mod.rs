//! Models known by name, from the descriptions in `models/` that are compiled into the program.

mod table;

use crate::arch::{Group, LayerGroup, Model, Quantization};
use crate::import::{self, ImportError};
use crate::names;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::LazyLock;
use units::Dtype;

/// An architecture as `models/NAME.toml` states it: a [`Model`] without name and formats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Architecture {
    family: String,
    source: String,
    hidden: u32,
    vocab: u32,
    max_context: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    tied_embeddings: bool,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    outer_norms: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    norm_bias: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    learned_positions: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    lookup_parameters: u64,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    residual_streams: u32,
    #[serde(default, skip_serializing_if = "is_default")]
    ignored: Vec<String>,
    layers: Vec<LayerGroup>,
    #[serde(default, skip_serializing_if = "is_default")]
    mtp: Option<LayerGroup>,
}

/// A published checkpoint: a name, an architecture and formats.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Variant {
    id: String,
    architecture: String,
    #[serde(default)]
    max_context: Option<u32>,
    /// Parts that this checkpoint has beside the architecture, such as a vision tower.
    #[serde(default)]
    beside: Vec<String>,
    #[serde(default)]
    formats: Formats,
}

/// Formats of a checkpoint; what is left out follows from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Formats {
    weights: Option<Dtype>,
    activations: Option<Dtype>,
    experts: Option<Dtype>,
    expert_activations: Option<Dtype>,
    attention: Option<Dtype>,
    embedding: Option<Dtype>,
    kv: Option<Dtype>,
    state: Option<Dtype>,
    /// Integer weights that share a scale.
    group: Option<u32>,
}

impl Formats {
    fn resolve(self) -> Quantization {
        let weights = self.weights.unwrap_or(Dtype::Bf16);
        let experts = self.experts.unwrap_or(weights);
        let activations = self.activations.unwrap_or(Dtype::Bf16);
        Quantization {
            weights,
            activations,
            experts,
            kv: self.kv.unwrap_or(Dtype::Bf16),
            attention: self.attention.unwrap_or(weights),
            embedding: self.embedding.unwrap_or(Dtype::Bf16),
            expert_activations: self.expert_activations.unwrap_or(activations),
            state: self.state.unwrap_or(Dtype::Fp32),
            group: self.group.map(|size| Group { size, zero_points: false }),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VariantFile {
    variant: Vec<Variant>,
}

/// The list of checkpoints. The text is part of the program and a test reads all of it, so that a failure to parse
/// shows there and not here.
static VARIANTS: LazyLock<Vec<Variant>> = LazyLock::new(|| {
    toml::from_str::<VariantFile>(table::VARIANTS).map(|file| file.variant).unwrap_or_default()
});

/// The ids of all built-in models, in the order of their list.
pub fn builtin_ids() -> Vec<&'static str> {
    VARIANTS.iter().map(|variant| variant.id.as_str()).collect()
}

/// A built-in model by its Hugging Face id, in any case, with or without the organisation where that is unambiguous.
///
/// # Errors
/// No built-in model has that name, or several do.
pub fn builtin(id: &str) -> Result<Model, ImportError> {
    let variant = find(id)?;
    let broken = |reason: String| ImportError::NotJson {
        origin: format!("models/{}.toml", variant.architecture),
        reason,
    };
    let text = table::ARCHITECTURES
        .iter()
        .find(|(name, _)| *name == variant.architecture)
        .map(|(_, text)| *text)
        .ok_or_else(|| broken("no such architecture".to_owned()))?;
    let architecture: Architecture = toml::from_str(text).map_err(|error| broken(error.to_string()))?;
    Ok(architecture.into_model(variant))
}

/// A model from whatever a user typed: a file, a directory or a built-in name.
///
/// # Errors
/// As [`import::from_path`] and [`builtin`].
pub fn resolve(spec: &str) -> Result<Model, ImportError> {
    resolve_with(spec, &import::Options::default())
}

/// [`resolve`] with what the user says of a file. Sizes in the form of [`crate::Shape::parse`]
/// (`layers=80,hidden=8192,heads=64,...`) are a model too. `FILE#ignore=KEY,KEY` says of a file what
/// [`import::Options::ignore_keys`] says, so that scenarios, sweeps and plans can say it where they name the model.
///
/// # Errors
/// As [`resolve`], and as [`crate::Shape::parse`].
pub fn resolve_with(spec: &str, options: &import::Options) -> Result<Model, ImportError> {
    if let Some((file, keys)) = spec.rsplit_once("#ignore=") {
        let ignore_keys =
            keys.split(',').map(|key| key.trim().to_owned()).chain(options.ignore_keys.iter().cloned());
        return resolve_with(file, &import::Options { ignore_keys: ignore_keys.collect() });
    }
    let path = Path::new(spec);
    if path.exists() || spec.ends_with(".json") {
        return import::from_path_with(path, options);
    }
    if spec.contains('=') && spec.contains("layers") {
        return crate::Shape::parse(spec).map(|shape| shape.model());
    }
    builtin(spec)
}

/// The architecture of a model as a file of `models/` states it, to build it in.
///
/// # Errors
/// The description cannot be written as TOML.
pub fn describe(model: &Model, source: &str) -> Result<String, toml::ser::Error> {
    toml::to_string(&Architecture::of(model, source))
}

fn find(id: &str) -> Result<&'static Variant, ImportError> {
    let wanted = id.trim();
    if let Some(variant) = VARIANTS.iter().find(|variant| variant.id.eq_ignore_ascii_case(wanted)) {
        return Ok(variant);
    }
    let named = |variant: &&Variant| short(&variant.id).eq_ignore_ascii_case(wanted);
    let matches: Vec<&Variant> = VARIANTS.iter().filter(named).collect();
    match matches.as_slice() {
        [] => Err(unknown(wanted)),
        [variant] => Ok(variant),
        [first, rest @ ..] if rest.iter().all(|variant| same_model(first, variant)) => Ok(first),
        several => Err(ImportError::AmbiguousModel {
            name: id.to_owned(),
            candidates: several.iter().map(|variant| variant.id.as_str()).collect::<Vec<_>>().join(", "),
        }),
    }
}

fn same_model(a: &Variant, b: &Variant) -> bool {
    a.architecture == b.architecture && a.formats == b.formats && a.max_context == b.max_context
}

fn unknown(name: &str) -> ImportError {
    let ids = || VARIANTS.iter().map(|variant| variant.id.as_str());
    let best = if name.contains('/') {
        names::nearest(name, ids())
    } else {
        names::nearest(name, ids().map(short)).and_then(|best| ids().find(|id| short(id) == best))
    };
    let suggestion = best.map(|best| format!(" (did you mean `{best}`?)")).unwrap_or_default();
    ImportError::UnknownModel { name: name.to_owned(), suggestion }
}

/// The name without the organisation.
fn short(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(_, name)| name)
}

impl Architecture {
    fn of(model: &Model, source: &str) -> Self {
        Self {
            family: model.family.clone(),
            source: source.to_owned(),
            hidden: model.hidden,
            vocab: model.vocab,
            max_context: model.max_context,
            tied_embeddings: model.tied_embeddings,
            outer_norms: model.outer_norms,
            norm_bias: model.norm_bias,
            learned_positions: model.learned_positions,
            lookup_parameters: model.lookup_parameters,
            residual_streams: model.residual_streams,
            ignored: model.ignored.clone(),
            layers: model.layers.clone(),
            mtp: model.mtp.clone().map(|(count, layer)| LayerGroup { count, ..layer }),
        }
    }

    fn into_model(self, variant: &Variant) -> Model {
        Model {
            id: variant.id.clone(),
            family: self.family,
            hidden: self.hidden,
            vocab: self.vocab,
            tied_embeddings: self.tied_embeddings,
            max_context: variant.max_context.unwrap_or(self.max_context),
            layers: self.layers,
            mtp: self.mtp.map(|layer| (layer.count, LayerGroup { count: 1, ..layer })),
            quantization: variant.formats.resolve(),
            outer_norms: self.outer_norms,
            norm_bias: self.norm_bias,
            learned_positions: self.learned_positions,
            lookup_parameters: self.lookup_parameters,
            residual_streams: self.residual_streams,
            towers: Vec::new(),
            ignored: self.ignored.into_iter().chain(variant.beside.iter().cloned()).collect(),
            reading: Vec::new(),
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_one(value: &u32) -> bool {
    *value == 1
}

fn one() -> u32 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_loads() {
        let variants: VariantFile = toml::from_str(table::VARIANTS).expect("the list of checkpoints parses");
        for variant in &variants.variant {
            let model = builtin(&variant.id).unwrap_or_else(|error| panic!("{}: {error}", variant.id));
            assert_eq!(model.id, variant.id);
        }
        for (name, _) in table::ARCHITECTURES {
            assert!(
                variants.variant.iter().any(|variant| variant.architecture == *name),
                "{name} has no checkpoint"
            );
        }
    }

    #[test]
    fn every_description_is_built_in() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models");
        for entry in std::fs::read_dir(directory).expect("a readable directory") {
            let name = entry.expect("a directory entry").file_name().to_string_lossy().into_owned();
            let known = |name: &str| table::ARCHITECTURES.iter().any(|(known, _)| *known == name);
            let stem = name.strip_suffix(".toml").unwrap_or(&name);
            assert!(stem == "variants" || known(stem), "models/{name} is not in the table");
        }
    }

    #[test]
    fn a_spec_says_what_to_ignore() {
        let folder = std::env::temp_dir().join(format!("supernode-ignore-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("config.json");
        let text = r#"{"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "intermediate_size": 128, "vocab_size": 100, "max_position_embeddings": 64, "num_widgets": 3}"#;
        std::fs::write(&file, text).expect("a file");
        let spec = file.display().to_string();
        let error = resolve(&spec).expect_err("an unknown size").to_string();
        assert!(error.contains("--ignore-key num_widgets"), "{error}");
        assert!(resolve(&format!("{spec}#ignore=num_widgets")).is_ok());
        assert!(resolve("layers=2,hidden=64,heads=4,vocab=100").is_ok(), "sizes are a model");
        std::fs::remove_dir_all(&folder).expect("the folder is removed");
    }

    #[test]
    fn names_are_forgiving() {
        assert_eq!(builtin("qwen3-8b").map(|model| model.id).as_deref(), Ok("Qwen/Qwen3-8B"));
        let error = builtin("Qwen/Qwen3-8C").map(|model| model.id).expect_err("no such model").to_string();
        assert!(error.contains("did you mean `Qwen/Qwen3-8B`?"), "{error}");
    }
}
