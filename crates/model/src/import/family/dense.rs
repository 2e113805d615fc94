//! Dense decoders whose layers are attention and one feed-forward network.

use super::Family;
use super::common::{expect_gated_activation, heads, intermediate, windowed, windows};
use crate::arch::{Ffn, LayerGroup};
use crate::import::decoder::{Decoder, Frame};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "llama", read: llama },
    Family { name: "mistral", read: mistral },
    Family { name: "qwen2", read: qwen2 },
    Family { name: "qwen3", read: qwen3 },
    Family { name: "mimo", read: qwen2 },
];

/// What the members of this line differ in.
#[derive(Debug, Clone, Copy)]
struct Traits {
    qkv_bias: bool,
    out_bias: bool,
    mlp_bias: bool,
    qk_norm: bool,
    norms: u32,
    tied: bool,
}

const PLAIN: Traits =
    Traits { qkv_bias: false, out_bias: false, mlp_bias: false, qk_norm: false, norms: 2, tied: false };

fn llama(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", false)?;
    let mlp_bias = keys.flag("mlp_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, mlp_bias, ..PLAIN })
}

fn mistral(keys: &Keys, frame: Frame) -> Read<Decoder> {
    decoder(keys, frame, PLAIN)
}

fn qwen2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag(
        "attention_bias",
        true,
        "this line has biases on q, k and v; give true or leave it out",
    )?;
    decoder(keys, frame, Traits { qkv_bias: true, ..PLAIN })
}

fn qwen3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, qk_norm: true, ..PLAIN })
}

fn decoder(keys: &Keys, frame: Frame, traits: Traits) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    let mut attention = heads(keys, frame)?;
    attention.qkv_bias = traits.qkv_bias;
    attention.out_bias = traits.out_bias;
    attention.qk_norm = traits.qk_norm;
    let ffn = Ffn::Dense { intermediate: intermediate(keys)?, gated: true, bias: traits.mlp_bias };
    let tied = keys.flag("tie_word_embeddings", traits.tied)?;
    let layer = |window| LayerGroup {
        count: 1,
        norms: traits.norms,
        attention: windowed(&attention, window),
        ffn: ffn.clone(),
    };
    let layers = windows(keys, frame)?.into_iter().map(layer).collect();
    let mut decoder = Decoder::new(frame, tied, layers);
    let mtp = keys.whole("num_nextn_predict_layers")?;
    if mtp > 0 {
        decoder.mtp = Some((mtp, layer(None)));
    }
    Ok(decoder)
}
