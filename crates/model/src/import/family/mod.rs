//! The architectures that are understood: one table from `model_type` to the reader of its keys.

mod common;
mod deepseek;
mod dense;
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

const FAMILIES: &[&[Family]] = &[dense::FAMILIES, deepseek::FAMILIES, qwen::FAMILIES];

/// The family of a decoder.
///
/// # Errors
/// `model_type` is missing or names no architecture that is understood.
pub(crate) fn find(keys: &Keys, outer_type: Option<&str>) -> Result<&'static Family, ImportError> {
    let own_type = keys.text("model_type")?;
    let Some(model_type) = own_type.or(outer_type) else { return Err(keys.missing("model_type")) };
    let known = || FAMILIES.iter().flat_map(|families| families.iter());
    let by_name = |name: &str| known().find(|family| family.name == name);
    by_name(model_type).or_else(|| outer_type.and_then(by_name)).ok_or_else(|| {
        ImportError::UnknownArchitecture {
            origin: keys.origin().to_owned(),
            model_type: model_type.to_owned(),
            nearest: crate::names::nearest(model_type, known().map(|family| family.name))
                .unwrap_or_default()
                .to_owned(),
        }
    })
}
