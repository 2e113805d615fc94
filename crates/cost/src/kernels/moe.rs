//! Routed experts priced from the profiles.

use super::select::{Choice, Kernels, KernelsError, Origin, Priced, SetQuery};
use super::{KernelSet, ProfileError};
use crate::ops::moe::{self, MoeKernel, MoeWave12, RowTiles};
use crate::ops::{GroupedMoe, Machine, OpCost, Precision};
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
    coefficients: MoeWave12,
    machine: Machine,
    set: Arc<KernelSet>,
    origin: Origin,
    sigma: f64,
    /// No correction of the set is larger, ln.
    largest: f64,
}

impl PricedMoe {
    /// Puts a chosen set on a machine.
    ///
    /// # Errors
    /// If the set lacks a coefficient or names an unknown structure.
    pub fn new(choice: Choice, wanted: Precision, machine: Machine) -> Result<Self, ProfileError> {
        let Choice { set, origin, sigma } = choice;
        let kernel = moe_structure(&set, wanted)?;
        let coefficients = MoeWave12::from_slice(&set.values(&moe::PARAMS)?);
        let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
        let largest = set.residual.grids.iter().map(|grid| most(&grid.values)).sum();
        Ok(Self { kernel, coefficients, machine, set, origin, sigma, largest })
    }

    /// Price of one layer's routed experts on one rank in a real step. For a fixed layout it never falls when tokens,
    /// and with them rows and experts touched, grow: measured kernels have such dips (a better tile at a rounder
    /// number), but which side of one a step falls on is noise that a scheduler must not chase.
    pub fn price(&self, op: &GroupedMoe) -> OpCost {
        let (mut cost, lower) = self.between(op);
        cost.time = Seconds::new(lower);
        cost
    }

    /// Price as a benchmark table measures it, under a load that the table's sampler gives.
    pub fn benchmark(&self, op: &GroupedMoe, load: &Load) -> OpCost {
        let mut cost = self.kernel.price(&self.coefficients, &self.machine, op, load);
        cost.time = cost.time * self.correction(op, load).exp();
        cost
    }

    /// Where the coefficients come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Standard deviation of ln(true / predicted time).
    pub fn sigma(&self) -> f64 {
        self.sigma
    }

    fn correction(&self, op: &GroupedMoe, load: &Load) -> f64 {
        self.set.log_correction(&MOE_FEATURES, &moe_features(op, load))
    }

    fn form(&self, op: &GroupedMoe) -> OpCost {
        let load = Load::spread(op.local_rows, op.active_experts);
        self.kernel.price(&self.coefficients, &self.machine, op, &load)
    }

    /// The form at `op`, and the corrected time. The correction applies at powers of two of the tokens, as the highest
    /// corrected time up to there; between two of them the time moves from one to the other as the form does.
    fn between(&self, op: &GroupedMoe) -> (OpCost, f64) {
        let cost = self.form(op);
        if self.set.residual.is_empty() || op.tokens <= 0.0 {
            return (cost, cost.time.get());
        }
        let low = op.tokens.log2().floor().exp2();
        let (below, above) = (at_tokens(op, low), at_tokens(op, 2.0 * low));
        let (form_below, form_above) = (self.form(&below).time.get(), self.form(&above).time.get());
        let mut floor = self.corrected(&below, form_below);
        // Fewer tokens can only cost more by as much as the largest correction.
        let mut earlier = 0.5 * low;
        while earlier >= 1.0 {
            let op = at_tokens(op, earlier);
            let form = self.form(&op).time.get();
            if form * self.largest.exp() <= floor {
                break;
            }
            floor = floor.max(self.corrected(&op, form));
            earlier *= 0.5;
        }
        let ceiling = self.corrected(&above, form_above).max(floor);
        let span = form_above - form_below;
        let share = if span > 0.0 { (cost.time.get() - form_below) / span } else { 0.0 };
        (cost, floor + (ceiling - floor) * share.clamp(0.0, 1.0))
    }

    fn corrected(&self, op: &GroupedMoe, form: f64) -> f64 {
        let load = Load::spread(op.local_rows, op.active_experts);
        form * self.correction(op, &load).exp()
    }
}

/// The same layout and imbalance with another number of tokens. Experts touched keep their ratio to what equally
/// likely ones would give for the same rows.
fn at_tokens(op: &GroupedMoe, tokens: f64) -> GroupedMoe {
    let rows = op.local_rows * tokens / op.tokens;
    let even = routing::touched(op.local_rows, op.local_experts).max(f64::MIN_POSITIVE);
    let active = op.active_experts / even * routing::touched(rows, op.local_experts);
    GroupedMoe { tokens, local_rows: rows, active_experts: active.min(op.local_experts), ..*op }
}

/// The structure that `set` names, with the element sizes of the formats `wanted`.
pub fn moe_structure(set: &KernelSet, wanted: Precision) -> Result<MoeKernel, ProfileError> {
    let tiles = set.structure.get("tiles").map_or("any", String::as_str);
    let tiles = RowTiles::from_name(tiles).ok_or_else(|| ProfileError::Structure {
        set: set.label(),
        key: "tiles",
        value: tiles.to_owned(),
        allowed: "`any`, `wide`, `large`, `b64` or `huge`",
    })?;
    Ok(MoeKernel {
        tiles,
        global_rows: set.flag("global_rows")?,
        weight_bytes: wanted.weight.bytes(),
        activation_bytes: wanted.activation.bytes(),
    })
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
        let machine = self.machine(multiplied.activation)?;
        let precisions = moe_alike(multiplied);
        let query = SetQuery { family: MOE, precisions: &precisions, kernel: None };
        let mut candidates = self.candidates(&query);
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
                && measured_gate(&choice.set).is_none_or(|measured| measured == gated)
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

/// Whether the rows behind `set` all had a gate matrix or all had none; `None` if both occur.
fn measured_gate(set: &KernelSet) -> Option<bool> {
    match set.structure.get("gate").map(String::as_str) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ => None,
    }
}

#[cfg(test)]
#[path = "moe_tests.rs"]
mod tests;
