//! Reads Megatron-LM and MindSpeed-LLM launch scripts and argument lists, without running them.

mod arithmetic;
mod flags;
mod shell;

use crate::error::JobError;
use crate::shape::{ExpertSizes, LatentSizes, Shape};
use crate::spec::JobSpec;
use flags::{Kind, Values};
use std::fmt::Write as _;

/// A script read.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Layout and batch.
    pub spec: JobSpec,
    /// Sizes of the model.
    pub shape: Shape,
    /// Flags known not to matter for time and memory, and left out.
    pub ignored: Vec<String>,
    /// Flags that mean nothing to this reader.
    pub unknown: Vec<String>,
    /// What was assumed on the way.
    pub notes: Vec<String>,
}

/// Reads the text of a script (or of a bare argument list).
///
/// # Errors
/// It has no training arguments, lacks the model's sizes, or a value is no number.
pub fn import(text: &str) -> Result<Import, JobError> {
    let script = shell::read(text);
    let (launcher, arguments) = script.training_command();
    if !arguments.iter().any(|word| word.starts_with("--")) {
        return Err(bad("--from-megatron", "found no command with arguments such as --num-layers"));
    }
    let mut notes = script.notes.clone();
    let mut values = Values::default();
    let (mut ignored, mut unknown) = (Vec::new(), Vec::new());
    flags::collect(&launcher, &mut values, |_| {});
    flags::collect(&arguments, &mut values, |name| match flags::kind(name) {
        Some(Kind::Ignored) => ignored.push(name.to_owned()),
        _ => unknown.push(name.to_owned()),
    });
    for list in [&mut ignored, &mut unknown] {
        list.sort();
        list.dedup();
    }
    let shape = shape(&values, &mut notes)?;
    let spec = spec(&values, &shape, &mut notes)?;
    Ok(Import { spec, shape, ignored, unknown, notes })
}

fn bad(key: &str, why: &str) -> JobError {
    JobError::Value { key: key.to_owned(), why: why.to_owned() }
}

fn need(values: &Values, flag: &'static str) -> Result<u32, JobError> {
    values
        .number(flag)?
        .ok_or_else(|| bad(flag, "the script does not set it, and the model's size depends on it"))
}

fn shape(values: &Values, notes: &mut Vec<String>) -> Result<Shape, JobError> {
    let hidden = need(values, "--hidden-size")?;
    let heads = need(values, "--num-attention-heads")?;
    let mut layers = need(values, "--num-layers")?;
    if let Some(list) = values.text("--noop-layers") {
        let noops = list.split(',').filter(|layer| !layer.trim().is_empty()).count() as u32;
        layers = layers.saturating_sub(noops);
        notes.push(format!("{noops} of the layers do nothing and are not counted"));
    }
    let gated = values.has("--swiglu") || values.has("--gated-linear-unit");
    let vocab =
        values.number("--padded-vocab-size")?.or(values.number("--vocab-size")?).unwrap_or_else(|| {
            notes.push("the vocabulary comes from a tokenizer that was not read: 51200 assumed".to_owned());
            51_200
        });
    // Megatron's own default for gated units is two thirds of four times the width, to the next multiple of 64.
    let default_ffn = if gated { (hidden * 4 * 2 / 3).div_ceil(64) * 64 } else { 4 * hidden };
    let ffn = values.number("--ffn-hidden-size")?.unwrap_or(default_ffn);
    let kv_heads = if values.has("--group-query-attention") {
        values.number("--num-query-groups")?.unwrap_or(1)
    } else {
        heads
    };
    Ok(Shape {
        name: "megatron-script".to_owned(),
        ffn,
        kv_heads,
        head_dim: values.number("--kv-channels")?.unwrap_or(hidden / heads.max(1)),
        gated,
        latent: latent(values)?,
        experts: experts(values, ffn, layers)?,
        mtp: values.number("--mtp-num-layers")?.unwrap_or(0),
        ..Shape::gpt(layers, hidden, heads, vocab)
    })
}

fn latent(values: &Values) -> Result<Option<LatentSizes>, JobError> {
    if !values.has("--multi-head-latent-attention") && !values.has("--multi-latent-attention") {
        return Ok(None);
    }
    let either = |a, b| Ok::<_, JobError>(values.number(a)?.or(values.number(b)?));
    Ok(Some(LatentSizes {
        q_lora_rank: values.number("--q-lora-rank")?,
        kv_lora_rank: values.number("--kv-lora-rank")?.unwrap_or(512),
        qk_nope_head_dim: either("--qk-nope-head-dim", "--qk-head-dim")?.unwrap_or(128),
        qk_rope_head_dim: either("--qk-rope-head-dim", "--qk-pos-emb-head-dim")?.unwrap_or(64),
        v_head_dim: values.number("--v-head-dim")?.unwrap_or(128),
    }))
}

fn experts(values: &Values, ffn: u32, layers: u32) -> Result<Option<ExpertSizes>, JobError> {
    let Some(experts) = values.number("--num-experts")?.filter(|experts| *experts > 1) else {
        return Ok(None);
    };
    let intermediate =
        values.number("--moe-ffn-hidden-size")?.or(values.number("--moe-intermediate-size")?).unwrap_or(ffn);
    let shared = match values.number("--moe-shared-expert-intermediate-size")? {
        Some(width) => width,
        None => values.number("--n-shared-experts")?.unwrap_or(0) * intermediate,
    };
    let first_dense = match values.number("--first-k-dense-replace")? {
        Some(count) => count,
        None => values.text("--moe-layer-freq").map_or(0, leading_dense),
    };
    Ok(Some(ExpertSizes {
        experts,
        topk: values.number("--moe-router-topk")?.unwrap_or(2),
        intermediate,
        shared_intermediate: shared,
        first_dense: first_dense.min(layers),
    }))
}

