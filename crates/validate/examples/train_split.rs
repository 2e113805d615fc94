//! Training errors by chip among held-out rows.
use std::collections::BTreeMap;
use supernode_validate::{Measurements, predict_training};
fn main() {
    let catalog = hardware::Catalog::builtin();
    let path = std::path::Path::new("../shared/data/measured/training.csv");
    let Measurements::Training(rows) = Measurements::open(path, None).unwrap() else { panic!() };
    let predictor = calibration::training::Predictor::new(catalog).unwrap();
    let mut by: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for s in predict_training(&predictor, &rows) {
        let key = |k: &str| s.keys.iter().find(|(n, _)| *n == k).map(|(_, v)| v.clone()).unwrap_or_default();
        if key("split") != "held out" {
            continue;
        }
        if let Some(p) = s.pairs.first() {
            by.entry(key("chip")).or_default().push((p.predicted / p.measured - 1.0).abs());
        }
    }
    for (k, mut v) in by
        .into_iter()
        .flat_map(|(k, v)| {
            let fam = if k.starts_with("b2") || k.starts_with("b3") || k.starts_with("gb") {
                "Blackwell"
            } else if k.starts_with("a100") {
                "A100"
            } else {
                ""
            };
            let mut o = vec![(k.clone(), v.clone())];
            if !fam.is_empty() {
                o.push((fam.to_owned(), v));
            }
            o
        })
        .fold(BTreeMap::<String, Vec<f64>>::new(), |mut m, (k, v)| {
            m.entry(k).or_default().extend(v);
            m
        })
    {
        v.sort_by(f64::total_cmp);
        println!("{v:.3?} {k} n={} median {:.3} max {:.3}", v.len(), v[v.len() / 2], v[v.len() - 1]);
    }
}
