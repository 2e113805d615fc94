//! Families that have no file in the reference data: a member of each, with the count that its makers publish.

use serde_json::{Value, json};
use supernode_model::import::from_json;

/// Total parameters of a configuration.
fn total(config: &Value) -> u64 {
    let model = from_json(&config.to_string(), "config.json").unwrap_or_else(|error| panic!("{error}"));
    model.parameters().total()
}

/// Counts to the last digit where every tensor is described.
fn check(name: &str, config: Value, published: u64) {
    assert_eq!(total(&config), published, "{name}");
}

#[test]
fn dense_models() {
    check(
        "microsoft/Phi-3-mini-4k-instruct",
        json!({"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_attention_heads": 32,
            "num_hidden_layers": 32, "vocab_size": 32064, "max_position_embeddings": 4096, "sliding_window": 2047,
            "tie_word_embeddings": false, "resid_pdrop": 0.0, "rope_theta": 10000.0}),
        3_821_079_552,
    );
    check(
        "allenai/OLMo-2-1124-7B",
        json!({"model_type": "olmo2", "hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32,
            "num_hidden_layers": 32, "vocab_size": 100352, "max_position_embeddings": 4096,
            "attention_bias": false, "tie_word_embeddings": false}),
        7_298_617_344,
    );
    check(
        "google/gemma-7b",
        json!({"model_type": "gemma", "hidden_size": 3072, "intermediate_size": 24576, "num_attention_heads": 16,
            "num_key_value_heads": 16, "head_dim": 256, "num_hidden_layers": 28, "vocab_size": 256000,
            "max_position_embeddings": 8192, "hidden_act": "gelu_pytorch_tanh"}),
        8_537_680_896,
    );
    check(
        "internlm/internlm2-7b",
        json!({"model_type": "internlm2", "hidden_size": 4096, "intermediate_size": 14336, "bias": false,
            "num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 92544,
            "max_position_embeddings": 32768, "tie_word_embeddings": false}),
        7_737_708_544,
    );
    check(
        "HuggingFaceTB/SmolLM3-3B",
        json!({"model_type": "smollm3", "hidden_size": 2048, "intermediate_size": 11008, "num_attention_heads": 16,
            "num_key_value_heads": 4, "num_hidden_layers": 36, "vocab_size": 128256,
            "max_position_embeddings": 65536, "no_rope_layers": [1, 1, 1, 0], "use_sliding_window": false}),
        3_075_098_624,
    );
}

#[test]
fn models_of_the_gpt_line() {
    check(
        "facebook/opt-6.7b",
        json!({"model_type": "opt", "hidden_size": 4096, "ffn_dim": 16384, "num_attention_heads": 32,
            "num_hidden_layers": 32, "vocab_size": 50272, "max_position_embeddings": 2048,
            "do_layer_norm_before": true, "word_embed_proj_dim": 4096, "activation_function": "relu"}),
        6_658_473_984,
    );
    check(
        "bigcode/starcoder2-15b",
        json!({"model_type": "starcoder2", "hidden_size": 6144, "intermediate_size": 24576, "use_bias": true,
            "num_attention_heads": 48, "num_key_value_heads": 4, "num_hidden_layers": 40, "vocab_size": 49152,
            "max_position_embeddings": 16384, "sliding_window": 4096, "tie_word_embeddings": false}),
        15_957_889_024,
    );
    // The bias of the output head, one element per token of the vocabulary, is not described.
    check(
        "EleutherAI/gpt-j-6b",
        json!({"model_type": "gptj", "n_embd": 4096, "n_head": 16, "n_layer": 28, "vocab_size": 50400,
            "n_positions": 2048, "activation_function": "gelu_new", "rotary_dim": 64}),
        6_050_882_784 - 50_400,
    );
    check(
        "microsoft/phi-2",
        json!({"model_type": "phi", "hidden_size": 2560, "intermediate_size": 10240, "num_attention_heads": 32,
            "num_hidden_layers": 32, "vocab_size": 51200, "max_position_embeddings": 2048,
            "hidden_act": "gelu_new", "partial_rotary_factor": 0.4, "tie_word_embeddings": false}),
        2_779_683_840 - 51_200,
    );
}

#[test]
fn mixtures_of_experts() {
    check(
        "Qwen/Qwen1.5-MoE-A2.7B",
        json!({"model_type": "qwen2_moe", "hidden_size": 2048, "intermediate_size": 5632,
            "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632, "num_experts": 60,
            "num_experts_per_tok": 4, "num_attention_heads": 16, "num_key_value_heads": 16,
            "num_hidden_layers": 24, "vocab_size": 151936, "max_position_embeddings": 8192,
            "decoder_sparse_step": 1, "use_sliding_window": false, "sliding_window": 32768}),
        14_315_784_192,
    );
}

