//! Sweeps by the real binary: killed, resumed, refused.

use assert_cmd::cargo::cargo_bin;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

fn supernode(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin("supernode"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

fn output(folder: &Path, arguments: &[&str]) -> Output {
    supernode(folder, arguments).output().expect("it runs")
}

#[track_caller]
fn stdout(folder: &Path, arguments: &[&str]) -> String {
    let output = output(folder, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Different models and sizes, so that every cell takes its while; some do not fit.
const SPEC: &str = "
kind = \"estimate\"
[base]
osl = 256
[vary]
system = [\"h100-8\", \"atlas-800i-a2\"]
model = [\"meta-llama/Llama-3.1-8B\", \"meta-llama/Llama-3.1-70B\", \"Qwen/Qwen3-32B\"]
tp = [1, 2, 4, 8]
isl = [128, 256, 512, 1024, 2048]
concurrency = [1, 4, 16]
";

/// Rows that are there, by cell, from parts and journals; a cell in two places is a failure.
fn kept(folder: &Path) -> BTreeSet<u64> {
    let mut cells = BTreeSet::new();
    let (mut parts, mut journals) = (BTreeSet::new(), Vec::new());
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if name == "rows.parquet" {
            return read_cells(&path);
        } else if name.ends_with(".parquet") {
            parts.extend(read_cells(&path));
        } else if name.ends_with(".jsonl") {
            journals.push(path);
        }
    }
    for path in journals {
        let text = std::fs::read_to_string(path).expect("reads");
        // What stands after the last end of line is half a row.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let lines: Vec<u64> = whole.lines().map(cell_of).collect();
        // A journal whose part has just appeared is a copy.
        if !lines.is_empty() && lines.iter().all(|cell| parts.contains(cell)) {
            continue;
        }
        for cell in lines {
            assert!(cells.insert(cell) && !parts.contains(&cell), "cell {cell} was evaluated twice");
        }
    }
    cells.extend(parts);
    cells
}

fn cell_of(line: &str) -> u64 {
    let row: serde_json::Value = serde_json::from_str(line).expect("a whole row");
    row["cell"].as_u64().expect("a cell")
}

fn read_cells(path: &Path) -> BTreeSet<u64> {
    let mut cells = BTreeSet::new();
    let file = std::fs::File::open(path).expect("opens");
    report::read_parquet(file, |row| {
        let report::Cell::Whole(cell) = row[0] else { panic!("no cell in {row:?}") };
        assert!(cells.insert(cell as u64), "cell {cell} is there twice");
        Ok(())
    })
    .expect("a whole file");
    cells
}

/// Numbers that look random and are the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, most: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        most.mul_f64((self.0 >> 33) as f64 / f64::from(1_u32 << 31))
    }
}

#[test]
fn a_sweep_killed_fifty_times_loses_nothing_and_repeats_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let spec = folder.path().join("spec.toml");
    std::fs::write(&spec, SPEC).expect("writes");
    let started = Instant::now();
    let summary = stdout(folder.path(), &["sweep", "spec.toml", "--out", "whole"]);
    let whole = started.elapsed();
    let cells = 2 * 3 * 4 * 5 * 3;
    assert!(summary.contains(&format!("{cells} cells")) && summary.contains("refused"), "{summary}");
    let started = Instant::now();
    stdout(folder.path(), &["sweep", "spec.toml", "--dry-run"]);
    let startup = started.elapsed();
    // Each run gets about a fiftieth of the work done before it is killed, now before it begins and now later.
    let most = startup + (whole.saturating_sub(startup) / 50).mul_f64(1.5);
    let killed = folder.path().join("killed");
    let (mut before, mut random, mut kills) = (BTreeSet::new(), Random(7), 0);
    while kills < 50 {
        let mut child = supernode(folder.path(), &["sweep", "spec.toml", "--out", "killed"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        std::thread::sleep(random.below(most));
        child.kill().expect("it can be killed");
        let status = child.wait().expect("it ends");
        if status.code().is_none() {
            kills += 1;
        } else {
            assert_eq!(status.code(), Some(0), "a sweep that was killed before goes on");
            assert_eq!(kept(&killed).len(), cells);
            std::fs::remove_dir_all(&killed).expect("removes");
            before.clear();
            continue;
        }
        let now = kept(&killed);
        assert!(before.is_subset(&now), "rows were lost after {kills} kills");
        before = now;
    }
    assert_eq!(
        stdout(folder.path(), &["sweep", "spec.toml", "--out", "killed"]),
        summary.replace("whole", "killed")
    );
    assert_eq!(kept(&killed).len(), cells);
    let rows = |name: &str| std::fs::read(folder.path().join(name).join("rows.parquet")).expect("reads");
    assert!(rows("killed") == rows("whole"), "the rows of a sweep that was killed differ");
}

#[test]
fn rows_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("spec.toml"), SPEC.replace("[1, 4, 16]", "[16]")).expect("writes");
    let rows = |threads: &str| {
        let mut command = supernode(folder.path(), &["sweep", "spec.toml", "--out", threads]);
        let status = command.env("RAYON_NUM_THREADS", threads).stdout(Stdio::null()).status();
        assert!(status.expect("it runs").success());
        std::fs::read(folder.path().join(threads).join("rows.parquet")).expect("reads")
    };
    assert!(rows("1") == rows("4"));
}

/// The examples of the documentation: the specification, then each command.
#[test]
fn the_examples_of_the_documentation_run() {
    let text = include_str!("../../../docs/sweep.md");
    let block = |language: &str, from: &str| -> Vec<String> {
        let fence = format!("```{language}\n");
        from.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap_or("").to_owned()).collect()
    };
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("spec.toml"), &block("toml", text)[0]).expect("writes");
    let bin = cargo_bin("supernode");
    let path = format!(
        "{}:{}",
        bin.parent().expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    for commands in block("sh", text) {
        let output = Command::new("sh")
            .args(["-e", "-c", &commands])
            .env("PATH", &path)
            .current_dir(folder.path())
            .output()
            .expect("a shell");
        assert!(output.status.success(), "{commands}{}", String::from_utf8_lossy(&output.stderr));
        let out = String::from_utf8_lossy(&output.stdout);
        assert!(out.contains("54 cells") || out.lines().count() == 3, "{commands}{out}");
    }
    assert_eq!(read_cells(&folder.path().join("rows/rows.parquet")).len(), 54);
}

const SIMULATE: &str = "
kind = \"simulate\"
scenario = \"scenario.toml\"
[vary]
seed = [1, 2]
workload.rate = [\"1 /s\", \"4 /s\"]
\"deployment.0.pool.0.tp\" = [1, 2, 64]
";

const SCENARIO: &str = "
[workload]
requests = 20
isl = 128
osl = 16
[[deployment]]
model = \"meta-llama/Llama-3.1-8B\"
system = \"h100-8\"
[[deployment.pool]]
";

const TRAIN: &str = "
kind = \"train\"
design = \"random\"
samples = 6
[base]
model = \"meta-llama/Llama-3.1-8B\"
system = \"h100-8\"
chips = 64
global-batch = 512
[vary]
tp = [1, 2, 4]
micro_batch = [1, 2]
zero = [1, 3]
";

#[test]
fn scenarios_and_training_jobs_are_swept_too() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("simulate.toml", SIMULATE), ("scenario.toml", SCENARIO), ("train.toml", TRAIN)] {
        std::fs::write(folder.path().join(name), text).expect("writes");
    }
    // There are not 64 heads: these cells are rows with a reason.
    let found = stdout(folder.path(), &["sweep", "simulate.toml", "--out", "a"]);
    assert!(found.starts_with("12 cells: 8 ok, 4 invalid\n"), "{found}");
    let found = stdout(folder.path(), &["sweep", "train.toml", "--out", "b"]);
    assert!(found.starts_with("6 cells: ") && !found.contains("invalid"), "{found}");
}

