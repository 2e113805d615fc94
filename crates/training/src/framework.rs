//! Framework profiles: what a training framework does around the kernels.

use crate::capabilities::Capabilities;
use crate::error::JobError;
use crate::job::Job;
use crate::pricer::Dispatcher;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the attention core is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AttentionKernel {
    /// One fused kernel that never writes the scores (FlashAttention and its like).
    Fused,
    /// Batched matrix products with softmax and dropout kernels between them; scores go through memory.
    Unfused,
}

/// What "selective" recomputation means to a framework.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selective {
    /// The attention core (Megatron before fused attention).
    Attention,
    /// What is cheap to compute and large to keep: norms, activations, the up-projections of latent attention
    /// (Megatron-Core's modules).
    Modules,
    /// Every second matrix product and everything elementwise (torchtitan's per-operator checkpointing).
    HalfTheProducts,
}

/// A coefficient fitted on measured steps: its meaning and the range that makes sense.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// Name in the profile.
    pub name: &'static str,
    /// Unit; empty for a ratio.
    pub unit: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// Smallest value that makes sense.
    pub low: f64,
    /// Largest.
    pub high: f64,
    /// What to assume without data.
    pub usual: f64,
    /// Width of that belief, as a standard deviation of the logarithm.
    pub spread: f64,
}

macro_rules! coefficients {
    ($($(#[$doc:meta])* $field:ident: $unit:literal, $meaning:literal, $low:literal .. $high:literal, $usual:literal ~ $spread:literal;)+) => {
        /// Fitted behaviour of a framework release; times are in seconds, all else are ratios.
        #[derive(Debug, Clone, Copy, PartialEq, Deserialize, Serialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Coefficients {
            $(#[doc = $meaning] pub(crate) $field: f64,)+
        }

        impl Coefficients {
            /// Every coefficient with its meaning and range, in a fixed order.
            pub const SPECS: &'static [Spec] = &[$(Spec {
                name: stringify!($field), unit: $unit, meaning: $meaning, low: $low, high: $high, usual: $usual, spread: $spread,
            },)+];

            /// The value of the coefficient called `name`.
            pub fn get(&self, name: &str) -> Option<f64> {
                match name { $(stringify!($field) => Some(self.$field),)+ _ => None }
            }

            /// Sets the coefficient called `name`; another name is ignored.
            pub fn set(&mut self, name: &str, value: f64) {
                match name { $(stringify!($field) => self.$field = value,)+ _ => {} }
            }
        }

        impl Default for Coefficients {
            fn default() -> Self {
                Self { $($field: $usual,)+ }
            }
        }
    };
}

coefficients! {
    matrix: "", "rate of matrix kernels inside a step over the same kernel alone: power limit, clock, cold caches", 0.4 .. 1.6, 0.9 ~ 0.15;
    fp8: "", "further rate of 8-bit and 4-bit matrix kernels: scaling, transposes, parts kept in 16 bits", 0.5 .. 1.6, 1.1 ~ 0.15;
    attention: "", "rate of the attention core inside a step over the same kernel alone", 0.25 .. 1.5, 0.9 ~ 0.25;
    window: "", "share of the work outside a sliding window that attention kernels skip", 0.0 .. 1.0, 0.5 ~ 0.5;
    passes: "", "elementwise memory traffic over that of perfectly fused kernels", 0.8 .. 3.0, 1.5 ~ 0.25;
    hidden_tp: "", "share of tensor-parallel communication that compute may hide", 0.0 .. 1.0, 0.3 ~ 0.5;
    hidden_dp: "", "share of gradient and weight exchange that compute may hide", 0.0 .. 1.0, 0.7 ~ 0.5;
    hidden_ep: "", "share of expert dispatch and combine that compute may hide", 0.0 .. 1.0, 0.3 ~ 0.5;
    hidden_cp: "", "share of context-parallel communication that compute may hide", 0.0 .. 1.0, 0.6 ~ 0.5;
    hidden_pp: "", "share of pipeline sends that compute may hide", 0.0 .. 1.0, 0.5 ~ 0.5;
    network: "", "rate of collectives on the scale-out network of a busy cluster over an idle one", 0.3 .. 1.1, 0.75 ~ 0.25;
    routing: "", "memory traffic of routing, permuting and weighting a token-expert pair, in hidden vectors", 2.0 .. 24.0, 8.0 ~ 0.4;
    host_layer: "s", "host time to launch one pass of one layer; what the device may not run ahead of", 0.0 .. 0.002, 0.0005 ~ 0.3;
    host_moe: "s", "further host and synchronisation time of one pass of one expert layer", 0.0 .. 0.003, 0.0004 ~ 0.4;
    host_micro: "s", "fixed time of one micro-batch on one pipeline stage, not overlapped", 0.0 .. 0.02, 0.001 ~ 0.7;
    host_step: "s", "fixed time of a step: data, logging, gradient norm, launching the optimizer", 0.0 .. 0.3, 0.03 ~ 0.5;
}

