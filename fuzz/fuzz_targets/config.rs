//! No text makes the importer panic, and what it accepts can be counted and shown. A NUL separates `config.json` from
//! the `hf_quant_config.json` beside it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supernode_model::counts::Phase;
use supernode_model::import::{from_json, from_json_quantized};
use supernode_model::show;

fuzz_target!(|text: &str| {
    let model = match text.split_once('\0') {
        Some((config, quantization)) => from_json_quantized(config, quantization, "config.json"),
        None => from_json(text, "config.json"),
    };
    if let Ok(model) = model {
        assert!(!show(&model).is_empty());
        assert!(model.cache_bytes(1e7).is_finite());
        for phase in [Phase::Prefill { tokens: 1e6 }, Phase::Decode { context: 1e6 }] {
            assert!(model.flops_per_token(phase).iter().all(|(_, flop)| flop.is_finite()));
        }
    }
});
