//! How fast the best layout is found: `cargo bench -p supernode-training`.

use hardware::Catalog;
use std::sync::atomic::AtomicBool;
use supernode_training::search::{Objective, Space, search};
use supernode_training::site::{Site, profile};
use supernode_training::spec::JobSpec;
use supernode_training::{Job, Machine};

fn main() {
    divan::main();
}

const SYSTEM: &str = "a100-80-8";

fn template(chips: u32) -> Job {
    let text = format!(
        "system = \"{SYSTEM}\"\nchips = {chips}\nshape = \"layers=105,hidden=20480,heads=128,vocab=51200\"\nglobal-batch = 2560\nseq = 2048\n"
    );
    let spec = JobSpec::parse(&text).expect("a job file");
    let model = spec.shape_model().expect("sizes").expect("a shape");
    spec.job(model, 1).expect("sizes that go together")
}

/// A model of half a trillion parameters on at most 5128 chips: two million layouts.
#[divan::bench]
fn layouts_of_half_a_trillion_parameters(bencher: divan::Bencher) {
    let catalog = Catalog::builtin();
    let site = Site::new(&catalog, SYSTEM, None, None).expect("a known system");
    let profile = profile(&catalog, "megatron", None).expect("a known release");
    let job = template(5128);
    let machine = Machine { chip: &site.chip, pricer: &site.pricer, profile: &profile };
    let space = Space::all(&job, &site.system, 5128, true);
    bencher.bench_local(|| {
        search(&job, &space, &machine, Objective::Time, 1, &AtomicBool::new(false)).expect("a search").counts
    });
}
