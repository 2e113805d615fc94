//! Launch files and commands that other programs are started with, read instead of flags.

use crate::common::Failure;
use ::launch::{Inputs, MAX_TEXT, Role, ServingLaunch, TrainingLaunch, Weight, parse_pair};
use clap::Args as _;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// A launch file and what it is run with.
#[derive(clap::Args)]
pub struct LaunchArgs {
    /// Launch file to read, not to run: a script or flags of Megatron-LM, MindSpeed-LLM, Megatron-DeepSpeed or
    /// Pai-Megatron-Patch, a torchtitan TOML, a NeMo, MaxText or Accelerate YAML.
    #[arg(long, value_name = "FILE", alias = "from-megatron")]
    launch: Option<PathBuf>,
    #[command(flatten)]
    given: GivenArgs,
}

/// What a script is run with.
#[derive(clap::Args)]
pub struct GivenArgs {
    /// A positional argument of the launch script, for example 1=8B; may be given several times.
    #[arg(long, value_name = "N=VALUE", value_parser = pair)]
    arg: Vec<(String, String)>,
    /// A variable of the launch script's environment, for example NNODES=4; may be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    parse_pair(text)
}

impl LaunchArgs {
    /// The training job of the launch file, if there is one; what it leaves out is said on stderr.
    pub fn training(&self, model_given: bool) -> Result<Option<TrainingLaunch>, Failure> {
        let Some(path) = &self.launch else {
            if self.given.arg.is_empty() && self.given.env.is_empty() {
                return Ok(None);
            }
            return Err(Failure::Input(
                "--arg and --env belong to a launch script: give --launch FILE".to_owned(),
            ));
        };
        let text = read(path)?;
        let beside = |name: &str| beside(path, name);
        let inputs = self.given.inputs(&beside)?;
        let name = path.display().to_string();
        let launch = ::launch::read_training(&name, &text, &inputs, model_given)?;
        say_what_was_read(&name, &launch);
        Ok(Some(launch))
    }
}

impl GivenArgs {
    /// As the reader takes them.
    pub fn inputs<'a>(&self, files: &'a dyn Fn(&str) -> Option<String>) -> Result<Inputs<'a>, Failure> {
        let mut args = BTreeMap::new();
        for (number, value) in &self.arg {
            let number = number.parse::<u32>().ok().filter(|number| (1..=99).contains(number));
            let number = number.ok_or_else(|| {
                Failure::Input("--arg: write the argument's number from 1, as in 1=8B".to_owned())
            })?;
            args.insert(number, value.clone());
        }
        Ok(Inputs { args, env: self.env.iter().cloned().collect(), files: Some(files) })
    }
}

/// A text file of bounded size.
pub fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::Input(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(failed)?;
    let mut text = String::new();
    file.take(MAX_TEXT as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() > MAX_TEXT {
        let size = MAX_TEXT >> 10;
        return Err(Failure::Input(format!(
            "{}: is longer than {size} KiB, which no launch file is",
            path.display()
        )));
    }
    Ok(text)
}

/// A file that a launch names, from the folder that the launch lies in.
fn beside(path: &Path, name: &str) -> Option<String> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let file = folder.join(name);
    // A launch may name a device or a pipe, which would never end.
    file.metadata().ok().filter(std::fs::Metadata::is_file)?;
    read(&file).ok()
}

fn say_what_was_read(name: &str, launch: &TrainingLaunch) {
    for note in &launch.notes {
        eprintln!("{name}: {note}");
    }
    for (weight, title) in [
        (Weight::Nothing, "without effect here"),
        (Weight::Profile, "taken as the framework's profile has it"),
    ] {
        let flags = launch.of_weight(weight);
        if !flags.is_empty() {
            eprintln!("{name}: {title}: {}", flags.join(" "));
        }
    }
}

/// What an answer lacks, a line each.
pub fn marks(launch: &TrainingLaunch) -> String {
    let mut out = String::new();
    for flag in launch.missing() {
        let _ = writeln!(out, "{flag}");
    }
    if out.is_empty() { out } else { format!("\nThis answer is\n{out}") }
}

/// A "does not fit" beside flags that were not read is no answer; it says so.
pub fn doubt(launch: Option<&TrainingLaunch>, error: &str) -> String {
    let missing: Vec<String> = launch
        .into_iter()
        .flat_map(TrainingLaunch::missing)
        .filter(|flag| flag.weight != Weight::Time)
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return error.to_owned();
    }
    format!("whether it fits cannot be said: it is priced\n{}\nand so {error}", missing.join("\n"))
}

/// A JSON answer with what it lacks.
pub fn json_with(report: &str, launch: &TrainingLaunch) -> Result<String, Failure> {
    let mut value: serde_json::Value = serde_json::from_str(report)?;
    let missing: Vec<serde_json::Value> = launch
        .missing()
        .map(|flag| {
            serde_json::json!({
                "flag": flag.flag, "weight": flag.weight, "effect": flag.effect, "place": flag.place.to_string(),
            })
        })
        .collect();
    let sources: Vec<serde_json::Value> = launch
        .sources
        .iter()
        .filter(|source| source.place.line > 0)
        .map(|source| serde_json::json!({ "flag": source.flag, "value": source.value, "place": source.place.to_string() }))
        .collect();
    value["launch"] = serde_json::json!({ "not_modelled": missing, "read": sources, "notes": launch.notes });
    Ok(format!("{value:#}\n"))
}

