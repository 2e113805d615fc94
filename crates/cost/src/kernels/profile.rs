//! The file format of kernel coefficients: reading, checking and writing.
//!
//! ```toml
//! schema = 1
//! chip = "h100"
//! architecture = "hopper"            # the chip's family: a set goes further inside it than outside
//! date = "2026-01-01"
//! source = "where the rows come from"
//! split = "which rows were kept out of the fit"
//!
//! [[set]]
//! family = "gemm"                    # gemm, quantize, attention_prefill, mla_decode, moe ...
//! stack = "vllm"
//! version = "0.24.0"
//! kernel = "torch.nn.functional.linear"
//! weight = "bf16"                    # for attention: the cache
//! activation = "bf16"
//! form = "wave12"
//! rows = 1600
//! held_out = 400                     # rows kept out of the fit; none in a set too small to spare any
//! data = "fnv1a:0123456789abcdef"    # hash of the rows fitted
//! sigma = 0.09                       # standard deviation of ln(measured / predicted) on rows kept out
//! transfer_sigma = 0.2               # the same on another chip that borrows this set
//! structure = { tiles = "all", split_k = "yes" }
//! params = { t0 = 3.7e-7, ec = 0.69 }
//! spread = { t0 = 0.1, ec = 0.02 }   # standard deviation of ln(param)
//! pinned = ["r2"]                    # at a bound, or nothing but the prior
//! errors = { random = [0.05, 0.15] } # median and 90th percentile of |predicted / measured - 1|
//! features = ["m", "n", "k"]         # what the residual's axes read, in the family's order
//! axes = [{ name = "m", feature = "m", knots = "1 16 256" }, { name = "n", feature = "n", knots = "64 4096" }]
//! grids = [{ axes = ["m", "n"], values = "12 -3\n4 5\n-1 0" }]   # thousandths of ln(measured / form)
//! ```

use super::param::ParamSpec;
use super::residual::{self, Axis, Grid, Residual, ResidualError};
use crate::ops::Precision;
use serde::Deserialize;
use std::collections::BTreeMap;
use units::Dtype;

/// Median and 90th percentile of the absolute relative error, as fractions.
pub type MedianP90 = [f64; 2];

/// Errors a set was held to; a split that the data could not fill is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Errors {
    /// On the rows that were fitted.
    pub fit: Option<MedianP90>,
    /// On the rows kept out of the shipped fit.
    pub held_out: Option<MedianP90>,
    /// Fitted on a random 30 %, tested on the rest.
    pub random: Option<MedianP90>,
    /// Fitted on the 70 % with the least work, tested on the most.
    pub size: Option<MedianP90>,
    /// Fitted on some families of shapes, tested on others.
    pub family: Option<MedianP90>,
    /// Fitted on 32 random rows near the medians of the other chips, tested on the rest.
    pub few_shot: Option<MedianP90>,
    /// Coefficients of the other chips, none of this one's rows.
    pub zero_shot: Option<MedianP90>,
}

