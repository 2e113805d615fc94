//! Fitting one set: choice of structure, coefficients, residual grid, errors by split.

use super::calibrate::{CalibrateError, CalibrateOptions, machine};
use super::family::{Draft, Form, OpFamily, SetKey, Structure};
use super::relatives::{self, Prior};
use super::table::OpTable;
use crate::fit::{Fit, FitOptions, Problem, fit, fit_residual};
use crate::stats::{ErrorStats, Split, fnv1a};
use cost::kernels::{Errors, KernelSet, ParamSpec, Residual};
use cost::ops::Machine;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Different shapes below which a set is not fitted.
pub const MIN_ROWS: usize = 4;

/// How one set is fitted.
#[derive(Debug, Clone, PartialEq)]
pub struct SetOptions {
    /// Options of the coefficients' fit.
    pub fit: FitOptions,
    /// Whether a residual grid may be added.
    pub residual: bool,
}

/// The rows of one set, equal shapes averaged, in the order of their keys.
pub(super) struct SetData<Shape> {
    pub(super) key: SetKey,
    pub(super) keys: Vec<String>,
    pub(super) shapes: Vec<Shape>,
    pub(super) seconds: Vec<f64>,
    pub(super) machine: Machine,
    few_rows: usize,
    study_rows: usize,
}

/// A fitted form.
pub(super) struct Fitted {
    pub(super) structure: Structure,
    pub(super) specs: Vec<ParamSpec>,
    pub(super) fit: Fit,
    pub(super) residual: Residual,
}

impl Fitted {
    /// Coefficients that were fitted elsewhere.
    pub(super) fn given(
        structure: Structure,
        specs: Vec<ParamSpec>,
        params: Vec<f64>,
        residual: Residual,
    ) -> Self {
        let count = specs.len();
        let fit = Fit {
            params,
            cost: 0.0,
            spread: vec![0.0; count],
            covariance: Vec::new(),
            pinned: vec![false; count],
        };
        Self { structure, specs, fit, residual }
    }
}

