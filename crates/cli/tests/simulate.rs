//! `supernode simulate` on the real binary: the example scenarios, what they are there to show, inputs and outputs.

use assert_cmd::Command;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("supernode").expect("the binary is built");
    command.current_dir(root()).arg("simulate").args(arguments);
    command
}

fn run(arguments: &[&str]) -> String {
    let output = command(arguments).output().expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).expect("text")
}

fn json(arguments: &[&str]) -> Value {
    let text = run(&[arguments, &["--json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// Runs `arguments`, expects exit code 2 and every one of `words` in the message.
fn refused(arguments: &[&str], stdin: &[u8], words: &[&str]) {
    let output = command(arguments).write_stdin(stdin).output().expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{arguments:?}: `{word}` is not in: {message}");
    }
    assert!(output.stdout.is_empty(), "{arguments:?} printed a result");
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("{pointer} in {value:#}"))
}

/// Runs an example and holds its books: every request ended once, and latencies are ordered.
fn example(name: &str) -> Value {
    let result = json(&[&format!("examples/scenarios/{name}.toml")]);
    let requests = &result["requests"];
    let count = |key: &str| requests[key].as_u64().unwrap_or(0);
    let rejected: u64 =
        requests["rejected"].as_object().expect("reasons").values().filter_map(Value::as_u64).sum();
    let ended = count("completed") + count("warm_up") + count("cancelled") + rejected;
    assert_eq!(count("arrived"), ended, "{name}: {requests:#}");
    for latency in ["ttft", "tpot", "itl", "e2e"] {
        let at = |q: &str| number(&result, &format!("/latency/{latency}/{q}"));
        assert!(
            0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("max") * 1.001,
            "{name} {latency}"
        );
    }
    assert!(number(&result, "/energy/value") > 0.0 && number(&result, "/output_throughput/value") > 0.0);
    for pool in result["pools"].as_array().expect("pools") {
        for key in ["compute", "hbm", "host"] {
            let share = number(pool, &format!("/utilisation_while_busy/{key}"));
            assert!((0.0..=1.0).contains(&share), "{name}: {key} {share}");
        }
    }
    result
}

#[test]
fn cloudmatrix384_serves_from_its_context_cache() {
    let result = example("cloudmatrix384-deepseek-r1");
    let tiers = result["tiers"].as_object().expect("tiers");
    assert!(tiers.values().any(|tier| number(tier, "/fetched/value") > 0.0), "{tiers:#?}");
    assert!(number(&result, "/kv_moved/value") > 0.0);
    assert_eq!(number(&result, "/chips"), 256.0);
}

#[test]
fn chat_on_a_node_hits_its_prefix_cache() {
    let result = example("h100-llama-chat");
    assert!(number(&result, "/prefix_hit_rate/device") > 0.3);
}

#[test]
fn mirrored_deployments_get_the_same_requests() {
    let result = example("h20-against-910c");
    let deployments = result["deployments"].as_array().expect("deployments");
    let told = |key: &str| -> Vec<u64> { deployments.iter().filter_map(|one| one[key].as_u64()).collect() };
    assert_eq!(told("completed"), [1200, 1200]);
    assert_eq!(told("output_tokens")[0], told("output_tokens")[1]);
}

#[test]
fn a_failure_storm_loses_work_but_no_request() {
    let result = example("failure-storm");
    assert!(number(&result, "/failures") >= 3.0 && number(&result, "/restarts") > 0.0);
    assert!(number(&result, "/tokens/recomputed") > 0.0);
}

#[test]
fn tenants_are_held_to_their_terms() {
    let result = example("tenants");
    assert!(number(&result, "/requests/rejected/rate_limited") > 0.0);
    let limited = |tenant: &str| number(&result, &format!("/tenants/{tenant}/rejected"));
    assert!(limited("3") > 0.0, "{:#}", result["tenants"]);
}

#[test]
fn elastic_deployments_grow() {
    let result = example("elastic-day");
    let pools = result["pools"].as_array().expect("pools");
    let instances = |deployment: &str| -> u64 {
        let own = pools.iter().filter(|pool| pool["deployment"] == deployment);
        own.filter_map(|pool| pool["instances"].as_u64()).sum()
    };
    assert!(instances("reactive") > 1 && instances("scheduled") > 1, "{pools:#?}");
}

#[test]
fn pools_of_different_chips_hand_over() {
    let result = example("prefill-and-decode-chips");
    let chips: Vec<&str> =
        result["pools"].as_array().expect("pools").iter().filter_map(|pool| pool["chip"].as_str()).collect();
    assert_eq!(chips, ["h800", "h20"]);
    assert!(number(&result, "/kv_moved/value") > 0.0);
}

const SMALL: [&str; 8] =
    ["--system", "h100-8", "--model", "meta-llama/Llama-3.1-8B", "--tp", "1", "--engine", "vllm"];

fn small<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&SMALL[..], more].concat()
}

