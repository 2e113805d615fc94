//! ModelOpt: `hf_quant_config.json`, and the same inside `quantization_config`.

use super::compressed;
use super::pattern::Pattern;
use super::scheme::{Format, Scheme};
use crate::import::keys::{Keys, Read};
use serde_json::Value;
use units::Dtype;

/// `hf_quant_config.json`: everything is under `quantization`.
pub(super) fn beside(file: &Keys, base: Dtype) -> Read<Scheme> {
    let quantization = file.object("quantization")?.ok_or_else(|| file.missing("quantization"))?;
    embedded(&quantization, base)
}

/// One algorithm for all but the excluded modules, or one per module.
pub(super) fn embedded(config: &Keys, base: Dtype) -> Read<Scheme> {
    let kv = compressed::cache(config)?;
    let scheme = match config.text("quant_algo")? {
        Some("MIXED_PRECISION") => mixed(config)?,
        Some(name) => {
            let format = algorithm(config, "quant_algo", name, base)?;
            let mut excluded = Pattern::list(config, "exclude_modules|ignore")?;
            excluded.shrink_to_fit();
            let integer = matches!(format.weights, Dtype::Int4 | Dtype::Int8);
            let group = if integer { super::group(config, false)? } else { None };
            Scheme { group, ..Scheme::with_exclusions(Some(format), excluded) }
        }
        None if config.has("config_groups") => compressed::groups(config, base)?,
        None => Scheme::plain(),
    };
    Ok(Scheme { kv, ..scheme })
}

/// `quantized_layers`: an algorithm per module; modules that are not listed stay as they were.
pub(super) fn mixed(config: &Keys) -> Read<Scheme> {
    const KEY: &str = "quantized_layers";
    let layers = config.object(KEY)?.ok_or_else(|| config.missing(KEY))?;
    let mut scheme = Scheme::plain();
    for name in layers.names() {
        let layer = layers.object(name)?.ok_or_else(|| layers.missing(name))?;
        let algorithm_name = layer.text("quant_algo")?.ok_or_else(|| layer.missing("quant_algo"))?;
        let format = algorithm(&layer, "quant_algo", algorithm_name, Dtype::Bf16)?;
        scheme.modules.insert(name.trim_end_matches('*').trim_end_matches('.').to_owned(), Some(format));
    }
    Ok(scheme)
}

/// ModelOpt's names of algorithms.
fn algorithm(keys: &Keys, key: &str, name: &str, base: Dtype) -> Read<Format> {
    let format = |weights, activations| Ok(Format { weights, activations });
    match name {
        "FP8" | "FP8_PER_CHANNEL_PER_TOKEN" => format(Dtype::Fp8, Dtype::Fp8),
        "FP8_PB_REAL" | "FP8_BLOCK_SCALES" => format(Dtype::Fp8Block, Dtype::Fp8Block),
        "FP8_PB_WO" => format(Dtype::Fp8Block, base),
        "MXFP8" => format(Dtype::Mxfp8, Dtype::Mxfp8),
        "NVFP4" | "NVFP4_AWQ" | "NVFP4_SVDQUANT" => format(Dtype::Nvfp4, Dtype::Nvfp4),
        "W4A16_NVFP4" => format(Dtype::Nvfp4, base),
        "W4A8_NVFP4_FP8" => format(Dtype::Nvfp4, Dtype::Fp8),
        "W4A8_MXFP4_FP8" => format(Dtype::Mxfp4, Dtype::Fp8),
        "W4A16_MXFP4" => format(Dtype::Mxfp4, base),
        "INT8_SQ" | "W8A8_SQ_PER_CHANNEL" => format(Dtype::Int8, Dtype::Int8),
        "INT8_WO" | "W8A16" | "W8A16_AWQ" => format(Dtype::Int8, base),
        "W4A16" | "W4A16_AWQ" => format(Dtype::Int4, base),
        "W4A8_AWQ" => format(Dtype::Int4, Dtype::Fp8),
        _ => {
            let expected = "known algorithms are FP8, FP8_PB_WO, MXFP8, NVFP4, W4A16_NVFP4, INT8_SQ, W4A16_AWQ, \
                            W4A8_AWQ and MIXED_PRECISION";
            Err(keys.unknown(key, &Value::from(name).to_string(), expected))
        }
    }
}
