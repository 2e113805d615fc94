//! The sizes of the model that the flags give.

use super::layers;
use crate::error::LaunchError;
use crate::flags::FlagValues;
use training::shape::{ExpertSizes, LatentSizes, Shape};

/// Sizes beyond which a number is taken for a slip of the pen.
const MAX_LAYERS: u32 = 4096;
const MAX_WIDTH: u32 = 1 << 24;

fn need(values: &FlagValues, flag: &str, max: u32) -> Result<u32, LaunchError> {
    let number = values.number(flag)?.ok_or_else(|| {
        values.bad(flag, "the launch does not set it, and the model's size depends on it".to_owned())
    })?;
    within(values, flag, number, max)
}

fn within(values: &FlagValues, flag: &str, number: u32, max: u32) -> Result<u32, LaunchError> {
    if number == 0 || number > max {
        return Err(values.bad(flag, format!("{number} is not from 1 to {max}")));
    }
    Ok(number)
}

pub(super) fn shape(values: &FlagValues, notes: &mut Vec<String>) -> Result<Shape, LaunchError> {
    let hidden = need(values, "--hidden-size", MAX_WIDTH)?;
    let heads = need(values, "--num-attention-heads", MAX_WIDTH)?;
    let mut layers = need(values, "--num-layers", MAX_LAYERS)?;
    if let Some(list) = values.known("--noop-layers")? {
        let noops = list.split(',').filter(|layer| !layer.trim().is_empty()).count() as u32;
        layers = layers.saturating_sub(noops).max(1);
        notes.push(format!("{noops} of the layers do nothing and are not counted"));
    }
    let gated = values.has("--swiglu") || values.has("--gated-linear-unit") || values.has("--geglu");
    // Megatron's own default for gated units is two thirds of four times the width, to the next multiple of 64.
    let default_ffn =
        if gated { (hidden.saturating_mul(8) / 3).div_ceil(64) * 64 } else { hidden.saturating_mul(4) };
    let ffn = values.number("--ffn-hidden-size")?.unwrap_or(default_ffn);
    let kv_heads = if values.has("--group-query-attention") {
        values.number("--num-query-groups")?.unwrap_or(1)
    } else {
        // Megatron-DeepSpeed counts the heads themselves.
        values.number("--num-key-value-heads")?.unwrap_or(heads)
    };
    let kv_heads = within(values, "--num-query-groups", kv_heads, heads)?;
    let head_dim = values.number("--kv-channels")?.unwrap_or(hidden / heads.max(1));
    Ok(Shape {
        name: "launch".to_owned(),
        ffn: within(values, "--ffn-hidden-size", ffn, MAX_WIDTH)?,
        kv_heads,
        head_dim: within(values, "--kv-channels", head_dim, MAX_WIDTH)?,
        gated,
        latent: latent(values, notes)?,
        experts: experts(values, ffn, layers)?,
        mtp: prediction_modules(values)?.min(64),
        ..Shape::gpt(layers, hidden, heads, vocabulary(values, notes)?)
    })
}

