//! Search over deployments.
//!
//! - [`compare`]: each system's best simple plan for one job, side by side.
//! - [`matching`]: what a chip must be to do a job as well as another.
//! - [`plan_file`]: a serving plan as a file.
//! - [`serve`]: the best deployment for a job, over the whole space.

pub mod compare;
pub mod matching;
pub mod plan_file;
pub mod serve;
