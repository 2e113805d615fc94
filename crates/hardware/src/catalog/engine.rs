//! An engine's file, and the engine it resolves to.

use super::error::CatalogError;
use super::index::Document;
use super::limits;
use super::raw::{self, RawFact, Reader};
use crate::engine::{
    CommBackend, DeviceOverhead, Engine, Execution, HostOverhead, MemoryPolicy, Platform, Release, Scheduler,
    Sharding,
};
use crate::evidence::{Fact, Grade, Source};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use units::{Bytes, Seconds};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEngine {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    #[serde(default)]
    releases: Vec<Release>,
    #[serde(default)]
    platforms: Vec<Platform>,
    #[serde(default)]
    execution: Execution,
    #[serde(default)]
    draft_execution: Execution,
    #[serde(default)]
    spread: Option<RawFact<f64>>,
    stacks: Spanned<Vec<String>>,
    #[serde(default)]
    fused_quantise: bool,
    #[serde(default)]
    micro_batches: bool,
    host: RawHost,
    device: RawDevice,
    comm: RawComm,
    scheduler: RawScheduler,
    memory: RawMemory,
    #[serde(default)]
    sharding: RawSharding,
    #[serde(default)]
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHost {
    step: RawFact<Seconds>,
    sequence: RawFact<Seconds>,
    hidden: RawFact<f64>,
    request: RawFact<Seconds>,
    prompt_token: RawFact<Seconds>,
    kv_transfer_time: RawFact<Seconds>,
    #[serde(default)]
    dispatch: Option<RawFact<Seconds>>,
    #[serde(default)]
    replay: Option<RawFact<Seconds>>,
    stream_interval: RawFact<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDevice {
    launch: RawFact<f64>,
    layer: RawFact<Seconds>,
    layer_eager: RawFact<Seconds>,
    decode_slowdown: RawFact<f64>,
    prefill_slowdown: RawFact<f64>,
    #[serde(default)]
    decode_correction: Option<RawFact<f64>>,
    #[serde(default)]
    prefill_correction: Option<RawFact<f64>>,
    expert_skew: RawFact<f64>,
    expert_spread: RawFact<f64>,
    decode_overlap: RawFact<f64>,
    prefill_overlap: RawFact<f64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawComm {
    all_reduce: Spanned<String>,
    expert: Spanned<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScheduler {
    token_budget: RawFact<u32>,
    max_sequences: RawFact<u32>,
    block: RawFact<u32>,
    #[serde(default)]
    acceptance: Option<RawFact<f64>>,
    chunked_prefill: bool,
    mixed_steps: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMemory {
    #[serde(default)]
    fp8_cache: bool,
    utilisation: RawFact<f64>,
    reserve: RawFact<Bytes>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSharding {
    #[serde(default)]
    pads: bool,
    #[serde(default)]
    vocabulary: Option<RawFact<u32>>,
}

impl RawHost {
    fn resolve(self, reader: &Reader<'_>) -> Result<HostOverhead, CatalogError> {
        Ok(HostOverhead {
            step: reader.fact(self.step, limits::OVERHEAD_TIME)?,
            sequence: reader.fact(self.sequence, limits::OVERHEAD_TIME)?,
            hidden: reader.fact(self.hidden, limits::SHARE)?,
            request: reader.fact(self.request, limits::OVERHEAD_TIME)?,
            prompt_token: reader.fact(self.prompt_token, limits::OVERHEAD_TIME)?,
            kv_transfer_time: reader.fact(self.kv_transfer_time, limits::OVERHEAD_TIME)?,
            dispatch: launched(reader, self.dispatch)?,
            replay: launched(reader, self.replay)?,
            stream_interval: reader.fact(self.stream_interval, limits::CHUNK)?,
        })
    }
}

impl RawDevice {
    fn resolve(self, reader: &Reader<'_>) -> Result<DeviceOverhead, CatalogError> {
        let corrected = |raw| usual(reader, raw, limits::FACTOR, 1.0, UNCORRECTED);
        Ok(DeviceOverhead {
            launch: reader.fact(self.launch, limits::SHARE)?,
            layer: reader.fact(self.layer, limits::OVERHEAD_TIME)?,
            layer_eager: reader.fact(self.layer_eager, limits::OVERHEAD_TIME)?,
            decode_slowdown: reader.fact(self.decode_slowdown, limits::FACTOR)?,
            prefill_slowdown: reader.fact(self.prefill_slowdown, limits::FACTOR)?,
            decode_correction: corrected(self.decode_correction)?,
            prefill_correction: corrected(self.prefill_correction)?,
            expert_skew: reader.fact(self.expert_skew, limits::SKEW)?,
            expert_spread: reader.fact(self.expert_spread, limits::SKEW)?,
            decode_overlap: reader.fact(self.decode_overlap, limits::SHARE)?,
            prefill_overlap: reader.fact(self.prefill_overlap, limits::SHARE)?,
        })
    }
}

impl RawComm {
    fn resolve(self, reader: &Reader<'_>) -> Result<CommBackend, CatalogError> {
        Ok(CommBackend {
            all_reduce: choice(reader, self.all_reduce, &["custom", "nccl", "hccl", "ideal"])?,
            expert: choice(reader, self.expert, &["deepep", "trtllm", "cann", "all-gather", "ideal"])?,
        })
    }
}

impl RawScheduler {
    fn resolve(self, reader: &Reader<'_>) -> Result<Scheduler, CatalogError> {
        Ok(Scheduler {
            token_budget: reader.fact(self.token_budget, limits::TOKENS)?,
            max_sequences: reader.fact(self.max_sequences, limits::TOKENS)?,
            block: reader.fact(self.block, limits::BLOCK)?,
            acceptance: usual(reader, self.acceptance, limits::SHARE, USUAL_ACCEPTANCE, ACCEPTANCE_SOURCE)?,
            chunked_prefill: self.chunked_prefill,
            mixed_steps: self.mixed_steps,
        })
    }
}

/// Reads an engine's file.
pub(crate) fn resolve(document: Document<'_>) -> Result<Engine, CatalogError> {
    let mut raw: RawEngine = raw::parse(document)?;
    let sources = std::mem::take(&mut raw.sources);
    let reader = Reader { document, sources: &sources };
    if raw.stacks.get_ref().is_empty() {
        return Err(reader.invalid(raw.stacks.span(), "names no kernel stack; name at least one".to_owned()));
    }
    Ok(Engine {
        id: document.id.to_owned(),
        name: raw.name,
        aliases: raw.aliases,
        releases: raw.releases,
        platforms: raw.platforms,
        execution: raw.execution,
        draft_execution: raw.draft_execution,
        stacks: raw.stacks.into_inner(),
        fused_quantise: raw.fused_quantise,
        micro_batches: raw.micro_batches,
        host: raw.host.resolve(&reader)?,
        device: raw.device.resolve(&reader)?,
        comm: raw.comm.resolve(&reader)?,
        scheduler: raw.scheduler.resolve(&reader)?,
        memory: MemoryPolicy {
            fp8_cache: raw.memory.fp8_cache,
            utilisation: reader.fact(raw.memory.utilisation, limits::SHARE)?,
            reserve: reader.fact(raw.memory.reserve, limits::RESERVE)?,
        },
        spread: usual(&reader, raw.spread, limits::SKEW, 0.0, "none found beside the kernels'")?,
        sharding: Sharding {
            pads: raw.sharding.pads,
            vocabulary: raw.sharding.vocabulary.map(|raw| reader.fact(raw, limits::BLOCK)).transpose()?,
        },
        sources: sources.clone(),
    })
}

/// What the host takes to launch something; nothing of its own where the file says nothing.
fn launched(reader: &Reader<'_>, raw: Option<RawFact<Seconds>>) -> Result<Fact<Seconds>, CatalogError> {
    match raw {
        Some(fact) => reader.fact(fact, limits::OVERHEAD_TIME),
        None => Ok(Fact {
            value: Seconds::ZERO,
            source: "what the host launches is within `layer` and `layer_eager`".to_owned(),
            grade: Grade::Assumed,
            note: None,
        }),
    }
}

/// Chance that a draft token is accepted where an engine's file says nothing.
const USUAL_ACCEPTANCE: f64 = 0.7;
const ACCEPTANCE_SOURCE: &str = "what published runs of DeepSeek-R1 with one draft assume: arXiv 2506.12708 v2, section 5.1, and CANN's recipes";
const UNCORRECTED: &str = "not corrected by runs of the user's own";

/// A figure that a file may leave out.
fn usual(
    reader: &Reader<'_>,
    raw: Option<RawFact<f64>>,
    limit: limits::Limit<f64>,
    value: f64,
    source: &str,
) -> Result<Fact<f64>, CatalogError> {
    match raw {
        Some(fact) => reader.fact(fact, limit),
        None => Ok(Fact { value, source: source.to_owned(), grade: Grade::Assumed, note: None }),
    }
}

fn choice(reader: &Reader<'_>, raw: Spanned<String>, allowed: &[&str]) -> Result<String, CatalogError> {
    if allowed.contains(&raw.get_ref().as_str()) {
        return Ok(raw.into_inner());
    }
    let message = format!("`{}` is not known here; use one of {}", raw.get_ref(), allowed.join(", "));
    Err(reader.invalid(raw.span(), message))
}
