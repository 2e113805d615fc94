//! Configuration files of training programs: torchtitan, NeMo, MaxText, Accelerate, MindSpeed-LLM.

mod accelerate;
mod maxtext;
mod mindspeed;
mod nemo;
mod torchtitan;

use crate::error::{LaunchError, Location};
use crate::flags::{FlagTable, FlagValues, Meaning, Unread, Weight, refuse_models};
use crate::training::TrainingLaunch;
use serde_yaml_ng::Value;
use std::sync::LazyLock;

static TABLE: LazyLock<FlagTable> =
    LazyLock::new(|| FlagTable::parse(include_str!("../../flags/configs.txt")));

/// Levels that are gone down.
const MAX_DEPTH: usize = 16;
/// Keys that are looked at.
const MAX_KEYS: usize = 20_000;

/// Whether a file is a configuration rather than a script.
pub(crate) fn is_one(file: &str, text: &str) -> bool {
    let named = [".yaml", ".yml", ".toml", ".json"].iter().any(|end| file.ends_with(end));
    named
        || text
            .lines()
            .take(200)
            .any(|line| line.trim() == "[parallelism]" || line.starts_with("distributed_type:"))
}

/// Reads a configuration.
///
/// `beside` reads a file that it names.
pub(crate) fn read(
    file: &str,
    text: &str,
    beside: &dyn Fn(&str) -> Option<String>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let values = flatten(file, text)?;
    let has = |names: &[&str]| names.iter().any(|name| values.has(name) || values.has_below(name));
    if has(&["per_device_train_batch_size"]) && has(&["model_name_or_path"]) {
        return crate::hf::from_file(&values, beside, model_given);
    }
    let (program, mut launch) = if has(&["distributed_type"]) {
        ("accelerate", accelerate::read(&values)?)
    } else if has(&["parallel.fsdp_size", "parallel.fsdp_modules"]) {
        ("mindspeed", mindspeed::read(&values, model_given)?)
    } else if has(&["parallelism", "activation_checkpoint"]) || (has(&["job"]) && has(&["training"])) {
        ("torchtitan", torchtitan::read(&values, model_given)?)
    } else if has(&["trainer", "model.tensor_model_parallel_size", "model.micro_batch_size"]) {
        ("nemo", nemo::read(&values, model_given)?)
    } else if has(&["base_emb_dim", "per_device_batch_size", "model_name"]) {
        ("maxtext", maxtext::read(&values, model_given)?)
    } else {
        return Err(LaunchError::NoCommand {
            file: file.to_owned(),
            why: "is no configuration of torchtitan, NeMo, MaxText, Accelerate, MindSpeed-LLM or LLaMA-Factory \
                  that is known"
                .to_owned(),
        });
    };
    settle(&mut launch, &values, program, model_given)?;
    Ok(launch)
}

/// Reads a command of MaxText: a file, of which `text` may be known, and words `key=value` that win over it.
pub(crate) fn maxtext_command(
    place: &Location,
    (name, text): (&str, Option<&str>),
    words: &[String],
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let mut values = match text {
        Some(text) => flatten(name, text)?,
        None => FlagValues::at(place.clone()),
    };
    for (key, value) in words.iter().filter_map(|word| word.split_once('=')) {
        let listed = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let trim = |word: &str| word.trim().trim_matches(['"', '\'']).to_owned();
        let all = listed.map_or_else(|| vec![trim(value)], |list| list.split(',').map(trim).collect());
        values.set(key, all, place.clone());
    }
    let mut launch = maxtext::read(&values, model_given)?;
    settle(&mut launch, &values, "maxtext", model_given)?;
    Ok(launch)
}

/// Adds the keys that are not read, and refuses a launch where one of them changes the model.
fn settle(
    launch: &mut TrainingLaunch,
    values: &FlagValues,
    program: &str,
    model_given: bool,
) -> Result<(), LaunchError> {
    launch.unread.extend(unread(values, program));
    launch.unread.sort();
    launch.sources = values.sources().collect();
    refuse_models(&launch.unread, model_given)
}

/// The ZeRO stage of a sharding strategy of FSDP.
pub(crate) fn sharding(values: &FlagValues, name: &str) -> Result<u32, LaunchError> {
    accelerate::stage(values, name)
}

