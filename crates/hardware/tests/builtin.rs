//! The built-in catalog holds together.

use supernode_hardware::Catalog;

#[test]
fn every_chip_and_system_resolves() {
    let catalog = Catalog::builtin();
    for id in catalog.ids("chips") {
        catalog.chip(&id).unwrap_or_else(|error| panic!("{error}"));
    }
    for id in catalog.ids("systems") {
        let system = catalog.system(&id).unwrap_or_else(|error| panic!("{error}"));
        catalog.chip(&system.chip).unwrap_or_else(|error| panic!("{id}: {error}"));
    }
}

#[test]
fn names_resolve_whatever_their_case() {
    let catalog = Catalog::builtin();
    for name in ["h100", "H100_SXM", "910C", "ascend-910b", "cm384"] {
        let kind = if name == "cm384" { "systems" } else { "chips" };
        catalog.text(kind, name).unwrap_or_else(|error| panic!("{error}"));
    }
    let error = catalog.chip("h1000").unwrap_err().to_string();
    assert_eq!(error, "chips: there is no `h1000` in the catalog; did you mean `h100`?");
}
