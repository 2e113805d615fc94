//! What each layer mixes tokens with.

use super::traits::{Sharing, Traits};
use crate::import::decoder::Frame;
use crate::import::keys::{Keys, Read};
use serde_json::Value;

/// Token mixing of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Attention to the whole context.
    Full,
    /// Attention to a window of so many tokens.
    Window(u32),
    /// Attention to what another modality's encoder gives.
    Cross,
    /// State space.
    Mamba,
    /// Linear attention.
    Linear,
    /// Short convolution.
    Conv,
    /// A gated linear recurrence of one value per channel.
    Recurrence,
    /// Attention and state space side by side.
    Beside,
    /// A feed-forward network on its own.
    NetworkOnly,
    /// Neither.
    Nothing,
}

impl Kind {
    pub(super) fn attends(self) -> bool {
        matches!(self, Self::Full | Self::Window(_) | Self::Cross | Self::Beside)
    }
}

/// The layers of a model.
pub(super) struct Mixing {
    pub layers: Vec<Kind>,
    /// Which layers have experts, where the list of kinds says it.
    pub experts: Option<Vec<bool>>,
    /// Whether every layer is a state space on its own, which has no network beside it.
    pub pure: bool,
}

impl Mixing {
    fn new(layers: Vec<Kind>, experts: Option<Vec<bool>>, keys: &Keys) -> Self {
        let pure = layers.iter().all(|kind| *kind == Kind::Mamba) && !keys.has("num_attention_heads");
        Self { layers, experts, pure }
    }

    /// Whether a layer has a feed-forward part.
    pub(super) fn has_network(&self, kind: Kind) -> bool {
        kind != Kind::Nothing && !self.pure
    }
}

const LISTS: &str =
    "layer_types|layers_block_type|layer_block_type|block_types|_block_types|hybrid_override_pattern";

/// The kind of every layer, from a list, an index list or a period.
pub(super) fn read(keys: &Keys, frame: Frame, traits: &Traits) -> Read<Mixing> {
    if let Some(mixing) = listed(keys, frame)? {
        return Ok(mixing);
    }
    let (main, other) = defaults(keys, traits);
    let count = frame.layers as usize;
    let mut layers = windows(keys, frame)?;
    if let Some(marked) = attention_indices(keys, frame)? {
        layers =
            marked.iter().zip(&layers).map(|(attends, kind)| if *attends { *kind } else { other }).collect();
    } else if let Some(kinds) = numbered(keys, frame)? {
        layers = kinds;
    } else if main != Kind::Full {
        layers = vec![main; count];
    }
    for item in keys.list("cross_attention_layers")?.unwrap_or_default() {
        let index = keys.number("cross_attention_layers", item, 0)? as usize;
        if let Some(layer) = layers.get_mut(index) {
            *layer = Kind::Cross;
        }
    }
    if layers.contains(&Kind::Cross) {
        keys.note("assumed: requests of text only; layers of cross-attention count with their weights, without a cache");
    }
    Ok(Mixing::new(layers, None, keys))
}

/// What all layers are, and what those beside attention are, as the keys that are there tell.
fn defaults(keys: &Keys, traits: &Traits) -> (Kind, Kind) {
    let has = |names: &[&str]| names.iter().any(|name| keys.has(name));
    let attends = has(&["num_attention_heads", "n_head", "n_heads", "num_attention_heads_per_layer"]);
    let other =
        if has(&["linear_num_value_heads", "linear_key_head_dim", "linear_head_dim", "linear_attn_config"]) {
            Kind::Linear
        } else if has(&["conv_L_cache", "conv_l_cache"]) {
            Kind::Conv
        } else {
            Kind::Mamba
        };
    let recurrent =
        has(&["state_size", "mamba_d_state", "ssm_state_size", "mamba_d_ssm", "ssm_cfg", "d_state"]);
    match (attends, recurrent, traits.sharing) {
        (_, true, Sharing::Beside) => (Kind::Beside, other),
        // A hybrid that lists no layers of attention has none.
        (_, true, _)
            if !keys.has("attn_layer_period")
                && !keys.has("attn_layer_indices")
                && !keys.has("full_attention_interval") =>
        {
            (Kind::Mamba, other)
        }
        _ => (Kind::Full, other),
    }
}

