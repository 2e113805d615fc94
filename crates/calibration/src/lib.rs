//! Measurement formats, fitting and error statistics.
//!
//! - [`fit`]: robust bounded least squares for the coefficients of a form, and residual grids on top of it.
//! - [`stats`]: splits and error statistics.

pub mod fit;
pub mod stats;
