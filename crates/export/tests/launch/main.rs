//! Plans exported to every target: golden files, and what must hold of all of them.

mod schema;

use planner::plan_file::PlanFile;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use supernode_export::{Choice, LaunchFile, Options, Target, export};

fn plan(name: &str) -> PlanFile {
    let path = format!("{}/tests/plans/{name}.json", env!("CARGO_MANIFEST_DIR"));
    PlanFile::parse(&std::fs::read_to_string(path).expect("reads")).expect("a plan")
}

fn target(name: &str) -> Target {
    name.parse().expect("a target")
}

/// Plan, target, deployment, cache pool: every kind of launch there is.
const CASES: [(&str, &str, Choice, Option<u32>); 18] = [
    ("70b-h100", "vllm", Choice::Best, None),
    ("70b-h100", "vllm", Choice::Disaggregated, None),
    ("405b-h100", "vllm", Choice::Best, None),
    ("r1-h200", "vllm", Choice::Best, None),
    ("r1-ascend", "vllm-ascend", Choice::Best, Some(64)),
    ("r1-ascend", "vllm-ascend", Choice::Aggregated, None),
    ("70b-h100", "sglang", Choice::Best, None),
    ("r1-h200", "sglang", Choice::Best, None),
    ("r1-ascend", "sglang", Choice::Best, None),
    ("70b-h100", "trtllm", Choice::Best, None),
    ("r1-h200", "trtllm", Choice::Best, None),
    ("70b-h100", "dynamo", Choice::Best, None),
    ("r1-h200", "dynamo", Choice::Best, None),
    ("70b-h100", "llm-d", Choice::Disaggregated, None),
    ("r1-h200", "llm-d", Choice::Best, None),
    ("405b-h100", "lws", Choice::Best, None),
    ("r1-h200", "lws", Choice::Best, None),
    ("r1-ascend", "lws", Choice::Best, None),
];

fn files((name, to, choice, kv_pool): (&str, &str, Choice, Option<u32>)) -> Vec<LaunchFile> {
    let options = Options { choice, kv_pool, ..Options::default() };
    export(&plan(name), target(to), &options).unwrap_or_else(|error| panic!("{name} to {to}: {error}"))
}

/// Dynamo launches what the plan is for, so that its three engines need three plans.
fn dynamo_with(engine: &str) -> Vec<LaunchFile> {
    let mut plan = plan("r1-h200");
    plan.best.pools.iter_mut().for_each(|pool| pool.engine = engine.to_owned());
    export(&plan, Target::Dynamo, &Options::default()).expect("exports")
}

fn all() -> Vec<(String, Vec<LaunchFile>)> {
    let cases = CASES.iter().map(|case| (format!("{} {} {:?}", case.0, case.1, case.2), files(*case)));
    let dynamo = ["sglang", "trtllm"].map(|engine| (format!("r1-h200 dynamo {engine}"), dynamo_with(engine)));
    cases.chain(dynamo).collect()
}

#[test]
fn golden_files() {
    for (name, files) in all() {
        let text: String =
            files.iter().map(|file| format!("==> {} <==\n{}\n", file.name, file.text)).collect();
        insta::assert_snapshot!(name.to_lowercase().replace(' ', "-"), text);
    }
}

/// Documents of a YAML file.
fn documents(file: &LaunchFile) -> Vec<Value> {
    serde_yaml_ng::Deserializer::from_str(&file.text)
        .map(|document| {
            Value::deserialize(document)
                .unwrap_or_else(|error| panic!("{}: {error}\n{}", file.name, file.text))
        })
        .collect()
}

#[test]
fn yaml_and_json_can_be_read() {
    for (name, files) in all() {
        for file in files {
            if file.name.ends_with(".yaml") {
                let documents = documents(&file);
                assert!(documents.iter().all(Value::is_object), "{name}: {}", file.name);
                let settings = documents.iter().filter_map(|document| document["data"].as_object()).flatten();
                for (inner, text) in settings {
                    let inside = LaunchFile {
                        name: inner.clone(),
                        text: text.as_str().expect("text").to_owned(),
                        executable: false,
                    };
                    assert!(self::documents(&inside)[0]["tensor_parallel_size"].is_u64());
                }
            } else if file.name.ends_with(".json") {
                serde_json::from_str::<Value>(&file.text).expect("JSON");
            }
        }
    }
}

