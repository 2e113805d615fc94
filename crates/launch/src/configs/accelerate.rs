//! Hugging Face Accelerate's YAML: FSDP, DeepSpeed, Megatron. It names no model and no batch.

use super::degree;
use crate::error::LaunchError;
use crate::flags::FlagValues;
use crate::training::TrainingLaunch;
use training::spec::JobSpec;

pub(super) fn read(values: &FlagValues) -> Result<TrainingLaunch, LaunchError> {
    let kind = values.known("distributed_type")?.unwrap_or("NO").to_ascii_uppercase();
    let megatron = |key: &str| format!("megatron_lm_config.megatron_lm_{key}");
    let mut spec = JobSpec {
        chips: values.number("num_processes")?.filter(|count| *count > 0),
        precision: Some(precision(values)?.to_owned()),
        tp: degree(values, "parallelism_config.parallelism_config_tp_size")?,
        cp: degree(values, "parallelism_config.parallelism_config_cp_size")?,
        framework: Some("fsdp".to_owned()),
        ..JobSpec::default()
    };
    match kind.as_str() {
        "FSDP" => {
            spec.zero = Some(stage(values, "fsdp_config.fsdp_sharding_strategy")?);
            let full = values.on("fsdp_config.fsdp_activation_checkpointing");
            spec.recompute = Some(if full { "full" } else { "none" }.to_owned());
        }
        "DEEPSPEED" => {
            let name = "deepspeed_config.zero_stage";
            let stage = values.number(name)?.unwrap_or(2);
            if stage > 3 {
                return Err(values.bad(name, format!("{stage} is not 0 to 3")));
            }
            spec.zero = Some(stage);
            spec.offload_optimizer = Some(
                values
                    .text("deepspeed_config.offload_optimizer_device")
                    .is_some_and(|device| device != "none" && device != "null"),
            );
            spec.framework = Some("megatron-deepspeed".to_owned());
        }
        "MEGATRON_LM" => {
            spec.tp = degree(values, &megatron("tp_degree"))?;
            spec.pp = degree(values, &megatron("pp_degree"))?;
            spec.zero = Some(u32::from(values.on(&megatron("use_distributed_optimizer"))));
            spec.sequence_parallel = Some(values.on(&megatron("sequence_parallelism")));
            spec.recompute = Some(
                if values.on(&megatron("recompute_activations")) { "selective" } else { "none" }.to_owned(),
            );
            spec.framework = Some("megatron".to_owned());
        }
        _ => spec.zero = Some(0),
    }
    let notes = vec![
        "the file names no model and no batch: give --model, --global-batch, --micro-batch and --seq"
            .to_owned(),
    ];
    Ok(TrainingLaunch { notes, ..TrainingLaunch::of(spec) })
}

fn precision(values: &FlagValues) -> Result<&'static str, LaunchError> {
    Ok(match values.known("mixed_precision")? {
        Some("bf16") => "bf16",
        Some("fp16") => "fp16",
        Some("fp8") => "fp8",
        None | Some("no" | "false") => "fp32",
        Some(other) => {
            return Err(values.bad("mixed_precision", format!("`{other}` is not no, fp16, bf16 or fp8")));
        }
    })
}

/// The ZeRO stage of a sharding strategy, by name or number.
pub(super) fn stage(values: &FlagValues, name: &str) -> Result<u32, LaunchError> {
    Ok(match values.known(name)? {
        None if values.text("fsdp_config.fsdp_reshard_after_forward") == Some("false") => 2,
        None | Some("FULL_SHARD" | "1" | "HYBRID_SHARD" | "4") => 3,
        Some("SHARD_GRAD_OP" | "2" | "HYBRID_SHARD_ZERO2" | "_HYBRID_SHARD_ZERO2" | "5") => 2,
        Some("NO_SHARD" | "3") => 0,
        Some(other) => return Err(values.bad(name, format!("`{other}` is not a sharding strategy"))),
    })
}
