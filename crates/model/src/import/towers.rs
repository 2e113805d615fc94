//! Encoders of images and sound beside the decoder, counted where their sizes are given.

use super::decoder::Decoder;
use crate::arch::Tower;
use serde_json::{Map, Value};

/// Adds the towers of a model around a decoder of width `hidden`, or a sentence about those whose sizes are not given.
pub(super) fn count(root: &Map<String, Value>, hidden: u32, decoder: &mut Decoder) {
    let inner = root.get("thinker_config").and_then(Value::as_object);
    for (map, path) in [(Some(root), ""), (inner, "thinker_config.")] {
        for (key, value) in map.into_iter().flatten() {
            let Some((name, config)) = tower(key, value) else { continue };
            match parameters(config, hidden) {
                Some(parameters) => decoder.towers.push(Tower { name: name.to_owned(), parameters }),
                None => decoder.ignored.push(format!(
                    "the {name} tower (`{path}{key}`) is not described: its sizes are not in the file"
                )),
            }
        }
    }
}

/// Adds a sentence for every other part of a model around a decoder: generators of images or speech, and the like.
pub(super) fn name_others(root: &Map<String, Value>, decoder: &mut Decoder) {
    let inner = root.get("thinker_config").and_then(Value::as_object);
    for (map, path) in [(Some(root), ""), (inner, "thinker_config.")] {
        for (key, value) in map.into_iter().flatten() {
            let is_part =
                tower(key, value).is_none() && !super::wrapper::holds_decoder(key) && has_sizes(value);
            if is_part {
                decoder.ignored.push(format!("`{path}{key}` stands beside the decoder and is not counted"));
            }
        }
    }
}

/// Whether an object has the sizes of a network.
fn has_sizes(value: &Value) -> bool {
    const WIDTHS: [&str; 7] =
        ["hidden_size", "d_model", "embed_dim", "width", "hidden_dim", "intermediate_size", "base_channels"];
    const DEPTHS: [&str; 5] = ["num_hidden_layers", "depth", "num_layers", "layers", "num_res_blocks"];
    let has = |names: &[&str]| names.iter().any(|name| value.get(*name).is_some_and(Value::is_u64));
    has(&WIDTHS) && has(&DEPTHS)
}

fn tower<'a>(key: &str, value: &'a Value) -> Option<(&'static str, &'a Map<String, Value>)> {
    let name = match key {
        "vision_config" | "visual" | "vision_model_config" | "vit_config" | "vision_tower_config" => "vision",
        "audio_config" | "audio_encoder_config" => "audio",
        "speech_config" => "speech",
        _ => return None,
    };
    Some((name, value.as_object()?))
}

fn number(config: &Map<String, Value>, names: &[&str]) -> Option<u64> {
    const LIMIT: u64 = 1 << 20;
    names.iter().find_map(|name| config.get(*name)?.as_u64()).filter(|number| *number <= LIMIT)
}

/// Layers of attention and a network of two matrices with biases, LayerNorms, patches or frames, learned positions
/// where the class has them, and a projection of two matrices into the decoder.
fn parameters(config: &Map<String, Value>, hidden: u32) -> Option<u64> {
    let class = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
    let class_value = |clip: u64, siglip: u64, pixtral: u64| match class {
        "clip_vision_model" => Some(clip),
        "siglip_vision_model" => Some(siglip),
        "pixtral" => Some(pixtral),
        _ => None,
    };
    let width =
        number(config, &["hidden_size", "width", "embed_dim", "d_model"]).or(class_value(768, 768, 1024))?;
    let layers = number(config, &["num_hidden_layers", "depth", "layers", "num_layers", "encoder_layers"])
        .or(class_value(12, 12, 24))?;
    let ratio = config.get("mlp_ratio").and_then(Value::as_f64).filter(|ratio| (0.1..=64.0).contains(ratio));
    let inner = number(config, &["intermediate_size", "encoder_ffn_dim", "ffn_dim"])
        .or(ratio.map(|ratio| (width as f64 * ratio) as u64))
        .or(class_value(3072, 3072, 4096))
        .unwrap_or(width.saturating_mul(4));
    // Pixtral's encoder is a decoder's block: a gate, RMS norms, no biases, rotary positions.
    let gated = class == "pixtral" || config.get("hidden_act").and_then(Value::as_str) == Some("silu");
    let (matrices, biases) = if gated { (3, 0) } else { (2, 5 * width + inner + 4 * width) };
    let block = 4 * width * width + matrices * width * inner + biases + if gated { 2 * width } else { 0 };
    let patch = number(config, &["patch_size", "spatial_patch_size"]).unwrap_or(0);
    let frames = number(config, &["temporal_patch_size"]).unwrap_or(1);
    let channels = number(config, &["num_channels", "in_channels", "in_chans", "num_mel_bins"]).unwrap_or(3);
    let positions = match number(config, &["image_size"]) {
        Some(image) if patch > 0 && !gated => (image / patch) * (image / patch) + 1,
        _ => number(config, &["num_position_embeddings"]).unwrap_or(0),
    };
    let embeddings = patch * patch * channels * frames * width + positions * width;
    let merge = number(config, &["spatial_merge_size"]).unwrap_or(1);
    let (merged, out) = (width * merge * merge, u64::from(hidden));
    let projection = if merge > 1 { merged * merged + merged * out } else { width * out + out * out };
    layers.checked_mul(block)?.checked_add(embeddings)?.checked_add(projection)
}
