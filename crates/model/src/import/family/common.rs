//! Keys that many families share.

use crate::arch::{Attention, Decay, Ffn, LayerGroup, Linear, Mla, Moe, MultiHead};
use crate::import::ImportError;
use crate::import::decoder::Frame;
use crate::import::keys::{Keys, Read};
use serde_json::Value;

/// Query heads, key/value heads and head width, with the defaults of the library.
pub(crate) fn heads(keys: &Keys, frame: Frame) -> Read<MultiHead> {
    let heads = keys.count("num_attention_heads|n_head|num_heads|n_heads")?;
    let kv_heads =
        keys.count_or("num_key_value_heads|num_kv_heads|multi_query_group_num|num_attention_groups", heads)?;
    let head_dim = match keys.opt_count("head_dim|kv_channels|attention_head_dim")? {
        Some(head_dim) => head_dim,
        None if frame.hidden % heads == 0 => frame.hidden / heads,
        None => {
            let reason =
                format!("hidden size {} is not divisible by {heads} heads; give `head_dim`", frame.hidden);
            return Err(keys.inconsistent("num_attention_heads|n_head|num_heads|n_heads", reason));
        }
    };
    check_groups(keys, heads, kv_heads)?;
    Ok(MultiHead::new(heads, kv_heads, head_dim))
}

/// Every key/value head must serve the same number of query heads.
pub(crate) fn check_groups(keys: &Keys, heads: u32, kv_heads: u32) -> Read<()> {
    if heads % kv_heads == 0 {
        return Ok(());
    }
    let reason =
        format!("{heads} query heads are not divisible by {kv_heads} key/value heads; correct one of them");
    Err(keys.inconsistent("num_key_value_heads", reason))
}

/// The inner width of the dense feed-forward network.
pub(crate) fn intermediate(keys: &Keys) -> Read<u32> {
    keys.count("intermediate_size|ffn_hidden_size|n_inner|ffn_dim")
}

/// The gated activations that families of gated networks use.
pub(crate) fn expect_gated_activation(keys: &Keys) -> Read<()> {
    const KNOWN: [&str; 10] = [
        "silu",
        "swish",
        "gelu",
        "gelu_new",
        "gelu_pytorch_tanh",
        "gelu_fast",
        "swiglu",
        "swigluoai",
        "situ",
        "relu",
    ];
    match keys.text("hidden_act|hidden_activation|activation_function")? {
        Some(name) if !KNOWN.contains(&name) => Err(keys.unknown_value(
            "hidden_act|hidden_activation|activation_function",
            &format!("known activations are {}", KNOWN.join(", ")),
        )),
        _ => Ok(()),
    }
}

/// The window of each layer: by `layer_types`, by the Qwen switches, or one for all.
pub(crate) fn windows(keys: &Keys, frame: Frame) -> Read<Vec<Option<u32>>> {
    let layers = frame.layers as usize;
    let window = keys.opt_first("sliding_window")?;
    let used = keys.flag("use_sliding_window", true)?;
    if let Some(types) = layer_types(keys, frame, &["full_attention", "sliding_attention"])? {
        let of_type = |kind: &&str| match (*kind, window) {
            ("full_attention", _) => Ok(None),
            (_, Some(window)) => Ok(Some(window)),
            (_, None) => Err(keys.missing("sliding_window")),
        };
        return types.iter().map(of_type).collect();
    }
    let Some(window) = window.filter(|_| used) else { return Ok(vec![None; layers]) };
    let first = if keys.has("use_sliding_window") { keys.whole("max_window_layers")? as usize } else { 0 };
    Ok((0..layers).map(|layer| (layer >= first).then_some(window)).collect())
}

/// A list with one entry per layer, or per layer and prediction module, of which those of the layers are taken.
pub(crate) fn main_layers<'a>(keys: &Keys<'a>, name: &str, frame: Frame) -> Read<Option<&'a [Value]>> {
    let modules = keys.whole("num_nextn_predict_layers")?;
    let layers = frame.layers as usize;
    match keys.list(name)? {
        Some(items) if modules > 0 && items.len() == layers + modules as usize => Ok(Some(&items[..layers])),
        _ => keys.per_layer(name, frame.layers),
    }
}

