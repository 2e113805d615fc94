//! Engine profiles: what an inference stack does around the kernels.

use crate::evidence::{Fact, Grade, Source};
use std::collections::BTreeMap;
use units::{Bytes, Seconds};

/// An inference engine (vLLM, SGLang, TensorRT-LLM, MindIE ...) with its fitted overheads and its defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct Engine {
    /// Catalog key, for example `vllm`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Other names that resolve to it.
    pub aliases: Vec<String>,
    /// Older releases whose overheads are those of another profile, ascending.
    pub releases: Vec<Release>,
    /// Vendors on whose chips the engine has the overheads of another profile: host software and kernels differ.
    pub platforms: Vec<Platform>,
    /// How a decoding step is launched where nothing else is asked for.
    pub execution: Execution,
    /// How the draft module's steps are launched: by many engines outside of the captured graph.
    pub draft_execution: Execution,
    /// Kernel stacks to look for in a chip's kernel profile, nearest first (`vllm`, `trtllm`, `ascend` ...).
    pub stacks: Vec<String>,
    /// Time on the host processor.
    pub host: HostOverhead,
    /// What the device does beside the priced operators, and how it does them in place.
    pub device: DeviceOverhead,
    /// Libraries that carry the collectives.
    pub comm: CommBackend,
    /// Whether static scales let the engine quantise activations inside the kernel before a product, so that the
    /// separate quantise launches of the kernel tables do not occur.
    pub fused_quantise: bool,
    /// Whether a wide expert-parallel instance runs two micro-batches against each other by default.
    pub micro_batches: bool,
    /// Batching.
    pub scheduler: Scheduler,
    /// Use of device memory.
    pub memory: MemoryPolicy,
    /// Standard deviation of ln(true / predicted) that is left beside the kernels' on rows that the profile was not made from.
    pub spread: Fact<f64>,
    /// What it demands of a model's shards before it starts.
    pub sharding: Sharding,
    /// What the facts' source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

/// Releases of an engine before one of its versions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The first version they do not include, for example `0.14`.
    pub before: String,
    /// Catalog key of the profile that they have.
    pub engine: String,
}

/// The profile of an engine on the chips of one vendor.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Platform {
    /// As chips name it, for example `Huawei`.
    pub vendor: String,
    /// Catalog key of the profile that the engine has there.
    pub engine: String,
}

/// How the operators of a decoding step get to the device. Steps with prompts in them are launched one by one in all.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Execution {
    /// One by one from the host (`--enforce-eager`).
    Eager,
    /// Captured between attentions, which are launched one by one.
    Piecewise,
    /// As one captured graph.
    #[default]
    FullGraph,
}

impl Execution {
    /// Its name in files and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eager => "eager",
            Self::Piecewise => "piecewise",
            Self::FullGraph => "full-graph",
        }
    }
}

/// A text that is no execution mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an execution mode; use eager, piecewise or full-graph")]
pub struct UnknownExecution(
    /// What was given.
    pub String,
);

impl std::str::FromStr for Execution {
    type Err = UnknownExecution;

    fn from_str(text: &str) -> Result<Self, UnknownExecution> {
        match text {
            "eager" => Ok(Self::Eager),
            "piecewise" => Ok(Self::Piecewise),
            "full-graph" | "full" => Ok(Self::FullGraph),
            other => Err(UnknownExecution(other.to_owned())),
        }
    }
}

/// Time on the host processor, per step and per request.
#[derive(Debug, Clone, PartialEq)]
pub struct HostOverhead {
    /// Per step: schedule, prepare inputs, launch the graph, sample, hand out tokens.
    pub step: Fact<Seconds>,
    /// Per sequence in the step.
    pub sequence: Fact<Seconds>,
    /// Share of the two above that runs behind the device (asynchronous scheduling), 0..1.
    pub hidden: Fact<f64>,
    /// Per request once, in front of its first token: tokenise, HTTP, queue hand-over.
    pub request: Fact<Seconds>,
    /// Per prompt token once, in front of its first token: tokenising and copying, one prompt after another.
    pub prompt_token: Fact<Seconds>,
    /// Per request once, where its cache moves from a prefill to a decode instance: what the transfer takes whatever its
    /// bytes, for finding each other, allocating, registering and polling.
    pub kv_transfer_time: Fact<Seconds>,
    /// Per operator that the host launches one by one: dispatch, shape inference, the runtime's queue. The device waits where
    /// it is done sooner.
    pub dispatch: Fact<Seconds>,
    /// Per captured piece that the host replays between two attentions of a piecewise step: updating its addresses and
    /// submitting it.
    pub replay: Fact<Seconds>,
    /// Tokens that reach a client together as its first: 1 where every token is sent at once, the stream interval of
    /// an engine that gathers tokens before it sends them.
    pub stream_interval: Fact<f64>,
}

/// What the device does beside the priced operators, and how it does them in place.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceOverhead {
    /// Share of the launch latencies in the kernel tables that is left inside a captured graph, 0..1: 1 where the tables
    /// were measured in one, less where they were measured launch by launch.
    pub launch: Fact<f64>,
    /// Per layer and step: launch gaps and small kernels no table covers, inside a captured graph.
    pub layer: Fact<Seconds>,
    /// Extra per layer when the step is not a captured graph (prefill).
    pub layer_eager: Fact<Seconds>,
    /// Duration of an operator inside a real decode step over its duration alone.
    pub decode_slowdown: Fact<f64>,
    /// The same for prefill.
    pub prefill_slowdown: Fact<f64>,
    /// Duration of decode steps on a device of the user's over what everything else here says, from runs of their own; 1 where
    /// nobody has corrected it.
    pub decode_correction: Fact<f64>,
    /// The same for prefill.
    pub prefill_correction: Fact<f64>,
    /// Load of the busiest expert-parallel rank over the mean, minus 1, with the engine's usual balancing.
    pub expert_skew: Fact<f64>,
    /// How unequally often the tokens of one step choose an expert: standard deviation over mean. Zero chooses every
    /// expert alike; the larger it is, the fewer experts' weights a small batch reads.
    pub expert_spread: Fact<f64>,
    /// Share of expert communication hidden behind computation of another micro-batch, 0..1, decode.
    pub decode_overlap: Fact<f64>,
    /// The same for prefill.
    pub prefill_overlap: Fact<f64>,
}

