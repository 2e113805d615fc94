//! Kimi Linear and K3: delta attention with a decay per element, latent attention every few layers.

use super::Family;
use super::common::{
    delta_heads, delta_rule, expect_gated_activation, expert_groups, experts, intermediate, layer_types, mla,
    which_sparse,
};
use crate::arch::{Attention, Ffn, LayerGroup, Mla, Moe};
use crate::import::decoder::{Decoder, Frame, Layout, gated};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[Family { name: "kimi_linear", read: kimi_linear }];

fn kimi_linear(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.ignore(
        "activation_situ_beta|activation_situ_linear_beta|mla_use_nope|moe_renormalize|use_grouped_topk",
    );
    keys.ignore("moe_router_activation_func|latent_moe_use_norm");
    let full = Attention::Mla(Mla { output_gate: keys.flag("mla_use_output_gate", false)?, ..mla(keys)? });
    let (delta, is_delta) = delta_layers(keys, frame)?;
    let moe = moe(keys)?;
    let dense = gated(intermediate(keys)?);
    let residual = keys.opt_count("attn_res_block_size")?;
    let sparse = which_sparse(keys, frame)?;
    let layers = is_delta.iter().zip(&sparse).map(|(is_delta, is_sparse)| LayerGroup {
        count: 1,
        // Residuals that attend over earlier blocks normalise their inputs once more before each sub-layer.
        norms: if residual.is_some() { 4 } else { 2 },
        attention: if *is_delta { delta.clone() } else { full.clone() },
        ffn: if *is_sparse { Ffn::Moe(moe.clone()) } else { dense.clone() },
        extra: 0,
    });
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect());
    decoder.layout = Layout {
        linear: "self_attn",
        linear_input: "q_proj",
        linear_output: "o_proj",
        experts: "block_sparse_moe.experts.0",
        shared: "block_sparse_moe.shared_experts",
        expert_up: "w3",
        ..Layout::COMMON
    };
    if residual.is_some() {
        decoder.outer_norms = 2;
        let note =
            "the scoring vectors of attention residuals (two per layer, of hidden width) are not counted";
        decoder.ignored.push(note.to_owned());
    }
    if keys.whole("num_nextn_predict_layers")? > 0 {
        let expected = "prediction modules of this family are not described; only 0 is understood";
        return Err(keys.unknown_value("num_nextn_predict_layers", expected));
    }
    Ok(decoder)
}

fn moe(keys: &Keys) -> Read<Moe> {
    let mut moe = experts(keys)?;
    expert_groups(keys, &mut moe)?;
    moe.shared_intermediate = moe.intermediate.saturating_mul(keys.whole("num_shared_experts")?);
    moe.latent = keys.opt_count("routed_expert_hidden_size")?;
    moe.router_bias = true;
    keys.ignore("topk_method");
    Ok(moe)
}

/// The linear attention, and which layers have it: by `layer_types`, as Transformers 5 writes it, or by `kda_layers` and
/// `full_attn_layers`, which count from one.
fn delta_layers(keys: &Keys, frame: Frame) -> Read<(Attention, Vec<bool>)> {
    if !keys.has("linear_attn_config") && keys.has("linear_num_heads") {
        let kinds = layer_types(keys, frame, &["full_attention", "linear_attention"])?;
        let kinds = kinds.ok_or_else(|| keys.missing("layer_types"))?;
        let delta = Attention::Linear(delta_rule(keys, false)?);
        return Ok((delta, kinds.into_iter().map(|kind| kind == "linear_attention").collect()));
    }
    let config = keys.object("linear_attn_config")?.ok_or_else(|| keys.missing("linear_attn_config"))?;
    let numbers = |name: &str| -> Read<Vec<u32>> {
        let items = config.list(name)?.ok_or_else(|| config.missing(name))?;
        items.iter().map(|item| config.number(name, item, 1)).collect()
    };
    let (delta, full) = (numbers("kda_layers")?, numbers("full_attn_layers")?);
    for layer in 1..=frame.layers {
        if delta.contains(&layer) == full.contains(&layer) {
            let reason = format!("layer {layer} must be in one of `kda_layers` and `full_attn_layers`");
            return Err(config.inconsistent("kda_layers", reason));
        }
    }
    let (heads, head_dim) = (config.count("num_heads")?, config.count("head_dim")?);
    let full_rank = config.flag("use_full_rank_gate", false)?;
    config.ignore("gate_lower_bound");
    let conv_kernel = config.count("short_conv_kernel_size")?;
    // The decay keeps its low rank beside a gate of full rank.
    let ranks = [(!full_rank).then_some(head_dim), Some(head_dim)];
    let attention = Attention::Linear(delta_heads(heads, head_dim, conv_kernel, ranks));
    config.finish(&[])?;
    Ok((attention, (1..=frame.layers).map(|layer| delta.contains(&layer)).collect()))
}