/// `layer_types`, one of `known` per layer.
pub(crate) fn layer_types<'a>(keys: &Keys<'a>, frame: Frame, known: &[&str]) -> Read<Option<Vec<&'a str>>> {
    let Some(items) = main_layers(keys, "layer_types", frame)? else { return Ok(None) };
    let name = |item: &'a Value| match item.as_str() {
        Some(name) if known.contains(&name) => Ok(name),
        Some(name) => {
            let expected = format!("known layer types are {}", known.join(", "));
            Err(keys.unknown("layer_types", &format!("`{name}`"), &expected))
        }
        None => Err(keys.wrong_type("layer_types", "a list of strings", item)),
    };
    items.iter().map(name).collect::<Read<Vec<&str>>>().map(Some)
}

/// Multi-head latent attention.
pub(crate) fn mla(keys: &Keys) -> Read<Mla> {
    let heads = keys.count("num_attention_heads")?;
    keys.ignore("num_key_value_heads|head_dim");
    let nope = keys.count("qk_nope_head_dim|attention_qk_dim")?;
    const ROPE: &str = "qk_rope_head_dim|attention_qk_rope_dim";
    // Zero where positions are those of other layers (GLM-5 Next).
    let rope = match keys.value(ROPE)? {
        Some(value) => keys.number(ROPE, value, 0)?,
        None => return Err(keys.missing(ROPE)),
    };
    if let Some(sum) = keys.opt_count("qk_head_dim")? {
        if sum != nope + rope {
            let reason = format!(
                "is {sum}, but the parts with and without rotation are {nope} and {rope}; correct one"
            );
            return Err(keys.inconsistent("qk_head_dim", reason));
        }
    }
    Ok(Mla {
        heads,
        q_lora_rank: keys.opt_count("q_lora_rank|attention_q_lora_dim")?,
        kv_lora_rank: keys.count("kv_lora_rank|attention_kv_lora_dim")?,
        qk_nope_head_dim: nope,
        qk_rope_head_dim: rope,
        v_head_dim: value_width(keys, nope)?,
        output_gate: false,
        indexer: None,
    })
}

/// The width of a value head; the unrotated part of a key's where a file leaves it out (MiniCPM 3).
fn value_width(keys: &Keys, nope: u32) -> Read<u32> {
    const NAMES: &str = "v_head_dim|attention_v_dim";
    if let Some(width) = keys.opt_count(NAMES)? {
        return Ok(width);
    }
    keys.note(format!("assumed: value heads of {nope}, as wide as the unrotated part of a key"));
    Ok(nope)
}

/// Linear attention by the delta rule with a decay per key element (Kimi's), as files of Transformers 5 state it.
pub(crate) fn delta_rule(keys: &Keys, full_rank: bool) -> Read<Linear> {
    let (heads, head_dim) = (keys.count("linear_num_heads")?, keys.count("linear_head_dim")?);
    let conv_kernel = keys.count_or("linear_conv_kernel_dim|short_conv_kernel_size", 4)?;
    let rank = (!full_rank).then_some(head_dim);
    Ok(delta_heads(heads, head_dim, conv_kernel, [rank, rank]))
}

/// The same of sizes that are known; `ranks` are those of the projections of the output gate and of the decay.
pub(crate) fn delta_heads(heads: u32, head_dim: u32, conv_kernel: u32, ranks: [Option<u32>; 2]) -> Linear {
    Linear {
        k_heads: heads,
        v_heads: heads,
        k_head_dim: head_dim,
        v_head_dim: head_dim,
        conv_kernel,
        output_gate: true,
        gate_rank: ranks[0],
        decay: Decay::PerElement { rank: ranks[1] },
        delta: true,
    }
}

/// Routed experts by the names of the DeepSeek, Qwen and Mixtral lines.
pub(crate) fn experts(keys: &Keys) -> Read<Moe> {
    let experts =
        keys.count("n_routed_experts|num_experts|num_local_experts|moe_num_experts|num_routed_experts")?;
    let topk = keys.count(
        "num_experts_per_tok|experts_per_token|num_experts_per_token|moe_topk|top_k_experts|moe_top_k",
    )?;
    let intermediate = match keys.opt_count("moe_intermediate_size|expert_ffn_hidden_size")? {
        Some(intermediate) => intermediate,
        None => intermediate(keys)?,
    };
    let moe = Moe::new(experts, topk, intermediate);
    check_topk(keys, &moe)?;
    Ok(moe)
}

fn check_topk(keys: &Keys, moe: &Moe) -> Read<()> {
    if moe.topk <= moe.experts {
        return Ok(());
    }
    let reason =
        format!("{} experts per token are more than the {} experts; correct one", moe.topk, moe.experts);
    Err(keys.inconsistent(
        "num_experts_per_tok|experts_per_token|num_experts_per_token|moe_topk|top_k_experts",
        reason,
    ))
}

