//! A model in other formats than its checkpoint's.

use crate::arch::{Ffn, Model, Quantization};
use units::Dtype;

/// Formats asked for, as the columns of measured serving points name them; `None` keeps the checkpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dtypes {
    /// Weights.
    pub weights: Option<Dtype>,
    /// Activations.
    pub activations: Option<Dtype>,
    /// The cache.
    pub kv: Option<Dtype>,
    /// Routed experts.
    pub experts: Option<Dtype>,
}

impl Model {
    /// The same model in other formats.
    ///
    /// A format that the checkpoint has already, if by a finer name (`fp8` where it has 128-blocks), changes nothing.
    /// Four bits for the weights of a mixture of experts mean the experts and the networks beside them: published
    /// four-bit checkpoints leave attention in 16 bits. Of the experts' format given alone, only the experts change.
    #[must_use]
    pub fn with_dtypes(mut self, wanted: Dtypes) -> Self {
        let sparse = self.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_)));
        let formats = &mut self.quantization;
        if let Some(weights) = wanted.weights.filter(|weights| !already(formats, *weights, sparse)) {
            let four_bits = weights.multiplier_bits() == 4;
            formats.group = None;
            formats.weights = weights;
            formats.attention = if four_bits && sparse { Dtype::Bf16 } else { weights };
            formats.experts = weights;
            formats.activations = weights;
            formats.expert_activations = weights;
        }
        if let Some(experts) = wanted.experts.filter(|experts| !same(formats.experts, *experts)) {
            formats.group = None;
            formats.experts = experts;
        }
        if let Some(activations) = wanted.activations {
            set(&mut formats.activations, activations);
            set(&mut formats.expert_activations, activations);
        }
        if let Some(kv) = wanted.kv {
            formats.kv = kv;
        }
        self
    }
}

/// Whether the checkpoint's main weights have the format: for a mixture of experts in four bits, the experts.
fn already(formats: &Quantization, wanted: Dtype, sparse: bool) -> bool {
    same(formats.weights, wanted)
        || (sparse && wanted.multiplier_bits() == 4 && same(formats.experts, wanted))
}

/// Whether one format is the other by a finer name.
fn same(have: Dtype, wanted: Dtype) -> bool {
    have == wanted || (have == Dtype::Fp8Block && wanted == Dtype::Fp8)
}

fn set(format: &mut Dtype, wanted: Dtype) {
    if !same(*format, wanted) {
        *format = wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin;

    fn formats(
        id: &str,
        weights: Option<Dtype>,
        activations: Option<Dtype>,
        experts: Option<Dtype>,
    ) -> String {
        let model = builtin(id).expect("a built-in model");
        let q =
            model.with_dtypes(Dtypes { weights, activations, kv: Some(Dtype::Int8), experts }).quantization;
        format!(
            "{} {} | {} | {} {} | {}",
            q.weights, q.activations, q.attention, q.experts, q.expert_activations, q.kv
        )
    }

    #[test]
    fn columns_of_measured_points() {
        use Dtype::{Bf16, Fp8, Int4, Int8, Nvfp4};
        let check = |id: &str, w, a, m, expected: &str| assert_eq!(formats(id, w, a, m), expected, "{id}");
        check(
            "DeepSeek-R1",
            Some(Fp8),
            Some(Fp8),
            Some(Fp8),
            "fp8_block fp8_block | fp8_block | fp8_block fp8_block | int8",
        );
        check("DeepSeek-R1", Some(Int8), Some(Int8), Some(Int8), "int8 int8 | int8 | int8 int8 | int8");
        check("DeepSeek-R1", Some(Int8), Some(Int8), Some(Int4), "int8 int8 | int8 | int4 int8 | int8");
        check(
            "DeepSeek-R1",
            Some(Nvfp4),
            Some(Nvfp4),
            Some(Nvfp4),
            "nvfp4 nvfp4 | bf16 | nvfp4 nvfp4 | int8",
        );
        check("Qwen3-32B", Some(Nvfp4), Some(Nvfp4), None, "nvfp4 nvfp4 | nvfp4 | nvfp4 nvfp4 | int8");
        check("Qwen3-32B", None, None, None, "bf16 bf16 | bf16 | bf16 bf16 | int8");
        check("Qwen3-30B-A3B", None, None, Some(Int4), "bf16 bf16 | bf16 | int4 bf16 | int8");
        check("Qwen3-32B", Some(Int4), Some(Bf16), None, "int4 bf16 | int4 | int4 bf16 | int8");
    }
}
