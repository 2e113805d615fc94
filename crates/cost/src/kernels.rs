//! Coefficients of one chip and one stack, and the choice among what has been measured.
//!
//! A [`Profile`] is one file of the catalog: kernel sets of one chip and one operator group, each a form with named
//! coefficients, structural options, an optional [`Residual`] and the errors it was held to. [`Kernels`] picks for an
//! operator the nearest set (same chip and stack, then same chip, then a relative, then the generic medians) and says
//! in [`Origin`] which it was.
//!
//! Files are named `<chip>.<group>.toml` (`h100.gemm.toml`, `h100.attention.toml`, `h100.moe.toml`); one group may
//! hold several families (`gemm` and `quantize` live in `gemm`).

mod attention;
mod decode_table;
mod gemm;
mod linear;
mod moe;
mod param;
mod profile;
mod profile_text;
mod residual;
mod select;

pub use attention::{
    ATTENTION_DECODE, ATTENTION_PREFILL, DECODE_FEATURES, MLA_DECODE, MLA_PREFILL, PREFILL_FEATURES,
    PricedDecode, PricedPrefill, attention_alike, decode_features, prefill_features, prefill_structure,
};
pub use decode_table::DecodeTable;
pub use gemm::{
    GEMM, GEMM_FEATURES, PricedGemm, QUANTIZE, QUANTIZE_FEATURES, SCALE_KERNEL, alike, gemm_kernel,
    quantize_bytes,
};
pub use linear::{
    CONVOLUTION_DECODE, CONVOLUTION_PREFILL, LINEAR_FEATURES, LinearLayer, PricedLinear, SCAN_DECODE,
    SCAN_PREFILL, linear_features,
};
pub use moe::{MOE, MOE_FEATURES, PricedMoe, moe_alike, moe_features};
pub use param::{Param, ParamSpec};
pub use profile::{Errors, KernelSet, MedianP90, Profile, ProfileError};
pub use residual::{Axis, Grid, Residual, ResidualError};
pub use select::{Choice, Kernels, KernelsError, Machines, Origin, Priced, SetQuery};
