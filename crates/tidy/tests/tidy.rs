//! The house stays in order: dependencies point downwards, laws have tests, functions and files are short, names mean one
//! thing, and every dependency is used. What is not yet so is listed in `exceptions.toml`, which may only shrink.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use supernode_tidy::{Package, architecture, differences, packages};

/// Most lines of a function.
const FUNCTION: usize = 60;
/// Most lines of a file, unit tests apart.
const FILE: usize = 500;
/// In so many crates a type's name may be defined at most.
const NAMES: usize = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exceptions {
    /// Lines of functions that are too long, by `file: name`.
    functions: BTreeMap<String, usize>,
    /// Lines of files that are too long.
    files: BTreeMap<String, usize>,
    /// How often a type's name is defined.
    names: BTreeMap<String, usize>,
    /// Dependencies that point upwards, as `crate -> crate`.
    dependencies: BTreeSet<String>,
    /// Dependencies that are not used, as `crate -> crate`.
    unused: BTreeSet<String>,
    /// Laws without a test of their name.
    laws: BTreeSet<u32>,
    /// Public functions with a bare number for a quantity, as `file: name`.
    bare: BTreeSet<String>,
}

impl Exceptions {
    /// As the file is written.
    fn write(&self) -> String {
        let table = |name: &str, entries: &BTreeMap<String, usize>| {
            let lines: String = entries.iter().map(|(name, value)| format!("{name:?} = {value}\n")).collect();
            format!("\n[{name}]\n{lines}")
        };
        format!(
            "# What is not yet as `tidy.rs` wants it; it may only shrink. Written anew by\n\
             # cargo test -p supernode-tidy -- --ignored\n\ndependencies = {:?}\nunused = {:?}\nlaws = {:?}\nbare = {:#?}\n{}{}{}",
            Vec::from_iter(&self.dependencies),
            Vec::from_iter(&self.unused),
            Vec::from_iter(&self.laws),
            Vec::from_iter(&self.bare),
            table("functions", &self.functions),
            table("files", &self.files),
            table("names", &self.names)
        )
    }
}

fn exceptions() -> Exceptions {
    toml::from_str(include_str!("exceptions.toml")).expect("exceptions.toml can be read")
}

#[track_caller]
fn holds(what: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{what}\n{}", problems.join("\n"));
}

/// What of `found` is not known, and what of `known` is not found.
fn unlike<T: Ord + std::fmt::Display>(found: &BTreeSet<T>, known: &BTreeSet<T>, is: &str) -> Vec<String> {
    let new = found.difference(known).map(|one| format!("{one} {is}"));
    new.chain(known.difference(found).map(|one| format!("{one} is no exception any more"))).collect()
}

/// What there is to be said of the source today.
fn found() -> Exceptions {
    let packages = packages();
    Exceptions {
        functions: long_functions(&packages),
        files: long_files(&packages),
        names: frequent_names(&packages),
        dependencies: upward_dependencies(&packages),
        unused: unused_dependencies(&packages),
        laws: untested_laws(&packages),
        bare: bare_quantities(&packages),
    }
}

/// The crate of the quantities themselves apart.
fn bare_quantities(packages: &[Package]) -> BTreeSet<String> {
    let others = packages.iter().filter(|package| package.name != "units");
    let library = others.flat_map(|package| &package.files).filter(|file| file.is_library());
    let bare = library
        .flat_map(|file| file.bare_quantities().into_iter().map(|name| format!("{}: {name}", file.path)));
    bare.collect()
}

fn long_functions(packages: &[Package]) -> BTreeMap<String, usize> {
    let mut long = BTreeMap::new();
    for file in packages.iter().flat_map(|package| &package.files) {
        for function in file.functions().into_iter().filter(|function| function.lines > FUNCTION) {
            let lines: &mut usize = long.entry(format!("{}: {}", file.path, function.name)).or_default();
            *lines = function.lines.max(*lines);
        }
    }
    long
}

fn long_files(packages: &[Package]) -> BTreeMap<String, usize> {
    let files = packages.iter().flat_map(|package| &package.files);
    files.map(|file| (file.path.clone(), file.lines_of_code())).filter(|(_, lines)| *lines > FILE).collect()
}

