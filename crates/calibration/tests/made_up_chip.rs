//! A user's own chip: calibrated from a small table, tested on rows it has not seen.

use cost::ops::gemm::{BENCHMARK_ROTATION, GemmKernel, TileSet, Wave12};
use cost::ops::{Gemm, Machine};
use hardware::Catalog;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use supernode_calibration::ops::{
    CalibrateError, CalibrateOptions, Calibrated, OpTable, Prediction, calibrate_ops, families, predict_ops,
};
use supernode_calibration::stats::{fnv1a, median};

/// The chip file a user would write: half an H100, with its relatives' profiles to lean on.
fn catalog(folder: &Path) -> Catalog {
    let chip = Catalog::builtin()
        .text("chips", "h100")
        .unwrap()
        .lines()
        .filter(|line| !line.starts_with("aliases") && !line.starts_with("system"))
        .map(|line| {
            let half =
                line.replace("\"989 TFLOPS\"", "\"494 TFLOPS\"").replace("\"3.35 TB/s\"", "\"1.7 TB/s\"");
            format!("{half}\n")
        })
        .collect::<String>();
    fs::create_dir_all(folder.join("chips")).unwrap();
    fs::create_dir_all(folder.join("kernels")).unwrap();
    fs::write(folder.join("chips/made-up.toml"), chip).unwrap();
    Catalog::with_overlay(folder).unwrap()
}

/// A table as the made-up chip would measure it: other coefficients than any relative's, 5 % noise.
fn table(catalog: &Catalog, rows: u64, seed: u64) -> OpTable {
    let chip = catalog.chip("made-up").unwrap();
    let machine = Machine {
        peak: chip.rank.peak(units::Dtype::Bf16).unwrap(),
        bandwidth: chip.rank.bandwidth.value,
        cores: f64::from(chip.rank.cores.value),
        l2: chip.rank.l2.value,
    };
    let kernel = GemmKernel {
        tiles: TileSet::All,
        split_k: true,
        weight_bytes: 2.0,
        activation_bytes: 2.0,
        quantise: false,
    };
    let truth = Wave12::from_slice(&[6e-6, 0.5, 0.75, 2.5, 4.0, 60.0, 1.5e-6, 0.2, 1.0, 0.2, 1.5, 0.6]);
    let mut text = String::from("chip,framework,version,kernel_source,gemm_dtype,m,n,k,latency_us\n");
    for i in 0..rows {
        let random = |salt: u64| {
            (fnv1a(&(i + 1000 * salt + 1_000_000 * seed).to_le_bytes()) >> 20) as f64 / 2f64.powi(44)
        };
        let power = |salt: u64, low: f64, high: f64| (low + (high - low) * random(salt)).exp2().round();
        let op = Gemm { m: power(1, 0.0, 14.0), n: power(2, 7.0, 14.0), k: power(3, 7.0, 14.0) };
        let time = kernel.price(&truth, &machine, op, BENCHMARK_ROTATION).time.get();
        let noisy = time * (1.0 + 0.1 * (random(4) - 0.5));
        writeln!(text, "made-up,mine,1.0,,bfloat16,{},{},{},{}", op.m, op.n, op.k, noisy * 1e6).unwrap();
    }
    OpTable::parse("mine.csv", text.as_bytes()).unwrap()
}

fn calibrated(catalog: &Catalog, rows: u64) -> Vec<Calibrated> {
    calibrate_ops(&[table(catalog, rows, 1)], &families(), &options(catalog)).unwrap()
}

fn options(catalog: &Catalog) -> CalibrateOptions<'_> {
    CalibrateOptions { catalog, date: "2026-01-01", source: "a made-up chip", seed: 1, study: false }
}

fn errors(predictions: &[Prediction]) -> Vec<f64> {
    predictions.iter().map(|row| (row.predicted.as_ref().unwrap().time / row.measured - 1.0).abs()).collect()
}

#[test]
fn rows_not_seen_are_predicted_after_calibration() {
    let folder = tempfile::tempdir().unwrap();
    for (rows, allowed) in [(32, 0.10), (200, 0.05)] {
        let catalog = catalog(folder.path());
        let others = table(&catalog, 100, 2);
        let before = median(&errors(&predict_ops(&others, &families(), &options(&catalog)).unwrap()));
        for file in calibrated(&catalog, rows) {
            assert_eq!(file.id, "made-up.gemm");
            let path = folder.path().join("kernels").join(format!("{}.toml", file.id));
            fs::write(&path, file.profile.to_toml()).unwrap();
        }
        let catalog = Catalog::with_overlay(folder.path()).unwrap();
        let predictions = predict_ops(&others, &families(), &options(&catalog)).unwrap();
        let after = median(&errors(&predictions));
        assert!(after < allowed && after < before, "{rows} rows: {before} -> {after}");
        let first = predictions[0].predicted.as_ref().unwrap();
        assert_eq!(first.origin.to_string(), "measured (mine 1.0)");
        fs::remove_file(folder.path().join("kernels/made-up.gemm.toml")).unwrap();
    }
}

#[test]
fn the_same_table_gives_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let text = || calibrated(&catalog, 100)[0].profile.to_toml();
    assert_eq!(text(), text());
}

#[test]
fn what_cannot_be_calibrated_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = catalog(folder.path());
    let message = |text: &str| -> String {
        let table = OpTable::parse("mine.csv", text.as_bytes()).unwrap();
        let error: CalibrateError = calibrate_ops(&[table], &families(), &options(&catalog)).unwrap_err();
        error.to_string()
    };
    insta::assert_snapshot!(message("a,b\n1,2\n"), @"`mine.csv` is no operator table this can read: its columns are a, b");
    let header = "chip,framework,version,kernel_source,gemm_dtype,m,n,k,latency_us\n";
    insta::assert_snapshot!(message(&format!("{header}made-up,x,1,,bfloat16,1,2,three,4\n")), @"`mine.csv` line 2: `k` is `three`; give a number");
    insta::assert_snapshot!(message(&format!("{header}made-up,x,1,,bf17,1,2,3,4\n")), @"`mine.csv` line 2, column `gemm_dtype`: `bf17` is not a number format; use one of fp32, tf32, bf16, fp16, fp8, fp8_block, mxfp8, hif8, int8, int4, nvfp4, mxfp4");
    insta::assert_snapshot!(message(&format!("{header}made-up,x,1,,bf16,1,2,3,4\n")), @"no row of the tables can be fitted: each set needs at least 4 different shapes");
}
