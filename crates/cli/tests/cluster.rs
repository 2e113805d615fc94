//! `cluster` on the real binary: every example, every flag, and refusals.

use assert_cmd::Command;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn supernode(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::cargo_bin("supernode").expect("the binary is built");
    command.current_dir(ROOT).arg("cluster").args(arguments).output().expect("it runs")
}

#[track_caller]
fn answer(arguments: &[&str]) -> String {
    let output = supernode(arguments);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {message}");
    String::from_utf8(output.stdout).expect("text")
}

#[track_caller]
fn result(arguments: &[&str]) -> serde_json::Value {
    let mut arguments = arguments.to_vec();
    arguments.push("--json");
    serde_json::from_str(&answer(&arguments)).expect("JSON")
}

/// Writes a file and runs it; it must be refused with these words.
#[track_caller]
fn refused(text: &str, words: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).expect("written");
    let output = supernode(&[&path.display().to_string()]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains(words), "`{words}` is not in: {message}");
}

/// The service gives chips to training at night and gets them back in the morning; the SLO is kept, and more is trained than
/// beside a service sized for its peak.
#[test]
fn a_day_and_a_night() {
    let file = "examples/cluster/day-and-night.toml";
    let found = result(&[file, "--what-if", "job.chat.serve.min=49"]);
    let (elastic, fixed) = (&found["runs"][0], &found["runs"][1]);
    for run in [elastic, fixed] {
        let service = &run["services"][0];
        let within = service["within_slo"].as_f64().expect("requests")
            / service["requests"].as_f64().expect("requests");
        assert!(within > 0.995, "{within}");
    }
    let figure = |run: &serde_json::Value, key: &str| run[key]["value"].as_f64().expect("a figure");
    let trained = |run: &serde_json::Value| {
        let jobs = run["jobs"].as_array().expect("jobs");
        jobs.iter().map(|job| job["productive"]["value"].as_f64().expect("a figure")).sum::<f64>()
    };
    assert!(trained(elastic) > 1.2 * trained(fixed), "{} {}", trained(elastic), trained(fixed));
    assert!(elastic["summary"]["preemptions"].as_u64() > Some(0), "mornings take chips back");
    // Per unit of training the day is cheaper in money and joules, all chips counted.
    for key in ["money", "energy"] {
        assert!(figure(elastic, key) / trained(elastic) < figure(fixed, key) / trained(fixed), "{key}");
    }
}

#[test]
fn tenants_under_four_policies() {
    let text = answer(&["examples/cluster/tenants.toml"]);
    for word in ["fifo", "multifactor", "drf", "Tenants under", "fragmentation", "speech"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let found = result(&["examples/cluster/tenants.toml", "--policy", "drf"]);
    assert_eq!(found["schema"], "supernode.cluster/1");
    let jobs = found["runs"][0]["jobs"].as_array().expect("jobs");
    assert!(jobs.iter().all(|job| job["ending"] == "finished"));
}

#[test]
fn failures_and_topology() {
    let found = result(&["examples/cluster/failures.toml"]);
    for run in found["runs"].as_array().expect("runs") {
        assert!(run["node_failures"].as_u64() > Some(3) && run["closed"]["value"].as_f64() > Some(0.0));
        assert!(run["summary"]["goodput"].as_f64() > Some(0.5));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let text = answer(&[
        "examples/cluster/topology.toml",
        "--policy",
        "easy",
        "--why",
        "4 h",
        "--out",
        &path("out"),
        "--perfetto",
        &path("p.json"),
        "--html",
        &path("p.html"),
    ]);
    assert!(text.contains("waits") || text.contains("Why jobs waited"), "{text}");
    let trace: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path("p.json")).expect("a trace")).expect("JSON");
    assert!(trace["traceEvents"].as_array().is_some_and(|events| events.len() > 100));
    for name in ["p.html", "out/result.json", "out/report.txt", "out/report.html", "out/1-easy.perfetto.json"]
    {
        assert!(Path::new(&path(name)).exists(), "{name}");
    }
}

#[test]
fn traces_come_from_flags_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("philly.csv");
    let rows: String = (0..200)
        .map(|job| {
            format!(
                "2017-10-09 0{}:{:02}:00,{},{},0,vc{}\n",
                job / 60,
                job % 60,
                600 + job * 7,
                1 << (job % 5),
                job % 3
            )
        })
        .collect();
    std::fs::write(&path, format!("timestamp,duration,num_gpus,gpu_time,cluster\n{rows}")).expect("written");
    let path = path.display().to_string();
    let text = answer(&["--trace", &path, "--system", "cloudmatrix384", "--chips", "48", "--policy", "all"]);
    assert_eq!(text.matches("200/200").count(), 11, "every policy finishes all: {text}");
    assert_eq!(
        text,
        answer(&["--trace", &path, "--system", "cloudmatrix384", "--chips", "48", "--policy", "all"])
    );
}

#[test]
fn bad_input_is_named() {
    refused("[cluster]\nchips = 0\n", "c.toml:2: cluster.chips: a cluster has at least one chip");
    refused(
        "[cluster]\nchips = 8\n[[job]]\nchips = 16\nduration = \"1 h\"\n",
        "c.toml:4: job.chips: it asks for 16 chips, the cluster has 8",
    );
    refused(
        "[cluster]\nchips = 8\n[[job]]\nchips = 0\nduration = \"1 h\"\n",
        "c.toml:4: job.chips: a job needs at least one chip",
    );
    refused(
        "[cluster]\nchips = 8\n[[maintenance]]\nnodes = \"0-7\"\nat = \"1 h\"\nlength = \"1 h\"\n",
        "c.toml:4: maintenance.nodes: there is no node `0-7`; the cluster has nodes 0-0",
    );
    refused(
        "[cluster]\nchips = 8\n[[priority]]\nname = \"a\"\nabove = [\"b\"]\n[[priority]]\nname = \"b\"\nabove = [\"a\"]\n[[job]]\n\
         chips = 1\nduration = \"1 h\"\n",
        "c.toml:5: priority.above: the priorities a, b are above each other in a cycle",
    );
    refused(
        "[cluster]\nchips = 8\n[[tenant]]\nname = \"a\"\nquota = 6\n[[tenant]]\nname = \"b\"\nquota = 4\n",
        "c.toml:8: tenant.quota: the quotas up to here add up to 10 chips and overlap: the cluster has 8",
    );
    refused("[cluster]\nchip = 8\n", "unknown field");
    refused("[cluster]\nchips = 8\n[[job]]\nchips = 1\nduration = 60\n", "a number with a unit in quotes");
    refused("[cluster]\nchips = 8\n", "there are no jobs");
    refused(
        "[cluster]\nchips = 8\n[[job]]\nchips = 1\nduration = \"1 h\"\nrequire = \"rack\"\n",
        "c.toml:6: job.require: there is no level `rack`; there are cluster",
    );
    refused(
        "policy = \"best\"\n[cluster]\nchips = 8\n[[job]]\nchips = 1\nduration = \"1 h\"\n",
        "there is no policy `best`; there are fifo",
    );
    refused(
        "[cluster]\nsystem = \"h100-8\"\n[[job]]\nkind = \"training\"\nchips = 8\nsteps = 10\n[job.train]\nshape = \"layers=x\"\n",
        "job.train",
    );
}