#[test]
fn a_row_is_the_same_by_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("spec.toml"), SPEC.replace("[1, 4, 16]", "[4]")).expect("writes");
    let units = stdout(folder.path(), &["sweep", "spec.toml", "--units"]);
    assert_eq!(units.lines().count(), 120);
    let some: String = units.lines().step_by(17).map(|line| format!("{line}\n")).collect();
    std::fs::write(folder.path().join("units.jsonl"), some).expect("writes");
    let rows = stdout(folder.path(), &["sweep", "--unit", "units.jsonl"]);
    assert_eq!(rows.lines().map(cell_of).collect::<Vec<_>>(), [0, 17, 34, 51, 68, 85, 102, 119]);
    stdout(folder.path(), &["sweep", "spec.toml", "--out", "out"]);
    let mut whole = Vec::new();
    let file = std::fs::File::open(folder.path().join("out/rows.parquet")).expect("opens");
    report::read_parquet(file, |row| {
        whole.push(row);
        Ok(())
    })
    .expect("reads");
    for line in rows.lines() {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row");
        let same = &whole[cell_of(line) as usize];
        assert_eq!(same[1], report::Cell::Text(row["status"].as_str().expect("a status").to_owned()));
        let rate = row["tokens_per_s"].as_f64().map_or(report::Cell::Absent, report::Cell::Real);
        assert!(same.contains(&rate), "{line}");
    }
}