const POISSON: [&str; 10] =
    ["--requests", "300", "--arrival", "poisson", "--rate", "6", "--isl", "500", "--osl", "100"];

#[test]
fn the_same_bytes_every_time_and_other_bytes_for_another_seed() {
    let arguments = small(&POISSON);
    assert_eq!(run(&arguments), run(&arguments));
    assert_ne!(run(&arguments), run(&[&arguments[..], &["--seed", "9"]].concat()));
}

#[test]
fn every_output_is_written_and_the_benchmark_file_replays() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |file: &str| folder.path().join(file).display().to_string();
    let (out, timeline) = (at("out"), at("timeline.json"));
    let arguments = small(&POISSON);
    let outputs = ["--out", &out, "--records", "parquet", "--perfetto", &timeline];
    let shown = json(&[&arguments[..], &outputs].concat());
    let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).expect(file);
    let summary: Value = serde_json::from_str(&read("out/summary.json")).expect("JSON");
    assert_eq!(summary, shown);
    let events: Value = serde_json::from_str(&read("timeline.json")).expect("JSON");
    let events = events["traceEvents"].as_array().expect("events");
    for phase in ["X", "C", "M", "b", "e"] {
        assert!(events.iter().any(|event| event["ph"] == phase), "no event of phase {phase}");
    }
    let page = read("out/report.html");
    for chart in ["share of requests", "Requests waiting and running", "KV in use", "Power of busy steps"] {
        assert!(page.contains(chart), "no chart of {chart}");
    }
    let file = std::fs::File::open(folder.path().join("out/requests.parquet")).expect("records");
    let mut rows = 0;
    report::read_parquet(file, |_| {
        rows += 1;
        Ok(())
    })
    .expect("Parquet");
    assert_eq!(rows, 300);
    let replayed = json(&small(&["--trace", &at("out/vllm.json")]));
    assert_eq!(replayed["tokens"]["output"], shown["tokens"]["output"]);
    run(&[&arguments[..], &["--out", &out, "--records", "jsonl"]].concat());
    assert_eq!(read("out/requests.jsonl").lines().count(), 300);
}

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).expect("compresses");
    encoder.finish().expect("compresses")
}

const TRACE: &str = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,374,44\n1.5,396,109\n1.5,90,10\n";

#[test]
fn traces_come_from_standard_input_compressed_or_not() {
    for bytes in [TRACE.as_bytes().to_vec(), gzip(TRACE)] {
        let output =
            command(&small(&["--trace", "-", "--json"])).write_stdin(bytes).output().expect("it runs");
        assert_eq!(output.status.code(), Some(0));
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(result["requests"]["completed"], 3);
        let notes = String::from_utf8_lossy(&output.stderr);
        assert!(notes.contains("<stdin>:4") && notes.contains("line before"), "{notes}");
    }
}

#[test]
fn malformed_traces_are_named_by_line() {
    let stdin = small(&["--trace", "-"]);
    refused(&stdin, format!("{TRACE}2.0,-5,3\n").as_bytes(), &["<stdin>:5", "negative"]);
    refused(&stdin, format!("{TRACE}2.0,5\n").as_bytes(), &["<stdin>:5", "num_decode_tokens", "missing"]);
    refused(&stdin, format!("{TRACE}2.0,5,99999999999\n").as_bytes(), &["<stdin>:5", "99999999999"]);
    refused(&stdin, format!("{TRACE}1.0,5,3\n").as_bytes(), &["<stdin>:5", "before that of line 4"]);
    let whole = gzip(TRACE);
    refused(&stdin, &whole[..whole.len() - 12], &["<stdin>", "damaged or cut off"]);
    refused(&stdin, b"", &["empty"]);
    refused(&small(&["--trace", "/no/such/file"]), b"", &["/no/such/file"]);
}

