//! Attention with heads, or with latents.

use super::traits::{QkNorm, Traits};
use crate::arch::{Attention, Mla, MultiHead};
use crate::import::decoder::Frame;
use crate::import::family::common::{check_groups, mla};
use crate::import::family::indexer::indexer;
use crate::import::keys::{Keys, Read};
use serde_json::Value;

/// Attention of the model's layers.
pub(super) struct Heads {
    pub main: Attention,
    /// (query heads, key/value heads) of each layer, where they differ.
    per_layer: Option<Vec<(u32, u32)>>,
    /// (query heads, key/value heads, head width) of windowed layers, where they have others.
    windowed: Option<(u32, u32, u32)>,
    /// Layers from this one on read the keys and values of earlier ones.
    first_shared: usize,
}

const HEADS: &str = "num_attention_heads|n_head|n_heads|num_heads|num_q_heads|attention_heads";
const KV_HEADS: &str = "num_key_value_heads|num_kv_heads|n_head_kv|n_kv_heads|kv_n_heads|multi_query_group_num|num_query_groups|num_key_value_groups|num_attention_groups";

impl Heads {
    /// Attention of layer `index` under a window.
    pub(super) fn of_layer(&self, index: usize, window: Option<u32>) -> Attention {
        let Attention::MultiHead(main) = &self.main else { return self.main.clone() };
        let (heads, kv_heads) = self
            .per_layer
            .as_ref()
            .and_then(|layers| layers.get(index).copied())
            .unwrap_or((main.heads, main.kv_heads));
        let reuses_kv = index >= self.first_shared;
        let whole = (heads, kv_heads, main.head_dim);
        let own = self.windowed.filter(|_| window.is_some());
        let (heads, kv_heads, head_dim) = own.unwrap_or(whole);
        let v_head_dim = own.map_or(main.v_head_dim, |_| head_dim);
        Attention::MultiHead(MultiHead {
            heads,
            kv_heads,
            head_dim,
            v_head_dim,
            window,
            reuses_kv,
            ..main.clone()
        })
    }

    /// (heads, head width), for what follows the shape of attention.
    pub(super) fn shape(&self) -> Option<(u32, u32)> {
        match &self.main {
            Attention::MultiHead(a) => Some((a.heads, a.head_dim)),
            _ => None,
        }
    }
}

/// Reads the attention of the model.
pub(super) fn read(keys: &Keys, frame: Frame, traits: &Traits) -> Read<Heads> {
    let first_shared = frame.layers.saturating_sub(keys.whole("num_kv_shared_layers")?) as usize;
    if keys.has("kv_lora_rank") && keys.opt_flag("use_mla")? != Some(false) {
        own_latents(keys, frame)?;
        let output_gate = keys.opt_flag("mla_use_output_gate")?.unwrap_or(traits.output_gate);
        let latent = Mla { output_gate, indexer: indexer(keys)?, ..mla(keys)? };
        return Ok(Heads { main: Attention::Mla(latent), per_layer: None, windowed: None, first_shared });
    }
    keys.ignore("kv_lora_rank|q_lora_rank|qk_nope_head_dim|qk_rope_head_dim|v_head_dim");
    let per_layer = per_layer(keys, frame)?;
    let (heads, kv_heads) = match per_layer.as_ref().and_then(|layers| layers.first().copied()) {
        Some(first) => first,
        None => counts(keys)?,
    };
    let head_dim = head_dim(keys, frame, heads)?;
    check_groups(keys, heads, kv_heads)?;
    let (qkv_bias, out_bias) = biases(keys, traits)?;
    let norm = qk_norm(keys, traits)?;
    let output_gate = keys.opt_flag("attn_output_gate|attention_output_gate|use_output_gate")?;
    let main = MultiHead {
        qkv_bias,
        out_bias,
        qk_norm: norm != QkNorm::No,
        qk_norm_whole: norm == QkNorm::Whole,
        output_gate: output_gate.unwrap_or(traits.output_gate),
        indexer: indexer(keys)?,
        ..MultiHead::new(heads, kv_heads, head_dim)
    };
    let windowed = windowed(keys, &main)?;
    Ok(Heads { main: Attention::MultiHead(main), per_layer, windowed, first_shared })
}

/// The heads of windowed layers, where a file gives them others.
fn windowed(keys: &Keys, full: &MultiHead) -> Read<Option<(u32, u32, u32)>> {
    let heads = keys.opt_first("swa_num_attention_heads|num_sliding_attention_heads")?;
    let kv_heads = keys.opt_first("swa_num_key_value_heads")?;
    let head_dim = keys.opt_first("swa_head_dim")?;
    if (heads, kv_heads, head_dim) == (None, None, None) {
        return Ok(None);
    }
    let own =
        (heads.unwrap_or(full.heads), kv_heads.unwrap_or(full.kv_heads), head_dim.unwrap_or(full.head_dim));
    check_groups(keys, own.0, own.1)?;
    Ok(Some(own))
}

