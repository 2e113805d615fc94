//! The attention forms against reference values of the study that found them.

use cost::ops::attention_decode::{DecodeKernel, DecodeWave10, Warmth};
use cost::ops::attention_prefill::{PrefillKernel, PrefillWave10};
use cost::ops::{AttentionDecode, AttentionPrefill, Machine};
use serde_json::Value;
use supernode_cost as cost;
use units::{Bytes, BytesPerSecond, FlopPerSecond};

/// A file of the study.
fn study(name: &str) -> Value {
    let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let text = std::fs::read_to_string(format!("{data}/fits/{name}")).expect("a file of the study");
    serde_json::from_str(&text).expect("JSON")
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

fn dtype_bytes(name: &str) -> f64 {
    if name == "fp8" { 1.0 } else { 2.0 }
}

fn machine(chip: &Value) -> Machine {
    Machine {
        peak: FlopPerSecond::new(number(chip, "bf16")),
        bandwidth: BytesPerSecond::new(number(chip, "bw")),
        cores: number(chip, "cores"),
        l2: Bytes::new(number(chip, "l2")),
    }
}

fn decode_seconds(vector: &Value, set: &Value, machine: &Machine) -> f64 {
    let params = &set["params"];
    let names = ["t0", "em", "ec", "p", "bc", "te", "ts", "r2", "cl2", "a"];
    let values: Vec<f64> = names.iter().map(|name| number(params, name)).collect();
    let coefficients = DecodeWave10::from_slice(&values).with_memory_share(values[1]);
    let op = AttentionDecode {
        batch: number(vector, "b"),
        queries: number(vector, "s"),
        context: number(vector, "L0") + number(vector, "s"),
        heads: number(vector, "h"),
        kv_heads: number(vector, "hk"),
        qk_dim: number(vector, "dqk"),
        v_dim: number(vector, "dv"),
        kv_dim: number(vector, "kvdim"),
        window: None,
    };
    let kernel = DecodeKernel { cache_bytes: dtype_bytes(set["kv_dtype"].as_str().unwrap()) };
    kernel.price(&coefficients, machine, &op, Warmth::Benchmark).time.get()
}

fn prefill_seconds(vector: &Value, set: &Value, machine: &Machine) -> f64 {
    let params = &set["params"];
    let names = ["t0", "ec", "ew", "sx", "kf", "te", "eh", "F0", "a", "lp"];
    let values: Vec<f64> = names.iter().map(|name| number(params, name)).collect();
    let op = AttentionPrefill {
        batch: number(vector, "b"),
        new_tokens: number(vector, "s"),
        past_tokens: number(vector, "L0"),
        heads: number(vector, "h"),
        kv_heads: number(vector, "hk"),
        qk_dim: number(vector, "dqk"),
        v_dim: number(vector, "dv"),
        window: None,
    };
    let kernel = PrefillKernel {
        rows: number(set, "Bq"),
        packed: set["pack_gqa"].as_bool().unwrap(),
        cache_bytes: dtype_bytes(set["kv_dtype"].as_str().unwrap()),
    };
    kernel.price(&PrefillWave10::from_slice(&values), machine, &op).time.get()
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn every_attention_vector_is_reproduced() {
    let (vectors, params) = (study("testvectors.json"), study("params.json"));
    let vectors = vectors["attention"].as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        assert_eq!(number(vector, "w"), 0.0, "{vector}");
        let set = &params["attention"][vector["set"].as_str().unwrap()];
        let machine = machine(&params["chips"][set["chip"].as_str().unwrap()]);
        let seconds = match vector["form"].as_str().unwrap() {
            "prefill_wave10" => prefill_seconds(vector, set, &machine),
            "decode_wave10" => decode_seconds(vector, set, &machine),
            other => panic!("unknown form {other}"),
        };
        let expected = number(vector, "seconds");
        assert!((seconds / expected - 1.0).abs() < 1e-4, "{vector}: {seconds}");
    }
}
