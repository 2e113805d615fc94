//! `vllm serve`.

use super::{Role, ServingLaunch, cache_format, share, size};
use crate::command::Invocation;
use crate::error::{LaunchError, Location};
use crate::flags::{FlagTable, FlagValues, Unread, Weight};
use crate::shell::Shell;
use serde_json::Value;
use std::sync::LazyLock;

pub(crate) static TABLE: LazyLock<FlagTable> =
    LazyLock::new(|| FlagTable::parse(include_str!("../../flags/vllm.txt")));

/// Short forms of flags.
const SHORT: [(&str, &str); 12] = [
    ("-tp", "--tensor-parallel-size"),
    ("-pp", "--pipeline-parallel-size"),
    ("-dp", "--data-parallel-size"),
    ("-dpl", "--data-parallel-size-local"),
    ("-dpa", "--data-parallel-address"),
    ("-dpr", "--data-parallel-rank"),
    ("-ep", "--enable-expert-parallel"),
    ("-dcp", "--decode-context-parallel-size"),
    ("-q", "--quantization"),
    ("-cc", "--compilation-config"),
    ("-sc", "--speculative-config"),
    ("-asc", "--api-server-count"),
];

/// As vLLM's parser takes words: short forms, underscores for dashes, `-O3`.
fn normal(word: &str) -> String {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) if name.starts_with('-') => (name, Some(value)),
        _ => (word, None),
    };
    if !name.starts_with('-') || name.contains(char::is_whitespace) {
        return word.to_owned();
    }
    if let Some(level) = name.strip_prefix("-O").filter(|level| level.len() == 1) {
        return format!("--optimization-level={level}");
    }
    let (base, inner) = match name.split_once('.') {
        Some((base, inner)) => (base, Some(inner)),
        None => (name, None),
    };
    let long = SHORT.iter().find(|(short, _)| *short == base).map(|(_, long)| (*long).to_owned());
    let long =
        long.unwrap_or_else(|| if base.starts_with("--") { base.replace('_', "-") } else { base.to_owned() });
    let inner = inner.map(|inner| format!(".{inner}")).unwrap_or_default();
    let value = value.map(|value| format!("={value}")).unwrap_or_default();
    format!("{long}{inner}{value}")
}

pub(super) fn launch(command: &Invocation<'_>, shell: &Shell<'_>) -> Result<ServingLaunch, LaunchError> {
    let words: Vec<String> = command.words.iter().map(|word| normal(word)).collect();
    let place = |flag: &str| original_place(command, flag);
    let mut values = FlagValues::collect(&words, command.place.clone(), &place);
    fold_dots(&mut values);
    from_file(&mut values, shell)?;
    let positional = words.first().filter(|word| !word.starts_with('-'));
    let model = match (positional, values.known("--model")?) {
        (Some(model), _) => model.clone(),
        (None, Some(model)) => model.to_owned(),
        (None, None) => return Err(missing_model(command)),
    };
    let model = known_model(command, model)?;
    let mut launch = ServingLaunch::new("vllm", model);
    launch.unread = values.unread(&TABLE);
    sizes(&values, &mut launch)?;
    formats(&values, &mut launch)?;
    limits(&values, &mut launch)?;
    speculation(&values, &mut launch)?;
    graphs(&values, &mut launch)?;
    transfer(&values, &mut launch)?;
    launch.unread.sort();
    launch.sources = values.sources().collect();
    Ok(launch)
}

/// The place of a flag in the text, where it may be written in a short form or with underscores.
fn original_place(command: &Invocation<'_>, flag: &str) -> Location {
    let own = command.words.iter().find(|word| {
        let name = normal(word);
        name.split(['=', '.']).next() == Some(flag)
    });
    match own {
        Some(word) => {
            let name = word.split(['=', '.']).next().unwrap_or(word);
            if command.values.has(name) { command.values.place(name) } else { command.place.clone() }
        }
        None => command.place.clone(),
    }
}

pub(super) fn missing_model(command: &Invocation<'_>) -> LaunchError {
    LaunchError::Value {
        place: command.place.clone(),
        key: "model".to_owned(),
        why: "the command names none; give --model".to_owned(),
    }
}

