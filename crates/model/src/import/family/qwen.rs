//! The mixture-of-experts and hybrid models of the Qwen line.

use super::Family;
use super::common::{expect_gated_activation, experts, heads, layer_types};
use crate::arch::{Attention, Decay, Ffn, Linear, Moe, MultiHead};
use crate::import::decoder::{Decoder, Frame, gated, layer};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "qwen3_moe", read: qwen3_moe },
    Family { name: "qwen3_vl_moe_text", read: qwen3_moe },
    Family { name: "qwen3_next", read: hybrid },
    Family { name: "qwen3_5_text", read: hybrid },
    Family { name: "qwen3_5_moe_text", read: hybrid },
];

fn qwen3_moe(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag("use_sliding_window", false, "windows in this family are not described; give false")?;
    keys.ignore("sliding_window|max_window_layers");
    keys.expect_flag("use_qk_norm", true, "queries and keys are normalised in this family; give true")?;
    let bias = keys.flag("attention_bias", false)?;
    let attention = MultiHead { qk_norm: true, qkv_bias: bias, out_bias: bias, ..heads(keys, frame)? };
    if keys.whole("shared_expert_intermediate_size")? > 0 {
        let expected = "this family has no shared experts; only 0 is understood";
        return Err(keys.unknown_value("shared_expert_intermediate_size", expected));
    }
    let moe = experts(keys)?;
    let layers = ffns(keys, frame, &Ffn::Moe(moe))?
        .into_iter()
        .map(|ffn| layer(Attention::MultiHead(attention.clone()), ffn))
        .collect();
    Ok(Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers))
}

/// Gated delta layers with gated full attention every few of them.
fn hybrid(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag("use_sliding_window", false, "windows in this family are not described; give false")?;
    keys.expect_flag("attn_output_gate", true, "full attention is gated in this family; give true")?;
    keys.expect_flag(
        "mtp_use_dedicated_embeddings",
        false,
        "own embeddings of prediction modules are not described",
    )?;
    keys.ignore("max_window_layers");
    let bias = keys.flag("attention_bias", false)?;
    let full =
        MultiHead { qk_norm: true, output_gate: true, qkv_bias: bias, out_bias: bias, ..heads(keys, frame)? };
    let linear = gated_delta(keys)?;
    let main = if keys.has("num_experts") {
        Ffn::Moe(shared_gate_moe(keys)?)
    } else {
        gated(keys.count("intermediate_size")?)
    };
    keys.ignore("intermediate_size");
    let ffns = ffns(keys, frame, &main)?;
    let attentions = full_layers(keys, frame)?.into_iter().map(|is_full| {
        if is_full { Attention::MultiHead(full.clone()) } else { Attention::Linear(linear.clone()) }
    });
    let layers = attentions.zip(ffns).map(|(attention, ffn)| layer(attention, ffn)).collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers);
    decoder.layout.shared = "mlp.shared_expert";
    let modules = keys.whole("mtp_num_hidden_layers")?;
    if modules > 0 {
        decoder.mtp = Some((modules, layer(Attention::MultiHead(full), main)));
    }
    Ok(decoder)
}

fn gated_delta(keys: &Keys) -> Read<Linear> {
    let linear = Linear {
        k_heads: keys.count("linear_num_key_heads")?,
        v_heads: keys.count("linear_num_value_heads")?,
        k_head_dim: keys.count("linear_key_head_dim")?,
        v_head_dim: keys.count("linear_value_head_dim")?,
        conv_kernel: keys.count("linear_conv_kernel_dim")?,
        output_gate: true,
        gate_rank: None,
        decay: Decay::PerHead,
        delta: true,
    };
    if linear.v_heads % linear.k_heads == 0 {
        return Ok(linear);
    }
    let reason = format!(
        "{} value heads are not divisible by {} key heads; correct one",
        linear.v_heads, linear.k_heads
    );
    Err(keys.inconsistent("linear_num_value_heads", reason))
}

fn shared_gate_moe(keys: &Keys) -> Read<Moe> {
    let shared_intermediate = keys.whole("shared_expert_intermediate_size")?;
    Ok(Moe { shared_intermediate, shared_gate: shared_intermediate > 0, ..experts(keys)? })
}

/// Which layers have full attention.
fn full_layers(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    let interval = keys.count_or("full_attention_interval", 4)?;
    if let Some(types) = layer_types(keys, frame, &["linear_attention", "full_attention"])? {
        return Ok(types.into_iter().map(|kind| kind == "full_attention").collect());
    }
    Ok((1..=frame.layers).map(|layer| layer % interval == 0).collect())
}

/// The feed-forward part of each layer: `main`, but dense where `decoder_sparse_step` or `mlp_only_layers` say so.
fn ffns(keys: &Keys, frame: Frame, main: &Ffn) -> Read<Vec<Ffn>> {
    let step = keys.count_or("decoder_sparse_step", 1)?;
    let listed = keys.list("mlp_only_layers")?.unwrap_or_default();
    let dense_layers =
        listed.iter().map(|item| keys.number("mlp_only_layers", item, 0)).collect::<Read<Vec<u32>>>()?;
    let is_dense = |layer: u32| dense_layers.contains(&layer) || (layer + 1) % step != 0;
    if !(0..frame.layers).any(is_dense) {
        keys.ignore("intermediate_size");
        return Ok(vec![main.clone(); frame.layers as usize]);
    }
    let dense = gated(keys.count("intermediate_size")?);
    Ok((0..frame.layers).map(|layer| if is_dense(layer) { dense.clone() } else { main.clone() }).collect())
}
