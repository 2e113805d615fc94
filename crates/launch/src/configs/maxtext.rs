//! MaxText's YAML, and what its `base.yml` supplies where a file leaves it out.

use super::{degree, known_model};
use crate::error::LaunchError;
use crate::flags::FlagValues;
use crate::training::TrainingLaunch;
use training::shape::{ExpertSizes, Shape};
use training::spec::JobSpec;

/// What `base.yml` says of keys that files leave out.
const BASE: &[(&str, &[&str])] = &[
    ("per_device_batch_size", &["12"]),
    ("max_target_length", &["2048"]),
    ("ici_fsdp_parallelism", &["-1"]),
    ("head_dim", &["128"]),
    ("vocab_size", &["32000"]),
    ("mlp_activations", &["silu", "linear"]),
];

/// The values with those of `base.yml` where they are left out, each told in `notes`.
fn on_base(given: &FlagValues, notes: &mut Vec<String>) -> FlagValues {
    let mut values = given.clone();
    let named = values.text("model_name").is_some_and(|name| name != "default");
    let of_model = |key: &str| matches!(key, "head_dim" | "vocab_size" | "mlp_activations");
    let absent: Vec<_> =
        BASE.iter().filter(|(key, _)| !(values.has(key) || named && of_model(key))).collect();
    for (key, value) in absent {
        values.set(key, value.iter().map(|word| (*word).to_owned()).collect(), values.home());
        notes.push(format!("{key} {} is taken from MaxText's base.yml", value.join(", ")));
    }
    values
}

pub(super) fn read(given: &FlagValues, model_given: bool) -> Result<TrainingLaunch, LaunchError> {
    let mut notes = Vec::new();
    let values = &on_base(given, &mut notes);
    // Parallel sizes are products of one within a slice (ici) and one over slices (dcn).
    let size = |name: &str| -> Result<Option<u32>, LaunchError> {
        let sizes = ["ici", "dcn"].map(|level| format!("{level}_{name}_parallelism"));
        if !sizes.iter().any(|name| values.has(name)) {
            return Ok(Some(1));
        }
        let mut product = Some(1u32);
        for name in &sizes {
            let size = if values.has(name) { degree(values, name)? } else { Some(1) };
            product = product.zip(size).and_then(|(product, size)| product.checked_mul(size));
        }
        Ok(product)
    };
    let (fsdp, data) = (size("fsdp")?, size("data")?);
    let (tp, pp, cp, ep) = (size("tensor")?, size("pipeline")?, size("context")?, size("expert")?);
    let parts = [fsdp, data, tp, pp, cp, ep];
    let ranks = parts.iter().try_fold(1u32, |all, part| all.checked_mul((*part)?));
    let ranks = ranks.filter(|ranks| *ranks > 1);
    if ranks.is_none() {
        notes
            .push("the file leaves the number of devices open: --chips, else those of the system".to_owned());
    }
    let each = values.known("per_device_batch_size")?.and_then(|text| text.parse::<f64>().ok());
    let steps = values.number("gradient_accumulation_steps")?.unwrap_or(1).max(1);
    let global = each.zip(ranks).map(|(each, ranks)| each * f64::from(ranks) * f64::from(steps));
    let global =
        global.filter(|size| size.fract() == 0.0 && (1.0..1e9).contains(size)).map(|size| size as u32);
    if global.is_none() {
        notes.push("the global batch depends on the number of devices: give --global-batch".to_owned());
    }
    let (model, shape) = model(values, model_given)?;
    let spec = JobSpec {
        model,
        framework: Some("maxtext".to_owned()),
        chips: ranks,
        tp,
        pp,
        cp,
        ep: ep.filter(|ep| *ep > 1),
        micro_batch: each
            .filter(|each| *each >= 1.0 && each.fract() == 0.0 && *each < 1e6)
            .map(|each| each as u32),
        global_batch: global,
        seq: values.number("max_target_length")?,
        zero: Some(if fsdp == Some(1) { 0 } else { 3 }),
        recompute: Some(recompute(values)?.to_owned()),
        precision: Some(precision(values)?.to_owned()),
        ..JobSpec::default()
    };
    let tied = values.on("logits_via_embedding");
    Ok(TrainingLaunch { shape, tied, notes, ..TrainingLaunch::of(spec) })
}

fn model(values: &FlagValues, model_given: bool) -> Result<(Option<String>, Option<Shape>), LaunchError> {
    if model_given {
        return Ok((None, None));
    }
    if let Some(name) = values.known("model_name")?.filter(|name| *name != "default") {
        return match known_model("maxtext", name) {
            Some(model) => Ok((Some(model.to_owned()), None)),
            None => Err(values.bad(
                "model_name",
                format!("{name} is not built in under this name; give --model or --shape"),
            )),
        };
    }
    let need = |name: &str| -> Result<u32, LaunchError> {
        let found = values.number(name)?.filter(|size| (1..=1 << 24).contains(size));
        found.ok_or_else(|| {
            values.bad(name, "the file does not set it, and the model's size depends on it".to_owned())
        })
    };
    let heads = need("base_num_query_heads")?;
    let layers = need("base_num_decoder_layers")?.min(4096);
    let ffn = need("base_mlp_dim")?;
    let experts = values.number("num_experts")?.filter(|experts| *experts > 1);
    let topk = values.number("num_experts_per_tok")?.unwrap_or(1).max(1);
    let intermediate = values.number("base_moe_mlp_dim")?.unwrap_or(ffn);
    let shape = Shape {
        name: "launch".to_owned(),
        ffn,
        kv_heads: values.number("base_num_kv_heads")?.filter(|kv| *kv > 0).unwrap_or(heads).min(heads),
        head_dim: need("head_dim")?,
        gated: values.all("mlp_activations").len() > 1,
        experts: experts.map(|experts| ExpertSizes {
            experts,
            topk: topk.min(experts),
            intermediate,
            shared_intermediate: 0,
            first_dense: 0,
        }),
        ..Shape::gpt(layers, need("base_emb_dim")?, heads, need("vocab_size")?)
    };
    Ok((None, Some(shape)))
}

fn recompute(values: &FlagValues) -> Result<&'static str, LaunchError> {
    Ok(match values.known("remat_policy")? {
        None | Some("full") => "full",
        Some("none" | "minimal" | "minimal_with_context") => "none",
        // Policies in between keep the products and compute what is cheap again.
        Some(_) => "selective",
    })
}

fn precision(values: &FlagValues) -> Result<&'static str, LaunchError> {
    Ok(match values.known("quantization")? {
        None | Some("" | "null") => match values.known("dtype")? {
            Some("float32") => "fp32",
            _ => "bf16",
        },
        Some("int8") => "int8",
        Some(name) if name.contains("fp8") => "fp8",
        Some(other) => return Err(values.bad("quantization", format!("`{other}` is not int8 or fp8"))),
    })
}