/// Keys with dots between levels.
fn flatten(file: &str, text: &str) -> Result<FlagValues, LaunchError> {
    let syntax = |line: usize, why: String| LaunchError::Syntax {
        place: Location::new(file, u32::try_from(line).unwrap_or(0)),
        why,
    };
    let tree: Value = if file.ends_with(".toml") || text.lines().any(|line| line.trim() == "[parallelism]") {
        let tree: toml::Value = toml::from_str(text).map_err(|error| {
            let at =
                error.span().map_or(0, |span| text.get(..span.start).unwrap_or("").lines().count().max(1));
            syntax(at, format!("this is no TOML: {}", error.message()))
        })?;
        serde_yaml_ng::to_value(tree).map_err(|error| syntax(0, error.to_string()))?
    } else {
        serde_yaml_ng::from_str(text).map_err(|error| {
            syntax(error.location().map_or(0, |at| at.line()), format!("this is no YAML: {error}"))
        })?
    };
    let mut values = FlagValues::at(Location::new(file, 0));
    let mut todo = vec![(String::new(), &tree, 0)];
    let mut seen = 0;
    while let Some((path, value, depth)) = todo.pop() {
        seen += 1;
        if seen > MAX_KEYS {
            return Err(LaunchError::TooMuch {
                place: Location::new(file, 0),
                what: "the number of its keys",
                cap: MAX_KEYS.to_string(),
            });
        }
        let text_of = |value: &Value| match value {
            Value::String(text) => crate::shell::value::clean(text),
            Value::Null => "null".to_owned(),
            other => serde_json::to_string(other).unwrap_or_default(),
        };
        match value {
            Value::Mapping(map) if depth < MAX_DEPTH => {
                for (key, value) in map {
                    let key = key.as_str().unwrap_or("?");
                    todo.push((
                        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") },
                        value,
                        depth + 1,
                    ));
                }
            }
            Value::Sequence(list) => {
                values.set(
                    &path,
                    list.iter().take(64).map(text_of).collect(),
                    Location::new(file, line_of(text, &path)),
                );
            }
            other => values.set(&path, vec![text_of(other)], Location::new(file, line_of(text, &path))),
        }
    }
    Ok(values)
}

/// The first line that gives the last part of a key.
fn line_of(text: &str, path: &str) -> u32 {
    let last = path.rsplit('.').next().unwrap_or(path);
    let gives = |line: &&str| {
        let rest = line.trim_start().strip_prefix(last).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with([':', '=']))
    };
    text.lines().position(|line| gives(&line)).map_or(0, |at| u32::try_from(at + 1).unwrap_or(0))
}

/// Keys of a program that are not read, by weight; a key that says nothing (`null`, `false`, 0 or 1 of a size) has none.
fn unread(values: &FlagValues, program: &str) -> Vec<Unread> {
    values
        .sources()
        .filter_map(|source| match meaning(&format!("{program}.{}", source.flag)) {
            Meaning::Read => None,
            Meaning::Unread(weight, effect) => {
                let idle = matches!(
                    source.value.to_ascii_lowercase().as_str(),
                    "null" | "false" | "none" | "0" | ""
                );
                let weight = if idle { Weight::Nothing } else { weight };
                Some(Unread { weight, flag: source.flag, effect: effect.to_owned(), place: source.place })
            }
        })
        .collect()
}

/// What the list says of a key, or of all keys below one of its levels.
fn meaning(key: &str) -> Meaning {
    let mut found = TABLE.get(key);
    let mut level = key;
    while found == Meaning::Unread(Weight::Unknown, "") {
        let Some((above, _)) = level.rsplit_once('.') else { break };
        found = TABLE.get(&format!("{above}.*"));
        level = above;
    }
    found
}

/// The built-in model of a name that a program knows.
fn known_model(program: &str, name: &str) -> Option<&'static str> {
    include_str!("../../flags/models.txt").lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(program) && words.next() == Some(name)).then(|| words.next()).flatten()
    })
}

/// A parallel size: `-1`, `null` and what is not given leave it open.
fn degree(values: &FlagValues, name: &str) -> Result<Option<u32>, LaunchError> {
    if values.text(name) == Some("null") {
        return Ok(None);
    }
    match values.signed(name)? {
        None | Some(-1) => Ok(None),
        Some(0 | 1) => Ok(Some(1)),
        Some(size @ 2..=65_536) => Ok(u32::try_from(size).ok()),
        Some(size) => Err(values.bad(name, format!("{size} is not from 1 to 65536"))),
    }
}
