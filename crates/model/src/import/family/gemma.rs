//! Gemma 1 to 4: tied embeddings, norms around every sub-layer, windows between full layers.

use super::Family;
use super::common::{check_groups, expect_gated_activation, experts, heads, intermediate, layer_types};
use crate::arch::{Attention, Ffn, LayerGroup, MultiHead};
use crate::import::decoder::{Decoder, Frame, gated};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "gemma", read: gemma },
    Family { name: "gemma2", read: gemma2 },
    Family { name: "gemma3_text", read: gemma3 },
    Family { name: "gemma4_text", read: gemma4 },
];

/// The smaller Gemma 3 files leave these out.
pub(super) const GEMMA3_DEFAULTS: &[(&str, u32)] = &[
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("vocab_size", 262_208),
    ("max_position_embeddings", 131_072),
    ("sliding_window", 1024),
];

fn gemma(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let window = |_| None;
    decoder(keys, frame, heads(keys, frame)?, 2, window)
}

fn gemma2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let windows = alternating(keys, frame, 2)?;
    decoder(keys, frame, heads(keys, frame)?, 4, |layer| windows[layer])
}

fn gemma3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let windows = alternating(keys, frame, 6)?;
    let attention = MultiHead { qk_norm: true, ..heads(keys, frame)? };
    decoder(keys, frame, attention, 4, |layer| windows[layer])
}

fn decoder(
    keys: &Keys,
    frame: Frame,
    attention: MultiHead,
    norms: u32,
    window: impl Fn(usize) -> Option<u32>,
) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    let bias = keys.flag("attention_bias", false)?;
    let attention = MultiHead { qkv_bias: bias, out_bias: bias, ..attention };
    keys.expect_flag("use_bidirectional_attention", false, "only causal attention is described; give false")?;
    let ffn = gated(intermediate(keys)?);
    let layer = |layer: u32| LayerGroup {
        count: 1,
        norms,
        attention: Attention::MultiHead(MultiHead { window: window(layer as usize), ..attention.clone() }),
        ffn: ffn.clone(),
    };
    let layers = (0..frame.layers).map(layer).collect();
    Ok(Decoder::new(frame, keys.flag("tie_word_embeddings", true)?, layers))
}

/// Every `period`-th layer sees everything, the others a window, unless `layer_types` says otherwise.
fn alternating(keys: &Keys, frame: Frame, period: u32) -> Read<Vec<Option<u32>>> {
    let window = keys.count("sliding_window")?;
    let period = keys.count_or("sliding_window_pattern|_sliding_window_pattern", period)?;
    if let Some(types) = layer_types(keys, frame, &["full_attention", "sliding_attention"])? {
        return Ok(types.into_iter().map(|kind| (kind == "sliding_attention").then_some(window)).collect());
    }
    Ok((1..=frame.layers).map(|layer| (layer % period != 0).then_some(window)).collect())
}

/// Full layers have heads of another shape and values from the key projection; experts stand beside a dense network.
fn gemma4(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    expect_plain_gemma4(keys)?;
    let windows = alternating(keys, frame, 6)?;
    let bias = keys.flag("attention_bias", false)?;
    let local = MultiHead { qk_norm: true, qkv_bias: bias, out_bias: bias, ..heads(keys, frame)? };
    let shared_kv = keys.flag("attention_k_eq_v", false)?;
    let head_dim = keys.count_or("global_head_dim", local.head_dim)?;
    let kv_heads = keys.count_or("num_global_key_value_heads", local.kv_heads)?;
    check_groups(keys, local.heads, kv_heads)?;
    let global = MultiHead { kv_heads, head_dim, v_head_dim: head_dim, shared_kv, ..local.clone() };
    let dense = intermediate(keys)?;
    let (ffn, norms) = if keys.flag("enable_moe_block", false)? {
        let moe = experts(keys)?;
        // The experts' input is normalised on its own, and so are both outputs before they are added.
        (Ffn::Moe(crate::arch::Moe { dense_intermediate: dense, ..moe }), 7)
    } else {
        keys.ignore("num_experts|top_k_experts|moe_intermediate_size|expert_intermediate_size");
        (gated(dense), 4)
    };
    let layer = |window: Option<u32>| {
        let attention = match window {
            Some(_) => MultiHead { window, ..local.clone() },
            None => global.clone(),
        };
        LayerGroup { count: 1, norms, attention: Attention::MultiHead(attention), ffn: ffn.clone() }
    };
    let layers = windows.into_iter().map(layer).collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", true)?, layers);
    decoder.layout.experts = "experts.0";
    Ok(decoder)
}

/// Refuses the parts of the small on-device members that are not described.
fn expect_plain_gemma4(keys: &Keys) -> Read<()> {
    if keys.whole("hidden_size_per_layer_input")? > 0 {
        let expected = "per-layer embeddings are not described; only 0 is understood";
        return Err(keys.unknown_value("hidden_size_per_layer_input", expected));
    }
    if keys.whole("num_kv_shared_layers")? > 0 {
        return Err(keys
            .unknown_value("num_kv_shared_layers", "shared caches are not described; only 0 is understood"));
    }
    keys.expect_flag("use_double_wide_mlp", false, "networks of two widths are not described; give false")?;
    // Attention is bidirectional within an image only.
    keys.ignore("vocab_size_per_layer_input|use_bidirectional_attention");
    Ok(())
}
