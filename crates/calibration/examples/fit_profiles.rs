//! Fits kernel profiles from operator tables and prints what they were held to.
//!
//! `cargo run --release -p supernode-calibration --example fit_profiles -- OUT_DIR DATE SOURCE TABLE...`

use std::error::Error;
use std::path::Path;
use supernode_calibration::ops::{CalibrateOptions, OpTable, calibrate_ops, families};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [out, date, source, files @ ..] = arguments.as_slice() else {
        return Err("usage: fit_profiles OUT_DIR DATE SOURCE TABLE...".into());
    };
    let tables = files.iter().map(OpTable::open).collect::<Result<Vec<_>, _>>()?;
    let catalog = hardware::Catalog::builtin();
    let options = CalibrateOptions { catalog: &catalog, date, source, seed: 1, study: true };
    println!(
        "chip | set | rows | sigma | transfer | fit | held out | random 30% | size | family | 32 rows | zero-shot"
    );
    for file in calibrate_ops(&tables, &families(), &options)? {
        std::fs::write(Path::new(out).join(format!("{}.toml", file.id)), file.profile.to_toml())?;
        for set in &file.profile.sets {
            let show = |pair: Option<[f64; 2]>| {
                pair.map_or("-".to_owned(), |[median, p90]| {
                    format!("{:.1} / {:.1}", median * 100.0, p90 * 100.0)
                })
            };
            let errors = set.errors;
            println!(
                "{} | {} | {} | {:.3} | {:.3} | {} | {} | {} | {} | {} | {} | {}",
                file.profile.chip,
                set.label(),
                set.rows,
                set.sigma,
                set.transfer_sigma,
                show(errors.fit),
                show(errors.held_out),
                show(errors.random),
                show(errors.size),
                show(errors.family),
                show(errors.few_shot),
                show(errors.zero_shot),
            );
        }
    }
    Ok(())
}
