//! Routed experts priced from the profiles.

use super::select::{Choice, Kernels, KernelsError, Machines, Origin, Priced, SetQuery};
use super::{KernelSet, ProfileError};
use crate::ops::moe::{self, BENCHMARK_ROTATION, MoeKernel, MoeWave14};
use crate::ops::{GroupedMoe, OpCost, Precision};
use crate::routing::{self, Load};
use std::sync::Arc;
use units::{Dtype, Seconds};

/// Family of routed experts in profiles.
pub const MOE: &str = "moe";
/// Features of the residual: tokens over the expert-parallel group, rows per expert touched, experts touched, elements
/// of one matrix of an expert on this rank, experts per choice (`experts / topk`), ranks that share the experts.
pub const MOE_FEATURES: [&str; 6] =
    ["tokens", "rows_per_expert", "active_experts", "expert_elements", "experts_per_choice", "ep"];

/// The features of `op` under `load`, in the order of [`MOE_FEATURES`].
pub fn moe_features(op: &GroupedMoe, load: &Load) -> [f64; 6] {
    [
        op.tokens,
        load.rows / load.active_experts.max(f64::MIN_POSITIVE),
        load.active_experts,
        op.hidden * op.intermediate,
        op.experts / op.topk,
        op.experts / op.local_experts,
    ]
}

/// A routed-experts operator's coefficients on one rank, looked up once and then evaluated for any shape.
#[derive(Debug, Clone)]
pub struct PricedMoe {
    kernel: MoeKernel,
    coefficients: MoeWave14,
    machines: Machines,
    set: Arc<KernelSet>,
    origin: Origin,
    sigma: f64,
    /// No correction of the set multiplies by more.
    largest: f64,
}

impl PricedMoe {
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
        let kernel = MoeKernel::from_structure(&set.structure, wanted, &set.label())?;
        let coefficients = MoeWave14::from_slice(&set.values(&moe::PARAMS)?);
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let largest = set.residual.grids.iter().map(|grid| most(&grid.values)).sum::<f64>().exp();
        Ok(Self { kernel, coefficients, machines: machines.into(), set, origin, sigma, largest })
    }

    /// Price of one layer's routed experts on one rank in a real step. For a fixed layout it never falls when tokens,
    /// and with them rows and experts touched, grow: measured kernels have such dips (a better tile at a rounder
    /// number), but which side of one a step falls on is noise that a scheduler must not chase.
    pub fn price(&self, op: &GroupedMoe) -> OpCost {
        let (mut cost, time) = self.between(op);
        cost.time = Seconds::new(time);
        cost
    }

    /// Price as a benchmark table measures it, under a load that the table's sampler gives.
    pub fn benchmark(&self, op: &GroupedMoe, load: &Load) -> OpCost {
        let mut cost = self.form(op, load, BENCHMARK_ROTATION);
        cost.time = cost.time * self.correction(op, load).exp();
        cost
    }

    /// The launch latency within the price, as the tables measured it.
    pub fn launch(&self) -> Seconds {
        Seconds::new(self.set.params.get("t0").copied().unwrap_or(0.0))
    }

    /// Where the coefficients come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Standard deviation of ln(true / predicted time).
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    fn form(&self, op: &GroupedMoe, load: &Load, rotation: f64) -> OpCost {
        self.machines.quickest(|machine| self.kernel.price(&self.coefficients, machine, op, load, rotation))
    }

    fn correction(&self, op: &GroupedMoe, load: &Load) -> f64 {
        self.set.log_correction(&MOE_FEATURES, &moe_features(op, load))
    }

    /// The form at `op`, and the corrected time. The correction applies at powers of two of the tokens, as the highest
    /// corrected time up to there; between two of them the time moves from one to the other as the form does.
    fn between(&self, op: &GroupedMoe) -> (OpCost, f64) {
        let load = Load::unequal(op.local_rows, op.local_experts, op.active_experts, op.spread);
        let cost = self.form(op, &load, f64::INFINITY);
        if self.set.residual.is_empty() || op.tokens <= 0.0 {
            return (cost, cost.time.get());
        }
        let path = Path::through(op);
        let low = op.tokens.log2().floor().exp2();
        let (form_below, mut floor) = self.corrected(&path.at(low), f64::INFINITY);
        let (form_above, ceiling) = self.corrected(&path.at(2.0 * low), f64::INFINITY);
        // Fewer tokens can only cost more by as much as the largest correction.
        let mut earlier = 0.5 * low;
        while earlier >= 1.0 {
            let (form, corrected) = self.corrected(&path.at(earlier), floor);
            if form * self.largest <= floor {
                break;
            }
            floor = floor.max(corrected);
            earlier *= 0.5;
        }
        let ceiling = ceiling.max(floor);
        let span = form_above - form_below;
        let share = if span > 0.0 { (cost.time.get() - form_below) / span } else { 0.0 };
        (cost, floor + (ceiling - floor) * share.clamp(0.0, 1.0))
    }

    /// The form and the corrected time; the latter is left out if it cannot exceed `floor`.
    fn corrected(&self, op: &GroupedMoe, floor: f64) -> (f64, f64) {
        let load = Load::unequal(op.local_rows, op.local_experts, op.active_experts, op.spread);
        let form = self.form(op, &load, f64::INFINITY).time.get();
        let skip = floor.is_finite() && form * self.largest <= floor;
        (form, if skip { form } else { form * self.correction(op, &load).exp() })
    }
}

/// The same layout and imbalance with other numbers of tokens.
struct Path<'a> {
    op: &'a GroupedMoe,
    /// Experts touched over what the spread of the choice would give for the same rows.
    skew: f64,
}

