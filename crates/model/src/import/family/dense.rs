//! Dense decoders with gated feed-forward networks and RMS normalisation: Llama and what followed it.

use super::Family;
use super::common::{expect_gated_activation, heads, intermediate, windowed, windows};
use crate::arch::{Ffn, LayerGroup, MultiHead};
use crate::import::decoder::{Decoder, Frame};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "llama", read: llama },
    Family { name: "mistral", read: mistral },
    Family { name: "ministral", read: mistral },
    Family { name: "ministral3", read: mistral },
    Family { name: "qwen2", read: qwen2 },
    Family { name: "qwen2_vl", read: qwen2 },
    Family { name: "qwen2_vl_text", read: qwen2 },
    Family { name: "qwen2_5_vl", read: qwen2 },
    Family { name: "qwen2_5_vl_text", read: qwen2 },
    Family { name: "qwen3", read: qwen3 },
    Family { name: "qwen3_vl_text", read: qwen3 },
    Family { name: "mimo", read: qwen2 },
    Family { name: "phi3", read: phi3 },
    Family { name: "glm", read: glm },
    Family { name: "glm4", read: glm4 },
    Family { name: "olmo2", read: olmo2 },
    Family { name: "seed_oss", read: seed_oss },
    Family { name: "granite", read: llama },
    Family { name: "smollm3", read: smollm3 },
    Family { name: "ernie4_5", read: ernie },
    Family { name: "PanguEmbedded", read: pangu },
    Family { name: "internlm2", read: internlm },
    Family { name: "chatglm", read: chatglm },
];

/// What the members of this line differ in.
#[derive(Debug, Clone, Copy)]
struct Traits {
    qkv_bias: bool,
    out_bias: bool,
    mlp_bias: bool,
    qk_norm: bool,
    qk_norm_whole: bool,
    norms: u32,
    tied: bool,
}

const PLAIN: Traits = Traits {
    qkv_bias: false,
    out_bias: false,
    mlp_bias: false,
    qk_norm: false,
    qk_norm_whole: false,
    norms: 2,
    tied: false,
};

fn llama(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", false)?;
    let mlp_bias = keys.flag("mlp_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, mlp_bias, ..PLAIN })
}

fn mistral(keys: &Keys, frame: Frame) -> Read<Decoder> {
    decoder(keys, frame, PLAIN)
}

fn qwen2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    if keys.opt_flag("attention_bias")? == Some(false) {
        keys.note("assumed: biases on q, k and v, which the class has whatever `attention_bias` says");
    }
    keys.ignore("use_mrope");
    decoder(keys, frame, Traits { qkv_bias: true, ..PLAIN })
}

fn qwen3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, qk_norm: true, ..PLAIN })
}

fn phi3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag("attention_bias", false, "this line has no attention biases; give false")?;
    keys.ignore("full_attn_mod|interpolate_factor");
    decoder(keys, frame, PLAIN)
}

fn glm(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let qkv_bias = keys.flag("attention_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias, ..PLAIN })
}

/// Outputs of attention and feed-forward network are normalised besides their inputs.
fn glm4(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let qkv_bias = keys.flag("attention_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias, norms: 4, ..PLAIN })
}

fn olmo2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", false)?;
    decoder(
        keys,
        frame,
        Traits { qkv_bias: bias, out_bias: bias, qk_norm: true, qk_norm_whole: true, ..PLAIN },
    )
}

fn seed_oss(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let qkv_bias = keys.flag("attention_bias", true)?;
    let out_bias = keys.flag("attention_out_bias", false)?;
    let mlp_bias = keys.flag("mlp_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias, out_bias, mlp_bias, ..PLAIN })
}

fn smollm3(keys: &Keys, frame: Frame) -> Read<Decoder> {
    // Some layers go without rotation, which costs the same.
    keys.ignore("no_rope_layers|no_rope_layer_interval");
    let bias = keys.flag("attention_bias", false)?;
    let mlp_bias = keys.flag("mlp_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, mlp_bias, tied: true, ..PLAIN })
}

fn ernie(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("use_bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, mlp_bias: bias, tied: true, ..PLAIN })
}

/// openPangu Embedded: biases on all four projections of attention.
fn pangu(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("bias", true)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, ..PLAIN })
}

fn internlm(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("bias", false)?;
    decoder(keys, frame, Traits { qkv_bias: bias, out_bias: bias, ..PLAIN })
}

/// The first form of GLM-4: one fused projection, key/value heads as groups.
fn chatglm(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag(
        "add_bias_linear",
        false,
        "biases of networks are not described in this family; give false",
    )?;
    keys.expect_flag(
        "multi_query_attention",
        true,
        "only grouped heads are described in this family; give true",
    )?;
    keys.expect_flag("rmsnorm", true, "only RMS normalisation is described in this family; give true")?;
    keys.expect_flag("post_layer_norm", true, "a final norm is described in this family; give true")?;
    keys.ignore(
        "apply_query_key_layer_scaling|apply_residual_connection_post_layernorm|attention_softmax_in_fp32",
    );
    keys.ignore("bias_dropout_fusion|fp32_residual_connection|original_rope|interleaved_qkv|pre_seq_len|prefix_projection");
    let qkv_bias = keys.flag("add_qkv_bias", true)?;
    decoder(keys, frame, Traits { qkv_bias, ..PLAIN })
}

fn decoder(keys: &Keys, frame: Frame, traits: Traits) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    let attention = MultiHead {
        qkv_bias: traits.qkv_bias,
        out_bias: traits.out_bias,
        qk_norm: traits.qk_norm,
        qk_norm_whole: traits.qk_norm_whole,
        ..heads(keys, frame)?
    };
    let ffn = Ffn::Dense { intermediate: intermediate(keys)?, gated: true, bias: traits.mlp_bias };
    let tied = keys.flag("tie_word_embeddings", traits.tied)?;
    let layer = |window| LayerGroup {
        count: 1,
        norms: traits.norms,
        attention: windowed(&attention, window),
        ffn: ffn.clone(),
        extra: 0,
    };
    let layers = windows(keys, frame)?.into_iter().map(layer).collect();
    let mut decoder = Decoder::new(frame, tied, layers);
    let modules = keys.whole("num_nextn_predict_layers")?;
    if modules > 0 {
        decoder.mtp = Some((modules, layer(None)));
    }
    Ok(decoder)
}
