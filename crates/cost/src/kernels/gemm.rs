//! Dense products and streaming kernels priced from the profiles.

use super::select::{Choice, Kernels, KernelsError, Machines, Origin, Priced, SetQuery};
use super::{KernelSet, ProfileError};
use crate::ops::elementwise::{self, Elementwise};
use crate::ops::gemm::{self, BENCHMARK_ROTATION, GemmKernel, TileSet, Wave12};
use crate::ops::{Gemm, OpCost, Precision};
use std::sync::Arc;
use units::{Bytes, Dtype, Seconds};

/// Family of dense products in profiles.
pub const GEMM: &str = "gemm";
/// Family of activation quantisation in profiles.
pub const QUANTIZE: &str = "quantize";
/// Name under which profiles hold the quantise kernel that knows its scale.
pub const SCALE_KERNEL: &str = "scale_matrix";
/// Features of the residual of dense products.
pub const GEMM_FEATURES: [&str; 3] = ["m", "n", "k"];
/// Features of the residual of quantisation.
pub const QUANTIZE_FEATURES: [&str; 2] = ["m", "k"];

/// A dense product's coefficients on one rank, looked up once and then evaluated for any shape.
#[derive(Debug, Clone)]
pub struct PricedGemm {
    kernel: GemmKernel,
    coefficients: Wave12,
    machines: Machines,
    set: Arc<KernelSet>,
    corrected: bool,
    origin: Origin,
    sigma: f64,
}

impl PricedGemm {
    /// Puts a chosen set on a machine.
    ///
    /// # Errors
    /// If the set lacks a coefficient or names an unknown structure.
    pub fn new(
        choice: Choice,
        wanted: Precision,
        machines: impl Into<Machines>,
    ) -> Result<Self, ProfileError> {
        let Choice { set, origin, sigma } = choice;
        let kernel = gemm_kernel(&set, wanted)?;
        let count = if kernel.quantise { gemm::PARAMS.len() } else { gemm::PARAMS.len() - 1 };
        let coefficients = Wave12::from_slice(&set.values(&gemm::PARAMS[..count])?);
        let corrected = set.corrects(&GEMM_FEATURES);
        Ok(Self { kernel, coefficients, machines: machines.into(), set, corrected, origin, sigma })
    }

    /// Price with weights that no cache holds, as in a model's step.
    pub fn price(&self, op: Gemm) -> OpCost {
        self.price_rotating(op, f64::INFINITY)
    }

    /// Price as the benchmark tables measure it, a few operand sets taking turns in a partly warm cache.
    pub fn benchmark(&self, op: Gemm) -> OpCost {
        self.price_rotating(op, BENCHMARK_ROTATION)
    }

    /// The same kernel fed with activations that are already in its format (quantised by the kernel before).
    #[must_use]
    pub fn without_quantise(mut self) -> Self {
        self.kernel.quantise = false;
        self
    }

    /// The kernel where a static scale lets the kernel before it quantise: no quantiser is launched, and what is left
    /// of the launch is that of `plain`, the same stack's product without one.
    #[must_use]
    pub fn fused(mut self, plain: &Self) -> Self {
        if self.kernel.quantise {
            self.kernel.quantise = false;
            self.coefficients = self.coefficients.with_launch_of(&plain.coefficients);
        }
        self
    }

    /// The launch latency within the price, as the tables measured it.
    pub fn launch(&self) -> Seconds {
        self.coefficients.launch()
    }

    /// Where the coefficients come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Standard deviation of ln(true / predicted time).
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    fn price_rotating(&self, op: Gemm, rotation: f64) -> OpCost {
        let mut cost =
            self.machines.quickest(|machine| self.kernel.price(&self.coefficients, machine, op, rotation));
        if self.corrected {
            cost.time = cost.time * self.set.residual.log_correction(&[op.m, op.n, op.k]).exp();
        }
        cost
    }
}

/// The structure that `set` names, with the element sizes of the formats `wanted`.
pub fn gemm_kernel(set: &KernelSet, wanted: Precision) -> Result<GemmKernel, ProfileError> {
    let tiles = set.structure.get("tiles").map_or("all", String::as_str);
    let tiles = TileSet::from_name(tiles).ok_or_else(|| ProfileError::Structure {
        set: set.label(),
        key: "tiles",
        value: tiles.to_owned(),
        allowed: "`all`, `m64`, `m128` or `m128L`",
    })?;
    Ok(GemmKernel {
        tiles,
        split_k: set.flag("split_k")?,
        weight_bytes: wanted.weight.bytes(),
        activation_bytes: wanted.activation.bytes(),
        quantise: set.flag("quantise")?,
    })
}

/// Formats whose kernels behave like those of `wanted`, itself first. Weight-only formats fall back on the product in
/// their activation format: the arithmetic is the same and the narrower weights are counted by their own bytes.
pub fn alike(wanted: Precision) -> Vec<Precision> {
    let both = |dtype| Precision { weight: dtype, activation: dtype };
    let mut list = vec![wanted];
    let mut add = |precision| {
        if !list.contains(&precision) {
            list.push(precision);
        }
    };
    let (weight, activation) = (wanted.weight.bytes(), wanted.activation.bytes());
    if activation > NARROW && weight < NARROW {
        add(Precision { weight: Dtype::Int4, activation: Dtype::Bf16 });
        add(Precision { weight: Dtype::Int8, activation: Dtype::Bf16 });
    } else if activation < NARROW && (weight - activation).abs() < 0.25 {
        // Two names of 8-bit formats: how the weights are scaled decides the kernel.
        add(both(wanted.weight));
    }
    let relatives: &[Dtype] = match wanted.activation {
        Dtype::Bf16 | Dtype::Fp16 | Dtype::Fp32 | Dtype::Tf32 => &[Dtype::Bf16],
        Dtype::Fp8 | Dtype::Hif8 | Dtype::Mxfp8 => &[Dtype::Fp8, Dtype::Fp8Block, Dtype::Int8],
        Dtype::Fp8Block => &[Dtype::Fp8Block, Dtype::Fp8, Dtype::Int8],
        Dtype::Int8 => &[Dtype::Int8, Dtype::Fp8],
        Dtype::Nvfp4 | Dtype::Mxfp4 | Dtype::Int4 => &[Dtype::Nvfp4, Dtype::Fp8],
    };
    relatives.iter().for_each(|dtype| add(both(*dtype)));
    list
}

