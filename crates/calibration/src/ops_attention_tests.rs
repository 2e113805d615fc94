//! The tables of attention as the families read them.

use super::*;
use crate::ops::families;
use crate::ops_attention_linear::LinearFamily;
use crate::ops_attention_mla::{MlaDecodeFamily, MlaPrefillFamily};

/// The sets and shapes that a family reads out of a table.
fn read<F: OpFamily>(family: &F, text: &str) -> String {
    let table = OpTable::parse("t.csv", text.as_bytes()).unwrap();
    assert!(family.accepts(&table));
    let rows = table.records().filter_map(|record| family.read(&record).unwrap());
    rows.map(|row| {
        let SetKey { chip, stack, version, kernel, precision } = row.key;
        let shape = family.shape_key(&row.shape);
        format!(
            "{chip} {stack} {version} {kernel} {}/{} {shape} {}\n",
            precision.weight, precision.activation, row.time
        )
    })
    .collect()
}

const ATTENTION: &str = "\
chip,framework,version,op_name,kernel_source,batch_size,isl,num_heads,num_key_value_heads,head_dim,window_size,attn_dtype,kv_cache_dtype,step,latency_us
h100,vllm,1,context_attention,fa3,2,512,32,8,128,0.0,bfloat16,fp8,0,50
h100,vllm,1,context_attention,fa3,2,1,32,8,128,128,bfloat16,fp8,0,9
h100,vllm,1,generation_attention,fa3,4,1,32,8,64,,bfloat16,bfloat16,255,12
mine,,,,,4,256,32,8,64,,bf16,bf16,1024,12
";
const LATENT: &str = "\
chip,framework,version,op_name,kernel_source,mla_dtype,kv_cache_dtype,num_heads,batch_size,isl,step,latency_us,gemm_type
h100,trtllm,1,mla_context,default,bfloat16,fp8,16,4,1024,0,900,
h100,trtllm,1,mla_generation,default,bfloat16,fp8,16,4,1,4095,20,
h100,trtllm,1,mla_generation_module,default,bfloat16,fp8,16,4,1,4095,80,fp8_block
";

