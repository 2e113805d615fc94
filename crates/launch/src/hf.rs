//! Training with Hugging Face's Trainer and what grew from it, under Accelerate, torchrun or DeepSpeed.

use crate::command::{Invocation, Wanted, read_script};
use crate::configs;
use crate::error::LaunchError;
use crate::flags::{FlagTable, FlagValues, Unread, Weight, refuse_models};
use crate::inputs::Inputs;
use crate::megatron::{deepspeed, ranks};
use crate::shell::Shell;
use crate::training::TrainingLaunch;
use std::sync::LazyLock;
use training::spec::JobSpec;

static TABLE: LazyLock<FlagTable> = LazyLock::new(|| FlagTable::parse(include_str!("../flags/hf.txt")));

/// What a command must be like to be read here.
const LOOKED_FOR: &str = "found no command with training flags such as --num-layers and --hidden-size, or \
                          --per_device_train_batch_size";

/// Reads a script or a command line.
pub(crate) fn read(
    file: &str,
    text: &str,
    inputs: &Inputs<'_>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let kind = Wanted { table: &TABLE, begins: &begins, least: 2, looked_for: LOOKED_FOR };
    let given = read_script(file, text, inputs, &kind, &|command, shell| one(command, shell, model_given));
    let (mut launch, notes) = match given {
        // A command may name a file that says everything.
        Err(LaunchError::NoCommand { .. }) => {
            let kind = Wanted { begins: &names_a_file, least: 0, ..kind };
            read_script(file, text, inputs, &kind, &|command, shell| named(command, shell, model_given))?
        }
        other => other?,
    };
    launch.notes.extend(notes);
    Ok(launch)
}

/// A program in Python, a module of it, or a program with the word for what it trains.
fn begins(words: &[String]) -> Option<usize> {
    let program = words.iter().position(|word| word.ends_with(".py") && !word.starts_with('-'));
    let module = || words.iter().position(|word| word == "-m" || word == "--module").map(|at| at + 1);
    let named = || {
        let first = words.first()?.rsplit('/').next()?;
        matches!(first, "trl" | "swift" | "llamafactory-cli").then_some(1)
    };
    program.or_else(module).or_else(named).map(|at| (at + 1).min(words.len()))
}

/// A program whose first argument is a configuration.
fn names_a_file(words: &[String]) -> Option<usize> {
    let at = begins(words)?;
    let first = words.get(at)?;
    let is_file = [".yaml", ".yml"].iter().any(|end| first.ends_with(end));
    is_file.then_some(at)
}

/// The job of a configuration that the command names, on the ranks of its launcher.
fn named(
    command: &Invocation<'_>,
    shell: &Shell<'_>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let name = command.words.first().map_or("", String::as_str);
    let text = shell.named_file(name);
    let maxtext = |word: &String| word.to_ascii_lowercase().contains("maxtext.");
    if command.launcher_words.iter().any(maxtext) {
        let file = (name, text.as_deref());
        return configs::maxtext_command(&command.place, file, &command.words[1..], model_given);
    }
    let text = text.ok_or_else(|| LaunchError::NoCommand {
        file: command.place.to_string(),
        why: format!("the command reads `{name}`, which is not found beside the script; give that file"),
    })?;
    let mut launch = configs::read(name, &text, &|name| shell.named_file(name), model_given)?;
    if let Some(ranks) = processes(command)? {
        let spec = &mut launch.spec;
        if let (Some(own), Some(global)) = (spec.chips.filter(|own| *own > 0), spec.global_batch) {
            let scaled = u64::from(global) * u64::from(ranks) / u64::from(own);
            spec.global_batch = u32::try_from(scaled).ok();
        } else if let (None, None, Some(steps)) = (spec.chips, spec.global_batch, launch.accumulation) {
            spec.global_batch = global_batch(spec, ranks, steps);
        }
        spec.chips = Some(ranks);
    }
    Ok(launch)
}