#[track_caller]
fn refused(folder: &Path, arguments: &[&str], words: &[&str]) {
    let output = output(folder, arguments);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(words.iter().all(|word| message.contains(word)), "{arguments:?}: {message}");
    assert!(output.stdout.is_empty());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    std::fs::write(folder.join("spec.toml"), SPEC.replace("isl", "ils")).expect("writes");
    std::fs::write(folder.join("units.jsonl"), "{\"schema\": \"supernode.sweep.unit/1\"}\n").expect("writes");
    std::fs::write(folder.join("good.toml"), SPEC).expect("writes");
    refused(folder, &["sweep", "spec.toml", "--out", "x"], &["spec.toml", "ils", "isl"]);
    assert!(!folder.join("x").exists());
    refused(folder, &["sweep", "none.toml", "--out", "x"], &["none.toml"]);
    refused(folder, &["sweep", "good.toml"], &["--out"]);
    refused(folder, &["sweep", "good.toml", "--out", "."], &["--out", "not empty"]);
    refused(folder, &["sweep", "good.toml", "--dry-run", "--set", "chip.hbm=3"], &["chip.hbm"]);
    refused(folder, &["sweep", "--unit", "units.jsonl"], &["units.jsonl, line 1", "cell"]);
    refused(folder, &["sweep", "--unit", "nothing.jsonl"], &["nothing.jsonl"]);
}

/// What a sweep on Ray says when something of it is missing; `python` is a script that stands for the interpreter.
#[track_caller]
fn ray_refused(python: &str, words: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("spec.toml"), SPEC).expect("the specification");
    let script = folder.path().join("python");
    let named = if python.is_empty() { folder.path().join("nowhere") } else { script.clone() };
    std::fs::write(&script, python).expect("the script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it can be run");
    let mut command = supernode(folder.path(), &["sweep", "spec.toml", "--out", "rows", "--ray", "auto"]);
    let output = command.env("SUPERNODE_PYTHON", named).output().expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn a_sweep_on_ray_says_what_is_missing() {
    ray_refused("", &["--ray", "cannot be started", "SUPERNODE_PYTHON"]);
    ray_refused("#!/bin/sh\necho supernode ray\n", &["has no package supernode and ray", "pip install"]);
    ray_refused("#!/bin/sh\necho ray\n", &["has no package ray;"]);
    ray_refused("#!/bin/sh\nexit 3\n", &["fails at its start"]);
}

#[test]
fn a_sweep_on_ray_is_handed_to_python() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("spec.toml"), SPEC).expect("the specification");
    let script = folder.path().join("python");
    std::fs::write(&script, "#!/bin/sh\n[ \"$1\" = -c ] || echo \"$@\"\n").expect("the script");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).expect("it can be run");
    let words =
        ["sweep", "spec.toml", "--out", "rows", "--ray", "local", "--set", "chip.hbm.bandwidth=1TB/s"];
    let output = supernode(folder.path(), &words).env("SUPERNODE_PYTHON", &script).output().expect("it runs");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "-m supernode.on_ray spec.toml --out rows --ray local --set chip.hbm.bandwidth=1TB/s\n"
    );
}
