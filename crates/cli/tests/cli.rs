//! The real binary: exit codes, messages, and that its answers are the same every time.

mod words;

use assert_cmd::Command;
use words::words;

fn supernode(arguments: &[&str]) -> std::process::Output {
    Command::cargo_bin("supernode").expect("the binary is built").args(arguments).output().expect("it runs")
}

/// Runs `arguments`, expects exit code 2 and every one of `words` in the message.
fn refused(arguments: &[&str], words: &[&str]) {
    let output = supernode(arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: `{word}` is not in: {message}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
}

const ESTIMATE: [&str; 5] = ["estimate", "--system", "h100-8", "--model", "meta-llama/Llama-3.1-8B"];

fn estimate_refused(more: &[&str], words: &[&str]) {
    let mut arguments = ESTIMATE.to_vec();
    arguments.extend(more);
    refused(&arguments, words);
}

#[test]
fn flags_that_make_no_sense() {
    estimate_refused(&["--isl", "1024"], &["--osl", "needed"]);
    estimate_refused(&["--osl", "128"], &["--isl", "needed"]);
    estimate_refused(&["--isl", "0", "--osl", "1"], &["--isl", "1 to"]);
    estimate_refused(&["--isl", "-5", "--osl", "1"], &["-5"]);
    estimate_refused(&["--isl", "1e99", "--osl", "1"], &["--isl"]);
    for size in ["--tp", "--pp", "--dp", "--ep", "--moe-tp", "--chips"] {
        estimate_refused(&["--isl", "8", "--osl", "8", size, "0"], &[size, "allowed is"]);
    }
    estimate_refused(&["--isl", "8", "--osl", "8", "--kv-len", "8"], &["--kv-len", "no effect", "mode agg"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--tp", "64"], &["--tp", "heads"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--pp", "1000"], &["--pp", "layers"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--tp", "8", "--chips", "4"], &["--chips", "8 ranks"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--length-spread", "2"], &["--length-spread", "0 to 1"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--prefix-hit", "1"], &["--prefix-hit"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--spec-accept", "7"], &["--spec-accept", "0 to 1"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--spec-tokens", "99"], &["--spec-tokens"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--weight-dtype", "fp7"], &["fp7", "bf16"]);
    estimate_refused(&["--mode", "sideways"], &["sideways", "disagg"]);
    estimate_refused(&["--mode", "decode", "--kv-len", "8"], &["--batch-per-rank"]);
    estimate_refused(&["--mode", "decode", "--batch-per-rank", "8"], &["--kv-len"]);
    estimate_refused(&["--mode", "prefill"], &["--isl"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--engine", "vlm"], &["vlm"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--chip", "h1000"], &["h1000"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--region", "atlantis"], &["atlantis"]);
    estimate_refused(
        &["--isl", "8", "--osl", "8", "--set", "chip.hbm.bandwidht=4TB/s"],
        &["chip.hbm.bandwidth"],
    );
    estimate_refused(
        &["--isl", "8", "--osl", "8", "--set", "chip.hbm.bandwidth=4 parsecs"],
        &["parsecs", "TB/s"],
    );
    estimate_refused(&["--isl", "8", "--osl", "8", "--set", "nonsense"], &["nonsense"]);
    estimate_refused(&["--isl", "8", "--osl", "8", "--catalog", "no/such/folder"], &["no/such/folder"]);
}

#[test]
fn names_that_do_not_exist() {
    refused(&["estimate", "--system", "h100-9", "--model", "x", "--isl", "1", "--osl", "1"], &["h100-9"]);
    refused(
        &["estimate", "--system", "h100-8", "--model", "nobody/nothing", "--isl", "1", "--osl", "1"],
        &["nobody/nothing"],
    );
    refused(&["compare", "cloudmatrix385"], &["cloudmatrix385"]);
    refused(&["compare", "--model", "nobody/nothing"], &["nobody/nothing"]);
    refused(&["compare", "--tpot", "50"], &["50", "ms"]);
    refused(&["compare", "--isl", "0"], &["--isl"]);
    refused(&["model", "show", "nobody/nothing"], &["nobody/nothing"]);
    refused(&["catalog", "show", "nothing"], &["nothing", "catalog list"]);
    refused(&["catalog", "list", "unicorns"], &["unicorns", "chips"]);
    refused(&["export-rules", "nothing"], &["nothing"]);
    refused(&["validate", "--data", "no-such-file.csv"], &["no-such-file.csv"]);
    refused(&["validate"], &["--data"]);
    refused(&["frobnicate"], &["frobnicate"]);
}

/// A CSV file with `text`, and what `validate` says of it.
fn table_refused(text: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, text).expect("it can be written");
    refused(&["validate", "--data", &file.display().to_string()], words);
}

#[test]
fn tables_that_are_malformed() {
    table_refused("", &["rows.csv"]);
    table_refused("a,b\n1,2\n", &["header"]);
    table_refused("id,system,model,mode\nr1,h100-8,m,upside-down\n", &["line 2", "mode", "upside-down"]);
    table_refused("id,system,model,mode,isl\nr1,h100-8,m,agg,many\n", &["line 2", "isl", "many"]);
    table_refused("id,system,model,mode,isl\nr1,h100-8,m,agg,-4\n", &["line 2", "isl", "-4"]);
    table_refused("id,system,model,mode,tpot_ms\nr1,h100-8,m,agg,0\n", &["line 2", "tpot_ms"]);
    table_refused("id,system,model,mode,weight_dtype\nr1,h100-8,m,agg,fp7\n", &["line 2", "weight_dtype"]);
    table_refused("id,system,model,mode,prefix_hit\nr1,h100-8,m,agg,7\n", &["line 2", "prefix_hit"]);
    table_refused("id,system,model,mode\nr1,h100-8\n", &["rows.csv", "line: 2"]);
}

#[test]
fn a_row_that_cannot_be_predicted_counts_against_coverage() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("rows.csv");
    std::fs::write(&file, "id,system,model,mode,isl,osl,tpot_ms\nr1,h100-8,nobody/nothing,agg,8,8,1\n")
        .expect("written");
    let output = supernode(&["validate", "--json", "--data", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["rows"], 1);
    assert_eq!(json["coverage"], 0.0);
    let (reason, rows) = json["failures"].as_object().expect("reasons").iter().next().expect("one reason");
    assert!(reason.contains("nobody/nothing") && rows == 1);
}

#[test]
fn a_model_that_does_not_fit_is_an_answer() {
    let output = supernode(&[
        "estimate",
        "--system",
        "h100-8",
        "--model",
        "deepseek-ai/DeepSeek-R1",
        "--tp",
        "1",
        "--isl",
        "8",
        "--osl",
        "8",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("does not fit") && message.contains("--tp"), "{message}");
}

#[test]
fn a_better_chip_is_never_slower_and_an_override_changes_the_answer() {
    let tpot = |set: &str| {
        let output = supernode(&[
            "estimate",
            "--system",
            "h100-8",
            "--model",
            "meta-llama/Llama-3.1-8B",
            "--tp",
            "1",
            "--isl",
            "1024",
            "--osl",
            "256",
            "--concurrency",
            "16",
            "--json",
            "--set",
            set,
        ]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        json["tpot"]["value"].as_f64().expect("a time")
    };
    assert!(tpot("chip.hbm.bandwidth=6 TB/s") < tpot("chip.hbm.bandwidth=3 TB/s"));
}

#[test]
fn same_input_same_bytes() {
    let run = || supernode(&["compare", "--json"]).stdout;
    let first = run();
    assert!(!first.is_empty());
    assert_eq!(first, run());
}

#[test]
fn compare_writes_a_page_that_needs_no_network() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("page.html");
    let output = supernode(&[
        "compare",
        "h100-8",
        "--model",
        "meta-llama/Llama-3.1-8B",
        "--html",
        &file.display().to_string(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let page = std::fs::read_to_string(&file).expect("a page");
    assert!(page.contains("<svg") && page.contains("h100-8"));
    assert!(!page.contains("<script src="), "the page loads a script");
    assert!(!page.contains("<link"), "the page loads a style");
}

#[test]
fn the_catalog_is_in_order_and_shows_sources() {
    assert_eq!(supernode(&["catalog", "check"]).status.code(), Some(0));
    let sheet = String::from_utf8(supernode(&["catalog", "show", "ascend-910c"]).stdout).expect("text");
    assert!(sheet.contains("official") && sheet.contains("arXiv"), "{sheet}");
    let rules = String::from_utf8(supernode(&["export-rules", "h20"]).stdout).expect("text");
    assert!(rules.contains("2023") && rules.contains("not advice"), "{rules}");
    let on = ["export-rules", "a100-80", "--on", "2022-12-01", "--seller", "us", "--country", "cn"];
    let rules = String::from_utf8(supernode(&on).stdout).expect("text");
    assert!(rules.contains("2022-10-07 to 2023-11-16") && !rules.contains("3A090.a"), "{rules}");
    refused(&["export-rules", "h20", "--on", "soon"], &["--on", "soon", "2026-06-30"]);
    refused(&["export-rules", "h20", "--country", "China"], &["--country", "two letters"]);
    let by = String::from_utf8(supernode(&["catalog", "list", "chips", "--available-by", "2020"]).stdout);
    let by = by.expect("text");
    assert!(by.contains("v100-32") && !by.contains("h100"), "{by}");
}

/// The README's table is what `compare` prints on a terminal of 80 columns.
#[test]
fn the_readme_shows_what_compare_prints() {
    let readme = include_str!("../../../README.md");
    let shown =
        readme.split("```text\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("a table");
    let output = supernode(&["compare", "--width", "80"]).stdout;
    let printed = String::from_utf8(output).expect("text");
    assert_eq!(
        shown.trim_end(),
        printed.trim_end(),
        "copy the output of `supernode compare --width 80` into README.md"
    );
}

/// Every command of the README's shell blocks runs; those that compile the project are what runs this test.
#[test]
fn the_readme_runs() {
    let readme = include_str!("../../../README.md");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut commands = 0;
    let mut inside = false;
    for line in readme.lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
        } else if let Some(command) = line.strip_prefix("supernode ").filter(|_| inside) {
            // A server does not end; the crate `live` has tests of its own.
            if command.starts_with("up ") {
                continue;
            }
            // Where the output goes is the shell's business.
            let arguments: Vec<String> =
                words(command, '"').into_iter().take_while(|word| word != ">").collect();
            let mut program = Command::cargo_bin("supernode").expect("the binary is built");
            let output = program.args(&arguments).current_dir(folder.path()).output().expect("it runs");
            assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            commands += 1;
        }
    }
    assert!(commands >= 4, "the README shows {commands} commands");
}
