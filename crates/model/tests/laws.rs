//! Laws that hold for every model, and the promise that no text makes the importer panic.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use supernode_model::counts::{Part, Phase};
use supernode_model::import::from_json;
use supernode_model::{Model, builtin, builtin_ids, show};
use units::Flop;

fn built_in() -> impl Strategy<Value = Model> {
    proptest::sample::select(builtin_ids())
        .prop_map(|id| builtin(id).unwrap_or_else(|error| panic!("{error}")))
}

fn flop(model: &Model, phase: Phase) -> Flop {
    model.flops_per_token(phase).iter().map(|(_, flop)| *flop).sum()
}

proptest! {
    #[test]
    fn more_context_never_costs_less(model in built_in(), context in 1.0_f64..2e5, more in 0.0_f64..2e5) {
        prop_assert!(model.cache_bytes(context) <= model.cache_bytes(context + more));
        let decode = |context| flop(&model, Phase::Decode { context });
        prop_assert!(decode(context) <= decode(context + more));
    }

    #[test]
    fn a_token_meets_no_more_than_there_is(model in built_in()) {
        let parameters = model.parameters();
        for part in Part::ALL {
            prop_assert!(parameters.active[part] <= parameters.total[part]);
        }
        let bytes: f64 = model.weight_bytes().iter().map(|(_, bytes)| bytes.get()).sum();
        let total = (parameters.total() + parameters.total[Part::Mtp]) as f64;
        prop_assert!(bytes >= 0.5 * total && bytes <= 4.0 * total);
    }

    /// The rule of thumb of two operations per active parameter holds for short contexts, embedding lookups aside.
    #[test]
    fn short_contexts_cost_two_operations_per_active_parameter(model in built_in()) {
        let parameters = model.parameters();
        let head = f64::from(model.hidden) * f64::from(model.vocab);
        let tied = if model.tied_embeddings { head } else { 0.0 };
        let met = (parameters.active() - parameters.active[Part::Embedding]) as f64 + tied;
        let work = flop(&model, Phase::Decode { context: 1.0 }).get();
        prop_assert!((work / (2.0 * met) - 1.0).abs() < 0.05, "{} {work} {met}", model.id);
    }

    #[test]
    fn no_text_makes_the_importer_panic(text in "\\PC{0,200}") {
        let _ = from_json(&text, "config.json");
    }

    #[test]
    fn no_value_of_a_key_makes_the_importer_panic(
        base in 0..BASES.len(),
        changes in proptest::collection::vec((0_usize..64, value()), 0..4),
    ) {
        let mut config: Map<String, Value> = serde_json::from_str(BASES[base]).unwrap_or_default();
        let keys: Vec<String> = config.keys().cloned().collect();
        for (index, value) in changes {
            config.insert(keys[index % keys.len()].clone(), value);
        }
        if let Ok(model) = from_json(&Value::Object(config).to_string(), "config.json") {
            prop_assert!(!show(&model).is_empty());
            let work = flop(&model, Phase::Decode { context: 1e6 });
            prop_assert!(work.is_finite());
            prop_assert!(model.cache_bytes(1e7).is_finite());
        }
    }
}

