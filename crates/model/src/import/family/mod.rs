//! The architectures that are understood: one table from `model_type` to the reader of its keys.

mod bailing;
mod common;
mod deepseek;
mod deepseek_v4;
mod dense;
mod gemma;
mod gpt;
mod kimi;
mod llama4;
mod longcat;
mod moe;
mod nemotron;
mod qwen;

use super::decoder::{Decoder, Frame};
use super::error::ImportError;
use super::keys::{Keys, Read};

/// One `model_type` and how its keys are read.
pub(crate) struct Family {
    /// `model_type`.
    pub name: &'static str,
    /// Reader of everything but the formats.
    pub read: fn(&Keys, Frame) -> Read<Decoder>,
}

impl Family {
    /// Values of keys that published files of the family leave out, as the reference implementation has them.
    pub(crate) fn defaults(&self) -> &'static [(&'static str, u32)] {
        match self.name {
            "gemma3_text" => gemma::GEMMA3_DEFAULTS,
            "bloom" => &[("seq_length", 2048)],
            _ => &[],
        }
    }
}

const FAMILIES: &[&[Family]] = &[
    dense::FAMILIES,
    gemma::FAMILIES,
    gpt::FAMILIES,
    moe::FAMILIES,
    qwen::FAMILIES,
    llama4::FAMILIES,
    deepseek::FAMILIES,
    deepseek_v4::FAMILIES,
    kimi::FAMILIES,
    longcat::FAMILIES,
    bailing::FAMILIES,
    nemotron::FAMILIES,
];

/// Architectures whose published files leave out `model_type`.
const BY_ARCHITECTURE: &[(&str, &str)] = &[
    ("DeepseekV2ForCausalLM", "deepseek_v2"),
    ("LongcatCausalLM", "longcat_flash"),
    ("LongcatFlashForCausalLM", "longcat_flash"),
    ("LongcatFlashNgramForCausalLM", "longcat_flash"),
];

/// The `model_type` that stands for an entry of `architectures`.
pub(crate) fn type_of(architecture: &str) -> Option<&'static str> {
    BY_ARCHITECTURE.iter().find(|(name, _)| *name == architecture).map(|(_, model_type)| *model_type)
}

/// The family of a decoder by its own `model_type`, or else by that of the model around it.
///
/// # Errors
/// `model_type` is missing or names no architecture that is understood.
pub(crate) fn find(
    origin: &str,
    own: Option<&str>,
    outer: Option<&str>,
) -> Result<&'static Family, ImportError> {
    let Some(model_type) = own.or(outer) else {
        return Err(ImportError::Missing {
            origin: origin.to_owned(),
            key: "model_type".to_owned(),
            remedy: "give the name of the architecture, for example `llama`".to_owned(),
        });
    };
    let known = || FAMILIES.iter().flat_map(|families| families.iter());
    let by_name = |name: &str| known().find(|family| family.name == name);
    by_name(model_type).or_else(|| outer.and_then(by_name)).ok_or_else(|| ImportError::UnknownArchitecture {
        origin: origin.to_owned(),
        model_type: model_type.to_owned(),
        nearest: crate::names::nearest(model_type, known().map(|family| family.name))
            .unwrap_or_default()
            .to_owned(),
    })
}
