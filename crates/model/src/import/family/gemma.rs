//! Gemma 1 to 4: tied embeddings, norms around every sub-layer, windows between full layers.

use super::Family;
use super::common::{check_groups, expect_gated_activation, experts, heads, intermediate, layer_types};
use crate::arch::{Attention, Ffn, LayerGroup, MultiHead};
use crate::import::decoder::{Decoder, Frame, gated};
use crate::import::keys::{Keys, Read};
use serde_json::Value;

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "gemma", read: gemma },
    Family { name: "gemma2", read: gemma2 },
    Family { name: "gemma3_text", read: gemma3 },
    Family { name: "gemma3n_text", read: gemma3n },
    Family { name: "gemma4_text", read: gemma4 },
    Family { name: "gemma4_unified_text", read: gemma4 },
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
    // Attention is bidirectional within an image or a prefix only, where it is at all.
    keys.ignore("use_bidirectional_attention");
    let ffn = gated(intermediate(keys)?);
    let layer = |layer: u32| LayerGroup {
        count: 1,
        norms,
        attention: Attention::MultiHead(MultiHead { window: window(layer as usize), ..attention.clone() }),
        ffn: ffn.clone(),
        extra: 0,
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
    // Attention is bidirectional within an image only.
    keys.ignore("use_bidirectional_attention");
    let per_layer = PerLayer::read(keys, frame)?;
    let first_shared = frame.layers.saturating_sub(keys.whole("num_kv_shared_layers")?);
    let wide = keys.flag("use_double_wide_mlp", false)?;
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
    let layer = |(index, window): (usize, Option<u32>)| {
        let reuses_kv = index >= first_shared as usize;
        let attention = match window {
            Some(_) => MultiHead { window, reuses_kv, ..local.clone() },
            None => MultiHead { reuses_kv, ..global.clone() },
        };
        let ffn = if wide && reuses_kv { gated(dense.saturating_mul(2)) } else { ffn.clone() };
        let norms = norms + u32::from(per_layer.width > 0);
        LayerGroup {
            count: 1,
            norms,
            attention: Attention::MultiHead(attention),
            ffn,
            extra: per_layer.matrices(),
        }
    };
    let layers = windows.into_iter().enumerate().map(layer).collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", true)?, layers);
    decoder.lookup_parameters = per_layer.table();
    decoder.layout.experts = "experts.0";
    Ok(decoder)
}

/// Embeddings of their own for every layer, of which each token reads a row per layer.
struct PerLayer {
    hidden: u32,
    layers: u32,
    width: u32,
    vocab: u32,
}

impl PerLayer {
    fn read(keys: &Keys, frame: Frame) -> Read<Self> {
        let width = keys.whole("hidden_size_per_layer_input")?;
        let vocab = keys.count_or("vocab_size_per_layer_input", frame.vocab)?;
        Ok(Self { hidden: frame.hidden, layers: frame.layers, width, vocab })
    }

    /// Rows of all layers.
    fn table(&self) -> u64 {
        u64::from(self.vocab) * u64::from(self.layers) * u64::from(self.width)
    }

    /// Of one layer: the projection of the embedding to its input, the gate of that input, and the way back.
    fn matrices(&self) -> u64 {
        3 * u64::from(self.hidden) * u64::from(self.width)
    }
}

/// Gemma 3n: Gemma 3 with per-layer embeddings, a low-rank residual beside attention, and several residual streams of
/// which one is computed and the others predicted.
fn gemma3n(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.ignore("altup_active_idx|altup_coef_clip|altup_correct_scale|activation_sparsity_pattern");
    let windows = alternating(keys, frame, 5)?;
    let attention = MultiHead { qk_norm: true, ..heads(keys, frame)? };
    let per_layer = PerLayer::read(keys, frame)?;
    let widths = layer_widths(keys, frame)?;
    let streams = u64::from(keys.count_or("altup_num_inputs", 4)?);
    let (hidden, rank) = (u64::from(frame.hidden), u64::from(keys.count_or("laurel_rank", 64)?));
    let mixing = streams * hidden + streams * streams * (1 + streams);
    // Streams are made before the first layer and joined after the last by a matrix each; the work is spread over all.
    let making = 2 * (streams - 1) * hidden * hidden / u64::from(frame.layers);
    let extra = per_layer.matrices() + 2 * hidden * rank + mixing + making;
    let first_shared = frame.layers.saturating_sub(keys.whole("num_kv_shared_layers")?) as usize;
    let layer = |index: usize| {
        let attention =
            MultiHead { window: windows[index], reuses_kv: index >= first_shared, ..attention.clone() };
        // Four norms of the sub-layers, one each of the router, the low-rank residual and the per-layer input, a scale.
        LayerGroup {
            count: 1,
            norms: 8,
            attention: Attention::MultiHead(attention),
            ffn: gated(widths[index]),
            extra,
        }
    };
    let layers = (0..frame.layers as usize).map(layer).collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", true)?, layers);
    // Layers that reuse keys and values have projections in the checkpoint all the same.
    let unused = u64::from(frame.layers) - first_shared as u64;
    let unused = unused * hidden * 2 * u64::from(attention.kv_heads) * u64::from(attention.head_dim);
    decoder.lookup_parameters = per_layer.table() + unused;
    Ok(decoder)
}

/// One inner width for all layers, or a list.
fn layer_widths(keys: &Keys, frame: Frame) -> Read<Vec<u32>> {
    match keys.value("intermediate_size")? {
        Some(Value::Array(_)) => {
            let items = keys.per_layer("intermediate_size", frame.layers)?.unwrap_or_default();
            items.iter().map(|item| keys.number("intermediate_size", item, 1)).collect()
        }
        _ => Ok(vec![intermediate(keys)?; frame.layers as usize]),
    }
}
