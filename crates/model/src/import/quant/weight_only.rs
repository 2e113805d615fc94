//! Dialects that name a width of weights and leave activations as they were: bitsandbytes, TorchAO, Quanto, HQQ, BitNet.

use super::pattern::Pattern;
use super::scheme::{Format, Scheme};
use crate::import::keys::{Keys, Read};
use serde_json::Value;
use units::Dtype;

const EXCLUDED: &str = "llm_int8_skip_modules|modules_to_not_convert|ignored_layers|ignore";

/// `quant_method: bitsandbytes`: NF4 or FP4 in blocks, or LLM.int8() whose activations have eight bits too.
pub(super) fn bits_and_bytes(config: &Keys, base: Dtype) -> Read<Scheme> {
    let four = config.flag("load_in_4bit|_load_in_4bit", false)?;
    let eight = config.flag("load_in_8bit|_load_in_8bit", false)?;
    let format = match (four, eight) {
        (true, false) => Format { weights: Dtype::Int4, activations: base },
        (false, true) => Format { weights: Dtype::Int8, activations: Dtype::Int8 },
        _ => return Err(config.unknown_value("load_in_4bit|load_in_8bit", "give one of them as true")),
    };
    Ok(Scheme::with_exclusions(Some(format), Pattern::list(config, EXCLUDED)?))
}

/// Methods that say their width in a key or a name.
pub(super) fn by_name(config: &Keys, base: Dtype) -> Read<Scheme> {
    const WIDTHS: &str = "bits|nbits|weight_bits|num_bits|w_bit";
    const NAMES: &str = "weights|weights_dtype|quant_type|quant_method";
    let bits = config.first(WIDTHS)?.and_then(Value::as_u64);
    let name = match config.first(NAMES)? {
        Some(Value::String(name)) => name.to_ascii_lowercase(),
        Some(other) => other.to_string().to_ascii_lowercase(),
        None => String::new(),
    };
    let has = |word: &str| name.contains(word);
    let weights = match bits {
        Some(2..=4) => Dtype::Int4,
        Some(8) => Dtype::Int8,
        _ if has("int4") || has("fp4") || has("bitnet") => Dtype::Int4,
        _ if has("float8") || has("fp8") => Dtype::Fp8,
        _ if has("int8") || has("eetq") => Dtype::Int8,
        _ => return Err(config.unknown_value(NAMES, "a width of 4 or 8 bits is understood")),
    };
    if matches!(bits, Some(2 | 3)) || has("bitnet") {
        config.note(
            "assumed: weights of fewer than four bits are priced as four, the narrowest format there is",
        );
    }
    let dynamic = has("dynamic_activation") || has("dynamicactivation");
    let activations = if dynamic { weights } else { base };
    let group = super::group(config, false)?;
    let format = Some(Format { weights, activations });
    Ok(Scheme { group, ..Scheme::with_exclusions(format, Pattern::list(config, EXCLUDED)?) })
}