impl Errors {
    pub(super) fn named(&self) -> [(&'static str, Option<MedianP90>); 7] {
        [
            ("fit", self.fit),
            ("held_out", self.held_out),
            ("random", self.random),
            ("size", self.size),
            ("family", self.family),
            ("few_shot", self.few_shot),
            ("zero_shot", self.zero_shot),
        ]
    }
}

/// Coefficients of one kernel of one stack on one chip.
#[derive(Debug, Clone, PartialEq)]
pub struct KernelSet {
    /// Operator family.
    pub family: String,
    /// Software that launched it.
    pub stack: String,
    /// Its version.
    pub version: String,
    /// Name of the kernel or its library; empty where the source does not say.
    pub kernel: String,
    /// Formats of its operands.
    pub precision: Precision,
    /// Name of the form.
    pub form: String,
    /// Structural choices by name.
    pub structure: BTreeMap<String, String>,
    /// Coefficients by name, in the units of the family's [`ParamSpec`]s.
    pub params: BTreeMap<String, f64>,
    /// Standard deviation of each coefficient's logarithm.
    pub spread: BTreeMap<String, f64>,
    /// Coefficients the data did not move off a bound.
    pub pinned: Vec<String>,
    /// Rows fitted.
    pub rows: u32,
    /// Rows kept out of the fit; 0 in a set too small to spare any.
    pub held_out: u32,
    /// Hash of them.
    pub data: String,
    /// Standard deviation of ln(measured / predicted) on rows kept out.
    pub sigma: f64,
    /// The same on another chip that borrows the set.
    pub transfer_sigma: f64,
    /// Whether the measurement is of the host rather than of the kernel, so that it must not price a captured graph.
    pub host_bound: bool,
    /// Errors by split.
    pub errors: Errors,
    /// Names of the residual's features in the family's order; empty without a residual.
    pub features: Vec<String>,
    /// Correction to the form.
    pub residual: Residual,
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Catalog key of the chip measured.
    pub chip: String,
    /// Its micro-architecture family; empty for a profile of no chip in particular.
    pub architecture: String,
    /// When it was fitted, as given by whoever fitted it.
    pub date: String,
    /// Where the rows come from.
    pub source: String,
    /// Which rows were kept out of the fit.
    pub split: String,
    /// Its sets.
    pub sets: Vec<KernelSet>,
}

/// A kernel profile that cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProfileError {
    /// Not the format.
    #[error("kernel profile `{file}`: {message}")]
    Format {
        /// Catalog id or path.
        file: String,
        /// What the TOML reader says, with line and column.
        message: String,
    },
    /// A residual that does not hold together.
    #[error("kernel profile `{file}`, set `{set}`: {source}")]
    Residual {
        /// Catalog id or path.
        file: String,
        /// The set.
        set: String,
        /// What is wrong.
        #[source]
        source: ResidualError,
    },
    /// A coefficient that the form needs.
    #[error("kernel set `{set}` has no usable value for `{param}`; give a positive number under `params`")]
    Param {
        /// The set.
        set: String,
        /// The coefficient.
        param: &'static str,
    },
    /// A number of a set that no fit gives.
    #[error("kernel profile `{file}`, set `{set}`: `{key}` is {value}; {allowed}")]
    Number {
        /// Catalog id or path.
        file: String,
        /// The set.
        set: String,
        /// Its key.
        key: String,
        /// What the file says.
        value: f64,
        /// What it may say.
        allowed: &'static str,
    },
    /// A structural choice that the form does not know.
    #[error("kernel set `{set}`: `{value}` is not a `{key}`; use {allowed}")]
    Structure {
        /// The set.
        set: String,
        /// The choice.
        key: &'static str,
        /// What the file says.
        value: String,
        /// What it may say.
        allowed: &'static str,
    },
}

