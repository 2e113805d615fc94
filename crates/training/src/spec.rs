//! A training job as it is typed: flags, a TOML file or an imported script, not yet checked.

use crate::capabilities::{Axis, ScheduleName};
use crate::error::JobError;
use crate::framework::Profile;
use crate::job::{Batch, ContextMethod, Job, Layout, Offload, Recompute, Zero};
use crate::schedule::Schedule;
use crate::shape::Shape;
use model::{Ffn, Model};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use units::{BytesPerSecond, Dtype};

/// What may be said of a job; what is left out gets the default beside it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct JobSpec {
    /// Model: a file, a directory or a built-in name.
    pub model: Option<String>,
    /// Sizes instead of a model, as [`Shape::parse`] reads them.
    pub shape: Option<String>,
    /// Catalog key of the system.
    pub system: Option<String>,
    /// Catalog key of the chip in it; its own.
    pub chip: Option<String>,
    /// Scale-out bandwidth of one chip; the system's.
    pub nic: Option<BytesPerSecond>,
    /// Chips; by default those of the system.
    pub chips: Option<u32>,
    /// Catalog key of the framework; `megatron`.
    pub framework: Option<String>,
    /// Release of the framework; the newest.
    pub release: Option<String>,
    /// Tensor parallel size; 1.
    pub tp: Option<u32>,
    /// Pipeline parallel size; 1.
    pub pp: Option<u32>,
    /// Virtual pipeline size; 1.
    pub vpp: Option<u32>,
    /// Data parallel size; what the other sizes leave.
    pub dp: Option<u32>,
    /// Context parallel size; 1.
    pub cp: Option<u32>,
    /// Expert parallel size; 1.
    pub ep: Option<u32>,
    /// Expert tensor parallel size; 1 with expert parallelism, else the tensor parallel size.
    pub etp: Option<u32>,
    /// Sequences per micro-batch; 1.
    pub micro_batch: Option<u32>,
    /// Sequences per step.
    pub global_batch: Option<u32>,
    /// Tokens per sequence; 4096.
    pub seq: Option<u32>,
    /// Pipeline schedule; `1f1b`.
    pub schedule: Option<String>,
    /// Recomputation; `none`.
    pub recompute: Option<String>,
    /// ZeRO stage; 1.
    pub zero: Option<u32>,
    /// Format of matrix products; `bf16`.
    pub precision: Option<String>,
    /// Sequence parallelism; on with tensor parallelism.
    pub sequence_parallel: Option<bool>,
    /// `ring` or `ulysses`; `ring`.
    pub context: Option<String>,
    /// Optimizer state on the host; no.
    pub offload_optimizer: Option<bool>,
    /// Activations on the host; no.
    pub offload_activations: Option<bool>,
    /// Whether multi-token-prediction modules are trained; if the model has some.
    pub mtp: Option<bool>,
    /// Layers of the first virtual stage.
    pub first_stage_layers: Option<u32>,
    /// Layers of the last virtual stage.
    pub last_stage_layers: Option<u32>,
    /// Tokens to train on, such as `15.6T`.
    pub tokens: Option<String>,
}

macro_rules! prefer {
    ($own:ident, $other:ident, $($field:ident),+ $(,)?) => {
        JobSpec { $($field: $own.$field.or($other.$field)),+ }
    };
}

impl JobSpec {
    /// Reads a TOML job file.
    ///
    /// # Errors
    /// It is no TOML, or has a key that means nothing.
    pub fn parse(text: &str) -> Result<Self, JobError> {
        toml::from_str(text)
            .map_err(|error| JobError::Value { key: "job file".to_owned(), why: error.to_string() })
    }

