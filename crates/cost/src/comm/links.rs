//! The file format of link coefficients: one file per class of link (`nvlink4`, `ub`, `infiniband` ...).
//!
//! ```toml
//! schema = 1
//! name = "NVLink 4 through NVSwitch"
//! like = "nvlink4"                    # optional: class whose sets stand in for what this one lacks
//! latency = "0.5 us"                  # of the domain the coefficients were measured on
//! source = "where the rows come from"
//! split = "which rows were kept out of the fit"
//!
//! [[set]]
//! op = "all_reduce"                   # or all_gather, reduce_scatter, all_to_all, dispatch, combine
//! library = "nccl"
//! version = "2.29.2"
//! chip = "h100"                       # empty: of no chip in particular
//! basis = "measured"                  # or published, assumed
//! note = "why, for what is not measured"
//! ranks = [2, 8]                      # groups measured
//! rows = 126
//! data = "fnv1a:0123456789abcdef"
//! sigma = 0.06                        # standard deviation of ln(measured / predicted) on rows kept out
//! params = { start = 4.6e-6, step = 1.8e-6 }
//! spread = { start = 0.03 }
//! pinned = []
//! errors = { held_out = [0.03, 0.1] } # median and 90th percentile of |predicted / measured - 1|
//! [set.residual]                      # thousandths of ln(measured / form), ranks down, sizes across
//! size = "256 1024 4096"              # bytes for collectives, tokens for exchanges
//! ranks = "2 8"
//! values = "1 2 3\n4 5 6"
//! ```

use crate::kernels::{Axis, Errors, Grid, Residual};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use units::Seconds;

/// What coefficients rest on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetBasis {
    /// Fitted to rows measured on this class of link.
    Measured,
    /// Set by published figures, without a table to fit.
    Published,
    /// Usual practice; the note says why.
    Assumed,
}

impl SetBasis {
    const fn name(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Published => "published",
            Self::Assumed => "assumed",
        }
    }
}

/// Coefficients of one operation of one library.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkSet {
    /// Operation: a [`super::Collective`] or a [`super::Direction`] by name.
    pub op: String,
    /// Communication library.
    pub library: String,
    /// Its version.
    pub version: String,
    /// Chip it was measured on; empty for a set of no chip in particular.
    pub chip: String,
    /// What it rests on.
    pub basis: SetBasis,
    /// Why, where it is not measured.
    pub note: String,
    /// Smallest and largest group it holds for as measured.
    pub ranks: [f64; 2],
    /// Rows fitted.
    pub rows: u32,
    /// Hash of them.
    pub data: String,
    /// Standard deviation of ln(measured / predicted) on rows kept out.
    pub sigma: f64,
    /// Coefficients by name.
    pub params: BTreeMap<String, f64>,
    /// Standard deviation of each coefficient's logarithm.
    pub spread: BTreeMap<String, f64>,
    /// Coefficients that the data did not move off a bound.
    pub pinned: Vec<String>,
    /// Errors by split.
    pub errors: Errors,
    /// Correction to ln(time) over (size, ranks).
    pub residual: Residual,
}

/// One file.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkClass {
    /// Catalog key.
    pub id: String,
    /// What it is, in words.
    pub name: String,
    /// Class whose sets stand in for what this one lacks.
    pub like: Option<String>,
    /// Latency of the domain the coefficients were measured on.
    pub latency: Seconds,
    /// Where the rows come from.
    pub source: String,
    /// Which rows were kept out of the fit.
    pub split: String,
    /// Its sets.
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
    like: Option<String>,
    latency: String,
    source: String,
    #[serde(default)]
    split: String,
    #[serde(default)]
    set: Vec<RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    op: String,
    library: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    chip: String,
    basis: SetBasis,
    #[serde(default)]
    note: String,
    ranks: [f64; 2],
    #[serde(default)]
    rows: u32,
    #[serde(default)]
    data: String,
    sigma: f64,
    params: BTreeMap<String, f64>,
    #[serde(default)]
    spread: BTreeMap<String, f64>,
    #[serde(default)]
    pinned: Vec<String>,
    #[serde(default)]
    errors: Errors,
    residual: Option<RawResidual>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawResidual {
    size: String,
    ranks: Option<String>,
    values: String,
}

