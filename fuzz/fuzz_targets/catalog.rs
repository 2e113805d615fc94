//! Any text is read as a chip, a system, prices or an override, or refused: never a panic.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supernode_hardware::{Catalog, Override, export_rules, show};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(set) = Override::parse(text) {
        let catalog = Catalog::builtin().with_overrides(&[set]);
        let _ = catalog.system_with_chip("cloudmatrix384", "ascend-910c");
    }
    if let Ok(catalog) = Catalog::builtin().with_text("chips", "fuzzed", text) {
        if let Ok((system, chip)) = catalog.system_with_chip("generic-64", "fuzzed") {
            assert!(system.ranks() >= chip.ranks);
            let rules = catalog.export_rules().expect("the built-in rules are good");
            export_rules::assess(&chip, &rules);
            let _ = show::chip(&chip).to_string();
        }
    }
    if let Ok(catalog) = Catalog::builtin().with_text("systems", "fuzzed", text) {
        if let Ok(system) = catalog.system("fuzzed") {
            assert!(system.domain_for(u32::MAX).bandwidth.value.is_finite());
            let _ = show::system(&system).to_string();
        }
    }
    if let Ok(catalog) = Catalog::builtin().with_text("", "economics", text) {
        let _ = catalog.economics();
    }
});
