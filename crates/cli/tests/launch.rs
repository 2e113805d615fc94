//! Launch files and commands through the command line.

use assert_cmd::cargo::cargo_bin;
use std::process::{Command, Output};

fn supernode(arguments: &[&str]) -> Output {
    Command::new(cargo_bin("supernode")).args(arguments).output().expect("it runs")
}

/// A script in a folder of its own.
fn script(text: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("pretrain.sh");
    std::fs::write(&path, text).expect("writes");
    let path = path.display().to_string();
    (folder, path)
}

const TRAIN: &str = "#!/bin/bash\ncase $1 in\n  small) L=16 ;;\n  large) L=32 ;;\nesac\ntorchrun --nproc_per_node 8 --nnodes ${NNODES:-1} p.py \\\n  \
                     --num-layers $L --hidden-size 2048 --num-attention-heads 16 --vocab-size 50304 --seq-length 2048 \\\n  \
                     --micro-batch-size 1 --global-batch-size 64 --bf16 --use-distributed-optimizer\n";

#[track_caller]
fn says(output: &Output, code: i32, stdout: &[&str], stderr: &[&str]) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{out}\n{err}");
    for word in stdout {
        assert!(out.contains(word), "stdout lacks {word}: {out}");
    }
    for word in stderr {
        assert!(err.contains(word), "stderr lacks {word}: {err}");
    }
}

#[test]
fn a_script_asks_for_its_arguments() {
    let (_folder, path) = script(TRAIN);
    let train = |more: &[&str]| {
        supernode(&[&["train", "--launch", path.as_str(), "--system", "h100-8"], more].concat())
    };
    says(&train(&[]), 2, &[], &["pretrain.sh:2", "case $1", "small, large", "--arg 1=VALUE"]);
    says(&train(&["--arg", "1=small"]), 0, &["--dp 8", "--global-batch 64"], &["NNODES=1"]);
    says(&train(&["--arg", "1=small", "--env", "NNODES=2"]), 0, &["--dp 16"], &[]);
    says(&train(&["--arg", "zero=1"]), 2, &[], &["--arg"]);
    says(&supernode(&["train", "--arg", "1=x", "--system", "h100-8"]), 2, &[], &["--launch"]);
}

#[test]
fn what_is_not_modelled_marks_the_answer() {
    let (_folder, path) = script(&TRAIN.replace("--bf16", "--bf16 --swap-attention --frobnicate"));
    let train = |more: &[&str]| {
        supernode(
            &[&["train", "--launch", path.as_str(), "--system", "h100-8", "--arg", "1=small"], more].concat(),
        )
    };
    let marks =
        ["without --swap-attention (", "pretrain.sh:8), which saves memory", "without --frobnicate ("];
    says(&train(&[]), 0, &marks, &[]);
    let json = train(&["--json"]);
    let value: serde_json::Value = serde_json::from_slice(&json.stdout).expect("JSON");
    assert_eq!(value["launch"]["not_modelled"][0]["flag"], "--swap-attention");
    let big = train(&["--seq", "1048576"]);
    says(&big, 1, &[], &["whether it fits cannot be said", "--swap-attention"]);
}

#[test]
fn a_serving_command_is_read_as_flags() {
    let command = "vllm serve meta-llama/Llama-3.1-8B -tp 2 --max-num-batched-tokens 4096 --frob";
    let rest = ["--system", "h100-8", "--isl", "1024", "--osl", "128", "--concurrency", "16"];
    let read = supernode(&[&["estimate", "--from-vllm", command], &rest[..]].concat());
    says(&read, 0, &["without --frob (launch:1), which is not known"], &["--tp 2", "--token-budget 4096"]);
    let plain = [
        "estimate",
        "--model",
        "meta-llama/Llama-3.1-8B",
        "--engine",
        "vllm",
        "--tp",
        "2",
        "--token-budget",
        "4096",
    ];
    let plain = supernode(&[&plain, &rest[..]].concat());
    let (read, plain) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&plain.stdout));
    assert!(read.starts_with(plain.trim_end()), "{read}\n{plain}");
    let wins = supernode(&[&["estimate", "--from-vllm", command, "--tp", "4"], &rest[..]].concat());
    says(&wins, 0, &[], &["--token-budget 4096"]);
    says(
        &supernode(&[&["estimate", "--from-vllm", "no/such/file"], &rest[..]].concat()),
        2,
        &[],
        &["no/such/file"],
    );
    says(&supernode(&["estimate", "--from-vllm"]), 2, &[], &["--from-vllm"]);
}