impl<'a> Path<'a> {
    fn through(op: &'a GroupedMoe) -> Self {
        let even =
            routing::touched_unequally(op.local_rows, op.local_experts, op.spread).max(f64::MIN_POSITIVE);
        Self { op, skew: op.active_experts / even }
    }

    fn at(&self, tokens: f64) -> GroupedMoe {
        let rows = self.op.local_rows * tokens / self.op.tokens;
        let active = self.skew * routing::touched_unequally(rows, self.op.local_experts, self.op.spread);
        GroupedMoe { tokens, local_rows: rows, active_experts: active.min(self.op.local_experts), ..*self.op }
    }
}

/// Formats whose grouped products behave like those of `wanted`, itself first: other narrow weights with the same
/// activations, then the same arithmetic with both operands alike.
pub fn moe_alike(wanted: Precision) -> Vec<Precision> {
    let pair = |weight, activation| Precision { weight, activation };
    let mut list = vec![wanted];
    let narrow = [Dtype::Mxfp4, Dtype::Int4, Dtype::Nvfp4];
    let relatives: &[(Dtype, Dtype)] = match wanted.activation {
        Dtype::Bf16 | Dtype::Fp16 | Dtype::Fp32 | Dtype::Tf32 => &[(Dtype::Bf16, Dtype::Bf16)],
        Dtype::Int8 => &[(Dtype::Int8, Dtype::Int8), (Dtype::Fp8, Dtype::Fp8)],
        Dtype::Nvfp4 | Dtype::Mxfp4 | Dtype::Int4 => &[
            (Dtype::Nvfp4, Dtype::Nvfp4),
            (Dtype::Mxfp4, Dtype::Mxfp8),
            (Dtype::Fp8Block, Dtype::Fp8Block),
            (Dtype::Fp8, Dtype::Fp8),
        ],
        Dtype::Fp8 | Dtype::Fp8Block | Dtype::Mxfp8 | Dtype::Hif8 => &[
            (Dtype::Fp8, Dtype::Fp8),
            (Dtype::Fp8Block, Dtype::Fp8Block),
            (Dtype::Int8, Dtype::Int8),
            (Dtype::Mxfp4, Dtype::Mxfp8),
        ],
    };
    if wanted.weight.bytes() < 0.7 && wanted.activation.bytes() > 0.7 {
        list.extend(narrow.map(|weight| pair(weight, wanted.activation)));
        if wanted.activation.bytes() < 1.5 {
            list.push(pair(Dtype::Mxfp4, Dtype::Mxfp8));
        }
    }
    list.extend(relatives.iter().map(|(weight, activation)| pair(*weight, *activation)));
    let mut distinct: Vec<Precision> = Vec::with_capacity(list.len());
    for precision in list {
        if !distinct.contains(&precision) {
            distinct.push(precision);
        }
    }
    distinct
}

impl Kernels {
    /// The routed-experts kernel for experts stored and multiplied as `precision` says, with a gate matrix or without,
    /// to be kept and evaluated for many shapes.
    ///
    /// # Errors
    /// If nothing measured, borrowed or generic fits, or the chip cannot multiply the format.
    pub fn moe_kernel(&self, precision: Precision, gated: bool) -> Result<PricedMoe, KernelsError> {
        // A chip that cannot multiply the format widens the operands, and reads the narrow weights all the same.
        let wider = self.rank().compute_dtype(precision.activation).unwrap_or(precision.activation);
        let multiplied = if wider.bytes() > precision.activation.bytes() * 1.5 {
            Precision { weight: precision.weight, activation: wider }
        } else {
            precision
        };
        let machine = self.machines(multiplied.activation)?;
        let precisions = moe_alike(multiplied);
        let query = SetQuery { family: MOE, precisions: &precisions, kernel: None };
        let mut candidates = self.candidates(&query)?;
        let Some(nearest) = candidates.first() else {
            return self.select(&query).and_then(|choice| Ok(PricedMoe::new(choice, multiplied, machine)?));
        };
        // Among the kernels of the same stack and format, one measured on experts of this kind.
        let (stack, precision) = (nearest.set.stack.clone(), nearest.set.precision);
        let origin = nearest.origin.clone();
        let of_this_kind = candidates.iter().position(|choice| {
            choice.set.stack == stack
                && choice.set.precision == precision
                && choice.origin == origin
                && measured_gate(&choice.set) == gated
        });
        let choice = candidates.swap_remove(of_this_kind.unwrap_or(0));
        Ok(PricedMoe::new(choice, multiplied, machine)?)
    }

    /// One layer's routed experts on one rank in a real step.
    ///
    /// # Errors
    /// As [`Kernels::moe_kernel`].
    pub fn moe(&self, op: GroupedMoe, precision: Precision) -> Result<Priced, KernelsError> {
        let kernel = self.moe_kernel(precision, op.gated)?;
        Ok(Priced { cost: kernel.price(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// The same as a benchmark table measures it, under a load that the table's sampler gives.
    ///
    /// # Errors
    /// As [`Kernels::moe_kernel`].
    pub fn moe_benchmark(
        &self,
        op: GroupedMoe,
        load: &Load,
        precision: Precision,
    ) -> Result<Priced, KernelsError> {
        let kernel = self.moe_kernel(precision, op.gated)?;
        Ok(Priced { cost: kernel.benchmark(&op, load), origin: kernel.origin, sigma: kernel.sigma })
    }
}

/// Whether `set` was measured on experts with a gate matrix (or both kinds), or without.
fn measured_gate(set: &KernelSet) -> bool {
    set.structure.get("layer").is_none_or(|layer| layer != "ungated")
}

#[cfg(test)]
#[path = "moe_tests.rs"]
mod tests;
