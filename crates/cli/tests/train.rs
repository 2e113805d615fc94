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
    let own = ["--framework", "hai-llm"];
    let (plain_there, filled) = (with(&own), with(&[&own[..], &["--schedule", "zb-h1"]].concat()));
    assert!(filled < plain_there, "weight gradients fill the bubble");
    assert!(with(&["--recompute", "full"]) > plain, "recomputation costs time");
    assert!(
        with(&["--recompute", "4"]) > plain && with(&["--recompute", "4"]) < with(&["--recompute", "full"])
    );
    assert!(with(&["--precision", "fp8"]) < plain, "8 bits are faster");
    assert!(with(&["--zero", "3"]) != plain && with(&["--zero", "0"]) != plain);
    assert!(with(&["--offload-optimizer", "true"]) >= plain);
    assert!(with(&["--context", "ulysses", "--cp", "2"]) != with(&["--cp", "2"]));
    assert!(with(&["--first-stage-layers", "5"]) > plain, "an uneven split waits for its largest stage");
    assert!(with(&[&own[..], &["--schedule", "dualpipe"]].concat()) > 0.0);
    assert!(with(&["--framework", "torchtitan", "--schedule", "gpipe"]) > 0.0);
}

#[test]
fn scripts_say_what_they_leave_out() {
    let output =
        supernode(&["train", "--from-megatron", "examples/train/pretrain_gpt.sh", "--system", "h100-8"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("without effect here: ") && message.contains("--lr"), "{message}");
    let answer = String::from_utf8_lossy(&output.stdout);
    assert!(
        answer.contains("--tp 8 --pp 8 --vpp 4 --dp 2") && answer.contains("--global-batch 256"),
        "{answer}"
    );
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
    refused(
        &with(&["--pp", "4", "--schedule", "dualpipe"]),
        2,
        &["megatron bridge", "--schedule", "interleaved"],
    );
    refused(&with(&["--pp", "4", "--schedule", "interleaved"]), 2, &["--vpp"]);
    refused(&with(&["--pp", "4", "--vpp", "2", "--schedule", "gpipe"]), 2, &["--vpp", "gpipe"]);
    refused(&with(&["--framework", "fsdp", "--pp", "4"]), 2, &["fsdp composer", "--pp"]);
    refused(&with(&["--schedule", "zb-h1"]), 2, &["--schedule", "--pp"]);
    refused(&with(&["--vpp", "2"]), 2, &["--vpp", "--pp"]);
    refused(&with(&["--context", "ulysses"]), 2, &["--context", "--cp"]);
    refused(&with(&["--sequence-parallel", "true"]), 2, &["--sequence-parallel", "--tp"]);
    refused(&with(&["--etp", "2"]), 2, &["--etp", "experts"]);
    refused(&with(&["--mtp", "true"]), 2, &["--mtp"]);
    refused(&with(&["--first-stage-layers", "5"]), 2, &["--first-stage-layers"]);
    refused(&with(&["--spares", "8"]), 2, &["--spares", "--tokens"]);
    refused(&with(&["--precision", "nvfp4"]), 2, &["h100", "nvfp4", "bf16"]);
    refused(&with(&["--precision", "mxfp8"]), 2, &["h100", "mxfp8"]);
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

/// Formats that a chip's matrix units lack are refused on every chip, by one rule.
#[test]
fn formats_that_a_chip_lacks_are_refused() {
    let shape = "layers=8,hidden=2048,heads=16";
    let job =
        ["--chips", "8", "--shape", shape, "--seq", "2048", "--global-batch", "64", "--recompute", "full"];
    for (system, precision) in [
        ("a100-80-8", "fp8"),
        ("a100-80-8", "nvfp4"),
        ("v100-32-16", "bf16"),
        ("tpu-v4", "fp8"),
        ("atlas-800t-a2", "fp8"),
        ("atlas-800t-a2", "nvfp4"),
        ("h100-8", "nvfp4"),
    ] {
        for command in [&["train"][..], &["plan", "train"]] {
            let arguments = [command, &["--system", system, "--precision", precision], &job].concat();
            refused(&arguments, 2, &["has no matrix unit", precision]);
        }
    }
}

const PLANNED: [(&str, &[&str]); 4] = [
    (
        "long sequences",
        &[
            "--system",
            "h100-8",
            "--chips",
            "16",
            "--shape",
            "layers=16,hidden=4096,heads=32,kv-heads=8,gated=true",
            "--seq",
            "65536",
            "--global-batch",
            "16",
        ],
    ),
    (
        "experts",
        &[
            "--system",
            "gb200-nvl72",
            "--chips",
            "16",
            "--shape",
            "layers=12,hidden=2048,heads=16,ffn=8192,gated=true,experts=32,topk=4,moe-ffn=1024",
            "--seq",
            "4096",
            "--global-batch",
            "64",
            "--precision",
            "mxfp8",
        ],
    ),
    (
        "little memory",
        &[
            "--system",
            "a100-40-8",
            "--chips",
            "8",
            "--shape",
            "layers=32,hidden=4096,heads=32",
            "--seq",
            "2048",
            "--global-batch",
            "16",
        ],
    ),
    (
        "mindspeed",
        &[
            "--system",
            "atlas-800t-a2",
            "--chips",
            "16",
            "--shape",
            "layers=32,hidden=4096,heads=32,gated=true",
            "--seq",
            "8192",
            "--global-batch",
            "32",
            "--framework",
            "mindspeed",
        ],
    ),
];

/// Every plan fits and takes as long when it is given back as it is printed, as text and as JSON.
#[test]
fn plans_feed_back() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, job) in PLANNED {
        let plan = |more: &[&str]| answer(&[&["plan", "train"], job, &["--top", "8"], more].concat());
        let (text, json) = (plan(&[]), plan(&["--json"]));
        let path = folder.path().join("plan.json");
        std::fs::write(&path, &json).expect("writes");
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let best = value["plans"][0]["best"].as_array().expect("layouts");
        let lines: Vec<&str> =
            text.lines().filter_map(|line| line.split_once("--chips ")).map(|(_, flags)| flags).collect();
        assert!(best.len() == 8 && lines.len() == 8, "{name}: {text}");
        let mut shown = std::collections::BTreeSet::new();
        for (place, (found, line)) in best.iter().zip(&lines).enumerate() {
            assert!(shown.insert(*line), "{name}: {line} is shown twice");
            let planned = step_time(found);
            let flags: Vec<&str> = line.split_whitespace().skip(1).collect();
            let base: Vec<&str> =
                job.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten().copied().collect();
            let printed = answer(&[&["train", "--json"], &base[..], &flags[..]].concat());
            let place = (place + 1).to_string();
            let file = ["train", "--json", "--job", path.to_str().expect("a plain path"), "--place", &place];
            for again in [printed, answer(&file)] {
                let again: serde_json::Value = serde_json::from_str(&again).expect("JSON");
                let ratio = step_time(&again) / planned;
                assert!((ratio - 1.0).abs() < 1e-9, "{name}: {line}: {ratio}");
            }
        }
    }
}

