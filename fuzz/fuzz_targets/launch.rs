//! Launch scripts, commands, manifests and configurations: an answer or an error, whatever the text.
#![no_main]

use libfuzzer_sys::fuzz_target;
use supernode_launch::{Inputs, read_serving, read_training};

fuzz_target!(|text: &str| {
    let inputs = Inputs::default();
    for file in ["x.sh", "x.yaml", "x.toml"] {
        let _ = read_training(file, text, &inputs, false);
    }
    for file in ["x.sh", "x.yaml"] {
        let _ = read_serving(file, text, &inputs);
    }
});