/// How many processes the launcher starts.
fn processes(command: &Invocation<'_>) -> Result<Option<u32>, LaunchError> {
    match command.launcher.first(&["--num_processes", "--num-processes"])? {
        Some(count) if count > 0 => Ok(Some(count)),
        _ => ranks::of(command),
    }
}

fn one(
    command: &Invocation<'_>,
    shell: &Shell<'_>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let values = command.values.spelled();
    let mut launch = launcher(command, shell)?;
    let ranks = processes(command)?.or(launch.spec.chips);
    arguments(&values, &mut launch, &|name| shell.named_file(name))?;
    launch.spec.chips = ranks;
    finish(&values, &mut launch, model_given)?;
    launch.sources = command.values.sources().chain(command.launcher.sources()).collect();
    Ok(launch)
}

/// The job of a file of the same arguments (LLaMA-Factory, TRL).
pub(crate) fn from_file(
    values: &FlagValues,
    beside: &dyn Fn(&str) -> Option<String>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    let values = values.spelled();
    let mut launch = TrainingLaunch::of(data_parallel());
    arguments(&values, &mut launch, beside)?;
    finish(&values, &mut launch, model_given)?;
    launch.sources = values.sources().collect();
    Ok(launch)
}

/// Copies of the model on every rank, which nothing says otherwise.
fn data_parallel() -> JobSpec {
    JobSpec { zero: Some(0), framework: Some("fsdp".to_owned()), ..JobSpec::default() }
}

/// What the launcher says: Accelerate's flags and file, or nothing but processes.
fn launcher(command: &Invocation<'_>, shell: &Shell<'_>) -> Result<TrainingLaunch, LaunchError> {
    let flags = command.launcher.spelled();
    let mut launch = match flags.text("--config_file") {
        None => TrainingLaunch::of(data_parallel()),
        Some(name) => {
            let text = shell.named_file(name).ok_or_else(|| {
                flags.bad("--config_file", format!("{name} is not found beside the script; put it there"))
            })?;
            let mut launch = configs::read(name, &text, &|name| shell.named_file(name), true)?;
            launch.notes.clear();
            launch
        }
    };
    if flags.on("--use_fsdp") {
        launch.spec.zero = Some(configs::sharding(&flags, "--fsdp_sharding_strategy")?);
    }
    if flags.on("--use_deepspeed") {
        launch.spec.framework = Some("megatron-deepspeed".to_owned());
        launch.spec.zero = Some(flags.number("--zero_stage")?.unwrap_or(2).min(3));
    }
    if command.launcher_words.iter().any(|word| word.ends_with("accelerate")) {
        launch.unread.extend(flags.unread(&TABLE));
    }
    if flags.on("--fsdp_activation_checkpointing") {
        launch.spec.recompute = Some("full".to_owned());
    }
    if let Some(name) = flags.known("--mixed_precision")? {
        launch.spec.precision = Some(if name == "no" { "fp32" } else { name }.to_owned());
    }
    Ok(launch)
}

