//! Memory of one rank, by term and stage.

use crate::error::JobError;
use crate::framework::{Profile, Selective};
use crate::job::{Job, Recompute, Zero};
use crate::shapes::LayerShape;
use model::LayerGroup;
use units::Bytes;

/// What a rank of one pipeline stage holds at its fullest.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Memory {
    /// Weights in the training format.
    pub weights: Bytes,
    /// Gradients.
    pub gradients: Bytes,
    /// Master weights and moments.
    pub optimizer: Bytes,
    /// Kept activations at the pipeline's peak.
    pub activations: Bytes,
    /// Working space: gathered layers, logits, the layer being recomputed, exchange buffers.
    pub buffers: Bytes,
    /// What context, communicators and the allocator keep.
    pub reserve: Bytes,
}

impl Memory {
    /// Each term with its name.
    pub fn terms(&self) -> [(&'static str, Bytes); 6] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("buffers", self.buffers),
            ("reserve", self.reserve),
        ]
    }

    /// All terms.
    pub fn total(&self) -> Bytes {
        self.terms().into_iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Weights of one rank.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Weights {
    /// Shared by all data-parallel ranks: everything outside the routed experts.
    pub dense: f64,
    /// Of the routed experts held.
    pub experts: f64,
}

impl Weights {
    /// Both.
    pub fn total(&self) -> f64 {
        self.dense + self.experts
    }
}

/// One layer's part in the memory of a rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerMemory {
    weights: Weights,
    /// Weights that are gathered at once where weights are sharded.
    gathered: f64,
    /// Kept bytes of one micro-batch with nothing recomputed.
    whole: f64,
    /// Kept bytes with selective recomputation.
    selective: f64,
    /// Kept bytes when only the input is.
    input: f64,
}

impl LayerMemory {
    /// Of a layer of `group`.
    pub fn new(job: &Job, profile: &Profile, group: &LayerGroup) -> Self {
        let shape = LayerShape::new(job, group);
        let tokens = job.micro_tokens();
        let seq = f64::from(job.batch.seq);
        let whole = shape.kept_bytes(job, profile.attention, seq);
        let selective = match profile.selective {
            Selective::Attention if profile.attention == crate::framework::AttentionKernel::Unfused => {
                whole - shape.score_bytes(seq)
            }
            Selective::Attention => whole,
            Selective::Modules => whole - shape.module_bytes(job),
            Selective::HalfTheProducts => 0.6 * whole,
        };
        let shards = if job.sequence_parallel { f64::from(job.layout.tp) } else { 1.0 };
        Self {
            weights: Weights { dense: shape.dense_weights(), experts: shape.expert_weights() },
            gathered: if profile.gathers_by_matrix {
                shape.largest_matrix()
            } else {
                shape.dense_weights() + shape.expert_weights()
            },
            whole: tokens * whole,
            selective: tokens * selective,
            input: tokens * 2.0 * shape.hidden / shards,
        }
    }

    /// Its weights.
    pub fn weights(&self) -> Weights {
        self.weights
    }

    /// Bytes it keeps of one micro-batch.
    pub(crate) fn kept(&self, recompute: Recompute) -> f64 {
        match recompute {
            Recompute::None => self.whole,
            Recompute::Selective => self.selective,
            Recompute::Full | Recompute::Layers(_) => self.input,
        }
    }
}

/// What a pipeline rank holds, as counts.
pub struct RankContents<'a> {
    /// Layers of each kind with their count.
    pub layers: &'a [(LayerMemory, f64)],
    /// Micro-batches in flight, in units of the whole rank's layers.
    pub in_flight: f64,
    /// Whether the embedding is here.
    pub first: bool,
    /// Whether the head is here.
    pub last: bool,
}

/// Weights of the embedding, or of the head, on one rank.
pub fn vocabulary_weights(job: &Job) -> f64 {
    f64::from(job.model.hidden) * f64::from(job.model.vocab) / f64::from(job.layout.tp)
}