#[test]
fn hybrid_of_latent_and_delta_attention() {
    let full: Vec<u32> = (1..=27).filter(|layer| layer % 4 == 0 || *layer == 27).collect();
    let delta: Vec<u32> = (1..=27).filter(|layer| !full.contains(layer)).collect();
    check(
        "moonshotai/Kimi-Linear-48B-A3B-Instruct",
        json!({"model_type": "kimi_linear", "hidden_size": 2304, "intermediate_size": 9216, "num_experts": 256,
            "moe_intermediate_size": 1024, "num_experts_per_token": 8, "num_shared_experts": 1,
            "num_hidden_layers": 27, "num_attention_heads": 32, "vocab_size": 163840, "kv_lora_rank": 512,
            "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "first_k_dense_replace": 1, "model_max_length": 1048576, "tie_word_embeddings": false,
            "linear_attn_config": {"full_attn_layers": full, "kda_layers": delta, "head_dim": 128,
                "num_heads": 32, "short_conv_kernel_size": 4}}),
        49_122_681_728,
    );
}

#[test]
fn hybrid_mixture_of_latent_and_lightning_attention() {
    let ling = json!({"model_type": "bailing_hybrid", "hidden_size": 8192, "intermediate_size": 18432,
        "moe_intermediate_size": 2048, "num_hidden_layers": 80, "num_attention_heads": 64, "num_experts": 256,
        "num_shared_experts": 1, "num_experts_per_tok": 8, "kv_lora_rank": 512, "q_lora_rank": 1536,
        "qk_rope_head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "n_group": 8, "topk_group": 4,
        "first_k_dense_replace": 4, "layer_group_size": 8, "vocab_size": 157184,
        "max_position_embeddings": 131072});
    let model = from_json(&ling.to_string(), "config.json").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(model.layers.iter().map(|group| group.count).sum::<u32>(), 80);
    // Published as "1T total, 63B active".
    let parameters = model.parameters();
    assert!((parameters.total() as f64 / 1e12 - 1.0).abs() < 0.02, "{}", parameters.total());
    assert!((parameters.active() as f64 / 63e9 - 1.0).abs() < 0.015, "{}", parameters.active());
}

#[test]
fn a_decoder_without_model_type_goes_by_its_architecture() {
    let config = json!({"architectures": ["LongcatFlashForCausalLM"], "hidden_size": 64, "num_layers": 2,
        "num_attention_heads": 4, "ffn_hidden_size": 128, "expert_ffn_hidden_size": 32, "n_routed_experts": 8,
        "zero_expert_num": 4, "zero_expert_type": "identity", "moe_topk": 3, "q_lora_rank": 16,
        "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8, "vocab_size": 100,
        "max_position_embeddings": 128});
    let model = from_json(&config.to_string(), "config.json").unwrap_or_else(|error| panic!("{error}"));
    // Each layer is two of ours: one with experts beside its network, one without.
    assert_eq!(model.layers.iter().map(|group| group.count).collect::<Vec<_>>(), [2, 2]);
}

#[test]
fn the_decoder_of_a_multimodal_model() {
    let config = json!({"model_type": "gemma3", "vision_config": {"hidden_size": 1152},
        "text_config": {"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
            "num_hidden_layers": 34, "sliding_window": 1024}});
    let model = from_json(&config.to_string(), "config.json").unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        model.ignored,
        ["the vision tower (`vision_config`) is not described: its sizes are not in the file"]
    );
    // google/gemma-3-4b: 3880M without the vision encoder (arXiv:2503.19786, table 1: 675M + 3209M).
    let total = model.parameters().total() as f64;
    assert!((total / 3.884e9 - 1.0).abs() < 0.005, "{total}");
}

/// Whether the output projection is tied is said by the whole, whatever its decoder's own part says.
#[test]
fn the_whole_says_whether_the_projection_is_tied() {
    let config = |outer: bool| {
        json!({
            "model_type": "some_vl", "tie_word_embeddings": outer,
            "text_config": {
                "model_type": "qwen3", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000,
                "max_position_embeddings": 1024, "hidden_act": "silu", "tie_word_embeddings": true
            }
        })
    };
    assert_eq!(total(&config(false)) - total(&config(true)), 64 * 1000);
}

/// A key that one layer has of its own counts in that layer.
#[test]
fn keys_of_single_layers() {
    let config = |own: Value| {
        json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000,
            "max_position_embeddings": 1024, "hidden_act": "silu", "per_layer_config": own
        })
    };
    let wider = total(&config(json!({ "1": { "intermediate_size": 256 } })));
    assert_eq!(wider - total(&config(json!({}))), 3 * 64 * 128);
}