    /// Reads what `train --json` or `plan train --json` printed: of a plan for several numbers of chips that for the most,
    /// and of its layouts the one at `place`, counted from 1.
    ///
    /// # Errors
    /// It is no such document, or has no such layout.
    pub fn from_printed(text: &str, place: usize) -> Result<Self, JobError> {
        let bad = |why: String| JobError::Value { key: "printed job".to_owned(), why };
        let mut value: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let layout = match value["schema"].as_str() {
            Some("supernode.train/1") => value["layout"].take(),
            Some("supernode.plan-train/1") => {
                let plans = value["plans"].as_array_mut().into_iter().flatten();
                let most = plans.max_by_key(|plan| plan["chips"].as_u64());
                most.map_or(Value::Null, |plan| plan["best"][place.saturating_sub(1)]["layout"].take())
            }
            _ => {
                let why = "give what `supernode train --json` or `supernode plan train --json` printed";
                return Err(bad(why.to_owned()));
            }
        };
        let Value::Object(layout) = layout else { return Err(bad(format!("it has no layout {place}"))) };
        let job = value["job"].as_object().cloned().unwrap_or_default();
        let known = |key: &str| !matches!(key, "micro-batches");
        let keys = job.into_iter().chain(layout).map(|(key, value)| (key.replace('_', "-"), whole(value)));
        let keys = keys.filter(|(key, value)| !value.is_null() && known(key));
        serde_json::from_value(Value::Object(keys.collect())).map_err(|error| bad(error.to_string()))
    }

    /// This, with what it leaves out taken from `other`.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        prefer!(
            self,
            other,
            model,
            shape,
            system,
            chip,
            nic,
            chips,
            framework,
            release,
            tp,
            pp,
            vpp,
            dp,
            cp,
            ep,
            etp,
            micro_batch,
            global_batch,
            seq,
            schedule,
            recompute,
            zero,
            precision,
            sequence_parallel,
            context,
            offload_optimizer,
            offload_activations,
            mtp,
            first_stage_layers,
            last_stage_layers,
            tokens,
        )
    }

    /// The model by its sizes, if it is given so.
    ///
    /// # Errors
    /// The sizes cannot be read.
    pub fn shape_model(&self) -> Result<Option<Model>, JobError> {
        self.shape
            .as_deref()
            .map(|text| Shape::parse(text).map(|shape| shape.model()).map_err(JobError::of_shape))
            .transpose()
    }

    /// The job on `ranks` ranks.
    ///
    /// # Errors
    /// A name is unknown, sizes do not go together, or the global batch is missing.
    pub fn job(&self, model: Model, ranks: u32) -> Result<Job, JobError> {
        let (tp, cp, pp) = (self.tp.unwrap_or(1), self.cp.unwrap_or(1), self.pp.unwrap_or(1));
        for (flag, value) in [("--tp", tp), ("--cp", cp), ("--pp", pp)] {
            if value == 0 {
                return Err(JobError::Zero { flag });
            }
        }
        let whole = tp.saturating_mul(cp).saturating_mul(pp);
        let dp = match self.dp {
            Some(dp) if whole.checked_mul(dp) == Some(ranks) => dp,
            None if ranks >= whole && ranks % whole == 0 => ranks / whole,
            Some(dp) if whole <= ranks && ranks % whole == 0 => {
                let why = format!(
                    "{dp} x tp {tp} x cp {cp} x pp {pp} are not the {ranks} ranks of --chips; {} would be",
                    ranks / whole
                );
                return Err(JobError::Value { key: "--dp".to_owned(), why });
            }
            _ => return Err(JobError::Chips { tp, cp, pp, model: whole, ranks }),
        };
        let ep = self.ep.unwrap_or(1);
        let etp = self.etp.unwrap_or(if ep > 1 { 1 } else { tp });
        let global = self.global_batch.ok_or_else(|| JobError::Value {
            key: "--global-batch".to_owned(),
            why: "say how many sequences a step has".to_owned(),
        })?;
        let precision = self.precision.as_deref().unwrap_or("bf16");
        let job = Job {
            layout: Layout { tp, cp, pp, dp, ep, etp },
            batch: Batch { global, micro: self.micro_batch.unwrap_or(1), seq: self.seq.unwrap_or(4096) },
            schedule: Schedule::parse(self.schedule.as_deref().unwrap_or("1f1b"), self.vpp.unwrap_or(1))?,
            precision: precision
                .parse::<Dtype>()
                .map_err(|error| JobError::Value { key: "--precision".to_owned(), why: error.to_string() })?,
            zero: Zero::from_stage(self.zero.unwrap_or(1))?,
            recompute: Recompute::parse(self.recompute.as_deref().unwrap_or("none"))?,
            sequence_parallel: tp > 1 && self.sequence_parallel.unwrap_or(true),
            context: context_method(self.context.as_deref())?,
            offload: Offload {
                optimizer: self.offload_optimizer.unwrap_or(false),
                activations: self.offload_activations.unwrap_or(false),
            },
            mtp: self.mtp.unwrap_or(true),
            edge_layers: (self.first_stage_layers, self.last_stage_layers),
            model,
        };
        job.check()?;
        Ok(job)
    }
}