/// A list of names, or a string of letters, with one entry per layer.
fn listed(keys: &Keys, frame: Frame) -> Read<Option<Mixing>> {
    let names: Vec<String> = match keys.first(LISTS)? {
        Some(Value::Array(items)) if !items.is_empty() => {
            let name = |item: &Value| match item {
                Value::String(name) => Ok(name.clone()),
                other => Err(keys.wrong_type(LISTS, "a list of strings", other)),
            };
            items.iter().map(name).collect::<Read<_>>()?
        }
        Some(Value::String(pattern)) => pattern.chars().map(String::from).collect(),
        _ => return Ok(None),
    };
    let count = frame.layers as usize;
    let mut names = names;
    if names.len() == count + keys.whole_first("num_nextn_predict_layers|num_mtp_layers")? as usize {
        // The last entries are those of prediction modules.
        names.truncate(count);
    }
    // A pattern shorter than the model repeats.
    if names.len() > count || (names.len() < count && keys.first("layer_types")?.is_some()) {
        let reason = format!("has {} entries for {count} layers; give one per layer", names.len());
        return Err(keys.inconsistent(LISTS, reason));
    }
    keys.ignore("sliding_window_pattern|_sliding_window_pattern|layer_switch|global_attn_every_n_layers|global_attn_every_n");
    keys.ignore(
        "max_window_layers|use_sliding_window|full_attention_interval|attn_layer_indices|attn_type_list",
    );
    let window = keys.opt_first(
        "sliding_window|sliding_window_size|attention_chunk_size|attention_window_size|window_size",
    )?;
    let kinds = names.iter().map(|name| kind(keys, name, window)).collect::<Read<Vec<_>>>()?;
    let mut layers = Vec::with_capacity(count);
    let mut experts = Vec::with_capacity(count);
    for (kind, sparse) in kinds.iter().cycle().take(count) {
        layers.push(*kind);
        experts.push(*sparse);
    }
    let experts = experts.contains(&true).then_some(experts);
    Ok(Some(Mixing::new(layers, experts, keys)))
}

/// Whether sizes of a state space are there, and none of linear attention.
fn is_state_space(keys: &Keys) -> bool {
    let has = |names: &[&str]| names.iter().any(|name| keys.has(name));
    has(&["mamba_d_state", "state_size", "ssm_state_size", "mamba_n_heads", "mamba_num_heads"])
        && !has(&[
            "linear_num_value_heads",
            "linear_num_heads",
            "linear_key_head_dim",
            "linear_head_dim",
            "linear_attn_config",
        ])
}

/// The kind a name means, and whether it says that the layer has experts.
fn kind(keys: &Keys, name: &str, window: Option<u32>) -> Read<(Kind, bool)> {
    let windowed =
        || window.map(Kind::Window).ok_or_else(|| keys.missing("sliding_window|attention_chunk_size"));
    Ok(match name {
        "attention" if keys.has("attention_window_size") => (windowed()?, false),
        "full_attention"
        | "attention"
        | "full"
        | "global"
        | "global_attention"
        | "*"
        | "indexed_attention"
        | "deepseek_sparse_attention"
        | "sparse_attention"
        | "minimax_m3_sparse" => (Kind::Full, false),
        "sliding_attention"
        | "chunked_attention"
        | "local_attention"
        | "sliding"
        | "local"
        | "sliding_window"
        | "hybrid_sliding"
        | "reference_sliding_attention" => (windowed()?, false),
        "recurrent" | "rg_lru" => (Kind::Recurrence, false),
        "mamba" | "mamba2" | "M" | "m" | "ssm" => (Kind::Mamba, false),
        // What writes files anew calls a state space linear attention too: the sizes tell.
        "linear_attention" if is_state_space(keys) => (Kind::Mamba, false),
        "linear_attention" | "linear" | "gated_deltanet" | "lightning_attention" => (Kind::Linear, false),
        "conv" | "short_conv" => (Kind::Conv, false),
        // Convolutions inside attention, not a state space beside it.
        "hybrid" if keys.has("conv_kernel_size") && !is_state_space(keys) => {
            keys.note(
                "assumed: hybrid layers are attention with short convolutions, whose weights are not counted",
            );
            keys.ignore("conv_kernel_size|number_of_conv_states");
            (Kind::Full, false)
        }
        "hybrid_full" | "global_full" => (Kind::Full, false),
        "hybrid" | "parallel" => (Kind::Beside, false),
        "mlp" | "-" => (Kind::NetworkOnly, false),
        "moe" | "E" => (Kind::NetworkOnly, true),
        other => {
            let expected = "known kinds of layers are full_attention, sliding_attention, chunked_attention, \
                            linear_attention, mamba, conv, hybrid, mlp and moe";
            return Err(keys.unknown(LISTS, &format!("`{other}`"), expected));
        }
    })
}

