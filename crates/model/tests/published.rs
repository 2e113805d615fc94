//! Counts against the figures their makers publish.

use supernode_model::builtin;
use supernode_model::counts::Part;

/// Relative difference allowed: half a percent.
const TOLERANCE: f64 = 0.005;

/// What a published figure counts.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// The decoder.
    Total,
    /// The decoder and its prediction modules, which bring their own copies of embedding and head: what the tensors of
    /// the checkpoint add up to.
    Checkpoint,
    /// What one token meets.
    Active,
    /// What one token meets, the embedding left out.
    ActiveWithoutEmbedding,
}

use Kind::{Active, ActiveWithoutEmbedding, Checkpoint, Total};

/// Model, kind of count, published figure, where from. "Tensors" is the sum over the tensors that the model's page on
/// Hugging Face shows.
const PUBLISHED: &[(&str, Kind, f64, &str)] = &[
    ("meta-llama/Llama-2-7b-hf", Total, 6.738415616e9, "tensors"),
    ("meta-llama/Llama-2-13b-hf", Total, 13.015864320e9, "tensors"),
    ("meta-llama/Llama-2-70b-hf", Total, 68.976648192e9, "tensors"),
    ("meta-llama/Llama-3.1-8B", Total, 8.030261248e9, "tensors"),
    ("meta-llama/Llama-3.1-70B", Total, 70.553706496e9, "tensors"),
    ("meta-llama/Llama-3.1-405B", Total, 405.853388800e9, "tensors"),
    ("meta-llama/Llama-4-Maverick-17B-128E-Instruct", Total, 400e9, "model card"),
    ("Qwen/Qwen2.5-0.5B", Total, 494.032768e6, "tensors"),
    ("Qwen/Qwen2.5-1.5B", Total, 1.543714304e9, "tensors"),
    ("Qwen/Qwen2.5-3B", Total, 3.085938688e9, "tensors"),
    ("Qwen/Qwen2.5-7B", Total, 7.615616512e9, "tensors"),
    ("Qwen/Qwen2.5-14B", Total, 14.770033664e9, "tensors"),
    ("Qwen/Qwen2.5-32B", Total, 32.763876352e9, "tensors"),
    ("Qwen/Qwen2.5-72B", Total, 72.706203648e9, "tensors"),
    ("Qwen/Qwen3-0.6B", Total, 596.049920e6, "tensors, the tied head once"),
    ("Qwen/Qwen3-1.7B", Total, 1.720574976e9, "tensors, the tied head once"),
    ("Qwen/Qwen3-4B", Total, 4.022468096e9, "tensors"),
    ("Qwen/Qwen3-8B", Total, 8.190735360e9, "tensors"),
    ("Qwen/Qwen3-14B", Total, 14.768307200e9, "tensors"),
    ("Qwen/Qwen3-32B", Total, 32.762123264e9, "tensors"),
    ("Qwen/Qwen3-30B-A3B", Total, 30.532122624e9, "tensors"),
    ("Qwen/Qwen3-235B-A22B", Total, 235.093634560e9, "tensors"),
    ("Qwen/Qwen3-Coder-480B-A35B-Instruct", Total, 480.154875392e9, "tensors"),
    ("Qwen/Qwen3.5-122B-A10B", Total, 122e9, "name of the model"),
    ("Qwen/Qwen3.5-397B-A17B", Total, 397e9, "model card"),
    ("mistralai/Mistral-7B-v0.1", Total, 7.241732096e9, "tensors"),
    ("mistralai/Mixtral-8x7B-v0.1", Total, 46.702792704e9, "tensors"),
    ("mistralai/Mixtral-8x7B-v0.1", Active, 12.9e9, "arXiv:2401.04088 (13B), launch notes"),
    ("mistralai/Mixtral-8x22B-v0.1", Total, 140.620634112e9, "tensors"),
    ("mistralai/Mixtral-8x22B-v0.1", Active, 39.1e9, "launch notes"),
    ("openai/gpt-oss-20b", Total, 20.914757184e9, "arXiv:2508.10925, table 1 (20.91B)"),
    ("openai/gpt-oss-20b", ActiveWithoutEmbedding, 3.61e9, "arXiv:2508.10925, table 1"),
    ("openai/gpt-oss-120b", Total, 116.829156672e9, "arXiv:2508.10925, table 1 (116.83B)"),
    ("openai/gpt-oss-120b", ActiveWithoutEmbedding, 5.13e9, "arXiv:2508.10925, table 1"),
    ("deepseek-ai/DeepSeek-V2-Lite", Total, 15.706484224e9, "tensors"),
    ("deepseek-ai/DeepSeek-V2", Total, 235.741434880e9, "tensors"),
    ("deepseek-ai/DeepSeek-V3", Total, 671.026419200e9, "tensors of the main model"),
    ("deepseek-ai/DeepSeek-V3", Checkpoint, 684.5e9, "tensors"),
    ("deepseek-ai/DeepSeek-V4-Flash", Total, 284e9, "model card"),
    ("zai-org/GLM-4-9B-0414", Total, 9.400279040e9, "tensors"),
    ("zai-org/GLM-4.5-Air", Checkpoint, 110.468824832e9, "tensors"),
    ("zai-org/GLM-4.5", Checkpoint, 358.337791296e9, "tensors"),
    ("zai-org/GLM-5", Total, 744e9, "model card"),
    ("MiniMaxAI/MiniMax-M2.5", Total, 229e9, "tensors, rounded on the page"),
    ("google/gemma-2-9b", Total, 9.241705984e9, "tensors"),
    ("google/gemma-2-27b", Total, 27.227128320e9, "tensors"),
    ("google/gemma-3-27b-it", Total, 27.016e9, "arXiv:2503.19786, table 1, without the vision encoder"),
    ("google/gemma-4-26B-A4B", Total, 25.2e9, "model card"),
    ("google/gemma-4-31B-it", Total, 30.7e9, "model card"),
    ("microsoft/Phi-3-mini-4k-instruct", Total, 3.821079552e9, "tensors"),
    ("microsoft/phi-4", Total, 14.659507200e9, "tensors"),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", Total, 49.867145216e9, "tensors"),
    ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", Total, 31.577937344e9, "tensors"),
    ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-FP8", Total, 120.6e9, "technical report"),
    ("openai/gpt-3-175b", Total, 174.6e9, "arXiv:2005.14165, table D.1"),
    ("openai-community/gpt2", Total, 124.439808e6, "tensors"),
    ("EleutherAI/gpt-neox-20b", Total, 20.554567680e9, "arXiv:2204.06745"),
    ("bigscience/bloom", Total, 176.247271424e9, "arXiv:2211.05100"),
    ("IntervitensInc/pangu-pro-moe-model", Total, 71.99e9, "arXiv:2505.21411"),
    ("IntervitensInc/pangu-pro-moe-model", Active, 16.50e9, "arXiv:2505.21411"),
    ("FreedomIntelligence/openPangu-Ultra-MoE-718B", Total, 718e9, "arXiv:2505.04519"),
    ("meituan-longcat/LongCat-Flash-Chat", Total, 560e9, "arXiv:2509.01322"),
    ("meituan-longcat/LongCat-Flash-Lite", Total, 68.5e9, "model card"),
    ("tencent/Hy3", Total, 295e9, "model card"),
    ("XiaomiMiMo/MiMo-V2-Flash", Total, 309e9, "model card"),
];

