//! Search over deployments.
//!
//! - [`compare`]: each system's best simple plan for one job, side by side.

pub mod compare;