/// Values of every kind, numbers near the limits among them.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![0_u64..4, Just(1 << 24), Just((1 << 24) + 1), any::<u64>()].prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        prop_oneof![Just("full_attention"), Just("M*-E"), Just("fp8"), Just("modelopt"), Just("")]
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z_]{1,12}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Small configurations of families with different readers.
const BASES: &[&str] = &[
    r#"{"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 2, "vocab_size": 100,
        "max_position_embeddings": 64, "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "sliding_window": 16, "use_sliding_window": true, "max_window_layers": 1,
        "layer_types": ["full_attention", "sliding_attention"],
        "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}"#,
    r#"{"model_type": "deepseek_v32", "hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 32,
        "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100, "max_position_embeddings": 64,
        "n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
        "n_group": 2, "topk_group": 1, "index_topk": 16, "index_n_heads": 2, "index_head_dim": 8,
        "num_nextn_predict_layers": 1, "indexer_types": ["full", "shared"], "moe_layer_freq": 1}"#,
    r#"{"model_type": "deepseek_v4", "hidden_size": 64, "moe_intermediate_size": 32, "num_attention_heads": 4,
        "num_hidden_layers": 2, "vocab_size": 100, "max_position_embeddings": 64, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "n_shared_experts": 1, "num_hash_layers": 1, "hc_mult": 4, "head_dim": 16,
        "qk_rope_head_dim": 4, "q_lora_rank": 16, "o_lora_rank": 8, "o_groups": 2, "sliding_window": 16,
        "index_topk": 16, "index_n_heads": 2, "index_head_dim": 8, "compress_ratios": [4, 128, 0],
        "num_nextn_predict_layers": 1, "num_key_value_heads": 1, "expert_dtype": "fp4"}"#,
    r#"{"model_type": "nemotron_h", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 4, "hybrid_override_pattern": "M*-E",
        "vocab_size": 100, "max_position_embeddings": 64, "mamba_num_heads": 4, "mamba_head_dim": 8,
        "ssm_state_size": 16, "n_groups": 2, "conv_kernel": 4, "chunk_size": 128, "n_routed_experts": 8,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 1,
        "moe_shared_expert_intermediate_size": 64, "moe_latent_size": 32, "num_nextn_predict_layers": 1,
        "mtp_hybrid_override_pattern": "*E"}"#,
    r#"{"model_type": "qwen3_next", "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 4, "vocab_size": 100,
        "max_position_embeddings": 64, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
        "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "num_experts": 8,
        "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
        "full_attention_interval": 4, "decoder_sparse_step": 1, "mlp_only_layers": [0]}"#,
    r#"{"model_type": "kimi_linear", "hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 32,
        "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": 100, "max_position_embeddings": 64,
        "num_experts": 8, "num_experts_per_token": 2, "num_shared_experts": 1, "first_k_dense_replace": 1,
        "q_lora_rank": null, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
        "linear_attn_config": {"kda_layers": [1], "full_attn_layers": [2], "num_heads": 4, "head_dim": 8,
        "short_conv_kernel_size": 4}, "routed_expert_hidden_size": 32, "attn_res_block_size": 2}"#,
    r#"{"model_type": "longcat_flash", "hidden_size": 64, "num_layers": 2, "num_attention_heads": 4,
        "ffn_hidden_size": 128, "expert_ffn_hidden_size": 32, "n_routed_experts": 8, "zero_expert_num": 4,
        "moe_topk": 3, "q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4,
        "v_head_dim": 8, "vocab_size": 100, "max_position_embeddings": 128, "ngram_vocab_size_ratio": 2,
        "emb_neighbor_num": 3, "emb_split_num": 2}"#,
    r#"{"model_type": "nemotron-nas", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1,
        "vocab_size": 100, "max_position_embeddings": 64, "block_configs": [{"attention": {"n_heads_in_group": 2},
        "ffn": {"ffn_mult": 2.5}}]}"#,
    r#"{"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 100, "n_positions": 64,
        "n_inner": 128, "activation_function": "gelu_new"}"#,
    r#"{"model_type": "minimax_m3", "hidden_size": 64, "intermediate_size": 32, "dense_intermediate_size": 128,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "num_hidden_layers": 2,
        "vocab_size": 100, "max_position_embeddings": 64, "num_local_experts": 8, "num_experts_per_tok": 2,
        "moe_layer_freq": [0, 1], "n_shared_experts": 1, "shared_intermediate_size": 32,
        "sparse_attention_config": {"use_sparse_attention": true, "sparse_block_size": 8, "sparse_topk_blocks": 2,
        "sparse_num_index_heads": 2, "sparse_index_dim": 8, "sparse_attention_freq": [0, 1]}}"#,
];

#[test]
fn the_bases_import() {
    for base in BASES {
        let model = from_json(base, "config.json").unwrap_or_else(|error| panic!("{error}"));
        assert!(model.parameters().total() > 0);
    }
}