#[test]
fn manifests_are_what_their_schemas_allow() {
    let mut checked = BTreeSet::new();
    for (name, files) in all() {
        for document in files.iter().filter(|file| file.name.ends_with(".yaml")).flat_map(documents) {
            let schema = match document["kind"].as_str() {
                Some("LeaderWorkerSet") => "lws",
                Some("DynamoGraphDeployment") => "dynamo",
                None if document.get("modelArtifacts").is_some() => "llm-d",
                _ => continue,
            };
            checked.insert(schema);
            let violations = schema::violations(schema, &document);
            assert!(violations.is_empty(), "{name}: {violations:#?}");
        }
    }
    assert_eq!(checked.len(), 3);
}

/// Scripts by name, those inside manifests too.
fn scripts() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, files) in all() {
        for file in &files {
            if file.name.ends_with(".sh") {
                found.push((format!("{name} {}", file.name), file.text.clone()));
            } else if file.name.ends_with(".yaml") {
                documents(file).iter().for_each(|document| inner_scripts(&name, document, &mut found));
            }
        }
    }
    found
}

fn inner_scripts(name: &str, value: &Value, found: &mut Vec<(String, String)>) {
    match value {
        Value::String(text) if text.contains("exec vllm") => {
            found.push((
                format!("{name} (inside)"),
                format!("#!/usr/bin/env bash\nset -euo pipefail\n{text}"),
            ));
        }
        Value::Array(items) => items.iter().for_each(|item| inner_scripts(name, item, found)),
        Value::Object(object) => object.values().for_each(|item| inner_scripts(name, item, found)),
        _ => {}
    }
}

