//! LongCat-Flash: two attentions and two dense networks per layer, with experts beside the first pair.

use super::Family;
use super::common::{expect_gated_activation, experts, mla};
use crate::arch::{Attention, Ffn, Moe};
use crate::import::decoder::{Decoder, Frame, Layout, gated, layer};
use crate::import::keys::{Keys, Read};
use serde_json::Value;

pub(crate) const FAMILIES: &[Family] = &[Family { name: "longcat_flash", read: longcat_flash }];

fn longcat_flash(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_gated_activation(keys)?;
    keys.expect_flag("attention_bias", false, "biases on latent attention are not described; give false")?;
    keys.expect_flag("router_bias", false, "a linear bias of the router is not described; give false")?;
    expect_identity(keys)?;
    keys.ignore(
        "attention_method|mla_scale_q_lora|mla_scale_kv_lora|moe_impl|norm_topk_prob|use_mla|expert_dropout",
    );
    let attention = Attention::Mla(mla(keys)?);
    let width = keys.count("ffn_hidden_size|intermediate_size")?;
    let moe = Moe {
        router_bias: true,
        dense_intermediate: width,
        identity_experts: keys.whole("zero_expert_num")?,
        ..experts(keys)?
    };
    // The experts read what the first dense network reads and are added after the second.
    let first = layer(attention.clone(), Ffn::Moe(moe));
    let second = layer(attention, gated(width));
    let layers = std::iter::repeat_n([first, second.clone()], frame.layers as usize).flatten().collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers);
    decoder.lookup_parameters = ngram_tables(keys, frame)?;
    decoder.layout = Layout { attention: "self_attn.0", dense: "mlps.0", ..Layout::COMMON };
    let modules = keys.whole("num_nextn_predict_layers")?;
    if modules > 0 {
        decoder.mtp = Some((modules, second));
    }
    Ok(decoder)
}

fn expect_identity(keys: &Keys) -> Read<()> {
    match keys.text("zero_expert_type")? {
        None | Some("identity") => Ok(()),
        Some(_) => Err(keys.unknown_value("zero_expert_type", "only identity is understood")),
    }
}

/// Hashed tables for runs of two to `emb_neighbor_num` tokens, each split in `emb_split_num`, whose widths together
/// are the hidden size, and a projection from each to the hidden size.
fn ngram_tables(keys: &Keys, frame: Frame) -> Read<u64> {
    let ratio = match keys.value("ngram_vocab_size_ratio|oe_vocab_size_ratio")? {
        None => return Ok(0),
        Some(value) => value.as_f64().filter(|ratio| (0.0..=10_000.0).contains(ratio)).ok_or_else(|| {
            keys.wrong_type("ngram_vocab_size_ratio|oe_vocab_size_ratio", "a number up to 10000", value)
        })?,
    };
    keys.ignore("ngram_exclude_sp_token|special_token_scope|ngram_fix_normalize_factor|text_vocab_size");
    let orders = keys.count("emb_neighbor_num|oe_neighbor_num")?.saturating_sub(1);
    let tables = u64::from(orders) * u64::from(keys.count("emb_split_num|oe_split_num")?);
    if tables == 0 || u64::from(frame.hidden) % tables != 0 {
        let reason = format!("{tables} tables cannot share a hidden size of {}; correct one", frame.hidden);
        return Err(keys.inconsistent("emb_split_num|oe_split_num", reason));
    }
    let width = u64::from(frame.hidden) / tables;
    let rows = (f64::from(text_vocab(keys, frame)) * ratio) as u64;
    // Table sizes are consecutive odd numbers above the ratio, so that their hashes differ.
    let all_rows: u64 =
        (0..tables).map(|index| rows.saturating_add(2 * index + 1)).fold(0, u64::saturating_add);
    let projections = u64::from(frame.hidden) * u64::from(frame.hidden);
    Ok(all_rows.saturating_mul(width).saturating_add(projections))
}

fn text_vocab(keys: &Keys, frame: Frame) -> u32 {
    let given = keys.value("text_vocab_size").ok().flatten().and_then(Value::as_u64);
    given.and_then(|vocab| u32::try_from(vocab).ok()).unwrap_or(frame.vocab)
}
