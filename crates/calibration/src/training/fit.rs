//! Fitting framework profiles on published steps.

use super::predict::{Predictor, Priced, RowError};
use super::row::{TrainingRow, held_out_rows};
use crate::fit::{FitOptions, Problem, fit};
use crate::stats::ErrorStats;
use cost::kernels::ParamSpec;
use std::collections::{BTreeMap, BTreeSet};
use training::framework::{AttentionKernel, Coefficients, Spec};
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

/// A row with the job it was taken to mean and the release it ran on.
struct Case<'a> {
    row: &'a TrainingRow,
    job: Job,
    machine: Priced,
    profile: Profile,
}

/// Spread of a release's coefficients around those of its framework's releases together, as a standard deviation of the
/// logarithm.
const RELEASE_SPREAD: f64 = 0.25;

/// Fits each release that `rows` ran on, on the rows that are not held out.
///
/// Releases of one framework with the same kind of attention are first fitted together; the result is what each of
/// them is then expected to be near.
///
/// # Errors
/// A row's framework or system is not in the catalog.
pub fn fit_releases(predictor: &Predictor, rows: &[TrainingRow]) -> Result<Vec<FittedRelease>, RowError> {
    let held_out = held_out_rows(rows);
    let mut families: BTreeMap<(String, bool), Vec<&TrainingRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.measured().is_some()) {
        let profile = predictor.profile(row)?;
        let fused = profile.attention == AttentionKernel::Fused;
        families.entry((profile.framework.clone(), fused)).or_default().push(row);
    }
    let mut fitted = Vec::new();
    for rows in families.into_values() {
        fitted.extend(fit_family(predictor, &rows, &held_out)?);
    }
    Ok(fitted)
}

/// Releases that are expected to be alike.
fn fit_family(
    predictor: &Predictor,
    rows: &[&TrainingRow],
    held_out: &BTreeSet<String>,
) -> Result<Vec<FittedRelease>, RowError> {
    let mut releases: BTreeMap<String, (Profile, Vec<&TrainingRow>)> = BTreeMap::new();
    for row in rows {
        let profile = predictor.profile(row)?;
        let entry = releases.entry(profile.release.clone()).or_insert_with(|| (profile.clone(), Vec::new()));
        entry.1.push(row);
    }
    let train: Vec<&TrainingRow> = rows.iter().copied().filter(|row| !held_out.contains(&row.id)).collect();
    let together = if releases.len() > 1 { settle(predictor, &train, &releases, None) } else { None };
    let mut results = Vec::new();
    for (profile, rows) in releases.values() {
        let own = BTreeMap::from([(profile.release.clone(), (profile.clone(), Vec::new()))]);
        let train: Vec<&TrainingRow> =
            rows.iter().copied().filter(|row| !held_out.contains(&row.id)).collect();
        let fit = settle(predictor, &train, &own, together.as_ref()).or_else(|| together.clone());
        let profile = fit.map_or_else(|| profile.clone(), |fit| fit.apply(profile));
        results.push(judge(predictor, rows, held_out, profile));
    }
    Ok(results)
}