impl JobSpec {
    /// The job on `ranks` ranks under a framework release: what is left out is as the release does it, and what it cannot
    /// do is refused.
    ///
    /// # Errors
    /// As of [`Self::job`], or the release cannot do what is asked for.
    pub fn job_under(&self, model: Model, ranks: u32, profile: &Profile) -> Result<Job, JobError> {
        let can = &profile.can;
        let first = can.zero.value.iter().copied();
        let zero = if can.zero.value.contains(&1) { Some(1) } else { first.take(1).next() };
        let pipelined = self.pp.is_some_and(|pp| pp > 1);
        let plain = can.schedules.value.contains(&ScheduleName::OneFOneB) || self.vpp.is_some();
        let schedule = can.schedules.value.first().filter(|_| pipelined && !plain).map(ToString::to_string);
        let spec = Self {
            zero: self.zero.or(zero),
            schedule: self.schedule.clone().or(schedule),
            sequence_parallel: self
                .sequence_parallel
                .or_else(|| (!can.cuts(Axis::Sequence)).then_some(false)),
            ..self.clone()
        };
        let job = spec.job(model, ranks)?;
        profile.check(&job)?;
        Ok(job)
    }

    /// Whether every key of `given` has an effect on the job that `self` says in full.
    ///
    /// # Errors
    /// The first that has none, and what would give it one.
    pub fn check_effects(&self, given: &Self, model: &Model) -> Result<(), JobError> {
        let (tp, pp, cp) = (self.tp.unwrap_or(1), self.pp.unwrap_or(1), self.cp.unwrap_or(1));
        let no_effect =
            |flag, given: String, because, instead| Err(JobError::NoEffect { flag, given, because, instead });
        if let Some(name) = &given.schedule {
            if let Err(unknown @ JobError::UnknownName { .. }) = Schedule::parse(name, self.vpp.unwrap_or(1))
            {
                return Err(unknown);
            }
        }
        context_method(given.context.as_deref())?;
        if let Some(name) = given.schedule.as_ref().filter(|name| pp == 1 && *name != "1f1b") {
            return no_effect("--schedule", name.clone(), "on one pipeline stage", "raise --pp");
        }
        if let Some(chunks) = given.vpp.filter(|chunks| pp == 1 && *chunks > 1) {
            return no_effect("--vpp", chunks.to_string(), "on one pipeline stage", "raise --pp");
        }
        if let Some(name) = given.context.as_ref().filter(|name| cp == 1 && *name != "ring") {
            return no_effect("--context", name.clone(), "on whole sequences", "raise --cp");
        }
        if given.sequence_parallel == Some(true) && tp == 1 {
            return no_effect(
                "--sequence-parallel",
                "true".into(),
                "without tensor parallelism",
                "raise --tp",
            );
        }
        let experts = model.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_)));
        if let Some(etp) = given.etp.filter(|etp| !experts && *etp != tp) {
            return no_effect("--etp", etp.to_string(), "on a model without experts", "choose another model");
        }
        if given.mtp == Some(true) && model.mtp.is_none() {
            return no_effect(
                "--mtp",
                "true".into(),
                "on a model without prediction modules",
                "choose another model",
            );
        }
        Ok(())
    }
}

