//! A serving plan as a file: everything a launch needs, self-contained, so that no catalog is read to use it.
//!
//! Sizes are in ranks (devices as software sees them), chips in packages. Quantities carry their unit.

mod check;

use estimate::{Formats, Mode, OperatingPoint, Sizes};
use hardware::Grade;
use serde::{Deserialize, Serialize};
use std::fmt;
use units::{Dollars, Dtype, GramsCo2, Joules, Seconds, TokensPerSecond, Watts};

/// The schema that this version writes and reads.
pub const SCHEMA: &str = "supernode.plan.serve/1";

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The number.
    pub value: f64,
    /// `s`, `tokens/s`, `W`, `J`, `USD`, `g`, `requests/s` or `tokens/s/chip`.
    pub unit: String,
    /// Lower end of the 80 % error band, where one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    /// Upper end of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
    /// The weakest grade among the facts behind it, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
}

impl Value {
    /// Without an error band.
    pub fn new(value: f64, unit: &str) -> Self {
        Self { value, unit: unit.to_owned(), low: None, high: None, grade: None }
    }

    /// With the 80 % band of a logarithmic spread `sigma` around it.
    #[must_use]
    pub fn banded(self, sigma: f64) -> Self {
        let spread = (estimate::BAND_80 * sigma).exp();
        Self { low: Some(self.value / spread), high: Some(self.value * spread), ..self }
    }

    /// Half-width of the logarithm of its 80 % band; 0 where none is known.
    pub fn spread(&self) -> f64 {
        self.high.map_or(0.0, |high| (high / self.value).ln())
    }

    /// Resting on facts of which the weakest has this grade.
    #[must_use]
    pub fn graded(self, grade: Grade) -> Self {
        Self { grade: Some(grade), ..self }
    }
}

macro_rules! into_value {
    ($($quantity:ident => $unit:literal),+) => {
        $(impl From<$quantity> for Value {
            fn from(quantity: $quantity) -> Self {
                Self::new(quantity.get(), $unit)
            }
        })+
    };
}

into_value!(
    Seconds => "s", TokensPerSecond => "tokens/s", Watts => "W", Joules => "J", Dollars => "USD", GramsCo2 => "g"
);

/// The whole answer of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanFile {
    /// [`SCHEMA`].
    pub schema: String,
    /// Hugging Face id of the model, or the path of its `config.json` as it was given.
    pub model: String,
    /// What was maximised or minimised.
    pub objective: String,
    /// What is to be served.
    pub job: JobFile,
    /// The winner.
    pub best: DeploymentFile,
    /// The best deployment in which every instance prefills and decodes, if one meets the limits.
    pub aggregated: Option<DeploymentFile>,
    /// The best deployment with prefill and decode instances apart, if one meets the limits.
    pub disaggregated: Option<DeploymentFile>,
    /// Why the winner wins and what bounds it, a sentence each.
    pub reasons: Vec<String>,
    /// Deployments that no other beats in both throughput per chip and speed for the user, fastest for the user first.
    pub front: Vec<DeploymentFile>,
    /// The best by the objective, best first.
    pub top: Vec<DeploymentFile>,
    /// What was searched.
    pub search: SearchFile,
}

/// What is to be served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobFile {
    /// Mean prompt tokens.
    pub isl: u32,
    /// Mean output tokens.
    pub osl: u32,
    /// Longest prompt with its answer that must fit, tokens.
    pub max_length: u32,
    /// Share of prompt tokens served from a cache, 0..1.
    pub prefix_hit: f64,
    /// Most mean time to the first token.
    pub ttft: Value,
    /// Most mean time per output token.
    pub tpot: Value,
    /// Most power, without cooling, if it is limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_budget: Option<Value>,
}

/// Whether prefill and decode run on instances of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeploymentMode {
    /// Every instance prefills and decodes.
    Aggregated,
    /// Prefill and decode are apart.
    Disaggregated,
}

impl DeploymentMode {
    /// As files and reports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregated => "aggregated",
            Self::Disaggregated => "disaggregated",
        }
    }
}

impl fmt::Display for DeploymentMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What the instances of a pool do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolRole {
    /// Prefill and decode.
    Aggregated,
    /// Prefill only.
    Prefill,
    /// Decode only.
    Decode,
}

impl PoolRole {
    /// As files and reports write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregated => "aggregated",
            Self::Prefill => "prefill",
            Self::Decode => "decode",
        }
    }
}

