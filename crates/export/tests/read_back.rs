//! What is exported is read back as the same deployment, and its flags pass the parsers of pinned releases.

use launch::{Inputs, Role, ServingLaunch, read_serving, releases};
use planner::plan_file::{PlanFile, PoolFile};
use supernode_export::{Choice, LaunchFile, Options, Target, export};

fn plan(name: &str) -> PlanFile {
    let path = format!("{}/tests/plans/{name}.json", env!("CARGO_MANIFEST_DIR"));
    PlanFile::parse(&std::fs::read_to_string(path).expect("reads")).expect("a plan")
}

const CASES: [(&str, &str, &str, Choice); 10] = [
    ("70b-h100", "vllm", "vllm", Choice::Best),
    ("70b-h100", "vllm", "vllm", Choice::Disaggregated),
    ("405b-h100", "vllm", "vllm", Choice::Best),
    ("r1-h200", "vllm", "vllm", Choice::Best),
    ("r1-ascend", "vllm-ascend", "vllm", Choice::Best),
    ("r1-ascend", "vllm-ascend", "vllm", Choice::Aggregated),
    ("70b-h100", "sglang", "sglang", Choice::Best),
    ("r1-h200", "sglang", "sglang", Choice::Best),
    ("70b-h100", "trtllm", "trtllm", Choice::Best),
    ("r1-h200", "trtllm", "trtllm", Choice::Best),
];

fn files(name: &str, to: &str, choice: Choice) -> Vec<LaunchFile> {
    let target: Target = to.parse().expect("a target");
    export(&plan(name), target, &Options { choice, ..Options::default() }).expect("exports")
}

/// The script of a pool, read as node 0 of instance 0.
fn read(files: &[LaunchFile], pool: &str) -> ServingLaunch {
    let script = files.iter().find(|file| file.name == format!("{pool}.sh")).expect("a script of the pool");
    let beside = |name: &str| files.iter().find(|file| file.name == name).map(|file| file.text.clone());
    let inputs = Inputs { args: [(1, "0".to_owned())].into(), files: Some(&beside), ..Inputs::default() };
    let launches = read_serving(&script.name, &script.text, &inputs);
    let mut launches = launches.unwrap_or_else(|error| panic!("{error}\n{}", script.text));
    assert_eq!(launches.len(), 1);
    launches.remove(0)
}

#[track_caller]
fn check_pool(pool: &PoolFile, launch: &ServingLaunch, engine: &str) {
    // TensorRT-LLM's attention data parallelism is over all ranks, so that only their number is kept.
    if engine == "trtllm" && pool.dp > 1 {
        assert_eq!(launch.ranks(), u64::from(pool.tp) * u64::from(pool.dp) * u64::from(pool.pp));
    } else {
        assert_eq!((launch.tp, launch.dp), (pool.tp, pool.dp));
    }
    assert_eq!(launch.pp, pool.pp);
    if pool.ep > 1 {
        assert_eq!(launch.ep, pool.ep);
    }
    assert_eq!(launch.max_seqs, Some(pool.max_sequences_per_rank));
    assert_eq!(launch.max_length, Some(pool.max_model_length));
    assert!((launch.memory.expect("a share") - pool.memory_utilisation).abs() < 0.006);
    assert_eq!(launch.spec_tokens, pool.spec_tokens);
    assert_eq!(launch.block, Some(pool.block));
    if let (Some(budget), true) = (launch.token_budget, pool.chunked_prefill) {
        assert!(budget >= pool.token_budget);
    }
    let missing: Vec<String> = launch.missing().map(ToString::to_string).collect();
    assert!(missing.iter().all(|line| !line.contains("not known")), "{missing:?}");
}

#[test]
fn plans_are_read_back() {
    for (name, to, engine, choice) in CASES {
        let plan = plan(name);
        let deployment = match choice {
            Choice::Aggregated => plan.aggregated.as_ref(),
            Choice::Disaggregated => plan.disaggregated.as_ref(),
            _ => Some(&plan.best),
        };
        let files = files(name, to, choice);
        for pool in &deployment.expect("a deployment").pools {
            let role = pool.role.to_string();
            let script = if role == "aggregated" { "serve" } else { role.as_str() };
            let launch = read(&files, script);
            assert_eq!(launch.model, plan.model);
            if role != "aggregated" && engine != "trtllm" && launch.role != Role::Aggregated {
                assert_eq!(launch.role, if role == "prefill" { Role::Prefill } else { Role::Decode });
            }
            check_pool(pool, &launch, engine);
        }
    }
}

#[test]
fn flags_pass_the_parsers_of_pinned_releases() {
    for (name, to, engine, choice) in CASES {
        let of_a_pool = ["serve.sh", "prefill.sh", "decode.sh"];
        for file in files(name, to, choice).iter().filter(|file| of_a_pool.contains(&file.name.as_str())) {
            let own = file.text.split("\nargs=(").nth(1).map(|rest| rest.split("\n)").next().unwrap_or(rest));
            for flag in own.into_iter().flat_map(str::lines).filter_map(|line| line.split_whitespace().next())
            {
                for release in releases(engine) {
                    assert!(
                        release.takes(flag),
                        "{} of {name}: {engine} {} has no {flag}",
                        file.name,
                        release.version
                    );
                }
            }
        }
    }
}
