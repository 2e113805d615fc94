//! The short dialects of `quantization_config`: 8-bit floats, gpt-oss, and 4-bit weights.

use super::pattern::Pattern;
use super::scheme::{Format, Scheme};
use crate::import::keys::{Keys, Read};
use serde_json::Value;
use units::Dtype;

const EXCLUDED: &str = "modules_to_not_convert|ignored_layers|ignore";

/// `quant_method: fp8`: blocks of 128 x 128 where `weight_block_size` is given, else one scale per tensor. Experts
/// that were later given four bits are listed in `quantized_layers`.
pub(super) fn block_or_tensor(config: &Keys) -> Read<Scheme> {
    expect_e4m3(config)?;
    let weights = match config.list("weight_block_size")? {
        None => Dtype::Fp8,
        Some([rows, columns]) if rows.as_u64() == Some(128) && columns.as_u64() == Some(128) => {
            Dtype::Fp8Block
        }
        Some(_) => return Err(config.unknown_value("weight_block_size", "only [128, 128] is understood")),
    };
    let activations = match config.text("activation_scheme")? {
        None | Some("dynamic" | "static") => weights,
        Some(_) => {
            return Err(config.unknown_value("activation_scheme", "known schemes are dynamic and static"));
        }
    };
    let default = Some(Format { weights, activations });
    if config.has("quantized_layers") {
        let mut scheme = super::modelopt::mixed(config)?;
        scheme.default = default;
        return Ok(scheme);
    }
    Ok(Scheme::with_exclusions(default, Pattern::list(config, EXCLUDED)?))
}

fn expect_e4m3(config: &Keys) -> Read<()> {
    match config.text("fmt")? {
        None | Some("e4m3" | "float8_e4m3fn") => Ok(()),
        Some(_) => Err(config.unknown_value("fmt", "only e4m3 is understood")),
    }
}

/// `quant_method: fbgemm_fp8`: a scale per channel and token.
pub(super) fn fbgemm(config: &Keys) -> Read<Scheme> {
    Ok(Scheme::with_exclusions(Some(Format::both(Dtype::Fp8)), Pattern::list(config, EXCLUDED)?))
}

/// `quant_method: mxfp4`: routed experts in four bits, everything else as it was.
pub(super) fn mxfp4_experts(config: &Keys, base: Dtype) -> Read<Scheme> {
    let experts = Some(Format { weights: Dtype::Mxfp4, activations: base });
    let mut scheme = Scheme::with_exclusions(None, Pattern::list(config, EXCLUDED)?);
    scheme.experts = experts;
    Ok(scheme)
}

/// AWQ and GPTQ: weights in four or eight bits, activations as they were.
pub(super) fn weight_only(config: &Keys, base: Dtype) -> Read<Scheme> {
    let bits = config.value("bits|w_bit")?;
    let weights = match bits.and_then(Value::as_u64) {
        Some(4) => Dtype::Int4,
        Some(8) => Dtype::Int8,
        _ if bits.is_none() => return Err(config.missing("bits|w_bit")),
        _ => return Err(config.unknown_value("bits|w_bit", "4 and 8 bits are understood")),
    };
    let format = Format { weights, activations: base };
    // AWQ stores zero points unless told not to; of GPTQ's, the kernels of today want none.
    let awq = config.text("quant_method")?.is_some_and(|method| method.contains("awq"));
    let group = super::group(config, config.flag("zero_point", awq)?)?;
    Ok(Scheme { group, ..Scheme::with_exclusions(Some(format), Pattern::list(config, EXCLUDED)?) })
}
