//! One operating point in the words of the measurement tables: names, sizes and formats, each optional where a
//! default or a derivation exists.

use hardware::Execution;
use units::Dtype;

/// What kind of instances serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One kind of instance does everything.
    #[default]
    Agg,
    /// Prefill and decode instances.
    Disagg,
    /// A prefill-only point.
    Prefill,
    /// A decode-only point.
    Decode,
}

impl Mode {
    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agg => "agg",
            Self::Disagg => "disagg",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

/// A text that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a mode; use agg, disagg, prefill or decode")]
pub struct UnknownMode(
    /// What was given.
    pub String,
);

impl std::str::FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "agg" => Ok(Self::Agg),
            "disagg" => Ok(Self::Disagg),
            "prefill" => Ok(Self::Prefill),
            "decode" => Ok(Self::Decode),
            other => Err(UnknownMode(other.to_owned())),
        }
    }
}

/// Parallel sizes of one kind of instance, in ranks; what is missing is derived.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Sizes {
    /// Instances of this kind.
    pub instances: Option<u32>,
    /// Tensor-parallel ranks.
    pub tp: Option<u32>,
    /// Pipeline stages.
    pub pp: Option<u32>,
    /// Attention data-parallel ranks.
    pub dp: Option<u32>,
    /// Expert-parallel ranks.
    pub ep: Option<u32>,
    /// Tensor-parallel ranks of one expert.
    pub moe_tp: Option<u32>,
    /// Expert replicas beyond one of each.
    pub redundant_experts: Option<u32>,
}

/// Formats that replace the checkpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Formats {
    /// Weights.
    pub weight: Option<Dtype>,
    /// Activations.
    pub act: Option<Dtype>,
    /// Cache.
    pub kv: Option<Dtype>,
    /// Routed experts.
    pub moe: Option<Dtype>,
}

/// One operating point of one deployment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OperatingPoint {
    /// Catalog key of the system.
    pub system: String,
    /// Catalog key of the chip that replaces the system's own.
    pub chip: Option<String>,
    /// Packages used by the whole deployment; half of one is one of its two ranks.
    pub chips: Option<f64>,
    /// Built-in model name or path of a `config.json`.
    pub model: String,
    /// Catalog key of the engine.
    pub engine: Option<String>,
    /// Its version, which may have overheads of its own; the newest if absent.
    pub engine_version: Option<String>,
    /// Formats that replace the checkpoint's.
    pub formats: Formats,
    /// What kind of instances serve.
    pub mode: Mode,
    /// Nominal prompt length, tokens.
    pub isl: Option<u32>,
    /// Nominal output length, tokens.
    pub osl: Option<u32>,
    /// Lengths are uniform from this share of nominal to nominal.
    pub length_spread: Option<f64>,
    /// Requests in flight in the whole deployment.
    pub concurrency: Option<u32>,
    /// Sizes of an aggregated (or the only) instance.
    pub sizes: Sizes,
    /// Sizes of a prefill instance.
    pub prefill: Sizes,
    /// Sizes of a decode instance.
    pub decode: Sizes,
    /// Sequences (decode) or tokens (prefill) per rank and step.
    pub batch_per_rank: Option<u32>,
    /// Context length of a decode point, tokens.
    pub kv_len: Option<u32>,
    /// Draft tokens per step.
    pub spec_tokens: u32,
    /// Mean share of them accepted, 0..1.
    pub spec_accept: Option<f64>,
    /// Share of prompt tokens served from a cache, 0..1.
    pub prefix_hit: f64,
    /// Replaces the engine's most tokens in one step.
    pub token_budget: Option<u32>,
    /// Replaces the engine's most sequences running at once, per attention rank.
    pub max_sequences: Option<u32>,
    /// Replaces the share of device memory that the engine takes.
    pub memory_fraction: Option<f64>,
    /// Replaces the number of tokens that reach a client together.
    pub stream_interval: Option<f64>,
    /// How decoding steps are launched; the engine's habit if absent.
    pub execution: Option<Execution>,
    /// Replaces the engine's expert skew.
    pub expert_skew: Option<f64>,
    /// Whether two micro-batches overlap; the engine's habit if absent.
    pub micro_batches: Option<bool>,
}

impl OperatingPoint {
    /// Mean over nominal length of lengths drawn by `length_spread`.
    pub fn length_factor(&self) -> f64 {
        f64::midpoint(1.0, self.length_spread.unwrap_or(1.0))
    }
}
