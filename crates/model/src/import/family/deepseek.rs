//! Latent attention with routed and shared experts: DeepSeek V2 to V3.2, Kimi K2, GLM-5.

use super::Family;
use super::common::{
    expect_gated_activation, expert_groups, experts, heads, intermediate, layer_types, mixed, mla,
    which_sparse,
};
use super::indexer::{by_layer, indexer};
use crate::arch::{Attention, Ffn, LayerGroup, Mla};
use crate::import::decoder::{Decoder, Frame, gated};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] = &[
    Family { name: "deepseek_v2", read: deepseek },
    Family { name: "deepseek_v3", read: deepseek },
    Family { name: "deepseek_v32", read: deepseek },
    Family { name: "kimi_k2", read: deepseek },
    Family { name: "glm_moe_dsa", read: deepseek },
    Family { name: "glm4_moe_lite", read: deepseek },
    Family { name: "pangu_ultra_moe", read: pangu_ultra },
];

fn deepseek(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.ignore("moe_router_dtype");
    // All layers of this kind are sparse in the same way.
    layer_types(keys, frame, &["deepseek_sparse_attention", "indexed_attention", "full_attention"])?;
    keys.expect_flag("attention_bias", false, "biases on latent attention are not described; give false")?;
    let attention = attention(keys, frame)?;
    let mut moe = experts(keys)?;
    expert_groups(keys, &mut moe)?;
    moe.shared_intermediate =
        moe.intermediate.saturating_mul(keys.whole("n_shared_experts|num_shared_experts")?);
    moe.router_bias = keys.text("topk_method")? == Some("noaux_tc");
    let dense = gated(intermediate(keys)?);
    let mut layers = mixed(&which_sparse(keys, frame)?, &attention, &dense, &moe);
    by_layer(keys, frame, &mut layers)?;
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers);
    let modules = keys.whole("num_nextn_predict_layers|num_mtp_layers")?;
    if modules > 0 {
        decoder.mtp =
            decoder.layers.last().map(|last| (modules, LayerGroup { ffn: Ffn::Moe(moe), ..last.clone() }));
    }
    Ok(decoder)
}

/// Latent attention, or plain heads in the small models that turn it off.
fn attention(keys: &Keys, frame: Frame) -> Read<Attention> {
    if keys.flag("use_mla", true)? {
        return Ok(Attention::Mla(Mla { indexer: indexer(keys)?, ..mla(keys)? }));
    }
    keys.ignore("kv_lora_rank|q_lora_rank|qk_nope_head_dim|qk_rope_head_dim|v_head_dim");
    Ok(Attention::MultiHead(heads(keys, frame)?))
}

/// Pangu Ultra MoE: the same with norms of outputs besides those of inputs.
fn pangu_ultra(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let sandwich = keys.flag("sandwich_norm", true)?;
    let mut decoder = deepseek(keys, frame)?;
    if sandwich {
        decoder.layers.iter_mut().for_each(|layer| layer.norms = 4);
        decoder.mtp.iter_mut().for_each(|(_, layer)| layer.norms = 4);
    }
    Ok(decoder)
}
