//! The schedule of a training job: what a step does on each rank, how long it takes, what it holds in memory, and what
//! failures leave of it over weeks.
//!
//! 1. [`Job`] says what is trained and how it is cut; [`Framework`] what runs it.
//! 2. [`layer`] prices a micro-batch in one layer, forward and backward operators each as themselves, through a
//!    [`Pricer`].
//! 3. [`schedule`] executes the pipeline as a dependency graph, and [`step::price`] adds gradient exchange and optimizer.

pub mod band;
pub mod capabilities;
pub mod error;
pub mod fabric;
pub mod flops;
pub mod formats;
pub mod framework;
pub mod goodput;
pub mod job;
pub mod layer;
pub mod measured;
pub mod memory;
mod partition;
pub mod pricer;
mod prices;
mod remembered;
pub mod roofline;
pub mod schedule;
pub mod search;
pub mod shape;
pub mod shapes;
pub mod site;
pub mod spec;
pub mod stages;
pub mod step;
pub mod tiers;
pub mod timeline;
pub mod times;
mod way;

pub use capabilities::Capabilities;
pub use error::JobError;
pub use framework::{Framework, Profile};
pub use job::{Batch, ContextMethod, Job, Layout, Offload, Recompute, Zero};
pub use pricer::{Collective, Group, Pricer};
pub use step::{Machine, Step, check_memory, price};