#[test]
fn requests_that_cannot_fit_are_rejected_and_the_run_goes_on() {
    let trace = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,900000,4\n1.0,396,109\n";
    let output = command(&small(&["--trace", "-", "--json"])).write_stdin(trace).output().expect("it runs");
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["requests"]["rejected"]["longer_than_context"], 1);
    assert_eq!(result["requests"]["completed"], 1);
    let scenario = "[[deployment]]\nmodel = \"meta-llama/Llama-3.1-8B\"\nsystem = \"h100-8\"\n\
        [[deployment.pool]]\ntp = 1\nkv_blocks = 30\n[workload]\nrequests = 50\nrate = \"5 /s\"\nisl = \"500-3000\"\nosl = 20\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.toml");
    std::fs::write(&path, scenario).expect("writes");
    let result = json(&[&path.display().to_string()]);
    assert!(number(&result, "/requests/rejected/longer_than_kv") > 0.0);
    assert!(number(&result, "/requests/completed") > 0.0);
}

#[test]
fn wrong_scenarios_say_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("s.toml");
    let file = path.display().to_string();
    let good = "[[deployment]]\nmodel = \"meta-llama/Llama-3.1-8B\"\nsystem = \"h100-8\"\n[[deployment.pool]]\ntp = 1\n";
    let load = "[workload]\nrequests = 5\nrate = \"5 /s\"\nisl = 10\nosl = 2\n";
    let cases = [
        (format!("{good}router = \"best\"\n{load}"), "s.toml:6", "least-tokens"),
        (format!("{good}{load}split = \"both\"\n"), "s.toml:11", "one deployment"),
        (format!("{good}[[deployment.tier]]\nkind = \"ssd\"\n{load}"), "s.toml:6", "capacity"),
        (
            format!("{good}{load}[[fault]]\nat = \"1 s\"\nkind = \"chip\"\ninstance = 4\n"),
            "s.toml:14",
            "starts with 1",
        ),
        (format!("{good}{load}[failures]\nscale = 10\n"), "s.toml:11", "horizon"),
        (format!("{good}{load}colour = 3\n"), "colour", "unknown field"),
        (load.to_owned(), "deployment", "at least one"),
    ];
    for (text, place, word) in cases {
        std::fs::write(&path, text).expect("writes");
        refused(&[&file], b"", &[place, word]);
    }
}

/// Commands and scenarios of the documentation do what it says.
#[test]
fn the_documentation_runs() {
    let text = std::fs::read_to_string(root().join("docs/simulate.md")).expect("the documentation");
    let blocks = |kind: &str| -> Vec<String> {
        let fence = format!("```{kind}\n");
        let parts = text.split(fence.as_str()).skip(1);
        parts.filter_map(|part| part.split("```").next()).map(str::to_owned).collect()
    };
    let commands = blocks("sh");
    assert!(!commands.is_empty());
    for line in commands.iter().flat_map(|block| block.lines()) {
        let arguments: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(arguments[..2], ["supernode", "simulate"], "{line}");
        run(&arguments[2..]);
    }
    let folder = tempfile::tempdir().expect("a folder");
    for (index, scenario) in blocks("toml").iter().enumerate() {
        let path = folder.path().join(format!("{index}.toml"));
        std::fs::write(&path, scenario).expect("writes");
        run(&[&path.display().to_string()]);
    }
}

#[test]
fn law_8_where_nothing_completes_no_figure_is_shown() {
    let job = ["--system", "h100-8", "--model", "meta-llama/Llama-3.1-8B", "--requests", "5", "--rate", "1"];
    let run = |more: &[&str]| {
        let arguments = [&job[..], &["--isl", "4000000", "--osl", "8"], more].concat();
        command(&arguments).output().expect("it runs")
    };
    let text = run(&[]);
    assert_eq!(text.status.code(), Some(1));
    let shown = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(shown.contains("none") && !shown.contains(" 0.00"), "{shown}");
    let json: Value = serde_json::from_slice(&run(&["--json"]).stdout).expect("JSON");
    let (mean, rate) = (&json["latency"]["ttft"]["mean"], &json["output_throughput"]["value"]);
    assert!(mean.is_null() && rate.is_null(), "{json:#}");
}
