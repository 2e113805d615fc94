//! No figure that is set is ignored: each changes the answer, or is refused with its key.
//!
//! The figures are those that the program lists, each tried with twice the value that its help gives.

use assert_cmd::cargo::cargo_bin;
use std::process::{Command, Output};

const ESTIMATE: &str = "estimate --system h100-8 --model meta-llama/Llama-3.1-8B --tp 2 --isl 1024 --osl 64 --concurrency 8 --json";

fn ask(question: &str, figure: Option<&str>) -> Output {
    let mut command = Command::new(cargo_bin("supernode"));
    command.args(question.split(' '));
    command.args(figure.iter().flat_map(|figure| ["--set", figure]));
    command.output().expect("it runs")
}

/// Every figure that may be set, with twice the value that its help gives, which no chip or price has; a part that stands
/// for a name gets one.
fn figures() -> Vec<String> {
    let output = Command::new(cargo_bin("supernode")).args(["catalog", "keys"]).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let rows = text.lines().filter(|line| line.starts_with(['c', 's', 'p']) && line.contains('.'));
    rows.map(|line| {
        let (key, help) = line.split_once(' ').expect("a key and what it is");
        let (_, value) = help.rsplit_once('(').expect("a value");
        let value = value.trim_end().trim_end_matches(')');
        let (number, unit) = value.split_once(' ').unwrap_or((value, ""));
        let twice = 2.0 * number.parse::<f64>().expect("a number");
        let key = key.replace("<format>", "bf16").replace("<domain>", "cluster");
        format!("{key}={}", format!("{twice} {unit}").trim_end())
    })
    .collect()
}

/// Tries every figure in one question.
fn check(question: &str) {
    let figures = figures();
    assert!(figures.len() > 30, "{figures:?}");
    let before = ask(question, None);
    assert!(before.status.success(), "{question}: {}", String::from_utf8_lossy(&before.stderr));
    let problem = |figure: &String| {
        let after = ask(question, Some(figure));
        let said = String::from_utf8_lossy(&after.stderr).into_owned();
        let (key, _) = figure.split_once('=').expect("a key");
        match after.status.code() {
            Some(2) if said.contains(key) => None,
            Some(0 | 1) if before.stdout != after.stdout => None,
            code => Some(format!("{question} --set {figure}: {code:?}, {said}")),
        }
    };
    let problems: Vec<String> = figures.iter().filter_map(problem).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

macro_rules! questions {
    ($($name:ident: $question:expr;)+) => {
        $(#[test]
        fn $name() {
            check($question);
        })+
    };
}

questions! {
    estimate: ESTIMATE;
    estimate_on_dies: "estimate --system cloudmatrix384 --model Qwen/Qwen3-30B-A3B --tp 2 --isl 1024 --osl 64 --concurrency 8 --json";
    simulate: "simulate --system h100-8 --model meta-llama/Llama-3.1-8B --tp 1 --isl 512 --osl 8 --rate 20 --requests 20 --json";
    plan_serve: "plan serve --system h100-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 64 --chips 1 --no-confirm --json";
    compare: "compare h100-8 --model meta-llama/Llama-3.1-8B --isl 512 --osl 64 --chips 1 --json";
    train: "train --system h100-8 --model meta-llama/Llama-3.1-8B --tp 8 --global-batch 72 --seq 4096 --offload-optimizer true --json";
}

#[test]
fn a_figure_that_stays_as_it_is_may_be_set() {
    let said = ask(ESTIMATE, Some("chip.matrix.bf16=989.4 TFLOPS"));
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
}
