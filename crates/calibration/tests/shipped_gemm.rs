//! The shipped profiles against the tables they were fitted on: rows kept out of the fit, and the stated band.

use hardware::Catalog;
use std::collections::BTreeMap;
use supernode_calibration::ops::{CalibrateOptions, OpTable, Prediction, families, predict_ops};
use supernode_calibration::stats::{ErrorStats, Z80, median, share_inside};

fn held_out(tables: &[&str]) -> Vec<Prediction> {
    let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let catalog = Catalog::builtin();
    let options = CalibrateOptions { catalog: &catalog, date: "", source: "", seed: 1, study: false };
    let mut rows = Vec::new();
    for table in tables {
        let path = format!("{data}/ops/{table}");
        rows.extend(predict_ops(&OpTable::open(path).unwrap(), &families(), &options).unwrap());
    }
    rows.retain(|row| row.held_out);
    rows
}

/// Median over sets of the median error, and the share of rows inside the 80 % band.
fn judged(rows: &[Prediction]) -> (f64, f64) {
    let mut sets: BTreeMap<_, Vec<(f64, f64)>> = BTreeMap::new();
    let mut bands = Vec::new();
    for row in rows {
        let estimate = row.predicted.as_ref().unwrap();
        let (predicted, measured) = (estimate.time.get(), row.measured.get());
        sets.entry(row.key.clone()).or_default().push((predicted, measured));
        bands.push((predicted, measured, estimate.sigma));
    }
    let medians: Vec<f64> = sets.values().map(|pairs| ErrorStats::of(pairs).median_ape).collect();
    (median(&medians), share_inside(&bands, Z80))
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn held_out_products_are_within_six_percent() {
    let tables = ["nvidia_gemm.csv.gz", "ascend_gemm_bf16.csv", "ascend_gemm_w8a8.csv"];
    let rows = held_out(&tables);
    let (error, inside) = judged(&rows);
    assert!(rows.len() > 25_000 && error < 0.06, "{} rows: {error}", rows.len());
    assert!((0.75..0.9).contains(&inside), "{inside}");
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn held_out_quantise_kernels_are_within_five_percent() {
    let rows = held_out(&["nvidia_quantize.csv.gz"]);
    let (error, inside) = judged(&rows);
    assert!(rows.len() > 2_500 && error < 0.05, "{} rows: {error}", rows.len());
    assert!((0.75..0.9).contains(&inside), "{inside}");
}
