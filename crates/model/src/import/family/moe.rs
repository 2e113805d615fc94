//! Grouped-query attention with routed experts: Mixtral, Qwen2-MoE, gpt-oss, GLM-4.5, MiniMax, MiMo-V2, Step, Ling,
//! Hy3, Pangu Pro.

use super::Family;
use super::common::{
    check_groups, expect_gated_activation, expert_groups, experts, heads, intermediate, layer_types, mixed,
    which_sparse, windowed, windows,
};
use super::indexer::indexer;
use crate::arch::{Attention, Ffn, Moe, MultiHead, SparseIndexer};
use crate::import::decoder::{Decoder, Frame, Layout, gated, layer};
use crate::import::keys::{Keys, Read};
use serde_json::Value;

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "mixtral", read: mixtral },
    Family { name: "qwen2_moe", read: qwen2_moe },
    Family { name: "gpt_oss", read: gpt_oss },
    Family { name: "glm4_moe", read: glm4_moe },
    Family { name: "minimax_m2", read: minimax_m2 },
    Family { name: "minimax_m3", read: minimax_m3 },
    Family { name: "minimax_m3_vl_text", read: minimax_m3 },
    Family { name: "mimo_v2_flash", read: mimo_v2 },
    Family { name: "step3p7", read: step },
    Family { name: "bailing_moe_v2", read: bailing },
    Family { name: "hy_v3", read: hy3 },
    Family { name: "PanguProMoE", read: pangu_pro },
];

/// The same attention and experts in every layer.
fn uniform(keys: &Keys, frame: Frame, attention: &MultiHead, moe: Moe) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    let layer = |window| layer(windowed(attention, window), Ffn::Moe(moe.clone()));
    let layers = windows(keys, frame)?.into_iter().map(layer).collect();
    Ok(Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers))
}

fn mixtral(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let mut decoder = uniform(keys, frame, &heads(keys, frame)?, experts(keys)?)?;
    decoder.layout = BLOCK_SPARSE;
    Ok(decoder)
}

/// Mixtral's names, which MiniMax kept.
const BLOCK_SPARSE: Layout = Layout {
    experts: "block_sparse_moe.experts.0",
    expert_up: "w3",
    shared: "block_sparse_moe.shared_experts",
    ..Layout::COMMON
};

fn qwen2_moe(keys: &Keys, frame: Frame) -> Read<Decoder> {
    if keys.count_or("decoder_sparse_step", 1)? != 1 {
        return Err(keys.unknown_value("decoder_sparse_step", "only 1 is understood: experts in every layer"));
    }
    keys.expect_flag("qkv_bias", true, "this line has biases on q, k and v; give true")?;
    let shared_intermediate = keys.whole("shared_expert_intermediate_size")?;
    let attention = MultiHead { qkv_bias: true, ..heads(keys, frame)? };
    let moe = Moe { shared_intermediate, shared_gate: shared_intermediate > 0, ..experts(keys)? };
    keys.ignore("intermediate_size");
    uniform(keys, frame, &attention, moe)
}

/// Biases everywhere, and a sink in every head.
fn gpt_oss(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", true)?;
    let attention = MultiHead { qkv_bias: bias, out_bias: bias, sinks: true, ..heads(keys, frame)? };
    let moe = Moe { bias: true, router_bias: true, ..experts(keys)? };
    uniform(keys, frame, &attention, moe)
}

/// Leading dense layers, then layers with a shared expert and a balancing bias.
fn leading_dense(keys: &Keys, frame: Frame, attention: &MultiHead, moe: &Moe, modules: u32) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    let dense = gated(intermediate(keys)?);
    let attention = Attention::MultiHead(attention.clone());
    let layers = mixed(&which_sparse(keys, frame)?, &attention, &dense, moe);
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers);
    if modules > 0 {
        decoder.mtp = Some((modules, layer(attention, Ffn::Moe(moe.clone()))));
    }
    Ok(decoder)
}

fn shared_moe(keys: &Keys) -> Read<Moe> {
    let mut moe = experts(keys)?;
    expert_groups(keys, &mut moe)?;
    moe.shared_intermediate =
        moe.intermediate.saturating_mul(keys.whole("n_shared_experts|num_shared_experts")?);
    moe.router_bias = true;
    Ok(moe)
}

fn glm4_moe(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let attention = MultiHead {
        qkv_bias: keys.flag("attention_bias", false)?,
        qk_norm: keys.flag("use_qk_norm", false)?,
        ..heads(keys, frame)?
    };
    let modules = keys.whole("num_nextn_predict_layers")?;
    leading_dense(keys, frame, &attention, &shared_moe(keys)?, modules)
}

