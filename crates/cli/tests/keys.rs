//! No key of a scenario is ignored: each changes the answer, or is refused with its name.
//!
//! The keys are those that the program says a table may have, so that a new one is missed here until `keys.toml` holds it too.

use assert_cmd::cargo::cargo_bin;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};
use toml::{Table, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    /// Scenarios that keys are tried in.
    bases: BTreeMap<String, Table>,
    /// What every key is tried with, by the path of its table (`.` for the top level).
    keys: BTreeMap<String, BTreeMap<String, Value>>,
}

/// A key as it is tried.
struct Case<'a> {
    table: &'a str,
    key: &'a str,
    value: Value,
    base: &'a Table,
    /// Why the answer stays the same.
    same: bool,
}

fn tables() -> Tables {
    toml::from_str(include_str!("keys.toml")).expect("keys.toml can be read")
}

impl Tables {
    /// A value, or a table of a value, the scenario it is tried in, and why the answer stays the `same`.
    fn cases(&self) -> Vec<Case<'_>> {
        let mut cases = Vec::new();
        for (table, keys) in &self.keys {
            for (key, entry) in keys {
                let more = entry.as_table().filter(|more| more.contains_key("value"));
                let value = more.map_or(entry, |more| &more["value"]).clone();
                let name = more.and_then(|more| more.get("base")?.as_str()).unwrap_or("plain");
                let base = self.bases.get(name).unwrap_or_else(|| panic!("{table}.{key}: no base `{name}`"));
                let same = more.is_some_and(|more| more.contains_key("same"));
                cases.push(Case { table, key, value, base, same });
            }
        }
        cases
    }
}

fn simulate(scenario: &Table, folder: &Path, name: &str) -> Output {
    let file = folder.join(name);
    std::fs::write(&file, toml::to_string(scenario).expect("TOML")).expect("writes");
    let mut command = Command::new(cargo_bin("supernode"));
    command.current_dir(folder).args(["simulate", name, "--json"]).output().expect("it runs")
}

/// The table at a path, made where it is not there; of a list of tables the first.
fn at<'a>(scenario: &'a mut Table, path: &str) -> &'a mut Table {
    let mut here = scenario;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let lists = ["deployment", "pool", "tier", "tenant", "fault", "schedule"];
        let next = here.entry(part).or_insert_with(|| match lists.contains(&part) {
            true => Value::Array(vec![Value::Table(Table::new())]),
            false => Value::Table(Table::new()),
        });
        here = match next {
            Value::Array(list) => list[0].as_table_mut().expect("a table"),
            other => other.as_table_mut().expect("a table"),
        };
    }
    here
}

/// The keys that a table may have, as the program lists them for one that it may not have.
fn known(table: &str, tables: &Tables, folder: &Path) -> BTreeSet<String> {
    let mut scenario = tables.bases["plain"].clone();
    let here = at(&mut scenario, table);
    if table.ends_with("schedule") || table.ends_with("gathering") {
        here.extend([("at".to_owned(), Value::from("1 s")), ("timeout".to_owned(), Value::from(1))]);
        here.retain(|key, _| (key == "at") == table.ends_with("schedule"));
    }
    here.insert("nosuch".to_owned(), Value::from(1));
    let output = simulate(&scenario, folder, "unknown.toml");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let (_, list) = said.split_once(", expected ").unwrap_or_else(|| panic!("{table}: {said}"));
    let list = list.trim_start_matches("one of ").split([',', ' ', '\n']);
    // Keys that are flags too are spelled as flags.
    let name = |word: &str| word.trim_matches(['`', '-']).replace('-', "_");
    list.map(name).filter(|name| !name.is_empty() && name != "or").collect()
}

#[test]
fn every_key_of_a_scenario_is_in_the_table() {
    let (tables, folder) = (tables(), tempfile::tempdir().expect("a folder"));
    let mut problems = Vec::new();
    for (table, keys) in &tables.keys {
        let known = known(table.trim_matches('.'), &tables, folder.path());
        let held: BTreeSet<String> = keys.keys().cloned().collect();
        problems.extend(known.difference(&held).map(|key| format!("{table}: `{key}` is not in the table")));
        // Tables within tables have an entry of their own.
        problems.extend(held.difference(&known).map(|key| format!("{table}: there is no `{key}`")));
    }
    assert!(problems.is_empty(), "keys.toml:\n{}", problems.join("\n"));
}

/// What is wrong with a key, if anything is.
fn check(case: &Case, before: &Output, folder: &Path) -> Option<String> {
    let mut scenario = case.base.clone();
    at(&mut scenario, case.table.trim_matches('.')).insert(case.key.to_owned(), case.value.clone());
    let after = simulate(&scenario, folder, "with.toml");
    let said = String::from_utf8_lossy(&after.stderr).into_owned();
    let same = before.stdout == after.stdout && before.status == after.status;
    match after.status.code() {
        Some(2) if said.contains(case.key) => None,
        Some(2) => Some(format!("is refused without its name: {said}")),
        _ if case.same => (!same).then(|| "changes the answer; take `same` away".to_owned()),
        _ => same.then(|| "changes nothing".to_owned()),
    }
}

#[test]
fn every_key_of_a_scenario_changes_the_answer_or_is_refused() {
    let (tables, folder) = (tables(), tempfile::tempdir().expect("a folder"));
    let trace =
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,900,90\n2023-11-16 18:15:47,100,50\n";
    std::fs::write(folder.path().join("trace.csv"), trace).expect("writes");
    let mut before: BTreeMap<String, Output> = BTreeMap::new();
    let mut problems = Vec::new();
    for case in tables.cases() {
        let text = toml::to_string(case.base).expect("TOML");
        let run = |_: &String| simulate(case.base, folder.path(), "with.toml");
        let found = before.entry(text.clone()).or_insert_with(|| run(&text));
        let said = String::from_utf8_lossy(&found.stderr);
        assert_ne!(found.status.code(), Some(2), "the scenario without {}.{}: {said}", case.table, case.key);
        problems.extend(
            check(&case, found, folder.path()).map(|what| format!("{}.{} {what}", case.table, case.key)),
        );
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
