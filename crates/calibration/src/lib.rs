//! Measurement formats, fitting and error statistics.
//!
//! - [`fit`]: robust bounded least squares for the coefficients of a form, and residual grids on top of it.
//! - [`ops`]: operator tables to kernel profiles and back; [`ops_gemm`] holds the families of dense products,
//!   [`ops_attention`], [`ops_attention_mla`] and [`ops_attention_linear`] those of attention, [`ops_moe`] that of routed
//!   experts, [`ops_comm`] those of collectives and expert exchange.
//! - [`stats`]: splits and error statistics.
//! - [`training`]: published training runs against predictions.

pub mod fit;
pub mod ops;
pub mod ops_attention;
pub mod ops_attention_linear;
pub mod ops_attention_mla;
pub mod ops_comm;
pub mod ops_gemm;
pub mod ops_moe;
pub mod stats;
pub mod training;
