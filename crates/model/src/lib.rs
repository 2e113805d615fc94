//! From a Hugging Face `config.json` to an architecture: layers, sizes, formats, and counts derived from them.
//!
//! A model is a list of layer groups, each an attention (or its substitute) and a feed-forward part, with no trace of
//! the family's name left: what prices a model cannot special-case it. This crate knows nothing of chips.

pub mod arch;
mod builtin;
pub mod counts;
mod document;
mod dtypes;
pub mod import;
mod names;
pub mod shape;
mod show;

pub use arch::{
    Attention, Compressed, Decay, Ffn, Group, LayerGroup, Linear, Mla, Model, Moe, MultiHead, Quantization,
    ShortConv, SparseIndexer, StateSpace, Tower,
};
pub use builtin::{builtin, builtin_ids, describe, resolve, resolve_with};
pub use document::document;
pub use dtypes::Dtypes;
pub use import::{ImportError, Options as ImportOptions};
pub use shape::Shape;
pub use show::{Row, rows, show};
