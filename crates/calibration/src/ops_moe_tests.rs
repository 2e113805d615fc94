//! Reading rows, and the shipped profiles against measured ones.

use super::*;
use crate::ops::{CalibrateOptions, families, predict_ops};
use crate::stats::ErrorStats;

const NVIDIA: &str = "chip,framework,version,table,op_name,kernel_source,moe_dtype,num_tokens,hidden_size,inter_size,\
                      topk,num_experts,moe_tp_size,moe_ep_size,distribution,latency_us\n";

fn nvidia(row: &str) -> Option<OpRow<MoeShape>> {
    let table = OpTable::parse("t.csv", format!("{NVIDIA}{row}\n").as_bytes()).unwrap();
    let family = MoeFamily::default();
    assert!(family.accepts(&table));
    let record = table.records().next().unwrap();
    family.read(&record).unwrap()
}

#[test]
fn a_row_becomes_the_busiest_rank_under_its_load() {
    let row =
        nvidia("h100,trtllm,1.3.0,moe,moe,k,w4a16_mxfp4,1024,6144,2048,8,256,2,8,balanced,500").unwrap();
    let (op, load) = row.shape.plain;
    assert_eq!(
        (op.intermediate, op.local_experts, op.local_rows, op.active_experts),
        (1024.0, 32.0, 1024.0, 32.0)
    );
    assert_eq!(load.tiles[1], 64.0);
    assert_eq!(row.key.precision, Precision { weight: Dtype::Mxfp4, activation: Dtype::Bf16 });
    insta::assert_snapshot!(row.shape.key, @"1024,6144,2048,8,256,2,8,balanced");
}

#[test]
fn models_with_layers_of_their_own_are_known_by_shape() {
    let ungated =
        nvidia("h100,vllm,0.24.0,moe,moe,k,bfloat16,64,2048,5120,22,512,1,1,power_law_1.2,500").unwrap();
    assert!(ungated.shape.plain.0.gated && !ungated.shape.own.0.gated);
    let limited =
        nvidia("h100,vllm,0.24.0,moe,moe,k,fp8_block,256,7168,2048,8,256,1,1,balanced,500").unwrap();
    assert_eq!((limited.shape.plain.0.active_experts, limited.shape.own.0.active_experts), (256.0, 128.0));
}

#[test]
fn unknown_loads_and_empty_shapes_are_left_out() {
    assert_eq!(nvidia("h100,vllm,1,moe,moe,k,fp8,64,2048,512,8,256,1,1,zipf,500"), None);
    assert_eq!(nvidia("h100,vllm,1,moe,moe,k,fp8,0,2048,512,8,256,1,1,balanced,500"), None);
}

#[test]
fn structures_follow_what_the_kernel_name_says() {
    let key = |stack: &str, kernel: &str| SetKey {
        chip: "h100".to_owned(),
        stack: stack.to_owned(),
        version: String::new(),
        kernel: kernel.to_owned(),
        precision: Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 },
    };
    let layers = |stack, kernel| {
        let mut names: Vec<String> =
            MoeFamily::default().structures(&key(stack, kernel)).iter().map(|s| s[LAYER].clone()).collect();
        names.sort();
        names.dedup();
        names.join(" ")
    };
    assert_eq!(layers("trtllm", "moe_torch_flow_nongated"), "ungated");
    assert_eq!(layers("trtllm", "moe_torch_flow_cutlass"), "plain");
    assert_eq!(layers("vllm", "triton"), "own plain");
}

/// The Ascend tables are small enough to predict in a test: rows that no fit has seen stay within what is claimed.
#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn shipped_profiles_predict_the_ascend_tables() {
    let catalog = hardware::Catalog::builtin();
    let options = CalibrateOptions { catalog: &catalog, date: "", source: "", seed: 1, study: false };
    for name in ["bf16", "w8a8"] {
        let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
        let table = OpTable::open(format!("{data}/ops/ascend_moe_grouped_{name}.csv")).expect("a table");
        let pairs: Vec<(f64, f64)> = predict_ops(&table, &families(), &options)
            .unwrap()
            .into_iter()
            .map(|row| (row.predicted.unwrap().time.get(), row.measured.get()))
            .collect();
        let stats = ErrorStats::of(&pairs);
        assert!(stats.n > 80 && stats.median_ape < 0.10, "{name}: {stats:?}");
    }
}