fn bailing(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_no_extras(keys)?;
    let attention = MultiHead {
        qkv_bias: keys.flag("use_qkv_bias", false)?,
        out_bias: keys.flag("use_bias", false)?,
        qk_norm: keys.flag("use_qk_norm", true)?,
        ..heads(keys, frame)?
    };
    let moe = Moe { router_bias: keys.flag("moe_router_enable_expert_bias", true)?, ..shared_moe(keys)? };
    keys.ignore(
        "moe_shared_expert_intermediate_size|moe_router_enable_shared_expert|rotary_type|use_rmsnorm",
    );
    let modules = keys.whole("num_nextn_predict_layers")?;
    leading_dense(keys, frame, &attention, &moe, modules)
}

fn expect_no_extras(keys: &Keys) -> Read<()> {
    keys.ignore("router_type|score_function|norm_head|norm_softmax|output_dropout|mtp_loss_scaling_factor|moe_router_topk_scaling_factor");
    keys.expect_flag("use_sliding_window", false, "windows in this family are not described; give false")?;
    keys.ignore("sliding_window|max_window_layers");
    Ok(())
}

fn hy3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag(
        "attention_bias",
        false,
        "biases on attention are not described in this family; give false",
    )?;
    keys.expect_flag("mlp_bias", false, "biases of networks are not described in this family; give false")?;
    keys.expect_flag("qk_norm", true, "queries and keys are normalised in this family; give true")?;
    keys.ignore("moe_router_use_sigmoid|moe_router_enable_expert_bias|router_scaling_factor|route_norm");
    keys.ignore("enable_moe_fp32_combine|enable_attention_fp32_softmax|enable_lm_head_fp32|use_grouped_mm|expert_hidden_dim");
    let attention = MultiHead { qk_norm: true, ..heads(keys, frame)? };
    let modules = keys.whole("num_nextn_predict_layers")?;
    leading_dense(keys, frame, &attention, &shared_moe(keys)?, modules)
}

/// Grouped experts: a token takes the same number from every group, so that each device gets equal work.
fn pangu_pro(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag(
        "sandwich_norm",
        false,
        "norms of outputs are not described in this family; give false",
    )?;
    let shared_intermediate = keys.whole("shared_expert_intermediate_size")?;
    let attention = MultiHead { qkv_bias: true, out_bias: true, ..heads(keys, frame)? };
    keys.ignore("intermediate_size");
    uniform(keys, frame, &attention, Moe { shared_intermediate, ..experts(keys)? })
}

fn minimax_m2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.ignore("layernorm_full_attention_beta|layernorm_linear_attention_beta|layernorm_mlp_beta");
    keys.ignore("mlp_intermediate_size|shared_moe_mode");
    let qk_norm = keys.flag("use_qk_norm", true)?;
    let attention = MultiHead { qk_norm, qk_norm_whole: qk_norm_whole(keys)?, ..heads(keys, frame)? };
    let moe = Moe {
        router_bias: keys.flag("use_routing_bias", true)?,
        shared_intermediate: keys.whole("shared_intermediate_size")?,
        ..experts(keys)?
    };
    expect_full_attention(keys, frame)?;
    let module = layer(Attention::MultiHead(attention.clone()), Ffn::Moe(moe.clone()));
    let mut decoder = uniform(keys, frame, &attention, moe)?;
    decoder.layout = BLOCK_SPARSE;
    let (used, modules) = (keys.flag("use_mtp", false)?, keys.whole("num_mtp_modules")?);
    if keys.count_or("mtp_transformer_layers", 1)? != 1 {
        return Err(keys
            .unknown_value("mtp_transformer_layers", "only prediction modules of one layer are understood"));
    }
    decoder.mtp = (used && modules > 0).then_some((modules, module));
    Ok(decoder)
}

/// The list of attention kinds that the line had when some layers were linear; 1 is full attention.
fn expect_full_attention(keys: &Keys, frame: Frame) -> Read<()> {
    let kinds = keys.per_layer("attn_type_list", frame.layers)?.unwrap_or_default();
    match kinds.iter().find(|kind| kind.as_u64() != Some(1)) {
        Some(other) => {
            Err(keys.unknown("attn_type_list", &other.to_string(), "only 1, full attention, is understood"))
        }
        None => Ok(()),
    }
}

