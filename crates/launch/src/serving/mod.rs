//! Serving launches: `vllm serve`, `sglang.launch_server`, `trtllm-serve`, in a command line, a script, a compose file or
//! a Kubernetes manifest.

mod command;
mod manifest;
mod sglang;
mod trtllm;
mod vllm;

use crate::error::LaunchError;
use crate::flags::{FlagValues, GivenFlag, Unread};
use crate::inputs::Inputs;

/// What an instance does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything.
    Aggregated,
    /// Prompts.
    Prefill,
    /// Outputs.
    Decode,
}

/// One kind of instance that a launch starts. Sizes are ranks; what the launch leaves to the engine is `None`.
#[derive(Debug, Clone)]
pub struct ServingLaunch {
    /// Catalog key of the engine.
    pub engine: &'static str,
    /// Model id or path.
    pub model: String,
    /// What it does.
    pub role: Role,
    /// Instances.
    pub instances: u32,
    /// Tensor-parallel ranks of attention.
    pub tp: u32,
    /// Pipeline stages.
    pub pp: u32,
    /// Data-parallel ranks of attention.
    pub dp: u32,
    /// Expert-parallel ranks; 1 where experts are cut as the rest.
    pub ep: u32,
    /// Expert replicas beyond one of each.
    pub redundant_experts: u32,
    /// Longest context, tokens.
    pub max_length: Option<u32>,
    /// Most sequences of one attention rank.
    pub max_seqs: Option<u32>,
    /// Most tokens of a step of one attention rank.
    pub token_budget: Option<u32>,
    /// Whether prompts are cut to the budget.
    pub chunked_prefill: Option<bool>,
    /// Whether prefixes are kept on the device.
    pub prefix_cache: Option<bool>,
    /// Share of device memory that the engine takes, 0 to 1.
    pub memory: Option<f64>,
    /// Tokens of a cache block.
    pub block: Option<u32>,
    /// Format of the cache, as the catalog names formats.
    pub kv_dtype: Option<&'static str>,
    /// Format of the weights, if the launch says it.
    pub weight_dtype: Option<&'static str>,
    /// Whether every kernel is launched by the host, without graphs.
    pub eager: Option<bool>,
    /// Draft tokens per step.
    pub spec_tokens: u32,
    /// Whether two micro-batches overlap.
    pub micro_batches: Option<bool>,
    /// Flags and keys given, with where they stand.
    pub sources: Vec<GivenFlag>,
    /// Those that are not modelled, the weightiest first.
    pub unread: Vec<Unread>,
    /// What was assumed on the way.
    pub notes: Vec<String>,
}

