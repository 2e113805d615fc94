//! `supernode export`.

use crate::common::{Failure, print_exactly, read_text};
use ::export::{
    Choice, ExportError, LaunchFile, Options, Target, Trainer, export_training, is_address, read_training,
};
use planner::plan_file::PlanFile;
use report::Outputs;
use std::path::{Path, PathBuf};

/// Writes a serving plan as launch files of an engine or orchestrator.
#[derive(clap::Args)]
pub struct Args {
    /// What `plan serve --json` printed (`plan train --json` for megatron and mindspeed); - is standard input.
    plan: PathBuf,
    /// vllm, vllm-ascend, sglang, trtllm, dynamo, llm-d or lws; megatron or mindspeed.
    #[arg(long, value_name = "TARGET")]
    to: To,
    /// Folder for the files; they are printed one after the other without it.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// best, aggregated, disaggregated, or a place in the plan's list of the best, from 1.
    #[arg(long, value_name = "WHICH", default_value = "best")]
    deployment: Choice,
    /// File with the addresses of the nodes, one a line, those of the first pool first.
    #[arg(long, value_name = "FILE")]
    hosts: Option<PathBuf>,
    /// Host memory of each device's share of a cache pool, GiB (vLLM on Ascend, by Mooncake).
    #[arg(long, value_name = "GIB", value_parser = clap::value_parser!(u32).range(1..=65536))]
    kv_pool: Option<u32>,
    /// Container image instead of the published one, for manifests.
    #[arg(long)]
    image: Option<String>,
    /// Hugging Face id of a built-in model, or the path of a config.json, for a training plan that does not name it.
    #[arg(long, value_name = "ID")]
    model: Option<String>,
}

/// What serves or what trains.
#[derive(Debug, Clone, Copy)]
enum To {
    Serve(Target),
    Train(Trainer),
}

impl std::str::FromStr for To {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match [Trainer::Megatron, Trainer::Mindspeed].into_iter().find(|trainer| trainer.name() == text) {
            Some(trainer) => Ok(Self::Train(trainer)),
            None => {
                text.parse().map(Self::Serve).map_err(|error: String| format!("{error}, megatron, mindspeed"))
            }
        }
    }
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let files = match args.to {
        To::Serve(target) => serving(args, target)?,
        To::Train(trainer) => vec![training(args, trainer)?],
    };
    match &args.out {
        Some(folder) => write(folder, &files),
        None => print_exactly(&listing(&files)),
    }
}

fn unused(flag: &str, why: &str) -> Failure {
    Failure::Input(format!("--{flag} has no effect here: {why}; leave it out"))
}

fn training(args: &Args, trainer: Trainer) -> Result<LaunchFile, Failure> {
    let of_serving = [
        ("hosts", args.hosts.is_some()),
        ("kv-pool", args.kv_pool.is_some()),
        ("image", args.image.is_some()),
    ];
    if let Some((flag, _)) = of_serving.into_iter().find(|(_, given)| *given) {
        return Err(unused(flag, "it belongs to serving plans"));
    }
    let place = match args.deployment {
        Choice::Top(place) => place - 1,
        Choice::Best => 0,
        _ => {
            let problem = "--deployment of a training plan is best or a place in its list";
            return Err(Failure::Input(problem.to_owned()));
        }
    };
    let (layout, model) = read_training(&read_text(&args.plan)?, place).map_err(failure)?;
    let name = args.model.clone().or(model).ok_or_else(|| {
        Failure::Input("--model is needed: the plan does not say which model it is for".to_owned())
    })?;
    export_training(&layout, &model::resolve(&name)?, trainer).map_err(failure)
}

fn serving(args: &Args, target: Target) -> Result<Vec<LaunchFile>, Failure> {
    let plan = PlanFile::parse(&read_text(&args.plan)?)
        .map_err(|error| Failure::Input(format!("{}: {error}", args.plan.display())))?;
    let options = Options {
        choice: args.deployment,
        hosts: args.hosts.as_deref().map(hosts).transpose()?.unwrap_or_default(),
        kv_pool: args.kv_pool,
        image: args.image.clone(),
    };
    if args.model.is_some() {
        return Err(unused("model", "a serving plan names its model"));
    }
    let files = ::export::export(&plan, target, &options).map_err(failure)?;
    let without = [
        ("hosts", args.hosts.is_some(), Options { hosts: Vec::new(), ..options.clone() }),
        ("kv-pool", options.kv_pool.is_some(), Options { kv_pool: None, ..options.clone() }),
        ("image", options.image.is_some(), Options { image: None, ..options.clone() }),
    ];
    for (flag, given, options) in without {
        let same = |other: Vec<LaunchFile>| {
            other.iter().map(|file| &file.text).eq(files.iter().map(|file| &file.text))
        };
        if given && ::export::export(&plan, target, &options).is_ok_and(same) {
            return Err(unused(flag, &format!("no file of {} says it", target.name())));
        }
    }
    Ok(files)
}

/// A plan that the target cannot carry out is an answer, not a mistake.
fn failure(error: ExportError) -> Failure {
    match error {
        ExportError::NoDeployment { .. } | ExportError::Pool { .. } | ExportError::Layout { .. } => {
            Failure::No(error.to_string())
        }
        other => Failure::Input(other.to_string()),
    }
}

/// Addresses, one a line; they end up in scripts, so that nothing but an address is one.
fn hosts(path: &Path) -> Result<Vec<String>, Failure> {
    let text = read_text(path)?;
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty());
    lines
        .map(|(at, line)| {
            if is_address(line) {
                return Ok(line.to_owned());
            }
            let problem = format!("`{line}` is no address; give a name or an IP address a line");
            Err(Failure::Input(format!("{}, line {}: {problem}", path.display(), at + 1)))
        })
        .collect()
}

/// All files, each after its name; one alone without it.
fn listing(files: &[LaunchFile]) -> String {
    match files {
        [file] => file.text.clone(),
        files => files.iter().map(|file| format!("==> {} <==\n{}\n", file.name, file.text)).collect(),
    }
}

fn write(folder: &Path, files: &[LaunchFile]) -> Result<(), Failure> {
    let mut outputs = Outputs::new();
    outputs.folder(folder)?;
    for file in files {
        let id = outputs.open(&folder.join(&file.name))?;
        outputs.write(id, &file.text)?;
        if file.executable {
            outputs.executable(id);
        }
    }
    let names: String = outputs.paths().map(|path| format!("{}\n", path.display())).collect();
    outputs.commit()?;
    print_exactly(&names)
}
