//! The price of one engine step as a function of its shape.

mod shape;

pub use shape::{RankLoad, StepPrice, StepPricer, StepShape};
