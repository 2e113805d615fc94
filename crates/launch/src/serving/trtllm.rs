//! `trtllm-serve`, with the YAML of its further options.

use super::vllm::{known_model, missing_model};
use super::{ServingLaunch, cache_format, share, size};
use crate::command::Invocation;
use crate::error::{LaunchError, Location};
use crate::flags::{FlagTable, FlagValues};
use crate::shell::Shell;
use serde_yaml_ng::Value;
use std::sync::LazyLock;

pub(crate) static TABLE: LazyLock<FlagTable> =
    LazyLock::new(|| FlagTable::parse(include_str!("../../flags/trtllm.txt")));

/// Levels of the YAML that become keys with dots.
const MAX_DEPTH: usize = 6;

pub(super) fn launch(command: &Invocation<'_>, shell: &Shell<'_>) -> Result<ServingLaunch, LaunchError> {
    let mut values = FlagValues::at(command.place.clone());
    for source in command.values.sources() {
        let name = source.flag.replace('-', "_");
        let name = name.trim_start_matches('_');
        let name = match name {
            "tp_size" => "tensor_parallel_size",
            "pp_size" => "pipeline_parallel_size",
            "ep_size" => "moe_expert_parallel_size",
            "kv_cache_free_gpu_memory_fraction" | "free_gpu_memory_fraction" => {
                "kv_cache_config.free_gpu_memory_fraction"
            }
            other => other,
        };
        values.set(name, command.values.all(&source.flag).to_vec(), source.place);
    }
    options(&mut values, shell)?;
    let model = match (
        command.words.first().filter(|word| !word.starts_with('-')),
        values.known("model")?.or(values.known("model_path")?),
    ) {
        (Some(model), _) => model.clone(),
        (None, Some(model)) => model.to_owned(),
        (None, None) => return Err(missing_model(command)),
    };
    let mut launch = ServingLaunch::new("trtllm", known_model(command, model)?);
    launch.unread = values.unread(&TABLE);
    let world = size(&values, &["tensor_parallel_size"])?;
    launch.pp = size(&values, &["pipeline_parallel_size"])?;
    // Attention data parallelism runs over all tensor-parallel ranks.
    (launch.tp, launch.dp) = if values.on("enable_attention_dp") { (1, world) } else { (world, 1) };
    launch.ep = size(&values, &["moe_expert_parallel_size"])?;
    launch.max_seqs = values.number("max_batch_size")?;
    launch.token_budget = values.number("max_num_tokens")?;
    launch.max_length = values.number("max_seq_len")?;
    launch.chunked_prefill =
        values.has("enable_chunked_prefill").then(|| values.on("enable_chunked_prefill"));
    launch.memory = share(&values, "kv_cache_config.free_gpu_memory_fraction")?;
    launch.block = values.number("kv_cache_config.tokens_per_block")?;
    let reuse = "kv_cache_config.enable_block_reuse";
    launch.prefix_cache = values.has(reuse).then(|| values.on(reuse));
    launch.kv_dtype = cache_format(&values, "kv_cache_config.dtype")?;
    let drafts = ["num_nextn_predict_layers", "max_draft_len"].map(|key| format!("speculative_config.{key}"));
    launch.spec_tokens = values.first(&[drafts[0].as_str(), drafts[1].as_str()])?.unwrap_or(0).min(64);
    launch.eager = (values.text("cuda_graph_config") == Some("null")).then_some(true);
    launch.unread.sort();
    launch.sources = values.sources().collect();
    Ok(launch)
}

/// Keys of the options file, with dots between levels; they overrule the flags.
fn options(values: &mut FlagValues, shell: &Shell<'_>) -> Result<(), LaunchError> {
    for flag in ["extra_llm_api_options", "config", "extra_engine_args"] {
        let Some(name) = values.text(flag).map(str::to_owned) else { continue };
        let Some(text) = shell
            .named_file(&name)
            .or_else(|| name.rsplit('/').next().and_then(|base| shell.named_file(base)))
        else {
            let shown: String = name.chars().filter(|c| !('\u{FDD0}'..='\u{FDD2}').contains(c)).collect();
            return Err(values.bad(flag, format!("{shown} was not found beside the launch")));
        };
        let tree: Value = serde_yaml_ng::from_str(&text)
            .map_err(|error| values.bad(flag, format!("{name} is no YAML ({error})")))?;
        let mut todo = vec![(String::new(), &tree, 0)];
        while let Some((path, value, depth)) = todo.pop() {
            match value {
                Value::Mapping(map) if depth < MAX_DEPTH && !map.is_empty() => {
                    for (key, value) in map {
                        let key = key.as_str().unwrap_or("?");
                        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
                        todo.push((path, value, depth + 1));
                    }
                }
                Value::String(text) => values.set(&path, vec![text.clone()], Location::new(&name, 0)),
                other => {
                    let text = serde_json::to_string(other).unwrap_or_default();
                    values.set(&path, vec![text], Location::new(&name, 0));
                }
            }
        }
    }
    Ok(())
}
