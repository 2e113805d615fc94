//! Layout, batch and the like.

use super::deepspeed::Config;
use crate::error::LaunchError;
use crate::flags::FlagValues;
use training::shape::Shape;
use training::spec::JobSpec;

pub(super) fn spec(
    values: &FlagValues,
    shape: Option<&Shape>,
    ranks: Option<u32>,
    config: &Config,
    notes: &mut Vec<String>,
) -> Result<JobSpec, LaunchError> {
    let pipeline = values.number("--pipeline-model-parallel-size")?.unwrap_or(1).max(1);
    // Megatron-DeepSpeed can be told to leave the pipeline out.
    let pp = if values.has("--no-pipeline-parallel") { 1 } else { pipeline };
    let tp = values.first(&["--tensor-model-parallel-size", "--model-parallel-size"])?;
    let ulysses_size = values.number("--ds-sequence-parallel-size")?.filter(|size| *size > 1);
    let cp = values.number("--context-parallel-size")?.or(ulysses_size);
    let micro = values.first(&["--micro-batch-size", "--batch-size"])?.or(config.micro);
    let seq = values.number("--seq-length")?;
    let mut spec = JobSpec {
        chips: ranks,
        tp,
        pp: Some(pp),
        vpp: vpp(values, shape, pp)?,
        cp,
        ep: values.first(&["--expert-model-parallel-size", "--moe-expert-parallel-size", "--ep-size"])?,
        etp: values.number("--expert-tensor-parallel-size")?,
        micro_batch: micro,
        global_batch: values.number("--global-batch-size")?.or(config.global),
        seq,
        precision: Some(precision(values, config)),
        zero: Some(zero(values, config)?),
        recompute: Some(recompute(values, notes)?),
        sequence_parallel: Some(values.has("--sequence-parallel")),
        offload_optimizer: Some(
            ["--swap-optimizer", "--optimizer-cpu-offload", "--cpu-optimizer"]
                .iter()
                .any(|flag| values.has(flag))
                || config.offload_optimizer,
        ),
        first_stage_layers: values.number("--decoder-first-pipeline-num-layers")?,
        last_stage_layers: values.number("--decoder-last-pipeline-num-layers")?,
        ..JobSpec::default()
    };
    further(values, &mut spec, config, ulysses_size.is_some(), notes)?;
    spec.tokens = tokens(values, &spec)?;
    Ok(spec)
}

/// What is not one flag for one key.
fn further(
    values: &FlagValues,
    spec: &mut JobSpec,
    config: &Config,
    sequence_ulysses: bool,
    notes: &mut Vec<String>,
) -> Result<(), LaunchError> {
    if spec.global_batch.is_none() {
        default_batch(spec, config, notes);
    }
    if values.has("--rampup-batch-size") {
        notes.push("the batch grows at the start; the step of the full batch is priced".to_owned());
    }
    if let Some(name) = &config.missing {
        let shown: String = name.chars().filter(|c| !('\u{FDD0}'..='\u{FDD2}').contains(c)).collect();
        notes.push(format!("{shown}: the DeepSpeed configuration was not found; the flags alone were read"));
    }
    let ulysses = values.text("--context-parallel-algo").is_some_and(|name| name.contains("ulysses"))
        || values.text("--cp-comm-type").is_some_and(|name| name.contains("a2a"))
        || sequence_ulysses;
    if ulysses {
        spec.context = Some("ulysses".to_owned());
    }
    if values.known("--schedules-method")?.is_some_and(|name| name.contains("dualpipe")) {
        spec.schedule = Some("dualpipe".to_owned());
        notes.push("dualpipev is priced as dualpipe".to_owned());
    }
    Ok(())
}

/// Without `--global-batch-size` a step is one micro-batch (times what DeepSpeed accumulates) per data-parallel rank.
fn default_batch(spec: &mut JobSpec, config: &Config, notes: &mut Vec<String>) {
    let whole =
        [spec.tp, spec.pp, spec.cp].iter().map(|size| u64::from(size.unwrap_or(1).max(1))).product::<u64>();
    let Some(ranks) = spec.chips.map(u64::from).filter(|ranks| ranks % whole == 0) else { return };
    let steps = u64::from(config.accumulation.unwrap_or(1).max(1));
    let global =
        (ranks / whole).saturating_mul(u64::from(spec.micro_batch.unwrap_or(1).max(1))).saturating_mul(steps);
    spec.global_batch = u32::try_from(global).ok();
    notes.push(format!(
        "no --global-batch-size: one micro-batch per data-parallel rank, {global} sequences a step"
    ));
}