pub(super) fn calibrate_family<F: OpFamily>(
    family: &F,
    tables: &[OpTable],
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Draft>, CalibrateError> {
    let sets = gather(family, tables, options)?;
    let fitted: Vec<(Fitted, KernelSet)> = sets
        .par_iter()
        .map(|data| fit_and_judge(family, data, options))
        .collect::<Result<_, CalibrateError>>()?;
    relatives::finish(family, &sets, fitted, options)
}

/// Groups the rows of all tables into sets large enough to be fitted.
pub(super) fn gather<F: OpFamily>(
    family: &F,
    tables: &[OpTable],
    options: &CalibrateOptions<'_>,
) -> Result<Vec<SetData<F::Shape>>, CalibrateError> {
    type Shapes<S> = BTreeMap<String, (S, f64, f64)>;
    let mut groups: BTreeMap<SetKey, Shapes<F::Shape>> = BTreeMap::new();
    for table in tables.iter().filter(|table| family.accepts(table)) {
        for record in table.records() {
            let Some(row) = family.read(&record)? else { continue };
            if row.time.get() > 0.0 {
                let shapes = groups.entry(row.key).or_default();
                let key = family.shape_key(&row.shape);
                let mean = shapes.entry(key).or_insert((row.shape, 0.0, 0.0));
                mean.1 += row.time.get();
                mean.2 += 1.0;
            }
        }
    }
    let mut sets = Vec::new();
    for (mut key, rows) in groups.into_iter().filter(|(_, rows)| rows.len() >= MIN_ROWS) {
        let chip = options.chip(&key.chip)?;
        let machine = machine(&chip, family.multiplied(&key))?;
        key.chip = chip.id;
        let mut data = SetData {
            key,
            keys: Vec::new(),
            shapes: Vec::new(),
            seconds: Vec::new(),
            machine,
            few_rows: family.few_rows(),
            study_rows: family.study_rows(),
        };
        for (shape_key, (shape, total, count)) in rows {
            data.keys.push(shape_key);
            data.shapes.push(shape);
            data.seconds.push(total / count);
        }
        sets.push(data);
    }
    Ok(sets)
}

impl<Shape: Clone + Send + Sync> SetData<Shape> {
    pub(super) fn len(&self) -> usize {
        self.shapes.len()
    }

    pub(super) fn few(&self) -> bool {
        self.len() < self.few_rows
    }

    pub(super) fn studied(&self) -> bool {
        self.len() >= self.study_rows
    }

    /// Which rows the shipped coefficients are fitted on; few rows are all fitted.
    pub(super) fn shipped_split(&self) -> Split {
        if self.studied() {
            Split::shipped(self.keys.iter().map(String::as_str))
        } else {
            Split { train: (0..self.len()).collect(), test: Vec::new() }
        }
    }

    pub(super) fn form<'a, F: OpFamily<Shape = Shape>>(
        &self,
        family: &'a F,
        structure: &Structure,
    ) -> Result<Form<'a, Shape>, CalibrateError> {
        Ok(family.compile(&self.key, structure, self.machine)?)
    }

    fn hash(&self, rows: &[usize]) -> String {
        let text: String =
            rows.iter().map(|row| format!("{}:{:e};", self.keys[*row], self.seconds[*row])).collect();
        format!("fnv1a:{:016x}", fnv1a(text.as_bytes()))
    }

    /// Predictions with measurements for some of the rows.
    pub(super) fn pairs<F: OpFamily<Shape = Shape>>(
        &self,
        family: &F,
        fitted: &Fitted,
        rows: &[usize],
    ) -> Result<Vec<(f64, f64)>, CalibrateError> {
        let form = self.form(family, &fitted.structure)?;
        let pair = |row: &usize| {
            let shape = &self.shapes[*row];
            let log = if fitted.residual.is_empty() {
                0.0
            } else {
                fitted.residual.log_correction(&family.feature_values(shape))
            };
            (form(&fitted.fit.params, shape) * log.exp(), self.seconds[*row])
        };
        Ok(rows.iter().map(pair).collect())
    }
}

/// What the axes of a relative's correction are called beside a set's own.
const RELATIVE_AXES: &str = "relative_";

/// The structure with the least cost in a short fit each, then a full fit, then a residual grid.
pub(super) fn fit_rows<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    rows: &[usize],
    prior: &Prior,
    options: &SetOptions,
) -> Result<Fitted, CalibrateError> {
    let shapes: Vec<F::Shape> = rows.iter().map(|row| data.shapes[*row].clone()).collect();
    let features: Vec<Vec<f64>> = shapes.iter().map(|shape| family.feature_values(shape)).collect();
    // The relative's correction stays: what is fitted is what it leaves over.
    let seconds: Vec<f64> = rows
        .iter()
        .zip(&features)
        .map(|(row, features)| data.seconds[*row] * (-prior.base.log_correction(features)).exp())
        .collect();
    let forms = prior
        .structures
        .iter()
        .map(|structure| data.form(family, structure))
        .collect::<Result<Vec<_>, _>>()?;
    let run = |form: &Form<'_, F::Shape>, options: &FitOptions| {
        let model = |params: &[f64], shape: &F::Shape| form(params, shape);
        fit(&Problem { specs: &prior.specs, rows: &shapes, seconds: &seconds, model: &model }, options)
    };
    let mut search = FitOptions { starts: prior.starts.clone(), ..options.fit.clone() };
    let mut best = 0;
    if forms.len() > 1 {
        let short: Vec<Fit> = forms.par_iter().map(|form| run(form, &search.short())).collect();
        best = (0..short.len()).min_by(|a, b| short[*a].cost.total_cmp(&short[*b].cost)).unwrap_or(0);
        search.starts = vec![short[best].params.clone()];
        search.random_starts = search.random_starts.min(1);
    }
    let fit = run(&forms[best], &search);
    let residual = if options.residual {
        let leftover: Vec<f64> = shapes
            .iter()
            .zip(&seconds)
            .map(|(shape, measured)| (measured / forms[best](&fit.params, shape)).ln())
            .collect();
        let mut grid = family.grids(&features);
        grid.seed = options.fit.seed;
        fit_residual(&features, &leftover, &grid).unwrap_or_default()
    } else {
        Residual::default()
    };
    let residual = if prior.base.is_empty() { residual } else { residual.and(&prior.base, RELATIVE_AXES) };
    let structure = prior.structures.get(best).cloned().unwrap_or_default();
    Ok(Fitted { structure, specs: prior.specs.clone(), fit, residual })
}