/// The layers that attend, by their numbers or by a period.
fn attention_indices(keys: &Keys, frame: Frame) -> Read<Option<Vec<bool>>> {
    const INDICES: &str =
        "attn_layer_indices|full_attn_idxs|attention_layer_idx|attn_layer_idx|attention_layers_idx";
    if let Some(Value::Array(items)) = keys.first(INDICES)? {
        let listed = items.iter().map(|item| keys.number(INDICES, item, 0)).collect::<Read<Vec<u32>>>()?;
        return Ok(Some((0..frame.layers).map(|layer| listed.contains(&layer)).collect()));
    }
    if let Some(period) = keys.opt_count("attn_layer_period|full_attention_interval")? {
        // Jamba counts from its offset; the Qwen line takes the last of every few.
        let offset =
            if keys.has("attn_layer_offset") { keys.whole("attn_layer_offset")? } else { period - 1 };
        return Ok(Some((0..frame.layers).map(|layer| layer % period == offset % period).collect()));
    }
    Ok(None)
}

/// MiniMax's list of numbers: 1 is attention, 0 linear.
fn numbered(keys: &Keys, frame: Frame) -> Read<Option<Vec<Kind>>> {
    const LIST: &str = "attn_type_list";
    let Some(items) = keys.per_layer(LIST, frame.layers)? else { return Ok(None) };
    let kind = |item: &Value| match keys.number(LIST, item, 0)? {
        0 => Ok(Kind::Linear),
        1 => Ok(Kind::Full),
        other => Err(keys.unknown(LIST, &other.to_string(), "known are 0, linear, and 1, full")),
    };
    items.iter().map(kind).collect::<Read<Vec<_>>>().map(Some)
}

/// The window of each layer where no list of kinds says it.
fn windows(keys: &Keys, frame: Frame) -> Read<Vec<Kind>> {
    let full = vec![Kind::Full; frame.layers as usize];
    let used = keys.opt_flag("use_sliding_window")?.unwrap_or(true);
    if let Some(kinds) = local_and_global(keys, frame)? {
        return Ok(kinds);
    }
    // A window of -1 stands for none.
    let window = match keys.first("sliding_window|sliding_window_size")? {
        Some(value) if value.as_i64().is_some_and(|window| window > 0) => {
            Some(keys.number("sliding_window|sliding_window_size", value, 1)?)
        }
        _ => None,
    };
    let Some(window) = window.filter(|_| used) else {
        keys.ignore(
            "sliding_window_pattern|global_attn_every_n|max_window_layers|global_attn_every_n_layers",
        );
        return Ok(full);
    };
    let count = frame.layers;
    if let Some(value) = keys.first("sliding_window_pattern|_sliding_window_pattern|layer_switch|global_attn_every_n_layers|global_attn_every_n")? {
        let global: Vec<bool> = match value {
            Value::String(letters) if !letters.is_empty() => {
                letters.chars().map(|letter| letter == 'G').collect()
            }
            other => {
                let period = keys.number("sliding_window_pattern", other, 1)?;
                (1..=period).map(|layer| layer == period).collect()
            }
        };
        return Ok((0..count as usize)
            .map(|layer| if global[layer % global.len()] { Kind::Full } else { Kind::Window(window) })
            .collect());
    }
    let first = if keys.has("use_sliding_window") { keys.whole("max_window_layers")? } else { 0 };
    Ok((0..count).map(|layer| if layer >= first { Kind::Window(window) } else { Kind::Full }).collect())
}

/// GPT-Neo's `attention_layers`, or the short form `[[["global", "local"], 12]]`.
fn local_and_global(keys: &Keys, frame: Frame) -> Read<Option<Vec<Kind>>> {
    let window = keys.opt_count("window_size")?;
    let names: Vec<&str> = if let Some(Value::Array(items)) = keys.first("attention_layers")? {
        items.iter().filter_map(Value::as_str).collect()
    } else if let Some(Value::Array(groups)) = keys.first("attention_types")? {
        let group = |group: &'_ Value| -> Option<(Vec<String>, usize)> {
            let names =
                group.get(0)?.as_array()?.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            Some((names, usize::try_from(group.get(1)?.as_u64()?).ok()?.min(frame.layers as usize)))
        };
        let mut kinds = Vec::new();
        for (names, times) in groups.iter().filter_map(group) {
            for name in std::iter::repeat_n(&names, times).flatten() {
                kinds.push(kind(keys, name, window)?.0);
            }
        }
        return Ok((kinds.len() == frame.layers as usize).then_some(kinds));
    } else {
        return Ok(None);
    };
    if names.len() != frame.layers as usize {
        return Ok(None);
    }
    names
        .iter()
        .map(|name| kind(keys, name, window).map(|(kind, _)| kind))
        .collect::<Read<Vec<_>>>()
        .map(Some)
}
