//! The form against the reference values of the kernel study, and its laws.

use super::*;
use crate::kernels::Profile;
use crate::routing::{self, benchmark};
use proptest::prelude::*;
use serde_json::Value;
use units::{BytesPerSecond, Dtype, FlopPerSecond};

fn read(name: &str) -> Value {
    let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let text = std::fs::read_to_string(format!("{data}/fits/{name}")).expect("a file of the study");
    serde_json::from_str(&text).expect("JSON")
}

fn machine(chip: &Value, dtype: &str) -> Machine {
    let peak = match dtype {
        "bfloat16" => "bf16",
        "nvfp4" => "fp4",
        _ => "fp8",
    };
    let number = |key: &str| chip[key].as_f64().unwrap();
    Machine {
        peak: FlopPerSecond::new(number(peak)),
        bandwidth: BytesPerSecond::new(number("bw")),
        cores: number("cores"),
        l2: Bytes::new(number("l2")),
    }
}

/// The study's form has no growing launch latency, which is this form with `t1` = 0.
#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn reference_vectors_are_reproduced() {
    let (params, vectors) = (read("params.json"), read("testvectors.json"));
    for vector in vectors["moe"].as_array().unwrap() {
        let set = &params["moe"][vector["set"].as_str().unwrap()];
        let dtype = set["dtype"].as_str().unwrap();
        let machine = machine(&params["chips"][set["chip"].as_str().unwrap()], dtype);
        let value = |spec: &ParamSpec| {
            set["params"][spec.name].as_f64().unwrap_or(if spec.name == "t1" { 0.0 } else { 1.0 })
        };
        let bytes = if dtype == "nvfp4" { 0.5625 } else { 2.0 };
        let kernel = MoeKernel {
            tiles: RowTiles::Any,
            global_rows: set["global_rows_intermediate"].as_bool().unwrap(),
            weight_bytes: bytes,
            activation_bytes: bytes,
        };
        let n = |key: &str| vector[key].as_f64().unwrap();
        let case = benchmark::Case {
            tokens: n("T") as u32,
            experts: n("E") as u32,
            topk: n("topk") as u32,
            ranks: n("ep") as u32,
            groups: None,
        };
        let load = benchmark::Distribution::Balanced.load(case);
        assert_eq!((load.rows, load.active_experts), (n("local_rows"), n("touched")));
        let op = GroupedMoe {
            tokens: n("T"),
            topk: n("topk"),
            experts: n("E"),
            local_experts: n("E") / n("ep"),
            local_rows: load.rows,
            active_experts: load.active_experts,
            spread: 0.0,
            hidden: n("H"),
            intermediate: n("I"),
            gated: true,
        };
        let coefficients = MoeWave14::from_slice(&PARAMS.iter().map(value).collect::<Vec<f64>>());
        let seconds = kernel.price(&coefficients, &machine, &op, &load, f64::INFINITY).time.get();
        let expected = n("seconds");
        assert!((seconds / expected - 1.0).abs() < 1e-4, "{vector}: {seconds}");
    }
}

fn typical() -> (MoeWave14, Machine) {
    let machine = Machine {
        peak: FlopPerSecond::new(989e12),
        bandwidth: BytesPerSecond::new(3.35e12),
        cores: 132.0,
        l2: Bytes::new(5.24e7),
    };
    (MoeWave14::from_slice(&PARAMS.map(|spec| spec.prior)), machine)
}

fn layer(tokens: f64, experts: f64, ranks: f64) -> (GroupedMoe, Load) {
    let load = routing::uniform(tokens, experts, 8.0, experts / ranks);
    let op = GroupedMoe {
        tokens,
        topk: 8.0,
        experts,
        local_experts: experts / ranks,
        local_rows: load.rows,
        active_experts: load.active_experts,
        spread: 0.0,
        hidden: 7168.0,
        intermediate: 2048.0,
        gated: true,
    };
    (op, load)
}

fn kernel(tiles: RowTiles, global_rows: bool) -> MoeKernel {
    MoeKernel { tiles, global_rows, weight_bytes: 1.0, activation_bytes: 1.0 }
}

#[test]
fn a_small_batch_is_launch_or_weights_and_a_large_one_arithmetic() {
    let (c, machine) = typical();
    let bound = |tokens| {
        let (op, load) = layer(tokens, 256.0, 8.0);
        kernel(RowTiles::Any, false).price(&c, &machine, &op, &load, f64::INFINITY).bound
    };
    assert_eq!(bound(64.0), Bound::Memory);
    assert_eq!(bound(65536.0), Bound::Compute);
}