/// Options for so many rows.
pub(super) fn set_options<F: OpFamily>(family: &F, data: &SetData<F::Shape>, seed: u64) -> SetOptions {
    if data.few() {
        few_rows_options(seed)
    } else {
        let prior_weight = family.prior_weight();
        SetOptions { fit: FitOptions { seed, prior_weight, ..FitOptions::default() }, residual: true }
    }
}

/// Options for a few rows near a relative's coefficients. Even 32 rows can show a trend that a residual grid takes up;
/// cross-validation decides.
pub(super) fn few_rows_options(seed: u64) -> SetOptions {
    SetOptions { fit: FitOptions { seed, ..FitOptions::few_shot() }, residual: true }
}

fn fit_and_judge<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    options: &CalibrateOptions<'_>,
) -> Result<(Fitted, KernelSet), CalibrateError> {
    let split = data.shipped_split();
    let (prior, how) = starting_point(family, data, &split.train, options)?;
    let fitted = fit_rows(family, data, &split.train, &prior, &how)?;
    let test = |split: &Split, fitted: &Fitted| -> Result<ErrorStats, CalibrateError> {
        Ok(ErrorStats::of(&data.pairs(family, fitted, &split.test)?))
    };
    let mut errors = Errors::default();
    let on_fit = ErrorStats::of(&data.pairs(family, &fitted, &split.train)?);
    errors.fit = Some(on_fit.median_p90());
    let mut sigma = on_fit.sigma;
    if split.test.is_empty() {
        let folds = cross_validated(family, data, &prior, &how)?;
        errors.held_out = Some(folds.median_p90());
        sigma = folds.sigma;
    } else {
        let held = test(&split, &fitted)?;
        errors.held_out = Some(held.median_p90());
        sigma = sigma.max(held.sigma);
    }
    if options.study && data.studied() {
        errors.random = Some(random_split(family, data, options)?);
        errors.family = family_split(family, data, &fitted.structure, options)?;
    }
    let set = kernel_set(family, data, &split, &fitted, errors, sigma);
    Ok((fitted, set))
}

/// Where the fit of a set starts: near a relative if the rows are few, or if being held near one carries further from
/// small sizes to large ones than a fit of the rows alone and costs nothing among the sizes there are; else from the
/// family's own priors.
fn starting_point<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    rows: &[usize],
    options: &CalibrateOptions<'_>,
) -> Result<(Prior, SetOptions), CalibrateError> {
    let fresh = Prior::fresh(family, &data.key);
    let how = set_options(family, data, options.seed);
    if data.few() {
        return Ok((relatives::from_catalog(family, data, options)?.unwrap_or(fresh), how));
    }
    let Some(near) = relatives::held_to_relative(family, data, options)? else { return Ok((fresh, how)) };
    let held = SetOptions { fit: how.fit.held(), ..how.clone() };
    let work: Vec<f64> = rows.iter().map(|row| family.work(&data.shapes[*row])).collect();
    let pick = |chosen: &[usize]| -> Vec<usize> { chosen.iter().map(|at| rows[*at]).collect() };
    let error = |split: &Split, prior: &Prior, how: &SetOptions| -> Result<f64, CalibrateError> {
        let fitted = fit_rows(family, data, &pick(&split.train), prior, how)?;
        Ok(ErrorStats::of(&data.pairs(family, &fitted, &pick(&split.test))?).median_ape)
    };
    let size = Split::size(&work, 0.7);
    if error(&size, &near, &held)? > (1.0 - CARRIES_FURTHER) * error(&size, &fresh, &how)? {
        return Ok((fresh, how));
    }
    let random = Split::random(rows.len(), 0.7, options.seed);
    if error(&random, &near, &held)? > error(&random, &fresh, &how)? {
        return Ok((fresh, how));
    }
    Ok((near, held))
}