/// Groups of experts for routing limited to some of them.
pub(crate) fn expert_groups(keys: &Keys, moe: &mut Moe) -> Read<()> {
    moe.groups = keys.count_or("n_group|num_expert_group", 1)?;
    moe.topk_groups = keys.count_or("topk_group", 1)?;
    if moe.experts % moe.groups != 0 || moe.topk_groups > moe.groups {
        let reason = format!(
            "{} experts cannot be divided into {} groups of which {} are chosen; correct `n_group` or `topk_group`",
            moe.experts, moe.groups, moe.topk_groups
        );
        return Err(keys.inconsistent("n_group|num_expert_group", reason));
    }
    Ok(())
}

/// Attention that differs by its window only.
pub(crate) fn windowed(attention: &MultiHead, window: Option<u32>) -> Attention {
    Attention::MultiHead(MultiHead { window, ..attention.clone() })
}

/// Which of `count` layers are sparse, by `first_k_dense_replace` and `moe_layer_freq` (a number or one per layer).
pub(crate) fn sparse_layers(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    if let Some(text) = keys.text("moe_layers_enum")? {
        // The numbers of the layers with experts, between commas (Step).
        let listed: Vec<u32> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        return Ok((0..frame.layers).map(|layer| listed.contains(&layer)).collect());
    }
    let first = keys.whole("first_k_dense_replace|num_dense_layers")?;
    match keys.value("moe_layer_freq")? {
        Some(Value::Array(_)) => {
            let items = keys.per_layer("moe_layer_freq", frame.layers)?.unwrap_or_default();
            items.iter().map(|item| keys.number("moe_layer_freq", item, 0).map(|flag| flag != 0)).collect()
        }
        _ => {
            let every = keys.count_or("moe_layer_freq", 1)?;
            Ok((0..frame.layers).map(|layer| layer >= first && layer % every == 0).collect())
        }
    }
}

/// Which layers are sparse, by their number, by a list, or by both where they agree.
pub(crate) fn which_sparse(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    if let Some(listed) = listed_sparse(keys, frame)? {
        return Ok(listed);
    }
    let sparse = sparse_layers(keys, frame)?;
    check_layer_types(keys, frame, &sparse)?;
    Ok(sparse)
}

/// Which layers are sparse, where `mlp_layer_types` alone says it.
fn listed_sparse(keys: &Keys, frame: Frame) -> Read<Option<Vec<bool>>> {
    if keys.has("first_k_dense_replace") {
        return Ok(None);
    }
    let Some(types) = main_layers(keys, "mlp_layer_types", frame)? else { return Ok(None) };
    keys.ignore("moe_layer_freq|moe_layers_enum|num_dense_layers");
    let sparse = |kind: &Value| match kind.as_str() {
        Some("dense") => Ok(false),
        Some("sparse") => Ok(true),
        _ => Err(unknown_mlp(keys, kind)),
    };
    types.iter().map(sparse).collect::<Read<Vec<bool>>>().map(Some)
}

/// `mlp_layer_types` says again which layers are dense; it must say the same.
fn check_layer_types(keys: &Keys, frame: Frame, sparse: &[bool]) -> Read<()> {
    let Some(types) = main_layers(keys, "mlp_layer_types", frame)? else { return Ok(()) };
    for (kind, sparse) in types.iter().zip(sparse) {
        match kind.as_str() {
            Some("dense") if !sparse => {}
            Some("sparse") if *sparse => {}
            Some("dense" | "sparse") => {
                let reason = "disagrees with `first_k_dense_replace`; correct one of them";
                return Err(keys.inconsistent("mlp_layer_types", reason));
            }
            _ => return Err(unknown_mlp(keys, kind)),
        }
    }
    Ok(())
}

fn unknown_mlp(keys: &Keys, kind: &Value) -> ImportError {
    keys.unknown("mlp_layer_types", &kind.to_string(), "known types are dense and sparse")
}

/// One layer per entry of `sparse`.
pub(crate) fn mixed(sparse: &[bool], attention: &Attention, dense: &Ffn, moe: &Moe) -> Vec<LayerGroup> {
    let ffn = |sparse: &bool| if *sparse { Ffn::Moe(moe.clone()) } else { dense.clone() };
    sparse.iter().map(|sparse| crate::import::decoder::layer(attention.clone(), ffn(sparse))).collect()
}