/// The vocabulary, padded as Megatron pads it.
fn vocabulary(values: &FlagValues, notes: &mut Vec<String>) -> Result<u32, LaunchError> {
    if let Some(padded) = values.number("--padded-vocab-size")? {
        return within(values, "--padded-vocab-size", padded, MAX_WIDTH);
    }
    if let Some(size) = values.number("--vocab-size")? {
        return within(values, "--vocab-size", size, MAX_WIDTH);
    }
    // Pai-Megatron-Patch adds the words beside a tokenizer's own.
    let base = match values.text("--patch-tokenizer-type") {
        Some("Qwen2Tokenizer" | "Qwen3Tokenizer") => Some(151_643u32),
        Some("LLama3Tokenizer") => Some(128_000),
        Some("DeepSeekV3Tokenizer") => Some(128_815),
        Some("LLamaTokenizer" | "LLama2Tokenizer" | "MistralTokenizer" | "MixtralTokenizer") => Some(32_000),
        _ => None,
    };
    if let (Some(base), Some(extra)) = (base, values.number("--extra-vocab-size")?) {
        return within(values, "--extra-vocab-size", base.saturating_add(extra), MAX_WIDTH);
    }
    let kind = match values.text("--tokenizer-type") {
        Some("GPT2BPETokenizer") => Some((50_257, "of the GPT-2 tokenizer".to_owned())),
        Some("Llama2Tokenizer") => Some((32_000, "of the Llama 2 tokenizer".to_owned())),
        Some("BertWordPieceLowerCase" | "BertWordPieceCase") => {
            Some((30_522, "of BERT's tokenizer".to_owned()))
        }
        _ => of_named_tokenizer(values),
    };
    let Some((size, why)) = kind else {
        notes.push(VOCABULARY.to_owned());
        return Ok(51_200);
    };
    let tp = values.number("--tensor-model-parallel-size")?.unwrap_or(1).max(1);
    let multiple = values
        .number("--make-vocab-size-divisible-by")?
        .unwrap_or(128)
        .max(1)
        .saturating_mul(tp)
        .min(MAX_WIDTH);
    let padded = u32::div_ceil(size, multiple).saturating_mul(multiple);
    notes.push(format!("the vocabulary {why}, padded, is {padded}"));
    Ok(padded)
}

/// The vocabulary of the built-in model whose name the tokenizer bears: `meta-llama/Llama-3.1-8B`.
fn of_named_tokenizer(values: &FlagValues) -> Option<(u32, String)> {
    let names = ["--tokenizer-model", "--tokenizer-name-or-path", "--hf-tokenizer-path", "--tokenizer-path"];
    let name = names.iter().find_map(|flag| values.known(flag).ok().flatten())?;
    // A path of its own says nothing of which tokenizer lies there.
    let named = name.matches('/').count() == 1 && !name.starts_with(['.', '/', '~']);
    let model = model::builtin(name).ok().filter(|_| named)?;
    Some((model.vocab, format!("of the tokenizer of {}", model.id)))
}

/// The note of a vocabulary that is not known.
pub(crate) const VOCABULARY: &str = "the vocabulary comes from a tokenizer that was not read: 51200 assumed; --vocab-size in the launch, or --model, sets it";

/// Layers that predict further tokens; Pai-Megatron-Patch turns one on without saying how many.
fn prediction_modules(values: &FlagValues) -> Result<u32, LaunchError> {
    let counted = values.first(&["--mtp-num-layers", "--num-mtp-predictor", "--num-nextn-predict-layers"])?;
    Ok(counted.unwrap_or(u32::from(values.has("--use-multi-token-prediction"))))
}

/// Latent attention. Some programs (Pai-Megatron-Patch's for DeepSeek) have no flag to turn it on: its sizes say it.
fn latent(values: &FlagValues, notes: &mut Vec<String>) -> Result<Option<LatentSizes>, LaunchError> {
    if !values.has("--multi-head-latent-attention") && !values.has("--multi-latent-attention") {
        if !values.has("--kv-lora-rank") {
            return Ok(None);
        }
        notes.push("--kv-lora-rank is taken for latent attention, which no flag turns on".to_owned());
    }
    let size = |names: &[&str], default: u32| -> Result<u32, LaunchError> {
        let found = values.first(names)?.unwrap_or(default);
        within(values, names[0], found, MAX_WIDTH)
    };
    Ok(Some(LatentSizes {
        q_lora_rank: values.number("--q-lora-rank")?.filter(|rank| *rank > 0),
        kv_lora_rank: size(&["--kv-lora-rank"], 512)?,
        qk_nope_head_dim: size(&["--qk-nope-head-dim", "--qk-head-dim"], 128)?,
        qk_rope_head_dim: size(&["--qk-rope-head-dim", "--qk-pos-emb-head-dim"], 64)?,
        v_head_dim: size(&["--v-head-dim"], 128)?,
    }))
}

