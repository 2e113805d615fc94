//! NeMo: the keys are those of Megatron's flags.

use super::degree;
use crate::error::LaunchError;
use crate::flags::FlagValues;
use crate::megatron;
use crate::training::TrainingLaunch;

/// Keys of the model and the flags they are.
const FLAGS: [(&str, &str); 23] = [
    ("num_layers", "--num-layers"),
    ("hidden_size", "--hidden-size"),
    ("ffn_hidden_size", "--ffn-hidden-size"),
    ("num_attention_heads", "--num-attention-heads"),
    ("num_query_groups", "--num-query-groups"),
    ("kv_channels", "--kv-channels"),
    ("micro_batch_size", "--micro-batch-size"),
    ("global_batch_size", "--global-batch-size"),
    ("tensor_model_parallel_size", "--tensor-model-parallel-size"),
    ("pipeline_model_parallel_size", "--pipeline-model-parallel-size"),
    ("virtual_pipeline_model_parallel_size", "--num-virtual-stages-per-pipeline-rank"),
    ("context_parallel_size", "--context-parallel-size"),
    ("expert_model_parallel_size", "--expert-model-parallel-size"),
    ("encoder_seq_length", "--seq-length"),
    ("seq_length", "--seq-length"),
    ("data.seq_length", "--seq-length"),
    ("activations_checkpoint_granularity", "--recompute-granularity"),
    ("activations_checkpoint_method", "--recompute-method"),
    ("activations_checkpoint_num_layers", "--recompute-num-layers"),
    ("num_moe_experts", "--num-experts"),
    ("moe_router_topk", "--moe-router-topk"),
    ("override_vocab_size", "--padded-vocab-size"),
    ("vocab_size", "--vocab-size"),
];

/// Turns an interpolation of another key into that key's value.
fn resolved<'v>(values: &'v FlagValues, name: &str) -> Option<&'v str> {
    let mut text = values.text(name)?;
    for _ in 0..8 {
        let Some(inner) = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')) else {
            return Some(text);
        };
        let path = match inner.strip_prefix('.') {
            Some(own) => format!("model.{}", own.trim_start_matches('.')),
            None => inner.to_owned(),
        };
        text = values.text(&path)?;
    }
    Some(text)
}

pub(super) fn read(values: &FlagValues, model_given: bool) -> Result<TrainingLaunch, LaunchError> {
    let mut flags = FlagValues::at(values.home());
    for (key, flag) in FLAGS {
        let key = format!("model.{key}");
        if let Some(text) =
            resolved(values, &key).filter(|text| !matches!(*text, "null" | "${multiply:4, ${.hidden_size}}"))
        {
            flags.set(flag, vec![text.to_owned()], values.place(&key));
        }
    }
    let given = |name: &str| resolved(values, name).unwrap_or("").to_ascii_lowercase();
    let mut switch = |on: bool, flag: &str, key: &str| {
        if on {
            flags.set(flag, Vec::new(), values.place(key));
        }
    };
    let activation = given("model.activation");
    switch(activation.contains("glu"), "--swiglu", "model.activation");
    switch(
        values.has("model.num_query_groups") && given("model.num_query_groups") != "null",
        "--group-query-attention",
        "model.num_query_groups",
    );
    switch(values.on("model.sequence_parallel"), "--sequence-parallel", "model.sequence_parallel");
    switch(
        given("model.optim.name").contains("distributed"),
        "--use-distributed-optimizer",
        "model.optim.name",
    );
    switch(given("model.fp8") == "true", "--fp8-hybrid", "model.fp8");
    let precision = if values.has("trainer.precision") { "trainer.precision" } else { "model.precision" };
    let text = given(precision);
    switch(text.contains("bf16"), "--bf16", precision);
    switch(matches!(text.as_str(), "16" | "16-mixed" | "fp16"), "--fp16", precision);
    if values.has("model.share_embeddings_and_output_weights") {
        switch(
            !values.on("model.share_embeddings_and_output_weights"),
            "--untie-embeddings-and-output-weights",
            "model.share_embeddings_and_output_weights",
        );
    }
    let ranks = match (degree(values, "trainer.devices")?, degree(values, "trainer.num_nodes")?) {
        (Some(devices), nodes) => devices.checked_mul(nodes.unwrap_or(1)),
        _ => None,
    };
    let mut launch = megatron::from_flags(&flags, ranks, model_given)?;
    launch.spec.framework = Some("nemo".to_owned());
    Ok(launch)
}