/// Bytes per element below which a format needs scales: everything narrower than 16 bits.
const NARROW: f64 = 1.5;

impl Kernels {
    /// The dense-product kernel for operands of `precision`, to be kept and evaluated for many shapes.
    ///
    /// # Errors
    /// If nothing measured, borrowed or generic fits, or the chip cannot multiply the format.
    pub fn gemm_kernel(&self, precision: Precision) -> Result<PricedGemm, KernelsError> {
        // A chip that cannot multiply the format widens the operands: the product then runs as the wider format
        // with the narrow one's weight bytes.
        let wider = self.rank().compute_dtype(precision.activation).unwrap_or(precision.activation);
        let multiplied = if wider.bytes() > precision.activation.bytes() * 1.5 {
            Precision { weight: precision.weight, activation: wider }
        } else {
            precision
        };
        let machine = self.machines(multiplied.activation)?;
        let precisions = alike(multiplied);
        let choice = self.select(&SetQuery { family: GEMM, precisions: &precisions, kernel: None })?;
        Ok(PricedGemm::new(choice, multiplied, machine)?)
    }

    /// One dense product with cold weights; dynamic quantisation of its activations is included where the measured
    /// kernels include it.
    ///
    /// # Errors
    /// As [`Kernels::gemm_kernel`].
    pub fn gemm(&self, op: Gemm, precision: Precision) -> Result<Priced, KernelsError> {
        let kernel = self.gemm_kernel(precision)?;
        Ok(Priced { cost: kernel.price(op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// One dense product as a benchmark table measures it.
    ///
    /// # Errors
    /// As [`Kernels::gemm_kernel`].
    pub fn gemm_benchmark(&self, op: Gemm, precision: Precision) -> Result<Priced, KernelsError> {
        let kernel = self.gemm_kernel(precision)?;
        Ok(Priced { cost: kernel.benchmark(op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// A kernel that reads and writes `bytes` in all: a norm, rotary embedding, activation or residual add. No table
    /// covers these: the bandwidth share is assumed, the launch is that of the chip's measured quantise kernels.
    ///
    /// # Errors
    /// If the chip has no matrix unit at all.
    pub fn elementwise(&self, bytes: Bytes) -> Result<Priced, KernelsError> {
        let machine = self.machine(Dtype::Bf16)?;
        let cost = self.elementwise_kernel().price(&machine, bytes, f64::INFINITY);
        Ok(Priced { cost, origin: Origin::Generic, sigma: ELEMENTWISE_SIGMA })
    }

    /// The kernel behind [`Kernels::elementwise`], to be kept.
    pub fn elementwise_kernel(&self) -> Elementwise {
        let measured = self.quantize_set(Dtype::Fp8).ok().and_then(|choice| {
            let values = choice.set.values(&elementwise::PARAMS).ok()?;
            Some(Elementwise::from_slice(&values).launch())
        });
        Elementwise::assumed(measured.map_or(Elementwise::ASSUMED_LAUNCH, |launch| {
            Seconds::new(launch.get().min(Elementwise::ASSUMED_LAUNCH.get()))
        }))
    }

    /// Quantisation of `m` x `k` bf16 activations to `to`, with known scales.
    ///
    /// # Errors
    /// If no quantise kernel was measured on the chip or its relatives.
    pub fn quantize(&self, m: f64, k: f64, to: Dtype) -> Result<Priced, KernelsError> {
        let machine = self.machine(Dtype::Bf16)?;
        let choice = self.quantize_set(to)?;
        let kernel = Elementwise::from_slice(&choice.set.values(&elementwise::PARAMS)?);
        let mut cost = kernel.price(&machine, quantize_bytes(m, k, to), f64::INFINITY);
        cost.time = cost.time * choice.set.log_correction(&QUANTIZE_FEATURES, &[m, k]).exp();
        Ok(Priced { cost, origin: choice.origin, sigma: choice.sigma })
    }

    fn quantize_set(&self, to: Dtype) -> Result<Choice, KernelsError> {
        let precisions = [to, Dtype::Fp8].map(|dtype| Precision { weight: dtype, activation: Dtype::Bf16 });
        self.select(&SetQuery { family: QUANTIZE, precisions: &precisions, kernel: Some(SCALE_KERNEL) })
    }
}

/// Bytes a quantise kernel moves: it reads bf16 and writes `to`.
pub fn quantize_bytes(m: f64, k: f64, to: Dtype) -> Bytes {
    Bytes::new(m * k * (2.0 + to.bytes()))
}

/// Spread assumed for kernels that no table covers.
const ELEMENTWISE_SIGMA: f64 = 0.4;

#[cfg(test)]
#[path = "gemm_tests.rs"]
mod tests;
