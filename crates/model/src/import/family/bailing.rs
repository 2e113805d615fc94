//! Ling 2.5: lightning attention, whose state decays by a constant per head, with latent attention every few layers.

use super::Family;
use super::common::{
    delta_heads, delta_rule, expect_gated_activation, expert_groups, experts, intermediate, layer_types, mla,
    which_sparse,
};
use crate::arch::{Attention, Decay, Ffn, Linear, Moe};
use crate::import::decoder::{Decoder, Frame, Layout, gated, layer};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[Family { name: "bailing_hybrid", read: hybrid }];

fn hybrid(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    ignore_training(keys)?;
    let full = Attention::Mla(mla(keys)?);
    let linear = Attention::Linear(linear(keys, frame)?);
    let mut moe = experts(keys)?;
    expert_groups(keys, &mut moe)?;
    moe.router_bias = keys.flag("moe_router_enable_expert_bias", true)?;
    let shared = keys.whole("num_shared_experts")?;
    let width = keys.count_or("moe_shared_expert_intermediate_size", moe.intermediate)?;
    let moe = Ffn::Moe(Moe { shared_intermediate: shared.saturating_mul(width), ..moe });
    let dense = gated(intermediate(keys)?);
    let sparse = which_sparse(keys, frame)?;
    let layers = full_layers(keys, frame)?.into_iter().zip(sparse).map(|(is_full, is_sparse)| {
        let attention = if is_full { full.clone() } else { linear.clone() };
        layer(attention, if is_sparse { moe.clone() } else { dense.clone() })
    });
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect());
    decoder.layout = Layout {
        attention: "attention",
        linear: "attention",
        linear_input: "query_key_value",
        linear_output: "dense",
        ..Layout::COMMON
    };
    let modules = keys.whole("num_nextn_predict_layers")?;
    if modules > 0 {
        decoder.mtp = Some((modules, layer(full, moe)));
    }
    Ok(decoder)
}

/// Lightning attention (Ling 2.5), or the delta rule that later members of the line have under the same name.
fn linear(keys: &Keys, frame: Frame) -> Read<Linear> {
    let delta = keys.has("linear_num_heads") || keys.flag("use_kda", keys.has("kda_safe_gate"))?;
    if !delta {
        return lightning(keys, frame);
    }
    keys.ignore("kda_safe_gate|kda_lower_bound");
    // Transformers' class knows the gates and decays of full rank alone.
    let full_rank = keys.flag("no_kda_lora", true)?;
    if keys.has("linear_num_heads") {
        return delta_rule(keys, full_rank);
    }
    let (heads, head_dim) = (keys.count("num_attention_heads")?, keys.count("head_dim")?);
    keys.note(format!("assumed: linear attention is by the delta rule with {heads} heads of {head_dim}"));
    let conv_kernel = keys.count_or("short_conv_kernel_size", 4)?;
    let rank = (!full_rank).then_some(head_dim);
    Ok(delta_heads(heads, head_dim, conv_kernel, [rank, rank]))
}

/// Keys that change nothing here, and those that must have the value described.
fn ignore_training(keys: &Keys) -> Read<()> {
    keys.ignore("moe_renormalize|norm_topk_prob");
    for key in ["use_bias", "use_qkv_bias", "attention_bias"] {
        keys.expect_flag(key, false, "biases on attention are not described in this family; give false")?;
    }
    keys.ignore("use_qk_norm|linear_silu|group_norm_size|rotary_type|use_rmsnorm|score_function|router_type");
    keys.ignore("topk_method|moe_router_enable_shared_expert|norm_head|norm_softmax|mtp_loss_scaling_factor");
    keys.ignore("max_window_layers|attention_type|use_linear_silu|use_linear_gqa|linear_attention_type");
    keys.expect_flag("use_sliding_window", false, "windows in this family are not described; give false")
}

fn lightning(keys: &Keys, frame: Frame) -> Read<Linear> {
    let heads = keys.count("num_attention_heads")?;
    let key_heads = keys.count_or("num_kv_heads_for_linear_attn", heads)?;
    if frame.hidden % heads != 0 || key_heads != heads {
        let reason =
            format!("{key_heads} key heads for {heads} heads are not understood; give the same number");
        return Err(keys.inconsistent("num_kv_heads_for_linear_attn", reason));
    }
    let head_dim = frame.hidden / heads;
    Ok(Linear {
        k_heads: heads,
        v_heads: heads,
        k_head_dim: head_dim,
        v_head_dim: head_dim,
        conv_kernel: 0,
        output_gate: true,
        gate_rank: None,
        decay: Decay::Fixed,
        delta: false,
    })
}

/// The last layer of every group attends to everything.
fn full_layers(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    let size = keys.count("layer_group_size")?;
    if let Some(types) = layer_types(keys, frame, &["full_attention", "linear_attention"])? {
        return Ok(types.into_iter().map(|kind| kind == "full_attention").collect());
    }
    // What is left over after the last whole group attends to everything as well.
    let whole = frame.layers / size * size;
    Ok((1..=frame.layers).map(|layer| layer % size == 0 || layer > whole).collect())
}
