//! Selection, and the monotone price of corrected sets.

use super::*;
use crate::kernels::Profile;
use crate::ops::Machine;
use proptest::prelude::*;
use units::{Bytes, BytesPerSecond, FlopPerSecond};

const BF16: Precision = Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 };

/// A set whose correction dips at 64 tokens and peaks at 16.
fn bumpy() -> PricedMoe {
    let params: Vec<String> =
        moe::PARAMS.iter().map(|spec| format!("{} = {:e}", spec.name, spec.prior)).collect();
    let text = format!(
        "schema = 1\nchip = \"h100\"\ndate = \"2026-01-01\"\nsource = \"made up\"\nsplit = \"none\"\n\
         [[set]]\nfamily = \"moe\"\nstack = \"vllm\"\nweight = \"bf16\"\nactivation = \"bf16\"\nform = \"moe_wave14\"\n\
         sigma = 0.1\ntransfer_sigma = 0.2\nstructure = {{ tiles = \"any\" }}\nparams = {{ {} }}\n\
         features = {:?}\n\
         axes = [{{ name = \"tokens\", feature = \"tokens\", knots = \"1 16 64 4096\" }}]\n\
         grids = [{{ axes = [\"tokens\"], values = \"0 300 -400 100\" }}]\n",
        params.join(", "),
        MOE_FEATURES,
    );
    let set = Profile::parse(&text, "test").unwrap().sets.remove(0);
    let machine = Machine {
        peak: FlopPerSecond::new(989e12),
        bandwidth: BytesPerSecond::new(3.35e12),
        cores: 132.0,
        l2: Bytes::new(5.24e7),
    };
    let origin = Origin::Measured { stack: "vllm".to_owned(), rows: 1 };
    PricedMoe::new(Choice { set: Arc::new(set), origin, sigma: 0.1 }, BF16, machine).unwrap()
}

fn layer(tokens: f64, ranks: f64, imbalance: f64) -> GroupedMoe {
    let local_experts = 256.0 / ranks;
    let rows = tokens * 8.0 / ranks * imbalance;
    GroupedMoe {
        tokens,
        topk: 8.0,
        experts: 256.0,
        local_experts,
        local_rows: rows,
        active_experts: routing::touched(rows, local_experts),
        spread: 0.0,
        hidden: 7168.0,
        intermediate: 2048.0,
        gated: true,
    }
}

#[test]
fn corrections_apply_at_powers_of_two_where_time_rises() {
    let kernel = bumpy();
    let op = layer(16.0, 8.0, 1.0);
    let load = Load::spread(op.local_rows, op.active_experts);
    let (stepped, plain) = (kernel.price(&op).time, kernel.form(&op, &load, f64::INFINITY).time);
    assert!((stepped / plain - 0.3_f64.exp()).abs() < 1e-6, "{stepped} {plain}");
    let measured = kernel.benchmark(&op, &load).time;
    assert!(measured.get() <= stepped.get(), "{measured} {stepped}");
}

#[test]
fn formats_fall_back_on_their_like() {
    let w4a8 = Precision { weight: Dtype::Nvfp4, activation: Dtype::Fp8 };
    let names: Vec<String> =
        moe_alike(w4a8).iter().map(|p| format!("{}/{}", p.weight, p.activation)).collect();
    insta::assert_snapshot!(names.join(" "), @"nvfp4/fp8 mxfp4/fp8 int4/fp8 mxfp4/mxfp8 fp8/fp8 fp8_block/fp8_block int8/int8");
    assert_eq!(moe_alike(BF16), [BF16]);
}

proptest! {
    #[test]
    fn the_price_never_falls_with_tokens(
        tokens in 1.0..3e4_f64, more in 1.0..1.5_f64, ranks in 0_u32..6, imbalance in 1.0..1.5_f64,
    ) {
        let kernel = bumpy();
        let ranks = f64::from(1 << ranks);
        let at = |tokens| kernel.price(&layer(tokens, ranks, imbalance)).time.get();
        let (low, high) = (at(tokens), at(tokens * more));
        prop_assert!(high >= low * (1.0 - 1e-9), "{low} {high}");
    }
}
