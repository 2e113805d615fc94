//! No input is ignored: every flag of a command changes its answer, or is refused with its name.
//!
//! The flags are those that the binary says it has, so that a new one is missed here until `flags.toml` holds it too.

mod words;

use assert_cmd::cargo::cargo_bin;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use words::words;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    /// Commands whose flags are not held to anything yet.
    unheld: Vec<String>,
    /// Flags that take any text, or name a file that is written.
    free: Vec<String>,
    /// Flags that every command has; the table of one holds them.
    global: Vec<String>,
    commands: BTreeMap<String, Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// What the command is given besides.
    base: String,
    flags: BTreeMap<String, Flag>,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
enum Flag {
    /// A value that changes the answer; nothing for a flag without one.
    Value(String),
    Detailed(Detailed),
}

#[derive(Deserialize, Clone, Default)]
#[serde(deny_unknown_fields)]
struct Detailed {
    #[serde(default)]
    value: String,
    /// What the command is given besides, instead of the usual.
    base: Option<String>,
    /// A file that the flag writes.
    writes: Option<String>,
    /// A file that the command writes, in which the change is to be seen.
    into: Option<String>,
    /// Why the answer stays the same.
    same: Option<String>,
}

fn tables() -> Tables {
    toml::from_str(include_str!("flags.toml")).expect("flags.toml can be read")
}

fn supernode(arguments: &[&str], folder: &Path) -> Output {
    Command::new(cargo_bin("supernode")).args(arguments).current_dir(folder).output().expect("it runs")
}

/// What every command has and other tests hold: those of tables and of reports as PDF (`pages.rs`, `personas.rs`).
const COMMON: [&str; 5] = ["help", "version", "wide", "width", "pdf"];

/// The lines of a help text that name commands: those of the whole stand in groups.
fn named(help: &str) -> impl Iterator<Item = &str> {
    let lines =
        help.lines().take_while(|line| !line.starts_with("Options:") && !line.starts_with("Examples:"));
    lines
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|letter: char| letter.is_ascii_lowercase()))
}

/// Every command of the binary with its flags.
fn commands(path: &[&str], folder: &Path, found: &mut BTreeMap<String, Vec<String>>) {
    let help = supernode(&[path, &["-h"]].concat(), folder);
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let nested: Vec<&str> = named(&help)
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for name in &nested {
        commands(&[path, &[name]].concat(), folder, found);
    }
    if nested.is_empty() {
        let flags = help.lines().take_while(|line| !line.starts_with("Examples:")).filter_map(|line| {
            let name = line.split_whitespace().find_map(|word| word.strip_prefix("--"))?;
            // A flag begins a line that is hardly indented; elsewhere a text speaks of it.
            let text = line.trim_start();
            let starts = text.starts_with('-') && line.len() - text.len() <= 6;
            (starts && !COMMON.contains(&name)).then(|| name.to_owned())
        });
        found.insert(path.join(" "), flags.collect());
    }
}

/// What the commands have been asked so far: many flags share what they are held against.
#[derive(Default)]
struct Asked(Mutex<BTreeMap<Vec<String>, Arc<Output>>>);

impl Asked {
    fn run(&self, words: &[String], folder: &Path) -> Arc<Output> {
        let held = || self.0.lock().expect("no panic");
        if let Some(found) = held().get(words) {
            return Arc::clone(found);
        }
        let words_of: Vec<&str> = words.iter().map(String::as_str).collect();
        let output = Arc::new(supernode(&words_of, folder));
        held().insert(words.to_vec(), Arc::clone(&output));
        output
    }
}

/// The command as it is, and with the flag.
fn with_and_without(command: &str, table: &Table, name: &str, flag: &Detailed) -> [Vec<String>; 2] {
    let base = flag.base.as_ref().unwrap_or(&table.base);
    let plain = words(&format!("{command} {base}"), '\'');
    let mut flagged = without(&plain, name);
    flagged.extend(words(&format!("--{name} {}", flag.value), '\''));
    [plain, flagged]
}

/// What is wrong with a flag, if anything is.
fn check(
    command: &str,
    table: &Table,
    name: &str,
    flag: &Flag,
    folder: &Path,
    asked: &Asked,
) -> Option<String> {
    let detailed = flag.detailed();
    let [plain, flagged] = with_and_without(command, table, name, &detailed);
    let run = |words: &[String]| asked.run(words, folder);
    if let Some(file) = &detailed.into {
        let written = |words: &[String]| (run(words), std::fs::read(folder.join(file)).ok());
        let (before, after) = (written(&plain), written(&flagged));
        return (before.1 == after.1).then(|| format!("changes nothing in {file}"));
    }
    let (before, after) = (run(&plain), run(&flagged));
    let said = String::from_utf8_lossy(&after.stderr).into_owned();
    if before.status.code() == Some(2) {
        return Some(format!("the command without it is wrong: {}", String::from_utf8_lossy(&before.stderr)));
    }
    if let Some(file) = &detailed.writes {
        return (!folder.join(file).exists()).then(|| format!("writes no {file}: {said}"));
    }
    if detailed.same.is_some() {
        return (before.stdout != after.stdout).then(|| "changes the answer; take `same` away".to_owned());
    }
    if after.status.code() == Some(2) {
        let named = said.contains(name) || (!detailed.value.is_empty() && said.contains(&detailed.value));
        return (!named).then(|| format!("is refused without its name: {said}"));
    }
    let same = before.stdout == after.stdout && before.status == after.status;
    same.then(|| "changes nothing".to_owned())
}