fn tokens(values: &FlagValues, spec: &JobSpec) -> Result<Option<String>, LaunchError> {
    let count = |value: f64| Some(format!("{value}")).filter(|_| value > 0.0);
    let seq = f64::from(spec.seq.unwrap_or(0));
    // The length of the run adds to an answer and is not worth refusing one: what is not known is left out.
    if let Ok(Some(tokens)) = values.signed("--train-tokens") {
        return Ok(count(tokens as f64));
    }
    if let Ok(Some(samples)) = values.signed("--train-samples") {
        return Ok(count(samples as f64 * seq));
    }
    match (values.signed("--train-iters"), spec.global_batch) {
        (Ok(Some(iterations)), Some(global)) => Ok(count(iterations as f64 * f64::from(global) * seq)),
        _ => Ok(None),
    }
}

fn vpp(values: &FlagValues, shape: Option<&Shape>, pp: u32) -> Result<Option<u32>, LaunchError> {
    if let Some(stages) = values.number("--num-virtual-stages-per-pipeline-rank")? {
        return Ok(Some(stages));
    }
    let per_stage = values.number("--num-layers-per-virtual-pipeline-stage")?;
    // The flag counts the layers the script states, those that do nothing included.
    let layers = values.number("--num-layers")?.or(shape.map(|shape| shape.layers)).unwrap_or(1);
    Ok(per_stage.filter(|layers| *layers > 0).map(|per_stage| (layers / per_stage / pp.max(1)).max(1)))
}

fn precision(values: &FlagValues, config: &Config) -> String {
    let fp8 = values.has("--fp8-format") || values.has("--fp8-hybrid") || values.has("--fp8-e4m3");
    let name = match values.text("--fp8-recipe") {
        Some("mxfp8") if fp8 => "mxfp8",
        Some("blockwise") if fp8 => "fp8_block",
        _ if fp8 => "fp8",
        _ if values.has("--fp4-format") => "nvfp4",
        _ if values.has("--fp16") || config.fp16 => "fp16",
        _ if values.has("--bf16") || config.bf16 => "bf16",
        // Megatron trains in 32 bits unless told otherwise.
        _ => "fp32",
    };
    name.to_owned()
}

fn zero(values: &FlagValues, config: &Config) -> Result<u32, LaunchError> {
    if config.used {
        let stage = values.number("--zero-stage")?.or(config.zero).unwrap_or(0);
        return if stage <= 3 {
            Ok(stage)
        } else {
            Err(values.bad("--zero-stage", format!("{stage} is not 0 to 3")))
        };
    }
    let fsdp = ["--use-torch-fsdp2", "--use-custom-fsdp", "--use-megatron-fsdp", "--use-fsdp2"]
        .iter()
        .any(|flag| values.has(flag));
    Ok(match values.text("--data-parallel-sharding-strategy") {
        Some("optim_grads_params") => 3,
        Some("optim_grads") => 2,
        Some("optim") => 1,
        _ if fsdp => 3,
        _ => u32::from(values.has("--use-distributed-optimizer")),
    })
}

fn recompute(values: &FlagValues, notes: &mut Vec<String>) -> Result<String, LaunchError> {
    let checkpoint =
        values.has("--checkpoint-activations") || values.has("--deepspeed-activation-checkpointing");
    let block = values.text("--recompute-method") == Some("block");
    // MindSpeed's flag for a number per pipeline rank works without naming a granularity.
    let layers = values.number("--recompute-num-layers")?;
    if values.has("--enable-recompute-layers-per-pp-rank") {
        if let Some(layers) = layers {
            notes.push(format!(
                "the {layers} layers recomputed are those of a pipeline rank, over all its chunks"
            ));
            return Ok(layers.to_string());
        }
    }
    let name = match values.text("--recompute-granularity") {
        Some("full") if block => layers.map_or("full".to_owned(), |layers| layers.to_string()),
        Some("full") => "full".to_owned(),
        Some("selective") => "selective".to_owned(),
        _ if values.has("--recompute-activations") => "selective".to_owned(),
        _ if checkpoint => "full".to_owned(),
        _ => "none".to_owned(),
    };
    Ok(name)
}
