//! Which number formats a chip's matrix units can train in.

use crate::error::JobError;
use hardware::Chip;
use units::{Dtype, FlopPerSecond};

/// Formats of a data sheet that show a matrix unit for `wanted`: itself, and those whose unit multiplies it too. Scales
/// of fine blocks come with the 4-bit formats; scales of whole tensors or of 128 elements are software.
fn shown_by(wanted: Dtype) -> &'static [Dtype] {
    match wanted {
        Dtype::Fp8 | Dtype::Fp8Block => &[Dtype::Fp8, Dtype::Mxfp8],
        Dtype::Mxfp8 => &[Dtype::Mxfp8, Dtype::Mxfp4, Dtype::Nvfp4],
        Dtype::Mxfp4 => &[Dtype::Mxfp4, Dtype::Nvfp4],
        Dtype::Nvfp4 => &[Dtype::Nvfp4],
        Dtype::Hif8 => &[Dtype::Hif8],
        Dtype::Int8 => &[Dtype::Int8],
        Dtype::Int4 => &[Dtype::Int4],
        Dtype::Bf16 => &[Dtype::Bf16],
        Dtype::Fp16 => &[Dtype::Fp16],
        Dtype::Tf32 | Dtype::Fp32 => &[Dtype::Tf32, Dtype::Fp32],
    }
}

/// Dense peak of a rank of `chip` in `precision`.
///
/// A format that the matrix units lack is refused, as training frameworks refuse it: to compute in a wider one and convert
/// back and forth is another job, and never a faster one.
///
/// # Errors
/// The chip has no such unit; the error lists what it has.
pub fn peak(chip: &Chip, precision: Dtype) -> Result<FlopPerSecond, JobError> {
    let matrix = &chip.rank.matrix;
    let native = shown_by(precision).iter().any(|format| matrix.contains_key(format));
    native.then(|| chip.rank.peak(precision)).flatten().ok_or_else(|| JobError::Precision {
        chip: chip.id.clone(),
        precision: precision.to_string(),
        known: matrix.keys().map(Dtype::to_string).collect::<Vec<_>>().join(", "),
    })
}
