//! Search over deployments.
//!
//! - [`compare`]: each system's best simple plan for one job, side by side.
//! - [`plan_file`]: a serving plan as a file.

pub mod compare;
pub mod plan_file;
