//! Launch files and commands that other programs are started with, read instead of flags.

use crate::common::Failure;
use ::launch::{Inputs, MAX_TEXT, TrainingLaunch, Weight, parse_pair};
use std::collections::BTreeMap;
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
            return Err(Failure::Input("--arg and --env belong to a launch script: give --launch FILE".to_owned()));
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
            let number = number
                .ok_or_else(|| Failure::Input("--arg: write the argument's number from 1, as in 1=8B".to_owned()))?;
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
        return Err(Failure::Input(format!("{}: is longer than {size} KiB, which no launch file is", path.display())));
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