#[test]
fn scripts_pass_shellcheck() {
    if Command::new("shellcheck").arg("--version").output().is_err() {
        println!("skipped: shellcheck is not installed");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut paths = Vec::new();
    for (at, (name, text)) in scripts().into_iter().enumerate() {
        let path = folder.path().join(format!("{at}-{}.sh", name.replace([' ', '(', ')', '/'], "-")));
        // Scripts in containers name what only some engines need.
        let text = if name.ends_with("(inside)") {
            text.replacen('\n', "\n# shellcheck disable=SC2034\n", 1)
        } else {
            text
        };
        std::fs::write(&path, text).expect("writes");
        paths.push(path);
    }
    let output = Command::new("shellcheck").args(&paths).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[derive(Deserialize)]
struct Documented {
    source: String,
    flags: BTreeSet<String>,
}

/// Words that are flags: two dashes, then letters.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .flat_map(|line| line.split([' ', '"', '\'', '(', ')', '=', ',']));
    let flag = |word: &&str| {
        word.strip_prefix("--")
            .is_some_and(|rest| rest.starts_with(|letter: char| letter.is_ascii_lowercase()))
    };
    words.filter(flag).map(str::to_owned).collect()
}

#[test]
fn every_flag_is_documented() {
    let text = include_str!("../documented_flags.toml");
    let documented: BTreeMap<String, Documented> = toml::from_str(text).expect("a list");
    assert!(documented.values().all(|list| list.source.starts_with("https://")));
    for (name, files) in all() {
        let to = name.split(' ').nth(1).expect("a target");
        let mut lists = match to {
            "vllm" | "vllm-ascend" | "llm-d" | "lws" => vec!["vllm", "vllm-proxy", "mooncake"],
            "sglang" => vec!["sglang"],
            "trtllm" => vec!["trtllm", "srun"],
            _ => vec!["dynamo"],
        };
        if to == "dynamo" {
            let engine = ["sglang", "trtllm"].into_iter().find(|engine| name.ends_with(engine));
            lists.push(engine.unwrap_or("vllm"));
        }
        for file in files {
            for flag in flags(&file.text) {
                let known = lists.iter().any(|list| documented[*list].flags.contains(&flag));
                assert!(known, "{name}: {} has {flag}, which {lists:?} do not list", file.name);
            }
        }
    }
}

#[test]
fn replicas_and_devices_are_those_of_the_plan() {
    for (name, files) in all() {
        let name = name.split(' ').collect::<Vec<_>>();
        let plan = plan(name[0]);
        let pools = match name[2] {
            "Aggregated" => plan.aggregated.expect("one").pools,
            "Disaggregated" => plan.disaggregated.expect("one").pools,
            _ => plan.best.pools,
        };
        let ranks: u32 = pools.iter().map(|pool| pool.instances * pool.tp * pool.pp * pool.dp).sum();
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(1);
        let mut devices = 0;
        for document in files.iter().filter(|file| file.name.ends_with(".yaml")).flat_map(documents) {
            let spec = &document["spec"];
            match document["kind"].as_str() {
                Some("LeaderWorkerSet") => {
                    let template = &spec["leaderWorkerTemplate"];
                    let limits = &template["workerTemplate"]["spec"]["containers"][0]["resources"]["limits"];
                    let each = limits.as_object().expect("limits").values().map(number).sum::<u64>();
                    devices += number(&spec["replicas"]) * number(&template["size"]) * each;
                }
                Some("DynamoGraphDeployment") => {
                    for service in spec["services"].as_object().expect("services").values() {
                        if service["componentType"] == "worker" {
                            let nodes = number(&service["multinode"]["nodeCount"]);
                            devices += number(&service["replicas"])
                                * nodes
                                * number(&service["resources"]["limits"]["gpu"]);
                        }
                    }
                }
                _ => {}
            }
        }
        if matches!(name[1], "lws" | "dynamo") {
            assert_eq!(devices, u64::from(ranks), "{name:?}");
        }
        for file in files.iter().filter(|file| file.name.ends_with(".hosts")) {
            let pool = pools.iter().find(|pool| file.name.starts_with(pool.role.name())).unwrap_or(&pools[0]);
            let node = pool.chips_per_node * pool.ranks_per_chip;
            let needed = pool.instances * pool.tp * pool.pp * pool.dp;
            let nodes = file.text.lines().count() as u32;
            assert!(
                nodes * node >= needed && nodes <= needed.div_ceil(node) + pool.instances,
                "{name:?} {}",
                file.name
            );
        }
    }
}

#[track_caller]
fn check_refused(name: &str, to: &str, options: &Options, words: &[&str]) {
    let error = export(&plan(name), target(to), options).expect_err("refused").to_string();
    assert!(words.iter().all(|word| error.contains(word)), "{error}");
}

#[test]
fn what_a_target_cannot_do_is_refused() {
    let none = Options::default();
    check_refused(
        "r1-h200",
        "vllm-ascend",
        &none,
        &["--to vllm-ascend", "h200", "NVIDIA", "Huawei", "vllm or sglang"],
    );
    check_refused("r1-ascend", "vllm", &none, &["--to vllm", "ascend-910c", "vllm-ascend"]);
    check_refused("r1-ascend", "trtllm", &none, &["NVIDIA"]);
    check_refused("r1-ascend", "dynamo", &none, &["NVIDIA"]);
    check_refused("r1-ascend", "llm-d", &none, &["NVIDIA", "lws"]);
    let pooled = Options { kv_pool: Some(8), ..Options::default() };
    check_refused("r1-h200", "vllm", &pooled, &["--kv-pool", "Ascend"]);
    let few = Options { hosts: vec!["a".to_owned(); 3], ..Options::default() };
    check_refused("r1-h200", "vllm", &few, &["--hosts", "3", "8"]);
    let apart = Options { choice: Choice::Disaggregated, ..Options::default() };
    check_refused("405b-h100", "vllm", &apart, &["--deployment", "disaggregated"]);
    let second = Options { choice: Choice::Top(2), ..Options::default() };
    check_refused("405b-h100", "vllm", &second, &["place 2", "lists 1"]);
}

#[test]
fn addresses_go_where_they_are_given() {
    let hosts: Vec<String> = (0..8).map(|node| format!("10.0.0.{node}")).collect();
    let options = Options { hosts: hosts.clone(), ..Options::default() };
    let files = export(&plan("r1-h200"), Target::Trtllm, &options).expect("exports");
    let named = |name: &str| files.iter().find(|file| file.name == name).expect("a file").text.clone();
    assert_eq!(
        named("prefill.hosts").lines().chain(named("decode.hosts").lines()).collect::<Vec<_>>(),
        hosts
    );
    let router = named("trtllm-disaggregated.yaml");
    assert!(
        ["10.0.0.0:8000", "10.0.0.2:8000", "10.0.0.4:8200"].iter().all(|url| router.contains(url)),
        "{router}"
    );
}

/// A folder with programs that note the arguments they are called with.
fn stubs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for program in ["vllm", "python3", "trtllm-serve"] {
        let path = folder.path().join(program);
        std::fs::write(&path, "#!/bin/sh\nprintf '%s\\0' \"$@\" > \"$NOTED\"\n").expect("writes");
        assert!(Command::new("chmod").arg("+x").arg(&path).status().expect("runs").success());
    }
    folder
}

