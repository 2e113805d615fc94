//! Malformed catalogs: each is refused with a message that names file, line and key and says what is allowed.

use std::fs;
use std::path::Path;
use supernode_hardware::{Catalog, CatalogError};

const CHIP: &str = r#"name = "Example X1"
vendor = "Example"
family = "example"
kernels = ["h100"]
system = "generic-8"
cores = { value = 128, source = "x1", grade = "official" }
l2 = { value = "64 MiB", source = "x1", grade = "official" }
memory.capacity = { value = "96 GB", source = "x1", grade = "official" }
memory.bandwidth = { value = "4 TB/s", source = "x1", grade = "official" }
matrix.bf16 = { value = "800 TFLOPS", source = "x1", grade = "official" }
sources.x1 = { title = "X1 data sheet", date = "2026", address = "https://example.com" }
"#;

const SYSTEM: &str = r#"name = "Example machine"
chip = "h100"
chips = 8
overhead_power = { value = "500 W", source = "a guess", grade = "assumed" }

[[domain]]
kind = "node"
ranks = 8
bandwidth = { value = "100 GB/s", source = "a guess", grade = "assumed" }
latency = { value = "1 us", source = "a guess", grade = "assumed" }
topology = "switch"
link = "pcie5"

[[domain]]
kind = "cluster"
bandwidth = { value = "50 GB/s", source = "a guess", grade = "assumed" }
latency = { value = "5 us", source = "a guess", grade = "assumed" }
topology = "clos"
link = "roce"
"#;

