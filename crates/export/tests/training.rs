//! Training layouts as scripts, read again by the importer of such scripts.

use serde_json::{Value, json};
use supernode_export::{Trainer, export_training, read_training};

fn plan(layout: &Value) -> String {
    json!({ "schema": "supernode.plan-train/1", "plans": [
        { "chips": 8, "best": [] },
        { "chips": 512, "best": [{ "layout": layout }] },
    ]})
    .to_string()
}

fn layout(change: &Value) -> Value {
    let mut layout = json!({
        "chips": 512.0, "tp": 8, "pp": 4, "vpp": 1, "dp": 16, "cp": 1, "ep": 1, "etp": 8, "micro_batch": 1, "global_batch": 1024,
        "micro_batches": 64, "seq": 4096, "schedule": "1f1b", "recompute": "none", "zero": 1, "precision": "bf16",
        "sequence_parallel": true,
    });
    for (key, value) in change.as_object().expect("a table") {
        layout[key] = value.clone();
    }
    layout
}

fn script(model: &str, change: &Value, trainer: Trainer) -> Result<String, String> {
    let model = model::resolve(model).expect("a model");
    let (layout, _) = read_training(&plan(&layout(change)), 0).map_err(|error| error.to_string())?;
    export_training(&layout, &model, trainer).map(|file| file.text).map_err(|error| error.to_string())
}

/// Exports and imports, and compares what both say.
#[track_caller]
fn check(model: &str, change: Value, trainer: Trainer) {
    let text = script(model, &change, trainer).expect("exports");
    let launch = launch::read_training("pretrain.sh", &text, &launch::Inputs::default(), false)
        .unwrap_or_else(|error| panic!("{error}\n{text}"));
    let wanted = layout(&change);
    let (spec, shape) = (&launch.spec, launch.shape.as_ref().expect("sizes"));
    let found = json!({
        "tp": spec.tp, "pp": spec.pp, "vpp": spec.vpp.unwrap_or(1), "cp": spec.cp.unwrap_or(1), "micro_batch": spec.micro_batch,
        "global_batch": spec.global_batch, "seq": spec.seq, "recompute": spec.recompute, "zero": spec.zero,
        "precision": spec.precision, "sequence_parallel": spec.sequence_parallel,
    });
    for (key, value) in found.as_object().expect("a table") {
        assert_eq!(value, &wanted[key], "{key}\n{text}");
    }
    let size = |key: &str| wanted[key].as_u64().expect("a size");
    assert_eq!(u64::from(spec.chips.expect("chips")), size("tp") * size("cp") * size("pp") * size("dp"));
    let known = model::resolve(model).expect("a model");
    let layers: u32 = known.layers.iter().map(|group| group.count).sum();
    assert_eq!((shape.layers, shape.vocab), (layers, known.vocab));
    if shape.experts.is_some() {
        assert_eq!((spec.ep, spec.etp), (Some(size("ep") as u32), Some(size("etp") as u32)));
    }
    // What is left is what the importer makes of the sizes: the same work per token as the model's own.
    let (own, other) = (weights(&known), weights(&shape.model()));
    assert!((own / other - 1.0).abs() < 0.02, "{own} and {other} parameters\n{text}");
    assert_eq!(launch.missing().count(), 0, "{:?}", launch.unread);
}

/// Parameters without multi-token prediction, which a layout does not speak of.
fn weights(model: &model::Model) -> f64 {
    let mut model = model.clone();
    model.mtp = None;
    model.parameters().total() as f64
}

#[test]
fn scripts_say_what_the_layout_says() {
    for trainer in [Trainer::Megatron, Trainer::Mindspeed] {
        check("meta-llama/Llama-3.1-70B", json!({}), trainer);
        check("meta-llama/Llama-3.1-70B", json!({ "vpp": 5, "schedule": "interleaved", "zero": 0 }), trainer);
        check("meta-llama/Llama-3.1-70B", json!({ "recompute": "full", "cp": 2, "dp": 8 }), trainer);
        check("meta-llama/Llama-3.1-70B", json!({ "recompute": "3", "precision": "fp8" }), trainer);
        let experts = json!({ "tp": 1, "pp": 1, "dp": 512, "ep": 64, "etp": 1, "sequence_parallel": false });
        check("Qwen/Qwen3-235B-A22B", experts.clone(), trainer);
        check("deepseek-ai/DeepSeek-V3", experts, trainer);
    }
    // 126 layers on 16 stages: the embedding and the head count as one each.
    check(
        "meta-llama/Llama-3.1-405B",
        json!({ "pp": 16, "dp": 4, "recompute": "selective" }),
        Trainer::Megatron,
    );
    check("meta-llama/Llama-3.1-405B", json!({ "pp": 16, "dp": 4 }), Trainer::Mindspeed);
    check("meta-llama/Llama-3.1-70B", json!({ "zero": 3 }), Trainer::Megatron);
}

#[track_caller]
fn check_refused(model: &str, change: Value, trainer: Trainer, word: &str) {
    let error = script(model, &change, trainer).expect_err("refused");
    assert!(error.contains(word), "{error}");
}

#[test]
fn what_has_no_flags_is_refused() {
    let llama = "meta-llama/Llama-3.1-70B";
    check_refused(llama, json!({ "schedule": "zb-h1" }), Trainer::Megatron, "zb-h1");
    check_refused(llama, json!({ "zero": 3 }), Trainer::Mindspeed, "ZeRO");
    check_refused(llama, json!({ "pp": 7 }), Trainer::Megatron, "80 layers into 7 stages");
    check_refused(llama, json!({ "precision": "nvfp4" }), Trainer::Megatron, "nvfp4");
    check_refused(llama, json!({ "tp": "eight" }), Trainer::Megatron, "not a training plan");
    check_refused("Qwen/Qwen3-Next-80B-A3B-Instruct", json!({}), Trainer::Megatron, "layers differ");
    assert!(read_training("{}", 0).is_err_and(|error| error.to_string().contains("plan train --json")));
    assert!(
        read_training(&plan(&layout(&json!({}))), 1)
            .is_err_and(|error| error.to_string().contains("place 2"))
    );
}

#[test]
fn scripts_pass_shellcheck() {
    let text = script("meta-llama/Llama-3.1-70B", &json!({}), Trainer::Megatron).expect("exports");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pretrain.sh");
    std::fs::write(&path, text).expect("writes");
    match std::process::Command::new("shellcheck").arg(&path).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(_) => println!("skipped: shellcheck is not installed"),
    }
}