/// Relative gain on larger sizes from which a fit is held near a relative.
const CARRIES_FURTHER: f64 = 0.1;

/// Median and 90th percentile of the errors on the rows that a split tests.
fn tested<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    split: &Split,
    prior: &Prior,
    options: &CalibrateOptions<'_>,
) -> Result<[f64; 2], CalibrateError> {
    let how = set_options(family, data, options.seed);
    let fitted = fit_rows(family, data, &split.train, prior, &how)?;
    Ok(ErrorStats::of(&data.pairs(family, &fitted, &split.test)?).median_p90())
}

/// Fitted on a random 30 %, tested on the rest.
pub(super) fn random_split<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    options: &CalibrateOptions<'_>,
) -> Result<[f64; 2], CalibrateError> {
    let split = Split::random(data.len(), 0.3, options.seed);
    tested(family, data, &split, &Prior::fresh(family, &data.key), options)
}

/// Fitted on some families of shapes, tested on others, with a known structure; `None` where there are too few.
pub(super) fn family_split<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    structure: &Structure,
    options: &CalibrateOptions<'_>,
) -> Result<Option<[f64; 2]>, CalibrateError> {
    let split = Split::by(data.len(), |row| family.trains(&data.shapes[row]));
    if split.train.len() < data.study_rows || split.test.len() < data.study_rows / 5 {
        return Ok(None);
    }
    let prior = Prior { structures: vec![structure.clone()], ..Prior::fresh(family, &data.key) };
    tested(family, data, &split, &prior, options).map(Some)
}

/// Errors of five-fold cross-validation, for sets too small to keep rows out of the shipped fit.
fn cross_validated<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    prior: &Prior,
    how: &SetOptions,
) -> Result<ErrorStats, CalibrateError> {
    const FOLDS: usize = 5;
    let mut pairs = Vec::new();
    for fold in 0..FOLDS {
        let split = Split::by(data.len(), |row| Some(row % FOLDS != fold));
        let fitted = fit_rows(family, data, &split.train, prior, how)?;
        pairs.extend(data.pairs(family, &fitted, &split.test)?);
    }
    Ok(ErrorStats::of(&pairs))
}

fn kernel_set<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    split: &Split,
    fitted: &Fitted,
    errors: Errors,
    sigma: f64,
) -> KernelSet {
    let key = &data.key;
    let named = |values: &[f64]| -> BTreeMap<String, f64> {
        fitted.specs.iter().zip(values).map(|(spec, value)| (spec.name.to_owned(), *value)).collect()
    };
    let count = |rows: &[usize]| u32::try_from(rows.len()).unwrap_or(u32::MAX);
    let quickest = data.seconds.iter().copied().fold(f64::INFINITY, f64::min);
    KernelSet {
        family: family.name().to_owned(),
        stack: key.stack.clone(),
        version: key.version.clone(),
        kernel: key.kernel.clone(),
        precision: key.precision,
        form: family.form().to_owned(),
        structure: fitted.structure.clone(),
        params: named(&fitted.fit.params),
        spread: named(&fitted.fit.spread),
        pinned: fitted
            .specs
            .iter()
            .zip(&fitted.fit.pinned)
            .filter(|(_, pinned)| **pinned)
            .map(|(spec, _)| spec.name.to_owned())
            .collect(),
        rows: count(&split.train),
        held_out: count(&split.test),
        data: data.hash(&split.train),
        sigma,
        transfer_sigma: sigma,
        host_bound: quickest > family.host_floor().get(),
        errors,
        features: if fitted.residual.is_empty() {
            Vec::new()
        } else {
            family.features().iter().map(|name| (*name).to_owned()).collect()
        },
        residual: fitted.residual.clone(),
    }
}
