//! torchtitan's TOML.

use super::{degree, known_model};
use crate::error::LaunchError;
use crate::flags::FlagValues;
use crate::training::TrainingLaunch;
use training::spec::JobSpec;

pub(super) fn read(values: &FlagValues, model_given: bool) -> Result<TrainingLaunch, LaunchError> {
    // Older files have some sizes in other tables.
    let size = |key: &str| -> Result<Option<u32>, LaunchError> {
        for table in ["parallelism", "training", "experimental"] {
            if let Some(found) = degree(values, &format!("{table}.{key}"))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    };
    let mut notes = Vec::new();
    let shard = size("data_parallel_shard_degree")?;
    let replicate = size("data_parallel_replicate_degree")?.unwrap_or(1);
    let (tp, pp, cp) = (
        size("tensor_parallel_degree")?,
        size("pipeline_parallel_degree")?,
        size("context_parallel_degree")?,
    );
    let whole = [tp, pp, cp].iter().map(|size| u64::from(size.unwrap_or(1))).product::<u64>();
    let ranks = shard.map(|shard| whole * u64::from(shard) * u64::from(replicate));
    if shard.is_none() {
        notes.push(
            "the file leaves the number of devices to the launcher: --chips, else those of the system"
                .to_owned(),
        );
    }
    let micro = values.first(&["training.local_batch_size", "training.batch_size"])?.unwrap_or(1);
    let global = values.signed("training.global_batch_size")?.filter(|size| *size > 0);
    let global = match (global.and_then(|size| u32::try_from(size).ok()), ranks) {
        (None, Some(ranks)) => u32::try_from(ranks / whole * u64::from(micro)).ok(),
        (global, _) => global,
    };
    let schedule =
        values.known("parallelism.pipeline_parallel_schedule")?.unwrap_or("1F1B").to_ascii_lowercase();
    let interleaved = schedule.contains("interleaved");
    let spec = JobSpec {
        model: model(values, model_given)?,
        framework: Some("torchtitan".to_owned()),
        chips: ranks.and_then(|ranks| u32::try_from(ranks).ok()),
        tp,
        pp,
        cp,
        ep: size("expert_parallel_degree")?,
        etp: size("expert_tensor_parallel_degree")?,
        vpp: interleaved.then_some(2),
        schedule: (!interleaved && schedule == "gpipe").then(|| "gpipe".to_owned()),
        micro_batch: Some(micro),
        global_batch: global,
        seq: values.number("training.seq_len")?,
        recompute: Some(recompute(values)?),
        zero: Some(zero(values, shard, pp)),
        precision: Some(precision(values).to_owned()),
        ..JobSpec::default()
    };
    let open = "the file leaves the global batch to the number of devices: give --global-batch";
    notes.extend(global.is_none().then(|| open.to_owned()));
    Ok(TrainingLaunch { notes, ..TrainingLaunch::of(spec) })
}

/// Sharding of weights keeps them gathered where a pipeline reuses them at once.
fn zero(values: &FlagValues, shard: Option<u32>, pp: Option<u32>) -> u32 {
    let gathers_again =
        values.text("parallelism.fsdp_reshard_after_forward") != Some("never") && pp.unwrap_or(1) == 1;
    match (shard, gathers_again) {
        (Some(1), _) => 0,
        (_, true) => 3,
        (_, false) => 2,
    }
}

fn model(values: &FlagValues, model_given: bool) -> Result<Option<String>, LaunchError> {
    if model_given {
        return Ok(None);
    }
    let (name, flavor) =
        (values.known("model.name")?.unwrap_or(""), values.known("model.flavor")?.unwrap_or(""));
    match known_model("torchtitan", &format!("{name}/{flavor}")) {
        Some(model) => Ok(Some(model.to_owned())),
        None => Err(values.bad(
            "model.flavor",
            format!(
                "{name} {flavor} is not a model that is built in under this name; give --model or --shape"
            ),
        )),
    }
}

fn recompute(values: &FlagValues) -> Result<String, LaunchError> {
    let name = "activation_checkpoint.mode";
    Ok(match values.known(name)? {
        None | Some("selective") => "selective",
        Some("full") => "full",
        Some("none" | "off") => "none",
        Some("memory_budget") => {
            return Err(
                values.bad(name, "memory_budget is not priced; use none, selective or full".to_owned())
            );
        }
        Some(other) => return Err(values.bad(name, format!("`{other}` is not none, selective or full"))),
    }
    .to_owned())
}

fn precision(values: &FlagValues) -> &'static str {
    let converters = values.all("model.converters").join(" ");
    if converters.contains("mx") {
        "mxfp8"
    } else if converters.contains("float8") || values.on("float8.enable_float8_linear") {
        "fp8"
    } else if values.text("training.mixed_precision_param") == Some("float32") {
        "fp32"
    } else {
        "bf16"
    }
}