fn experts(values: &FlagValues, ffn: u32, layers: u32) -> Result<Option<ExpertSizes>, LaunchError> {
    let count = values.first(&["--num-experts", "--n-routed-experts", "--num-routed-experts"])?;
    let Some(experts) = count.filter(|experts| *experts > 1) else { return Ok(None) };
    let intermediate = values.first(&["--moe-ffn-hidden-size", "--moe-intermediate-size"])?.unwrap_or(ffn);
    let shared = match values
        .first(&["--moe-shared-expert-intermediate-size", "--shared-moe-ffn-hidden-size"])?
    {
        Some(width) => width,
        None => {
            let names = ["--n-shared-experts", "--num-shared-experts", "--num-shared-expert"];
            let number = values.first(&names)?;
            if number.is_none() && values.on("--enable-shared-expert") {
                return Err(unlike(values, "--enable-shared-expert", "a shared expert of no stated width"));
            }
            number.unwrap_or(0).saturating_mul(intermediate)
        }
    };
    let topk = values.first(&["--moe-router-topk", "--moe-topk", "--topk"])?;
    let topk = topk.unwrap_or(if values.has("--deepspeed") { 1 } else { 2 });
    Ok(Some(ExpertSizes {
        experts: within(values, "--num-experts", experts, 1 << 16)?,
        topk: within(values, "--moe-router-topk", topk, experts)?,
        intermediate: within(values, "--moe-ffn-hidden-size", intermediate, MAX_WIDTH)?,
        shared_intermediate: shared.min(MAX_WIDTH),
        first_dense: first_dense(values, layers)?.min(layers),
    }))
}

/// Layers at the front without experts.
fn first_dense(values: &FlagValues, layers: u32) -> Result<u32, LaunchError> {
    let first = values.signed("--first-k-dense-replace")?.filter(|count| *count >= 0);
    let every = values.number("--expert-interval")?;
    if let Some(every) = every.filter(|every| *every != 1) {
        return Err(unlike(values, "--expert-interval", &format!("only every {every}th layer has experts")));
    }
    if values.has("--deepspeed") && every.is_none() && values.has("--num-experts") {
        return Err(unlike(
            values,
            "--num-experts",
            "only every second layer has experts unless --expert-interval says 1",
        ));
    }
    let Some(text) = values.known("--moe-layer-freq")? else {
        return Ok(first.map_or(0, |count| u32::try_from(count).unwrap_or(u32::MAX)));
    };
    // Quotes within a variable reach the program where no `eval` takes them off.
    let text = text.trim().trim_matches(['"', '\'']);
    if let Some(count) = first {
        return match text {
            "1" | "-1" => Ok(u32::try_from(count).unwrap_or(u32::MAX)),
            _ => Err(unlike(values, "--moe-layer-freq", "only some layers have experts")),
        };
    }
    match text.trim().parse::<i64>() {
        Ok(1 | -1) => Ok(0),
        Ok(_) => Err(unlike(values, "--moe-layer-freq", "only some layers have experts")),
        Err(_) => {
            let list = layers::pattern(text).ok_or_else(|| {
                values
                    .bad("--moe-layer-freq", format!("`{text}` is no number and no list like ([0]*3+[1]*58)"))
            })?;
            if list.len() != layers as usize {
                return Err(values.bad(
                    "--moe-layer-freq",
                    format!("the list has {} layers, the model {layers}", list.len()),
                ));
            }
            layers::leading_dense(&list)
                .ok_or_else(|| unlike(values, "--moe-layer-freq", "only some layers have experts"))
        }
    }
}

fn unlike(values: &FlagValues, flag: &str, effect: &str) -> LaunchError {
    LaunchError::Model { place: values.place(flag), flag: flag.to_owned(), effect: effect.to_owned() }
}
