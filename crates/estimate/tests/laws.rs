//! Laws of a step's price over deployments: bounds, monotone hardware, and the steady state's conservation.

use cost::step::{RankLoad, StepModel, StepShape};
use hardware::Catalog;
use hardware::overrides::Override;
use proptest::prelude::*;
use std::sync::Arc;
use supernode_estimate::steady::{self, Load};
use supernode_estimate::{OperatingPoint, Resolver, Roles, Sizes};

/// Deployments that between them use every family of operators, dense and expert layers, and links of every kind.
const DEPLOYMENTS: [(&str, &str, &str, [u32; 3]); 9] = [
    ("h100-8", "Qwen/Qwen3-32B", "vllm", [4, 1, 1]),
    ("h100-8", "meta-llama/Llama-3.1-70B", "trtllm", [4, 1, 2]),
    ("b200-8", "deepseek-ai/DeepSeek-R1", "sglang", [1, 8, 1]),
    ("gb200-nvl72", "openai/gpt-oss-120b", "trtllm", [2, 1, 1]),
    ("h200-8", "Qwen/Qwen3-235B-A22B-FP8", "vllm", [4, 2, 1]),
    ("cloudmatrix384", "deepseek-ai/DeepSeek-R1", "vllm-ascend", [4, 8, 1]),
    ("atlas-800i-a2", "Qwen/Qwen3-32B", "vllm-ascend", [8, 1, 1]),
    ("mi300x-8", "meta-llama/Llama-3.1-70B", "vllm", [2, 1, 1]),
    ("tpu-v6e", "meta-llama/Llama-3.1-8B", "vllm", [4, 1, 1]),
];

fn point((system, model, engine, [tp, dp, pp]): (&str, &str, &str, [u32; 3])) -> OperatingPoint {
    OperatingPoint {
        system: system.to_owned(),
        model: model.to_owned(),
        engine: Some(engine.to_owned()),
        sizes: Sizes { tp: Some(tp), dp: Some(dp), pp: Some(pp), ..Sizes::default() },
        ..OperatingPoint::default()
    }
}

fn step_model(catalog: Catalog, point: &OperatingPoint) -> Arc<StepModel> {
    Resolver::new(catalog).step_model(point, Roles::Both).expect("the deployment fits")
}

fn time(model: &StepModel, load: RankLoad) -> f64 {
    model.cost(&StepShape::even(load, model.deployment().layout.dp)).time.get()
}

/// Decoding batches and prompts of every size that engines run.
fn loads() -> Vec<RankLoad> {
    let decode = [(1.0, 100.0), (3.0, 2000.0), (32.0, 900.0), (100.0, 4000.0)];
    let prompts = [(1.0, 64.0, 0.0), (1.0, 4000.0, 8000.0), (7.0, 1000.0, 0.0)];
    decode
        .iter()
        .map(|(seqs, context)| RankLoad::decode(*seqs, *context))
        .chain(prompts.iter().map(|(seqs, new, past)| RankLoad::prefill(*seqs, *new, *past)))
        .collect()
}

#[test]
fn law_6_monotone_hardware() {
    // Exempt is what says how a chip is made rather than how fast it is: `chip.cores` and `chip.l2` change which tiles
    // and splits exist, and `chip.ranks` is a count of dies.
    for deployment in DEPLOYMENTS {
        let point = point(deployment);
        let catalog = Catalog::builtin();
        let (system, chip) = {
            let model = step_model(catalog.clone(), &point);
            (Arc::clone(&model.deployment().system), Arc::clone(&model.deployment().chip))
        };
        let before = step_model(catalog.clone(), &point);
        let mut sets = vec![
            ("chip.hbm.bandwidth".to_owned(), chip.rank.bandwidth.value.get()),
            ("chip.hbm.capacity".to_owned(), chip.rank.memory.value.get()),
        ];
        sets.extend(
            chip.rank.matrix.iter().map(|(format, peak)| (format!("chip.matrix.{format}"), peak.value.get())),
        );
        let _ = &system;
        for (key, value) in sets {
            for factor in [1.3, 2.0, 5.0] {
                let unit = if key.contains("matrix") {
                    "FLOPS"
                } else if key.contains("capacity") {
                    "B"
                } else {
                    "B/s"
                };
                let text = format!("{key}={}{unit}", value * factor);
                let set = Override::parse(&text).expect("a valid override");
                let after = step_model(catalog.clone().with_overrides(&[set]), &point);
                for load in loads() {
                    let (slow, fast) = (time(&before, load), time(&after, load));
                    assert!(fast <= slow * (1.0 + 1e-9), "{deployment:?} {text} {load:?}: {slow} -> {fast}");
                }
            }
        }
    }
}