fn qk_norm_whole(keys: &Keys) -> Read<bool> {
    match keys.text("qk_norm_type")? {
        None | Some("per_layer") => Ok(true),
        Some("per_head") => Ok(false),
        Some(_) => Err(keys.unknown_value("qk_norm_type", "known types are per_layer and per_head")),
    }
}

/// Blocks of the past selected by a light scorer.
fn minimax_m3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag(
        "attention_output_gate",
        false,
        "gates on attention are not described in this family; give false",
    )?;
    keys.ignore("use_gemma_norm|intermediate_size|num_mtp_modules");
    // Transformers 5 leaves the kind out, which is that of a head there.
    let whole = keys.has("qk_norm_type") && qk_norm_whole(keys)?;
    let full =
        MultiHead { qk_norm: keys.flag("use_qk_norm", true)?, qk_norm_whole: whole, ..heads(keys, frame)? };
    let (indexer, selecting) = block_selection(keys, frame)?;
    let mut moe = experts(keys)?;
    moe.shared_intermediate = keys.whole("shared_intermediate_size")?.saturating_mul(shared_experts(keys)?);
    moe.router_bias = keys.flag("use_routing_bias", true)?;
    let dense = gated(keys.count("dense_intermediate_size")?);
    let sparse = which_sparse(keys, frame)?;
    let attention = |selects: bool| {
        Attention::MultiHead(MultiHead { indexer: selects.then(|| indexer.clone()), ..full.clone() })
    };
    let layers = selecting.iter().zip(&sparse).map(|(selects, is_sparse)| {
        layer(attention(*selects), if *is_sparse { Ffn::Moe(moe.clone()) } else { dense.clone() })
    });
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect());
    decoder.layout = BLOCK_SPARSE;
    let modules = keys.whole("num_nextn_predict_layers")?;
    if modules > 0 {
        decoder.mtp = Some((modules, layer(attention(true), Ffn::Moe(moe))));
    }
    Ok(decoder)
}

/// The number of shared experts; one where the file leaves it out, as Transformers 5 does.
fn shared_experts(keys: &Keys) -> Read<u32> {
    if keys.is_present("n_shared_experts") { keys.whole("n_shared_experts") } else { Ok(1) }
}

/// The selector, and the layers that have one.
fn block_selection(keys: &Keys, frame: Frame) -> Read<(SparseIndexer, Vec<bool>)> {
    if let (false, Some(indexer)) = (keys.has("sparse_attention_config"), indexer(keys)?) {
        let kinds = layer_types(keys, frame, &["full_attention", "minimax_m3_sparse"])?;
        let kinds = kinds.ok_or_else(|| keys.missing("layer_types"))?;
        return Ok((indexer, kinds.into_iter().map(|kind| kind != "full_attention").collect()));
    }
    let config =
        keys.object("sparse_attention_config")?.ok_or_else(|| keys.missing("sparse_attention_config"))?;
    config.expect_flag("use_sparse_attention", true, "only sparse attention is understood; give true")?;
    config.ignore("sparse_score_type|sparse_disable_index_value");
    let block = config.count("sparse_block_size")?;
    let extra = config.whole("sparse_init_block")?.saturating_add(config.whole("sparse_local_block")?);
    let blocks = config.count("sparse_topk_blocks")?.saturating_add(extra);
    let indexer = SparseIndexer {
        heads: config.count("sparse_num_index_heads")?,
        head_dim: config.count("sparse_index_dim")?,
        topk: blocks.saturating_mul(block),
        compression: 1,
        shared: false,
    };
    const FREQUENCY: &str = "sparse_attention_freq";
    let layers = config.per_layer(FREQUENCY, frame.layers)?.ok_or_else(|| config.missing(FREQUENCY))?;
    let selecting = layers.iter().map(|flag| config.number(FREQUENCY, flag, 0).map(|flag| flag != 0));
    let selecting = selecting.collect::<Read<Vec<bool>>>()?;
    config.finish(&[])?;
    Ok((indexer, selecting))
}