impl fmt::Display for PoolRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One deployment with what it is predicted to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeploymentFile {
    /// Whether prefill and decode are apart.
    pub mode: DeploymentMode,
    /// One pool that does everything, or a prefill pool and a decode pool, in this order.
    pub pools: Vec<PoolFile>,
    /// What it does in the steady state.
    pub predicted: PredictedFile,
    /// What the request-level simulator measured on it, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<SimulatedFile>,
}

/// Instances of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PoolFile {
    /// What its instances do.
    pub role: PoolRole,
    /// Catalog key of the system.
    pub system: String,
    /// Catalog key of the chip.
    pub chip: String,
    /// The chip's vendor.
    pub vendor: String,
    /// Ranks (devices as software sees them) of one chip.
    pub ranks_per_chip: u32,
    /// Chips of one host.
    pub chips_per_node: u32,
    /// Catalog key of the engine.
    pub engine: String,
    /// How many instances there are.
    pub instances: u32,
    /// Chips of the whole pool.
    pub chips: f64,
    /// Tensor-parallel ranks of attention and dense layers.
    pub tp: u32,
    /// Pipeline stages.
    pub pp: u32,
    /// Attention data-parallel ranks.
    pub dp: u32,
    /// Expert-parallel ranks; 1 where the model has no experts or they are cut like everything else.
    pub ep: u32,
    /// Tensor-parallel ranks of one expert.
    pub moe_tp: u32,
    /// Expert replicas beyond one of each, over the expert-parallel group.
    pub redundant_experts: u32,
    /// Weights.
    pub weight_dtype: Dtype,
    /// Activations.
    pub act_dtype: Dtype,
    /// Cache.
    pub kv_dtype: Dtype,
    /// Routed experts; equals the weights where the model has none.
    pub moe_dtype: Dtype,
    /// Whether the formats differ from the checkpoint's, so that another checkpoint or a quantising engine is needed.
    pub requantised: bool,
    /// Most sequences running at once on one attention rank.
    pub max_sequences_per_rank: u32,
    /// Most tokens in one step of one attention rank.
    pub token_budget: u32,
    /// Whether a prompt may be cut to fill the budget.
    pub chunked_prefill: bool,
    /// Longest context that must fit.
    pub max_model_length: u32,
    /// Draft tokens per step; 0 without speculation.
    pub spec_tokens: u32,
    /// Share of device memory the engine takes.
    pub memory_utilisation: f64,
    /// Tokens of a cache block.
    pub block: u32,
    /// Whether two micro-batches overlap communication with computation.
    pub micro_batches: bool,
    /// Library that carries the expert exchange: `deepep`, `trtllm`, `cann` or `all-gather`.
    pub expert_backend: String,
}

/// What a deployment does in the steady state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PredictedFile {
    /// Chips of all pools.
    pub chips: f64,
    /// Output tokens of the whole deployment.
    pub throughput: Value,
    /// Output tokens per chip.
    pub throughput_per_chip: Value,
    /// Output tokens that one user sees per second after the first.
    pub tokens_per_user: Value,
    /// Requests per second.
    pub request_rate: Value,
    /// Requests in flight.
    pub concurrency: f64,
    /// Mean time to the first token.
    pub ttft: Value,
    /// Mean time per output token after it.
    pub tpot: Value,
    /// Of chips and what surrounds them, the facility's share apart; unknown where a chip's rating is.
    pub power: Option<Value>,
    /// Per output token, at the facility's plug.
    pub energy_per_token: Option<Value>,
    /// Per million output tokens.
    pub cost_per_million_tokens: Option<Value>,
    /// What money is counted on.
    #[serde(default)]
    pub cost_basis: hardware::Basis,
    /// Per million output tokens.
    pub co2e_per_million_tokens: Option<Value>,
    /// What takes most of the time: `compute`, `hbm`, `network` or `launch`; of the pool that limits.
    pub bound: String,
    /// What stops it from serving more: `ttft`, `tpot`, `cache memory`, `max sequences`, `prefill` or `decode`.
    pub limit: String,
}

/// What the request-level simulator measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SimulatedFile {
    /// Output tokens of the whole deployment.
    pub throughput: Value,
    /// Mean time to the first token.
    pub ttft: Value,
    /// Mean time per output token.
    pub tpot: Value,
    /// Requests that were measured.
    pub requests: u64,
    /// Simulated over predicted throughput, minus 1.
    pub deviation: f64,
}

