//! Training rows: one published run.

use crate::summary::{Metric, Pair, Scored};
use calibration::training::{Predictor, RowError, TrainingRow};
use rayon::prelude::*;
use std::collections::BTreeMap;
use training::band::Spread;
use training::{Job, JobError};

/// Predicts every row as laid out, on all cores.
pub fn predict_training(predictor: &Predictor, rows: &[TrainingRow]) -> Vec<Scored> {
    rows.par_iter()
        .map(|row| {
            let nothing = "the row has neither a step time nor a rate";
            let (pairs, failure, launch) = match pair(predictor, row) {
                Ok((Some(pair), launch)) => (vec![pair], None, launch),
                Ok((None, launch)) => (Vec::new(), Some(nothing.to_owned()), launch),
                Err(reason) => (Vec::new(), Some(reason.to_string()), Launch::new()),
            };
            let chip = predictor.machine(row).map_or_else(|_| String::new(), |site| site.chip.id.clone());
            let release = predictor.profile(row).map_or("", |profile| &profile.release);
            Scored {
                id: row.id.clone(),
                keys: vec![
                    ("system", row.system.clone()),
                    ("chip", chip),
                    ("model", row.model.clone()),
                    ("framework", row.framework.clone()),
                    ("release", format!("{} {release}", row.framework)),
                    ("split", if predictor.fitted_on(row) { "fitted" } else { "held out" }.to_owned()),
                ],
                pairs,
                failure,
                launch,
                ..Scored::default()
            }
        })
        .collect()
}

/// What was run, by key.
type Launch = BTreeMap<&'static str, String>;

/// The predicted and the measured step time of a row, if it has a measurement, and what was run.
fn pair(predictor: &Predictor, row: &TrainingRow) -> Result<(Option<Pair>, Launch), RowError> {
    let chosen = predictor.predict(row)?;
    if let Some(misfit) = chosen.misfit.filter(|misfit| over(misfit) > MEMORY_ERROR) {
        return Err(misfit.into());
    }
    let (profile, site) = (predictor.profile(row)?, predictor.machine(row)?);
    let pair = predictor.measured(row, &chosen.job).map(|measured| Pair {
        metric: Metric::StepTime,
        predicted: chosen.step.time.get(),
        measured,
        sigma: Spread::of_step(&chosen.job, profile, &site.chip).sigma(),
    });
    Ok((pair, launch(&chosen.job)))
}

fn launch(job: &Job) -> Launch {
    let layout = &job.layout;
    let sizes = [
        ("tp", layout.tp),
        ("cp", layout.cp),
        ("pp", layout.pp),
        ("dp", layout.dp),
        ("ep", layout.ep),
        ("etp", layout.etp),
        ("global_batch", job.batch.global),
        ("micro_batch", job.batch.micro),
        ("seq", job.batch.seq),
    ];
    let sizes = sizes.into_iter().map(|(key, size)| (key, size.to_string()));
    let words = [
        ("schedule", job.schedule.name().to_owned()),
        ("precision", job.precision.to_string()),
        ("zero", job.zero.stage().to_string()),
        ("recompute", job.recompute.name()),
    ];
    sizes.chain(words).collect()
}

/// A published run did fit. What the estimate of its memory exceeds the device's by up to this much is the estimate's
/// error (kept activations differ so much between kernels); beyond it, the run was laid out in another way.
const MEMORY_ERROR: f64 = 1.15;

/// What a job needs over what there is.
fn over(misfit: &JobError) -> f64 {
    match misfit {
        JobError::Memory { needed, usable, .. } => *needed / *usable,
        _ => 1.0,
    }
}
