//! No key of a training job or of a sweep is ignored: a job's key does what the flag of its name does, and a sweep's key changes
//! what is evaluated, or is refused.

use assert_cmd::cargo::cargo_bin;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

fn supernode(arguments: &[&str], folder: &Path) -> Output {
    Command::new(cargo_bin("supernode")).args(arguments).current_dir(folder).output().expect("it runs")
}

/// The keys that the program lists for one that there is not; those that are flags too are spelled as flags.
fn listed(output: &Output) -> BTreeSet<String> {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, list) = said.split_once(", expected ").unwrap_or_else(|| panic!("{said}"));
    let words = list.trim_start_matches("one of ").split([',', ' ', '\n']);
    let name = |word: &str| word.trim_matches(['`', '-']).to_owned();
    words.map(name).filter(|name| !name.is_empty() && name != "or").collect()
}

fn said(output: &Output) -> (Option<i32>, String) {
    let text = if output.status.success() { &output.stdout } else { &output.stderr };
    (output.status.code(), String::from_utf8_lossy(text).into_owned())
}

#[derive(Deserialize)]
struct Tables {
    commands: BTreeMap<String, Table>,
}

#[derive(Deserialize)]
struct Table {
    base: String,
    flags: BTreeMap<String, toml::Value>,
}

/// A key of a job with the flags beside it: value and base of its flag in `flags.toml`.
fn with_base(table: &Table, key: &str) -> Option<(String, String)> {
    let flag = table.flags.get(key)?;
    let more = flag.as_table();
    let value = more.map_or(Some(flag), |more| more.get("value"))?.as_str()?;
    let base = more.and_then(|more| more.get("base")?.as_str()).unwrap_or(&table.base);
    Some((value.trim_matches('\'').to_owned(), base.to_owned()))
}

/// A value as a job's file has it.
fn written(value: &str) -> toml::Value {
    let whole = value.parse::<i64>().map(toml::Value::from);
    let truth = || value.parse::<bool>().map(toml::Value::from);
    whole.or_else(|_| truth()).unwrap_or_else(|_| toml::Value::from(value))
}

#[test]
fn every_key_of_a_training_job_does_what_its_flag_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables: Tables = toml::from_str(include_str!("flags.toml")).expect("flags.toml can be read");
    let table = &tables.commands["train"];
    let write = |text: String| std::fs::write(folder.path().join("job.toml"), text).expect("writes");
    write("nosuch = 1".to_owned());
    let keys = listed(&supernode(&["train", "--job", "job.toml"], folder.path()));
    assert!(keys.len() > 20, "{keys:?}");
    let mut problems = Vec::new();
    for key in &keys {
        let Some((value, base)) = with_base(table, key) else {
            problems.push(format!("`{key}` is not in flags.toml"));
            continue;
        };
        let mut words: Vec<&str> = base.split(' ').collect();
        let flag = format!("--{key}");
        if let Some(at) = words.iter().position(|word| *word == flag) {
            words.drain(at..at + 2);
        }
        let flagged =
            supernode(&[&["train"], &words[..], &[&flag, &value, "--json"]].concat(), folder.path());
        write(format!("{key} = {}", written(&value)));
        let filed =
            supernode(&[&["train"], &words[..], &["--job", "job.toml", "--json"]].concat(), folder.path());
        // Of what excludes each other, flags win over the file.
        let excluded = said(&flagged).1.contains("cannot be used with");
        if !excluded && said(&flagged) != said(&filed) {
            problems.push(format!("{key} = {value}: {:?} and as a flag {:?}", said(&filed), said(&flagged)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// A specification with one of its keys changed, and whether it is another sweep.
fn units(folder: &Path, specification: &str) -> (Option<i32>, String) {
    std::fs::write(folder.join("sweep.toml"), specification).expect("writes");
    said(&supernode(&["sweep", "sweep.toml", "--units"], folder))
}

#[test]
fn every_key_of_a_sweep_changes_what_is_evaluated() {
    let folder = tempfile::tempdir().expect("a folder");
    let scenario = "deployment = [{ system = \"h100-8\", model = \"meta-llama/Llama-3.1-8B\", pool = [{ tp = 1 }] }]\n\
                    workload = { rate = \"4 /s\", requests = 4, isl = \"64\", osl = \"8\" }\n";
    std::fs::write(folder.path().join("plain.toml"), scenario).expect("writes");
    std::fs::write(folder.path().join("sweep.toml"), "nosuch = 1").expect("writes");
    let keys = listed(&supernode(&["sweep", "sweep.toml", "--units"], folder.path()));
    let base =
        "base = { system = \"h100-8\", model = \"meta-llama/Llama-3.1-8B\", tp = 1, isl = 64, osl = 8 }";
    let random =
        format!("kind = \"estimate\"\ndesign = \"random\"\n{base}\nvary = {{ concurrency = [1, 2, 3] }}");
    let cases = [
        ("kind", "kind = \"simulate\"\nscenario = \"plain.toml\"\nvary = { seed = [1, 2] }".to_owned()),
        ("design", format!("{random}\nsamples = 4")),
        ("samples", format!("{random}\nsamples = 5")),
        ("seed", format!("{random}\nsamples = 4\nseed = 9")),
        (
            "scenario",
            "kind = \"simulate\"\nscenario = \"plain.toml\"\nvary = { seed = [1, 2, 3] }".to_owned(),
        ),
        ("base", "kind = \"estimate\"\nbase = { system = \"h200-8\", model = \"meta-llama/Llama-3.1-8B\", isl = 9, osl = 9 }\n\
                   vary = { tp = [1, 2] }"
            .to_owned()),
        ("vary", format!("kind = \"estimate\"\n{base}\nvary = {{ concurrency = [1] }}")),
    ];
    let held: BTreeSet<String> = cases.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(keys, held);
    let mut before = BTreeSet::from([units(
        folder.path(),
        &format!("kind = \"estimate\"\n{base}\nvary = {{ concurrency = [1, 2] }}"),
    )]);
    for (key, specification) in cases {
        let found = units(folder.path(), &specification);
        assert_eq!(found.0, Some(0), "{key}: {}", found.1);
        assert!(before.insert(found), "{key} changes nothing");
    }
}