/// Runs a script where the engines are stubs, and returns what the engine was called with.
fn called(script: &str, files: &[LaunchFile], arguments: &[&str]) -> Vec<String> {
    let (stubs, folder) = (stubs(), tempfile::tempdir().expect("a folder"));
    for file in files {
        std::fs::write(folder.path().join(&file.name), &file.text).expect("writes");
    }
    let path = folder.path().join("script-to-run.sh");
    std::fs::write(&path, script).expect("writes");
    let noted = folder.path().join("noted");
    let output = Command::new("bash")
        .arg(&path)
        .args(arguments)
        .env("PATH", format!("{}:{}", stubs.path().display(), std::env::var("PATH").unwrap_or_default()))
        .env("NOTED", &noted)
        .current_dir(folder.path())
        .output()
        .expect("bash runs");
    assert!(output.status.success(), "{}\n{script}", String::from_utf8_lossy(&output.stderr));
    assert!(!folder.path().join("hit").exists(), "a name was run as a command: {script}");
    let text = std::fs::read_to_string(noted).expect("the engine was called");
    text.split_terminator('\0').map(str::to_owned).collect()
}

fn after<'a>(arguments: &'a [String], flag: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == flag)?;
    arguments.get(at + 1).map(String::as_str)
}

#[test]
fn every_node_is_told_its_own_part() {
    let files = files(("r1-h200", "vllm", Choice::Best, None));
    let script = &files.iter().find(|file| file.name == "decode.sh").expect("a script").text;
    let mut ranks = Vec::new();
    for node in 0..4 {
        let arguments = called(script, &files, &["0", &node.to_string()]);
        assert_eq!(after(&arguments, "--data-parallel-address"), Some("decode-0"));
        assert_eq!(arguments.contains(&"--headless".to_owned()), node > 0);
        ranks.push(
            after(&arguments, "--data-parallel-start-rank").map_or(0, |rank| rank.parse().expect("a rank")),
        );
    }
    assert_eq!(ranks, [0, 8, 16, 24]);
    let shared = self::files(("70b-h100", "vllm", Choice::Best, None));
    let script = &shared.iter().find(|file| file.name == "serve.sh").expect("a script").text;
    let ports: Vec<String> = (0..3)
        .map(|instance| {
            after(&called(script, &shared, &[&instance.to_string()]), "--port").expect("a port").to_owned()
        })
        .collect();
    assert_eq!(ports, ["8000", "8001", "8000"]);
}

#[test]
fn json_reaches_the_engine_whole() {
    let files = files(("r1-ascend", "vllm-ascend", Choice::Best, Some(64)));
    let script = &files.iter().find(|file| file.name == "decode.sh").expect("a script").text;
    let arguments = called(script, &files, &["0", "3"]);
    for flag in
        ["--kv-transfer-config", "--speculative-config", "--additional-config", "--compilation-config"]
    {
        let value = after(&arguments, flag).unwrap_or_else(|| panic!("{flag} is missing"));
        serde_json::from_str::<Value>(value).unwrap_or_else(|error| panic!("{flag}: {error}: {value}"));
    }
    let transfer: Value =
        serde_json::from_str(after(&arguments, "--kv-transfer-config").expect("one")).expect("JSON");
    let connector = &transfer["kv_connector_extra_config"]["connectors"][0];
    assert_eq!(
        (&connector["engine_id"], &connector["kv_port"]),
        (&Value::from("decode-0"), &Value::from("36000"))
    );
}

/// A model's name is text that anyone may have written.
#[test]
fn names_stay_text() {
    let mut plan = plan("70b-h100");
    plan.model = "a'b\"; touch hit $(touch hit) ${HOME} `touch hit` \\ \n# {{ y }}".to_owned();
    for to in ["vllm", "sglang", "trtllm"] {
        let files = export(&plan, target(to), &Options::default()).expect("exports");
        let script = &files.iter().find(|file| file.name == "serve.sh").expect("a script").text;
        assert!(called(script, &files, &["0"]).contains(&plan.model), "{to}");
    }
    for to in ["dynamo", "llm-d", "lws"] {
        let files = export(&plan, target(to), &Options::default()).expect("exports");
        let mut inner = Vec::new();
        for document in documents(&files[0]) {
            inner_scripts(to, &document, &mut inner);
        }
        assert_eq!(inner.is_empty(), to != "lws");
        for (_, script) in inner {
            assert!(called(&script, &[], &[]).contains(&plan.model), "{to}");
        }
    }
}
