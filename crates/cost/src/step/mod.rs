//! The price of one engine step as a function of its shape.

mod deployment;
mod energy;
mod floor;
mod ideal;
mod measured;
mod memory;
mod mixing;
mod operators;
mod overheads;
mod plan;
mod pool;
mod startable;
mod step_model;
mod table;
mod tally;
mod terms;

pub use crate::ops::Bound;
pub use deployment::{Deployment, Layout, LayoutError, Speculation};
pub use energy::EnergyModel;
pub use ideal::{IdealCollectives, IdealOperators};
pub use measured::KernelOperators;
pub use memory::{DoesNotFit, MemoryFit, SMALLEST_CONTEXT};
pub use operators::{Basis, Collectives, Evidence, Operators};
pub use pool::TablePool;
pub use startable::Unstartable;
pub use step_model::{StepCost, StepError, StepModel};
pub use steps::{RankLoad, StepPrice, StepPricer, StepShape};
pub use tally::{Family, Tally};