/// Memory of one rank with `contents`; `capacity` is what the device has.
pub fn rank_memory(
    job: &Job,
    profile: &Profile,
    contents: &RankContents<'_>,
    capacity: Bytes,
) -> (Memory, Weights) {
    let mut weights = Weights::default();
    let (mut kept, mut largest, mut gathered, mut count) = (0.0, 0.0f64, 0.0f64, 0.0);
    let mut again_left = match job.recompute {
        Recompute::Layers(layers) => f64::from(layers),
        _ => 0.0,
    };
    for (layer, copies) in contents.layers {
        weights.dense += layer.weights.dense * copies;
        weights.experts += layer.weights.experts * copies;
        let again = again_left.min(*copies);
        again_left -= again;
        kept += match job.recompute {
            Recompute::Layers(_) => layer.input * again + layer.whole * (copies - again),
            recompute => layer.kept(recompute) * copies,
        };
        largest = largest.max(layer.whole);
        gathered = gathered.max(layer.gathered);
        count += copies;
    }
    weights.dense += vocabulary_weights(job) * f64::from(u8::from(contents.first) + u8::from(contents.last));
    let recomputes = matches!(job.recompute, Recompute::Full | Recompute::Layers(_));
    let mut buffers = if recomputes { largest } else { 0.0 };
    if contents.last {
        let logits = job.micro_tokens() * f64::from(job.model.vocab) / f64::from(job.layout.tp);
        // No layer is computed again meanwhile.
        buffers = buffers.max(profile.logit_bytes * logits);
    }
    let mut activations = kept * contents.in_flight;
    if job.offload.activations && count > 2.0 {
        activations *= 2.0 / count;
    }
    let memory = Memory {
        activations: Bytes::new(activations),
        reserve: capacity * profile.reserve,
        ..states(job, profile, weights, gathered, buffers)
    };
    (memory, weights)
}

/// Weights, gradients, optimizer state and buffers under the job's sharding.
fn states(job: &Job, profile: &Profile, weights: Weights, gathered: f64, buffers: f64) -> Memory {
    let shards = f64::from(job.layout.dp * job.layout.cp);
    let expert_shards = f64::from(job.layout.expert_dp());
    let sharded = weights.dense / shards + weights.experts / expert_shards;
    let at = |zero: Zero| if job.zero >= zero { sharded } else { weights.total() };
    let mut buffers = buffers;
    let weight_bytes = 2.0 * at(Zero::Weights);
    if job.zero == Zero::Weights {
        // What is in use and what is being fetched.
        buffers += 2.0 * 2.0 * gathered;
    }
    let early = profile.reduces_early && job.zero >= Zero::Optimizer && job.micros() == 1;
    let gradients = if early { sharded } else { at(Zero::Gradients) };
    let optimizer = if job.offload.optimizer { 0.0 } else { 12.0 * at(Zero::Optimizer) };
    Memory {
        weights: Bytes::new(weight_bytes),
        gradients: Bytes::new(profile.accumulator_bytes * gradients),
        optimizer: Bytes::new(optimizer),
        buffers: Bytes::new(buffers),
        ..Memory::default()
    }
}

/// Whether every stage fits into `capacity`.
///
/// # Errors
/// The fullest stage does not; the error names its largest term and what to change.
pub fn check(job: &Job, stages: &[Memory], capacity: Bytes) -> Result<(), JobError> {
    let fullest = stages.iter().enumerate().max_by(|a, b| a.1.total().get().total_cmp(&b.1.total().get()));
    let Some((stage, memory)) = fullest.filter(|(_, memory)| memory.total() > capacity) else {
        return Ok(());
    };
    let terms = &memory.terms()[..5];
    let (term, size) = terms
        .iter()
        .copied()
        .max_by(|a, b| a.1.get().total_cmp(&b.1.get()))
        .unwrap_or(("weights", Bytes::ZERO));
    Err(JobError::Memory {
        stage: stage as u32,
        needed: memory.total() - memory.reserve,
        usable: capacity - memory.reserve,
        term,
        size,
        knob: knob(job, term),
    })
}

/// The most direct way to make a term smaller.
fn knob(job: &Job, term: &str) -> &'static str {
    match term {
        "activations" if job.recompute == Recompute::None => "recompute (--recompute selective or full)",
        "activations" if job.recompute == Recompute::Selective => "recompute everything (--recompute full)",
        "activations" if job.batch.micro > 1 => "make micro-batches smaller (--micro-batch)",
        "activations" => "cut sequences (--cp) or layers (--tp with sequence parallelism)",
        "optimizer" if job.zero < Zero::Optimizer => "shard the optimizer (--zero 1)",
        "gradients" if job.zero < Zero::Gradients => {
            "shard gradients (--zero 2) or cut the model finer (--pp, --tp)"
        }
        "weights" if job.zero < Zero::Weights => {
            "cut the model finer (--tp, --pp, --ep) or shard weights (--zero 3)"
        }
        "buffers" => "make micro-batches smaller (--micro-batch) or cut the vocabulary (--tp)",
        _ => "use more chips or cut the model finer (--tp, --pp, --ep)",
    }
}