/// Every flag of the layout that `train` has is a fixed value of `plan train`.
#[test]
fn what_is_said_of_a_layout_stays() {
    let job = PLANNED[0].1;
    for (flags, key, value) in [
        (&["--tp", "4"][..], "tp", "4"),
        (&["--pp", "2"], "pp", "2"),
        (&["--dp", "4"], "dp", "4"),
        (&["--cp", "2"], "cp", "2"),
        (&["--micro-batch", "2"], "micro_batch", "2"),
        (&["--vpp", "4"], "vpp", "4"),
        (&["--recompute", "full"], "recompute", "\"full\""),
        (&["--recompute", "3"], "recompute", "\"3\""),
        (&["--zero", "2"], "zero", "2"),
        (&["--sequence-parallel", "false", "--tp", "2"], "sequence_parallel", "false"),
        (&["--context", "ulysses", "--cp", "4"], "context", "\"ulysses\""),
        (&["--offload-optimizer", "true"], "offload_optimizer", "true"),
        (&["--offload-activations", "true"], "offload_activations", "true"),
        (&["--first-stage-layers", "5", "--pp", "2"], "first_stage_layers", "5"),
        (&["--last-stage-layers", "5", "--pp", "2"], "last_stage_layers", "5"),
    ] {
        let plan = answer(&[&["plan", "train"], job, flags, &["--json", "--top", "3"]].concat());
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
        for found in plan["plans"][0]["best"].as_array().expect("layouts") {
            assert_eq!(found["layout"][key].to_string(), value, "{flags:?}: {found}");
        }
    }
    refused(&[&["plan", "train"], job, &["--schedule", "dualpipe"]].concat(), 2, &["megatron", "dualpipe"]);
    refused(&[&["plan", "train"], job, &["--zero", "7"]].concat(), 2, &["--zero"]);
    refused(&[&["plan", "train"], job, &["--tp", "0"]].concat(), 2, &["--tp"]);
}

