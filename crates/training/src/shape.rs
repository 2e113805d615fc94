//! A model given by its sizes instead of by a checkpoint.

pub use model::shape::{ExpertSizes, LatentSizes, Shape};