/// Subcommands that serve, and so may be given a serving launch.
const SERVING: [&str; 3] = ["estimate", "simulate", "up"];
/// Names of the option that gives it.
const NAMES: [&str; 4] = ["--launch", "--from-vllm", "--from-sglang", "--from-trtllm"];

/// The command line with the options of serving launches on every subcommand that serves.
pub fn with_serving(mut command: clap::Command) -> clap::Command {
    for name in SERVING {
        if command.find_subcommand(name).is_some() {
            command = command.mut_subcommand(name, |sub| {
                let launch = clap::Arg::new("from-launch")
                    .long("launch")
                    .aliases(["from-vllm", "from-sglang", "from-trtllm"])
                    .value_name("FILE|COMMAND")
                    .help(
                        "Command or file that starts servers, read instead of flags (which win over it): vllm serve, \
                         sglang.launch_server, trtllm-serve, a script, a compose file, a Kubernetes manifest; also \
                         --from-vllm, --from-sglang, --from-trtllm",
                    );
                // What the flags of scripts say of themselves is not what the command is about.
                let about = sub.get_about().cloned();
                let long = sub.get_long_about().cloned();
                let sub = with_shape(GivenArgs::augment_args(sub.arg(launch)));
                sub.about(about.unwrap_or_default()).long_about(long.unwrap_or_default())
            });
        }
    }
    for (name, inner) in [("plan", "serve"), ("compare", "")] {
        if command.find_subcommand(name).is_some() {
            command = command.mut_subcommand(name, |sub| match inner {
                "" => with_shape(sub),
                inner => sub.mut_subcommand(inner, with_shape),
            });
        }
    }
    command
}

/// `--shape` beside `--model`, as training has it: sizes are a model too.
fn with_shape(command: clap::Command) -> clap::Command {
    let has = command.get_arguments().any(|arg| arg.get_id() == "model" && arg.get_long() == Some("model"));
    if has { command.mut_arg("model", |arg| arg.visible_alias("shape")) } else { command }
}

/// What a serving launch left out of the answer.
#[derive(Default)]
pub struct Lacks(Vec<String>);

static LACKS: std::sync::OnceLock<Lacks> = std::sync::OnceLock::new();

/// What the answer of this run lacks, a line each.
pub fn lacks() -> &'static [String] {
    LACKS.get().map_or(&[], |lacks| &lacks.0)
}

/// The command line with a serving launch replaced by the flags it stands for.
pub fn expand(args: Vec<OsString>, command: &clap::Command) -> Result<Vec<OsString>, Failure> {
    let name = args.get(1).and_then(|name| name.to_str()).unwrap_or("");
    let Some(sub) = command.find_subcommand(name).filter(|_| SERVING.contains(&name)) else {
        return Ok(args);
    };
    let Some(line) = LaunchLine::split(&args)? else { return Ok(args) };
    let launches = line.read()?;
    for launch in &launches {
        for note in &launch.notes {
            eprintln!("{}: {note}", line.file());
        }
    }
    let mut lacks: Vec<String> =
        launches.iter().flat_map(ServingLaunch::missing).map(ToString::to_string).collect();
    let flags = serving_flags(&launches, sub, &line.rest, &mut lacks);
    let told: Vec<&str> = flags.iter().filter_map(|flag| flag.to_str()).collect();
    eprintln!("{}: read as {}", line.file(), told.join(" "));
    lacks.dedup();
    let _ = LACKS.set(Lacks(lacks));
    let mut out = line.rest;
    out.extend(flags);
    Ok(out)
}

/// A command line taken apart: the launch, what it is run with, and the rest.
struct LaunchLine {
    launch: String,
    given: GivenArgs,
    rest: Vec<OsString>,
}

