//! DeepSeek V4: one shared key/value head over a window and a compressed past, parallel residual streams.

use super::Family;
use super::common::{expect_gated_activation, experts, layer_types};
use crate::arch::{Attention, Compressed, Ffn, Moe, SparseIndexer};
use crate::import::decoder::{Decoder, Frame, Layout, layer};
use crate::import::keys::{Keys, Read};

pub(crate) const FAMILIES: &[Family] =
    &[Family { name: "deepseek_v4", read: deepseek_v4 }, Family { name: "deepseek_ref", read: deepseek_v4 }];

fn deepseek_v4(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag(
        "attention_bias",
        false,
        "biases on attention are not described in this family; give false",
    )?;
    if keys.count_or("num_key_value_heads", 1)? != 1 {
        return Err(keys.unknown_value("num_key_value_heads", "this family has one key/value head"));
    }
    keys.ignore("hc_sinkhorn_iters|hc_eps");
    let ratios = ratios(keys, frame)?;
    let attentions = ratios.iter().map(|ratio| attention(keys, *ratio)).collect::<Read<Vec<_>>>()?;
    let moe = experts(keys)?;
    let shared_intermediate = moe.intermediate.saturating_mul(keys.whole("n_shared_experts")?);
    // The first layers route by a table of token ids, which has no bias.
    let hashed = hashed_layers(keys, frame)?;
    let ffn =
        |index: usize| Ffn::Moe(Moe { shared_intermediate, router_bias: index >= hashed, ..moe.clone() });
    let count = frame.layers as usize;
    let (main, rest) = attentions.split_at(count.min(attentions.len()));
    let layers =
        main.iter().enumerate().map(|(index, attention)| layer(attention.clone(), ffn(index))).collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers);
    decoder.layout = Layout {
        attention: "attn",
        experts: "ffn.experts.0",
        shared: "ffn.shared_experts",
        up: "w3",
        expert_up: "w3",
        ..Layout::COMMON
    };
    decoder.residual_streams = keys.count("hc_mult")?;
    let modules = keys.whole("num_nextn_predict_layers")?;
    decoder.mtp = rest.first().map(|attention| (modules, layer(attention.clone(), ffn(count))));
    Ok(decoder)
}

/// How many leading layers route by a table of token ids.
fn hashed_layers(keys: &Keys, frame: Frame) -> Read<usize> {
    let Some(kinds) = keys.per_layer("mlp_layer_types", frame.layers)? else {
        return Ok(keys.whole("num_hash_layers")? as usize);
    };
    Ok(kinds.iter().filter(|kind| kind.as_str() == Some("hash_moe")).count())
}

/// The ratios as Transformers 5 writes them: a kind for each layer and a rate for each kind. Prediction modules, which it
/// leaves out, read their window alone.
fn rates(keys: &Keys, frame: Frame) -> Read<Vec<u32>> {
    const KINDS: [&str; 3] =
        ["compressed_sparse_attention", "heavily_compressed_attention", "sliding_attention"];
    let kinds = layer_types(keys, frame, &KINDS)?.ok_or_else(|| keys.missing("compress_ratios"))?;
    let rates = keys.object("compress_rates")?.ok_or_else(|| keys.missing("compress_rates"))?;
    let modules = keys.whole("num_nextn_predict_layers")?;
    keys.ignore("compress_rope_theta|mlp_bias");
    let main = kinds.into_iter().map(|kind| if kind == KINDS[2] { Ok(0) } else { rates.count(kind) });
    main.chain((0..modules).map(|_| Ok(0))).collect()
}

/// Tokens per compressed entry of each layer, then of each prediction module.
fn ratios(keys: &Keys, frame: Frame) -> Read<Vec<u32>> {
    const KEY: &str = "compress_ratios";
    if !keys.has(KEY) {
        return rates(keys, frame);
    }
    let items = keys.list(KEY)?.ok_or_else(|| keys.missing(KEY))?;
    let modules = keys.whole("num_nextn_predict_layers")?;
    if items.len() != (frame.layers + modules) as usize {
        let reason = format!(
            "has {} entries for {} layers and {modules} prediction modules; give one each",
            items.len(),
            frame.layers
        );
        return Err(keys.inconsistent(KEY, reason));
    }
    items.iter().map(|item| keys.number(KEY, item, 0)).collect()
}

/// Ratio 4 overlaps its folds and selects among them, ratio 128 reads them all, ratio 0 has none.
fn attention(keys: &Keys, ratio: u32) -> Read<Attention> {
    const SELECTING: u32 = 4;
    if ![0, SELECTING, 128].contains(&ratio) {
        return Err(keys.unknown("compress_ratios", &ratio.to_string(), "known ratios are 0, 4 and 128"));
    }
    let indexer = SparseIndexer {
        heads: keys.count("index_n_heads")?,
        head_dim: keys.count("index_head_dim")?,
        topk: keys.count("index_topk")?,
        compression: SELECTING,
        shared: false,
    };
    let heads = keys.count("num_attention_heads")?;
    let o_groups = keys.count("o_groups")?;
    if heads % o_groups != 0 {
        let reason = format!("{heads} heads cannot be divided into {o_groups} groups; correct one");
        return Err(keys.inconsistent("o_groups", reason));
    }
    Ok(Attention::Compressed(Compressed {
        heads,
        head_dim: keys.count("head_dim")?,
        rope_dim: keys.count("qk_rope_head_dim")?,
        q_lora_rank: keys.count("q_lora_rank")?,
        o_groups,
        o_lora_rank: keys.count("o_lora_rank")?,
        window: keys.count("sliding_window")?,
        ratio,
        overlap: ratio == SELECTING,
        indexer: (ratio == SELECTING).then_some(indexer),
    }))
}
