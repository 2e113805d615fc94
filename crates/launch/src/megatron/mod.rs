//! Megatron-LM and what grew from it: MindSpeed-LLM, Megatron-DeepSpeed, Pai-Megatron-Patch.

pub(crate) mod deepspeed;
mod layers;
pub(crate) mod ranks;
mod sizes;
mod spec;

use crate::command::{Invocation, Wanted, read_script};
use crate::error::LaunchError;
use crate::flags::{FlagTable, FlagValues, Unread, Weight, refuse_models};
use crate::inputs::Inputs;
use crate::shell::Shell;
use crate::training::TrainingLaunch;
use std::sync::LazyLock;

pub(crate) static TABLE: LazyLock<FlagTable> =
    LazyLock::new(|| FlagTable::parse(include_str!("../../flags/megatron.txt")));

/// Reads a script, a command line or a bare list of flags.
pub(crate) fn read(
    file: &str,
    text: &str,
    inputs: &Inputs<'_>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let kind = Wanted {
        table: &TABLE,
        begins: &begins,
        least: 3,
        looked_for: "found no command with training flags such as --num-layers and --hidden-size",
    };
    let (mut launch, notes) =
        read_script(file, text, inputs, &kind, &|command, shell| one(command, shell, model_given))?;
    launch.notes.extend(notes);
    Ok(launch)
}

/// A program in Python, a module of it, or the flags alone.
fn begins(words: &[String]) -> Option<usize> {
    let program = words.iter().position(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name.ends_with(".py") && !word.starts_with('-')
    });
    let from = program.map_or(0, |at| at + 1);
    (program.is_some()
        || words.iter().any(|word| word.starts_with("--num-layers") || word == "--micro-batch-size"))
    .then_some(from)
}

fn one(
    command: &Invocation<'_>,
    shell: &Shell<'_>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let values = &command.values;
    let mut unread = values.unread(&TABLE);
    let mut notes = Vec::new();
    deepspeed::add_stages(values, &mut unread);
    module_specification(values, &mut unread);
    refuse_models(&unread, model_given)?;
    let config = deepspeed::config(values, shell)?;
    let shape = match sizes::shape(values, &mut notes) {
        Ok(shape) => Some(shape),
        Err(_) if model_given => None,
        Err(error) => return Err(error),
    };
    let ranks = ranks::of(command)?;
    let mut spec = spec::spec(values, shape.as_ref(), ranks, &config, &mut notes)?;
    spec.framework = Some(framework(values, &unread, &config).to_owned());
    let tied = !values.has("--untie-embeddings-and-output-weights");
    let sources = values.sources().chain(command.launcher.sources()).collect();
    Ok(TrainingLaunch { shape, tied, sources, unread, notes, ..TrainingLaunch::of(spec) })
}

/// The job of flags that another reader put together.
pub(crate) fn from_flags(
    values: &FlagValues,
    ranks: Option<u32>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let mut notes = Vec::new();
    let shape = match sizes::shape(values, &mut notes) {
        Ok(shape) => Some(shape),
        Err(_) if model_given => None,
        Err(error) => return Err(error),
    };
    let spec = spec::spec(values, shape.as_ref(), ranks, &deepspeed::Config::default(), &mut notes)?;
    let tied = !values.has("--untie-embeddings-and-output-weights");
    Ok(TrainingLaunch { shape, tied, notes, ..TrainingLaunch::of(spec) })
}

/// `--spec MODULE NAME` says which layers there are; most names only say how a known layer is put together.
fn module_specification(values: &FlagValues, unread: &mut Vec<Unread>) {
    let name = values.all("--spec").join(" ").to_ascii_lowercase();
    let other = ["mamba", "hybrid", "delta", "linear", "zero", "dsa", "longcat", "rwkv"];
    if let Some(kind) = other.iter().find(|kind| name.contains(**kind)) {
        unread.push(Unread {
            weight: Weight::Model,
            flag: "--spec".to_owned(),
            effect: format!("layers of the kind {kind}"),
            place: values.place("--spec"),
        });
    }
}

fn framework(values: &FlagValues, unread: &[Unread], config: &deepspeed::Config) -> &'static str {
    let only_mindspeed = [
        "--context-parallel-algo",
        "--reuse-fp32-param",
        "--swap-optimizer",
        "--moe-alltoall-overlap-comm",
        "--noop-layers",
        "--swap-attention",
        "--use-fused-rmsnorm",
        "--use-fused-swiglu",
        "--use-fused-rotary-pos-emb",
        "--use-ascend-mc2",
    ];
    if config.used {
        "megatron-deepspeed"
    } else if only_mindspeed
        .iter()
        .any(|flag| values.has(flag) || unread.iter().any(|seen| seen.flag == *flag))
    {
        "mindspeed"
    } else {
        "megatron"
    }
}
