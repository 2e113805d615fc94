//! Feed-forward networks and experts.

use super::kinds::Mixing;
use super::traits::Traits;
use crate::arch::{Ffn, Moe};
use crate::import::decoder::Frame;
use crate::import::keys::{Keys, Read};
use serde_json::Value;

/// Channel mixing of the model's layers.
pub(super) struct Networks {
    layers: Vec<Ffn>,
    /// Weights of further matrices in a layer.
    pub extra: u64,
    /// Weights of the experts of images in all layers, where they are others than those of text.
    pub other_experts: u64,
}

impl Networks {
    pub(super) fn of_layer(&self, index: usize) -> Ffn {
        self.layers.get(index).cloned().unwrap_or(Ffn::None)
    }
}

const WIDTH: &str = "block_ff_dim|intermediate_size|ff_intermediate_size|ffn_hidden_size|inner_hidden_size|n_inner|ffn_dim|intermediate_dim|d_ff|\
                     mlp_hidden_size|feed_forward_size|ffn_intermediate_size|mlp_intermediate_size|filter_size";
const EXPERTS: &str = "n_routed_experts|num_experts|num_local_experts|moe_num_experts|num_routed_experts|n_experts|\
                       num_moe_experts|moe_n_experts";
const TOPK: &str = "num_experts_per_tok|num_experts_per_token|experts_per_token|moe_topk|moe_top_k|moe_k|\
                    top_k_experts|num_selected_experts|num_activated_experts|experts_topk|topk_experts|num_experts_topk";
const EXPERT_WIDTH: &str = "moe_intermediate_size|expert_ffn_hidden_size|expert_intermediate_size|moe_ffn_hidden_size|\
                            expert_hidden_size|moe_expert_intermediate_size|ffn_expert_size";
const SHARED: &str =
    "n_shared_experts|num_shared_experts|moe_num_shared_experts|num_shared_expert|n_shared_expert";
const SHARED_WIDTH: &str = "shared_expert_intermediate_size|moe_shared_expert_intermediate_size|share_expert_dim|\
                            shared_intermediate_size|shared_experts_intermediate_size|shared_expert_ffn_hidden_size|moe_shared_intermediate_size";

/// Weights beyond which a sum of parts would overflow.
const MOST_OTHERS: u64 = 1 << 60;

/// Reads the channel mixing of every layer.
pub(super) fn read(keys: &Keys, frame: Frame, traits: &Traits, kinds: &Mixing) -> Read<Networks> {
    if kinds.pure {
        keys.ignore("hidden_act|intermediate_size");
        return Ok(Networks { layers: Vec::new(), extra: 0, other_experts: 0 });
    }
    let gated = gated(keys, traits)?;
    let bias = mlp_bias(keys, traits)?;
    let experts = experts(keys, frame, traits, gated)?;
    let sparse = match (&experts, &kinds.experts) {
        (None, _) => vec![false; frame.layers as usize],
        (Some(_), Some(listed)) => listed.clone(),
        (Some(_), None) => sparse_layers(keys, frame)?,
    };
    let widths = if sparse.iter().all(|sparse| *sparse) {
        keys.ignore(WIDTH);
        None
    } else {
        Some(widths(keys, frame, traits)?)
    };
    let layer = |index: usize| match (&experts, sparse[index], &widths) {
        (Some(moe), true, _) => Ffn::Moe(moe.clone()),
        (_, _, Some(widths)) if widths[index] > 0 => Ffn::Dense { intermediate: widths[index], gated, bias },
        _ => Ffn::None,
    };
    let layers: Vec<Ffn> = (0..frame.layers as usize).map(layer).collect();
    let mixtures = layers.iter().filter(|ffn| matches!(ffn, Ffn::Moe(_))).count() as u64;
    let other_experts = mixtures.saturating_mul(other_experts(keys, frame, gated)?).min(MOST_OTHERS);
    Ok(Networks { layers, extra: 0, other_experts })
}