impl LaunchLine {
    fn split(args: &[OsString]) -> Result<Option<Self>, Failure> {
        let mut launch = None;
        let mut given = GivenArgs { arg: Vec::new(), env: Vec::new() };
        let mut rest = Vec::new();
        let mut words = args.iter();
        while let Some(word) = words.next() {
            let text = word.to_str().unwrap_or("");
            let (name, inline) = match text.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (text, None),
            };
            let ours = NAMES.contains(&name) || matches!(name, "--arg" | "--env");
            if !ours {
                rest.push(word.clone());
                continue;
            }
            let value = inline.or_else(|| words.next().and_then(|word| word.to_str().map(str::to_owned)));
            let value = value.ok_or_else(|| Failure::Input(format!("{name} needs a value")))?;
            let paired =
                |value: &str| parse_pair(value).map_err(|why| Failure::Input(format!("{name}: {why}")));
            match name {
                "--arg" => given.arg.push(paired(&value)?),
                "--env" => given.env.push(paired(&value)?),
                _ => launch = Some(value),
            }
        }
        if launch.is_none() {
            if let Some(name) = [("--arg", &given.arg), ("--env", &given.env)]
                .into_iter()
                .find_map(|(name, given)| (!given.is_empty()).then_some(name))
            {
                return Err(Failure::Input(format!("{name} belongs to a launch: give --launch FILE too")));
            }
        }
        Ok(launch.map(|launch| Self { launch, given, rest }))
    }

    /// Whether the launch is a file rather than a command.
    fn path(&self) -> Option<&Path> {
        let path = Path::new(&self.launch);
        (!self.launch.contains(char::is_whitespace) || path.is_file()).then_some(path)
    }

    fn file(&self) -> String {
        self.path().map_or_else(|| "launch".to_owned(), |path| path.display().to_string())
    }

    fn read(&self) -> Result<Vec<ServingLaunch>, Failure> {
        let text = match self.path() {
            Some(path) => read(path)?,
            None => self.launch.clone(),
        };
        let folder = self.path().unwrap_or(Path::new("launch")).to_owned();
        let files = |name: &str| beside(&folder, name);
        let inputs = self.given.inputs(&files)?;
        Ok(::launch::read_serving(&self.file(), &text, &inputs)?)
    }
}

/// The flags of a subcommand by every name that they have.
fn by_name(sub: &clap::Command) -> BTreeMap<String, &clap::Arg> {
    let names = |arg: &clap::Arg| {
        let aliases = arg.get_all_aliases().unwrap_or_default();
        arg.get_long().into_iter().chain(aliases).map(str::to_owned).collect::<Vec<_>>()
    };
    sub.get_arguments().flat_map(|arg| names(arg).into_iter().map(move |name| (name, arg))).collect()
}

/// Flags of the subcommand for what the launches say; what it has no flag for is said to be lacking.
fn serving_flags(
    launches: &[ServingLaunch],
    sub: &clap::Command,
    rest: &[OsString],
    lacks: &mut Vec<String>,
) -> Vec<OsString> {
    let known = by_name(sub);
    let mut given: BTreeSet<String> = rest
        .iter()
        .filter_map(|word| word.to_str()?.strip_prefix("--"))
        .map(|word| word.split('=').next().unwrap_or(word).to_owned())
        .collect();
    let mut out = Vec::new();
    let mut add = |flags: &[String], value: &str, out: &mut Vec<OsString>| {
        if flags.iter().any(|flag| given.contains(flag)) {
            return true;
        }
        let Some(flag) = flags.iter().find(|flag| known.contains_key(flag.as_str())) else { return false };
        given.insert(flag.clone());
        let switch = matches!(known[flag.as_str()].get_action(), clap::ArgAction::SetTrue);
        match (switch, value) {
            (true, "false") => {}
            (true, _) => out.push(format!("--{flag}").into()),
            (false, _) => out.extend([format!("--{flag}").into(), value.into()]),
        }
        true
    };
    let Some(first) = launches.first() else { return out };
    let two = launches.iter().any(|launch| launch.role != Role::Aggregated);
    add(&["model".to_owned(), "shape".to_owned()], &first.model, &mut out);
    add(&["engine".to_owned()], first.engine, &mut out);
    if two {
        let mode = match (launches.len(), first.role) {
            (1, Role::Prefill) => "prefill",
            (1, _) => "decode",
            _ => "disagg",
        };
        add(&["mode".to_owned()], mode, &mut out);
    }
    for launch in launches {
        for mut key in launch.keys() {
            if launches.len() == 1 && two {
                // A lone instance of one role is the point itself.
                let plain =
                    key.flags[0].trim_start_matches("prefill-").trim_start_matches("decode-").to_owned();
                key.flags = vec![plain];
            }
            if !add(&key.flags, &key.value, &mut out) && weighs(&key.flags[0], &key.value) {
                lacks.push(format!(
                    "without {} {}, for which {} has no flag",
                    key.flags[0],
                    key.value,
                    sub.get_name()
                ));
            }
        }
    }
    out
}

/// Whether a key that a subcommand has no flag for changes its answer.
fn weighs(key: &str, value: &str) -> bool {
    match key {
        // The engine's own habits.
        "chunked-prefill" | "prefix-cache" => value == "false",
        "block-size" => false,
        _ => true,
    }
}

/// The end of a run whose answer lacks something: an answer says so on stdout (in JSON it already does), and a "does not
/// fit" is no verdict.
pub fn judged(result: Result<(), Failure>) -> Result<(), Failure> {
    let lines = lacks().join("\n");
    if lines.is_empty() {
        return result;
    }
    match result {
        Ok(()) if std::env::args_os().any(|word| word == "--json") => Ok(()),
        Ok(()) => crate::common::print(&format!("\nThis answer is\n{lines}\n")),
        Err(Failure::No(error)) => {
            Err(Failure::No(format!("whether it fits cannot be said: it is priced\n{lines}\nand so {error}")))
        }
        Err(other) => Err(other),
    }
}
