//! The shipped framework profiles on published training runs, where the table is at hand.

use hardware::Catalog;
use std::fs::File;
use supernode_calibration::stats::ErrorStats;
use supernode_calibration::training::{Chosen, Predictor, TrainingRow, held_out, read};

struct Predicted {
    row: TrainingRow,
    chosen: Chosen,
    seconds: f64,
}

/// The shipped predictor with every row it predicts.
fn predicted() -> (Predictor, usize, Vec<Predicted>) {
    let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let table = format!("{data}/measured/training.csv");
    let file = File::open(&table).expect("a table of training runs");
    let rows = read(&table, file).expect("a table of training runs");
    let predictor = Predictor::new(Catalog::builtin()).expect("the shipped catalog");
    let count = rows.len();
    let predicted = rows
        .into_iter()
        .filter_map(|row| {
            let chosen = predictor.predict(&row).ok()?;
            let seconds = predictor.measured(&row, &chosen.job)?;
            Some(Predicted { row, chosen, seconds })
        })
        .collect();
    (predictor, count, predicted)
}

fn errors<'a>(rows: impl Iterator<Item = &'a Predicted>) -> ErrorStats {
    let pairs: Vec<(f64, f64)> = rows.map(|row| (row.chosen.step.time.get(), row.seconds)).collect();
    ErrorStats::of(&pairs)
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn published_runs_are_predicted_and_fit_in_memory() {
    let (_, count, rows) = predicted();
    assert!(rows.len() as f64 >= 0.98 * count as f64, "{} of {count}", rows.len());
    for row in &rows {
        assert_eq!(row.chosen.misfit, None, "{}", row.row.id);
    }
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn rows_that_were_not_fitted_are_as_good() {
    let (predictor, _, rows) = predicted();
    for row in &rows {
        let group = predictor.group(&row.row).expect("a known framework");
        assert_eq!(predictor.fitted_on(&row.row), !held_out(&group), "{}", row.row.id);
    }
    let unseen: Vec<&Predicted> = rows.iter().filter(|row| !predictor.fitted_on(&row.row)).collect();
    assert!(unseen.len() >= 30, "{} held out", unseen.len());
    let stats = errors(unseen.iter().copied());
    assert!(stats.median_ape < 0.10 && stats.mean_ape < 0.14, "{stats:?}");
    let near = |row: &&&Predicted| (row.chosen.step.time.get() / row.seconds - 1.0).abs() <= 0.3;
    let near = unseen.iter().filter(near).count();
    assert!(near as f64 >= 0.9 * unseen.len() as f64, "{near} of {}", unseen.len());
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn every_kind_of_chip_is_as_good() {
    let (_, _, rows) = predicted();
    for prefixes in
        [&["a100"][..], &["h100", "h800", "h200"], &["b200", "b300", "gb200", "gb300"], &["atlas"]]
    {
        let of = |row: &&Predicted| prefixes.iter().any(|prefix| row.row.system.starts_with(prefix));
        let stats = errors(rows.iter().filter(of));
        assert!(stats.n >= 30 && stats.median_ape < 0.13, "{prefixes:?}: {stats:?}");
    }
}