/// Leading zeros of a layer pattern such as `([0]*3+[1]*58)`.
fn leading_dense(pattern: &str) -> u32 {
    let inner = pattern.trim_matches(|c| "()\"' ".contains(c));
    let first = inner.split('+').next().unwrap_or("");
    match first.split_once('*') {
        Some(("[0]", count)) => count.trim().parse().unwrap_or(0),
        _ => 0,
    }
}

fn spec(values: &Values, shape: &Shape, notes: &mut Vec<String>) -> Result<JobSpec, JobError> {
    let pp = values.number("--pipeline-model-parallel-size")?.unwrap_or(1);
    let seq = values.number("--seq-length")?;
    let global = values.number("--global-batch-size")?;
    let mut spec = JobSpec {
        framework: Some(if mindspeed(values) { "mindspeed" } else { "megatron" }.to_owned()),
        chips: chips(values)?,
        tp: values.number("--tensor-model-parallel-size")?,
        pp: Some(pp),
        vpp: vpp(values, shape, pp)?,
        cp: values.number("--context-parallel-size")?,
        ep: values.number("--expert-model-parallel-size")?,
        etp: values.number("--expert-tensor-parallel-size")?,
        micro_batch: values.number("--micro-batch-size")?,
        global_batch: global,
        seq,
        precision: Some(precision(values)),
        zero: Some(zero(values)),
        recompute: recompute(values)?,
        sequence_parallel: Some(values.has("--sequence-parallel")),
        offload_optimizer: Some(values.has("--swap-optimizer") || values.has("--optimizer-cpu-offload")),
        first_stage_layers: values.number("--decoder-first-pipeline-num-layers")?,
        last_stage_layers: values.number("--decoder-last-pipeline-num-layers")?,
        ..JobSpec::default()
    };
    let ulysses = values.text("--context-parallel-algo").is_some_and(|name| name.contains("ulysses"))
        || values.text("--cp-comm-type").is_some_and(|name| name.contains("a2a"));
    if ulysses {
        spec.context = Some("ulysses".to_owned());
    }
    if values.text("--schedules-method").is_some_and(|name| name.contains("dualpipe")) {
        spec.schedule = Some("dualpipe".to_owned());
        notes.push("dualpipev is priced as dualpipe".to_owned());
    }
    if let (Some(iterations), Some(global), Some(seq)) = (values.number("--train-iters")?, global, seq) {
        let mut tokens = String::new();
        let _ = write!(tokens, "{}", f64::from(iterations) * f64::from(global) * f64::from(seq));
        spec.tokens = Some(tokens);
    }
    Ok(spec)
}

/// Flags that only MindSpeed-LLM has.
fn mindspeed(values: &Values) -> bool {
    [
        "--context-parallel-algo",
        "--reuse-fp32-param",
        "--swap-optimizer",
        "--moe-alltoall-overlap-comm",
        "--noop-layers",
    ]
    .iter()
    .any(|flag| values.has(flag))
}

fn chips(values: &Values) -> Result<Option<u32>, JobError> {
    let per_node = values.number("--nproc_per_node")?.or(values.number("--nproc-per-node")?);
    let nodes = values.number("--nnodes")?.unwrap_or(1);
    Ok(values.number("--worker_num")?.or(per_node.map(|per_node| per_node * nodes)))
}

fn vpp(values: &Values, shape: &Shape, pp: u32) -> Result<Option<u32>, JobError> {
    if let Some(stages) = values.number("--num-virtual-stages-per-pipeline-rank")? {
        return Ok(Some(stages));
    }
    let per_stage = values.number("--num-layers-per-virtual-pipeline-stage")?;
    // The flag counts the layers the script states, those that do nothing included.
    let layers = values.number("--num-layers")?.unwrap_or(shape.layers);
    Ok(per_stage.filter(|layers| *layers > 0).map(|per_stage| (layers / per_stage / pp.max(1)).max(1)))
}

fn precision(values: &Values) -> String {
    let fp8 = values.has("--fp8-format") || values.has("--fp8-hybrid") || values.has("--fp8-e4m3");
    let name = match values.text("--fp8-recipe") {
        Some("mxfp8") if fp8 => "mxfp8",
        Some("blockwise") if fp8 => "fp8_block",
        _ if fp8 => "fp8",
        _ if values.has("--fp4-format") => "nvfp4",
        _ if values.has("--fp16") => "fp16",
        _ if values.has("--bf16") => "bf16",
        // Megatron trains in 32 bits unless told otherwise.
        _ => "fp32",
    };
    name.to_owned()
}

fn zero(values: &Values) -> u32 {
    let fsdp = ["--use-torch-fsdp2", "--use-custom-fsdp", "--use-megatron-fsdp", "--use-fsdp2"]
        .iter()
        .any(|flag| values.has(flag));
    match values.text("--data-parallel-sharding-strategy") {
        Some("optim_grads_params") => 3,
        Some("optim_grads") => 2,
        Some("optim") => 1,
        _ if fsdp => 3,
        _ => u32::from(values.has("--use-distributed-optimizer")),
    }
}

fn recompute(values: &Values) -> Result<Option<String>, JobError> {
    let name = match values.text("--recompute-granularity") {
        Some("full") if values.text("--recompute-method") == Some("block") => {
            values.number("--recompute-num-layers")?.map_or("full".to_owned(), |layers| layers.to_string())
        }
        Some("full") => "full".to_owned(),
        Some("selective") => "selective".to_owned(),
        _ if values.has("--recompute-activations") => "selective".to_owned(),
        _ => "none".to_owned(),
    };
    Ok(Some(name))
}

#[cfg(test)]
mod tests;