#[test]
fn rows_go_to_their_phase_and_set() {
    insta::assert_snapshot!(read(&PrefillFamily, ATTENTION), @r"
    h100 vllm 1 fa3 fp8/bf16 2,512,0,32,8,128,0 50 us
    h100 vllm 1 fa3 fp8/bf16 2,1,0,32,8,128,128 9 us
    mine    bf16/bf16 4,256,1024,32,8,64,0 12 us
    ");
    insta::assert_snapshot!(read(&DecodeFamily, ATTENTION), @"h100 vllm 1 fa3 bf16/bf16 4,1,256,32,8,64,0 12 us");
    insta::assert_snapshot!(read(&MlaPrefillFamily { module: false }, LATENT), @"h100 trtllm 1 default fp8/bf16 4,1024,0,16,16,192,0 900 us");
    insta::assert_snapshot!(read(&MlaDecodeFamily { module: false }, LATENT), @"h100 trtllm 1 default fp8/bf16 4,1,4096,16,1,576,0 20 us");
    insta::assert_snapshot!(read(&MlaDecodeFamily { module: true }, LATENT), @"h100 trtllm 1 default+fp8_block fp8/bf16 4,1,4096,16,1,576,0 80 us");
    let ascend = "batch,kv_len,num_heads,num_kv_heads,head_size,kind,latency_us\n1,128,8,4,128,gqa,57\n";
    insta::assert_snapshot!(read(&DecodeFamily, ascend), @"ascend-910c ascend   bf16/bf16 1,1,128,8,4,128,0 57 us");
    let linear = "\
chip,framework,version,op_name,kernel_source,phase,batch_size,seq_len,d_conv,num_k_heads,head_k_dim,num_v_heads,head_v_dim,latency_us,d_state,nheads,head_dim,n_groups
h100,trtllm,1,gdn,chunk_gated_delta_rule,context,2,64,4,16,128,32,128,30,,,,
h100,trtllm,1,mamba2,causal_conv1d_update,generation,8,1,4,,,,,4,128,64,64,8
";
    let [_, update, scan, _] = LinearFamily::ALL;
    insta::assert_snapshot!(read(&update, linear), @"h100 trtllm 1 mamba2 causal_conv1d_update bf16/bf16 8,1,8,64,128,64 4 us");
    insta::assert_snapshot!(read(&scan, linear), @"h100 trtllm 1 gdn chunk_gated_delta_rule bf16/bf16 2,64,16,32,128,128 30 us");
}

#[test]
fn every_row_has_one_family() {
    for text in [ATTENTION, LATENT] {
        let table = OpTable::parse("t.csv", text.as_bytes()).unwrap();
        let catalog = hardware::Catalog::builtin();
        let options =
            crate::ops::CalibrateOptions { catalog: &catalog, date: "", source: "", seed: 0, study: false };
        let rows = crate::ops::predict_ops(&table, &families(), &options).unwrap();
        let lines: Vec<u64> = rows.iter().map(|row| row.line).collect();
        let all: Vec<u64> = table.records().map(|record| record.line()).collect();
        assert_eq!(lines, all);
    }
}

#[test]
fn an_axis_with_one_value_leaves_its_grid() {
    let features: Vec<Vec<f64>> =
        (0..8).map(|i| vec![f64::from(1 << i), 128.0, f64::from(1 + i % 2)]).collect();
    let options = GridBuilder::new(&features)
        .grid(&[("a", 0, 1.4), ("head", 1, 0.0), ("window", 2, 0.0)])
        .grid(&[("head", 1, 0.0)])
        .options();
    let knots: Vec<usize> = options.axes.iter().map(|axis| axis.knots.len()).collect();
    assert_eq!(knots, [6, 2]);
    assert_eq!(options.grids.len(), 1);
    assert_eq!(options.grids[0].axes, [0, 1]);
}

/// Rows priced with known coefficients give them back.
#[test]
fn coefficients_are_found_again() {
    let machine = Machine {
        peak: units::FlopPerSecond::new(1e15),
        bandwidth: units::BytesPerSecond::new(3e12),
        cores: 132.0,
        l2: units::Bytes::new(5e7),
    };
    let truth = [8e-6, 0.9, 0.4, 2.0, 2.5, 1.0e-6, 3e-6, 2.0, 0.6, 0.8];
    let key = SetKey {
        chip: String::new(),
        stack: String::new(),
        version: String::new(),
        kernel: String::new(),
        precision: Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 },
    };
    let form = DecodeFamily.compile(&key, &Structure::new(), machine).unwrap();
    let rows: Vec<AttentionDecode> = (0..240)
        .map(|i| {
            let (batch, context) = (f64::from(1_u32 << (i % 9)), f64::from(64_u32 << ((i / 9) % 9)));
            let kv_heads = f64::from(1_u32 << (i / 81));
            decode_shape([batch, 1.0, context], [kv_heads * 4.0, kv_heads, 128.0], None)
        })
        .collect();
    let seconds: Vec<f64> = rows.iter().map(|row| form(&truth, row)).collect();
    let specs = DecodeFamily.params(&key);
    let model = |params: &[f64], row: &AttentionDecode| form(params, row);
    let options = crate::fit::FitOptions { prior_weight: 0.01, ..crate::fit::FitOptions::default() };
    let fitted = crate::fit::fit(
        &crate::fit::Problem { specs: &specs, rows: &rows, seconds: &seconds, model: &model },
        &options,
    );
    let worst = rows
        .iter()
        .zip(&seconds)
        .map(|(row, seconds)| (form(&fitted.params, row) / seconds).ln().abs())
        .fold(0.0, f64::max);
    assert!(worst < 0.05, "{worst} {:?}", fitted.params);
    assert!(
        (fitted.params[0] / truth[0]).ln().abs() < 0.05 && (fitted.params[1] / truth[1]).ln().abs() < 0.05
    );
}