/// A model's name, refused if a part of it is not known.
pub(super) fn known_model(command: &Invocation<'_>, model: String) -> Result<String, LaunchError> {
    let mut values = FlagValues::at(command.place.clone());
    values.set("model", vec![model], command.place.clone());
    values.known("model").map(|model| model.unwrap_or_default().to_owned())
}

/// `--config.key value` becomes the JSON of `--config`.
fn fold_dots(values: &mut FlagValues) {
    let dotted: Vec<(String, String, String, Location)> = values
        .sources()
        .filter_map(|source| {
            let (base, inner) = source.flag.split_once('.')?;
            Some((base.to_owned(), inner.to_owned(), source.value.clone(), source.place.clone()))
        })
        .take(64)
        .collect();
    for (base, inner, value, place) in dotted {
        let mut object: Value = values
            .text(&base)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or_else(|| serde_json::json!({}));
        let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
        if let Some(object) = object.as_object_mut() {
            object.insert(inner.clone(), value);
        }
        values.remove(&format!("{base}.{inner}"));
        values.set(&base, vec![object.to_string()], place);
    }
}

/// `--config FILE`: keys of a YAML file, which flags on the line overrule.
fn from_file(values: &mut FlagValues, shell: &Shell<'_>) -> Result<(), LaunchError> {
    let Some(name) = values.known("--config")?.map(str::to_owned) else { return Ok(()) };
    let Some(text) = shell.named_file(&name) else {
        return Err(values.bad("--config", format!("{name} was not found beside the launch")));
    };
    let tree: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text)
        .map_err(|error| values.bad("--config", format!("{name} is no YAML ({error})")))?;
    for (key, value) in tree.as_mapping().into_iter().flatten() {
        let Some(key) = key.as_str() else { continue };
        let flag = format!("--{}", key.replace('_', "-"));
        if values.has(&flag) {
            continue;
        }
        let text = match value {
            serde_yaml_ng::Value::Bool(true) | serde_yaml_ng::Value::Null => String::new(),
            serde_yaml_ng::Value::Bool(false) => continue,
            serde_yaml_ng::Value::String(text) => text.clone(),
            other => serde_json::to_string(other).unwrap_or_default(),
        };
        values.set(&flag, vec![text], Location::new(&name, 0));
    }
    Ok(())
}

fn sizes(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    launch.tp = size(values, &["--tensor-parallel-size"])?;
    launch.pp = size(values, &["--pipeline-parallel-size"])?;
    launch.dp = size(values, &["--data-parallel-size"])?;
    if values.on("--enable-expert-parallel") {
        launch.ep = launch.tp.saturating_mul(launch.dp);
    }
    if let Some(text) = values.known("--eplb-config")? {
        launch.redundant_experts = count(&json(values, "--eplb-config", text)?["num_redundant_experts"]);
    }
    if let Some(text) = values.known("--additional-config")? {
        launch.engine = "vllm-ascend";
        let config = json(values, "--additional-config", text)?;
        launch.redundant_experts =
            launch.redundant_experts.max(count(&config["eplb_config"]["num_redundant_experts"]));
    }
    if values.on("--enable-dbo") {
        launch.micro_batches = Some(true);
    }
    Ok(())
}

fn formats(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    launch.kv_dtype = cache_format(values, "--kv-cache-dtype")?;
    match values.known("--quantization")? {
        // It says that the checkpoint is quantised, as the model's own configuration does.
        Some("ascend") => launch.engine = "vllm-ascend",
        Some("fp8") => launch.weight_dtype = Some("fp8"),
        Some("None" | "none" | "") | None => {}
        Some(
            "awq" | "awq_marlin" | "gptq" | "gptq_marlin" | "compressed-tensors" | "modelopt"
            | "modelopt_fp4" | "mxfp4" | "fbgemm_fp8" | "moe_wna16" | "bitsandbytes" | "gguf" | "quark"
            | "auto-round" | "inc" | "petit_nvfp4",
        ) => {
            launch.notes.push(
                "--quantization: the formats are those of the checkpoint's own configuration".to_owned(),
            );
        }
        Some(other) => {
            return Err(
                values.bad("--quantization", format!("`{other}` is not a way of quantising that is known"))
            );
        }
    }
    if let Some(dtype) = values.known("--dtype")?
        && matches!(dtype, "float32" | "float")
    {
        launch.weight_dtype = Some("fp32");
    }
    Ok(())
}