fn frequent_names(packages: &[Package]) -> BTreeMap<String, usize> {
    let mut count: BTreeMap<String, usize> = BTreeMap::new();
    for package in packages {
        let library = package.files.iter().filter(|file| file.is_library());
        let names: BTreeSet<String> = library.flat_map(|file| file.types()).collect();
        names.into_iter().for_each(|name| *count.entry(name).or_default() += 1);
    }
    count.retain(|_, crates| *crates > NAMES);
    // Every command of the command line has arguments of its own.
    count.remove("Args");
    count
}

fn upward_dependencies(packages: &[Package]) -> BTreeSet<String> {
    let (order, _) = architecture();
    let place = |name: &str| order.iter().position(|known| known == name);
    let names: BTreeSet<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    let mut upwards = BTreeSet::new();
    // What only looks at the source is not part of the program.
    for Package { name, dependencies, .. } in packages.iter().filter(|package| package.name != "tidy") {
        let from = place(name);
        assert!(from.is_some(), "{name} is not in the table of ARCHITECTURE.md");
        let inner = dependencies.iter().filter(|other| names.contains(other.as_str()));
        let wrong = inner.filter(|other| place(other) <= from);
        upwards.extend(wrong.map(|other| format!("{name} -> {other}")));
    }
    upwards
}

fn unused_dependencies(packages: &[Package]) -> BTreeSet<String> {
    let mut unused = BTreeSet::new();
    for package in packages {
        let used = |name: &str, library: bool| {
            let name = name.replace('-', "_");
            package.files.iter().any(|file| (!library || file.is_library()) && file.mentions(&name))
        };
        let inside = package.dependencies.iter().filter(|name| !used(name, true));
        let outside = package.dev_dependencies.iter().filter(|name| !used(name, false));
        unused.extend(inside.chain(outside).map(|name| format!("{} -> {name}", package.name)));
    }
    unused
}

fn untested_laws(packages: &[Package]) -> BTreeSet<u32> {
    let (_, laws) = architecture();
    assert!(laws.len() >= 9, "the laws of ARCHITECTURE.md are not found");
    let functions = packages.iter().flat_map(|package| &package.files).flat_map(|file| file.functions());
    let tested: BTreeSet<u32> = functions.flat_map(|function| laws_of(&function.name)).collect();
    laws.iter().map(|(number, _)| *number).filter(|number| !tested.contains(number)).collect()
}

/// The numbers of the laws that a test named `law_3_...` or `laws_1_2_...` holds.
fn laws_of(name: &str) -> Vec<u32> {
    let rest = name.strip_prefix("laws_").or_else(|| name.strip_prefix("law_"));
    rest.map(|rest| rest.split('_').map_while(|word| word.parse().ok()).collect()).unwrap_or_default()
}

#[test]
fn functions_are_short() {
    holds("functions are too long:", &differences(&found().functions, &exceptions().functions, FUNCTION));
}

#[test]
fn files_are_short() {
    holds("files are too long:", &differences(&found().files, &exceptions().files, FILE));
}

#[test]
fn a_name_of_a_type_means_one_thing() {
    holds("names of types are in too many crates:", &differences(&found().names, &exceptions().names, NAMES));
}

#[test]
fn dependencies_point_downwards() {
    let is = "points upwards in the table of ARCHITECTURE.md";
    holds("dependencies:", &unlike(&found().dependencies, &exceptions().dependencies, is));
}

#[test]
fn every_dependency_is_used() {
    holds("dependencies:", &unlike(&found().unused, &exceptions().unused, "is not used"));
}

#[test]
fn every_law_has_a_test_of_its_name() {
    holds("laws:", &unlike(&found().laws, &exceptions().laws, "has no test `law_N_...`"));
}

#[test]
fn law_9_units_are_in_the_types_of_public_functions() {
    holds("quantities:", &unlike(&found().bare, &exceptions().bare, "takes or gives a bare number"));
}

#[test]
#[ignore = "writes the exceptions anew"]
fn exceptions_are_written_anew() {
    let path = supernode_tidy::root().join("crates/tidy/tests/exceptions.toml");
    std::fs::write(path, found().write()).expect("it can be written");
}