/// One release of a framework, ready to price with.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Catalog key of the framework.
    #[serde(skip)]
    pub framework: String,
    /// Release within it.
    #[serde(rename = "id")]
    pub release: String,
    /// First month it describes, `YYYY-MM`.
    pub from: String,
    /// Attention core.
    pub attention: AttentionKernel,
    /// Meaning of selective recomputation.
    pub selective: Selective,
    /// How experts get their tokens.
    pub dispatcher: Dispatcher,
    /// Bytes of one gradient element as data-parallel ranks exchange it.
    pub gradient_bytes: f64,
    /// Bytes of one gradient element as micro-batches add it up.
    pub accumulator_bytes: f64,
    /// Whether weight gradients are added up by the products that compute them, behind their arithmetic, instead of by a
    /// kernel of their own.
    #[serde(default)]
    pub accumulates_in_products: bool,
    /// Whether full sharding gathers and reduces for every micro-batch instead of once per step.
    pub reshard_every_micro: bool,
    /// Whether a step of one micro-batch reduces each gradient to its shard as it is produced and keeps no whole copy.
    #[serde(default)]
    pub reduces_early: bool,
    /// Bytes that one logit takes at the fullest: 16 bits, widened, and its gradient in place (6), or less where a compiler
    /// fuses the loss and never writes wide logits.
    #[serde(default = "wide_logits")]
    pub logit_bytes: f64,
    /// Whether sharded weights are gathered matrix by matrix instead of layer by layer.
    #[serde(default)]
    pub gathers_by_matrix: bool,
    /// Share of device memory that context, communicator and allocator keep to themselves.
    pub reserve: f64,
    /// What the coefficients were fitted on, in words.
    pub provenance: String,
    /// Ids of the published runs they were fitted on; every other run tests them.
    #[serde(default)]
    pub fitted_on: Vec<String>,
    /// Families of the chips that those ran on.
    #[serde(default)]
    pub fitted_families: Vec<String>,
    /// What it can be told to do.
    #[serde(default)]
    pub can: Capabilities,
    /// Fitted behaviour.
    #[serde(default)]
    pub coefficients: Coefficients,
    /// Rate of matrix kernels by chip family, where it was fitted for that family.
    #[serde(default)]
    pub matrix_by_family: BTreeMap<String, f64>,
}

fn wide_logits() -> f64 {
    6.0
}

impl Profile {
    /// The coefficients for chips of `family`.
    pub fn for_family(&self, family: &str) -> Coefficients {
        let mut coefficients = self.coefficients;
        if let Some(matrix) = self.matrix_by_family.get(family) {
            coefficients.matrix = *matrix;
        }
        coefficients
    }

    /// Framework and release in one.
    pub fn name(&self) -> String {
        format!("{} {}", self.framework, self.release)
    }

    /// Whether this release can be told to run `job`.
    ///
    /// # Errors
    /// The first thing it cannot do, with what it can.
    pub fn check(&self, job: &Job) -> Result<(), JobError> {
        self.can.check(job, &self.name())
    }
}

/// A framework with its releases, oldest first.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Framework {
    /// Catalog key.
    #[serde(skip)]
    pub id: String,
    /// Its name.
    pub name: String,
    /// Other names.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Releases, oldest first; at least one.
    #[serde(rename = "release")]
    releases: Vec<Profile>,
}

impl Framework {
    /// Reads a profile file of the catalog.
    ///
    /// # Errors
    /// The text is no TOML of the expected shape, has no release, or has a coefficient outside its range.
    pub fn parse(id: &str, text: &str) -> Result<Self, JobError> {
        let bad = |why: String| JobError::Framework { id: id.to_owned(), why };
        let mut framework: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        if framework.releases.is_empty() {
            return Err(bad("it has no [[release]]".to_owned()));
        }
        id.clone_into(&mut framework.id);
        for release in &mut framework.releases {
            id.clone_into(&mut release.framework);
            check_ranges(&release.coefficients).map_err(&bad)?;
            if let Some(list) = release.can.missing() {
                return Err(bad(format!("release `{}` lists no `can.{list}`", release.release)));
            }
        }
        Ok(framework)
    }

    /// The same framework with `profile` in place of the release of its name.
    #[must_use]
    pub fn with_release(mut self, profile: Profile) -> Self {
        for release in &mut self.releases {
            if release.release == profile.release {
                *release = profile.clone();
            }
        }
        self
    }

    /// As a file of the catalog.
    ///
    /// # Errors
    /// Nothing that [`Framework::parse`] accepts fails.
    pub fn to_toml(&self) -> Result<String, JobError> {
        toml::to_string(self)
            .map_err(|error| JobError::Framework { id: self.id.clone(), why: error.to_string() })
    }

    /// The newest release.
    pub fn newest(&self) -> &Profile {
        &self.releases[self.releases.len() - 1]
    }

    /// The release in use at `month` (`YYYY-MM`): the last one that had begun, or the first.
    pub fn at(&self, month: &str) -> &Profile {
        let begun = self.releases.iter().rev().find(|release| release.from.as_str() <= month);
        begun.unwrap_or(&self.releases[0])
    }

    /// The release called `id`.
    pub fn release(&self, id: &str) -> Option<&Profile> {
        self.releases.iter().find(|release| release.release == id)
    }

    /// All releases, oldest first.
    pub fn releases(&self) -> impl Iterator<Item = &Profile> {
        self.releases.iter()
    }
}

fn check_ranges(coefficients: &Coefficients) -> Result<(), String> {
    for spec in Coefficients::SPECS {
        let value = coefficients.get(spec.name).unwrap_or(spec.usual);
        if !(spec.low..=spec.high).contains(&value) {
            return Err(format!(
                "coefficient `{}` is {value}, outside {} to {} {}",
                spec.name, spec.low, spec.high, spec.unit
            ));
        }
    }
    Ok(())
}
