//! Fits the framework profiles of the catalog on a table of published training runs, or says how well they predict.
//!
//! ```text
//! cargo run --release -p supernode-calibration --example fit_training -- fit FILE.csv catalog/frameworks
//! cargo run --release -p supernode-calibration --example fit_training -- report FILE.csv
//! cargo run --release -p supernode-calibration --example fit_training -- cross FILE.csv
//! ```
//!
//! `fit` leaves out one group of runs in five and writes one file per framework. `cross` fits five times, each time without
//! another fifth of the groups, and predicts each group with the fit that has not seen it.

use hardware::Catalog;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use supernode_calibration::stats::ErrorStats;
use supernode_calibration::training::{Predictor, TrainingRow, fit_releases, held_out, part, read};

const USAGE: &str = "usage: fit_training (report FILE | cross FILE | fit FILE DIRECTORY)";
const FOLDS: u64 = 5;

/// Pairs of predicted and measured step times by group of rows.
type Groups = BTreeMap<String, Vec<(f64, f64)>>;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, file, rest @ ..] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let rows = read(file, fs::File::open(file)?)?;
    let mut predictor = Predictor::new(Catalog::builtin())?;
    match (command.as_str(), rest) {
        ("report", []) => report_all(&predictor, &rows),
        ("cross", []) => cross(&mut predictor, &rows)?,
        ("fit", [directory]) => write(&mut predictor, &rows, directory)?,
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

fn cross(predictor: &mut Predictor, rows: &[TrainingRow]) -> Result<(), Box<dyn Error>> {
    let parts: Vec<u64> = rows
        .iter()
        .map(|row| Ok(part(&predictor.group(row)?, FOLDS)))
        .collect::<Result<_, Box<dyn Error>>>()?;
    let mut groups = Groups::new();
    for fold in 0..FOLDS {
        let seen: Vec<&TrainingRow> =
            rows.iter().zip(&parts).filter(|(_, part)| **part != fold).map(|(row, _)| row).collect();
        predictor.adopt(fit_releases(predictor, &seen));
        for (row, _) in rows.iter().zip(&parts).filter(|(_, part)| **part == fold) {
            report(predictor, row, "cross", &mut groups);
        }
    }
    summary(&groups);
    Ok(())
}

fn report_all(predictor: &Predictor, rows: &[TrainingRow]) {
    let mut groups = Groups::new();
    for row in rows {
        let split = if predictor.fitted_on(row) { "fitted" } else { "held out" };
        report(predictor, row, split, &mut groups);
    }
    summary(&groups);
}

fn report(predictor: &Predictor, row: &TrainingRow, split: &str, groups: &mut Groups) {
    let chosen = match predictor.predict(row) {
        Ok(chosen) => chosen,
        Err(error) => {
            println!("{}\tERROR\t{error}", row.id);
            return;
        }
    };
    let time = chosen.step.time.get();
    let parts: Vec<String> = chosen
        .step
        .breakdown
        .iter()
        .map(|(part, share)| format!("{part} {:.1}%", 100.0 * (share.get() / time)))
        .collect();
    let Some(measured) = predictor.measured(row, &chosen.job) else {
        println!("{}\tERROR\tnothing measured", row.id);
        return;
    };
    println!(
        "{}\t{split}\t{:+.1}%\t{time:.4}\t{measured:.4}\tmbs {} {:?} zero {}{}\t{}",
        row.id,
        100.0 * (time / measured - 1.0),
        chosen.job.batch.micro,
        chosen.job.recompute,
        chosen.job.zero.stage(),
        chosen.misfit.map_or(String::new(), |misfit| format!(" MISFIT {misfit}")),
        parts.join(", "),
    );
    for key in [
        format!("framework {} {split}", row.framework),
        format!("system {} {split}", row.system),
        format!("all {split}"),
    ] {
        groups.entry(key).or_default().push((time, measured));
    }
}

fn summary(groups: &Groups) {
    for (key, pairs) in groups {
        let stats = ErrorStats::of(pairs);
        let near = pairs.iter().filter(|(p, m)| (p / m - 1.0).abs() <= 0.3).count();
        println!(
            "{key:40} n {:3}  median {:5.1}%  mean {:5.1}%  within 30% {:5.1}%  bias {:+5.1}%",
            stats.n,
            100.0 * stats.median_ape,
            100.0 * stats.mean_ape,
            100.0 * near as f64 / pairs.len() as f64,
            100.0 * stats.bias
        );
    }
}

fn write(predictor: &mut Predictor, rows: &[TrainingRow], directory: &str) -> Result<(), Box<dyn Error>> {
    let mut seen = Vec::new();
    for row in rows {
        if !held_out(&predictor.group(row)?) {
            seen.push(row);
        }
    }
    predictor.adopt(fit_releases(predictor, &seen));
    for framework in predictor.frameworks() {
        fs::write(format!("{directory}/{}.toml", framework.id), framework.to_toml()?)?;
    }
    report_all(predictor, rows);
    Ok(())
}