fn limits(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    launch.max_length = human(values, "--max-model-len")?;
    launch.max_seqs = human(values, "--max-num-seqs")?;
    launch.token_budget = human(values, "--max-num-batched-tokens")?;
    launch.memory = share(values, "--gpu-memory-utilization")?;
    launch.block = human(values, "--block-size")?;
    if values.has("--no-enable-chunked-prefill") {
        launch.chunked_prefill = Some(false);
    } else if values.has("--enable-chunked-prefill") {
        launch.chunked_prefill = Some(values.on("--enable-chunked-prefill"));
    }
    if values.has("--no-enable-prefix-caching") {
        launch.prefix_cache = Some(false);
    } else if values.has("--enable-prefix-caching") {
        launch.prefix_cache = Some(values.on("--enable-prefix-caching"));
    }
    Ok(())
}

/// A whole number as vLLM writes them: `32k` is 32000, `32K` is 32768, `-1` and `auto` leave it to the engine.
pub(super) fn human(values: &FlagValues, name: &str) -> Result<Option<u32>, LaunchError> {
    let Some(text) = values.known(name)? else { return Ok(None) };
    if text == "auto" || text == "-1" {
        return Ok(None);
    }
    let factor = match text.chars().last() {
        Some('k') => 1e3,
        Some('K') => 1024.0,
        Some('m') => 1e6,
        Some('M') => 1_048_576.0,
        _ => 1.0,
    };
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M']);
    match digits.parse::<f64>().map(|number| number * factor) {
        Ok(value) if (1.0..=1e9).contains(&value) && value.fract() == 0.0 => Ok(Some(value as u32)),
        _ => Err(values.bad(name, format!("`{text}` is not a whole number of at least 1"))),
    }
}

fn speculation(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    if let Some(text) = values.known("--speculative-config")? {
        let config = json(values, "--speculative-config", text)?;
        launch.spec_tokens = count(&config["num_speculative_tokens"]).min(64);
        let method = config["method"].as_str().unwrap_or("draft model").to_owned();
        if !matches!(
            method.as_str(),
            "mtp" | "deepseek_mtp" | "qwen3_next_mtp" | "glm4_moe_mtp" | "eagle" | "eagle3"
        ) {
            launch.unread.push(Unread {
                weight: Weight::Time,
                flag: "--speculative-config".to_owned(),
                effect: format!("drafts by {method}: its work is taken as that of a prediction module"),
                place: values.place("--speculative-config"),
            });
        }
    } else if let Some(tokens) = values.number("--num-speculative-tokens")? {
        launch.spec_tokens = tokens.min(64);
    }
    Ok(())
}

/// Whether kernels are launched by graphs.
fn graphs(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    launch.eager = values.has("--enforce-eager").then(|| values.on("--enforce-eager")).filter(|eager| *eager);
    if let Some(text) = values.known("--compilation-config")? {
        let config = match text.parse::<i64>() {
            Ok(level) => serde_json::json!({ "level": level }),
            Err(_) => json(values, "--compilation-config", text)?,
        };
        match config["cudagraph_mode"].as_str() {
            Some("NONE") => launch.eager = Some(true),
            Some(mode) => launch.notes.push(format!("--compilation-config: graphs of mode {mode}")),
            None => {}
        }
    }
    if values.text("--optimization-level") == Some("0") {
        launch.eager = Some(true);
    }
    Ok(())
}

/// The role of an instance whose cache goes to, or comes from, another.
fn transfer(values: &FlagValues, launch: &mut ServingLaunch) -> Result<(), LaunchError> {
    let Some(text) = values.text("--kv-transfer-config") else { return Ok(()) };
    // Ports and addresses in it may not be known; the role is.
    let role = text.split("\"kv_role\"").nth(1).and_then(|rest| rest.split('"').nth(1));
    match role {
        Some("kv_producer") => launch.role = Role::Prefill,
        Some("kv_consumer") => launch.role = Role::Decode,
        _ => {}
    }
    Ok(())
}

pub(super) fn json(values: &FlagValues, flag: &str, text: &str) -> Result<Value, LaunchError> {
    serde_json::from_str(text).map_err(|error| values.bad(flag, format!("`{text}` is no JSON ({error})")))
}

pub(super) fn count(value: &Value) -> u32 {
    value.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
}