impl Flag {
    fn detailed(&self) -> Detailed {
        match self {
            Flag::Value(value) => Detailed { value: value.clone(), ..Detailed::default() },
            Flag::Detailed(detailed) => detailed.clone(),
        }
    }
}

/// A command without a flag and its value.
fn without(command: &[String], name: &str) -> Vec<String> {
    let mut left = command.to_vec();
    if let Some(at) = left.iter().position(|word| word.strip_prefix("--") == Some(name)) {
        left.remove(at);
        if left.get(at).is_some_and(|word| !word.starts_with("--")) {
            left.remove(at);
        }
    }
    left
}

#[test]
fn every_flag_is_in_the_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let tables = tables();
    let mut found = BTreeMap::new();
    commands(&[], folder.path(), &mut found);
    assert!(found.len() > 10, "the help is not understood: {found:?}");
    let mut problems = Vec::new();
    for (command, flags) in &found {
        let Some(table) = tables.commands.get(command) else {
            if !tables.unheld.contains(command) {
                problems.push(format!("`{command}` is neither a table nor in `unheld`"));
            }
            continue;
        };
        let own = |flag: &&String| table.flags.contains_key(*flag);
        let new = flags.iter().filter(|flag| !own(flag) && !tables.global.contains(flag));
        problems.extend(new.map(|flag| format!("{command} --{flag} is not in the table")));
        let gone = table.flags.keys().filter(|flag| !flags.contains(flag));
        problems.extend(gone.map(|flag| format!("{command} has no --{flag}")));
    }
    // Commands that are not held may be left out when the program is built.
    let gone = tables.commands.keys().filter(|command| !found.contains_key(*command));
    problems.extend(gone.map(|command| format!("there is no command `{command}`")));
    assert!(problems.is_empty(), "flags.toml:\n{}", problems.join("\n"));
}

/// A folder with the files that the tables name.
fn folder_of_files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(own.join(from), to).expect("copies");
    };
    for file in std::fs::read_dir(own.join("tests/flags")).expect("a folder") {
        let name = file.expect("a file").file_name().into_string().expect("a name");
        copy(&format!("tests/flags/{name}"), &name);
    }
    copy("../export/tests/plans/r1-ascend.json", "plan.json");
    copy("../../validation/exchange.csv", "published/exchange.csv");
    for chip in std::fs::read_dir(own.join("../../examples/catalog/chips")).expect("a folder") {
        let name = chip.expect("a file").file_name().into_string().expect("a name");
        copy(&format!("../../examples/catalog/chips/{name}"), &format!("mycatalog/chips/{name}"));
    }
    std::fs::write(folder.path().join("published/errors.toml"), "").expect("writes");
    std::fs::write(folder.path().join("hosts"), "10.0.0.1\n".repeat(64)).expect("writes");
    let trace =
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,900,90\n2023-11-16 18:15:47,100,50\n";
    std::fs::write(folder.path().join("trace.csv"), trace).expect("writes");
    folder
}

/// Runs `check` on every item on all cores; what is wrong, in order.
fn problems<T: Sync>(items: &[T], check: impl Fn(&T) -> Option<String> + Sync) -> Vec<String> {
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let problem = check(item);
                    found.lock().expect("no panic").extend(problem);
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no panic");
    found.sort();
    found
}

/// Every flag of every table.
fn all(tables: &Tables) -> Vec<(&String, &Table, (&String, &Flag))> {
    let mut all = Vec::new();
    for (name, table) in &tables.commands {
        all.extend(table.flags.iter().map(|flag| (name, table, flag)));
    }
    all
}

#[test]
fn every_flag_changes_the_answer_or_is_refused() {
    let (folder, tables, asked) = (folder_of_files(), tables(), Asked::default());
    let all = all(&tables);
    let problems = problems(&all, |(command, table, (name, flag))| {
        let found = check(command, table, name, flag, folder.path(), &asked);
        found.map(|what| format!("{command} --{name} {what}"))
    });
    assert!(problems.is_empty(), "{} of {} flags:\n{}", problems.len(), all.len(), problems.join("\n"));
}

/// A value that no flag can have is refused, whether or not the flag would matter.
#[test]
fn values_that_make_no_sense_are_refused() {
    let (folder, tables, asked) = (folder_of_files(), tables(), Asked::default());
    let mut all = all(&tables);
    all.retain(|(_, _, (name, flag))| !tables.free.contains(name) && !flag.detailed().value.is_empty());
    let problems = problems(&all, |(command, table, (name, flag))| {
        let nonsense = Detailed { value: "@@".to_owned(), ..flag.detailed() };
        let [_, flagged] = with_and_without(command, table, name, &nonsense);
        let output = asked.run(&flagged, folder.path());
        let code = output.status.code();
        (code != Some(2)).then(|| format!("{command} --{name} @@ ends with {code:?}"))
    });
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