impl KernelSet {
    /// What to call it in a message: `gemm bf16 vllm 0.24.0 torch.nn.functional.linear`.
    pub fn label(&self) -> String {
        let Precision { weight, activation } = self.precision;
        let dtype = if weight == activation { weight.to_string() } else { format!("{weight}/{activation}") };
        [self.family.as_str(), &dtype, &self.stack, &self.version, &self.kernel]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// Values in the order of `specs`; a coefficient that is absent or not a positive number is an error.
    ///
    /// # Errors
    /// [`ProfileError::Param`] naming the coefficient.
    pub fn values(&self, specs: &[ParamSpec]) -> Result<Vec<f64>, ProfileError> {
        specs
            .iter()
            .map(|spec| match self.params.get(spec.name) {
                Some(value) if value.is_finite() && *value > 0.0 => Ok(*value),
                _ => Err(ProfileError::Param { set: self.label(), param: spec.name }),
            })
            .collect()
    }

    /// A structural yes-or-no choice; absent is no.
    ///
    /// # Errors
    /// [`ProfileError::Structure`] if the file says neither.
    pub fn flag(&self, key: &'static str) -> Result<bool, ProfileError> {
        match self.structure.get(key).map(String::as_str) {
            Some("yes") => Ok(true),
            Some("no") | None => Ok(false),
            Some(other) => Err(ProfileError::Structure {
                set: self.label(),
                key,
                value: other.to_owned(),
                allowed: "`yes` or `no`",
            }),
        }
    }

    /// Whether the set has a correction made for features of these names in this order.
    pub fn corrects(&self, names: &[&str]) -> bool {
        !self.residual.is_empty() && self.features.iter().eq(names.iter())
    }

    /// The correction to ln(time) at `features`, given in the order `names`. A residual made for other features does
    /// not apply.
    pub fn log_correction(&self, names: &[&str], features: &[f64]) -> f64 {
        if self.corrects(names) { self.residual.log_correction(features) } else { 0.0 }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawProfile {
    schema: u32,
    chip: String,
    #[serde(default)]
    architecture: String,
    date: String,
    source: String,
    split: String,
    #[serde(default)]
    set: Vec<RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    family: String,
    stack: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    kernel: String,
    weight: Dtype,
    activation: Dtype,
    form: String,
    #[serde(default)]
    rows: u32,
    #[serde(default)]
    held_out: u32,
    #[serde(default)]
    data: String,
    sigma: f64,
    transfer_sigma: f64,
    #[serde(default)]
    host_bound: bool,
    #[serde(default)]
    structure: BTreeMap<String, String>,
    params: BTreeMap<String, f64>,
    #[serde(default)]
    spread: BTreeMap<String, f64>,
    #[serde(default)]
    pinned: Vec<String>,
    #[serde(default)]
    errors: Errors,
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    axes: Vec<RawAxis>,
    #[serde(default)]
    grids: Vec<RawGrid>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAxis {
    name: String,
    feature: String,
    knots: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGrid {
    axes: Vec<String>,
    values: String,
}

impl Profile {
    /// The version of the format that this reads and writes.
    pub const SCHEMA: u32 = 1;

    /// Reads a profile; `file` names it in errors.
    ///
    /// # Errors
    /// If the text is not TOML of this format or a residual does not hold together.
    pub fn parse(text: &str, file: &str) -> Result<Self, ProfileError> {
        let raw: RawProfile = toml::from_str(text)
            .map_err(|error| ProfileError::Format { file: file.to_owned(), message: error.to_string() })?;
        if raw.schema != Self::SCHEMA {
            let message = format!("schema is {} and this reads {}; fit it again", raw.schema, Self::SCHEMA);
            return Err(ProfileError::Format { file: file.to_owned(), message });
        }
        let sets = raw.set.into_iter().map(|set| set.resolve(file)).collect::<Result<_, _>>()?;
        Ok(Self {
            chip: raw.chip,
            architecture: raw.architecture,
            date: raw.date,
            source: raw.source,
            split: raw.split,
            sets,
        })
    }
}

impl KernelSet {
    /// Coefficients are positive and spreads no less than nothing.
    fn check_numbers(&self, file: &str) -> Result<(), ProfileError> {
        let number = |key: String, value: f64, allowed| ProfileError::Number {
            file: file.to_owned(),
            set: self.label(),
            key,
            value,
            allowed,
        };
        if let Some((key, value)) =
            self.params.iter().find(|(_, value)| !(value.is_finite() && **value > 0.0))
        {
            return Err(number(format!("params.{key}"), *value, "give a positive number"));
        }
        let own = [("sigma", self.sigma), ("transfer_sigma", self.transfer_sigma)];
        let spreads = self.spread.iter().map(|(key, value)| (format!("spread.{key}"), *value));
        let mut all = own.into_iter().map(|(key, value)| (key.to_owned(), value)).chain(spreads);
        match all.find(|(_, value)| !(0.0..=100.0).contains(value)) {
            Some((key, value)) => Err(number(key, value, "give a spread from 0 to 100")),
            None => Ok(()),
        }
    }
}

impl RawSet {
    fn resolve(self, file: &str) -> Result<KernelSet, ProfileError> {
        let mut set = KernelSet {
            family: self.family,
            stack: self.stack,
            version: self.version,
            kernel: self.kernel,
            precision: Precision { weight: self.weight, activation: self.activation },
            form: self.form,
            structure: self.structure,
            params: self.params,
            spread: self.spread,
            pinned: self.pinned,
            rows: self.rows,
            held_out: self.held_out,
            data: self.data,
            sigma: self.sigma,
            transfer_sigma: self.transfer_sigma,
            host_bound: self.host_bound,
            errors: self.errors,
            features: self.features,
            residual: Residual::default(),
        };
        set.check_numbers(file)?;
        set.residual = residual(&set.features, self.axes, self.grids)
            .map_err(|source| ProfileError::Residual { file: file.to_owned(), set: set.label(), source })?;
        Ok(set)
    }
}

fn residual(features: &[String], axes: Vec<RawAxis>, grids: Vec<RawGrid>) -> Result<Residual, ResidualError> {
    let mut residual = Residual::default();
    for axis in axes {
        let feature = features
            .iter()
            .position(|name| *name == axis.feature)
            .ok_or_else(|| ResidualError::UnknownAxis(axis.feature.clone()))?;
        let knots = axis
            .knots
            .split_ascii_whitespace()
            .map(|knot| knot.parse::<f64>().ok().filter(|knot| *knot > 0.0).map(f64::ln))
            .collect::<Option<Vec<f64>>>()
            .ok_or_else(|| ResidualError::Knots(axis.name.clone()))?;
        residual.features.push(feature);
        residual.axes.push(Axis { name: axis.name, knots });
    }
    for grid in grids {
        let axes = grid
            .axes
            .iter()
            .map(|name| {
                let known = residual.axes.iter().position(|axis| axis.name == *name);
                known.ok_or_else(|| ResidualError::UnknownAxis(name.clone()))
            })
            .collect::<Result<Vec<usize>, _>>()?;
        residual.grids.push(Grid { axes, values: residual::read_values(&grid.values)? });
    }
    residual.check()?;
    Ok(residual)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
        schema = 1
        chip = "made-up"
        architecture = "none"
        date = "2026-01-01"
        source = "nowhere"
        split = "none"
        [[set]]
        family = "gemm"
        stack = "vllm"
        version = "1.0"
        kernel = "k"
        weight = "int4"
        activation = "bf16"
        form = "wave12"
        rows = 12
        held_out = 3
        data = "fnv1a:0"
        sigma = 0.1
        transfer_sigma = 0.3
        structure = { split_k = "yes", tiles = "m64" }
        params = { ec = 0.7, t0 = 4e-7 }
        pinned = ["ec"]
        errors = { random = [0.05, 0.15] }
        features = ["m", "n"]
        axes = [{ name = "m", feature = "m", knots = "1 16 256" }, { name = "n", feature = "n", knots = "64 4096" }]
        grids = [{ axes = ["m", "n"], values = "12 -3\n4 5\n-1 0" }]
    "#;

    #[test]
    fn a_profile_written_and_read_again_is_the_same() {
        let profile = Profile::parse(TEXT, "test").unwrap();
        let again = Profile::parse(&profile.to_toml(), "again").unwrap();
        assert_eq!(again, profile);
        let set = &profile.sets[0];
        assert_eq!(set.label(), "gemm int4/bf16 vllm 1.0 k");
        assert!((set.log_correction(&["m", "n"], &[1.0, 64.0]) - 0.012).abs() < 1e-12);
        assert_eq!(set.log_correction(&["m", "k"], &[1.0, 64.0]), 0.0);
    }

    #[test]
    fn errors_say_where_and_what() {
        let error =
            |from: &str, to: &str| Profile::parse(&TEXT.replace(from, to), "test").unwrap_err().to_string();
        insta::assert_snapshot!(error("12 -3", "12"), @"kernel profile `test`, set `gemm int4/bf16 vllm 1.0 k`: a grid over m x n needs 6 values and has 5");
        insta::assert_snapshot!(error("1 16 256", "1 1 256"), @"kernel profile `test`, set `gemm int4/bf16 vllm 1.0 k`: axis `m` needs at least two ascending positive knots");
        insta::assert_snapshot!(error("schema = 1", "schema = 9"), @"kernel profile `test`: schema is 9 and this reads 1; fit it again");
        let set = Profile::parse(TEXT, "test").unwrap().sets.remove(0);
        let specs = [ParamSpec::new("em", "", "", 0.1, 1.0, 0.5, 1.0)];
        insta::assert_snapshot!(set.values(&specs).unwrap_err(), @"kernel set `gemm int4/bf16 vllm 1.0 k` has no usable value for `em`; give a positive number under `params`");
    }
}
