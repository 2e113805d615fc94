//! No text makes a plan file or a training plan that is exported panic, hang, or name a file outside its folder.

#![no_main]

use libfuzzer_sys::fuzz_target;
use supernode_export::{Options, Target, export, read_training};
use supernode_planner::plan_file::PlanFile;

fuzz_target!(|text: &str| {
    let _ = read_training(text, 0);
    let Ok(plan) = PlanFile::parse(text) else { return };
    for target in ["vllm", "sglang", "trtllm", "dynamo", "llm-d", "lws", "vllm-ascend"] {
        let Ok(target) = target.parse::<Target>() else { continue };
        if let Ok(files) = export(&plan, target, &Options::default()) {
            assert!(files.iter().all(|file| !file.name.contains(['/', '\\'])));
        }
    }
});
