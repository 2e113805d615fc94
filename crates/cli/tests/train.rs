//! `train` and `plan train` on the real binary: every example of the documentation, every knob, and refusals.

use assert_cmd::Command;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn supernode(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("supernode").expect("the binary is built");
    command.current_dir(ROOT).args(arguments).output().expect("it runs")
}

/// Runs a command that must answer, and gives its answer.
#[track_caller]
fn answer(arguments: &[&str]) -> String {
    let output = supernode(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a command that must end with `code` and name each of `words`.
#[track_caller]
fn refused(arguments: &[&str], code: i32, words: &[&str]) {
    let output = supernode(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: `{word}` is not in: {message}");
    }
}

const GPT: [&str; 11] = [
    "train",
    "--system",
    "h100-8",
    "--chips",
    "64",
    "--shape",
    "layers=32,hidden=4096,heads=32",
    "--seq",
    "2048",
    "--global-batch",
    "256",
];

fn gpt(more: &[&str]) -> serde_json::Value {
    let mut arguments = GPT.to_vec();
    arguments.extend(more);
    arguments.push("--json");
    serde_json::from_str(&answer(&arguments)).expect("JSON")
}

fn step_time(report: &serde_json::Value) -> f64 {
    report["step_time"]["value"].as_f64().expect("a step time")
}

#[test]
fn documented_examples_run() {
    let text = std::fs::read_to_string(Path::new(ROOT).join("docs/train.md")).expect("docs/train.md");
    let directory = tempfile::tempdir().expect("a directory");
    let timeline = directory.path().join("step.json");
    let mut seen = 0;
    for line in text.split("```").filter_map(|block| block.strip_prefix("sh\n")).flat_map(str::lines) {
        let line = line.replace("step.json", timeline.to_str().expect("a plain path"));
        let arguments: Vec<&str> = line.split_whitespace().skip(1).collect();
        assert!(!answer(&arguments).is_empty(), "{line}");
        seen += 1;
    }
    assert!(seen >= 7, "{seen} examples");
    let trace: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(timeline).expect("a timeline")).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 100));
}

#[test]
fn the_breakdown_adds_up() {
    let report = gpt(&["--tp", "2", "--pp", "4", "--cp", "2"]);
    let parts = report["breakdown"].as_array().expect("parts");
    let sum: f64 = parts.iter().filter_map(|part| part["value"].as_f64()).sum();
    assert!((sum / step_time(&report) - 1.0).abs() < 1e-6, "{sum}");
}

#[test]
fn every_knob_has_its_effect() {
    let plain = step_time(&gpt(&["--tp", "2", "--pp", "4"]));
    let with = |more: &[&str]| {
        let mut arguments = vec!["--tp", "2", "--pp", "4"];
        arguments.extend(more);
        step_time(&gpt(&arguments))
    };
    assert!(with(&["--vpp", "4"]) < plain, "interleaving shrinks the bubble");
    assert!(with(&["--schedule", "zb-h1"]) < plain, "weight gradients fill the bubble");
    assert!(with(&["--recompute", "full"]) > plain, "recomputation costs time");
    assert!(
        with(&["--recompute", "4"]) > plain && with(&["--recompute", "4"]) < with(&["--recompute", "full"])
    );
    assert!(with(&["--precision", "fp8"]) < plain, "8 bits are faster");
    assert!(with(&["--zero", "3"]) != plain && with(&["--zero", "0"]) != plain);
    assert!(with(&["--offload-optimizer", "true"]) >= plain);
    assert!(with(&["--context", "ulysses", "--cp", "2"]) != with(&["--cp", "2"]));
    assert!(with(&["--first-stage-layers", "5"]) > plain, "an uneven split waits for its largest stage");
    assert!(with(&["--schedule", "dualpipe"]) > 0.0 && with(&["--schedule", "gpipe"]) > 0.0);
}

#[test]
fn scripts_say_what_they_leave_out() {
    let output =
        supernode(&["train", "--from-megatron", "examples/train/pretrain_gpt.sh", "--system", "h100-8"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("without effect here: ") && message.contains("--lr"), "{message}");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(answer.contains("tp 8 pp 8 vpp 4 dp 2") && answer.contains("of global 256"), "{answer}");
}

#[test]
fn contradictions_are_refused() {
    let with = |more: &[&'static str]| [&GPT[..], more].concat();
    refused(&with(&["--tp", "3"]), 2, &["--tp"]);
    refused(&with(&["--pp", "64"]), 2, &["--pp"]);
    refused(&with(&["--ep", "8"]), 2, &["--ep"]);
    refused(&with(&["--zero", "4"]), 2, &["--zero"]);
    refused(&with(&["--recompute", "some"]), 2, &["--recompute"]);
    refused(&with(&["--schedule", "chimera"]), 2, &["--schedule", "dualpipe"]);
    refused(&with(&["--framework", "megatorn"]), 2, &["megatron"]);
    refused(&with(&["--release", "0"]), 2, &["bridge"]);
    refused(&["train", "--system", "h100-8", "--global-batch", "8"], 2, &["--model", "--shape"]);
    refused(&["train", "--job", "no/such/file.toml"], 2, &["no/such/file.toml"]);
    refused(
        &[
            "train",
            "--system",
            "h100-8",
            "--chips",
            "64",
            "--shape",
            "layers=32,hidden=4096,heads=32",
            "--seq",
            "131072",
            "--global-batch",
            "64",
        ],
        1,
        &["does not fit", "activations", "--recompute"],
    );
}

#[test]
fn plans_are_exact_and_counted() {
    let plan = |more: &[&str]| -> serde_json::Value {
        let mut arguments = vec![
            "plan",
            "train",
            "--system",
            "h100-8",
            "--chips",
            "16",
            "--shape",
            "layers=16,hidden=4096,heads=32",
            "--seq",
            "2048",
            "--global-batch",
            "64",
            "--json",
        ];
        arguments.extend(more);
        serde_json::from_str(&answer(&arguments)).expect("JSON")
    };
    let value = plan(&["--front", "8"]);
    let plans = value["plans"].as_array().expect("plans");
    assert_eq!(plans.len(), 2);
    let time = |plan: &serde_json::Value| plan["best"][0]["step_time"]["value"].as_f64().expect("a time");
    assert!(time(&plans[1]) < time(&plans[0]), "twice the chips are faster");
    for plan in plans {
        let count = |key: &str| plan[key].as_u64().expect("a count");
        assert!(count("covered") > 1000);
        assert_eq!(count("covered"), count("states_too_big") + count("bound_too_slow") + count("priced"));
    }
    let freer = plan(&["--at-most"]);
    assert!(time(&freer["plans"][0]) <= time(&plans[1]) * (1.0 + 1e-9), "more freedom is never worse");
    assert_eq!(plan(&["--objective", "energy"]), plan(&["--objective", "energy"]));
}
