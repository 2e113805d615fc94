//! No text makes a scenario panic when it is read and resolved: it is one, or an error says where it is not.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;
use std::sync::LazyLock;
use supernode_estimate::Resolver;
use supernode_hardware::Catalog;

static RESOLVER: LazyLock<Resolver> = LazyLock::new(|| Resolver::new(Catalog::builtin()));

fuzz_target!(|text: &str| {
    match supernode_scenario::parse("fuzzed.toml", text) {
        // A trace would be a file of this machine.
        Ok(raw) if raw.workload.trace.is_none() => {
            let _ = supernode_scenario::resolve(&raw, Path::new("fuzzed.toml"), text, &RESOLVER);
        }
        Ok(_) => {}
        Err(error) => assert!(error.to_string().contains("fuzzed.toml")),
    }
});
