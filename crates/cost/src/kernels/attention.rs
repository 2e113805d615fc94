//! Attention priced from the profiles: ordinary and latent, prefill and decode.

use super::select::{Choice, Kernels, KernelsError, Machines, Origin, Priced, SetQuery};
use super::{KernelSet, ProfileError};
use crate::ops::attention_decode::{self, DecodeKernel, DecodeWave10, Warmth};
use crate::ops::attention_prefill::{self, PrefillKernel, PrefillWave10};
use crate::ops::{AttentionDecode, AttentionPrefill, OpCost, Precision};
use std::collections::BTreeMap;
use std::sync::Arc;
use units::{Dtype, Seconds};

/// Family of prefill attention in profiles.
pub const ATTENTION_PREFILL: &str = "attention_prefill";
/// Family of decode attention in profiles.
pub const ATTENTION_DECODE: &str = "attention_decode";
/// Family of latent prefill attention in profiles, keys and values expanded.
pub const MLA_PREFILL: &str = "mla_prefill";
/// Family of latent decode attention in profiles.
pub const MLA_DECODE: &str = "mla_decode";

/// Features of the residual of prefill attention; see [`prefill_features`].
pub const PREFILL_FEATURES: [&str; 7] = ["new", "rows", "caches", "batch", "group", "head", "window"];
/// Features of the residual of decode attention; see [`decode_features`].
pub const DECODE_FEATURES: [&str; 6] = ["context", "caches", "batch", "group", "head", "window"];

/// New tokens, query heads over the batch, key/value heads over the batch, batch, query heads per key/value head, head
/// width, and 2 if a window limits the context, else 1.
pub fn prefill_features(op: &AttentionPrefill) -> [f64; 7] {
    let (rows, caches) = (op.batch * op.heads, op.batch * op.kv_heads);
    [op.new_tokens, rows, caches, op.batch, op.group(), op.qk_dim, windowed(op.window)]
}

/// Context, key/value heads over the batch, batch, query rows per key/value head, head width, and 2 if a window limits
/// the context, else 1.
pub fn decode_features(op: &AttentionDecode) -> [f64; 6] {
    [op.context, op.batch * op.kv_heads, op.batch, op.rows(), op.qk_dim, windowed(op.window)]
}

fn windowed(window: Option<f64>) -> f64 {
    if window.is_some() { 2.0 } else { 1.0 }
}

/// The kernel that a structure (`rows` and `packed`, as profiles store them) names, for a cache of `cache`.
///
/// # Errors
/// If the structure says something else; `label` names the set in the error.
pub fn prefill_structure(
    structure: &BTreeMap<String, String>,
    cache: Dtype,
    label: impl Fn() -> String,
) -> Result<PrefillKernel, ProfileError> {
    let text = |key: &str, default: &'static str| structure.get(key).map_or(default, String::as_str);
    let wrong = |key, value: &str, allowed| ProfileError::Structure {
        set: label(),
        key,
        value: value.to_owned(),
        allowed,
    };
    let rows = match text("rows", "128") {
        "64" => 64.0,
        "128" => 128.0,
        "256" => 256.0,
        other => return Err(wrong("rows", other, "`64`, `128` or `256`")),
    };
    let packed = match text("packed", "no") {
        "yes" => true,
        "no" => false,
        other => return Err(wrong("packed", other, "`yes` or `no`")),
    };
    Ok(PrefillKernel { rows, packed, cache_bytes: cache.bytes() })
}

/// Formats (cache, queries) whose kernels behave like those of `wanted`, itself first.
pub fn attention_alike(wanted: Precision) -> Vec<Precision> {
    let measured = |dtype: Dtype| if dtype.bytes() < 1.5 { Dtype::Fp8 } else { Dtype::Bf16 };
    let (weight, activation) = (measured(wanted.weight), measured(wanted.activation));
    let mut list = vec![wanted];
    for alike in [
        Precision { weight, activation },
        Precision { weight, activation: Dtype::Bf16 },
        Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 },
    ] {
        if !list.contains(&alike) {
            list.push(alike);
        }
    }
    list
}

