//! The workspace's source as text: what the tests of this crate hold it to.
//!
//! The source is formatted, so that an item ends at the first closing brace that is indented as its first line is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A Rust source file.
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// From the workspace's folder, with `/`.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// A function and how long it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Lines from its first to its closing brace.
    pub lines: usize,
}

/// A crate of the workspace.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its folder's name.
    pub name: String,
    /// Names of its dependencies.
    pub dependencies: Vec<String>,
    /// Names of those of its tests and examples alone.
    pub dev_dependencies: Vec<String>,
    /// Its sources, build script apart.
    pub files: Vec<SourceFile>,
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

/// Every crate, by name.
///
/// # Panics
/// A file cannot be read: the test that asks cannot go on.
pub fn packages() -> Vec<Package> {
    let mut folders: Vec<PathBuf> = entries(&root().join("crates"));
    folders.retain(|folder| folder.join("Cargo.toml").exists());
    folders.iter().map(|folder| package(folder)).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(read) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = read.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    found.sort();
    found
}

fn package(folder: &Path) -> Package {
    let manifest = folder.join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let manifest: toml::Table =
        text.parse().unwrap_or_else(|error| panic!("{}: {error}", manifest.display()));
    let keys = |section: &str| -> Vec<String> {
        let table = manifest.get(section).and_then(toml::Value::as_table);
        table.map(|table| table.keys().cloned().collect()).unwrap_or_default()
    };
    let mut files = Vec::new();
    for part in ["src", "tests", "examples", "benches"] {
        collect(&folder.join(part), &mut files);
    }
    Package {
        name: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        dependencies: keys("dependencies"),
        dev_dependencies: keys("dev-dependencies"),
        files,
    }
}

fn collect(folder: &Path, files: &mut Vec<SourceFile>) {
    for path in entries(folder) {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let short = path.strip_prefix(root()).unwrap_or(&path).to_string_lossy().replace('\\', "/");
            files.push(SourceFile { path: short, text });
        }
    }
}

impl SourceFile {
    /// Whether it is compiled into the crate itself, not into its tests or examples.
    pub fn is_library(&self) -> bool {
        self.path.split('/').nth(2) == Some("src") && !self.path.ends_with("tests.rs")
    }

    /// Lines before the unit tests at its end.
    pub fn lines_of_code(&self) -> usize {
        let tests = self.text.lines().position(|line| line == "#[cfg(test)]");
        tests.unwrap_or_else(|| self.text.lines().count())
    }

    /// Every function in it.
    pub fn functions(&self) -> Vec<Function> {
        let lines: Vec<&str> = self.text.lines().collect();
        let mut found = Vec::new();
        for (start, line) in lines.iter().enumerate() {
            let Some(name) = function_name(line) else { continue };
            let indent = line.len() - line.trim_start().len();
            let closing = format!("{}}}", " ".repeat(indent));
            let ends = |line: &&str| line.starts_with(&closing) && line.trim_end().ends_with('}');
            if line.trim_end().ends_with(['}', ';']) {
                continue;
            }
            // A declaration over several lines has no body.
            let declared = format!("{})", " ".repeat(indent));
            let declares = |line: &&str| line.starts_with(&declared) && line.ends_with(';');
            let after = || lines[start..].iter().skip(1);
            let length = after().position(ends).map_or(0, |at| at + 2);
            if after().take(length).any(declares) {
                continue;
            }
            found.push(Function { name: name.to_owned(), lines: length });
        }
        found
    }

    /// Names of the public functions that take or give a physical quantity, or money, as a bare number: a parameter or a
    /// result that is called after one is an `f64`.
    pub fn bare_quantities(&self) -> Vec<String> {
        let code: Vec<&str> = self.text.lines().take(self.lines_of_code()).collect();
        let public = |line: &&str| ["pub fn ", "pub const fn "].iter().any(|lead| line.starts_with(lead));
        let starts = code.iter().enumerate().filter(|(_, line)| public(&line.trim_start()));
        let signatures = starts.filter_map(|(start, line)| {
            let end = code[start..].iter().position(|line| line.ends_with('{') || line.ends_with(';'))?;
            Some((function_name(line)?, code[start..=start + end].join(" ")))
        });
        signatures
            .filter(|(name, signature)| is_bare(name, signature))
            .map(|(name, _)| name.to_owned())
            .collect()
    }

    /// Names of the types that it defines.
    pub fn types(&self) -> Vec<String> {
        let code = self.text.lines().take(self.lines_of_code());
        code.filter_map(|line| {
            let line = line.trim_start();
            let line = ["pub(crate) ", "pub(super) ", "pub "]
                .iter()
                .find_map(|lead| line.strip_prefix(lead))
                .unwrap_or(line);
            let rest =
                ["struct ", "enum ", "trait ", "union "].iter().find_map(|kind| line.strip_prefix(kind))?;
            Some(rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect())
        })
        // What a macro names begins with a `$`: it has no name of its own.
        .filter(|name: &String| !name.is_empty())
        .collect()
    }

