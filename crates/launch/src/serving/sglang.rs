//! `python -m sglang.launch_server`.

use super::vllm::{human, known_model, missing_model};
use super::{Role, ServingLaunch, cache_format, share, size};
use crate::command::Invocation;
use crate::error::LaunchError;
use crate::flags::{FlagTable, FlagValues, Unread, Weight};
use std::sync::LazyLock;

pub(crate) static TABLE: LazyLock<FlagTable> =
    LazyLock::new(|| FlagTable::parse(include_str!("../../flags/sglang.txt")));

pub(super) fn launch(command: &Invocation<'_>) -> Result<ServingLaunch, LaunchError> {
    let values = &command.values;
    let model = match values.known("--model-path")?.or(values.known("--model")?) {
        Some(model) => model.to_owned(),
        None => return Err(missing_model(command)),
    };
    let mut launch = ServingLaunch::new("sglang", known_model(command, model)?);
    launch.unread = values.unread(&TABLE);
    sizes(values, &mut launch)?;
    limits(values, &mut launch)?;
    launch.kv_dtype = cache_format(values, "--kv-cache-dtype")?;
    match values.known("--quantization")? {
        Some("fp8" | "w8a8_fp8") => launch.weight_dtype = Some("fp8"),
        Some("w8a8_int8") => launch.weight_dtype = Some("int8"),
        Some(_) => {
            launch.notes.push(
                "--quantization: the formats are those of the checkpoint's own configuration".to_owned(),
            );
        }
        None => {}
    }
    launch.spec_tokens =
        match (values.known("--speculative-algorithm")?, values.number("--speculative-num-steps")?) {
            (Some(_), Some(steps)) => steps.min(64),
            (Some(_), None) => values
                .number("--speculative-num-draft-tokens")?
                .map_or(1, |drafts| drafts.saturating_sub(1))
                .min(64),
            (None, _) => 0,
        };
    if values.number("--speculative-eagle-topk")?.is_some_and(|topk| topk > 1) {
        launch.unread.push(Unread {
            weight: Weight::Time,
            flag: "--speculative-eagle-topk".to_owned(),
            effect: "drafts a tree: a chain of as many steps is priced".to_owned(),
            place: values.place("--speculative-eagle-topk"),
        });
    }
    match values.known("--disaggregation-mode")? {
        Some("prefill") => launch.role = Role::Prefill,
        Some("decode") => launch.role = Role::Decode,
        _ => {}
    }
    launch.unread.sort();
    launch.sources = values.sources().collect();
    Ok(launch)
}

fn sizes(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    let world = size(values, &["--tp-size", "--tensor-parallel-size", "--tp"])?;
    let dp = size(values, &["--dp-size", "--data-parallel-size", "--dp"])?;
    launch.pp = size(values, &["--pp-size", "--pipeline-parallel-size", "--pp"])?;
    if values.on("--enable-dp-attention") {
        if world % dp != 0 {
            return Err(values.bad(
                "--dp-size",
                format!("{dp} data-parallel ranks do not divide {world} tensor-parallel ones"),
            ));
        }
        (launch.tp, launch.dp) = (world / dp, dp);
    } else {
        // Without attention data parallelism these are whole copies of the model behind one router.
        (launch.tp, launch.instances) = (world, dp);
    }
    launch.ep = size(values, &["--ep-size", "--expert-parallel-size", "--ep"])?;
    // All-to-all back ends set it to all ranks.
    if launch.ep == 1
        && (values.text("--moe-a2a-backend") == Some("deepep")
            || values.on("--enable-deepep-moe")
            || values.on("--enable-ep-moe"))
    {
        launch.ep = world;
    }
    launch.redundant_experts = values.number("--ep-num-redundant-experts")?.unwrap_or(0);
    launch.micro_batches = values.has("--enable-two-batch-overlap").then_some(true);
    Ok(())
}

fn limits(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    launch.max_length = human(values, "--context-length")?;
    launch.max_seqs = human(values, "--max-running-requests")?.map(|all| (all / launch.dp).max(1));
    match values.signed("--chunked-prefill-size")? {
        Some(-1) => launch.chunked_prefill = Some(false),
        Some(_) => {
            launch.chunked_prefill = Some(true);
            launch.token_budget =
                human(values, "--chunked-prefill-size")?.map(|all| (all / launch.dp).max(1));
        }
        None => {}
    }
    launch.memory = share(values, "--mem-fraction-static")?;
    launch.block = human(values, "--page-size")?;
    launch.prefix_cache = values.has("--disable-radix-cache").then_some(false);
    launch.eager = values.has("--disable-cuda-graph").then_some(true);
    Ok(())
}