/// A number without a fraction as a whole number: packages are counted in halves where a rank is half of one.
fn whole(value: Value) -> Value {
    match value.as_f64() {
        Some(number) if number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number) => {
            Value::from(number as u64)
        }
        _ => value,
    }
}

/// Reads a method of context parallelism; `ring` if none is given.
pub(crate) fn context_method(name: Option<&str>) -> Result<ContextMethod, JobError> {
    match name.unwrap_or("ring") {
        "ring" => Ok(ContextMethod::Ring),
        "ulysses" => Ok(ContextMethod::Ulysses),
        other => Err(JobError::UnknownName {
            flag: "--context",
            given: other.to_owned(),
            allowed: "ring, ulysses",
        }),
    }
}

/// Reads a count of tokens: a number with `K`, `M`, `B` (or `G`) or `T`.
///
/// # Errors
/// It is no positive number with one of these.
pub fn parse_tokens(text: &str) -> Result<f64, JobError> {
    let trimmed = text.trim();
    let (number, factor) = match trimmed.char_indices().last() {
        Some((at, 'K' | 'k')) => (&trimmed[..at], 1e3),
        Some((at, 'M')) => (&trimmed[..at], 1e6),
        Some((at, 'B' | 'G')) => (&trimmed[..at], 1e9),
        Some((at, 'T')) => (&trimmed[..at], 1e12),
        _ => (trimmed, 1.0),
    };
    let tokens = number.parse::<f64>().ok().map(|number| number * factor);
    tokens.filter(|tokens| tokens.is_finite() && *tokens > 0.0).ok_or_else(|| JobError::Value {
        key: "--tokens".to_owned(),
        why: format!("`{text}` is not a number of tokens; write for example 15.6T"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ranks: u32, expected: &str) {
        let found = JobSpec::parse(text).and_then(|spec| {
            let model = spec.shape_model()?.unwrap_or_else(|| Shape::gpt(32, 4096, 32, 51_200).model());
            spec.job(model, ranks)
        });
        let text = match found {
            Ok(job) => format!("{:?} {:?} {:?}", job.layout, job.batch, job.schedule),
            Err(error) => error.to_string(),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn defaults_fill_in() {
        check(
            "global-batch = 64\ntp = 4\npp = 2\nvpp = 2",
            64,
            "Layout { tp: 4, cp: 1, pp: 2, dp: 8, ep: 1, etp: 4 } Batch { global: 64, micro: 1, seq: 4096 } Interleaved { chunks: 2 }",
        );
    }

    #[test]
    fn contradictions_name_their_flags() {
        check("tp = 4", 64, "--global-batch: say how many sequences a step has");
        check(
            "global-batch = 64\ntp = 3",
            64,
            "tp 3 x cp 1 x pp 1 = 3 ranks do not divide 64 ranks; change --tp, --cp, --pp or --chips",
        );
        check("global-batch = 64\ntp = 0", 64, "--tp must be at least 1");
        check(
            "global-batch = 65\ntp = 8",
            64,
            "--global-batch 65 is not a multiple of dp x micro-batch 8; change --global-batch, --micro-batch or --dp",
        );
        check("global-batch = 64\nep = 8", 64, "--ep 8 needs a model with experts; leave --ep out");
        check(
            "global-batch = 64\nrecompute = \"all\"",
            64,
            "`all` is not a value of --recompute; use one of none, selective, full, or a number of layers per stage",
        );
        check(
            "global-batch = 640\npp = 64",
            64,
            "64 pipeline stages need at least as many layers, the model has 32; lower --pp or --vpp",
        );
        check(
            "global-batch = 9\nschedule = \"dualpipe\"\npp = 2\ntp = 32",
            64,
            "dualpipe needs an even --pp (it is 2) and an even number of micro-batches of at least 2 x pp (there are 9); raise --global-batch or choose --schedule 1f1b",
        );
    }

    #[test]
    fn token_counts() {
        assert_eq!(parse_tokens("15.6T").ok(), Some(15.6e12));
        assert_eq!(parse_tokens("300B").ok(), Some(300e9));
        assert!(parse_tokens("-3").is_err() && parse_tokens("lots").is_err());
    }
}
