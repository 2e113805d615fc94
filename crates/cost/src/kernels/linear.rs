//! Linear attention and the indexer of sparse attention, priced from the profiles.

use super::select::{Choice, Kernels, KernelsError, Machines, Origin, Priced, SetQuery};
use super::{ATTENTION_DECODE, KernelSet, ProfileError, attention_alike};
use crate::ops::attention_indexer::{ASSUMED_LAUNCH, ASSUMED_SIGMA, IndexScores, SMALL_KERNELS};
use crate::ops::linear_attention::{LinearAttention, SCAN_PARAMS, STREAM_PARAMS, Scan5, Stream6, Streaming};
use crate::ops::{OpCost, Precision};
use std::sync::Arc;
use units::{Dtype, Seconds};

/// Family of the convolution over new tokens in profiles.
pub const CONVOLUTION_PREFILL: &str = "convolution_prefill";
/// Family of the convolution's update by one token in profiles.
pub const CONVOLUTION_DECODE: &str = "convolution_decode";
/// Family of the chunked scan in profiles.
pub const SCAN_PREFILL: &str = "scan_prefill";
/// Family of the scan of one token per sequence in profiles.
pub const SCAN_DECODE: &str = "scan_decode";

/// Features of the residuals of linear attention; see [`linear_features`].
pub const LINEAR_FEATURES: [&str; 5] = ["sequences", "new", "channels", "heads", "state"];

/// Sequences, new tokens per sequence, channels of the convolution, value heads, and elements of a head's state.
pub fn linear_features(op: &LinearAttention) -> [f64; 5] {
    [op.sequences, op.new_tokens, op.channels(), op.v_heads, op.k_dim * op.v_dim]
}

/// Which kind of layer a kernel serves. Some stacks have a convolution for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinearLayer {
    /// Gated delta rule and other linear attention.
    DeltaRule,
    /// Mamba-2.
    StateSpace,
}

impl LinearLayer {
    /// The first word of its kernels' names in profiles.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeltaRule => "gdn",
            Self::StateSpace => "mamba2",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Stream(Stream6, Streaming),
    Scan(Scan5),
}

/// One kernel of linear attention on one rank, looked up once and then evaluated for any shape.
#[derive(Debug, Clone)]
pub struct PricedLinear {
    form: Form,
    machines: Machines,
    set: Arc<KernelSet>,
    origin: Origin,
    sigma: f64,
}

impl PricedLinear {
    /// Puts a chosen set on a machine whose peak is that of bf16 products.
    ///
    /// # Errors
    /// If the set lacks a coefficient.
    pub fn new(choice: Choice, machines: impl Into<Machines>) -> Result<Self, ProfileError> {
        let Choice { set, origin, sigma } = choice;
        let form = match set.family.as_str() {
            SCAN_PREFILL => Form::Scan(Scan5::from_slice(&set.values(&SCAN_PARAMS)?)),
            SCAN_DECODE => {
                Form::Stream(Stream6::from_slice(&set.values(&STREAM_PARAMS)?), Streaming::DecodeScan)
            }
            _ => Form::Stream(Stream6::from_slice(&set.values(&STREAM_PARAMS)?), Streaming::Convolution),
        };
        Ok(Self { form, machines: machines.into(), set, origin, sigma })
    }

    /// Price of `op` with nothing cached, as in a model's step.
    pub fn price(&self, op: &LinearAttention) -> OpCost {
        let mut cost = match &self.form {
            Form::Stream(coefficients, kernel) => {
                self.machines.quickest(|machine| coefficients.price(machine, op, *kernel, false))
            }
            Form::Scan(coefficients) => self.machines.quickest(|machine| coefficients.price(machine, op)),
        };
        cost.time = cost.time * self.set.log_correction(&LINEAR_FEATURES, &linear_features(op)).exp();
        cost
    }
}

impl Kernels {
    /// A kernel of linear attention by its family: [`CONVOLUTION_PREFILL`], [`CONVOLUTION_DECODE`], [`SCAN_PREFILL`]
    /// or [`SCAN_DECODE`]. One of the same chip and stack that was made for the layer comes before one that was not.
    ///
    /// # Errors
    /// If nothing measured, borrowed or generic fits.
    pub fn linear_kernel(&self, family: &str, layer: LinearLayer) -> Result<PricedLinear, KernelsError> {
        let precisions = [Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 }];
        let query = SetQuery { family, precisions: &precisions, kernel: None };
        let nearest = self.select(&query)?;
        let made_for = |choice: &Choice| choice.set.kernel.starts_with(layer.name());
        let choice = self
            .candidates(&query)?
            .into_iter()
            .find(|choice| choice.origin == nearest.origin && made_for(choice))
            .unwrap_or(nearest);
        Ok(PricedLinear::new(choice, self.machines(Dtype::Bf16)?)?)
    }

    /// Convolution and chunked scan of new tokens. The tables hold the scan of the gated delta rule only; that of
    /// Mamba-2 is the same work on other widths and is priced with the same coefficients.
    ///
    /// # Errors
    /// As [`Kernels::linear_kernel`].
    pub fn linear_prefill(&self, op: LinearAttention, layer: LinearLayer) -> Result<Priced, KernelsError> {
        self.linear([CONVOLUTION_PREFILL, SCAN_PREFILL], &op, layer)
    }

    /// Convolution and scan of one token per sequence.
    ///
    /// # Errors
    /// As [`Kernels::linear_kernel`].
    pub fn linear_decode(&self, op: LinearAttention, layer: LinearLayer) -> Result<Priced, KernelsError> {
        self.linear([CONVOLUTION_DECODE, SCAN_DECODE], &op, layer)
    }

    fn linear(
        &self,
        families: [&str; 2],
        op: &LinearAttention,
        layer: LinearLayer,
    ) -> Result<Priced, KernelsError> {
        let scan = self.linear_kernel(families[1], layer)?;
        let mut cost = scan.price(op);
        if op.taps > 0.0 {
            let convolution = self.linear_kernel(families[0], layer)?.price(op);
            cost.time += convolution.time;
            cost.flop += convolution.flop;
            cost.bytes += convolution.bytes;
        }
        Ok(Priced { cost, origin: scan.origin, sigma: scan.sigma })
    }

    /// Scores and selection of a sparse-attention indexer, whose efficiency is assumed. The launch is that of the
    /// chip's decode attention, since the kernels come from the same stack, or an assumed one; `share` of it is left in
    /// place, 0 to 1.
    ///
    /// # Errors
    /// If the chip has no matrix unit at all.
    pub fn index_scores(&self, op: IndexScores, share: f64) -> Result<Priced, KernelsError> {
        let machine = self.machine(Dtype::Fp8)?;
        let both = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };
        let precisions = attention_alike(both);
        let query = SetQuery { family: ATTENTION_DECODE, precisions: &precisions, kernel: None };
        let launch = self.select(&query).ok().and_then(|choice| choice.set.params.get("t0").copied());
        let launch = launch.map_or(ASSUMED_LAUNCH, Seconds::new);
        let cost = op.price(&machine, launch * ((1.0 + SMALL_KERNELS) * share));
        Ok(Priced { cost, origin: Origin::Generic, sigma: ASSUMED_SIGMA })
    }
}