/// What was searched and what was left out without loss.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SearchFile {
    /// Deployments in the space.
    pub covered: u64,
    /// Operating points whose price was worked out.
    pub priced: u64,
    /// Deployments left out, by the bound that shows that they cannot win.
    pub pruned: std::collections::BTreeMap<String, u64>,
    /// Whether the search was stopped before its end, so that the answer is the best found so far.
    pub interrupted: bool,
}

/// Why a text is not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanFileError {
    /// It is not JSON of this shape.
    #[error("not a serving plan: {0}; give what plan serve writes as JSON, which has the schema `{SCHEMA}`")]
    Malformed(#[from] serde_json::Error),
    /// It has another schema.
    #[error("the schema is `{0}`, this version reads `{SCHEMA}`; make the plan anew with plan serve")]
    Schema(String),
    /// A value that no plan has.
    #[error("not a serving plan that can be used: `{key}` {problem}")]
    Key {
        /// Where it is, for example `best.pools[0].tp`.
        key: String,
        /// What is wrong with it and what is allowed.
        problem: String,
    },
}

impl DeploymentFile {
    /// The deployment as an operating point with the lengths of `plan`'s requests, with as many of them in flight as the
    /// plan predicts, so that anything that takes operating points can be asked about it.
    pub fn operating_point(&self, plan: &PlanFile) -> OperatingPoint {
        let sizes = |pool: &PoolFile| Sizes {
            instances: Some(pool.instances),
            tp: Some(pool.tp),
            pp: Some(pool.pp),
            dp: Some(pool.dp),
            ep: Some(pool.ep),
            moe_tp: Some(pool.moe_tp),
            redundant_experts: Some(pool.redundant_experts),
        };
        let mut point = OperatingPoint {
            model: plan.model.clone(),
            isl: Some(plan.job.isl),
            osl: Some(plan.job.osl),
            concurrency: Some((self.predicted.concurrency.round() as u32).max(1)),
            prefix_hit: plan.job.prefix_hit,
            ..OperatingPoint::default()
        };
        if let Some(pool) = self.pools.last() {
            point.system.clone_from(&pool.system);
            point.chip = Some(pool.chip.clone());
            point.engine = Some(pool.engine.clone());
            point.formats = Formats {
                weight: Some(pool.weight_dtype),
                act: Some(pool.act_dtype),
                kv: Some(pool.kv_dtype),
                moe: Some(pool.moe_dtype),
            };
            point.spec_tokens = pool.spec_tokens;
            point.micro_batches = Some(pool.micro_batches);
        }
        match self.pools.as_slice() {
            [prefill, decode] => {
                point.mode = Mode::Disagg;
                (point.prefill, point.decode) = (sizes(prefill), sizes(decode));
            }
            [pool] => {
                point.chips = Some(pool.chips);
                point.sizes = Sizes { instances: None, ..sizes(pool) };
                point.token_budget = Some(pool.token_budget);
            }
            _ => {}
        }
        point
    }
}

impl PlanFile {
    /// Notes what the simulator measured on the best deployment of either mode.
    pub fn simulated(&mut self, aggregated: Option<SimulatedFile>, disaggregated: Option<SimulatedFile>) {
        let runs = [(&mut self.aggregated, aggregated), (&mut self.disaggregated, disaggregated)];
        for (deployment, run) in runs {
            let Some(deployment) = deployment else { continue };
            deployment.simulated = run;
            if deployment.mode == self.best.mode {
                self.best.simulated.clone_from(&deployment.simulated);
            }
        }
    }

    /// Reads what `plan serve --json` printed.
    ///
    /// # Errors
    /// The text is no JSON, has another schema, lacks something a launch needs, or holds a value that no plan has.
    pub fn parse(text: &str) -> Result<Self, PlanFileError> {
        #[derive(Deserialize)]
        struct Tag {
            schema: String,
        }
        let tag: Tag = serde_json::from_str(text)?;
        if tag.schema != SCHEMA {
            return Err(PlanFileError::Schema(tag.schema));
        }
        let plan: Self = serde_json::from_str(text)?;
        plan.check()?;
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_schema_is_named() {
        let error = PlanFile::parse(r#"{"schema": "supernode.plan.serve/9"}"#).unwrap_err().to_string();
        assert!(error.contains("supernode.plan.serve/9") && error.contains(SCHEMA), "{error}");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = PlanFile::parse(&format!(r#"{{"schema": "{SCHEMA}"}}"#)).unwrap_err().to_string();
        assert!(error.contains("model"), "{error}");
    }
}
