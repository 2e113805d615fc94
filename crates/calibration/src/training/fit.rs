//! Fitting framework profiles on published steps.
//!
//! Few runs are published of each release, so that its coefficients lean on relatives: all frameworks with the same kind of
//! attention are fitted together, then each framework near that, then each release near its framework.

use super::predict::{Predictor, Priced};
use super::row::TrainingRow;
use crate::fit::{FitOptions, Problem, fit};
use crate::stats::fnv1a;
use cost::kernels::ParamSpec;
use std::collections::{BTreeMap, BTreeSet};
use training::framework::{AttentionKernel, Coefficients, Spec};
use training::{Job, Machine, Profile};

/// A row with the job it was taken to mean and the release it ran on.
struct Case {
    job: Job,
    machine: Priced,
    profile: Profile,
    seconds: f64,
}

/// Most runs of one release in the fit of all frameworks, so that a long sweep does not outvote the others.
const RUNS_OF_RELEASE: usize = 16;
/// Spread of a framework's coefficients around those of all frameworks, over the spread believed in without any data.
const FRAMEWORK_SPREAD: f64 = 1.2;
/// Spread of a release's around its framework's.
const RELEASE_SPREAD: f64 = 0.6;

/// Fits every release of the catalog on `rows`, all of which are used. Releases that no row ran on take their
/// framework's coefficients, and frameworks without any those of all.
pub fn fit_releases(predictor: &Predictor, rows: &[&TrainingRow]) -> Vec<Profile> {
    let mut releases: BTreeMap<(bool, String), Vec<Profile>> = BTreeMap::new();
    for profile in predictor.frameworks().flat_map(|framework| framework.releases()) {
        let fused = profile.attention == AttentionKernel::Fused;
        releases.entry((fused, profile.framework.clone())).or_default().push(profile.clone());
    }
    let mut fitted = Vec::new();
    for fused in [true, false] {
        let kind: Vec<&TrainingRow> = rows
            .iter()
            .copied()
            .filter(|row| {
                predictor
                    .profile(row)
                    .is_ok_and(|profile| (profile.attention == AttentionKernel::Fused) == fused)
            })
            .collect();
        let all = settle(predictor, &sample(predictor, &kind), None);
        let frameworks = releases.iter().filter(|((kind, _), _)| *kind == fused);
        for ((_, framework), profiles) in frameworks {
            let own = of(predictor, &kind, |profile| profile.framework == *framework);
            let near = all.as_ref().map(|all| (all, FRAMEWORK_SPREAD));
            let together = settle(predictor, &own, near).or_else(|| all.clone());
            for profile in profiles {
                let rows = of(predictor, &own, |other| other.release == profile.release);
                let near = together.as_ref().map(|values| (values, RELEASE_SPREAD));
                let values = settle(predictor, &rows, near).or_else(|| together.clone());
                fitted.push(described(predictor, profile, values.as_ref(), &rows));
            }
        }
    }
    fitted
}

fn of<'a>(
    predictor: &Predictor,
    rows: &[&'a TrainingRow],
    wanted: impl Fn(&Profile) -> bool,
) -> Vec<&'a TrainingRow> {
    rows.iter().copied().filter(|row| predictor.profile(row).is_ok_and(&wanted)).collect()
}

/// At most [`RUNS_OF_RELEASE`] rows of each release, by a hash of their ids.
fn sample<'a>(predictor: &Predictor, rows: &[&'a TrainingRow]) -> Vec<&'a TrainingRow> {
    let mut releases: BTreeMap<(&str, &str), Vec<&TrainingRow>> = BTreeMap::new();
    for row in rows {
        if let Ok(profile) = predictor.profile(row) {
            releases.entry((&profile.framework, &profile.release)).or_default().push(row);
        }
    }
    releases
        .into_values()
        .flat_map(|mut rows| {
            rows.sort_by_key(|row| fnv1a(row.id.as_bytes()));
            rows.truncate(RUNS_OF_RELEASE);
            rows
        })
        .collect()
}

