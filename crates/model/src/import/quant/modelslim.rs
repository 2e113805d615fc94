//! ModelSlim, for Ascend: `quant_model_description.json` names the format of every tensor.

use super::scheme::{Format, Scheme};
use crate::import::keys::{Keys, Read};
use serde_json::Value;
use units::Dtype;

/// The formats of all `*.weight` entries, and of the cache.
pub(super) fn description(file: &Keys, base: Dtype) -> Read<Scheme> {
    let mut scheme = Scheme::plain();
    for name in file.names() {
        let Some(module) = name.strip_suffix(".weight") else { continue };
        let Some(Value::String(kind)) = file.value(name)? else {
            return Err(file.unknown_value(name, "give a format such as W8A8_DYNAMIC or FLOAT"));
        };
        scheme.modules.insert(module.to_owned(), format(file, name, kind, base)?);
    }
    if scheme.modules.is_empty() {
        return Err(file.missing("<module>.weight"));
    }
    scheme.kv = match file.text("kv_cache_type|kv_quant_type")? {
        Some("C8" | "INT8") => Some(Dtype::Int8),
        None | Some("FLOAT") => None,
        Some(_) => {
            return Err(file.unknown_value("kv_cache_type|kv_quant_type", "known formats are C8 and FLOAT"));
        }
    };
    Ok(scheme)
}

/// `W<bits>A<bits>` with a suffix that says how scales are found; `FLOAT` is not quantised.
fn format(file: &Keys, key: &str, kind: &str, base: Dtype) -> Read<Option<Format>> {
    if kind == "FLOAT" {
        return Ok(None);
    }
    let micro = kind.contains("MXFP");
    let number = |bits: &str| match (bits, micro) {
        ("4", true) => Some(Dtype::Mxfp4),
        ("8", true) => Some(Dtype::Mxfp8),
        ("4", false) => Some(Dtype::Int4),
        ("8", false) => Some(Dtype::Int8),
        ("16", _) => Some(base),
        _ => None,
    };
    let head = kind.split('_').next().unwrap_or_default();
    let parsed = head.strip_prefix('W').and_then(|rest| rest.split_once('A'));
    match parsed.and_then(|(weights, activations)| Some((number(weights)?, number(activations)?))) {
        Some((weights, activations)) => Ok(Some(Format { weights, activations })),
        None => Err(file.unknown(
            key,
            &format!("`{kind}`"),
            "known formats are W8A8, W4A8, W8A16, W4A16 and FLOAT",
        )),
    }
}
