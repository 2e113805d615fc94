//! Plan files that somebody edited, or made to do harm.

use planner::plan_file::PlanFile;
use serde_json::{Value, json};
use supernode_export::{Options, Target, export, read_training};

fn document() -> Value {
    serde_json::from_str(include_str!("plans/70b-h100.json")).expect("JSON")
}

/// Sets a value of the plan by its pointer, and reads the plan.
fn with(pointer: &str, value: Value) -> Result<PlanFile, String> {
    let mut plan = document();
    *plan.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value;
    PlanFile::parse(&plan.to_string()).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(pointer: &str, value: Value, words: &[&str]) {
    let message = with(pointer, value.clone()).expect_err("it is refused");
    assert!(words.iter().all(|word| message.contains(word)), "{pointer} = {value}: {message}");
}

#[test]
fn sizes_are_ones_that_an_instance_has() {
    for key in ["tp", "pp", "dp", "ep", "moe_tp", "instances", "ranks_per_chip", "chips_per_node"] {
        for pool in ["/best/pools/0", "/disaggregated/pools/1", "/top/0/pools/0", "/front/0/pools/0"] {
            refused(&format!("{pool}/{key}"), json!(0), &[key, "is 0", "1 to"]);
            refused(&format!("{pool}/{key}"), json!(u32::MAX), &[key]);
            refused(&format!("{pool}/{key}"), json!(-5), &["-5"]);
            refused(&format!("{pool}/{key}"), json!(1.5), &["1.5"]);
        }
    }
    for key in ["max_sequences_per_rank", "token_budget", "max_model_length", "block"] {
        refused(&format!("/best/pools/0/{key}"), json!(0), &["best.pools[0]", key, "is 0"]);
    }
    refused("/best/pools/0/spec_tokens", json!(17), &["spec_tokens", "0 to 16"]);
    refused("/best/pools/0/memory_utilisation", json!(0.0), &["memory_utilisation"]);
    refused("/job/prefix_hit", json!(1.5), &["job.prefix_hit"]);
}

#[test]
fn sizes_agree() {
    refused("/best/pools/0/chips", json!(-5), &["best.pools[0].chips", "-5"]);
    refused("/best/pools/0/instances", json!(600), &["chips", "600 instances"]);
    refused("/best/pools/0/moe_tp", json!(3), &["ep x moe_tp", "3 ranks"]);
    refused("/best/pools", json!([]), &["best.pools", "none", "one aggregated pool"]);
    refused("/best/mode", json!("disaggregated"), &["best.pools", "a prefill and a decode pool"]);
}

#[test]
fn words_are_of_a_list() {
    refused("/best/pools/0/role", json!("../outside"), &["../outside", "prefill"]);
    refused("/best/pools/0/role", json!("/etc/cron.d/x"), &["/etc/cron.d/x"]);
    refused("/best/mode", json!("aggregated\n"), &["aggregated"]);
    refused("/best/pools/0/weight_dtype", json!("fp7"), &["fp7"]);
    refused("/best/pools/0/expert_backend", json!("$(reboot)"), &["expert_backend", "deepep"]);
    for key in ["system", "chip", "engine"] {
        refused(&format!("/best/pools/0/{key}"), json!("$(reboot)"), &[key, "letters"]);
    }
    refused("/best/pools/0/vendor", json!("NVIDIA\nreboot"), &["vendor", "control character"]);
    refused("/model", json!("a\nb"), &["model", "control character"]);
    refused("/model", json!(" "), &["model"]);
}

/// What a shell would run if a name were not quoted.
const HARM: &str = "x'; touch harm; $(touch harm) `touch harm` \"; touch harm; \\";

#[test]
fn names_mean_themselves_to_shells_and_manifests() {
    let plan = with("/model", json!(HARM)).expect("an odd name is a name");
    for target in ["vllm", "sglang", "trtllm", "dynamo", "llm-d", "lws"] {
        let target: Target = target.parse().expect("a target");
        let options = Options { image: Some(HARM.to_owned()), ..Options::default() };
        let files = export(&plan, target, &options).expect("it exports");
        let folder = tempfile::tempdir().expect("a folder");
        for file in &files {
            assert!(!file.name.contains(['/', '\\']), "{}", file.name);
            let path = folder.path().join(&file.name);
            std::fs::write(&path, &file.text).expect("writes");
            if file.name.ends_with(".sh") {
                runs_without_harm(&path, folder.path());
            }
        }
    }
}

/// Runs a script whose programs do not exist: whatever its text makes the shell do by itself is done.
fn runs_without_harm(script: &std::path::Path, folder: &std::path::Path) {
    let mut command = std::process::Command::new("bash");
    command.arg(script).args(["0", "0"]).current_dir(folder);
    let _ = command.env("VLLM", folder).env("VLLM_ASCEND", folder).output().expect("a shell");
    assert!(!folder.join("harm").exists(), "{} does harm", script.display());
}

#[test]
fn hosts_are_addresses() {
    let plan = with("/job/isl", json!(4096)).expect("a plan");
    let options = Options { hosts: vec!["10.0.0.1; reboot".to_owned(); 8], ..Options::default() };
    let error = export(&plan, Target::Vllm, &options).expect_err("it is refused").to_string();
    assert!(error.contains("10.0.0.1; reboot") && error.contains("address"), "{error}");
}

#[test]
fn training_layouts_are_ones_that_a_job_has() {
    let layout = json!({
        "tp": 1, "pp": 1, "vpp": 1, "dp": 8, "cp": 1, "ep": 1, "etp": 1, "micro_batch": 1, "global_batch": 8,
        "seq": 4096, "schedule": "1f1b", "recompute": "none", "zero": 1, "precision": "bf16",
        "sequence_parallel": false
    });
    let read = |key: &str, value: Value| {
        let mut changed = layout.clone();
        changed[key] = value;
        let text = json!({ "schema": "supernode.train/1", "layout": changed }).to_string();
        read_training(&text, 0).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(read("dp", json!(8)), Ok(()));
    for key in ["tp", "pp", "vpp", "dp", "cp", "ep", "etp", "micro_batch", "global_batch", "seq"] {
        let message = read(key, json!(0)).expect_err("it is refused");
        assert!(message.contains(key) && message.contains("1 to"), "{message}");
        read(key, json!(u32::MAX)).expect_err("it is refused");
    }
    for (key, value) in [("zero", json!(4)), ("recompute", json!("$(reboot)")), ("schedule", json!(7))] {
        read(key, value).expect_err("it is refused");
    }
}
