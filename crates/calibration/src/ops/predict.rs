//! From profiles to predictions of measured rows.

use super::calibrate::{CalibrateError, CalibrateOptions, machine};
use super::family::{AnyFamily, Form, OpFamily, SetKey};
use super::table::OpTable;
use cost::kernels::{Choice, KernelSet, Kernels, Origin, Profile, SetQuery};
use hardware::Chip;
use std::collections::BTreeMap;
use std::sync::Arc;
use units::Seconds;

/// What the shipped coefficients say of a measured row.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Line of the row in its table.
    pub line: u64,
    /// Operator family.
    pub family: &'static str,
    /// The set it belongs to.
    pub key: SetKey,
    /// Its shape, columns joined with commas.
    pub shape: String,
    /// Whether rows of this shape were kept out of the fit that predicts it. Coefficients from elsewhere never saw it;
    /// a set too small to spare rows saw all.
    pub held_out: bool,
    /// Measured time.
    pub measured: Seconds,
    /// Predicted time, or why there is none.
    pub predicted: Result<Estimate, Unpredicted>,
}

/// A predicted time.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The time.
    pub time: Seconds,
    /// Standard deviation of ln(measured / predicted).
    pub sigma: f64,
    /// Where the coefficients come from.
    pub origin: Origin,
    /// The set behind it, with the time its form gives before the residual grid; `None` where a price is composed of
    /// several.
    pub basis: Option<(Arc<KernelSet>, Seconds)>,
}

/// Why a row has no prediction.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unpredicted {
    /// The catalog has no such chip.
    #[error("chip `{0}` is not in the catalog")]
    Chip(String),
    /// No coefficients.
    #[error("{0}")]
    Kernels(String),
}

/// Predicts every operator row of a table, in the table's order.
///
/// # Errors
/// If the table is of no known kind or a row is malformed.
pub fn predict_ops(
    table: &OpTable,
    families: &[Box<dyn AnyFamily>],
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Prediction>, CalibrateError> {
    let mut known = false;
    let mut all = Vec::new();
    for family in families.iter().filter(|family| family.accepts(table)) {
        known = true;
        all.extend(family.predict(table, options)?);
    }
    if !known {
        return Err(table.unknown_header().into());
    }
    all.sort_by_key(|prediction| prediction.line);
    Ok(all)
}

/// A set ready to predict with.
struct Ready<'a, F: OpFamily> {
    form: Form<'a, F::Shape>,
    params: Vec<f64>,
    set: Arc<KernelSet>,
    sigma: f64,
    origin: Origin,
}

pub(super) fn predict_family<F: OpFamily>(
    family: &F,
    table: &OpTable,
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Prediction>, CalibrateError> {
    let mut ready: BTreeMap<SetKey, Result<Ready<'_, F>, Unpredicted>> = BTreeMap::new();
    let mut predictions = Vec::new();
    for record in table.records() {
        let Some(row) = family.read(&record)? else { continue };
        if row.time.get() <= 0.0 {
            continue;
        }
        if !ready.contains_key(&row.key) {
            let set = prepare(family, &row.key, options);
            ready.insert(row.key.clone(), set);
        }
        let shape = family.shape_key(&row.shape);
        let predicted = match ready.get(&row.key) {
            Some(Ok(ready)) => Ok(ready.predict(family, &row.shape)),
            Some(Err(why)) => Err(why.clone()),
            None => Err(Unpredicted::Kernels(String::new())),
        };
        predictions.push(Prediction {
            line: record.line(),
            family: family.name(),
            held_out: match ready.get(&row.key) {
                Some(Ok(ready)) => ready.kept_out(&shape),
                _ => true,
            },
            shape,
            measured: row.time,
            key: row.key,
            predicted,
        });
    }
    Ok(predictions)
}

impl<F: OpFamily> Ready<'_, F> {
    fn kept_out(&self, shape: &str) -> bool {
        match self.origin {
            Origin::Measured { .. } => self.set.held_out > 0 && crate::stats::held_out(shape),
            _ => true,
        }
    }

    fn predict(&self, family: &F, shape: &F::Shape) -> Estimate {
        let log = if self.set.residual.is_empty() {
            0.0
        } else {
            self.set.log_correction(family.features(), &family.feature_values(shape))
        };
        let form = Seconds::new((self.form)(&self.params, shape));
        Estimate {
            time: form * log.exp(),
            sigma: self.sigma,
            origin: self.origin.clone(),
            basis: Some((Arc::clone(&self.set), form)),
        }
    }
}

fn prepare<'a, F: OpFamily>(
    family: &'a F,
    key: &SetKey,
    options: &CalibrateOptions<'_>,
) -> Result<Ready<'a, F>, Unpredicted> {
    let said = |error: &dyn std::fmt::Display| Unpredicted::Kernels(error.to_string());
    let chip = options.catalog.chip(&key.chip).map_err(|_| Unpredicted::Chip(key.chip.clone()))?;
    let choice = choose(family, key, &chip, options)?;
    let set = choice.set;
    let machine = machine(&chip, family.multiplied(key)).map_err(|error| said(&error))?;
    let form = family.compile(key, &set.structure, machine).map_err(|error| said(&error))?;
    let params = set.values(&family.params(key)).map_err(|error| said(&error))?;
    Ok(Ready { form, params, set, sigma: choice.sigma, origin: choice.origin })
}

/// The set fitted on rows like these, or else what a step would be priced with.
fn choose<F: OpFamily>(
    family: &F,
    key: &SetKey,
    chip: &Chip,
    options: &CalibrateOptions<'_>,
) -> Result<Choice, Unpredicted> {
    let said = |error: &dyn std::fmt::Display| Unpredicted::Kernels(error.to_string());
    let id = format!("{}.{}", chip.id, OpFamily::group(family));
    if let Some(text) = options.profile(&id) {
        let profile = Profile::parse(text, &id).map_err(|error| said(&error))?;
        let own = profile.sets.into_iter().find(|set| set.family == family.name() && key.matches(set));
        if let Some(set) = own {
            let stack = format!("{} {}", set.stack, set.version);
            let origin = match set.rows {
                0 => Origin::Derived { stack },
                rows => Origin::Measured { stack, rows },
            };
            return Ok(Choice { sigma: set.sigma, set: Arc::new(set), origin });
        }
    }
    let kernels = Kernels::load(chip, std::slice::from_ref(&key.stack), |id| options.profile(id));
    let precisions = family.alike(key.precision);
    kernels
        .select(&SetQuery { family: family.name(), precisions: &precisions, kernel: None })
        .map_err(|error| said(&error))
}