/// Whether networks have a gate: by the class, by a key, or by the activation.
fn gated(keys: &Keys, traits: &Traits) -> Read<bool> {
    const ACTIVATION: &str = "hidden_act|hidden_activation|activation_function|mlp_hidden_act|activation|\
                              activation_type|mlp_activation|act_fn|ffn_act_type|activation_fn_name";
    let name = match keys.first(ACTIVATION)? {
        Some(Value::String(name)) => name.to_ascii_lowercase(),
        _ => String::new(),
    };
    if let Some(flag) = keys.flag_first(
        "gated_mlp|use_gated_mlp|glu|use_glu|swiglu|ffn_with_glu|use_gated_activation|gated_linear_unit",
    )? {
        return Ok(flag);
    }
    if let Some(gated) = traits.gated {
        return Ok(gated);
    }
    let layer_norm = keys.has("layer_norm_eps") || keys.has("layer_norm_epsilon");
    let (gated, why) = match name.as_str() {
        "relu2" | "xielu" | "relu_squared" | "squared_relu" => (false, "its activation is used without one"),
        name if name.contains("glu") => (true, "its activation has one"),
        name if name.contains("silu") || name.contains("swish") => (true, "SiLU goes with one"),
        "" if keys.has("rms_norm_eps") => (true, "models with RMS norms have one"),
        _ if layer_norm => (false, "models with LayerNorm have none"),
        _ => (true, "models with RMS norms have one"),
    };
    let word = if gated { "with a gate (three matrices)" } else { "without a gate (two matrices)" };
    keys.note(format!("assumed: feed-forward networks {word}, as {why}"));
    Ok(gated)
}

fn mlp_bias(keys: &Keys, traits: &Traits) -> Read<bool> {
    let own = keys.flag_first("mlp_bias|use_mlp_bias|ffn_bias|add_ffn_bias")?;
    let all = keys.flag_first("use_bias|add_bias_linear|bias")?;
    let none = keys.flag_first("no_bias")?.map(|none| !none);
    Ok(own.or(all).or(none).unwrap_or(traits.mlp_bias))
}

/// The inner width of each layer's dense network.
fn widths(keys: &Keys, frame: Frame, traits: &Traits) -> Read<Vec<u32>> {
    let layers = frame.layers as usize;
    if let Some(widths) = multiplied(keys, frame)? {
        return Ok(widths);
    }
    match keys.first(WIDTH)? {
        Some(Value::Array(items)) if items.len() == layers => {
            items.iter().map(|item| keys.number(WIDTH, item, 0)).collect()
        }
        Some(value) => Ok(vec![adjusted(keys, traits, keys.number(WIDTH, value, 1)?)?; layers]),
        None => {
            let ratio = keys.opt_count("expansion_ratio|mlp_ratio|ffn_mult|mlp_expansion|ffn_factor")?;
            match ratio.or(traits.multiple) {
                Some(multiple) => Ok(vec![frame.hidden.saturating_mul(multiple); layers]),
                None => Err(keys.missing("intermediate_size|ffn_hidden_size|n_inner|ffn_dim|d_ff")),
            }
        }
    }
}

/// LFM2 states the width before it is cut to two thirds and rounded up, unless told not to. The first Qwen states both
/// halves of the gated width together.
fn adjusted(keys: &Keys, traits: &Traits, width: u32) -> Read<u32> {
    if traits.halved_width {
        keys.note(format!("assumed: `intermediate_size` {width} is both halves of a gated network together"));
        return Ok(width / 2);
    }
    if keys.flag_first("block_auto_adjust_ff_dim")? != Some(true) {
        keys.ignore("block_multiple_of|block_ffn_dim_multiplier|block_ff_dim|block_dim|block_mlp_init_scale");
        return Ok(width);
    }
    let multiple = keys.count_or("block_multiple_of", 256)?;
    let factor = keys.value("block_ffn_dim_multiplier")?.and_then(Value::as_f64).unwrap_or(1.0);
    let cut = (f64::from(width * 2 / 3) * factor.clamp(0.0, 64.0)) as u32;
    Ok(cut.div_ceil(multiple).saturating_mul(multiple))
}

/// `ffn_multipliers` of each layer, rounded to `ffn_dim_divisor` (OpenELM).
fn multiplied(keys: &Keys, frame: Frame) -> Read<Option<Vec<u32>>> {
    let Some(items) = keys.per_layer("ffn_multipliers", frame.layers)? else { return Ok(None) };
    let divisor = keys.count_or("ffn_dim_divisor", 256)?;
    let width = |item: &Value| {
        let factor = item.as_f64().filter(|factor| (0.0..=1024.0).contains(factor));
        let factor = factor.ok_or_else(|| keys.wrong_type("ffn_multipliers", "a list of numbers", item))?;
        let wanted = factor * f64::from(frame.hidden);
        let rounded = ((wanted + f64::from(divisor) / 2.0) / f64::from(divisor)).floor() * f64::from(divisor);
        let rounded = if rounded < 0.9 * wanted { rounded + f64::from(divisor) } else { rounded };
        Ok(rounded as u32)
    };
    items.iter().map(width).collect::<Read<Vec<u32>>>().map(Some)
}

