//! Nemotron-H and Nemotron-3: layers that are a state space, attention, a network or experts alone; and the
//! searched Llama derivatives (Nemotron-NAS) whose layers differ one by one.

use super::Family;
use super::common::{expert_groups, experts, heads};
use crate::arch::{Attention, Ffn, LayerGroup, Moe, MultiHead, StateSpace};
use crate::import::decoder::{Decoder, Frame, Layout, gated, layer};
use crate::import::keys::{Keys, Read};
use serde_json::Value;

pub(crate) const FAMILIES: &[Family] =
    &[Family { name: "nemotron_h", read: nemotron_h }, Family { name: "nemotron-nas", read: nemotron_nas }];

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Mamba,
    Attention,
    Network,
    Experts,
}

const PATTERN: &str = "hybrid_override_pattern|layers_block_type";

fn nemotron_h(keys: &Keys, frame: Frame) -> Read<Decoder> {
    expect_relu2(keys)?;
    let kinds = kinds(keys, PATTERN)?.ok_or_else(|| keys.missing(PATTERN))?;
    if kinds.len() != frame.layers as usize {
        let reason =
            format!("has {} layers, but `num_hidden_layers` is {}; correct one", kinds.len(), frame.layers);
        return Err(keys.inconsistent(PATTERN, reason));
    }
    let blocks = Blocks::read(keys, frame, &kinds)?;
    let layers = kinds.iter().map(|kind| blocks.layer(*kind)).collect();
    let mut decoder = Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers);
    decoder.layout = Layout {
        attention: "mixer",
        linear: "mixer",
        dense: "mixer",
        experts: "mixer.experts.0",
        shared: "mixer.shared_experts",
        ..Layout::COMMON
    };
    decoder.mtp = prediction_module(keys, &blocks)?;
    Ok(decoder)
}

/// Letters of a pattern, or names in a list.
fn kinds(keys: &Keys, names: &str) -> Read<Option<Vec<Kind>>> {
    const EXPECTED: &str = "known kinds are M or mamba, * or attention, - or mlp, E or moe";
    let kind = |name: &str| match name {
        "M" | "mamba" | "mamba2" | "linear_attention" => Ok(Kind::Mamba),
        "*" | "attention" | "full_attention" => Ok(Kind::Attention),
        "-" | "mlp" => Ok(Kind::Network),
        "E" | "moe" => Ok(Kind::Experts),
        other => Err(keys.unknown(names, &format!("`{other}`"), EXPECTED)),
    };
    match keys.value(names)? {
        None => Ok(None),
        Some(Value::String(pattern)) => {
            pattern.chars().map(|letter| kind(letter.encode_utf8(&mut [0; 4]))).collect::<Read<_>>().map(Some)
        }
        Some(Value::Array(items)) => {
            let named = |item: &Value| kind(item.as_str().unwrap_or_default());
            items.iter().map(named).collect::<Read<_>>().map(Some)
        }
        Some(other) => Err(keys.wrong_type(names, "a pattern or a list", other)),
    }
}

/// One block of each kind that the model has.
struct Blocks {
    mamba: Attention,
    attention: Attention,
    network: Ffn,
    experts: Ffn,
}

impl Blocks {
    fn read(keys: &Keys, frame: Frame, kinds: &[Kind]) -> Read<Self> {
        let used = |kind: Kind| kinds.contains(&kind);
        let bias = keys.flag("attention_bias", false)?;
        let attention = MultiHead { qkv_bias: bias, out_bias: bias, ..heads(keys, frame)? };
        let mlp_bias = keys.flag("mlp_bias", false)?;
        let network = match keys.opt_count("intermediate_size")? {
            Some(intermediate) => Ffn::Dense { intermediate, gated: false, bias: mlp_bias },
            None if used(Kind::Network) => return Err(keys.missing("intermediate_size")),
            None => Ffn::None,
        };
        let experts = if used(Kind::Experts) { Ffn::Moe(latent_experts(keys, mlp_bias)?) } else { Ffn::None };
        Ok(Self {
            mamba: Attention::StateSpace(mamba(keys)?),
            attention: Attention::MultiHead(attention),
            network,
            experts,
        })
    }

    fn layer(&self, kind: Kind) -> LayerGroup {
        match kind {
            Kind::Mamba => layer(self.mamba.clone(), Ffn::None),
            Kind::Attention => layer(self.attention.clone(), Ffn::None),
            Kind::Network => layer(Attention::None, self.network.clone()),
            Kind::Experts => layer(Attention::None, self.experts.clone()),
        }
    }
}

fn mamba(keys: &Keys) -> Read<StateSpace> {
    keys.expect_flag(
        "mamba_proj_bias",
        false,
        "biases on state-space projections are not described; give false",
    )?;
    keys.expect_flag("use_bias", false, "biases on state-space projections are not described; give false")?;
    keys.expect_flag("use_conv_bias", true, "the convolution has a bias in this family; give true")?;
    keys.ignore("expand|mamba_hidden_act|sliding_window");
    Ok(StateSpace {
        heads: keys.count("mamba_num_heads")?,
        head_dim: keys.count("mamba_head_dim")?,
        state: keys.count("ssm_state_size|mamba_state_dim")?,
        groups: keys.count("n_groups|mamba_n_groups")?,
        conv_kernel: keys.count("conv_kernel|mamba_d_conv")?,
        chunk: keys.count("chunk_size|mamba_chunk_size")?,
        dt_rank: None,
    })
}

