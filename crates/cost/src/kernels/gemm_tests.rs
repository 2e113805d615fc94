//! Selection and laws of dense products.

use super::*;
use hardware::Catalog;
use proptest::prelude::*;
use std::sync::LazyLock;

fn kernels(chip: &str, stack: &str) -> Kernels {
    let catalog = Catalog::builtin();
    let chip = catalog.chip(chip).unwrap();
    Kernels::load(&chip, &[stack.to_owned()], |id| catalog.text("kernels", id).ok())
}

fn both(dtype: Dtype) -> Precision {
    Precision { weight: dtype, activation: dtype }
}

const LAYER: Gemm = Gemm { m: 64.0, n: 8192.0, k: 4096.0 };

#[test]
fn the_nearest_measurement_prices_and_says_so() {
    let origin = |chip: &str, stack: &str, precision| {
        kernels(chip, stack).gemm(LAYER, precision).unwrap().origin.to_string()
    };
    let bf16 = both(Dtype::Bf16);
    insta::assert_snapshot!(origin("h100", "vllm", bf16), @"measured (vllm 0.24.0)");
    insta::assert_snapshot!(origin("h100", "sglang", both(Dtype::Fp8Block)), @"measured (sglang 0.5.14)");
    insta::assert_snapshot!(origin("h20", "trtllm", bf16), @"transferred from h100 (gemm bf16 trtllm 1.3.0rc20 torch_flow)");
    insta::assert_snapshot!(origin("ascend-910c", "ascend", both(Dtype::Int8)), @"measured (ascend)");
    insta::assert_snapshot!(origin("ascend-910b1", "ascend", bf16), @"transferred from ascend-910c (gemm bf16 ascend)");
    let weight_only = Precision { weight: Dtype::Int4, activation: Dtype::Bf16 };
    insta::assert_snapshot!(origin("h100", "vllm", weight_only), @"transferred from h100 (gemm bf16 vllm 0.24.0 torch.nn.functional.linear)");
}

#[test]
fn sets_that_measured_the_host_price_no_step() {
    // vLLM's block-scaled FP8 tables have a floor of 78 us and more: the launching Python, not the kernel.
    let cost = kernels("h100", "vllm")
        .gemm(Gemm { m: 1.0, n: 1024.0, k: 1024.0 }, both(Dtype::Fp8Block))
        .unwrap()
        .cost;
    assert!(cost.time.get() < 2e-5, "{}", cost.time);
}

#[test]
fn borrowed_coefficients_have_a_wider_band() {
    let measured = kernels("h100", "vllm").gemm(LAYER, both(Dtype::Bf16)).unwrap();
    let borrowed = kernels("h20", "vllm").gemm(LAYER, both(Dtype::Bf16)).unwrap();
    assert!(borrowed.sigma > measured.sigma, "{} {}", borrowed.sigma, measured.sigma);
}

#[test]
fn narrow_weights_save_their_bytes() {
    let few = Gemm { m: 4.0, n: 16384.0, k: 16384.0 };
    let kernels = kernels("h100", "vllm");
    let time = |weight| kernels.gemm(few, Precision { weight, activation: Dtype::Bf16 }).unwrap().cost.time;
    let saving = time(Dtype::Bf16) / time(Dtype::Int4);
    assert!((2.5..4.0).contains(&saving), "{saving}");
}

#[test]
fn a_cold_product_is_no_faster_than_a_rotating_benchmark() {
    for chip in ["l40s", "ascend-910c"] {
        let kernel = kernels(chip, "sglang").gemm_kernel(both(Dtype::Bf16)).unwrap();
        let op = Gemm { m: 16.0, n: 2048.0, k: 2048.0 };
        let gain = kernel.price(op).time / kernel.benchmark(op).time;
        assert!(gain > 1.2, "{chip}: {gain}");
    }
}

#[test]
fn streaming_kernels_are_priced_everywhere() {
    let kernels = kernels("h100", "trtllm");
    let norm = kernels.elementwise(Bytes::new(1e9)).unwrap().cost.time;
    assert!((norm.get() / (1e9 / (0.8 * 3.35e12)) - 1.0).abs() < 0.01, "{norm}");
    let quantised = kernels.quantize(8192.0, 8192.0, Dtype::Fp8).unwrap();
    assert_eq!(quantised.origin.to_string(), "measured (trtllm 1.3.0rc20)");
    assert!(
        quantised.cost.time.get() > 6e-5 && quantised.cost.time.get() < 1.5e-4,
        "{}",
        quantised.cost.time
    );
}

proptest! {
    #[test]
    fn a_better_chip_is_never_slower(
        m in 1.0..2e4_f64, n in 64.0..3e4_f64, k in 64.0..3e4_f64,
        peak in 1.0..3.0_f64, bandwidth in 1.0..3.0_f64, fp8: bool,
    ) {
        let dtype = if fp8 { Dtype::Fp8 } else { Dtype::Bf16 };
        static KERNELS: LazyLock<Kernels> = LazyLock::new(|| kernels("h100", "sglang"));
        let kernel = KERNELS.gemm_kernel(both(dtype)).unwrap();
        let mut better = kernel.clone();
        better.machines = better.machines.scaled(peak, bandwidth);
        let op = Gemm { m: m.round(), n: n.round(), k: k.round() };
        prop_assert!(better.price(op).time.get() <= kernel.price(op).time.get() * (1.0 + 1e-9));
    }
}