/// The arguments of the program.
fn arguments(
    values: &FlagValues,
    launch: &mut TrainingLaunch,
    file: &dyn Fn(&str) -> Option<String>,
) -> Result<(), LaunchError> {
    let spec = &mut launch.spec;
    if let Some(name) = values.known("--deepspeed")?.filter(|name| !name.is_empty()) {
        spec.framework = Some("megatron-deepspeed".to_owned());
        let mut config = deepspeed::Config { used: true, ..deepspeed::Config::default() };
        match file(name) {
            Some(text) => config.add(values, "--deepspeed", name, &text)?,
            None => {
                config.zero = Some(2);
                let note = format!("{name}: the DeepSpeed configuration was not found: ZeRO 2 assumed");
                launch.notes.push(note);
            }
        }
        spec.zero = Some(config.zero.unwrap_or(0).min(3));
        spec.offload_optimizer = Some(config.offload_optimizer);
        launch.accumulation = config.accumulation;
    }
    let fsdp = values.all("--fsdp").join(" ");
    if !fsdp.is_empty() {
        spec.zero =
            Some(if fsdp.contains("no_shard") { 0 } else { u32::from(!fsdp.contains("shard_grad_op")) + 2 });
        spec.offload_optimizer = Some(fsdp.contains("offload"));
    }
    spec.micro_batch = Some(values.number("--per_device_train_batch_size")?.unwrap_or(8));
    let steps = values.number("--gradient_accumulation_steps")?.or(launch.accumulation).unwrap_or(1).max(1);
    launch.accumulation = Some(steps);
    const LENGTHS: [&str; 6] = [
        "--max_seq_length",
        "--max_seq_len",
        "--max_length",
        "--model_max_length",
        "--cutoff_len",
        "--block_size",
    ];
    spec.seq = values.first(&LENGTHS)?;
    if values.on("--bf16") || values.on("--pure_bf16") {
        spec.precision = Some("bf16".to_owned());
    } else if values.on("--fp16") {
        spec.precision = Some("fp16".to_owned());
    }
    if spec.precision.is_none() {
        spec.precision = Some("fp32".to_owned());
    }
    let checkpoints = values.on("--gradient_checkpointing") || spec.recompute.as_deref() == Some("full");
    spec.recompute = Some(if checkpoints { "full" } else { "none" }.to_owned());
    Ok(())
}

/// The batch, the model, and what is not read.
fn finish(values: &FlagValues, launch: &mut TrainingLaunch, model_given: bool) -> Result<(), LaunchError> {
    let spec = &mut launch.spec;
    match spec.chips {
        Some(ranks) => spec.global_batch = global_batch(spec, ranks, launch.accumulation.unwrap_or(1)),
        None => launch.notes.push(
            "the number of processes is not said, and with it the global batch: give --chips and --global-batch"
                .to_owned(),
        ),
    }
    if spec.seq.is_none() {
        launch.notes.push("the length of sequences is not said: give --seq".to_owned());
    }
    if !model_given {
        spec.model =
            values.known_first(&["--model_name_or_path", "--model", "--base_model"])?.map(str::to_owned);
    }
    launch.unread.extend(values.unread(&TABLE));
    adapters(values, &mut launch.unread);
    launch.unread.sort();
    refuse_models(&launch.unread, model_given)
}

/// Sequences of a step on so many ranks: those of a micro-batch on every copy of the model, accumulated.
fn global_batch(spec: &JobSpec, ranks: u32, accumulation: u32) -> Option<u32> {
    let sizes = [spec.tp, spec.pp, spec.cp].map(|size| u64::from(size.unwrap_or(1).max(1)));
    let copies = u64::from(ranks) / sizes.iter().product::<u64>();
    u32::try_from(copies * u64::from(spec.micro_batch.unwrap_or(1)) * u64::from(accumulation)).ok()
}

/// Adapters and quantised weights, which leave most weights without gradients, and other optimizers than Adam.
fn adapters(values: &FlagValues, unread: &mut Vec<Unread>) {
    let adam = |name: &str| name.starts_with("adamw") && !name.contains("bit");
    if values.text("--optim").is_some_and(|name| !adam(name)) {
        unread.push(Unread {
            weight: Weight::Memory,
            flag: "--optim".to_owned(),
            effect: "is another optimizer with other states".to_owned(),
            place: values.place("--optim"),
        });
    }
    let mut add = |flag: &str, effect: &str| {
        unread.push(Unread {
            weight: Weight::Model,
            flag: flag.to_owned(),
            effect: effect.to_owned(),
            place: values.place(flag),
        });
    };
    for flag in ["--use_peft", "--use_lora"] {
        if values.on(flag) {
            add(flag, "trains an adapter");
        }
    }
    if values.text("--finetuning_type").is_some_and(|kind| kind != "full") {
        add("--finetuning_type", "trains a part of the weights");
    }
    for flag in ["--load_in_4bit", "--load_in_8bit", "--quantization_bit"] {
        if values.on(flag) {
            add(flag, "has quantised weights");
        }
    }
}