/// Fitted values by coefficient, and the matrix rate by chip family.
#[derive(Debug, Clone)]
struct Values {
    shared: Vec<(&'static str, f64)>,
    families: BTreeMap<String, f64>,
}

impl Values {
    fn apply(&self, start: &Profile) -> Profile {
        let mut profile = start.clone();
        for (name, value) in &self.shared {
            profile.coefficients.set(name, *value);
        }
        profile.matrix_by_family.clone_from(&self.families);
        let logs: f64 = self.families.values().map(|value| value.ln()).sum();
        profile.coefficients.set("matrix", (logs / self.families.len().max(1) as f64).exp());
        profile
    }
}

/// What a row leaves open depends on the coefficients, and they on it: fitted twice, so that both settle.
fn settle(
    predictor: &Predictor,
    rows: &[&TrainingRow],
    releases: &BTreeMap<String, (Profile, Vec<&TrainingRow>)>,
    near: Option<&Values>,
) -> Option<Values> {
    let mut values = near.cloned();
    for _ in 0..2 {
        let cases: Vec<Case<'_>> = rows
            .iter()
            .filter_map(|row| {
                let release = predictor.profile(row).ok()?.release.clone();
                let start = &releases.get(&release)?.0;
                let profile = values.as_ref().map_or_else(|| start.clone(), |values| values.apply(start));
                let chosen = predictor.predict_as(row, &profile).ok()?;
                Some(Case { row, job: chosen.job, machine: predictor.machine(row).ok()?, profile })
            })
            .collect();
        if cases.is_empty() {
            return None;
        }
        values = Some(fit_cases(&cases, near));
    }
    values
}

fn judge(
    predictor: &Predictor,
    rows: &[&TrainingRow],
    held_out: &BTreeSet<String>,
    mut profile: Profile,
) -> FittedRelease {
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
        "fitted on {} published steps (median error {:.1} %); {} steps held out (median {:.1} %)",
        fitted.n,
        100.0 * fitted.median_ape,
        tested.n,
        100.0 * tested.median_ape,
    );
    FittedRelease { rows: fitted.n, fitted, held_out: tested, profile }
}

/// The coefficients as the fitter wants them: the shared ones, then the matrix rate of each chip family.
fn specs(families: &[String], near: Option<&Values>) -> Vec<ParamSpec> {
    let spec = |spec: &Spec, prior: Option<f64>| {
        // The fitter works in logarithms, so that a range must begin above zero.
        let low = if spec.low > 0.0 { spec.low } else { spec.usual * 1e-2 };
        let (centre, spread) = prior.map_or((spec.usual, spec.spread), |prior| (prior, RELEASE_SPREAD));
        ParamSpec::new(
            spec.name,
            spec.unit,
            spec.meaning,
            low,
            spec.high,
            centre.clamp(low, spec.high),
            spread,
        )
    };
    let of = |name: &str| near?.shared.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let shared = Coefficients::SPECS.iter().filter(|spec| spec.name != "matrix");
    let mut specs: Vec<ParamSpec> = shared.map(|known| spec(known, of(known.name))).collect();
    let matrix = Coefficients::SPECS.iter().find(|spec| spec.name == "matrix");
    specs.extend(families.iter().filter_map(|family| {
        matrix.map(|known| spec(known, near.and_then(|near| near.families.get(family)).copied()))
    }));
    specs
}

fn fit_cases(cases: &[Case<'_>], near: Option<&Values>) -> Values {
    let mut families: Vec<String> = cases.iter().map(|case| case.machine.chip.family.clone()).collect();
    families.sort();
    families.dedup();
    let specs = specs(&families, near);
    let unpack = |values: &[f64]| {
        let shared = specs.len() - families.len();
        Values {
            shared: specs.iter().zip(values).take(shared).map(|(spec, value)| (spec.name, *value)).collect(),
            families: families.iter().cloned().zip(values[shared..].iter().copied()).collect(),
        }
    };
    let seconds: Vec<f64> = cases.iter().map(|case| case.row.measured().unwrap_or(1.0)).collect();
    let model = |values: &[f64], case: &&Case<'_>| {
        let profile = unpack(values).apply(&case.profile);
        let machine = Machine { chip: &case.machine.chip, pricer: &case.machine.pricer, profile: &profile };
        training::price(&case.job, &machine).map_or(f64::NAN, |step| step.time.get())
    };
    let rows: Vec<&Case<'_>> = cases.iter().collect();
    let problem = Problem { specs: &specs, rows: &rows, seconds: &seconds, model: &model };
    let options = FitOptions { random_starts: 1, keep: 1, polish_iterations: 25, ..FitOptions::default() };
    let mut values = unpack(&fit(&problem, &options).params);
    // Families that only the wider fit has seen keep its rate.
    for (family, rate) in near.map(|near| &near.families).into_iter().flatten() {
        values.families.entry(family.clone()).or_insert(*rate);
    }
    values
}
