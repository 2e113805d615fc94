//! MindSpeed-LLM's YAML for its FSDP2 backend.

use super::degree;
use crate::error::LaunchError;
use crate::flags::FlagValues;
use crate::training::TrainingLaunch;
use training::spec::JobSpec;

pub(super) fn read(values: &FlagValues, model_given: bool) -> Result<TrainingLaunch, LaunchError> {
    let (tp, cp) = (degree(values, "parallel.tp_size")?, degree(values, "parallel.cp_size")?);
    let shard = degree(values, "parallel.fsdp_size")?;
    let whole = u64::from(tp.unwrap_or(1)) * u64::from(cp.unwrap_or(1));
    let ranks = shard.map(|shard| u64::from(shard) * whole).and_then(|ranks| u32::try_from(ranks).ok());
    let micro = values.number("training.per_device_train_batch_size")?.unwrap_or(1);
    let steps = values.number("training.gradient_accumulation_steps")?.unwrap_or(1).max(1);
    let global = shard.map(|shard| u64::from(shard) * u64::from(micro) * u64::from(steps));
    let spec = JobSpec {
        model: if model_given { None } else { values.known("model.model_name_or_path")?.map(str::to_owned) },
        framework: Some("fsdp".to_owned()),
        chips: ranks,
        tp,
        cp,
        ep: degree(values, "parallel.ep_size")?,
        micro_batch: Some(micro),
        global_batch: global.and_then(|size| u32::try_from(size).ok()),
        seq: values.number("data.cutoff_len")?,
        recompute: Some(if values.on("parallel.recompute") { "full" } else { "none" }.to_owned()),
        zero: Some(3),
        precision: Some("bf16".to_owned()),
        ..JobSpec::default()
    };
    let mut launch = TrainingLaunch::of(spec);
    launch.accumulation = Some(steps);
    if shard.is_none() {
        launch.notes.push("the file leaves the number of devices to the launcher".to_owned());
    }
    launch.notes.push("the parameters are taken to be computed with in bf16".to_owned());
    Ok(launch)
}