/// A number, or the largest of a list with one per layer or modality (ERNIE, Hunyuan).
fn number_or_list(keys: &Keys, names: &str) -> Read<Option<u32>> {
    match keys.first(names)? {
        None => Ok(None),
        Some(Value::Array(items)) => {
            let numbers = items.iter().map(|item| keys.number(names, item, 0)).collect::<Read<Vec<u32>>>()?;
            if numbers.windows(2).any(|pair| pair[0] != pair[1]) {
                if numbers.len() > 2 {
                    let expected = "lists whose entries differ are not understood here; give one number";
                    return Err(keys.unknown_value(names, expected));
                }
                keys.note("assumed: of two kinds of experts the first is that of text");
            }
            Ok(numbers.first().copied().filter(|number| *number > 0))
        }
        Some(value) => Ok(Some(keys.number(names, value, 0)?).filter(|number| *number > 0)),
    }
}

/// Weights of one layer's second kind of experts, those of images (ERNIE 4.5 VL), with their router.
fn other_experts(keys: &Keys, frame: Frame, gated: bool) -> Read<u64> {
    let second = |names: &str| -> Read<Option<u32>> {
        match keys.first(names)? {
            Some(Value::Array(items)) if items.len() == 2 => keys.number(names, &items[1], 0).map(Some),
            _ => Ok(None),
        }
    };
    let Some(width) = second(EXPERT_WIDTH)? else { return Ok(0) };
    let count = second(EXPERTS)?.map_or_else(|| number_or_list(keys, EXPERTS), |count| Ok(Some(count)))?;
    let hidden = u64::from(frame.hidden);
    let matrices = if gated { 3 } else { 2 };
    let one = hidden.saturating_mul(matrices * u64::from(width) + 1);
    Ok(u64::from(count.unwrap_or(0)).saturating_mul(one))
}

/// The routed experts, where there are any.
fn experts(keys: &Keys, frame: Frame, traits: &Traits, gated: bool) -> Read<Option<Moe>> {
    let off = keys.flag_first("is_moe|use_moe|enable_moe")? == Some(false);
    let Some(count) = number_or_list(keys, EXPERTS)?.filter(|count| *count > 1 && !off) else {
        for names in [TOPK, EXPERT_WIDTH, SHARED, SHARED_WIDTH] {
            keys.ignore(names);
        }
        return Ok(None);
    };
    let topk = number_or_list(keys, TOPK)?.ok_or_else(|| keys.missing(TOPK))?;
    let width = match number_or_list(keys, EXPERT_WIDTH)? {
        Some(width) => width,
        None => keys.opt_first(WIDTH)?.ok_or_else(|| keys.missing(EXPERT_WIDTH))?,
    };
    if topk > count {
        let reason = format!("{topk} experts per token are more than the {count} experts; correct one");
        return Err(keys.inconsistent(TOPK, reason));
    }
    let shared = number_or_list(keys, SHARED)?.or_else(|| supplied_shared(keys, traits));
    let shared_width = number_or_list(keys, SHARED_WIDTH)?;
    let shared_intermediate = match (shared, shared_width) {
        // Files that give a width without a number give it for all shared experts together.
        (None, Some(width)) => width,
        (Some(number), Some(width)) => number.saturating_mul(width),
        (Some(number), None) => number.saturating_mul(width),
        (None, None) => 0,
    };
    let dense_beside = dense_beside(keys, frame)?;
    let identity_experts = keys.whole("zero_expert_num|moe_num_zero_experts")?;
    let bias_flag = keys.flag_first(
        "moe_router_enable_expert_bias|use_expert_bias|moe_use_aux_free|use_moe_router_bias|use_routing_bias|moe_router_bias|expert_bias",
    )?;
    let noaux = keys.text("topk_method")? == Some("noaux_tc");
    let mut moe = Moe {
        shared_intermediate,
        shared_gate: traits.shared_gate && shared_intermediate > 0,
        gated,
        dense_intermediate: dense_beside,
        identity_experts,
        router_bias: bias_flag.unwrap_or(traits.router_bias || noaux),
        latent: keys.opt_first("moe_hidden_size|routed_expert_hidden_size|moe_latent_size")?,
        ..Moe::new(count, topk, width)
    };
    moe.groups = keys.opt_first("n_group|num_expert_group|moe_n_group")?.unwrap_or(1);
    moe.topk_groups = keys.opt_first("topk_group|num_limited_groups|topk_groups")?.unwrap_or(1);
    if moe.experts % moe.groups != 0 || moe.topk_groups > moe.groups {
        let reason = format!(
            "{} experts cannot be divided into {} groups of which {} are chosen; correct one",
            moe.experts, moe.groups, moe.topk_groups
        );
        return Err(keys.inconsistent("n_group|num_expert_group|moe_n_group", reason));
    }
    Ok(Some(moe))
}

