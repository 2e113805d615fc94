//! What DeepSpeed adds: its configuration file and the flags of Megatron-DeepSpeed.

use crate::error::LaunchError;
use crate::flags::{FlagValues, Unread, Weight};
use crate::shell::Shell;
use serde_json::Value;

/// What the configuration says.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Config {
    /// Whether DeepSpeed runs the job at all.
    pub used: bool,
    pub zero: Option<u32>,
    pub offload_optimizer: bool,
    pub micro: Option<u32>,
    pub global: Option<u32>,
    pub accumulation: Option<u32>,
    pub bf16: bool,
    pub fp16: bool,
    /// What it could not be found in.
    pub missing: Option<String>,
}

/// The configuration of `--deepspeed_config`, written by the script or beside it.
pub(super) fn config(values: &FlagValues, shell: &Shell<'_>) -> Result<Config, LaunchError> {
    let mut config = Config { used: values.on("--deepspeed"), ..Config::default() };
    for flag in ["--deepspeed_config", "--deepspeed-config"] {
        let Some(name) = values.text(flag) else { continue };
        config.used = true;
        let Some(text) = shell.named_file(name) else {
            config.missing = Some(name.to_owned());
            continue;
        };
        config.add(values, flag, name, &text)?;
    }
    Ok(config)
}

impl Config {
    /// Adds what the text of a configuration says; `auto` says nothing.
    pub(crate) fn add(
        &mut self,
        values: &FlagValues,
        flag: &str,
        name: &str,
        text: &str,
    ) -> Result<(), LaunchError> {
        let value: Value = serde_json::from_str(text)
            .map_err(|error| values.bad(flag, format!("{name} is no JSON ({error})")))?;
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let zero = &value["zero_optimization"];
        self.zero = number(&zero["stage"]);
        self.offload_optimizer =
            zero["offload_optimizer"]["device"].as_str().is_some_and(|device| device != "none")
                || zero["cpu_offload"].as_bool() == Some(true);
        self.micro = number(&value["train_micro_batch_size_per_gpu"]);
        self.global = number(&value["train_batch_size"]);
        self.accumulation = number(&value["gradient_accumulation_steps"]);
        self.bf16 = value["bf16"]["enabled"].as_bool() == Some(true);
        self.fp16 = value["fp16"]["enabled"].as_bool() == Some(true);
        Ok(())
    }
}

/// Flags whose weight depends on their value.
pub(super) fn add_stages(values: &FlagValues, unread: &mut Vec<Unread>) {
    let pipeline = values.text("--expert-tensor-parallelism");
    if pipeline.is_some() {
        unread.push(Unread {
            weight: Weight::Time,
            flag: "--expert-tensor-parallelism".to_owned(),
            effect: "cuts experts over tensor-parallel ranks".to_owned(),
            place: values.place("--expert-tensor-parallelism"),
        });
    }
}