#[test]
fn nothing_beats_its_bound() {
    for deployment in DEPLOYMENTS {
        let real = step_model(Catalog::builtin(), &point(deployment));
        let ideal = OperatingPoint { engine: Some("ideal".to_owned()), ..point(deployment) };
        let ideal = step_model(Catalog::builtin(), &ideal);
        for load in loads() {
            let (priced, bound) = (time(&real, load), time(&ideal, load));
            assert!(bound <= priced * (1.0 + 1e-9), "{deployment:?} {load:?}: {priced} under {bound}");
            let cost = real.cost(&StepShape::even(load, real.deployment().layout.dp));
            let rank = &real.deployment().chip.rank;
            assert!(cost.time.get() > 0.0 && rank.bandwidth.value.get() > 0.0);
        }
    }
}

#[test]
fn a_step_reads_all_the_weights_of_its_dense_layers() {
    // 70.6 billion parameters in bf16 over four ranks and 3.35 TB/s; the embedding table is looked up, not read.
    let deployment = ("h100-8", "meta-llama/Llama-3.1-70B", "vllm", [4, 1, 1]);
    let model = step_model(Catalog::builtin(), &point(deployment));
    let weights = (70.55e9 - 128256.0 * 8192.0) * 2.0 / 4.0;
    let floor = weights / 3.35e12;
    for sequences in [0.01, 0.3, 1.0] {
        let step = time(
            &model,
            RankLoad { decode_seqs: sequences, decode_context: sequences * 10.0, ..RankLoad::default() },
        );
        assert!(step >= floor, "{sequences}: {step} < {floor}");
    }
}

#[test]
fn pipeline_stages_work_at_once() {
    // Per chip, stages cost a little and not a factor: measured on RTX PRO 6000 1787, 1853, 1490, 1021 tokens/s for 1 to 8.
    let rate = |pp: u32| {
        let deployment = ("h100-8", "Qwen/Qwen3-30B-A3B", "trtllm", [1, 1, pp]);
        let model = step_model(Catalog::builtin(), &point(deployment));
        let batch = 256.0 * f64::from(pp);
        batch / time(&model, RankLoad::decode(batch, 500.0)) / f64::from(pp)
    };
    let one = rate(1);
    for pp in [2, 4, 8] {
        let share = rate(pp) / one;
        assert!((0.5..1.2).contains(&share), "{pp}: {share}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn littles_law_holds_and_nobody_queues_behind_oneself(
        users in 1_u32..600,
        prompt in 16.0..20000.0_f64,
        output in 2.0..2000.0_f64,
        which in 0_usize..3,
    ) {
        let model = steady_model(which);
        let load = Load { users: f64::from(users), new_tokens: prompt, cached_tokens: 0.0, output_tokens: output };
        let state = steady::steady(&model, &load);
        let (ttft, tpot) = (state.ttft.get(), state.tpot.get());
        let cycle = ttft + tpot * (output - 1.0);
        prop_assert!((state.rate * cycle / load.users - 1.0).abs() < 1e-3, "{users}: {state:?}");
        prop_assert!(state.decoding <= state.limit && state.rate > 0.0);
        if users == 1 {
            let context = prompt + output / 2.0;
            let step = time(&model, RankLoad::decode(1.0, context)) / model.deployment().speculation.tokens_per_step();
            prop_assert!((tpot / step - 1.0).abs() < 1e-6, "{tpot} {step}");
        }
        let more = steady::steady(&model, &Load { users: load.users + 1.0, ..load });
        prop_assert!(more.rate >= state.rate * 0.97, "{} users {} -> {}", users, state.rate, more.rate);
    }
}

fn steady_model(which: usize) -> Arc<StepModel> {
    static MODELS: std::sync::LazyLock<[Arc<StepModel>; 3]> = std::sync::LazyLock::new(|| {
        [
            ("h100-8", "Qwen/Qwen3-32B", "vllm", [4, 1, 1]),
            ("b200-8", "deepseek-ai/DeepSeek-R1", "vllm", [1, 8, 1]),
            ("atlas-800i-a2", "Qwen/Qwen3-32B", "vllm-ascend", [8, 1, 1]),
        ]
        .map(|deployment| step_model(Catalog::builtin(), &point(deployment)))
    });
    Arc::clone(&MODELS[which])
}
