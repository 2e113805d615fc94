//! Decoders of the GPT line: two-matrix feed-forward networks, LayerNorm with biases, biases on projections.

use super::Family;
use super::common::heads;
use crate::arch::{Attention, Ffn, LayerGroup, MultiHead};
use crate::import::decoder::{Decoder, Frame};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "gpt2", read: gpt2 },
    Family { name: "gpt_neox", read: gpt_neox },
    Family { name: "gptj", read: gptj },
    Family { name: "opt", read: opt },
    Family { name: "bloom", read: bloom },
    Family { name: "phi", read: phi },
    Family { name: "starcoder2", read: starcoder2 },
];

/// What the members of this line differ in.
struct Traits {
    attention_bias: bool,
    mlp_bias: bool,
    norms: u32,
    tied: bool,
}

const BIASED: Traits = Traits { attention_bias: true, mlp_bias: true, norms: 2, tied: true };

/// GPT-2; GPT-3 is the same with other sizes.
fn gpt2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag("add_cross_attention", false, "only decoders are described; give false")?;
    keys.ignore("reorder_and_upcast_attn|scale_attn_by_inverse_layer_idx|scale_attn_weights");
    let inner = keys.count_or("n_inner", 4 * frame.hidden)?;
    let decoder = decoder(keys, frame, inner, BIASED)?;
    Ok(Decoder { learned_positions: frame.max_context, ..decoder })
}

fn gpt_neox(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let attention_bias = keys.flag("attention_bias", true)?;
    keys.ignore("use_parallel_residual");
    let inner = keys.count("intermediate_size")?;
    decoder(keys, frame, inner, Traits { attention_bias, tied: false, ..BIASED })
}

/// Attention and feed-forward network share one norm; the output head has a bias, which is left out.
fn gptj(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let inner = keys.count_or("n_inner", 4 * frame.hidden)?;
    decoder(keys, frame, inner, Traits { attention_bias: false, norms: 1, tied: false, ..BIASED })
}

fn opt(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag(
        "do_layer_norm_before",
        true,
        "norms after the sub-layers are not described; give true",
    )?;
    keys.expect_flag("_remove_final_layer_norm", false, "a missing final norm is not described; give false")?;
    if keys.opt_count("word_embed_proj_dim")?.is_some_and(|width| width != frame.hidden) {
        let expected = "a projected embedding is not described; only the hidden size is understood";
        return Err(keys.unknown_value("word_embed_proj_dim", expected));
    }
    keys.ignore("layerdrop|layer_norm_elementwise_affine|enable_bias");
    let inner = keys.count("ffn_dim")?;
    let decoder = decoder(keys, frame, inner, BIASED)?;
    // Two rows more than positions, for padding.
    Ok(Decoder { learned_positions: frame.max_context + 2, ..decoder })
}

/// Positions by attention biases; the embedding is normalised.
fn bloom(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.ignore(
        "apply_residual_connection_post_layernorm|attention_softmax_in_fp32|masked_softmax_fusion|slow_but_exact|\
         skip_bias_add|skip_bias_add_qkv|bias_dropout_fusion|offset_alibi|unk_token_id|hidden_dropout",
    );
    let decoder = decoder(keys, frame, 4 * frame.hidden, BIASED)?;
    Ok(Decoder { outer_norms: 2, ..decoder })
}

/// Attention and feed-forward network share one norm; the output head has a bias, which is left out.
fn phi(keys: &Keys, frame: Frame) -> Read<Decoder> {
    keys.expect_flag("qk_layernorm", false, "norms of queries and keys are not described; give false")?;
    let inner = keys.count("intermediate_size")?;
    decoder(keys, frame, inner, Traits { norms: 1, tied: false, ..BIASED })
}

fn starcoder2(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("use_bias", true)?;
    keys.ignore("norm_type|mlp_type|scale_attention_softmax_in_fp32|scale_attn_weights");
    let inner = keys.count("intermediate_size")?;
    let window = keys.opt_count("sliding_window")?;
    let mut decoder =
        decoder(keys, frame, inner, Traits { attention_bias: bias, mlp_bias: bias, norms: 2, tied: true })?;
    for layer in &mut decoder.layers {
        if let Attention::MultiHead(attention) = &mut layer.attention {
            attention.window = window;
        }
    }
    Ok(decoder)
}

fn decoder(keys: &Keys, frame: Frame, intermediate: u32, traits: Traits) -> Read<Decoder> {
    expect_plain_activation(keys)?;
    let attention =
        MultiHead { qkv_bias: traits.attention_bias, out_bias: traits.attention_bias, ..heads(keys, frame)? };
    let layer = LayerGroup {
        count: 1,
        norms: traits.norms,
        attention: Attention::MultiHead(attention),
        ffn: Ffn::Dense { intermediate, gated: false, bias: traits.mlp_bias },
        extra: 0,
    };
    let tied = keys.flag("tie_word_embeddings", traits.tied)?;
    let layers = vec![layer; frame.layers as usize];
    Ok(Decoder { norm_bias: true, ..Decoder::new(frame, tied, layers) })
}

/// Activations of networks without a gate.
fn expect_plain_activation(keys: &Keys) -> Read<()> {
    const KNOWN: [&str; 7] =
        ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh", "relu", "relu2", "quick_gelu"];
    match keys.first("hidden_act|activation_function")?.and_then(serde_json::Value::as_str) {
        Some(name) if !KNOWN.contains(&name) => {
            let expected = format!("known activations are {}", KNOWN.join(", "));
            Err(keys.unknown_value("activation_function|hidden_act", &expected))
        }
        _ => Ok(()),
    }
}
