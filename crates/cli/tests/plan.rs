//! `plan serve` and `match` on the real binary.

use assert_cmd::Command;
use planner::plan_file::{DeploymentFile, PlanFile};

fn supernode(line: &str) -> std::process::Output {
    Command::cargo_bin("supernode")
        .expect("the binary")
        .args(line.split_whitespace())
        .output()
        .expect("a run")
}

/// Standard output of a run that must end with `code`.
fn check(line: &str, code: i32) -> String {
    let output = supernode(line);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{line}\n{errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// What standard error of a run that must end with `code` says.
fn refused(line: &str, code: i32) -> String {
    let output = supernode(line);
    assert_eq!(output.status.code(), Some(code), "{line}");
    String::from_utf8(output.stderr).expect("text")
}

const SMALL: &str =
    "plan serve --model Qwen/Qwen3-8B --system h100-8 --isl 1024 --osl 128 --ttft 2s --tpot 40ms --chips 4";

fn plan(line: &str) -> PlanFile {
    PlanFile::parse(&check(&format!("{line} --json"), 0)).expect("a plan")
}

fn consistent(one: &DeploymentFile) {
    let predicted = &one.predicted;
    let chips: f64 = one.pools.iter().map(|pool| pool.chips).sum();
    assert!((chips - predicted.chips).abs() < 1e-9);
    assert!((predicted.throughput.value / chips / predicted.throughput_per_chip.value - 1.0).abs() < 1e-9);
    assert!(predicted.ttft.value <= 2.0 + 1e-9 && predicted.tpot.value <= 0.04 + 1e-9, "{predicted:?}");
    for pool in &one.pools {
        let ranks = f64::from(pool.tp * pool.pp * pool.dp * pool.instances);
        assert!((ranks / f64::from(pool.ranks_per_chip) - pool.chips).abs() < 1e-9, "{pool:?}");
        assert!(pool.max_sequences_per_rank >= 1 && pool.token_budget >= 1);
    }
}

#[test]
fn a_plan_keeps_its_limits_and_is_what_it_says() {
    let plan = plan(SMALL);
    for one in plan.top.iter().chain(&plan.front).chain([&plan.best]) {
        consistent(one);
        assert!(one.predicted.chips <= 4.0);
    }
    let density = |one: &DeploymentFile| one.predicted.throughput.value;
    assert!(plan.top.windows(2).all(|pair| density(&pair[0]) >= density(&pair[1]) * 0.999));
    assert_eq!(plan.top[0].pools, plan.best.pools);
    for one in [&plan.aggregated, &plan.disaggregated].into_iter().flatten() {
        let run = one.simulated.as_ref().expect("a simulation");
        assert!(run.deviation.abs() < 0.10, "simulated {run:?} against {:?}", one.predicted);
    }
    let counted: u64 = plan.search.pruned.values().sum();
    assert!(plan.search.covered > 1000 && counted < plan.search.covered, "{:?}", plan.search);
}

#[test]
fn the_same_plan_whatever_the_threads() {
    let run = |threads: &str| {
        let mut command = Command::cargo_bin("supernode").expect("the binary");
        command.env("RAYON_NUM_THREADS", threads).args(SMALL.split_whitespace()).arg("--json");
        command.output().expect("a run").stdout
    };
    assert_eq!(run("1"), run("3"));
}

#[test]
fn text_and_page_tell_of_both_kinds() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("plan.html");
    let text = check(&format!("{SMALL} --no-confirm --html {}", page.display()), 0);
    for word in
        ["aggregated", "disaggregated", "tokens/s per chip", "deployments covered", "Bound by", "wins"]
    {
        assert!(text.contains(word), "no `{word}` in\n{text}");
    }
    assert!(std::fs::read_to_string(page).expect("a page").contains("Throughput against speed"));
}

#[test]
fn a_load_is_served_by_the_fewest_chips() {
    let small = SMALL.replace(" --chips 4", "");
    let needed = |rate: u32| plan(&format!("{small} --no-confirm --objective chips --target-rate {rate}"));
    let (low, high) = (needed(4), needed(60));
    assert!(low.best.predicted.chips <= high.best.predicted.chips);
    assert!((high.best.predicted.request_rate.value / 60.0 - 1.0).abs() < 0.01);
    let users = plan(&format!("{small} --no-confirm --objective cost --target-concurrency 50"));
    assert!(users.best.predicted.cost_per_million_tokens.is_some());
}

#[test]
fn pools_on_two_systems() {
    let mixed = SMALL.replace("--system h100-8", "--system h100-8,h20-8 --mix");
    let plan = plan(&format!("{mixed} --no-confirm --only disagg"));
    assert!(plan.top.iter().any(|one| one.pools[0].system != one.pools[1].system), "{:?}", plan.top);
}

#[test]
fn what_cannot_be_is_refused_with_a_reason() {
    for (line, code, reason) in [
        ("plan serve --model Qwen/Qwen3-8B --system h100-8 --tpot 1us --no-confirm", 1, "per token"),
        ("plan serve --model nobody/nothing --system h100-8", 2, "nobody/nothing"),
        ("plan serve --model Qwen/Qwen3-8B --system nowhere", 2, "nowhere"),
        ("plan serve --model Qwen/Qwen3-8B --system h100-8 --objective chips", 2, "--target-rate"),
        ("plan serve --model Qwen/Qwen3-8B --system h100-8 --objective speed", 2, "throughput, cost"),
        ("plan serve --model Qwen/Qwen3-8B --system h100-8,h20-8 --mix", 2, "--chips"),
        ("plan serve --model Qwen/Qwen3-8B --system h100-8 --prefix-hit 1", 2, "prefix-hit"),
        ("plan serve --model Qwen/Qwen3-8B --system h100-8 --trace /nowhere", 2, "/nowhere"),
        ("plan serve --model Qwen/Qwen3-8B --system h100-8 --target-rate 0", 2, "above 0"),
        ("plan serve --model deepseek-ai/DeepSeek-R1 --system h100-8 --chips 1", 1, "does not fit"),
        ("match --chip h20 --against h100 --vary chip.cores --model Qwen/Qwen3-8B", 2, "chip.cores"),
        ("match --chip h20 --against nobody --model Qwen/Qwen3-8B", 2, "nobody"),
    ] {
        let said = refused(line, code);
        assert!(said.contains(reason), "{line}: {said}");
    }
}

#[test]
fn bandwidth_that_makes_a_chip_match() {
    let line = "match --chip h20 --against h20 --chips 2 --model Qwen/Qwen3-8B --isl 512 --osl 128 --json";
    let answer: serde_json::Value = serde_json::from_str(&check(line, 0)).expect("JSON");
    let now = answer["answer"]["now"].as_f64().expect("a figure");
    let needed = answer["answer"]["value"].as_f64().expect("a figure");
    assert!(needed <= now * 1.0001, "a chip matches itself: {answer}");
}

#[test]
fn no_memory_makes_up_for_missing_compute() {
    let line = "match --chip h20 --against b200 --chips 1 --vary chip.hbm.capacity --model Qwen/Qwen3-8B --isl 4096 --osl 32";
    let text = check(line, 1);
    assert!(text.contains("cannot be matched by chip.hbm.capacity"), "{text}");
}

#[cfg(unix)]
#[test]
fn an_interrupt_prints_the_best_so_far() {
    use std::process::{Command as Process, Stdio};
    let line = "plan serve --model deepseek-ai/DeepSeek-R1 --system cloudmatrix384 --no-confirm";
    let child = Process::new(assert_cmd::cargo::cargo_bin("supernode"))
        .args(line.split_whitespace())
        .env("RAYON_NUM_THREADS", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a run");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let sent = Process::new("kill").args(["-INT", &child.id().to_string()]).status().expect("a signal");
    assert!(sent.success());
    let output = child.wait_with_output().expect("an end");
    let (out, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The search may have ended before the signal, or not have found anything yet.
    match output.status.code() {
        Some(0) => assert!(out.contains("deployments covered"), "{out}"),
        Some(1) => assert!(errors.contains("stopped before anything"), "{errors}"),
        other => panic!("{other:?}: {out}{errors}"),
    }
}
