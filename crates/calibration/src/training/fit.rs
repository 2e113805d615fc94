//! Fitting framework profiles on published steps.

use super::predict::{Predictor, Priced, RowError};
use super::row::{TrainingRow, held_out_rows};
use crate::fit::{FitOptions, Problem, fit};
use crate::stats::ErrorStats;
use cost::kernels::ParamSpec;
use std::collections::{BTreeMap, BTreeSet};
use training::framework::Coefficients;
use training::{Job, Machine, Profile};

/// A release with fitted coefficients and how well they do.
#[derive(Debug, Clone)]
pub struct FittedRelease {
    /// The profile.
    pub profile: Profile,
    /// Rows fitted on.
    pub rows: usize,
    /// Errors on them.
    pub fitted: ErrorStats,
    /// Errors on the held-out ones.
    pub held_out: ErrorStats,
}

/// A row with the job it was taken to mean.
struct Case<'a> {
    row: &'a TrainingRow,
    job: Job,
    machine: Priced,
}

/// Fits each release that `rows` ran on, on the rows that are not held out.
///
/// # Errors
/// A row's framework or system is not in the catalog.
pub fn fit_releases(predictor: &Predictor, rows: &[TrainingRow]) -> Result<Vec<FittedRelease>, RowError> {
    let mut by_release: BTreeMap<(String, String), Vec<&TrainingRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.measured().is_some()) {
        let profile = predictor.profile(row)?;
        by_release.entry((profile.framework.clone(), profile.release.clone())).or_default().push(row);
    }
    let held_out = held_out_rows(rows);
    by_release.into_values().map(|rows| fit_release(predictor, &rows, &held_out)).collect()
}

fn fit_release(
    predictor: &Predictor,
    rows: &[&TrainingRow],
    held_out: &BTreeSet<String>,
) -> Result<FittedRelease, RowError> {
    let start = predictor.profile(rows[0])?.clone();
    let mut profile = start.clone();
    // What a row leaves open depends on the coefficients, and they on it; twice is enough to settle.
    for _ in 0..2 {
        let cases: Vec<Case<'_>> = rows
            .iter()
            .filter(|row| !held_out.contains(&row.id))
            .filter_map(|row| {
                let chosen = predictor.predict_as(row, &profile).ok()?;
                Some(Case { row, job: chosen.job, machine: predictor.machine(row).ok()? })
            })
            .collect();
        if !cases.is_empty() {
            profile = fit_cases(&start, &cases);
        }
    }
    let errors = |out: bool| {
        let pairs: Vec<(f64, f64)> = rows
            .iter()
            .filter(|row| held_out.contains(&row.id) == out)
            .filter_map(|row| {
                let step = predictor.predict_as(row, &profile).ok()?.step;
                Some((step.time.get(), row.measured()?))
            })
            .collect();
        ErrorStats::of(&pairs)
    };
    let (fitted, tested) = (errors(false), errors(true));
    profile.provenance = format!(
        "fitted on {} published steps (median error {:.1} %); {} steps of other sources held out (median {:.1} %)",
        fitted.n,
        100.0 * fitted.median_ape,
        tested.n,
        100.0 * tested.median_ape,
    );
    Ok(FittedRelease { rows: fitted.n, fitted, held_out: tested, profile })
}

/// The coefficients as the fitter wants them: the shared ones, then the matrix rate of each chip family.
struct Layout {
    specs: Vec<ParamSpec>,
    families: Vec<String>,
}

impl Layout {
    fn new(cases: &[Case<'_>]) -> Self {
        let mut families: Vec<String> = cases.iter().map(|case| case.machine.chip.family.clone()).collect();
        families.sort();
        families.dedup();
        let spec = |spec: &training::framework::Spec| {
            // The fitter works in logarithms, so that a range must begin above zero.
            let low = if spec.low > 0.0 { spec.low } else { spec.usual * 1e-2 };
            ParamSpec::new(spec.name, spec.unit, spec.meaning, low, spec.high, spec.usual, spec.spread)
        };
        let mut specs: Vec<ParamSpec> =
            Coefficients::SPECS.iter().filter(|spec| spec.name != "matrix").map(spec).collect();
        let matrix = Coefficients::SPECS.iter().find(|spec| spec.name == "matrix").map(spec);
        specs.extend(families.iter().filter_map(|_| matrix));
        Self { specs, families }
    }

    fn profile(&self, start: &Profile, values: &[f64]) -> Profile {
        let mut profile = start.clone();
        let shared = self.specs.len() - self.families.len();
        for (spec, value) in self.specs.iter().zip(values).take(shared) {
            profile.coefficients.set(spec.name, *value);
        }
        for (family, value) in self.families.iter().zip(&values[shared..]) {
            profile.matrix_by_family.insert(family.clone(), *value);
        }
        let families = &values[shared..];
        let mean = families.iter().map(|value| value.ln()).sum::<f64>() / families.len().max(1) as f64;
        profile.coefficients.set("matrix", mean.exp());
        profile
    }
}

fn fit_cases(start: &Profile, cases: &[Case<'_>]) -> Profile {
    let layout = Layout::new(cases);
    let seconds: Vec<f64> = cases.iter().map(|case| case.row.measured().unwrap_or(1.0)).collect();
    let model = |values: &[f64], case: &&Case<'_>| {
        let profile = layout.profile(start, values);
        let machine = Machine { chip: &case.machine.chip, pricer: &case.machine.pricer, profile: &profile };
        training::price(&case.job, &machine).map_or(f64::NAN, |step| step.time.get())
    };
    let rows: Vec<&Case<'_>> = cases.iter().collect();
    let problem = Problem { specs: &layout.specs, rows: &rows, seconds: &seconds, model: &model };
    let fitted = fit(&problem, &FitOptions::default());
    layout.profile(start, &fitted.params)
}
