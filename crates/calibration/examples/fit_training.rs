//! Fits the framework profiles of the catalog on a table of published training runs and prints them or how well
//! they predict.
//!
//! `cargo run --release -p supernode-calibration --example fit_training -- report FILE.csv`
//! `cargo run --release -p supernode-calibration --example fit_training -- fit FILE.csv catalog/frameworks`

use hardware::Catalog;
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use supernode_calibration::stats::ErrorStats;
use supernode_calibration::training::{Predictor, TrainingRow, fit_releases, held_out_rows, read};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, file, rest @ ..] = arguments.as_slice() else {
        return Err("usage: fit_training (report FILE | fit FILE DIRECTORY)".into());
    };
    let rows = read(file, fs::File::open(file)?)?;
    let predictor = Predictor::new(Catalog::builtin())?;
    match (command.as_str(), rest) {
        ("report", _) => report(&predictor, &rows),
        ("fit", [directory]) => write(&predictor, &rows, directory)?,
        _ => return Err("usage: fit_training (report FILE | fit FILE DIRECTORY)".into()),
    }
    Ok(())
}

fn report(predictor: &Predictor, rows: &[TrainingRow]) {
    let mut groups: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    let out = held_out_rows(rows);
    for row in rows {
        match predictor.predict(row) {
            Err(error) => println!("{}\tERROR\t{error}", row.id),
            Ok(chosen) => {
                let time = chosen.step.time.get();
                let split = if out.contains(&row.id) { "held out" } else { "fitted" };
                let parts: Vec<String> = chosen
                    .step
                    .breakdown
                    .iter()
                    .map(|(part, share)| format!("{part} {:.1}%", 100.0 * (share.get() / time)))
                    .collect();
                let measured = row.measured();
                println!(
                    "{}\t{}\t{:.4}\t{}\t{}\tmbs {} {:?}\t{}\t{}",
                    row.id,
                    split,
                    time,
                    measured.map_or("-".to_owned(), |m| format!("{m:.4}")),
                    measured.map_or("-".to_owned(), |m| format!("{:+.1}%", 100.0 * (time / m - 1.0))),
                    chosen.job.batch.micro,
                    chosen.job.recompute,
                    chosen.misfit.map_or(String::new(), |misfit| format!("MISFIT {misfit}")),
                    parts.join(", "),
                );
                if let Some(measured) = measured {
                    for key in [
                        format!("framework {} {split}", row.framework),
                        format!("system {} {split}", row.system),
                        format!("all {split}"),
                    ] {
                        groups.entry(key).or_default().push((time, measured));
                    }
                }
            }
        }
    }
    for (key, pairs) in groups {
        let stats = ErrorStats::of(&pairs);
        let within =
            pairs.iter().filter(|(p, m)| (p / m - 1.0).abs() <= 0.3).count() as f64 / pairs.len() as f64;
        println!(
            "{key:40} n {:3}  median {:5.1}%  mean {:5.1}%  within 30% {:5.1}%  bias {:+5.1}%",
            stats.n,
            100.0 * stats.median_ape,
            100.0 * stats.mean_ape,
            100.0 * within,
            100.0 * stats.bias
        );
    }
}

fn write(predictor: &Predictor, rows: &[TrainingRow], directory: &str) -> Result<(), Box<dyn Error>> {
    let mut frameworks: BTreeMap<String, training::Framework> =
        predictor.frameworks().map(|framework| (framework.id.clone(), framework.clone())).collect();
    for fitted in fit_releases(predictor, rows)? {
        println!(
            "{} {}: {} rows fitted to median {:.1}% mean {:.1}%; {} held out at median {:.1}% mean {:.1}%",
            fitted.profile.framework,
            fitted.profile.release,
            fitted.rows,
            100.0 * fitted.fitted.median_ape,
            100.0 * fitted.fitted.mean_ape,
            fitted.held_out.n,
            100.0 * fitted.held_out.median_ape,
            100.0 * fitted.held_out.mean_ape,
        );
        if let Some(framework) = frameworks.remove(&fitted.profile.framework) {
            let id = framework.id.clone();
            frameworks.insert(id, framework.with_release(fitted.profile));
        }
    }
    for (id, framework) in frameworks {
        fs::write(format!("{directory}/{id}.toml"), framework.to_toml()?)?;
    }
    Ok(())
}