/// Refuses layers that read the latents of others (`kv_source_layers`).
fn own_latents(keys: &Keys, frame: Frame) -> Read<()> {
    const KEY: &str = "kv_source_layers";
    let sources = keys.per_layer(KEY, frame.layers)?.unwrap_or_default();
    match sources.iter().zip(0u64..).find(|(source, layer)| source.as_u64() != Some(*layer)) {
        Some((source, _)) => Err(keys.unknown(
            KEY,
            &source.to_string(),
            "only layers with latents of their own are understood: give every layer its own number",
        )),
        None => Ok(()),
    }
}

fn counts(keys: &Keys) -> Read<(u32, u32)> {
    let heads = keys.opt_first(HEADS)?.ok_or_else(|| keys.missing(HEADS))?;
    let multi_query = keys.opt_flag("multi_query|multi_query_attention")?;
    let new_falcon = keys.opt_flag("new_decoder_architecture")?.unwrap_or(false);
    let kv_heads = match (multi_query, keys.opt_first(KV_HEADS)?) {
        // Falcon's and StarCoder's files state the number only where it is used.
        (Some(true), Some(given)) if new_falcon || given < heads => given,
        (Some(true), _) if !new_falcon => 1,
        (_, Some(given)) => given,
        (_, None) => heads,
    };
    Ok((heads, kv_heads))
}

/// Lists of heads with one entry per layer (OpenELM, DeciLM).
fn per_layer(keys: &Keys, frame: Frame) -> Read<Option<Vec<(u32, u32)>>> {
    const QUERIES: &str = "num_query_heads|num_attention_heads_per_layer|num_attention_heads";
    const VALUES: &str = "num_kv_heads|num_key_value_heads_per_layer|num_key_value_heads";
    let list = |names: &str| -> Read<Option<Vec<u32>>> {
        match keys.first(names)? {
            Some(Value::Array(items)) if items.len() == frame.layers as usize => {
                items.iter().map(|item| keys.number(names, item, 1)).collect::<Read<Vec<u32>>>().map(Some)
            }
            _ => Ok(None),
        }
    };
    let layers = frame.layers as usize;
    match (list(QUERIES)?, list(VALUES)?) {
        (None, None) => Ok(None),
        (Some(queries), Some(kv)) => Ok(Some(queries.into_iter().zip(kv).collect())),
        (Some(queries), None) => {
            let kv = keys.opt_first(KV_HEADS)?;
            Ok(Some(queries.iter().map(|heads| (*heads, kv.unwrap_or(*heads))).collect()))
        }
        (None, Some(kv)) => {
            let heads = keys.opt_first(HEADS)?.ok_or_else(|| keys.missing(HEADS))?;
            Ok(Some(vec![heads; layers].into_iter().zip(kv).collect()))
        }
    }
}

fn head_dim(keys: &Keys, frame: Frame, heads: u32) -> Read<u32> {
    const NAMES: &str = "head_dim|kv_channels|attention_head_dim|attention_head_size|d_kv|head_size|d_head";
    match keys.opt_first(NAMES)? {
        Some(head_dim) => Ok(head_dim),
        None if frame.hidden % heads == 0 => Ok(frame.hidden / heads),
        None => {
            let reason =
                format!("hidden size {} is not divisible by {heads} heads; give `head_dim`", frame.hidden);
            Err(keys.inconsistent(HEADS, reason))
        }
    }
}

/// Biases of (q, k and v; the output).
fn biases(keys: &Keys, traits: &Traits) -> Read<(bool, bool)> {
    const ALL: &str =
        "attention_bias|use_bias|add_bias_linear|bias|use_attention_bias|attn_bias|use_attn_bias";
    let all = keys.flag_first(ALL)?;
    // A class with biases on q, k and v alone means the other projections.
    let none = keys.flag_first("no_bias")?.filter(|_| traits.qkv_bias == traits.out_bias).map(|none| !none);
    let all = all.or(none);
    let qkv = keys.flag_first("qkv_bias|use_qkv_bias|add_qkv_bias|attention_qkv_bias|qkv_proj_bias")?;
    let out = keys.flag_first("attention_out_bias|out_proj_bias|attention_output_bias|o_proj_bias")?;
    // A class whose file names one key for both uses it for both only if it has both biases or neither.
    let both = traits.qkv_bias == traits.out_bias;
    let out_default = if both { all.unwrap_or(traits.out_bias) } else { traits.out_bias };
    Ok((qkv.or(all).unwrap_or(traits.qkv_bias), out.unwrap_or(out_default)))
}

fn qk_norm(keys: &Keys, traits: &Traits) -> Read<QkNorm> {
    const FLAGS: &str = "use_qk_norm|qk_norm|normalize_qk_projections|qk_layernorm|use_query_key_norm|use_qk_layernorm|add_qk_norm";
    let flag = keys.flag_first(FLAGS)?;
    Ok(match (flag, traits.qk_norm) {
        (Some(false), _) => QkNorm::No,
        (Some(true), Some(QkNorm::No) | None) => QkNorm::Head,
        (_, Some(norm)) => norm,
        (None, None) => {
            keys.note("assumed: queries and keys are not normalised");
            QkNorm::No
        }
    })
}