impl ServingLaunch {
    fn new(engine: &'static str, model: String) -> Self {
        Self {
            engine,
            model,
            role: Role::Aggregated,
            instances: 1,
            tp: 1,
            pp: 1,
            dp: 1,
            ep: 1,
            redundant_experts: 0,
            max_length: None,
            max_seqs: None,
            token_budget: None,
            chunked_prefill: None,
            prefix_cache: None,
            memory: None,
            block: None,
            kv_dtype: None,
            weight_dtype: None,
            eager: None,
            spec_tokens: 0,
            micro_batches: None,
            sources: Vec::new(),
            unread: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Ranks of one instance.
    pub fn ranks(&self) -> u64 {
        u64::from(self.tp) * u64::from(self.pp) * u64::from(self.dp)
    }

    /// What an answer lacks: flags that change it and are not modelled.
    pub fn missing(&self) -> impl Iterator<Item = &Unread> {
        self.unread.iter().filter(|flag| flag.weight.matters())
    }

    /// The deployment in the keys of an operating point, each with the flags that a command may have for it, the
    /// preferred first; only what the launch says.
    pub fn keys(&self) -> Vec<PointKey> {
        let role = match self.role {
            Role::Aggregated => "",
            Role::Prefill => "prefill-",
            Role::Decode => "decode-",
        };
        let mut keys = Vec::new();
        let mut size = |name: &str, value: u32, usual: u32| {
            if value != usual {
                keys.push(PointKey { flags: vec![format!("{role}{name}")], value: value.to_string() });
            }
        };
        size("instances", self.instances, if role.is_empty() { 1 } else { 0 });
        size("tp", self.tp, 0);
        size("pp", self.pp, 1);
        size("dp", self.dp, 1);
        size("ep", self.ep, 1);
        size("redundant-experts", self.redundant_experts, 0);
        let mut say = |flags: &[&str], value: Option<String>| {
            if let Some(value) = value {
                keys.push(PointKey { flags: flags.iter().map(|flag| (*flag).to_owned()).collect(), value });
            }
        };
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        say(&["token-budget"], number(self.token_budget));
        say(&["max-seqs", "max-num-seqs"], number(self.max_seqs));
        say(&["max-length", "max-model-len", "max-model-length"], number(self.max_length));
        say(
            &["memory-utilisation", "memory-utilization", "gpu-memory-utilization"],
            self.memory.map(|share| share.to_string()),
        );
        say(&["kv-dtype"], self.kv_dtype.map(str::to_owned));
        say(&["weight-dtype"], self.weight_dtype.map(str::to_owned));
        say(&["execution"], self.eager.map(|eager| if eager { "eager" } else { "full-graph" }.to_owned()));
        say(&["spec-tokens"], (self.spec_tokens > 0).then(|| self.spec_tokens.to_string()));
        say(&["micro-batches"], self.micro_batches.map(|on| on.to_string()));
        say(&["prefix-cache"], self.prefix_cache.map(|on| on.to_string()));
        say(&["chunked-prefill"], self.chunked_prefill.map(|on| on.to_string()));
        say(&["block-size", "block"], number(self.block));
        keys
    }
}

/// Two readings are the same if they start the same instances; where flags stand and what has no weight do not matter.
impl PartialEq for ServingLaunch {
    fn eq(&self, other: &Self) -> bool {
        let flags =
            |launch: &Self| -> Vec<String> { launch.missing().map(|flag| flag.flag.clone()).collect() };
        self.engine == other.engine
            && self.model == other.model
            && (self.role, self.instances) == (other.role, other.instances)
            && self.keys() == other.keys()
            && flags(self) == flags(other)
    }
}

/// A key of an operating point with the names of flags it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PointKey {
    /// Flags without `--`, the preferred first.
    pub flags: Vec<String>,
    /// The value as it is typed.
    pub value: String,
}

/// Reads a serving launch: one entry per kind of instance, prefill before decode.
///
/// # Errors
/// It starts no server that is known, a value cannot be used, or something is not known that changes the answer.
pub fn read_serving(file: &str, text: &str, inputs: &Inputs<'_>) -> Result<Vec<ServingLaunch>, LaunchError> {
    let mut found = if manifest::is_one(file, text) {
        manifest::read(file, text, inputs)?
    } else {
        vec![command::read(file, text, inputs)?]
    };
    found.sort_by_key(|launch| launch.role);
    Ok(found)
}

/// A size that must be at least one and is no slip of the pen.
fn size(values: &FlagValues, names: &[&str]) -> Result<u32, LaunchError> {
    for name in names {
        if let Some(number) = values.number(name)? {
            return if (1..=65_536).contains(&number) {
                Ok(number)
            } else {
                Err(values.bad(name, format!("{number} is not from 1 to 65536")))
            };
        }
    }
    Ok(1)
}

/// A share from 0 to 1.
fn share(values: &FlagValues, name: &str) -> Result<Option<f64>, LaunchError> {
    let Some(text) = values.known(name)? else { return Ok(None) };
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value <= 1.0 => Ok(Some(value)),
        _ => Err(values.bad(name, format!("`{text}` is not a share from 0 to 1"))),
    }
}

/// The catalog's name of a format of the cache; `None` for the model's own.
fn cache_format(values: &FlagValues, name: &str) -> Result<Option<&'static str>, LaunchError> {
    Ok(match values.known(name)?.map(|text| text.trim().to_ascii_lowercase()) {
        Some(text) => match text.as_str() {
            "auto" => None,
            "bfloat16" | "bf16" => Some("bf16"),
            "float16" | "half" | "fp16" => Some("fp16"),
            "fp8" | "fp8_e4m3" | "fp8_e5m2" | "fp8_inc" | "fp8_ds_mla" => Some("fp8"),
            "int8" => Some("int8"),
            "nvfp4" | "fp4_e2m1" | "fp4" => Some("nvfp4"),
            other => {
                return Err(values.bad(name, format!("`{other}` is not a format of a cache that is known")));
            }
        },
        None => None,
    })
}