/// The width of a dense network that stands beside the experts in each layer; 0 for none.
fn dense_beside(keys: &Keys, frame: Frame) -> Read<u32> {
    if keys.flag_first("residual_moe|moe_residual")? == Some(true) {
        return Ok(keys.opt_first(WIDTH)?.unwrap_or(0));
    }
    let residual = keys.flag_first("use_residual")? == Some(true);
    // Arctic's has the hidden width.
    let parallel = keys.flag_first("parallel_attn_mlp_res")? == Some(true);
    Ok(if residual && parallel { frame.hidden } else { 0 })
}

/// Shared experts that the class has where a file does not say.
fn supplied_shared(keys: &Keys, traits: &Traits) -> Option<u32> {
    let number = traits.shared_experts.filter(|_| !SHARED.split('|').any(|name| keys.is_present(name)))?;
    keys.note(format!(
        "assumed: {number} shared experts, as the class {} has where a file does not say (write 0 for none)",
        traits.name
    ));
    Some(number)
}

/// Which layers have experts.
fn sparse_layers(keys: &Keys, frame: Frame) -> Read<Vec<bool>> {
    let layers = frame.layers;
    if let Some(flags) = sparse_list(keys, frame)? {
        return Ok(flags);
    }
    let first = match keys.first("first_k_dense_replace|num_dense_layers|moe_layer_start_index|n_dense_layers|moe_layer_offset|n_dense_first")? {
        Some(Value::Array(items)) => items.first().map(|item| keys.number("moe_layer_start_index", item, 0)).transpose()?.unwrap_or(0),
        Some(value) => keys.number("first_k_dense_replace|num_dense_layers|moe_layer_start_index", value, 0)?,
        None => 0,
    };
    let last = match keys.first("moe_layer_end_index")? {
        Some(Value::Array(items)) => {
            items.first().map(|item| keys.number("moe_layer_end_index", item, 0)).transpose()?
        }
        Some(value) if value.as_i64() == Some(-1) => None,
        Some(value) => Some(keys.number("moe_layer_end_index", value, 0)?),
        None => None,
    };
    let in_range = |layer: u32| layer >= first && last.is_none_or(|last| layer <= last);
    if let Some(period) = keys.opt_count("expert_layer_period")? {
        let offset = keys.whole("expert_layer_offset")?;
        return Ok((0..layers).map(|layer| layer % period == offset % period).collect());
    }
    const LAST_OF: &str = "decoder_sparse_step|interleave_moe_layer_step|moe_layer_interval|moe_every_n_layers|moe_layer_frequency";
    if let Some(step) = keys.opt_first(LAST_OF)? {
        let dense = number_list(keys, "mlp_only_layers")?.unwrap_or_default();
        let sparse = |layer: u32| in_range(layer) && (layer + 1) % step == 0 && !dense.contains(&layer);
        return Ok((0..layers).map(sparse).collect());
    }
    let every = keys.opt_first("moe_layer_freq")?.unwrap_or(1);
    Ok((0..layers).map(|layer| in_range(layer) && layer % every == 0).collect())
}

/// The layers with experts, by a list of flags, of names or of numbers.
fn sparse_list(keys: &Keys, frame: Frame) -> Read<Option<Vec<bool>>> {
    let layers = frame.layers;
    if let Some(Value::Array(items)) = keys.first("moe_layer_freq|is_moe_layer|mlp_layer_types")? {
        if items.len() == layers as usize {
            let flag = |item: &Value| match item {
                Value::String(name) => Ok(matches!(name.as_str(), "sparse" | "moe")),
                Value::Bool(flag) => Ok(*flag),
                number => keys.number("moe_layer_freq", number, 0).map(|number| number != 0),
            };
            return items.iter().map(flag).collect::<Read<Vec<bool>>>().map(Some);
        }
    }
    if let Some(Value::String(text)) = keys.first("moe_layers_enum")? {
        let listed: Vec<u32> = text.split(',').filter_map(|number| number.trim().parse().ok()).collect();
        return Ok(Some((0..layers).map(|layer| listed.contains(&layer)).collect()));
    }
    if let Some(listed) =
        number_list(keys, "moe_layers|moe_layer_ids|moe_layer_indices")?.filter(|list| !list.is_empty())
    {
        return Ok(Some((0..layers).map(|layer| listed.contains(&layer)).collect()));
    }
    Ok(None)
}

fn number_list(keys: &Keys, names: &str) -> Read<Option<Vec<u32>>> {
    match keys.first(names)? {
        Some(Value::Array(items)) => {
            items.iter().map(|item| keys.number(names, item, 0)).collect::<Read<Vec<u32>>>().map(Some)
        }
        _ => Ok(None),
    }
}
