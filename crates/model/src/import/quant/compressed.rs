//! compressed-tensors: groups of modules, each with a format of weights and of input activations.

use super::pattern::Pattern;
use super::scheme::{Format, Scheme};
use crate::import::keys::{Keys, Read};
use serde_json::Value;
use units::Dtype;

/// `config_groups` with `ignore` and `kv_cache_scheme`.
pub(super) fn groups(config: &Keys, base: Dtype) -> Read<Scheme> {
    let groups = config.object("config_groups")?.ok_or_else(|| config.missing("config_groups"))?;
    let mut scheme = Scheme { kv: cache(config)?, ..Scheme::default() };
    scheme.exclude(Pattern::list(config, "ignore")?);
    for name in groups.names() {
        let group = groups.object(name)?.ok_or_else(|| groups.missing(name))?;
        let format = Some(format(&group, base)?);
        if let Some(weights) = group.object("weights")?.filter(|_| format.is_some_and(is_integer)) {
            let symmetric = weights.flag("symmetric", true)?;
            let found = super::group(&weights, !symmetric)?;
            // Of several the smallest, which takes most memory.
            scheme.group = [scheme.group, found].into_iter().flatten().min_by_key(|group| group.size);
        }
        let targets = Pattern::list(&group, "targets")?;
        if targets.is_empty() {
            scheme.default = format;
        }
        for target in targets {
            match target {
                Pattern::Path(class) if class == "Linear" => scheme.default = format,
                target => scheme.say(target, format),
            }
        }
    }
    Ok(scheme)
}

fn is_integer(format: Format) -> bool {
    matches!(format.weights, Dtype::Int4 | Dtype::Int8)
}

/// The format of one group; no input activations means that they stay as they were.
pub(super) fn format(group: &Keys, base: Dtype) -> Read<Format> {
    let weights = group.object("weights")?.ok_or_else(|| group.missing("weights"))?;
    let weights = number_format(&weights)?;
    let activations = match group.object("input_activations")? {
        None => base,
        Some(inputs) => match number_format(&inputs)? {
            // Blocks of weights meet groups of 128 activations.
            Dtype::Fp8 if weights == Dtype::Fp8Block => Dtype::Fp8Block,
            other => other,
        },
    };
    Ok(Format { weights, activations })
}

/// `type`, `num_bits`, `group_size` and `strategy` of weights or activations.
fn number_format(keys: &Keys) -> Read<Dtype> {
    let bits = keys.count("num_bits")?;
    let group = keys.value("group_size")?.and_then(Value::as_u64);
    let kind = keys.text("type")?.unwrap_or("int");
    let strategy = keys.text("strategy")?.unwrap_or_default();
    match (kind, bits, group) {
        ("int", 8, _) => Ok(Dtype::Int8),
        ("int", 4, _) => Ok(Dtype::Int4),
        ("float", 8, Some(32)) => Ok(Dtype::Mxfp8),
        ("float", 8, _) if strategy == "block" => Ok(Dtype::Fp8Block),
        ("float", 8, _) => Ok(Dtype::Fp8),
        ("float", 4, Some(32)) => Ok(Dtype::Mxfp4),
        ("float", 4, Some(16)) => Ok(Dtype::Nvfp4),
        _ => {
            let groups = group.map_or_else(String::new, |group| format!(" in groups of {group}"));
            let value = format!("{kind} of {bits} bits{groups}");
            let expected = "known are int 8, int 4, float 8, and float 4 in groups of 16 or 32";
            Err(keys.unknown("num_bits", &value, expected))
        }
    }
}

/// `kv_cache_scheme`: a format's description, or its name.
pub(super) fn cache(config: &Keys) -> Read<Option<Dtype>> {
    const KEY: &str = "kv_cache_scheme|kv_cache_quant_algo";
    match config.value(KEY)? {
        None => Ok(None),
        Some(Value::String(name)) => match name.to_ascii_uppercase().as_str() {
            "FP8" => Ok(Some(Dtype::Fp8)),
            "INT8" => Ok(Some(Dtype::Int8)),
            "NVFP4" => Ok(Some(Dtype::Nvfp4)),
            "NONE" => Ok(None),
            _ => Err(config.unknown_value(KEY, "known formats are FP8, INT8 and NVFP4")),
        },
        Some(Value::Object(_)) => match config.object("kv_cache_scheme")? {
            Some(scheme) => number_format(&scheme).map(Some),
            None => Err(config.unknown_value(KEY, "known formats are FP8, INT8 and NVFP4")),
        },
        Some(other) => Err(config.wrong_type(KEY, "a format", other)),
    }
}
