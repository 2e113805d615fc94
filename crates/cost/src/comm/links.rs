//! Link classes: the coefficients of communication over one kind of link.
//!
//! A class is a file `links/<class>.toml` of the catalog. Coefficients that were fitted to measurements live with the
//! chip they were measured on, in its profile `kernels/<chip>.comm.toml` (the format of [`Profile`]; `kernel` names the
//! class); the class says which chips' profiles speak for it. What nobody has measured is written into the class:
//!
//! ```toml
//! schema = 1
//! name = "NVLink 4 through NVSwitch"
//! latency = "0.5 us"                  # of the domain the coefficients were measured on
//! measured_on = ["h100", "h200"]      # the first speaks for chips that are not among them
//! like = "nvlink5"                    # class whose sets stand in for what this one lacks
//! source = "what the class rests on, in words"
//!
//! [[set]]
//! op = "all_reduce"                   # or all_gather, reduce_scatter, all_to_all, dispatch, combine, prepare
//! library = "nccl"
//! basis = "published"                 # or assumed
//! note = "why these numbers"
//! rings_to = 8                        # ranks up to which synchronisation takes a step per peer
//! sigma = 0.25                        # standard deviation of ln(true / predicted), as far as one can say
//! params = { start = 4.6e-6, step = 1.8e-6, low = 0.4, high_start = 1.8e-5, high = 0.86 }
//! ```

use super::form::{CHUNK, FAR_CHUNK};
use crate::kernels::{KernelSet, Profile, Residual};
use serde::Deserialize;
use std::collections::BTreeMap;
use units::{Dtype, Seconds};

/// What coefficients rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SetBasis {
    /// Fitted to measured rows.
    Measured,
    /// Set by published figures, without a table to fit.
    Published,
    /// Usual practice; the note says why.
    Assumed,
}

/// Coefficients of one operation of one library.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkSet {
    /// Operation: a [`super::Collective`] or a [`super::Direction`] by name, or [`super::PREPARE`].
    pub op: String,
    /// Communication library.
    pub library: String,
    /// Chip it was measured on; empty for a set of no chip in particular.
    pub chip: String,
    /// What it rests on.
    pub basis: SetBasis,
    /// Why, where it is not measured.
    pub note: String,
    /// Ranks up to which synchronisation takes a step per peer.
    pub rings_to: f64,
    /// Largest group that the form is held to.
    pub most_ranks: f64,
    /// Largest group measured.
    pub measured_to: f64,
    /// Rows fitted; none where it is not measured.
    pub rows: u32,
    /// Standard deviation of ln(measured / predicted) on rows kept out.
    pub sigma: f64,
    /// Coefficients by name.
    pub params: BTreeMap<String, f64>,
    /// Correction to ln(time) over (size, ranks).
    pub residual: Residual,
}

/// A class of link with its sets.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkClass {
    /// Catalog key.
    pub id: String,
    /// What it is, in words.
    pub name: String,
    /// Chips whose profiles speak for it, the first for all others.
    pub measured_on: Vec<String>,
    /// Class whose sets stand in for what this one lacks.
    pub like: Option<String>,
    /// Latency of the domain the coefficients were measured on.
    pub latency: Seconds,
    /// What it rests on.
    pub source: String,
    /// Its sets, measured ones first.
    pub sets: Vec<LinkSet>,
}