#[test]
fn a_largest_batch_is_never_worse_than_that_batch() {
    let job = &PLANNED[0].1[..8];
    let best = |batch: &[&str]| -> f64 {
        let plan = answer(&[&["plan", "train"], job, batch, &["--json", "--top", "1"]].concat());
        let plan: serde_json::Value = serde_json::from_str(&plan).expect("JSON");
        plan["plans"][0]["best"][0]["tokens_per_second"]["value"].as_f64().expect("a rate")
    };
    assert!(best(&["--max-global-batch", "17"]) >= best(&["--global-batch", "16"]) * (1.0 - 1e-9));
    refused(&[&["plan", "train"], job].concat(), 2, &["--global-batch"]);
}

#[test]
fn places_and_chips_move_money_and_carbon() {
    let plain = gpt(&[]);
    let carbon = |report: &serde_json::Value| {
        report["tokens"]["carbon_per_million_tokens"]["value"].as_f64().expect("carbon")
    };
    assert!(carbon(&gpt(&["--region", "cn"])) > carbon(&plain), "coal");
    assert!(step_time(&gpt(&["--chip", "h200"])) < step_time(&plain), "faster memory");
    assert!(step_time(&gpt(&["--set", "chip.hbm.bandwidth=2TB/s"])) > step_time(&plain));
    assert!(step_time(&gpt(&["--set", "chip.matrix.bf16=700TFLOPS"])) > step_time(&plain));
    let run = gpt(&["--tokens", "1T"]);
    for figure in ["elapsed", "energy_at_plug", "carbon", "cost", "tokens_per_day"] {
        let figure = &run["run"][figure];
        let of = |key: &str| figure[key].as_f64().expect("a band");
        assert!(of("low") < of("value") && of("value") < of("high"), "{figure}");
    }
    let factor = |report: &serde_json::Value| report["evidence"]["factor"].as_f64().expect("a factor");
    let known = gpt(&["--chip", "ascend-910c"]);
    let rumoured = gpt(&["--chip", "ascend-910d"]);
    assert!(factor(&rumoured) > factor(&known), "a rumoured chip is less certain");
}

/// Weak scaling: as much work per chip on more chips.
#[test]
fn more_chips_are_slower_per_chip() {
    let at = |chips: &str, batch: &str| {
        step_time(
            &serde_json::from_str(&answer(&[
                "train",
                "--system",
                "h100-8",
                "--chips",
                chips,
                "--shape",
                "layers=96,hidden=12288,heads=96",
                "--seq",
                "2048",
                "--tp",
                "8",
                "--pp",
                "8",
                "--global-batch",
                batch,
                "--json",
            ]))
            .expect("JSON"),
        )
    };
    let (some, more, most) = (at("1024", "1024"), at("16384", "16384"), at("98304", "98304"));
    assert!(some < more && more < most, "{some} {more} {most}");
    assert!(most < some * 1.3, "{some} {most}");
}