/// Prefill attention's coefficients on one rank, looked up once and then evaluated for any shape.
#[derive(Debug, Clone)]
pub struct PricedPrefill {
    kernel: PrefillKernel,
    coefficients: PrefillWave10,
    machines: Machines,
    set: Arc<KernelSet>,
    origin: Origin,
    sigma: f64,
}

impl PricedPrefill {
    /// Puts a chosen set on a machine whose peak is that of the set's queries.
    ///
    /// # Errors
    /// If the set lacks a coefficient or names an unknown structure.
    pub fn new(
        choice: Choice,
        wanted: Precision,
        machines: impl Into<Machines>,
    ) -> Result<Self, ProfileError> {
        let Choice { set, origin, sigma } = choice;
        let kernel = prefill_structure(&set.structure, wanted.weight, || set.label())?;
        let coefficients = PrefillWave10::from_slice(&set.values(&attention_prefill::PARAMS)?);
        Ok(Self { kernel, coefficients, machines: machines.into(), set, origin, sigma })
    }

    /// Price of `op`. Nothing that a benchmark would find in a cache matters to it.
    pub fn price(&self, op: &AttentionPrefill) -> OpCost {
        let mut cost = self.machines.quickest(|machine| self.kernel.price(&self.coefficients, machine, op));
        cost.time = cost.time * self.set.log_correction(&PREFILL_FEATURES, &prefill_features(op)).exp();
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
}

/// Decode attention's coefficients on one rank, looked up once and then evaluated for any shape.
///
/// The form alone never falls with batch or context; with the correction for what the form leaves over it may, by
/// less than that correction. [`super::DecodeTable`] never does.
#[derive(Debug, Clone)]
pub struct PricedDecode {
    kernel: DecodeKernel,
    coefficients: DecodeWave10,
    machines: Machines,
    set: Arc<KernelSet>,
    origin: Origin,
    sigma: f64,
}

impl PricedDecode {
    /// Puts a chosen set on a machine whose peak is that of the set's queries.
    ///
    /// # Errors
    /// If the set lacks a coefficient.
    pub fn new(
        choice: Choice,
        wanted: Precision,
        machines: impl Into<Machines>,
    ) -> Result<Self, ProfileError> {
        let Choice { set, origin, sigma } = choice;
        let coefficients = DecodeWave10::from_slice(&set.values(&attention_decode::PARAMS)?);
        let kernel = DecodeKernel { cache_bytes: wanted.weight.bytes() };
        Ok(Self { kernel, coefficients, machines: machines.into(), set, origin, sigma })
    }

    /// Price with a cold cache, as in a model's step.
    pub fn price(&self, op: &AttentionDecode) -> OpCost {
        self.priced(op, Warmth::Cold)
    }

    /// Price as the benchmark tables measure it, the same cache read again and again.
    pub fn benchmark(&self, op: &AttentionDecode) -> OpCost {
        self.priced(op, Warmth::Benchmark)
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

    /// Bytes that `op` moves: queries, outputs and the cache.
    pub fn bytes(&self, op: &AttentionDecode) -> f64 {
        op.bytes(self.kernel.cache_bytes)
    }

    fn priced(&self, op: &AttentionDecode, warmth: Warmth) -> OpCost {
        let mut cost =
            self.machines.quickest(|machine| self.kernel.price(&self.coefficients, machine, op, warmth));
        cost.time = cost.time * self.set.log_correction(&DECODE_FEATURES, &decode_features(op)).exp();
        cost
    }
}

impl Kernels {
    /// Prefill attention over a cache of `precision.weight` with queries of `precision.activation` and heads `head`
    /// wide, to be kept and evaluated for many shapes.
    ///
    /// # Errors
    /// If nothing measured, borrowed or generic fits, or the chip cannot multiply the format.
    pub fn attention_prefill_kernel(
        &self,
        precision: Precision,
        head: f64,
    ) -> Result<PricedPrefill, KernelsError> {
        let (choice, machine) = self.attention_set(ATTENTION_PREFILL, precision, Some(head))?;
        Ok(PricedPrefill::new(choice, precision, machine)?)
    }