#[test]
fn a_benchmark_finds_small_layers_in_the_cache_and_a_model_does_not() {
    let (c, machine) = typical();
    let time = |rotation| {
        let (op, load) = layer(1.0, 256.0, 256.0);
        kernel(RowTiles::Any, false).price(&c, &machine, &op, &load, rotation).time
    };
    assert!(time(BENCHMARK_ROTATION) < time(f64::INFINITY));
}

proptest! {
    #[test]
    fn the_shortcut_finds_the_fastest_tile(
        choices in prop::collection::vec((0.0..2.0_f64, 0.0..5.0_f64), 1..18), memory in 0.0..5.0_f64, p in 1.0..6.0_f64,
    ) {
        let by_sum = |a: &&(f64, f64), b: &&(f64, f64)| (a.0 + a.1).total_cmp(&(b.0 + b.1));
        let first = *choices.iter().min_by(by_sum).unwrap();
        let all = choices.iter().map(|(fixed, arithmetic)| fixed + pn(*arithmetic, memory, p));
        let least = all.fold(f64::INFINITY, f64::min);
        prop_assert!((fastest(&choices, first, memory, p).0 - least).abs() < 1e-12);
    }

    #[test]
    fn time_never_falls_with_tokens(
        tokens in 1.0..3e4_f64, more in 1.0..2.0_f64, ranks in 0_u32..6, tiles in 0_usize..3, global: bool,
    ) {
        let (c, machine) = typical();
        let ranks = f64::from(1 << ranks);
        let kernel = kernel(RowTiles::ALL[tiles], global);
        let at = |tokens| {
            let (op, load) = layer(tokens, 256.0, ranks);
            kernel.price(&c, &machine, &op, &load, f64::INFINITY).time.get()
        };
        prop_assert!(at(tokens * more) >= at(tokens) * (1.0 - 1e-9));
    }

    #[test]
    fn a_faster_chip_is_never_slower(
        tokens in 1.0..3e4_f64, peak in 1.0..4.0_f64, bandwidth in 1.0..4.0_f64,
    ) {
        let (c, machine) = typical();
        let (op, load) = layer(tokens, 256.0, 8.0);
        let faster = Machine { peak: machine.peak * peak, bandwidth: machine.bandwidth * bandwidth, ..machine };
        let kernel = kernel(RowTiles::Any, false);
        let [slow, fast] = [machine, faster].map(|m| kernel.price(&c, &m, &op, &load, f64::INFINITY).time);
        prop_assert!(fast.get() <= slow.get() * (1.0 + 1e-12));
    }
}

/// INT8 grouped products of CloudMatrix-Infer's kernels on one Ascend 910C die: groups, rows per group, columns, inner
/// length and share of the 752 TOPS peak (Table 10 of arXiv 2506.12708).
const CLOUDMATRIX_TABLE_10: [[f64; 5]; 6] = [
    [4.0, 7168.0, 4096.0, 4096.0, 0.794],
    [4.0, 2048.0, 7168.0, 4096.0, 0.774],
    [4.0, 7168.0, 4096.0, 8192.0, 0.827],
    [4.0, 2048.0, 7168.0, 8192.0, 0.811],
    [8.0, 7168.0, 4096.0, 4096.0, 0.796],
    [8.0, 2048.0, 7168.0, 4096.0, 0.779],
];

#[test]
fn published_grouped_products_are_reproduced() {
    let catalog = hardware::Catalog::builtin();
    let text = catalog.text("kernels", "ascend-910c.moe").unwrap();
    let profile = Profile::parse(text, "ascend-910c.moe").unwrap();
    let set = profile.sets.iter().find(|set| set.stack == "cann").unwrap();
    let c = MoeWave14::from_slice(&set.values(&PARAMS).unwrap());
    let kernel = MoeKernel::from_structure(&set.structure, set.precision, &set.label()).unwrap();
    let chip = catalog.chip("ascend-910c").unwrap().rank;
    let machine = Machine {
        peak: chip.peak(Dtype::Int8).unwrap(),
        bandwidth: chip.bandwidth.value,
        cores: f64::from(chip.cores.value),
        l2: chip.l2.value,
    };
    for [groups, rows, n, k, share] in CLOUDMATRIX_TABLE_10 {
        let load = Load::of_counts(&vec![rows as u32; groups as usize]);
        let memory = groups * n * k / (c.em * machine.bandwidth.get());
        let (time, _) = kernel.product(&c, &machine, &load, [n, k], memory);
        let found = 2.0 * groups * rows * n * k / time / machine.peak.get();
        assert!((found / share - 1.0).abs() < 0.04, "{groups} x {rows} x {n} x {k}: {found} {share}");
    }
}
