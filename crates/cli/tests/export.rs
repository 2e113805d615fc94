//! `export` by the real binary.

use assert_cmd::cargo::cargo_bin;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn plan(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../export/tests/plans/{name}.json"))
}

fn export(plan: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin("supernode"));
    command.arg("export").arg(plan).args(arguments).output().expect("it runs")
}

#[track_caller]
fn refused(plan: &Path, arguments: &[&str], code: i32, words: &[&str]) {
    let output = export(plan, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(words.iter().all(|word| message.contains(word)), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_examples_of_the_documentation_run() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(plan("r1-ascend"), folder.path().join("plan.json")).expect("copies");
    let text = include_str!("../../../docs/export.md");
    let commands = text.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("examples");
    let bin = cargo_bin("supernode");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-e", "-c", commands])
        .env("PATH", format!("{}:{path}", bin.parent().expect("a folder").display()))
        .current_dir(folder.path())
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(names.lines().count(), 6, "{names}");
    for name in ["launch.sh", "prefill.sh", "prefill.hosts", "decode.sh", "decode.hosts", "router.sh"] {
        assert!(folder.path().join("launch").join(name).exists(), "{name}");
    }
    let manifest = std::fs::read_to_string(folder.path().join("manifest.yaml")).expect("reads");
    assert_eq!(manifest.matches("kind: LeaderWorkerSet").count(), 2);
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let once = |to: &str| export(&plan("r1-h200"), &["--to", to]).stdout;
    for to in ["vllm", "sglang", "trtllm", "dynamo", "llm-d", "lws"] {
        assert!(!once(to).is_empty());
        assert_eq!(once(to), once(to));
    }
}

#[test]
fn what_cannot_be_exported_is_refused() {
    let (gpu, npu) = (plan("r1-h200"), plan("r1-ascend"));
    refused(&gpu, &["--to", "vllm-ascend"], 2, &["vllm-ascend", "NVIDIA", "--to vllm"]);
    refused(&npu, &["--to", "trtllm"], 2, &["trtllm", "Huawei"]);
    refused(&gpu, &["--to", "ollama"], 2, &["ollama", "llm-d"]);
    refused(&gpu, &["--to", "vllm", "--kv-pool", "8"], 2, &["--kv-pool"]);
    refused(&gpu, &["--to", "vllm", "--deployment", "fifth"], 2, &["fifth", "disaggregated"]);
    refused(&gpu, &["--to", "vllm", "--deployment", "7"], 1, &["--deployment", "7"]);
    refused(&plan("405b-h100"), &["--to", "vllm", "--deployment", "disaggregated"], 1, &["disaggregated"]);
    refused(Path::new("no/such/plan.json"), &["--to", "vllm"], 2, &["no/such/plan.json"]);
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path
    };
    refused(&write("a.json", "{}"), &["--to", "vllm"], 2, &["a.json", "schema", "plan serve"]);
    refused(&write("b.json", "{\"schema\": \"other\"}"), &["--to", "vllm"], 2, &["b.json", "other"]);
    let hosts = write("hosts", "10.0.0.1\n$(reboot)\n");
    let hosts = hosts.display().to_string();
    refused(&gpu, &["--to", "vllm", "--hosts", &hosts], 2, &["hosts, line 2", "address"]);
    let few = write("few", "10.0.0.1\n").display().to_string();
    refused(&gpu, &["--to", "vllm", "--hosts", &few], 2, &["--hosts", "1", "8"]);
}

#[test]
fn a_training_plan_becomes_a_script() {
    let folder = tempfile::tempdir().expect("a folder");
    let model = "meta-llama/Llama-3.1-8B";
    let job = ["--system", "h100-8", "--chips", "64", "--model", model, "--global-batch", "256", "--json"];
    let supernode = || Command::new(cargo_bin("supernode"));
    let planned = supernode().args(["plan", "train"]).args(job).output().expect("it runs");
    assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
    let path = folder.path().join("plan.json");
    std::fs::write(&path, planned.stdout).expect("writes");
    let script = export(&path, &["--to", "megatron", "--model", model]);
    assert!(script.status.success(), "{}", String::from_utf8_lossy(&script.stderr));
    let text = String::from_utf8_lossy(&script.stdout).into_owned();
    assert!(text.contains("on 64 devices") && text.contains("--global-batch-size 256"), "{text}");
    // What was exported can be priced again, and is the plan.
    let script = folder.path().join("pretrain.sh");
    std::fs::write(&script, text).expect("writes");
    let arguments = ["train", "--system", "h100-8", "--json", "--from-megatron"];
    let priced = supernode().args(arguments).arg(&script).output().expect("it runs");
    assert!(priced.status.success(), "{}", String::from_utf8_lossy(&priced.stderr));
    let planned: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).expect("the plan")).expect("JSON");
    let priced: serde_json::Value = serde_json::from_slice(&priced.stdout).expect("JSON");
    let time = |value: &serde_json::Value| value["step_time"]["value"].as_f64().expect("a time");
    assert!((time(&priced) / time(&planned["plans"][0]["best"][0]) - 1.0).abs() < 1e-9);
    refused(&path, &["--to", "megatron", "--model", model, "--deployment", "99"], 1, &["place 99"]);
    refused(&path, &["--to", "vllm"], 2, &["plan.json", "supernode.plan-train/1"]);
    refused(&plan("r1-h200"), &["--to", "mindspeed", "--model", model], 2, &["plan train --json"]);
}

#[test]
fn what_plan_serve_prints_can_be_launched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("plan.json");
    let job = [
        "--model",
        "meta-llama/Llama-3.1-8B",
        "--isl",
        "1024",
        "--osl",
        "256",
        "--ttft",
        "2s",
        "--tpot",
        "50ms",
    ];
    for (system, chips, to) in
        [("h100-8", "8", "vllm"), ("h100-8", "8", "dynamo"), ("atlas-800i-a3", "8", "vllm-ascend")]
    {
        let mut command = Command::new(cargo_bin("supernode"));
        let planned = command
            .args(["plan", "serve", "--system", system, "--chips", chips, "--json"])
            .args(job)
            .output();
        let planned = planned.expect("it runs");
        assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
        std::fs::write(&path, planned.stdout).expect("writes");
        let launch = export(&path, &["--to", to]);
        assert!(launch.status.success(), "{system} {to}: {}", String::from_utf8_lossy(&launch.stderr));
        assert!(String::from_utf8_lossy(&launch.stdout).contains("meta-llama/Llama-3.1-8B"));
    }
}