    /// The same for decode attention.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn attention_decode_kernel(
        &self,
        precision: Precision,
        head: f64,
    ) -> Result<PricedDecode, KernelsError> {
        let (choice, machine) = self.attention_set(ATTENTION_DECODE, precision, Some(head))?;
        Ok(PricedDecode::new(choice, precision, machine)?)
    }

    /// The same for latent prefill attention, keys and values expanded.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn mla_prefill_kernel(&self, precision: Precision) -> Result<PricedPrefill, KernelsError> {
        let (choice, machine) = self.attention_set(MLA_PREFILL, precision, None)?;
        Ok(PricedPrefill::new(choice, precision, machine)?)
    }

    /// The same for latent decode attention.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn mla_decode_kernel(&self, precision: Precision) -> Result<PricedDecode, KernelsError> {
        let (choice, machine) = self.attention_set(MLA_DECODE, precision, None)?;
        Ok(PricedDecode::new(choice, precision, machine)?)
    }

    /// One prefill attention: cache format `precision.weight`, query format `precision.activation`.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn attention_prefill(
        &self,
        op: AttentionPrefill,
        precision: Precision,
    ) -> Result<Priced, KernelsError> {
        let kernel = self.attention_prefill_kernel(precision, op.qk_dim)?;
        Ok(Priced { cost: kernel.price(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// One decode attention with a cold cache.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn attention_decode(
        &self,
        op: AttentionDecode,
        precision: Precision,
    ) -> Result<Priced, KernelsError> {
        let kernel = self.attention_decode_kernel(precision, op.qk_dim)?;
        Ok(Priced { cost: kernel.price(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// One decode attention as a benchmark table measures it.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn attention_decode_benchmark(
        &self,
        op: AttentionDecode,
        precision: Precision,
    ) -> Result<Priced, KernelsError> {
        let kernel = self.attention_decode_kernel(precision, op.qk_dim)?;
        Ok(Priced { cost: kernel.benchmark(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// One latent prefill attention.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn mla_prefill(&self, op: AttentionPrefill, precision: Precision) -> Result<Priced, KernelsError> {
        let kernel = self.mla_prefill_kernel(precision)?;
        Ok(Priced { cost: kernel.price(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// One latent decode attention with a cold cache.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn mla_decode(&self, op: AttentionDecode, precision: Precision) -> Result<Priced, KernelsError> {
        let kernel = self.mla_decode_kernel(precision)?;
        Ok(Priced { cost: kernel.price(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// One latent decode attention as a benchmark table measures it.
    ///
    /// # Errors
    /// As [`Kernels::attention_prefill_kernel`].
    pub fn mla_decode_benchmark(
        &self,
        op: AttentionDecode,
        precision: Precision,
    ) -> Result<Priced, KernelsError> {
        let kernel = self.mla_decode_kernel(precision)?;
        Ok(Priced { cost: kernel.benchmark(&op), origin: kernel.origin, sigma: kernel.sigma })
    }

    /// The nearest set that was measured with heads `head` wide (the nearest of all if none was), and the machine with
    /// the peak of its queries.
    fn attention_set(
        &self,
        family: &str,
        precision: Precision,
        head: Option<f64>,
    ) -> Result<(Choice, Machines), KernelsError> {
        let precisions = attention_alike(precision);
        let query = SetQuery { family, precisions: &precisions, kernel: None };
        let mut found = self.candidates(&query)?.into_iter();
        let choice = match head.and_then(|head| found.find(|choice| covers(&choice.set, head))) {
            Some(choice) => choice,
            None => self.select(&query)?,
        };
        let machine = self.machines(choice.set.precision.activation)?;
        Ok((choice, machine))
    }
}

/// Whether the rows behind a set have heads about `head` wide. One that was measured with a single width says nothing.
fn covers(set: &KernelSet, head: f64) -> bool {
    let Some(feature) = set.features.iter().position(|name| name == "head") else { return true };
    let axes = set.residual.axes.iter().zip(&set.residual.features);
    axes.filter(|(_, read)| **read == feature).all(|(axis, _)| match axis.knots[..] {
        [first, .., last] => (first - SLACK..=last + SLACK).contains(&head.ln()),
        _ => true,
    })
}

/// How far beyond the widest measured head, in ln, a set still counts as measured there.
const SLACK: f64 = 0.1;
