//! The product form against reference values computed by the study it comes from.

use serde_json::Value;
use supernode_cost::ops::gemm::{GemmKernel, PARAMS, TileSet, Wave12};
use supernode_cost::ops::{Gemm, Machine};
use units::{Bytes, BytesPerSecond, FlopPerSecond};

fn read(name: &str) -> Value {
    let data = std::env::var("SUPERNODE_DATA").expect("SUPERNODE_DATA is the folder of the measurements");
    let text = std::fs::read_to_string(format!("{data}/fits/{name}")).expect("a file of the study");
    serde_json::from_str(&text).expect("JSON")
}

fn machine(chip: &Value, peak: &str) -> Machine {
    let at = |key: &str| chip[key].as_f64().unwrap();
    Machine {
        peak: FlopPerSecond::new(at(peak)),
        bandwidth: BytesPerSecond::new(at("bw")),
        cores: at("cores"),
        l2: Bytes::new(at("l2")),
    }
}

fn kernel(fit: &Value, element: f64) -> GemmKernel {
    let listed: Vec<(f64, f64)> = fit["tiles"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tile| (tile[0].as_f64().unwrap(), tile[1].as_f64().unwrap()))
        .collect();
    let same = |tiles: &TileSet| {
        tiles.tiles().len() == listed.len() && listed.iter().all(|tile| tiles.tiles().contains(tile))
    };
    GemmKernel {
        tiles: TileSet::ALL.into_iter().find(same).unwrap(),
        split_k: fit["split_k"].as_bool().unwrap(),
        weight_bytes: element,
        activation_bytes: element,
        quantise: fit["params"]["eq"].is_number(),
    }
}

#[test]
#[ignore = "needs SUPERNODE_DATA"]
fn every_reference_value_is_reproduced() {
    let (fits, vectors) = (read("params.json"), read("testvectors.json"));
    let mut checked = 0;
    for vector in vectors["gemm"].as_array().unwrap() {
        let name = vector["set"].as_str().unwrap();
        let fit = &fits["gemm"][name];
        let (peak, element) = match name.rsplit('|').next().unwrap() {
            "bfloat16" | "bf16" => ("bf16", 2.0),
            "nvfp4" => ("fp4", 0.5625),
            "w8a8_dynamic" | "sq" => ("int8", 1.0),
            _ => ("fp8", 1.0),
        };
        let values: Vec<f64> =
            PARAMS.iter().map(|spec| fit["params"][spec.name].as_f64().unwrap_or(1.0)).collect();
        let at = |key: &str| vector[key].as_f64().unwrap();
        let op = Gemm { m: at("M"), n: at("N"), k: at("K") };
        let chip = machine(&fits["chips"][fit["chip"].as_str().unwrap()], peak);
        let time = kernel(fit, element).price(&Wave12::from_slice(&values), &chip, op, at("R")).time.get();
        let expected = at("seconds");
        assert!((time / expected - 1.0).abs() < 1e-4, "{name} {op:?}: {time} instead of {expected}");
        checked += 1;
    }
    assert_eq!(checked, 40);
}
