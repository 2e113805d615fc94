//! How fast distinct decode steps of DeepSeek-R1 are priced: `cargo bench -p supernode-estimate`.

use cost::step::{RankLoad, StepModel, StepPricer, StepShape};
use hardware::Catalog;
use std::sync::Arc;
use supernode_estimate::{Mode, OperatingPoint, Resolver, Roles, Sizes};

fn main() {
    divan::main();
}

fn model() -> Arc<StepModel> {
    let point = OperatingPoint {
        system: "gb200-nvl72".to_owned(),
        model: "deepseek-ai/DeepSeek-R1".to_owned(),
        engine: Some("sglang".to_owned()),
        mode: Mode::Decode,
        sizes: Sizes { tp: Some(1), dp: Some(32), ep: Some(32), ..Sizes::default() },
        ..OperatingPoint::default()
    };
    Resolver::new(Catalog::builtin()).step_model(&point, Roles::Both).expect("a deployment that fits")
}

/// A thousand steps no two of which are alike, with every batch from 1 to 250.
#[divan::bench]
fn thousand_distinct_decode_steps(bencher: divan::Bencher) {
    let model = model();
    let shapes: Vec<StepShape> = (0..1000u32)
        .map(|step| {
            let batch = f64::from(1 + step % 250);
            StepShape::even(RankLoad::decode(batch, 1000.0 + f64::from(step) * 7.3), 32)
        })
        .collect();
    bencher
        .counter(divan::counter::ItemsCount::new(shapes.len()))
        .bench_local(|| shapes.iter().map(|shape| model.price(shape).time.get()).sum::<f64>());
}
