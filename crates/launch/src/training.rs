//! A training job as a launch describes it.

use crate::configs;
use crate::error::LaunchError;
use crate::flags::{GivenFlag, Unread, Weight};
use crate::hf;
use crate::inputs::Inputs;
use crate::megatron;
use ::training::shape::Shape;
use ::training::spec::JobSpec;
use model::Model;

/// A training launch read.
#[derive(Debug, Clone)]
pub struct TrainingLaunch {
    /// Layout, batch and the like.
    pub spec: JobSpec,
    /// Sizes of the model, if the launch gives them.
    pub shape: Option<Shape>,
    /// Whether the head shares the embedding's weights.
    pub tied: bool,
    /// Flags and keys that were given, with where they stand.
    pub sources: Vec<GivenFlag>,
    /// Those that are not modelled, the weightiest first.
    pub unread: Vec<Unread>,
    /// What was assumed on the way.
    pub notes: Vec<String>,
    /// Micro-batches that a rank accumulates, where the launch says this instead of the global batch.
    pub(crate) accumulation: Option<u32>,
}

/// Two readings are the same if they make the same job; where a flag stands and what has no weight does not matter.
impl PartialEq for TrainingLaunch {
    fn eq(&self, other: &Self) -> bool {
        let weighty = |launch: &Self| -> Vec<(Weight, String)> {
            launch.missing().map(|flag| (flag.weight, flag.flag.clone())).collect()
        };
        let run = |launch: &Self| JobSpec { tokens: None, ..launch.spec.clone() };
        run(self) == run(other)
            && self.shape == other.shape
            && self.tied == other.tied
            && weighty(self) == weighty(other)
    }
}

impl TrainingLaunch {
    /// A job that names no sizes of a model.
    pub(crate) fn of(spec: JobSpec) -> Self {
        Self {
            spec,
            shape: None,
            tied: false,
            sources: Vec::new(),
            unread: Vec::new(),
            notes: Vec::new(),
            accumulation: None,
        }
    }

    /// The model of the sizes.
    pub fn model(&self) -> Option<Model> {
        self.shape.as_ref().map(|shape| Model { tied_embeddings: self.tied, ..shape.model() })
    }

    /// What an answer lacks: flags that change it and are not modelled.
    pub fn missing(&self) -> impl Iterator<Item = &Unread> {
        self.unread.iter().filter(|flag| flag.weight.matters())
    }

    /// Names of the flags of one weight.
    pub fn of_weight(&self, weight: Weight) -> Vec<&str> {
        self.unread.iter().filter(|flag| flag.weight == weight).map(|flag| flag.flag.as_str()).collect()
    }
}

/// A reader of scripts and command lines.
type Reader = fn(&str, &str, &Inputs<'_>, bool) -> Result<TrainingLaunch, LaunchError>;

/// Reads a training launch: a script or command line of Megatron-LM, MindSpeed-LLM, Megatron-DeepSpeed or
/// Pai-Megatron-Patch, a command with the arguments of Hugging Face's Trainer, or a configuration of torchtitan, NeMo,
/// MaxText, Accelerate, MindSpeed-LLM or LLaMA-Factory. Where `model_given` the user
/// describes the model, and the launch's own need not be understood.
///
/// # Errors
/// It is none of these, something in it changes the model and is not modelled, or something is not known that changes
/// the answer.
pub fn read_training(
    file: &str,
    text: &str,
    inputs: &Inputs<'_>,
    model_given: bool,
) -> Result<TrainingLaunch, LaunchError> {
    if configs::is_one(file, text) {
        return configs::read(file, text, &|name| inputs.file(name), model_given);
    }
    let trainer = text.contains("per_device_train_batch_size");
    let (first, second): (Reader, Reader) =
        if trainer { (hf::read, megatron::read) } else { (megatron::read, hf::read) };
    match first(file, text, inputs, model_given) {
        Err(LaunchError::NoCommand { .. }) => second(file, text, inputs, model_given),
        other => other,
    }
}