impl LinkClass {
    /// The version of the format that this reads and writes.
    pub const SCHEMA: u32 = 1;

    /// Reads a class; `id` names it in errors.
    ///
    /// # Errors
    /// If the text is not TOML of this format, or a set does not hold together.
    pub fn parse(id: &str, text: &str) -> Result<Self, LinkError> {
        let format = |message: String| LinkError::Format { class: id.to_owned(), message };
        let raw: RawClass = toml::from_str(text).map_err(|error| format(error.to_string()))?;
        if raw.schema != Self::SCHEMA {
            return Err(format(format_args!("schema is {} and this reads {}", raw.schema, Self::SCHEMA).to_string()));
        }
        let latency = raw.latency.parse().map_err(|error| format(format!("latency: {error}")))?;
        let sets = raw.set.into_iter().map(|set| set.resolve(id)).collect::<Result<_, _>>()?;
        Ok(Self {
            id: id.to_owned(),
            name: raw.name,
            like: raw.like,
            latency,
            source: raw.source,
            split: raw.split,
            sets,
        })
    }

    /// The file as text, sets in the order they are in.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "schema = {}\nname = {}", Self::SCHEMA, quote(&self.name));
        if let Some(like) = &self.like {
            let _ = writeln!(text, "like = {}", quote(like));
        }
        let _ = writeln!(text, "latency = {}", quote(&self.latency.to_string()));
        let _ = writeln!(text, "source = {}", quote(&self.source));
        if !self.split.is_empty() {
            let _ = writeln!(text, "split = {}", quote(&self.split));
        }
        for set in &self.sets {
            set.write(&mut text);
        }
        text
    }

    /// The set of `op` of the first of `libraries` that has one which `serves`: measured on `chip` if possible, else the
    /// first in the file.
    pub fn find(
        &self,
        op: &str,
        libraries: &[&str],
        chip: &str,
        serves: impl Fn(&LinkSet) -> bool,
    ) -> Option<&LinkSet> {
        libraries.iter().find_map(|library| {
            let mut sets = self.sets.iter().filter(|set| set.op == op && set.library == *library && serves(set));
            let first = sets.clone().next();
            sets.find(|set| set.chip == chip).or(first)
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
        for (name, value) in &self.params {
            if !(value.is_finite() && *value > 0.0) {
                return Err(error(format!("`params.{name}` is {value}; give a positive number")));
            }
        }
        if !(self.ranks[0] >= 1.0 && self.ranks[1] >= self.ranks[0]) {
            return Err(error("`ranks` must be [smallest, largest], both at least 1".to_owned()));
        }
        if !(self.sigma.is_finite() && self.sigma > 0.0) {
            return Err(error(format!("`sigma` is {}; give a positive number", self.sigma)));
        }
        let residual = match &self.residual {
            Some(raw) => raw.resolve().map_err(|message| error(format!("residual: {message}")))?,
            None => Residual::default(),
        };
        Ok(LinkSet {
            residual,
            op: self.op,
            library: self.library,
            version: self.version,
            chip: self.chip,
            basis: self.basis,
            note: self.note,
            ranks: self.ranks,
            rows: self.rows,
            data: self.data,
            sigma: self.sigma,
            params: self.params,
            spread: self.spread,
            pinned: self.pinned,
            errors: self.errors,
        })
    }
}

impl RawResidual {
    fn resolve(&self) -> Result<Residual, String> {
        let size = knots(&self.size).ok_or("`size` needs ascending positive numbers")?;
        let values: Vec<f64> = self
            .values
            .split_ascii_whitespace()
            .map(|word| word.parse::<i32>().map(|value| f64::from(value) * 1e-3).map_err(|_| word))
            .collect::<Result<_, _>>()
            .map_err(|word| format!("`{word}` is not a whole number of thousandths"))?;
        let mut residual = Residual::default();
        if let Some(text) = &self.ranks {
            let ranks = knots(text).ok_or("`ranks` needs ascending positive numbers")?;
            residual.axes.push(Axis { name: RANKS.to_owned(), knots: ranks });
            residual.features.push(RANKS_FEATURE);
        }
        residual.axes.push(Axis { name: SIZE.to_owned(), knots: size });
        residual.features.push(SIZE_FEATURE);
        residual.grids.push(Grid { axes: (0..residual.axes.len()).collect(), values });
        residual.check().map_err(|error| error.to_string())?;
        Ok(residual)
    }
}

/// Name of the residual's axis over bytes or tokens.
pub const SIZE: &str = "size";
/// Name of the residual's axis over group sizes.
pub const RANKS: &str = "ranks";
/// Index of the size in the residual's features.
pub const SIZE_FEATURE: usize = 0;
/// Index of the ranks in the residual's features.
pub const RANKS_FEATURE: usize = 1;

fn knots(text: &str) -> Option<Vec<f64>> {
    text.split_ascii_whitespace().map(|knot| knot.parse::<f64>().ok().filter(|knot| *knot > 0.0).map(f64::ln)).collect()
}

impl LinkSet {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "\n[[set]]\nop = {}", quote(&self.op));
        for (key, value) in [("library", &self.library), ("version", &self.version), ("chip", &self.chip)] {
            let _ = writeln!(text, "{key} = {}", quote(value));
        }
        let _ = writeln!(text, "basis = {}", quote(self.basis.name()));
        if !self.note.is_empty() {
            let _ = writeln!(text, "note = {}", quote(&self.note));
        }
        let _ = writeln!(text, "ranks = [{:?}, {:?}]", self.ranks[0], self.ranks[1]);
        let _ = writeln!(text, "rows = {}\ndata = {}", self.rows, quote(&self.data));
        let _ = writeln!(text, "sigma = {}", number(self.sigma, 3));
        for (key, map, digits) in [("params", &self.params, 5), ("spread", &self.spread, 2)] {
            let entries = map.iter().map(|(name, value)| format!("{name} = {}", number(*value, digits)));
            let _ = writeln!(text, "{key} = {}", inline(entries));
        }
        let pinned: Vec<String> = self.pinned.iter().map(|name| quote(name)).collect();
        let _ = writeln!(text, "pinned = [{}]", pinned.join(", "));
        let errors = self.errors.named().into_iter().filter_map(|(name, pair)| {
            pair.map(|[median, p90]| format!("{name} = [{}, {}]", number(median, 3), number(p90, 3)))
        });
        let _ = writeln!(text, "errors = {}", inline(errors));
        self.write_residual(text);
    }

    fn write_residual(&self, text: &mut String) {
        let (Some(grid), Some(size)) = (self.residual.grids.first(), self.residual.axes.last()) else { return };
        let list = |axis: &Axis| axis.knots.iter().map(|knot| number(knot.exp(), 6)).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "[set.residual]\nsize = \"{}\"", list(size));
        if self.residual.axes.len() > 1 {
            let _ = writeln!(text, "ranks = \"{}\"", list(&self.residual.axes[0]));
        }
        let rows: Vec<String> = grid
            .values
            .chunks(size.knots.len().max(1))
            .map(|row| {
                let cells: Vec<String> = row.iter().map(|value| ((value * 1e3).round() as i64).to_string()).collect();
                cells.join(" ")
            })
            .collect();
        let _ = writeln!(text, "values = \"\"\"\n{}\"\"\"", rows.join("\n"));
    }

    /// ln(measured / form) at a size and a group.
    pub fn log_correction(&self, size: f64, ranks: f64) -> f64 {
        if self.residual.is_empty() { 0.0 } else { self.residual.log_correction(&[size, ranks]) }
    }
}

fn inline(entries: impl Iterator<Item = String>) -> String {
    let entries: Vec<String> = entries.collect();
    if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
}

/// A number with so many significant digits that TOML reads as a float.
fn number(value: f64, digits: usize) -> String {
    let rounded: f64 = format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value);
    format!("{rounded:?}")
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