/// Lays the files over the catalog and resolves every chip and system of theirs.
fn load(files: &[(&str, &[u8])]) -> Result<(), CatalogError> {
    let directory = tempfile::tempdir().unwrap();
    for (path, bytes) in files {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let catalog = Catalog::with_overlay(directory.path())?;
    for (path, _) in files {
        let id = Path::new(path).file_stem().unwrap().to_str().unwrap();
        match path.split('/').next().unwrap() {
            "chips" => drop(catalog.chip(id)?),
            "systems" => drop(catalog.system(id)?),
            "economics.toml" => drop(catalog.economics()?),
            _ => drop(catalog.export_rules()?),
        }
    }
    Ok(())
}

/// Checks that a file is refused with a message that contains every fragment.
fn check(path: &str, text: impl AsRef<[u8]>, fragments: &[&str]) {
    let message = match load(&[(path, text.as_ref())]) {
        Ok(()) => panic!("{path} was accepted; expected {fragments:?}"),
        Err(error) => error.to_string(),
    };
    for fragment in fragments {
        assert!(message.contains(fragment), "`{message}` does not say `{fragment}`");
    }
}

/// The good chip with one text replaced by another.
fn chip(from: &str, to: &str, fragments: &[&str]) {
    assert!(CHIP.contains(from), "{from}");
    check("chips/x1.toml", CHIP.replacen(from, to, 1), fragments);
}

/// The good system with one text replaced by another.
fn system(from: &str, to: &str, fragments: &[&str]) {
    assert!(SYSTEM.contains(from), "{from}");
    check("systems/m1.toml", SYSTEM.replacen(from, to, 1), fragments);
}

#[test]
fn the_files_they_are_made_from_are_good() {
    load(&[("chips/x1.toml", CHIP.as_bytes()), ("systems/m1.toml", SYSTEM.as_bytes())]).unwrap();
}

#[test]
fn chips() {
    chip("4 TB/s", "4 TB", &["x1.toml:9", "memory.bandwidth", "`TB`", "`TB/s`", "1.6 TB/s"]);
    chip("\"4 TB/s\"", "4000", &["x1.toml:9", "memory.bandwidth", "a number with a unit in quotes"]);
    chip("800 TFLOPS", "800 GB", &["x1.toml:10", "matrix.bf16", "`GB`", "`TFLOPS`"]);
    chip("4 TB/s", "-4 TB/s", &["x1.toml:9", "out of range", "1 GB/s to"]);
    chip("4 TB/s", "NaN TB/s", &["x1.toml:9", "does not start with a number"]);
    chip("4 TB/s", "1e999 TB/s", &["x1.toml:9", "not a finite number"]);
    chip("4 TB/s", "", &["x1.toml:9", "does not start with a number"]);
    chip("4 TB/s", "4000 PB/s", &["x1.toml:9", "memory.bandwidth", "out of range"]);
    chip("96 GB", "96 B", &["x1.toml:8", "memory.capacity", "out of range", "100 MB"]);
    chip("800 TFLOPS", "800 EFLOPS", &["x1.toml:10", "out of range", "1 EFLOPS"]);
    chip("value = 128", "value = 0", &["x1.toml:6", "cores", "0 is out of range", "1 to 1000000"]);
    chip("value = 128", "value = -1", &["x1.toml:6", "cores", "-1"]);
    chip("value = 128", "value = 1.5", &["x1.toml:6", "cores", "1.5"]);
    chip("name = \"Example X1\"\n", "", &["x1.toml:1", "`name`", "missing field"]);
    chip("memory.bandwidth =", "#", &["memory.bandwidth", "missing field"]);
    chip("cores = {", "cors = {", &["x1.toml:6", "cors", "unknown field", "`cores`"]);
    chip(
        "source = \"x1\", grade = \"official\" }\nl2",
        "grade = \"official\" }\nl2",
        &["x1.toml:6", "cores.source", "missing"],
    );
    chip(
        "grade = \"official\"",
        "grade = \"sure\"",
        &["x1.toml:6", "`sure`", "`official`", "`rumour`", "`assumed`"],
    );
    chip(
        "grade = \"official\"",
        "grade = \"official\", when = 3",
        &["x1.toml:6", "unknown field `when`", "`note`"],
    );
    chip("source = \"x1\"", "source = \"x2\"", &["x1.toml:6", "`x2` is not among", "`x1`", "sources.x2"]);
    chip("source = \"x1\"", "source = \"I heard it\"", &["x1.toml:6", "not among", "sources.I-heard-it"]);
    chip(
        "source = \"x1\", grade = \"official\"",
        "source = \"x2\", grade = \"assumed\"",
        &["say in words why"],
    );
    chip("title = \"X1 data sheet\", ", "", &["x1.toml:11", "missing field `title`"]);
    chip("matrix.bf16", "matrix.bf17", &["x1.toml:10", "bf17", "not a number format", "bf16"]);
    chip("matrix.bf16 = {", "matrix = {} #", &["x1.toml:10", "matrix", "at least one"]);
    chip("[\"h100\"]", "[]", &["x1.toml:4", "kernels", "nearest relative"]);
    chip("cores", "ranks = 0\ncores", &["x1.toml:6", "ranks", "0 is out of range", "1 to 64"]);
    chip("cores", "ranks = 2\ncores", &["package_link", "2 ranks"]);
    chip(
        "cores",
        "package_link = { bandwidth = { value = \"1 GB/s\", source = \"a guess\", grade = \"assumed\" }, latency = { value = \"1 us\", source = \"a guess\", grade = \"assumed\" } }\ncores",
        &["x1.toml:6", "package_link", "single rank"],
    );
    chip("cores", "ranks = 1\nranks = 1\ncores", &["x1.toml:7", "duplicate key"]);
    chip("vendor = \"Example\"", "vendor = ", &["x1.toml:2", "vendor"]);
    check("chips/x1.toml", "", &["x1.toml:1", "missing field"]);
    check("chips/x1.toml", "= = =", &["x1.toml:1"]);
    check("chips/x1.toml", b"name = \"\xff\"", &["x1.toml", "UTF-8", "byte 8"]);
}

#[test]
fn systems() {
    system("chips = 8", "chips = 0", &["m1.toml:3", "chips", "1 to 1000000"]);
    system("ranks = 8", "ranks = 0", &["m1.toml:8", "domain.ranks", "out of range"]);
    system("\"1 us\"", "\"2 s\"", &["m1.toml:10", "domain.latency", "out of range"]);
    system("\"1 us\"", "\"1 GB\"", &["m1.toml:10", "domain.latency", "`us`"]);
    system(
        "topology = \"switch\"",
        "topology = \"star\"",
        &["m1.toml:11", "domain.topology", "`star`", "`full-mesh`", "`torus`"],
    );
    system("topology = \"switch\"", "topology = \"torus\"", &["m1.toml:11", "domain.topology", "dimensions"]);
    system(
        "topology = \"switch\"",
        "topology = \"switch\"\noversubscription = 2.0",
        &["m1.toml:12", "oversubscription", "clos"],
    );
    system(
        "topology = \"clos\"",
        "topology = \"clos\"\noversubscription = nan",
        &["m1.toml:19", "NaN is out of range"],
    );
    system(
        "topology = \"clos\"",
        "topology = \"clos\"\noversubscription = 0.5",
        &["m1.toml:19", "0.5 is out of range", "1 to 100"],
    );
    system(
        "topology = \"clos\"",
        "topology = \"clos\"\nin_network_reduction = true",
        &["m1.toml:19", "switch"],
    );
    system("kind = \"node\"", "kind = \"rack\"", &["m1.toml:7", "domain.kind", "`rack`", "`scale-up`"]);
    system(
        "kind = \"cluster\"",
        "kind = \"package\"",
        &["m1.toml:14", "package domain cannot come after a node"],
    );
    system("kind = \"cluster\"", "kind = \"node\"", &["node domain cannot come after a node domain"]);
    system("kind = \"cluster\"", "kind = \"cluster\"\nranks = 4", &["m1.toml:14", "multiple of the 8 ranks"]);
    system("ranks = 8\n", "", &["only the outermost domain", "`ranks`"]);
    system("chip = \"h100\"\n", "", &["m1.toml:1", "chip", "missing field `chip`"]);
    system("chips = 8", "chip_count = 8", &["m1.toml:3", "chip_count", "`chips`"]);
    system("500 W", "500 kg", &["m1.toml:4", "overhead_power", "`kg`", "`kW`"]);
    let head = SYSTEM.split("[[domain]]").next().unwrap();
    check("systems/m1.toml", head, &["m1.toml:1", "no `[[domain]]`", "node"]);
    check("systems/m1.toml", head.replace("h100", "h1000") + "generic = true", &["no `[[domain]]`"]);
    check(
        "systems/m1.toml",
        SYSTEM.replace("h100", "h1000").replace("chips = 8", "chips = 8\ngeneric = true"),
        &["there is no `h1000`", "did you mean `h100`?"],
    );
}

#[test]
fn prices_and_rules() {
    let economics = Catalog::builtin().text("", "economics").unwrap().to_owned();
    let rules = Catalog::builtin().text("", "export_rules").unwrap().to_owned();
    check(
        "economics.toml",
        economics.replacen("default_region = \"us\"", "default_region = \"mars\"", 1),
        &["economics.toml:3", "default_region", "`mars` is not in the table", "us-texas"],
    );
    check(
        "economics.toml",
        economics.replacen("value = 1.56", "value = 0.9", 1),
        &["pue.industry", "0.9 is out of range", "1 to 5"],
    );
    check(
        "economics.toml",
        economics.replacen("value = 1.56", "value = inf", 1),
        &["pue.industry", "inf is out of range"],
    );
    check(
        "economics.toml",
        economics.replacen("0.0806 USD/kWh", "0.0806 USD", 1),
        &["regions.us.electricity", "`USD/kWh`"],
    );
    check("export_rules.toml", rules.replacen("\"4800\"", "\"many\"", 1), &["`many` is not a number"]);
    check(
        "export_rules.toml",
        rules.replacen("metric = \"tpp\"", "metric = \"tops\"", 1),
        &["`tops`", "`performance-density`"],
    );
    check(
        "export_rules.toml",
        rules.replacen("at_least = \"600 GB/s\"", "at_least = \"600\"", 1),
        &["`GB/s`"],
    );
    check(
        "export_rules.toml",
        rules.replacen("at_least = \"600 GB/s\"", "below = \"1 GB/s\", at_least = \"600 GB/s\"", 1),
        &["either `at_least` or `below`"],
    );
    check(
        "export_rules.toml",
        rules.replacen("unless = \"2023-3a090-a\"", "unless = \"nothing\"", 1),
        &["`nothing` is not an earlier rule"],
    );
}

#[test]
fn places_and_names() {
    check("gpus/x1.toml", CHIP, &["gpus", "no place", "`chips/`", "`systems/`"]);
    check("chips.toml", CHIP, &["chips.toml", "no place", "`economics.toml`"]);
    check("chips/X1.toml", CHIP, &["X1.toml", "cannot be a catalog key", "a-z"]);
    check("chips/.toml", CHIP, &["cannot be a catalog key"]);
    let alias = |name: &str| CHIP.replacen("vendor", &format!("aliases = [\"{name}\"]\nvendor"), 1);
    check(
        "chips/x1.toml",
        alias("H100-SXM"),
        &["`h100-sxm` already belongs to", "h100.toml", "another alias"],
    );
    check("chips/h100-sxm.toml", CHIP, &["`h100-sxm` already belongs to", "chips/h100"]);
    let twice =
        load(&[("chips/x1.toml", alias("same").as_bytes()), ("chips/x2.toml", alias("same").as_bytes())]);
    let message = twice.unwrap_err().to_string();
    assert!(message.contains("x2.toml") && message.contains("`same` already belongs to"), "{message}");

    let missing = Catalog::with_overlay("no/such/directory").unwrap_err().to_string();
    assert!(missing.contains("no/such/directory: cannot be read") && missing.contains("chips/"), "{missing}");
}