    /// Whether a name occurs in it as a word.
    pub fn mentions(&self, name: &str) -> bool {
        let word =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        self.text.match_indices(name).any(|(at, _)| {
            !word(self.text[..at].chars().next_back()) && !word(self.text[at + name.len()..].chars().next())
        })
    }
}

/// What physical quantities and money are called.
const QUANTITIES: [&str; 14] = [
    "time",
    "seconds",
    "bytes",
    "bandwidth",
    "latency",
    "power",
    "energy",
    "joules",
    "watts",
    "flop",
    "flops",
    "price",
    "usd",
    "money",
];

/// Whether a signature has a bare number for a quantity.
fn is_bare(name: &str, signature: &str) -> bool {
    let is_quantity = |name: &str| name.rsplit('_').next().is_some_and(|last| QUANTITIES.contains(&last));
    let (parameters, result) = signature.rsplit_once("->").unwrap_or((signature, ""));
    let bare = |part: &str| part.trim_start_matches('&').starts_with("f64");
    let takes = parameters.split([',', '(']).filter_map(|part| part.split_once(": "));
    let gives =
        is_quantity(name) && ["f64", "Option<f64>"].contains(&result.trim().trim_end_matches([' ', '{']));
    gives || takes.into_iter().any(|(name, kind)| is_quantity(name.trim()) && bare(kind))
}

/// The name of the function that begins in a line.
fn function_name(line: &str) -> Option<&str> {
    let mut rest = line.trim_start();
    while let Some(after) = ["pub(crate) ", "pub(super) ", "pub ", "const ", "async ", "unsafe "]
        .iter()
        .find_map(|lead| rest.strip_prefix(lead))
    {
        rest = after;
    }
    let rest = rest.strip_prefix("fn ")?;
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    Some(&rest[..end])
}

/// Crates in the order of the table of `ARCHITECTURE.md`, from the top, and the names of its laws.
///
/// # Panics
/// The document cannot be read.
pub fn architecture() -> (Vec<String>, Vec<(u32, String)>) {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md can be read");
    let quoted = |line: &str| -> Option<String> {
        let rest = line.strip_prefix("| `")?;
        rest.split_once('`').map(|(name, _)| name.to_owned())
    };
    let law = |line: &str| -> Option<(u32, String)> {
        let (number, rest) = line.split_once(". **")?;
        Some((number.parse().ok()?, rest.split_once(".**")?.0.to_owned()))
    };
    (text.lines().filter_map(quoted).collect(), text.lines().filter_map(law).collect())
}

/// Values of `found` that are not as `known` says, as sentences; both by name.
pub fn differences(
    found: &BTreeMap<String, usize>,
    known: &BTreeMap<String, usize>,
    most: usize,
) -> Vec<String> {
    let mut problems = Vec::new();
    for (name, value) in found {
        match known.get(name) {
            None => problems.push(format!("{name}: {value}, at most {most} is allowed")),
            Some(known) if value > known => {
                problems.push(format!("{name}: {value}, it was {known}; it may only shrink"))
            }
            Some(_) => {}
        }
    }
    for (name, value) in known {
        match found.get(name) {
            None => problems.push(format!("{name} is no exception any more: take it off the list")),
            Some(found) if found < value => {
                problems.push(format!("{name} has shrunk to {found}: write that into the list"))
            }
            Some(_) => {}
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_and_types_are_found() {
        let text = "pub struct A;\n\nimpl A {\n    pub const fn one(self) -> u32 {\n        1\n    }\n}\n\nfn two() {}\n\n#[cfg(test)]\nmod tests {\n    struct B;\n}\n";
        let file = SourceFile { path: "crates/x/src/lib.rs".to_owned(), text: text.to_owned() };
        assert_eq!(file.functions(), [Function { name: "one".to_owned(), lines: 3 }]);
        assert_eq!(file.types(), ["A"]);
        assert!(file.mentions("struct") && !file.mentions("struc"));
        assert!(file.is_library());
        assert_eq!(file.lines_of_code(), 10);
    }

    #[test]
    fn bare_quantities_are_found() {
        let text = "pub fn wait(time: f64) {\n}\n\npub fn read_bytes(&self) -> f64 {\n}\n\npub fn of(\n    ranks: f64,\n    time: Seconds,\n) -> f64 {\n}\n";
        let file = SourceFile { path: "crates/a/src/lib.rs".to_owned(), text: text.to_owned() };
        assert_eq!(file.bare_quantities(), ["wait", "read_bytes"]);
    }

    #[test]
    fn exceptions_only_shrink() {
        let of =
            |list: &[(&str, usize)]| list.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect();
        let known = of(&[("a", 70), ("b", 65), ("c", 61)]);
        assert!(differences(&known, &known, 60).is_empty());
        let found = of(&[("a", 71), ("b", 64), ("d", 61)]);
        let problems = differences(&found, &known, 60).join("\n");
        for word in ["a: 71, it was 70", "b has shrunk to 64", "c is no exception", "d: 61, at most 60"] {
            assert!(problems.contains(word), "{problems}");
        }
    }
}
