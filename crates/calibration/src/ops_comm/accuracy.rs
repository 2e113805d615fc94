//! The shipped profiles against the tables, where those are at hand.

use super::CommFamily;
use crate::ops::{AnyFamily, CalibrateOptions, OpTable, Prediction, predict_ops};
use crate::stats::{ErrorStats, median};
use hardware::Catalog;
use std::collections::BTreeMap;
use std::path::Path;

fn predictions(file: &str) -> Vec<Prediction> {
    let data = std::env::var_os("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let path = Path::new(&data).join("ops").join(file);
    let catalog = Catalog::builtin();
    let options = CalibrateOptions { catalog: &catalog, date: "", source: "", seed: 1, study: false };
    let families: Vec<Box<dyn AnyFamily>> =
        CommFamily::ALL.into_iter().map(|family| Box::new(family) as Box<dyn AnyFamily>).collect();
    predict_ops(&OpTable::open(path).unwrap(), &families, &options).unwrap()
}

fn stats<'a>(predictions: impl IntoIterator<Item = &'a Prediction>) -> ErrorStats {
    let pairs: Vec<(f64, f64)> = predictions
        .into_iter()
        .map(|row| (row.predicted.as_ref().unwrap().time.get(), row.measured.get()))
        .collect();
    ErrorStats::of(&pairs)
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn nvidia_rows_kept_out_are_within_six_percent_per_set() {
    let rows = predictions("nvidia_comm.csv.gz");
    let mut sets: BTreeMap<_, Vec<&Prediction>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.held_out) {
        sets.entry((row.family, &row.key)).or_default().push(row);
    }
    let medians: Vec<f64> = sets.into_values().map(|rows| stats(rows).median_ape).collect();
    assert!(medians.len() > 70, "{} sets", medians.len());
    assert!(median(&medians) < 0.06, "median over sets {}", median(&medians));
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn ascend_collectives_are_within_fifteen_percent() {
    let rows = predictions("ascend_hccl_a3.csv");
    assert_eq!(rows.len(), 460);
    let (all, out) = (stats(&rows), stats(rows.iter().filter(|row| row.held_out)));
    assert!(all.median_ape < 0.05 && out.median_ape < 0.15, "{all:?} {out:?}");
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn published_exchanges_are_within_fifteen_percent_each() {
    let rows = predictions("ascend_published_tables.csv");
    // Six sizes of group, both ways, on two machines.
    assert_eq!(rows.len(), 24);
    for row in &rows {
        let ratio = row.predicted.as_ref().unwrap().time / row.measured;
        assert!((ratio - 1.0).abs() < 0.15, "{} {}: {ratio}", row.family, row.shape);
    }
}

#[test]
fn a_chip_without_a_profile_is_priced_by_a_relative() {
    let csv = "chip,framework,version,table,op_name,nccl_dtype,num_gpus,message_size,latency_us\n\
               h20,nccl,2.29.2,nccl,all_reduce,half,8,1048576,40\nh100,nccl,2.29.2,nccl,all_reduce,half,16,1048576,60\n";
    let catalog = Catalog::builtin();
    let options = CalibrateOptions { catalog: &catalog, date: "", source: "", seed: 1, study: false };
    let table = OpTable::parse("t.csv", csv.as_bytes()).unwrap();
    let rows = CommFamily::ALL[0].predict(&table, &options).unwrap();
    let origins: Vec<String> =
        rows.iter().map(|row| row.predicted.as_ref().unwrap().origin.to_string()).collect();
    // The second row spans two nodes and is composed.
    assert_eq!(origins[0], "transferred from nvlink4 on h100 (nccl)");
    assert!(origins[1].starts_with("transferred from"), "{}", origins[1]);
    let times: Vec<f64> = rows.iter().map(|row| row.predicted.as_ref().unwrap().time.us()).collect();
    assert!(times[0] > 15.0 && times[0] < 60.0 && times[1] > times[0], "{times:?}");
}