/// A link file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Not the format.
    #[error("link class `{class}`: {message}")]
    Format {
        /// Catalog key or path.
        class: String,
        /// What is wrong, with line and column where the TOML reader knows.
        message: String,
    },
    /// A set that does not hold together.
    #[error("link class `{class}`, set {op} {library}: {message}")]
    Set {
        /// Catalog key or path.
        class: String,
        /// Its operation.
        op: String,
        /// Its library.
        library: String,
        /// What is wrong and what would be right.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClass {
    schema: u32,
    name: String,
    latency: String,
    #[serde(default)]
    measured_on: Vec<String>,
    like: Option<String>,
    source: String,
    #[serde(default)]
    set: Vec<RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    op: String,
    library: String,
    basis: RawBasis,
    note: String,
    rings_to: f64,
    sigma: f64,
    params: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawBasis {
    Published,
    Assumed,
}

impl LinkClass {
    /// The version of the format that this reads.
    pub const SCHEMA: u32 = 1;

    /// Reads a class; `id` names it in errors.
    ///
    /// # Errors
    /// If the text is not TOML of this format, or a set does not hold together.
    pub fn parse(id: &str, text: &str) -> Result<Self, LinkError> {
        let format = |message: String| LinkError::Format { class: id.to_owned(), message };
        let raw: RawClass = toml::from_str(text).map_err(|error| format(error.to_string()))?;
        if raw.schema != Self::SCHEMA {
            return Err(format(format!("schema is {} and this reads {}", raw.schema, Self::SCHEMA)));
        }
        let latency = raw.latency.parse().map_err(|error| format(format!("`latency`: {error}")))?;
        Ok(Self {
            id: id.to_owned(),
            name: raw.name,
            measured_on: raw.measured_on,
            like: raw.like,
            latency,
            source: raw.source,
            sets: raw.set.into_iter().map(|set| set.resolve(id)).collect::<Result<_, _>>()?,
        })
    }

    /// Puts the sets of a chip's profile that belong to this class in front of its own.
    pub fn add(&mut self, profile: &Profile) {
        // Activations and gradients are summed in 16 bits; other formats' sets predict other tables' rows.
        let of_class = profile.sets.iter().filter(|set| {
            set.kernel == self.id && !set.host_bound && set.precision.activation == Dtype::Bf16
        });
        let mut sets: Vec<LinkSet> = of_class.map(|set| LinkSet::fitted(&profile.chip, set)).collect();
        sets.append(&mut self.sets);
        self.sets = sets;
    }

    /// The set of `op` of the first of `libraries` that has one which `serves`.
    pub fn find(&self, op: &str, libraries: &[&str], serves: impl Fn(&LinkSet) -> bool) -> Option<&LinkSet> {
        libraries.iter().find_map(|library| {
            self.sets.iter().find(|set| set.op == op && set.library == *library && serves(set))
        })
    }
}

impl RawSet {
    fn resolve(self, class: &str) -> Result<LinkSet, LinkError> {
        let error = |message: String| LinkError::Set {
            class: class.to_owned(),
            op: self.op.clone(),
            library: self.library.clone(),
            message,
        };
        let positive = |name: &str, value: f64| {
            let fine = value.is_finite() && value > 0.0;
            if fine { Ok(()) } else { Err(error(format!("`{name}` is {value}; give a positive number"))) }
        };
        positive("sigma", self.sigma)?;
        positive("rings_to", self.rings_to)?;
        for (name, value) in &self.params {
            positive(&format!("params.{name}"), *value)?;
        }
        Ok(LinkSet {
            op: self.op,
            library: self.library,
            chip: String::new(),
            basis: match self.basis {
                RawBasis::Published => SetBasis::Published,
                RawBasis::Assumed => SetBasis::Assumed,
            },
            note: self.note,
            rings_to: self.rings_to,
            most_ranks: self.rings_to,
            measured_to: self.rings_to,
            rows: 0,
            sigma: self.sigma,
            params: self.params,
            residual: Residual::default(),
        })
    }
}

/// Name of the structural choice in profiles: ranks up to which synchronisation takes a step per peer.
pub const RINGS_TO: &str = "rings_to";
/// Name of the choice that says up to how many ranks rows were measured, where the residual does not reach as far.
pub const MEASURED_TO: &str = "measured_to";
/// Group size that collectives of a library are measured to where a profile does not say.
pub const USUAL_RANKS: f64 = 8.0;
/// Features of the residual of collectives.
pub const COLLECTIVE_FEATURES: [&str; 2] = ["bytes", "ranks"];
/// Features of the residual of exchanges.
pub const EXCHANGE_FEATURES: [&str; 2] = ["tokens", "ranks"];

impl LinkSet {
    /// A fitted set of a chip's profile.
    pub fn fitted(chip: &str, set: &KernelSet) -> Self {
        let ranks_axis = set.residual.features.iter().position(|feature| *feature == 1);
        let measured =
            ranks_axis.and_then(|axis| set.residual.axes[axis].knots.last()).map(|knot| knot.exp());
        let rings_to =
            set.structure.get(RINGS_TO).and_then(|ranks| ranks.parse().ok()).unwrap_or(USUAL_RANKS);
        let mut params = set.params.clone();
        for choice in [CHUNK, FAR_CHUNK] {
            if let Some(bytes) = set.structure.get(choice).and_then(|bytes| bytes.parse().ok()) {
                params.insert(choice.to_owned(), bytes);
            }
        }
        Self {
            op: set.family.clone(),
            library: set.stack.clone(),
            chip: chip.to_owned(),
            basis: if set.rows > 0 { SetBasis::Measured } else { SetBasis::Published },
            note: String::new(),
            rings_to,
            most_ranks: measured.unwrap_or(rings_to),
            measured_to: set
                .structure
                .get(MEASURED_TO)
                .and_then(|ranks| ranks.parse().ok())
                .or(measured)
                .unwrap_or(rings_to),
            rows: set.rows,
            sigma: set.sigma,
            params,
            residual: set.residual.clone(),
        }
    }

    /// The form's time with the correction for a size and a group. Beyond the sizes measured the last correction is kept
    /// where the form has settled there (flat below, proportional above): it is then one of latency or of bandwidth.
    /// Where it has not, the correction fades to the form, as it does beyond the groups measured.
    pub(super) fn corrected(&self, size: f64, ranks: f64, form: impl Fn(f64) -> f64) -> f64 {
        if self.residual.is_empty() {
            return form(size);
        }
        let (low, high) = self.measured_sizes();
        let mut at = size;
        if size < low && form(low) < SETTLED_BELOW * form(low / 2.0) {
            at = low;
        } else if size > high && form(2.0 * high) > SETTLED_ABOVE * form(high) {
            at = high;
        }
        form(size) * self.residual.log_correction(&[at, ranks]).exp()
    }

    /// Smallest and largest size that the residual covers.
    fn measured_sizes(&self) -> (f64, f64) {
        let axes = self.residual.axes.iter().zip(&self.residual.features);
        let sizes = axes.filter(|(_, feature)| **feature == 0).map(|(axis, _)| &axis.knots);
        sizes.fold((f64::INFINITY, 0.0), |(low, high), knots| {
            let first = knots.first().map_or(f64::INFINITY, |knot| knot.exp());
            (first.min(low), knots.last().map_or(0.0, |knot| knot.exp()).max(high))
        })
    }
}

/// Growth of the time over a doubling of the size below which it is latency.
const SETTLED_BELOW: f64 = 1.1;
/// Growth above which it is bandwidth.
const SETTLED_ABOVE: f64 = 1.8;
