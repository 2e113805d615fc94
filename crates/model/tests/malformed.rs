//! Configurations that must be refused, each with a message that names file, key and remedy.

use insta::assert_snapshot;
use serde_json::{Map, Value, json};
use supernode_model::import::from_json;

/// A dense model that imports as it is.
fn llama() -> Map<String, Value> {
    object(json!({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
        "num_key_value_heads": 8, "num_hidden_layers": 32, "vocab_size": 128256, "max_position_embeddings": 8192,
        "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    }))
}

/// A small mixture of experts with latent attention that imports as it is.
fn deepseek() -> Map<String, Value> {
    object(json!({
        "model_type": "deepseek_v3", "hidden_size": 1024, "intermediate_size": 4096, "moe_intermediate_size": 512,
        "num_attention_heads": 16, "num_hidden_layers": 2, "vocab_size": 1000, "max_position_embeddings": 4096,
        "n_routed_experts": 256, "num_experts_per_tok": 8, "n_shared_experts": 1, "first_k_dense_replace": 1,
        "q_lora_rank": 256, "kv_lora_rank": 128, "qk_nope_head_dim": 64, "qk_rope_head_dim": 32, "v_head_dim": 64,
        "n_group": 8, "topk_group": 4, "topk_method": "noaux_tc", "index_topk": 64, "index_n_heads": 4,
        "index_head_dim": 32
    }))
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// What the importer says of a text.
fn refusal(text: &str) -> String {
    from_json(text, "config.json")
        .map_or_else(|error| error.to_string(), |model| format!("imported {}", model.family))
}

/// What it says of a model with one key changed.
fn with(mut config: Map<String, Value>, key: &str, value: Value) -> String {
    config.insert(key.to_owned(), value);
    refusal(&Value::Object(config).to_string())
}

/// What it says of a model with one key taken away.
fn without(mut config: Map<String, Value>, key: &str) -> String {
    config.remove(key);
    refusal(&Value::Object(config).to_string())
}

#[test]
fn the_models_to_spoil_are_sound() {
    for config in [llama(), deepseek()] {
        assert!(refusal(&Value::Object(config).to_string()).starts_with("imported"));
    }
}

#[test]
fn empty() {
    assert_snapshot!(refusal(r#""#), @"config.json: not valid JSON: the file is empty; compare it with the file on the model's page");
}

#[test]
fn not_json() {
    assert_snapshot!(refusal(r#"{"model_type": "llama","#), @"config.json: not valid JSON: EOF while parsing a value at line 1 column 23; compare it with the file on the model's page");
}

#[test]
fn array() {
    assert_snapshot!(refusal(r#"[1, 2]"#), @"config.json: not valid JSON: the file holds [1,2], not an object; compare it with the file on the model's page");
}

#[test]
fn deep_nesting() {
    assert_snapshot!(refusal(&format!("{}{}", "[".repeat(5000), "]".repeat(5000))), @"config.json: not valid JSON: recursion limit exceeded at line 1 column 128; compare it with the file on the model's page");
}

#[test]
fn no_model_type() {
    let mut config = llama();
    config.remove("model_type");
    assert_snapshot!(without(config, "intermediate_size"), @"config.json: no reader is called `(no name)`, and read by its structure it lacks something: key `intermediate_size` is missing; its keys are those of no decoder that is known, and CONTRIBUTING.md says how a family is added");
}

#[test]
fn unknown_model_type() {
    let mut config = llama();
    config.remove("vocab_size");
    assert_snapshot!(with(config, "model_type", json!("lama")), @"config.json: no reader is called `lama`, and read by its structure it lacks something: key `vocab_size` is missing; its keys are those of no decoder that is known, and CONTRIBUTING.md says how a family is added");
}

#[test]
fn model_type_is_a_number() {
    assert_snapshot!(with(llama(), "model_type", json!(7)), @"config.json: key `model_type` is a number (7), but must be a string; correct the value");
}

#[test]
fn missing_key() {
    assert_snapshot!(without(llama(), "intermediate_size"), @"config.json: key `intermediate_size` is missing; take it from the file on the model's page (also known as `ffn_hidden_size`, `n_inner`, `ffn_dim`)");
}

#[test]
fn missing_alternatives() {
    assert_snapshot!(without(llama(), "num_hidden_layers"), @"config.json: key `num_hidden_layers` is missing; take it from the file on the model's page (also known as `n_layer`, `num_layers`, `n_layers`, `num_transformer_layers`)");
}

#[test]
fn negative() {
    assert_snapshot!(with(llama(), "hidden_size", json!(-4096)), @"config.json: key `hidden_size` is -4096, outside 1 to 16777216; correct the value");
}

#[test]
fn zero() {
    assert_snapshot!(with(llama(), "num_attention_heads", json!(0)), @"config.json: key `num_attention_heads` is 0, outside 1 to 16777216; correct the value");
}

#[test]
fn fraction() {
    assert_snapshot!(with(llama(), "num_hidden_layers", json!(32.5)), @"config.json: key `num_hidden_layers` is a number (32.5), but must be a whole number; correct the value");
}

#[test]
fn huge() {
    assert_snapshot!(with(llama(), "vocab_size", json!(1e20)), @"config.json: key `vocab_size` is 1e+20, outside 1 to 16777216; correct the value");
}

#[test]
fn beyond_any_model() {
    assert_snapshot!(with(llama(), "hidden_size", json!(4294967296_u64)), @"config.json: key `hidden_size` is 4294967296, outside 1 to 16777216; correct the value");
}

#[test]
fn too_many_layers() {
    assert_snapshot!(with(llama(), "num_hidden_layers", json!(100000)), @"config.json: key `num_hidden_layers`: 100000 layers are more than any model has (limit 4096); correct the value");
}

#[test]
fn wrong_type() {
    assert_snapshot!(with(llama(), "hidden_size", json!("4096")), @r#"config.json: key `hidden_size` is a string ("4096"), but must be a whole number; correct the value"#);
}

#[test]
fn flag_is_text() {
    assert_snapshot!(with(llama(), "tie_word_embeddings", json!("no")), @r#"config.json: key `tie_word_embeddings` is a string ("no"), but must be true or false; correct the value"#);
}

#[test]
fn heads_do_not_divide() {
    assert_snapshot!(with(llama(), "num_attention_heads", json!(33)), @"config.json: key `num_attention_heads`: hidden size 4096 is not divisible by 33 heads; give `head_dim`");
}

#[test]
fn groups_do_not_divide() {
    assert_snapshot!(with(llama(), "num_key_value_heads", json!(7)), @"config.json: key `num_key_value_heads`: 32 query heads are not divisible by 7 key/value heads; correct one of them");
}

#[test]
fn unknown_key() {
    assert_snapshot!(with(llama(), "mixture_of_depths", json!(3)), @"config.json: key `mixture_of_depths` (= 3) is not understood for this architecture and might change the computation; if it does not, say --ignore-key mixture_of_depths, or name the model as FILE#ignore=mixture_of_depths");
}

#[test]
fn unknown_activation() {
    assert_snapshot!(with(llama(), "hidden_act", json!("maxout")), @r#"config.json: key `hidden_act` is "maxout", which is not understood; known activations are silu, swish, gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, swiglu, swigluoai, situ, relu"#);
}

#[test]
fn layer_types_of_wrong_length() {
    assert_snapshot!(with(llama(), "layer_types", json!(["full_attention"])), @"config.json: key `layer_types`: has 1 entries for 32 layers; give one per layer");
}

#[test]
fn unknown_dtype() {
    assert_snapshot!(with(llama(), "torch_dtype", json!("float7")), @r#"config.json: key `torch_dtype` is "float7", which is not understood; give bfloat16, float16 or float32"#);
}

#[test]
fn unknown_quant_method() {
    assert_snapshot!(with(llama(), "quantization_config", json!({"quant_method": "magic"})), @r#"config.json: key `quantization_config.quant_method` is "magic", which is not understood; known methods are fp8, fbgemm_fp8, compressed-tensors, modelopt, mxfp4, awq, gptq, auto-round, bitsandbytes, torchao, quanto, hqq and bitnet"#);
}

#[test]
fn quant_method_missing() {
    assert_snapshot!(with(llama(), "quantization_config", json!({"bits": 4})), @"config.json: key `quantization_config.quant_method` is missing; take it from the file on the model's page");
}

#[test]
fn unknown_block() {
    assert_snapshot!(with(llama(), "quantization_config", json!({"quant_method": "fp8", "weight_block_size": [64, 64]})), @"config.json: key `quantization_config.weight_block_size` is [64,64], which is not understood; only [128, 128] is understood");
}

#[test]
fn unknown_number_format() {
    assert_snapshot!(with(llama(), "quantization_config", json!({"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 3, "type": "int"}}}})), @"config.json: key `quantization_config.config_groups.group_0.weights.num_bits` is int of 3 bits, which is not understood; known are int 8, int 4, float 8, and float 4 in groups of 16 or 32");
}

#[test]
fn unknown_algorithm() {
    assert_snapshot!(with(llama(), "quantization_config", json!({"quant_method": "modelopt", "quant_algo": "FP3"})), @r#"config.json: key `quantization_config.quant_algo` is "FP3", which is not understood; known algorithms are FP8, FP8_PB_WO, MXFP8, NVFP4, W4A16_NVFP4, INT8_SQ, W4A16_AWQ, W4A8_AWQ and MIXED_PRECISION"#);
}

#[test]
fn bad_expression() {
    assert_snapshot!(with(llama(), "quantization_config", json!({"quant_method": "fp8", "modules_to_not_convert": ["re:("]})), @"config.json: key `quantization_config.modules_to_not_convert` is `re:(`, which is not understood; it is no regular expression: found open group without closing ')'");
}

#[test]
fn quantisation_is_text() {
    assert_snapshot!(with(llama(), "quantization_config", json!("fp8")), @r#"config.json: key `quantization_config` is a string ("fp8"), but must be an object; correct the value"#);
}

#[test]
fn alternatives_disagree() {
    assert_snapshot!(with(llama(), "n_embd", json!(5120)), @"config.json: key `n_embd`: is 5120, but `hidden_size` is 4096; keep one");
}

#[test]
fn more_experts_per_token_than_experts() {
    assert_snapshot!(with(deepseek(), "num_experts_per_tok", json!(300)), @"config.json: key `num_experts_per_tok`: 300 experts per token are more than the 256 experts; correct one");
}

#[test]
fn experts_do_not_divide() {
    assert_snapshot!(with(deepseek(), "n_group", json!(7)), @"config.json: key `n_group`: 256 experts cannot be divided into 7 groups of which 4 are chosen; correct `n_group` or `topk_group`");
}

#[test]
fn unknown_layer_frequency() {
    assert_snapshot!(with(deepseek(), "moe_layer_freq", json!([0, 1, 1])), @"config.json: key `moe_layer_freq`: has 3 entries for 2 layers; give one per layer");
}

#[test]
fn rope_and_nope_disagree() {
    assert_snapshot!(with(deepseek(), "qk_head_dim", json!(100)), @"config.json: key `qk_head_dim`: is 100, but the parts with and without rotation are 64 and 32; correct one");
}

#[test]
fn biased_latent_attention() {
    assert_snapshot!(with(deepseek(), "attention_bias", json!(true)), @"config.json: key `attention_bias` is true, which is not understood; biases on latent attention are not described; give false");
}

#[test]
fn unknown_indexer_type() {
    assert_snapshot!(with(deepseek(), "indexer_types", json!(["full", "none"])), @r#"config.json: key `indexer_types` is "none", which is not understood; known types are full and shared"#);
}

#[test]
fn sizes_that_multiply_beyond_any_model() {
    let mut config = deepseek();
    config.insert("hidden_size".to_owned(), json!(16_777_216));
    config.insert("n_routed_experts".to_owned(), json!(16_777_216));
    assert_snapshot!(with(config, "moe_intermediate_size", json!(16_777_216)), @"config.json: key `hidden_size`: the sizes multiply to 1.845e19 parameters, more than any model has; correct them");
}

#[test]
fn unreadable_and_unknown_names() {
    let say =
        |spec: &str| supernode_model::resolve(spec).map(|model| model.id).map_err(|error| error.to_string());
    assert_snapshot!(say("no/such/config.json").unwrap_err(), @"no/such/config.json: cannot be read: No such file or directory (os error 2); give a config.json or the directory that holds it");
    assert_snapshot!(say("DeepSeek-R2").unwrap_err(), @"`DeepSeek-R2` is neither a file nor a built-in model (did you mean `deepseek-ai/DeepSeek-R1`?); give a config.json, its directory or a name listed by `supernode model list`");
}

#[test]
fn quantisation_files_beside_the_configuration() {
    use supernode_model::import::from_path;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write =
        |name: &str, text: &str| std::fs::write(directory.path().join(name), text).expect("a written file");
    let say = || {
        let said = from_path(directory.path()).map(|model| format!("{:?}", model.quantization));
        let text = said.unwrap_or_else(|error| error.to_string());
        text.replace(&directory.path().display().to_string(), "DIR")
    };
    assert_snapshot!(say(), @"DIR/config.json: cannot be read: No such file or directory (os error 2); give a config.json or the directory that holds it");
    write("config.json", &Value::Object(llama()).to_string());
    write("hf_quant_config.json", r#"{"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP7"}}"#);
    assert_snapshot!(say(), @r#"DIR/hf_quant_config.json: key `quantization.kv_cache_quant_algo` is "FP7", which is not understood; known formats are FP8, INT8 and NVFP4"#);
    write("hf_quant_config.json", r#"{"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}"#);
    assert_snapshot!(say(), @"Quantization { weights: Fp8, activations: Fp8, experts: Fp8, kv: Fp8, attention: Fp8, embedding: Bf16, expert_activations: Fp8, state: Fp32, group: None }");
    write("quant_model_description.json", r#"{"model.layers.0.self_attn.q_proj.weight": "W3A3"}"#);
    assert_snapshot!(say(), @"DIR/quant_model_description.json: key `model.layers.0.self_attn.q_proj.weight` is `W3A3`, which is not understood; known formats are W8A8, W4A8, W8A16, W4A16 and FLOAT");
    let mut description = Map::new();
    for layer in 0..32 {
        for module in ["q_proj", "k_proj", "v_proj", "o_proj"] {
            description.insert(format!("model.layers.{layer}.self_attn.{module}.weight"), json!("W8A8"));
        }
        description.insert(format!("model.layers.{layer}.mlp.up_proj.weight"), json!("W4A8_DYNAMIC"));
        description.insert(format!("model.layers.{layer}.input_layernorm.weight"), json!("FLOAT"));
    }
    description.insert("kv_cache_type".to_owned(), json!("C8"));
    write("quant_model_description.json", &Value::Object(description).to_string());
    assert_snapshot!(say(), @"Quantization { weights: Int4, activations: Int8, experts: Int4, kv: Int8, attention: Int8, embedding: Bf16, expert_activations: Int8, state: Fp32, group: None }");
}
