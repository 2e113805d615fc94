//! Layers that keep a state instead of keys and values.

use super::heads::Heads;
use crate::arch::{Decay, Linear, ShortConv, StateSpace};
use crate::import::decoder::Frame;
use crate::import::family::common::delta_rule;
use crate::import::keys::{Keys, Read};
use serde_json::Value;

/// Tokens per chunk of a prefill scan where the file gives none: the reference kernels' choice.
const CHUNK: u32 = 256;

/// Mamba-2 where heads are given, else Mamba-1.
pub(super) fn mamba(keys: &Keys, frame: Frame) -> Read<StateSpace> {
    let inner = inner_width(keys, frame)?;
    let state = keys.opt_first("mamba_d_state|ssm_state_size|state_size|mamba_state_dim|d_state")?;
    let state = state.ok_or_else(|| keys.missing("state_size|mamba_d_state|ssm_state_size"))?;
    let conv_kernel =
        keys.opt_first("mamba_d_conv|conv_kernel|d_conv|mamba_conv_kernel|ssm_conv_kernel")?.unwrap_or(4);
    let chunk = keys.opt_first("mamba_chunk_size|chunk_size|ssm_chunk_size")?.unwrap_or(CHUNK);
    keys.ignore("mamba_conv_bias|use_conv_bias|mamba_proj_bias|use_mamba_kernels|mamba_inner_layernorms|mamba_norm_before_gate|mamba_rms_norm|mamba_hidden_act|A_initializer_range|dt_min|dt_max");
    // Attention heads of hybrids bear the plain names, so that those of the state space have a prefix there.
    let hybrid = keys.has("num_attention_heads");
    let heads = keys.opt_first(if hybrid {
        "mamba_n_heads|mamba_num_heads|n_mamba_heads"
    } else {
        "num_heads|mamba_num_heads|mamba_n_heads"
    })?;
    let width = match keys.first(if hybrid {
        "mamba_d_head|mamba_head_dim|mamba_headdim"
    } else {
        "head_dim|mamba_head_dim|mamba_headdim"
    })? {
        Some(Value::String(auto)) if auto == "auto" => heads.map(|heads| inner / heads),
        Some(value) => Some(keys.number("mamba_d_head", value, 1)?),
        None => None,
    };
    let rank = match keys.first("time_step_rank|mamba_dt_rank|dt_rank")? {
        Some(Value::String(auto)) if auto == "auto" => Some(frame.hidden.div_ceil(16)),
        Some(value) => Some(keys.number("mamba_dt_rank|time_step_rank", value, 1)?),
        None => None,
    };
    let (heads, head_dim) = match (heads, width) {
        (Some(heads), Some(width)) => (heads, width),
        (Some(heads), None) if inner % heads == 0 => (heads, inner / heads),
        (None, Some(width)) if inner % width == 0 => (inner / width, width),
        (None, None) => {
            return Ok(StateSpace {
                heads: inner,
                head_dim: 1,
                state,
                groups: 1,
                conv_kernel,
                chunk,
                dt_rank: Some(rank.unwrap_or(frame.hidden.div_ceil(16))),
            });
        }
        _ => {
            let reason = format!("an inner width of {inner} is not divisible into its heads; correct one");
            return Err(keys.inconsistent("mamba_n_heads|num_heads", reason));
        }
    };
    let groups = keys.opt_first("mamba_n_groups|n_groups|mamba_ngroups|ssm_ngroups")?.unwrap_or(1);
    Ok(StateSpace { heads, head_dim, state, groups, conv_kernel, chunk, dt_rank: None })
}

fn inner_width(keys: &Keys, frame: Frame) -> Read<u32> {
    // Mamba's own class states the inner width under the name that hybrids have for their networks'.
    let hybrid = keys.has("num_attention_heads");
    let names = "mamba_d_ssm|mamba_intermediate_size|d_inner|mamba_d_inner|intermediate_size";
    let names = if hybrid { names.trim_end_matches("|intermediate_size") } else { names };
    if let Some(width) = keys.opt_first(names)? {
        keys.ignore("mamba_expand|expand");
        return Ok(width);
    }
    let expand = keys.first("mamba_expand|expand")?.and_then(Value::as_f64).unwrap_or(2.0);
    if !(0.01..=64.0).contains(&expand) {
        return Err(keys.unknown_value("mamba_expand|expand", "give a number up to 64"));
    }
    Ok((f64::from(frame.hidden) * expand) as u32)
}

/// Gated delta layers where their sizes are given; else lightning attention of the shape of attention.
pub(super) fn linear(keys: &Keys, frame: Frame, heads: Option<&Heads>) -> Read<Linear> {
    if keys.has("linear_num_value_heads") {
        let linear = Linear {
            k_heads: keys.count("linear_num_key_heads")?,
            v_heads: keys.count("linear_num_value_heads")?,
            k_head_dim: keys.count("linear_key_head_dim")?,
            v_head_dim: keys.count("linear_value_head_dim")?,
            conv_kernel: keys.count_or("linear_conv_kernel_dim", 4)?,
            output_gate: true,
            gate_rank: None,
            decay: Decay::PerHead,
            delta: true,
        };
        keys.note("assumed: linear attention is a gated delta net, as its keys are those of one");
        return Ok(linear);
    }
    if keys.has("linear_num_heads") {
        keys.note("assumed: linear attention is by the delta rule with a decay per key element, from projections of low rank");
        keys.ignore("linear_lower_bound");
        return delta_rule(keys, false);
    }
    let (count, head_dim) = heads.and_then(Heads::shape).unwrap_or((1, frame.hidden));
    keys.note("assumed: linear attention is lightning attention with the heads of full attention and an output gate");
    Ok(Linear {
        k_heads: count,
        v_heads: count,
        k_head_dim: head_dim,
        v_head_dim: head_dim,
        conv_kernel: 0,
        output_gate: true,
        gate_rank: None,
        decay: Decay::Fixed,
        delta: false,
    })
}

/// A gated linear recurrence (RG-LRU, arXiv:2402.19427): a state space of one value per channel. The weights of its
/// gates, which are of a block per head, are the second part.
pub(super) fn recurrence(keys: &Keys, frame: Frame) -> Read<(StateSpace, u64)> {
    let width = keys.opt_first("lru_width")?.unwrap_or(frame.hidden);
    let heads = keys.opt_first("num_attention_heads|num_heads|n_heads")?.unwrap_or(1);
    if width % heads != 0 {
        let reason = format!("a width of {width} is not divisible into {heads} heads; correct one");
        return Err(keys.inconsistent("lru_width", reason));
    }
    let head_dim = width / heads;
    let conv_kernel = keys.opt_first("conv1d_width")?.unwrap_or(4);
    let gates = 2 * u64::from(width) * u64::from(head_dim);
    let space = StateSpace { heads, head_dim, state: 1, groups: 1, conv_kernel, chunk: CHUNK, dt_rank: None };
    Ok((space, gates))
}

/// LFM2's gated convolution.
pub(super) fn short_conv(keys: &Keys, frame: Frame) -> Read<ShortConv> {
    Ok(ShortConv {
        width: keys.opt_first("conv_dim")?.unwrap_or(frame.hidden),
        kernel: keys.opt_first("conv_L_cache|conv_l_cache|conv_kernel")?.unwrap_or(3),
        bias: keys.flag_first("conv_bias")?.unwrap_or(false),
    })
}