fn latent_experts(keys: &Keys, bias: bool) -> Read<Moe> {
    keys.ignore("moe_shared_expert_overlap");
    let shared = keys.whole("n_shared_experts")?;
    let width = keys.whole("moe_shared_expert_intermediate_size")?;
    let mut moe = Moe {
        gated: false,
        bias,
        router_bias: true,
        latent: keys.opt_count("moe_latent_size")?,
        shared_intermediate: shared.saturating_mul(width),
        ..experts(keys)?
    };
    expert_groups(keys, &mut moe)?;
    Ok(moe)
}

/// A module of attention and experts, counted as one layer.
fn prediction_module(keys: &Keys, blocks: &Blocks) -> Read<Option<(u32, LayerGroup)>> {
    const NAMES: &str = "mtp_hybrid_override_pattern|mtp_layers_block_type";
    let pattern = kinds(keys, NAMES)?;
    let modules = keys.whole("num_nextn_predict_layers")?;
    if modules == 0 {
        return Ok(None);
    }
    match pattern.as_deref() {
        Some([Kind::Attention, Kind::Experts]) => {
            Ok(Some((modules, layer(blocks.attention.clone(), blocks.experts.clone()))))
        }
        Some(_) => Err(keys.unknown_value(NAMES, "only attention followed by experts is understood")),
        None => Err(keys.missing(NAMES)),
    }
}

fn expect_relu2(keys: &Keys) -> Read<()> {
    match keys.text("mlp_hidden_act")? {
        None | Some("relu2") => Ok(()),
        Some(_) => {
            Err(keys
                .unknown_value("mlp_hidden_act", "networks of this family have no gate; only relu2 is known"))
        }
    }
}

fn nemotron_nas(keys: &Keys, frame: Frame) -> Read<Decoder> {
    let bias = keys.flag("attention_bias", false)?;
    keys.expect_flag("mlp_bias", false, "biases of networks are not described in this family; give false")?;
    keys.ignore("hidden_act|num_key_value_heads|intermediate_size");
    let query_heads = keys.count("num_attention_heads")?;
    let blocks =
        keys.per_layer("block_configs", frame.layers)?.ok_or_else(|| keys.missing("block_configs"))?;
    let layers = blocks.iter().map(|block| nas_layer(keys, frame, query_heads, bias, block));
    Ok(Decoder::new(frame, keys.flag("tie_word_embeddings", false)?, layers.collect::<Read<_>>()?))
}

fn nas_layer(keys: &Keys, frame: Frame, heads: u32, bias: bool, block: &Value) -> Read<LayerGroup> {
    let attention = nas_attention(keys, frame, heads, bias, &block["attention"])?;
    Ok(layer(attention, nas_network(keys, frame, &block["ffn"])?))
}

fn nas_attention(keys: &Keys, frame: Frame, heads: u32, bias: bool, block: &Value) -> Read<Attention> {
    refuse_replacements(keys, block)?;
    if block["no_op"].as_bool() == Some(true) {
        return Ok(Attention::None);
    }
    for key in ["window_length", "num_sink_tokens"] {
        if !block[key].is_null() {
            let expected = "only full attention is understood";
            return Err(keys.unknown("block_configs", &format!("{key} = {}", block[key]), expected));
        }
    }
    let group = keys.number("block_configs", &block["n_heads_in_group"], 1)?;
    if heads % group != 0 || frame.hidden % heads != 0 {
        let reason = format!(
            "{heads} heads do not form groups of {group} in a width of {}; correct one",
            frame.hidden
        );
        return Err(keys.inconsistent("block_configs", reason));
    }
    let attention = MultiHead::new(heads, heads / group, frame.hidden / heads);
    Ok(Attention::MultiHead(MultiHead { qkv_bias: bias, out_bias: bias, ..attention }))
}

/// The inner width is two thirds of `ffn_mult` hidden sizes, rounded up to a multiple of 256.
fn nas_network(keys: &Keys, frame: Frame, block: &Value) -> Read<Ffn> {
    refuse_replacements(keys, block)?;
    if block["no_op"].as_bool() == Some(true) {
        return Ok(Ffn::None);
    }
    match block["ffn_mult"].as_f64() {
        Some(multiple) if (0.001..=1024.0).contains(&multiple) => {
            let width = (2.0 * multiple * f64::from(frame.hidden) / 3.0) as u64;
            Ok(gated(u32::try_from(width.div_ceil(256) * 256).unwrap_or(u32::MAX)))
        }
        _ => Err(keys.unknown(
            "block_configs",
            &format!("ffn_mult = {}", block["ffn_mult"]),
            "give a number up to 1024",
        )),
    }
}

fn refuse_replacements(keys: &Keys, block: &Value) -> Read<()> {
    for key in ["replace_with_linear", "sparsify"] {
        if !matches!(block[key], Value::Null | Value::Bool(false)) {
            let value = format!("{key} = {}", block[key]);
            return Err(keys.unknown("block_configs", &value, "only plain blocks are understood"));
        }
    }
    Ok(())
}