/// Windowed layers with heads of their own shape; full layers without sinks.
fn mimo_v2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag(
        "attention_bias",
        false,
        "biases on attention are not described in this family; give false",
    )?;
    keys.ignore("attention_chunk_size|topk_method");
    let v_head_dim = keys.opt_count("v_head_dim")?;
    let full = heads(keys, frame)?;
    let full = MultiHead {
        v_head_dim: v_head_dim.unwrap_or(full.head_dim),
        sinks: keys.flag("add_full_attention_sink_bias", false)?,
        ..full
    };
    // As Transformers 5 writes it, windowed layers have twice the key/value heads, and sinks.
    let rewritten = !keys.has("hybrid_layer_pattern");
    let doubled = if rewritten { full.kv_heads.saturating_mul(2) } else { full.kv_heads };
    let local = MultiHead {
        heads: keys.count_or("swa_num_attention_heads", full.heads)?,
        kv_heads: keys.count_or("swa_num_key_value_heads", doubled)?,
        head_dim: keys.count_or("swa_head_dim", full.head_dim)?,
        v_head_dim: keys.count_or("swa_v_head_dim", full.v_head_dim)?,
        window: Some(keys.count("sliding_window|sliding_window_size")?),
        sinks: keys.flag("add_swa_attention_sink_bias", rewritten)?,
        ..full.clone()
    };
    check_groups(keys, local.heads, local.kv_heads)?;
    let is_local = local_layers(keys, frame)?;
    let mut moe = experts(keys)?;
    expert_groups(keys, &mut moe)?;
    moe.shared_intermediate = moe.intermediate.saturating_mul(keys.whole("n_shared_experts")?);
    moe.router_bias = true;
    let dense = gated(intermediate(keys)?);
    let layers = is_local.iter().zip(which_sparse(keys, frame)?).map(|(is_local, is_sparse)| {
        let attention = if *is_local { &local } else { &full };
        let ffn = if is_sparse { Ffn::Moe(moe.clone()) } else { dense.clone() };
        layer(Attention::MultiHead(attention.clone()), ffn)
    });
    Ok(Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect()))
}

/// The windowed layers of MiMo-V2: by its own pattern, or by `layer_types`.
fn local_layers(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    const PATTERN: &str = "hybrid_layer_pattern";
    let Some(pattern) = keys.per_layer(PATTERN, frame.layers)? else {
        let kinds = layer_types(keys, frame, &["full_attention", "sliding_attention"])?;
        let kinds = kinds.ok_or_else(|| keys.missing(PATTERN))?;
        return Ok(kinds.into_iter().map(|kind| kind == "sliding_attention").collect());
    };
    let kind = |kind: &Value| match kind.as_u64() {
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        _ => Err(keys.unknown(PATTERN, &kind.to_string(), "known kinds are 0, full, and 1, windowed")),
    };
    pattern.iter().map(kind).collect()
}

fn step(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    let attention = MultiHead { qk_norm: true, ..heads(keys, frame)? };
    let mut moe = experts(keys)?;
    moe.shared_intermediate = keys.count("share_expert_dim")?.saturating_mul(shared_experts(keys)?);
    moe.router_bias = keys.flag("use_moe_router_bias", true)?;
    let dense = gated(intermediate(keys)?);
    let windows = windows(keys, frame)?;
    let local = windowed_heads(keys, &attention)?;
    keys.ignore("moe_every_n_layer|mtp_layer_types|mtp_mlp_layer_types|swiglu_limits|swiglu_limits_shared|use_head_wise_attn_gate|yarn_only_types|use_qk_norm|use_moe|need_fp32_gate");
    let layers = windows.iter().zip(which_sparse(keys, frame)?).map(|(window, is_sparse)| {
        let heads = if window.is_some() { &local } else { &attention };
        layer(windowed(heads, *window), if is_sparse { Ffn::Moe(moe.clone()) } else { dense.clone() })
    });
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect());
    let modules = keys.whole("num_nextn_predict_layers")?;
    if modules > 0 {
        let window = windows.iter().flatten().next().copied();
        let heads = if window.is_some() { &local } else { &attention };
        decoder.mtp = Some((modules, layer(windowed(heads, window), dense)));
    }
    Ok(decoder)
}

/// The heads of windowed layers, where the file has others for them.
fn windowed_heads(keys: &Keys, full: &MultiHead) -> Read<MultiHead> {
    let heads = keys.count_or("num_sliding_attention_heads", full.heads)?;
    let Some(other) = keys.object("attention_other_setting")? else {
        return Ok(MultiHead { heads, ..full.clone() });
    };
    let head_dim = other.count_or("head_dim", full.head_dim)?;
    let heads = MultiHead {
        heads: other.count_or("num_attention_heads", heads)?,
        kv_heads: other.count_or("num_attention_groups|num_key_value_heads", full.kv_heads)?,
        head_dim,
        v_head_dim: head_dim,
        ..full.clone()
    };
    other.ignore("attention_type|true_head_dim");
    check_groups(keys, heads.heads, heads.kv_heads)?;
    Ok(heads)
}