fn count(id: &str, kind: Kind) -> f64 {
    let model = builtin(id).unwrap_or_else(|error| panic!("{error}"));
    let parameters = model.parameters();
    let embedding = parameters.total[Part::Embedding];
    let count = match kind {
        Total => parameters.total(),
        Checkpoint => {
            parameters.total() + parameters.total[Part::Mtp] + embedding + parameters.total[Part::OutputHead]
        }
        Active => parameters.active(),
        ActiveWithoutEmbedding => parameters.active() - embedding,
    };
    count as f64
}

#[test]
fn counts_agree_with_published_figures() {
    let mut misses = Vec::new();
    for (id, kind, published, source) in PUBLISHED {
        let counted = count(id, *kind);
        let error = counted / published - 1.0;
        println!(
            "{id:50} {kind:?} {counted:.6e} published {published:.6e} ({:+.3} %) {source}",
            error * 100.0
        );
        if error.abs() > TOLERANCE {
            misses.push(format!("{id} {kind:?}: {counted:.5e}, published {published:.5e}"));
        }
    }
    assert!(misses.is_empty(), "{misses:#?}");
}

/// Figures that are published to the last digit are met to the last digit where every tensor is described.
#[test]
fn counts_of_fully_described_models_are_exact() {
    let exact = [
        ("meta-llama/Llama-3.1-405B", 405_853_388_800),
        ("Qwen/Qwen3-235B-A22B", 235_093_634_560),
        ("Qwen/Qwen2.5-72B", 72_706_203_648),
        ("mistralai/Mixtral-8x22B-v0.1", 140_620_634_112),
        ("openai/gpt-oss-120b", 116_829_156_672),
        ("google/gemma-2-9b", 9_241_705_984),
        ("openai-community/gpt2", 124_439_808),
        ("bigscience/bloom", 176_247_271_424),
        ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", 49_867_145_216),
    ];
    for (id, published) in exact {
        let model = builtin(id).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(model.parameters().total(), published, "{id}");
    }
}
