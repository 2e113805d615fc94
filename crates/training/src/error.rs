//! What can be wrong with a training job.

use units::Bytes;

/// A job that cannot be run or read; the text names the flag to change.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JobError {
    /// A name outside a closed list.
    #[error("`{given}` is not a value of {flag}; use one of {allowed}")]
    UnknownName {
        /// Flag or key.
        flag: &'static str,
        /// What was given.
        given: String,
        /// What is accepted.
        allowed: &'static str,
    },
    /// A count that must be at least one.
    #[error("{flag} must be at least 1")]
    Zero {
        /// The flag.
        flag: &'static str,
    },
    /// Something that the framework release cannot be told to do.
    #[error(
        "{release} cannot do {asked} ({flag}); it can do {allowed} ({source_of}); choose among these, or another \
         --framework or --release"
    )]
    Incapable {
        /// Framework and release.
        release: String,
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        asked: String,
        /// What it can do.
        allowed: String,
        /// Where that is documented.
        source_of: String,
    },
    /// A value that would change nothing, beside others that rule it out.
    #[error("{flag} {given} has no effect {because}; leave it out or {instead}")]
    NoEffect {
        /// The flag.
        flag: &'static str,
        /// What was given.
        given: String,
        /// Why it has none.
        because: &'static str,
        /// What would give it one.
        instead: &'static str,
    },
    /// Layers of the edge stages that do not add up.
    #[error(
        "--first-stage-layers and --last-stage-layers leave {stages} stages without {layers} layers to share; change them, --pp or --vpp"
    )]
    Edges {
        /// Virtual stages.
        stages: u32,
        /// Layers.
        layers: u32,
    },
    /// Parallel sizes that do not multiply to the chips.
    #[error(
        "tp {tp} x cp {cp} x pp {pp} = {model} ranks do not divide {ranks} ranks; change --tp, --cp, --pp or --chips"
    )]
    Chips {
        /// Tensor parallel size.
        tp: u32,
        /// Context parallel size.
        cp: u32,
        /// Pipeline parallel size.
        pp: u32,
        /// Their product.
        model: u32,
        /// Ranks there are.
        ranks: u32,
    },
    /// Something that has to be a multiple of something else.
    #[error("{what} {value} is not a multiple of {by_what} {by}; change {flags}")]
    NotMultiple {
        /// The dividend, in words.
        what: &'static str,
        /// Its value.
        value: u32,
        /// The divisor, in words.
        by_what: &'static str,
        /// Its value.
        by: u32,
        /// Which flags to change.
        flags: &'static str,
    },
    /// Expert parallelism without experts.
    #[error("--ep {ep} needs a model with experts; leave --ep out")]
    NoExperts {
        /// Expert parallel size.
        ep: u32,
    },
    /// More stages than layers.
    #[error(
        "{stages} pipeline stages need at least as many layers, the model has {layers}; lower --pp or --vpp"
    )]
    Stages {
        /// Virtual stages.
        stages: u32,
        /// Layers.
        layers: u32,
    },
    /// DualPipe's conditions.
    #[error(
        "dualpipe needs an even --pp (it is {ranks}) and an even number of micro-batches of at least 2 x pp (there are \
         {micros}); raise --global-batch or choose --schedule 1f1b"
    )]
    DualPipe {
        /// Pipeline ranks.
        ranks: u32,
        /// Micro-batches.
        micros: u32,
    },
    /// The chip has no matrix unit for the precision.
    #[error("{chip} has no matrix unit for {precision}; it has {known}: choose one of these as --precision")]
    Precision {
        /// Chip.
        chip: String,
        /// Precision.
        precision: String,
        /// What it multiplies.
        known: String,
    },
    /// A part of the model that the training cost model does not price.
    #[error(
        "{model} uses {part}, which training does not price; it knows attention (MHA, GQA, MLA), dense and MoE layers"
    )]
    Unsupported {
        /// Model.
        model: String,
        /// Part.
        part: &'static str,
    },
    /// Too big for the memory.
    #[error(
        "does not fit: stage {stage} needs {needed} of {usable} usable per rank, most of it {term} ({size}); {knob}"
    )]
    Memory {
        /// Fullest stage.
        stage: u32,
        /// What it needs.
        needed: Bytes,
        /// What there is.
        usable: Bytes,
        /// Largest term.
        term: &'static str,
        /// Its size.
        size: Bytes,
        /// What to change.
        knob: &'static str,
    },
    /// A framework profile that cannot be read.
    #[error("framework `{id}`: {why}")]
    Framework {
        /// Profile.
        id: String,
        /// What is wrong.
        why: String,
    },
    /// A key or value in a job file or a shape.
    #[error("{key}: {why}")]
    Value {
        /// Key.
        key: String,
        /// What is wrong and what to do.
        why: String,
    },
}

impl JobError {
    /// What is wrong with a `--shape`.
    pub(crate) fn of_shape(error: model::ImportError) -> Self {
        match error {
            model::ImportError::Shape { key, why } => Self::Value { key, why },
            other => Self::Value { key: "shape".to_owned(), why: other.to_string() },
        }
    }
}