/// Libraries that carry the collectives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommBackend {
    /// `custom` (one-shot/two-shot kernels of the engine), `nccl` or `hccl`.
    pub all_reduce: String,
    /// `deepep`, `trtllm`, `cann` or `all-gather`.
    pub expert: String,
}

/// Batching.
#[derive(Debug, Clone, PartialEq)]
pub struct Scheduler {
    /// Most tokens in one step.
    pub token_budget: Fact<u32>,
    /// Most sequences running at once, per attention rank.
    pub max_sequences: Fact<u32>,
    /// Tokens of a KV block.
    pub block: Fact<u32>,
    /// Chance that a draft token is accepted after those before it were, with the drafters that are usual under the engine.
    pub acceptance: Fact<f64>,
    /// Whether a prompt may be cut to fill the budget.
    pub chunked_prefill: bool,
    /// Whether a step may hold both prompts and decoding sequences; if not, prompts go first and decoding waits.
    pub mixed_steps: bool,
}

/// Use of device memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryPolicy {
    /// Share of device memory the engine takes.
    pub utilisation: Fact<f64>,
    /// Whether the cache is kept in FP8 where weights have 8 bits or fewer and nothing else is asked for.
    pub fp8_cache: bool,
    /// Of that, what graphs, workspaces and communication buffers need.
    pub reserve: Fact<Bytes>,
}

/// What an engine demands of a model's shards before it starts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sharding {
    /// Whether it pads whatever does not come out even, so that it starts with any sizes.
    pub pads: bool,
    /// The vocabulary is padded to a multiple of this many entries and must then divide over tensor-parallel ranks;
    /// where nothing is said it is padded to what divides.
    pub vocabulary: Option<Fact<u32>>,
}

impl Engine {
    /// Catalog key of the profile that release `version` has: this one's unless it is older than all it covers. A
    /// version that does not start with a number (a nightly build) counts as new.
    pub fn of_release<'a>(&'a self, version: Option<&str>) -> &'a str {
        let Some(version) = version.map(numbers).filter(|numbers| !numbers.is_empty()) else {
            return &self.id;
        };
        let older = self.releases.iter().find(|release| version < numbers(&release.before));
        older.map_or(&self.id, |release| &release.engine)
    }

    /// Catalog key of the profile that the engine has on chips of `vendor`.
    pub fn on_vendor(&self, vendor: &str) -> &str {
        let platform = self.platforms.iter().find(|platform| platform.vendor == vendor);
        platform.map_or(&self.id, |platform| &platform.engine)
    }

    /// Records under `key` where a correction by runs of the user's own comes from.
    pub fn mark_corrected(&mut self, key: &str, source: Source) {
        let device = &mut self.device;
        for fact in [&mut device.decode_correction, &mut device.prefill_correction] {
            (fact.source, fact.grade) = (key.to_owned(), Grade::Measured);
        }
        for fact in [&mut self.host.step, &mut self.host.request] {
            (fact.source, fact.grade) = (key.to_owned(), Grade::Measured);
        }
        self.sources.insert(key.to_owned(), source);
    }

    /// Records under `key` where the coefficients come from that a fit from `start` has moved; those that the rows did not move
    /// keep the evidence they had.
    pub fn mark_fitted(&mut self, start: &Self, key: &str, source: Source) {
        for (time, before) in self.fitted_times().into_iter().zip(start.clone().fitted_times()) {
            time.mark_if_moved(before, key);
        }
        for (number, before) in self.fitted_numbers().into_iter().zip(start.clone().fitted_numbers()) {
            number.mark_if_moved(before, key);
        }
        self.sources.insert(key.to_owned(), source);
    }

    fn fitted_times(&mut self) -> [&mut Fact<Seconds>; 9] {
        let (host, device) = (&mut self.host, &mut self.device);
        [
            &mut host.step,
            &mut host.sequence,
            &mut host.request,
            &mut host.prompt_token,
            &mut host.kv_transfer_time,
            &mut host.dispatch,
            &mut host.replay,
            &mut device.layer,
            &mut device.layer_eager,
        ]
    }

    fn fitted_numbers(&mut self) -> [&mut Fact<f64>; 5] {
        let device = &mut self.device;
        [
            &mut self.host.hidden,
            &mut device.decode_slowdown,
            &mut device.prefill_slowdown,
            &mut device.expert_skew,
            &mut device.expert_spread,
        ]
    }
}

impl<T: PartialEq> Fact<T> {
    /// Grades a figure as measured if a fit has moved it.
    fn mark_if_moved(&mut self, before: &Self, key: &str) {
        if self.value != before.value {
            (self.source, self.grade) = (key.to_owned(), Grade::Measured);
        }
    }
}

/// The leading numbers of a version: `[0, 5, 8]` of `0.5.8.post1`.
fn numbers(version: &str) -> Vec<u32> {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let parts = version.trim_start_matches('v').split('.');
    parts.map_while(|part| digits(part).parse().ok()).collect()
}
