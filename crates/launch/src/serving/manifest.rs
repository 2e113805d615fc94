//! Compose files and Kubernetes manifests: every container that starts a server.

use super::{Role, ServingLaunch, command};
use crate::error::{LaunchError, Location};
use crate::inputs::Inputs;
use serde::Deserialize as _;
use serde_yaml_ng::{Mapping, Value};
use std::collections::BTreeMap;

/// Containers beyond which a manifest is not gone through.
const MAX_CONTAINERS: usize = 256;
/// Levels below which containers are not looked for.
const MAX_DEPTH: usize = 24;

/// Whether a text is a manifest rather than a script.
pub(super) fn is_one(file: &str, text: &str) -> bool {
    let named = file.ends_with(".yaml") || file.ends_with(".yml");
    named
        || text.lines().take(60).any(|line| line.starts_with("apiVersion:") || line.starts_with("services:"))
}

/// A container: what it runs and how often.
struct Container {
    image: String,
    words: Vec<Word>,
    env: BTreeMap<String, String>,
    copies: u32,
    role: Option<Role>,
}

/// A part of a command: one argument, or a line that a shell splits.
enum Word {
    One(String),
    Line(String),
}

pub(super) fn read(file: &str, text: &str, inputs: &Inputs<'_>) -> Result<Vec<ServingLaunch>, LaunchError> {
    let mut containers = Vec::new();
    for document in serde_yaml_ng::Deserializer::from_str(text).take(MAX_CONTAINERS) {
        let tree = Value::deserialize(document).map_err(|error| {
            let line = error.location().map_or(0, |at| u32::try_from(at.line()).unwrap_or(0));
            LaunchError::Syntax { place: Location::new(file, line), why: format!("this is no YAML: {error}") }
        })?;
        gather(&tree, &mut containers);
    }
    let mut found: Vec<ServingLaunch> = Vec::new();
    let mut refused = None;
    for container in containers {
        let script = script(&container);
        let mut env = container.env;
        env.extend(inputs.env.iter().map(|(name, value)| (name.clone(), value.clone())));
        let inputs = Inputs { args: inputs.args.clone(), env, files: inputs.files };
        match command::read(file, &script, &inputs) {
            Ok(mut launch) => {
                launch.instances = launch.instances.saturating_mul(container.copies.max(1));
                if let (Role::Aggregated, Some(role)) = (launch.role, container.role) {
                    launch.role = role;
                }
                replace_lines(&mut launch, text);
                if !found.contains(&launch) {
                    found.push(launch);
                }
            }
            // Other containers are none of ours.
            Err(LaunchError::NoCommand { .. }) => {}
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match (found.is_empty(), refused) {
        (_, Some(error)) => Err(error),
        (true, None) => Err(LaunchError::NoCommand {
            file: file.to_owned(),
            why: "found no container that runs vllm serve, sglang.launch_server or trtllm-serve".to_owned(),
        }),
        (false, None) => Ok(found),
    }
}

/// Lines of the manifest instead of those of the command made of it.
fn replace_lines(launch: &mut ServingLaunch, text: &str) {
    let lines = crate::command::Lines::new(text);
    for place in launch
        .unread
        .iter_mut()
        .map(|flag| (flag.flag.clone(), &mut flag.place))
        .chain(launch.sources.iter_mut().map(|source| (source.flag.clone(), &mut source.place)))
    {
        place.1.line = lines.of(&place.0, 0);
    }
}

/// A level with what containers below it inherit.
struct Nested<'t> {
    value: &'t Value,
    depth: usize,
    copies: u32,
    name: String,
}

/// Finds containers: mappings with an image or a command that look like one.
fn gather(tree: &Value, containers: &mut Vec<Container>) {
    let mut todo = vec![Nested { value: tree, depth: 0, copies: 1, name: String::new() }];
    while let Some(level) = todo.pop() {
        if level.depth > MAX_DEPTH || containers.len() >= MAX_CONTAINERS {
            continue;
        }
        match level.value {
            Value::Mapping(map) => {
                let copies = copies(map).unwrap_or(level.copies);
                let own = map.get("metadata").and_then(|data| data.get("name")).or(map.get("name"));
                let name = own
                    .and_then(Value::as_str)
                    .map_or(level.name.clone(), |name| format!("{} {name}", level.name));
                if map.contains_key("command") || map.contains_key("args") || map.contains_key("entrypoint") {
                    containers.push(container(map, copies, &name));
                }
                for (key, value) in map {
                    let key = key.as_str().unwrap_or("");
                    let name = if level.depth < 8 { format!("{name} {key}") } else { name.clone() };
                    todo.push(Nested { value, depth: level.depth + 1, copies, name });
                }
            }
            Value::Sequence(list) => {
                for value in list {
                    todo.push(Nested {
                        value,
                        depth: level.depth + 1,
                        copies: level.copies,
                        name: level.name.clone(),
                    });
                }
            }
            _ => {}
        }
    }
}

fn copies(map: &Mapping) -> Option<u32> {
    let own = map.get("replicas").or_else(|| map.get("deploy").and_then(|deploy| deploy.get("replicas")));
    own.and_then(Value::as_u64).and_then(|count| u32::try_from(count).ok())
}

fn container(map: &Mapping, copies: u32, name: &str) -> Container {
    let mut words = Vec::new();
    for key in ["entrypoint", "command", "args"] {
        match map.get(key) {
            Some(Value::String(line)) => words.push(Word::Line(line.clone())),
            Some(Value::Sequence(list)) => words.extend(list.iter().filter_map(scalar).map(Word::One)),
            _ => {}
        }
    }
    let mut env = BTreeMap::new();
    for key in ["env", "environment"] {
        match map.get(key) {
            Some(Value::Mapping(map)) => {
                env.extend(map.iter().filter_map(|(key, value)| Some((scalar(key)?, scalar(value)?))));
            }
            Some(Value::Sequence(list)) => env.extend(list.iter().filter_map(|item| match item {
                Value::String(text) => {
                    text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
                }
                other => Some((scalar(other.get("name")?)?, scalar(other.get("value")?)?)),
            })),
            _ => {}
        }
    }
    let name = name.to_ascii_lowercase();
    let role = match (name.contains("prefill"), name.contains("decode")) {
        (true, false) => Some(Role::Prefill),
        (false, true) => Some(Role::Decode),
        _ => None,
    };
    let image = map.get("image").and_then(Value::as_str).unwrap_or("").to_owned();
    Container { image, words, env, copies, role }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The container's command as a line of shell.
fn script(container: &Container) -> String {
    let mut line = String::new();
    let first = match container.words.first() {
        Some(Word::One(text) | Word::Line(text)) => text.trim_start().to_owned(),
        None => String::new(),
    };
    // The published image's own entry point takes the server's arguments.
    if container.image.contains("vllm") && (first.starts_with("--") || is_model(&first)) {
        line.push_str("vllm serve ");
    }
    for word in &container.words {
        match word {
            Word::One(text) => {
                line.push_str(&quoted(text));
                line.push(' ');
            }
            Word::Line(text) => {
                line.push_str(&parentheses(text).replace('\n', " "));
                line.push(' ');
            }
        }
    }
    line
}

/// Whether a first argument is a model's id, as the entry point of the image takes it.
fn is_model(word: &str) -> bool {
    !word.starts_with('/') && word.split_whitespace().next().is_some_and(|word| word.split('/').count() == 2)
}

/// Kubernetes writes `$(NAME)` for a variable.
fn parentheses(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("$(") {
        out.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
        if end > 0 && after[end..].starts_with(')') && after.starts_with(|c: char| c.is_ascii_uppercase()) {
            out.push_str("${");
            out.push_str(&after[..end]);
            out.push('}');
            rest = &after[end + 1..];
        } else {
            out.push_str("$(");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// An argument in double quotes: variables in braces stay variables, all else is literal, but for the text of a shell.
fn quoted(text: &str) -> String {
    if text.contains(['\n', ';'])
        || text.split_whitespace().count() > 1 && !text.trim_start().starts_with(['{', '['])
    {
        // A text for `sh -c`, whose variables are the inner shell's.
        return format!("'{}'", parentheses(text).replace('\'', "'\\''"));
    }
    let escaped: String = parentheses(text)
        .chars()
        .flat_map(|c| matches!(c, '"' | '\\' | '`').then_some('\\').into_iter().chain([c]))
        .collect();
    format!("\"{escaped}\"")
}
