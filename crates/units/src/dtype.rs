//! Number formats of weights, activations and caches.

use std::fmt;
use std::str::FromStr;

/// A number format as checkpoints, engines and datasheets name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    Fp32,
    /// TensorFloat-32 (a compute format: 19 significant bits in 32).
    Tf32,
    /// bfloat16.
    Bf16,
    /// IEEE half precision.
    Fp16,
    /// 8-bit float with one scale per tensor or channel.
    Fp8,
    /// 8-bit float with one scale per 128 x 128 weight block and 1 x 128 activations.
    Fp8Block,
    /// Microscaling 8-bit float: one 8-bit exponent per 32 values.
    Mxfp8,
    /// Huawei's 8-bit float with tapered precision.
    Hif8,
    /// 8-bit integer.
    Int8,
    /// 4-bit integer with group scales.
    Int4,
    /// NVIDIA 4-bit float: one 8-bit scale per 16 values.
    Nvfp4,
    /// Microscaling 4-bit float: one 8-bit exponent per 32 values.
    Mxfp4,
}

impl Dtype {
    /// Every format, widest first.
    pub const ALL: [Self; 12] = [
        Self::Fp32,
        Self::Tf32,
        Self::Bf16,
        Self::Fp16,
        Self::Fp8,
        Self::Fp8Block,
        Self::Mxfp8,
        Self::Hif8,
        Self::Int8,
        Self::Int4,
        Self::Nvfp4,
        Self::Mxfp4,
    ];

    /// The canonical name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fp32 => "fp32",
            Self::Tf32 => "tf32",
            Self::Bf16 => "bf16",
            Self::Fp16 => "fp16",
            Self::Fp8 => "fp8",
            Self::Fp8Block => "fp8_block",
            Self::Mxfp8 => "mxfp8",
            Self::Hif8 => "hif8",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
            Self::Nvfp4 => "nvfp4",
            Self::Mxfp4 => "mxfp4",
        }
    }

    /// Bytes per element, scales included.
    pub const fn bytes(self) -> f64 {
        match self {
            Self::Fp32 | Self::Tf32 => 4.0,
            Self::Bf16 | Self::Fp16 => 2.0,
            Self::Fp8 | Self::Hif8 | Self::Int8 => 1.0,
            Self::Fp8Block => 1.0 + 4.0 / (128.0 * 128.0),
            Self::Mxfp8 => 1.0 + 1.0 / 32.0,
            Self::Int4 => 0.5 + 2.0 / 128.0,
            Self::Nvfp4 => 0.5 + 1.0 / 16.0,
            Self::Mxfp4 => 0.5 + 1.0 / 32.0,
        }
    }

    /// Bits of one operand as the matrix unit multiplies it, which export rules count.
    pub const fn multiplier_bits(self) -> u32 {
        match self {
            Self::Fp32 => 32,
            Self::Tf32 => 19,
            Self::Bf16 | Self::Fp16 => 16,
            Self::Fp8 | Self::Fp8Block | Self::Mxfp8 | Self::Hif8 | Self::Int8 => 8,
            Self::Int4 | Self::Nvfp4 | Self::Mxfp4 => 4,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no number format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a number format; use one of fp32, tf32, bf16, fp16, fp8, fp8_block, mxfp8, hif8, int8, int4, nvfp4, mxfp4"
)]
pub struct UnknownDtype(
    /// What was given.
    pub String,
);

impl FromStr for Dtype {
    type Err = UnknownDtype;

    /// Reads the canonical names and the field's other spellings (`bfloat16`, `float16`, `e4m3`, `w8a8`, `fp4` ...).
    fn from_str(text: &str) -> Result<Self, UnknownDtype> {
        let lower = text.trim().to_ascii_lowercase();
        Ok(match lower.as_str() {
            "fp32" | "float32" | "float" => Self::Fp32,
            "tf32" => Self::Tf32,
            "bf16" | "bfloat16" => Self::Bf16,
            "fp16" | "float16" | "half" => Self::Fp16,
            "fp8" | "float8" | "e4m3" | "fp8_e4m3" | "float8_e4m3fn" => Self::Fp8,
            "fp8_block" => Self::Fp8Block,
            "mxfp8" => Self::Mxfp8,
            "hif8" => Self::Hif8,
            "int8" | "w8a8" => Self::Int8,
            "int4" | "w4a16" => Self::Int4,
            "nvfp4" | "fp4" => Self::Nvfp4,
            "mxfp4" => Self::Mxfp4,
            _ => return Err(UnknownDtype(text.to_owned())),
        })
    }
}

impl serde::Serialize for Dtype {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for Dtype {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
