//! The architectures that are understood: one table from `model_type` to the reader of its keys.

mod bailing;
pub(crate) mod common;
mod deepseek;
mod deepseek_v4;
mod dense;
mod gemma;
mod gpt;
mod indexer;
mod kimi;
mod llama4;
mod longcat;
mod moe;
mod nemotron;
mod qwen;
mod structure;

use super::decoder::{Decoder, Frame};
use super::keys::{Keys, Read};
use structure::traits::{CLASSES, Traits};

/// One `model_type` and how its keys are read.
pub(crate) struct Family {
    /// `model_type`.
    pub name: &'static str,
    /// Reader of everything but the formats.
    pub read: fn(&Keys, Frame) -> Read<Decoder>,
}

const FAMILIES: &[&[Family]] = &[
    dense::FAMILIES,
    gemma::FAMILIES,
    gpt::FAMILIES,
    moe::FAMILIES,
    qwen::FAMILIES,
    llama4::FAMILIES,
    deepseek::FAMILIES,
    deepseek_v4::FAMILIES,
    kimi::FAMILIES,
    longcat::FAMILIES,
    bailing::FAMILIES,
    nemotron::FAMILIES,
];

/// Published names that the family bears elsewhere: `model_type`, a word of the architecture (or nothing), the family.
const ALIASES: &[(&str, &str, &str)] = &[
    ("bailing_moe", "BailingMoeV2", "bailing_moe_v2"),
    ("bailing_moe", "BailingMoeLinear", "bailing_moe_linear"),
    ("git", "Grok1", "grok-1"),
    ("", "Grok1", "grok-1"),
    ("step3p5", "", "step3p7"),
    ("step3p5_flash", "", "step3p7"),
    ("deepseek_vl_v2", "", "deepseek_v2"),
    ("deepseek_vl2", "", "deepseek_v2"),
    ("kimi_vl", "", "deepseek_v3"),
    ("minicpmv", "", "qwen2"),
    ("hunyuan", "HunYuanMoE", "hunyuan_v1_moe"),
    ("hunyuan", "HunYuanDense", "hunyuan_v1_dense"),
    ("", "Longcat", "longcat_flash"),
    ("stablelm_alpha", "", "gpt_neox"),
    ("mimo_v2", "", "mimo_v2_flash"),
];

/// How a decoder is read.
pub(crate) enum Reader {
    /// By a reader of its family.
    Named(&'static Family),
    /// By structure, with what is known of its class.
    Class(&'static Traits),
    /// By structure alone.
    Structure,
}

impl Reader {
    /// The family's name, if it has one.
    pub(crate) fn name(&self) -> Option<&'static str> {
        match self {
            Self::Named(family) => Some(family.name),
            Self::Class(class) => Some(class.name),
            Self::Structure => None,
        }
    }

    pub(crate) fn read(&self, keys: &Keys, frame: Frame) -> Read<Decoder> {
        match self {
            Self::Named(family) => (family.read)(keys, frame),
            Self::Class(class) => structure::read(keys, frame, class),
            Self::Structure => structure::read(keys, frame, &Traits::UNKNOWN),
        }
    }
}

/// The reader of a decoder, by the names that a file has for it: `model_type` and `architectures` of the decoder itself,
/// then of the model around it.
pub(crate) fn find(names: &Names) -> Reader {
    let by_type = || names.types.iter().flat_map(|name| spellings(name)).find_map(|name| by_name(&name));
    let by_architecture = || names.architectures.iter().find_map(|name| by_class_name(name));
    aliased(names).or_else(by_type).or_else(by_architecture).unwrap_or(Reader::Structure)
}

/// The names that a file has for its decoder, the decoder's own first.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// `model_type`.
    pub types: Vec<String>,
    /// Entries of `architectures`.
    pub architectures: Vec<String>,
}

fn aliased(names: &Names) -> Option<Reader> {
    let matches = |(model_type, architecture, _): &&(&str, &str, &str)| {
        let typed = if model_type.is_empty() {
            names.types.is_empty()
        } else {
            names.types.iter().any(|name| name == model_type)
        };
        typed
            && (architecture.is_empty()
                || names.architectures.iter().any(|name| name.starts_with(architecture)))
    };
    ALIASES.iter().find(matches).and_then(|(_, _, family)| by_name(family))
}

fn by_name(name: &str) -> Option<Reader> {
    let named = FAMILIES.iter().flat_map(|families| families.iter()).find(|family| family.name == name);
    let class = || CLASSES.iter().find(|class| class.name == name).map(Reader::Class);
    named.map(Reader::Named).or_else(class)
}

/// A `model_type`, with and without the words that say which part of a larger model it is.
fn spellings(name: &str) -> Vec<String> {
    let mut all = vec![name.to_owned(), format!("{name}_text")];
    let mut stem = name;
    while let Some(shorter) = ["_text_model", "_text", "_thinker", "_vl", "_moe_vl", "_vision"]
        .iter()
        .find_map(|suffix| stem.strip_suffix(suffix))
    {
        stem = shorter;
        all.extend([stem.to_owned(), format!("{stem}_text")]);
    }
    all
}

/// `Qwen3MoeForCausalLM` is the class of `qwen3_moe`.
fn by_class_name(class: &str) -> Option<Reader> {
    let plain = |name: &str| name.replace(['_', '-', '.'], "").to_ascii_lowercase();
    let stem = ["ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "ForCausalLMV2", "Model"]
        .iter()
        .find_map(|suffix| class.strip_suffix(suffix))?;
    // The class of a decoder that has inputs beside text goes without the word.
    [plain(stem), format!("{}text", plain(stem))].iter().find_map(|wanted| {
        let mut families = FAMILIES.iter().flat_map(|families| families.iter());
        let named = families.find(|family| plain(family.name) == *wanted);
        let known = || CLASSES.iter().find(|known| plain(known.name) == *wanted).map(Reader::Class);
        named.map(Reader::Named).or_else(known)
    })
}

/// What the layers are, in a few words.
pub(crate) fn summary(layers: &[crate::arch::LayerGroup]) -> String {
    structure::summary(layers)
}

/// What the keys of a file look like, for the message about one that cannot be read.
pub(crate) fn resembles(keys: &Keys) -> &'static str {
    let has = |names: &[&str]| names.iter().any(|name| keys.has(name));
    let experts = has(&["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"]);
    match () {
        () if has(&["kv_lora_rank"]) && experts => {
            "latent attention with routed experts (the line of DeepSeek)"
        }
        () if has(&["kv_lora_rank"]) => "latent attention with dense networks (the line of MiniCPM 3)",
        () if has(&["state_size", "mamba_d_state", "ssm_state_size"]) => {
            "a state-space model or hybrid (Mamba, Jamba, Granite 4)"
        }
        () if has(&["linear_num_value_heads", "linear_attn_config"]) => {
            "a hybrid with linear attention (Qwen3-Next, Kimi Linear)"
        }
        () if experts => "grouped-query attention with routed experts (Mixtral, Qwen3-MoE)",
        () if has(&["rms_norm_eps"]) => "a dense decoder with RMS norms (the line of Llama)",
        () if has(&["layer_norm_epsilon", "layer_norm_eps", "n_embd"]) => {
            "a dense decoder with LayerNorm (the line of GPT)"
        }
        () => "no decoder that is known",
    }
}
