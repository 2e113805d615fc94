//! Llama 4: experts in every or every other layer, chunked attention in three layers of four.

use super::Family;
use super::common::{expect_gated_activation, experts, heads, layer_types, windowed};
use crate::arch::{Ffn, Moe};
use crate::import::decoder::{Decoder, Frame, gated, layer};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[Family { name: "llama4_text", read: llama4 }];

fn llama4(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag(
        "attention_bias",
        false,
        "biases on attention are not described in this family; give false",
    )?;
    // Queries and keys are normalised without a scale, and where is a matter of rotation.
    keys.ignore("use_qk_norm|for_llm_compressor|attn_temperature_tuning|floor_scale|attn_scale");
    let attention = heads(keys, frame)?;
    // The shared expert has the width of a routed one.
    let width = keys.count("intermediate_size")?;
    let moe = Ffn::Moe(Moe { shared_intermediate: width, ..experts(keys)? });
    let dense = gated(keys.count("intermediate_size_mlp")?);
    let sparse = sparse_layers(keys, frame)?;
    let windows = windows(keys, frame)?;
    let layers = windows.into_iter().zip(sparse).map(|(window, is_sparse)| {
        let ffn = if is_sparse { moe.clone() } else { dense.clone() };
        layer(windowed(&attention, window), ffn)
    });
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect());
    decoder.layout.dense = "feed_forward";
    decoder.layout.experts = "feed_forward.experts.0";
    decoder.layout.shared = "feed_forward.shared_expert";
    Ok(decoder)
}

/// The last of every `interleave_moe_layer_step` layers, or those listed.
fn sparse_layers(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    let step = keys.count_or("interleave_moe_layer_step", 1)?;
    let Some(listed) = keys.list("moe_layers")? else {
        return Ok((1..=frame.layers).map(|layer| layer % step == 0).collect());
    };
    let listed = listed.iter().map(|item| keys.number("moe_layers", item, 0)).collect::<Read<Vec<u32>>>()?;
    Ok((0..frame.layers).map(|layer| listed.contains(&layer)).collect())
}

/// Rotated layers attend within a chunk; every fourth layer has no rotation and sees everything.
fn windows(keys: &Keys, frame: Frame) -> Read<Vec<Option<u32>>> {
    let chunk = keys.count("attention_chunk_size")?;
    if let Some(types) = layer_types(keys, frame, &["full_attention", "chunked_attention"])? {
        keys.ignore("no_rope_layers|no_rope_layer_interval");
        return Ok(types.into_iter().map(|kind| (kind == "chunked_attention").then_some(chunk)).collect());
    }
    let interval = keys.count_or("no_rope_layer_interval", 4)?;
    match keys.list("no_rope_layers")?.filter(|items| !items.is_empty()) {
        None => Ok((1..=frame.layers).map(|layer| (layer % interval != 0).then_some(chunk)).collect()),
        Some(_) => {
            let items = keys.per_layer("no_rope_layers", frame.layers)?.unwrap_or_default();
            let rotated =
                |item| keys.number("no_rope_layers", item, 0).map(|flag| (flag != 0).then_some(chunk));
            items.iter().map(rotated).collect()
        }
    }
}
