//! What one engine step costs: operators on a chip, collectives on a topology, overlap, host overhead and energy.
//!
//! - [`ops`]: analytic forms of single operators, each with a few coefficients of physical meaning.
//! - [`kernels`]: the coefficients of one chip and one stack, loaded from the catalog's kernel profiles.
//! - [`comm`]: collectives and expert dispatch/combine on nested domains.
//! - [`step`]: the two put together for a deployment.

mod check;
pub mod comm;
pub mod kernels;
pub mod ops;
pub mod routing;
pub mod step;

pub use check::check;