fn described(
    predictor: &Predictor,
    start: &Profile,
    values: Option<&Values>,
    rows: &[&TrainingRow],
) -> Profile {
    let rounded = values.map(|values| values.clone().rounded());
    let mut profile = rounded.map_or_else(|| start.clone(), |values| values.apply(start));
    profile.fitted_on = rows.iter().map(|row| row.id.clone()).collect();
    profile.fitted_on.sort();
    let families =
        rows.iter().filter_map(|row| predictor.machine(row).ok()).map(|site| site.chip.family.clone());
    profile.fitted_families = families.collect::<BTreeSet<String>>().into_iter().collect();
    let models: BTreeSet<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    profile.provenance = match rows.len() {
        0 => "as its relatives; no published run was fitted".to_owned(),
        runs => format!("fitted on {runs} published runs of {} models", models.len()),
    };
    profile
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

    fn rounded(mut self) -> Self {
        let values = self.shared.iter_mut().map(|(_, value)| value);
        for value in values.chain(self.families.values_mut()) {
            *value = rounded(*value);
        }
        self
    }

    fn get(&self, name: &str) -> Option<f64> {
        self.shared.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// To three digits: what a fit can tell, and what a reader of a profile can take in.
fn rounded(value: f64) -> f64 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// What a row leaves open depends on the coefficients, and they on it: fitted twice, so that both settle.
fn settle(predictor: &Predictor, rows: &[&TrainingRow], near: Option<(&Values, f64)>) -> Option<Values> {
    let mut values = near.map(|(values, _)| values.clone());
    for _ in 0..2 {
        let cases: Vec<Case> = rows
            .iter()
            .filter_map(|row| {
                let start = predictor.profile(row).ok()?;
                let profile = values.as_ref().map_or_else(|| start.clone(), |values| values.apply(start));
                let job = predictor.predict_as(row, &profile).ok()?.job;
                let seconds = predictor.measured(row, &job)?;
                Some(Case { job, machine: predictor.machine(row).ok()?, profile, seconds })
            })
            .collect();
        if cases.is_empty() {
            return None;
        }
        values = Some(fit_cases(&cases, near));
    }
    values
}

/// The coefficients as the fitter wants them: the shared ones, then the matrix rate of each chip family.
fn specs(families: &[String], near: Option<(&Values, f64)>) -> Vec<ParamSpec> {
    let spec = |spec: &Spec, prior: Option<f64>| {
        // The fitter works in logarithms, so that a range must begin above zero.
        let low = if spec.low > 0.0 { spec.low } else { spec.usual * 1e-2 };
        let (centre, spread) = match (prior, near) {
            (Some(prior), Some((_, spread))) => (prior, spread * spec.spread),
            _ => (spec.usual, spec.spread),
        };
        let centre = centre.clamp(low, spec.high);
        ParamSpec::new(spec.name, spec.unit, spec.meaning, low, spec.high, centre, spread)
    };
    let shared = Coefficients::SPECS.iter().filter(|spec| spec.name != "matrix");
    let mut specs: Vec<ParamSpec> =
        shared.map(|known| spec(known, near.and_then(|(near, _)| near.get(known.name)))).collect();
    let matrix = Coefficients::SPECS.iter().find(|spec| spec.name == "matrix");
    specs.extend(families.iter().filter_map(|family| {
        matrix.map(|known| spec(known, near.and_then(|(near, _)| near.families.get(family)).copied()))
    }));
    specs
}

fn fit_cases(cases: &[Case], near: Option<(&Values, f64)>) -> Values {
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
    let seconds: Vec<f64> = cases.iter().map(|case| case.seconds).collect();
    let model = |values: &[f64], case: &&Case| {
        let profile = unpack(values).apply(&case.profile);
        let machine = Machine { chip: &case.machine.chip, pricer: &case.machine.pricer, profile: &profile };
        training::price(&case.job, &machine).map_or(f64::NAN, |step| step.time.get())
    };
    let rows: Vec<&Case> = cases.iter().collect();
    let problem = Problem { specs: &specs, rows: &rows, seconds: &seconds, model: &model };
    let options = FitOptions {
        random_starts: 0,
        keep: 1,
        screen_iterations: 8,
        polish_iterations: 12,
        ..FitOptions::default()
    };
    let mut values = unpack(&fit(&problem, &options).params);
    // Families that only the wider fit has seen keep its rate.
    for (family, rate) in near.map(|(near, _)| &near.families).into_iter().flatten() {
        values.families.entry(family.clone()).or_insert(*rate);
    }
    values
}
