//! Training rows: one published run.

use crate::summary::{Metric, Pair, Scored};
use calibration::training::{Predictor, TrainingRow};
use rayon::prelude::*;

/// Predicts every row as laid out, on all cores.
pub fn predict_training(predictor: &Predictor, rows: &[TrainingRow]) -> Vec<Scored> {
    let held_out = calibration::training::held_out_rows(rows);
    rows.par_iter()
        .map(|row| {
            let (pairs, failure) = match (predictor.predict(row), row.measured()) {
                (Ok(chosen), Some(measured)) => {
                    let pair = Pair {
                        metric: Metric::StepTime,
                        predicted: chosen.step.time.get(),
                        measured,
                        sigma: STEP_SIGMA,
                    };
                    (vec![pair], None)
                }
                (Ok(_), None) => (Vec::new(), Some("the row has neither a step time nor a rate".to_owned())),
                (Err(reason), _) => (Vec::new(), Some(reason.to_string())),
            };
            let chip = predictor.machine(row).map_or_else(|_| String::new(), |site| site.chip.id.clone());
            Scored {
                id: row.id.clone(),
                keys: vec![
                    ("system", row.system.clone()),
                    ("chip", chip),
                    ("model", row.model.clone()),
                    ("framework", row.framework.clone()),
                    ("split", if held_out.contains(&row.id) { "held out" } else { "fitted" }.to_owned()),
                ],
                pairs,
                failure,
                ..Scored::default()
            }
        })
        .collect()
}

/// Spread of ln(measured / predicted) of step times over held-out published runs.
const STEP_SIGMA: f64 = 0.12;
