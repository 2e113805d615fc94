//! Why a description of a model was refused.

/// A `config.json`, or a file beside it, that cannot be turned into a model. Every text names the file, the key and
/// what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file cannot be read.
    #[error("{origin}: cannot be read: {reason}; give a config.json or the directory that holds it")]
    Unreadable {
        /// File.
        origin: String,
        /// What the system says.
        reason: String,
    },
    /// The file is larger than any description of a model.
    #[error(
        "{origin}: {size} bytes is too large for a config.json (limit {limit}); is it a checkpoint file?"
    )]
    TooLarge {
        /// File.
        origin: String,
        /// Its size in bytes.
        size: u64,
        /// The largest size read, in bytes.
        limit: u64,
    },
    /// The text is not JSON.
    #[error("{origin}: not valid JSON: {reason}; compare it with the file on the model's page")]
    NotJson {
        /// File.
        origin: String,
        /// What the parser says, with line and column.
        reason: String,
    },
    /// A key that the family needs is absent.
    #[error("{origin}: key `{key}` is missing; {remedy}")]
    Missing {
        /// File.
        origin: String,
        /// Key, or its alternatives.
        key: String,
        /// What to do.
        remedy: String,
    },
    /// A value has the wrong JSON type.
    #[error("{origin}: key `{key}` is {found}, but must be {expected}; correct the value")]
    WrongType {
        /// File.
        origin: String,
        /// Key.
        key: String,
        /// What it must be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A number is outside what any model uses.
    #[error("{origin}: key `{key}` is {value}, outside {min} to {max}; correct the value")]
    OutOfRange {
        /// File.
        origin: String,
        /// Key.
        key: String,
        /// The value as written.
        value: String,
        /// Smallest value accepted.
        min: u64,
        /// Largest value accepted.
        max: u64,
    },
    /// The architecture has no reader of its own, and its keys do not say enough.
    #[error(
        "{origin}: no reader is called `{model_type}`, and read by its structure it lacks something: {reason}; its keys \
         are those of {resembles}, and CONTRIBUTING.md says how a family is added"
    )]
    UnknownArchitecture {
        /// File.
        origin: String,
        /// The architecture's name.
        model_type: String,
        /// What is missing.
        reason: String,
        /// What its keys look like.
        resembles: String,
    },
    /// Not a decoder of text.
    #[error(
        "{origin}: `{model_type}` is not a decoder of text: {reason}; give a model that generates text token by token"
    )]
    NotADecoder {
        /// File.
        origin: String,
        /// The architecture's name.
        model_type: String,
        /// What it is.
        reason: String,
    },
    /// A key that might change the computation is not known.
    #[error(
        "{origin}: key `{key}` (= {value}) is not understood for this architecture and might change the computation; \
         if it does not, say --ignore-key {key}, or name the model as FILE#ignore={key}"
    )]
    UnknownKey {
        /// File.
        origin: String,
        /// Key.
        key: String,
        /// Its value, shortened.
        value: String,
    },
    /// A known key has a value whose meaning is not known.
    #[error("{origin}: key `{key}` is {value}, which is not understood; {expected}")]
    UnknownValue {
        /// File.
        origin: String,
        /// Key.
        key: String,
        /// Its value, shortened.
        value: String,
        /// What is understood.
        expected: String,
    },
    /// Keys contradict each other.
    #[error("{origin}: key `{key}`: {reason}")]
    Inconsistent {
        /// File.
        origin: String,
        /// Key.
        key: String,
        /// The contradiction and what would resolve it.
        reason: String,
    },
    /// Sizes that make no model.
    #[error("`{key}` of --shape: {why}")]
    Shape {
        /// The key of the shape.
        key: String,
        /// What is wrong with it.
        why: String,
    },
    /// A name that is neither a path nor a built-in model.
    #[error(
        "`{name}` is neither a file nor a built-in model{suggestion}; give a config.json, its directory or a name listed by `supernode model list`"
    )]
    UnknownModel {
        /// What was given.
        name: String,
        /// A name like it, in brackets, or nothing.
        suggestion: String,
    },
    /// A short name that several built-in models share.
    #[error("`{name}` is ambiguous: {candidates}; give one of them in full")]
    AmbiguousModel {
        /// What was given.
        name: String,
        /// The models it may mean.
        candidates: String,
    },
}
