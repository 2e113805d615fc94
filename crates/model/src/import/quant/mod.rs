//! The number formats of a checkpoint, from the dialects that quantisation tools write.
//!
//! Every dialect becomes a [`Scheme`]: which format a module of a given name has. The parts of the model are then
//! asked for their modules' names, and each part takes the format that most of its weights have.

mod compressed;
mod fp8;
mod modelopt;
mod modelslim;
mod pattern;
mod scheme;
mod weight_only;

use super::decoder::{Decoder, Layout};
use super::error::ImportError;
use super::keys::{Keys, Read};
use crate::arch::{Attention, Ffn, Group, LayerGroup, Quantization};
use scheme::{Format, Scheme};
use serde_json::{Map, Value};
use units::Dtype;

/// A file beside `config.json`: its path and what it holds.
pub(crate) type Sibling = (String, Map<String, Value>);

/// Files beside `config.json` that describe formats.
#[derive(Debug, Default)]
pub(crate) struct Siblings {
    /// `hf_quant_config.json` of ModelOpt, with its path.
    pub modelopt: Option<Sibling>,
    /// `quant_model_description.json` of ModelSlim, with its path.
    pub modelslim: Option<Sibling>,
}

/// The formats of a checkpoint.
pub(crate) fn read(keys: &Keys, decoder: &Decoder, siblings: &Siblings) -> Result<Quantization, ImportError> {
    let base = base_format(keys)?;
    let mut scheme = match keys.object("quantization_config")? {
        Some(config) => embedded(&config, base)?,
        None => Scheme::plain(),
    };
    if let Some((origin, description)) = &siblings.modelopt {
        let beside = modelopt::beside(&Keys::new(origin, "", description), base)?;
        scheme = if scheme.is_plain() { beside } else { Scheme { kv: scheme.kv.or(beside.kv), ..scheme } };
    }
    if let Some((origin, description)) = &siblings.modelslim {
        scheme = modelslim::description(&Keys::new(origin, "", description), base)?;
    }
    expert_format(keys, &mut scheme)?;
    let state = match keys.text("mamba_ssm_dtype|mamba_ssm_cache_dtype")? {
        Some(name) => parse_dtype(keys, "mamba_ssm_dtype|mamba_ssm_cache_dtype", name)?,
        None => Dtype::Fp32,
    };
    Ok(Quantization { state, ..resolve(decoder, &scheme, base) })
}

/// `group_size` of integer weights; -1, 0 and none stand for one scale per channel, which takes next to nothing.
fn group(config: &Keys, zero_points: bool) -> Read<Option<Group>> {
    const KEY: &str = "group_size|q_group_size|groupsize";
    let size = match config.value(KEY)? {
        None => return Ok(None),
        Some(value) if value.as_i64().is_some_and(|size| size <= 0) => return Ok(None),
        Some(value) => {
            value.as_u64().and_then(|size| u32::try_from(size).ok()).filter(|size| *size <= 65_536)
        }
    };
    let size =
        size.ok_or_else(|| config.unknown_value(KEY, "give weights per scale, 65536 at most, or -1"))?;
    Ok(Some(Group { size, zero_points }))
}

/// The format of whatever is not quantised.
fn base_format(keys: &Keys) -> Read<Dtype> {
    match keys.text("torch_dtype|dtype")? {
        None | Some("auto") => Ok(Dtype::Bf16),
        Some(name) => parse_dtype(keys, "torch_dtype|dtype", name),
    }
}

fn parse_dtype(keys: &Keys, names: &str, name: &str) -> Read<Dtype> {
    match name.trim_start_matches("torch.").parse() {
        Ok(dtype) => Ok(dtype),
        Err(_) => Err(keys.unknown_value(names, "give bfloat16, float16 or float32")),
    }
}

/// `quantization_config` of `config.json`, by its `quant_method`.
fn embedded(config: &Keys, base: Dtype) -> Read<Scheme> {
    match config.text("quant_method")? {
        Some("fp8") => fp8::block_or_tensor(config),
        Some("fbgemm_fp8") => fp8::fbgemm(config),
        Some("compressed-tensors") => compressed::groups(config, base),
        Some("modelopt" | "modelopt_fp4" | "modelopt_mixed") => modelopt::embedded(config, base),
        Some("mxfp4") => fp8::mxfp4_experts(config, base),
        Some("bitsandbytes") => weight_only::bits_and_bytes(config, base),
        Some(
            "torchao" | "quanto" | "hqq" | "eetq" | "higgs" | "aqlm" | "quark" | "spqr" | "vptq" | "fp_quant"
            | "bitnet",
        ) => weight_only::by_name(config, base),
        Some(
            "awq"
            | "gptq"
            | "auto-round"
            | "awq_marlin"
            | "gptq_marlin"
            | "intel/auto-round"
            | "auto-round:auto_gptq",
        ) => fp8::weight_only(config, base),
        Some(_) => {
            let expected = "known methods are fp8, fbgemm_fp8, compressed-tensors, modelopt, mxfp4, awq, gptq, auto-round, \
                 bitsandbytes, torchao, quanto, hqq and bitnet";
            Err(config.unknown_value("quant_method", expected))
        }
        None if config.has("quant_algo") => modelopt::embedded(config, base),
        None => Err(config.missing("quant_method")),
    }
}

/// `expert_dtype` beside an 8-bit scheme: the routed experts alone have four bits.
fn expert_format(keys: &Keys, scheme: &mut Scheme) -> Read<()> {
    match keys.text("expert_dtype")? {
        None => Ok(()),
        Some("fp4") => {
            let activations = scheme.default.map_or(Dtype::Bf16, |format| format.activations);
            scheme.experts = Some(Format { weights: Dtype::Mxfp4, activations });
            Ok(())
        }
        Some("fp8") => Ok(()),
        Some(_) => Err(keys.unknown_value("expert_dtype", "known formats are fp4 and fp8")),
    }
}

/// The formats of parts, each that of most of its weights.
fn resolve(decoder: &Decoder, scheme: &Scheme, base: Dtype) -> Quantization {
    let plain = Format { weights: base, activations: base };
    let mut attention = Votes::default();
    let mut network = Votes::default();
    let mut experts = Votes::default();
    for (index, layer) in decoder.layers.iter().enumerate() {
        let names = Names { layout: &decoder.layout, index, scheme, plain };
        names.attention(layer, decoder.frame.hidden, &mut attention);
        names.network(layer, &mut network);
        names.experts(layer, &mut experts);
    }
    let attention = attention.winner();
    let network = network.winner();
    let weights = network.or(attention).unwrap_or(plain);
    let attention = attention.unwrap_or(weights);
    let experts = experts.winner().unwrap_or(weights);
    let quantised = if weights.weights != base { weights } else { attention };
    let head = ["lm_head", "language_model.lm_head", "head"].iter().find_map(|name| scheme.listed(name));
    Quantization {
        weights: weights.weights,
        activations: quantised.activations,
        experts: experts.weights,
        kv: scheme.kv.unwrap_or(base),
        attention: attention.weights,
        embedding: head.map_or(base, |format| format.weights),
        expert_activations: experts.activations,
        state: Dtype::Fp32,
        group: scheme.group,
    }
}

/// Weights of a part by the format they have.
#[derive(Default)]
struct Votes(Vec<(Format, f64)>);

impl Votes {
    fn add(&mut self, format: Format, weights: f64) {
        match self.0.iter_mut().find(|(other, _)| *other == format) {
            Some((_, sum)) => *sum += weights,
            None => self.0.push((format, weights)),
        }
    }

    fn winner(&self) -> Option<Format> {
        self.0.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map(|(format, _)| *format)
    }
}

/// What the modules of one layer are called.
struct Names<'a> {
    layout: &'a Layout,
    index: usize,
    scheme: &'a Scheme,
    plain: Format,
}

impl Names<'_> {
    /// The format of a module by its name within the layer.
    fn format(&self, module: &str) -> Format {
        const ROOTS: [&str; 5] =
            ["model.", "model.language_model.", "language_model.model.", "backbone.", ""];
        let full = ROOTS.map(|root| format!("{root}layers.{}.{module}", self.index));
        self.scheme.format(&full).unwrap_or(self.plain)
    }

    fn attention(&self, layer: &LayerGroup, hidden: u32, votes: &mut Votes) {
        let hidden = f64::from(hidden);
        let size = |a: u32, b: u32| f64::from(a) * f64::from(b);
        let (root, modules): (&str, Vec<(&str, f64)>) = match &layer.attention {
            Attention::MultiHead(a) => (
                self.layout.attention,
                vec![
                    ("q_proj", size(a.heads, a.head_dim) * hidden),
                    ("k_proj", size(a.kv_heads, a.head_dim) * hidden),
                    ("v_proj", size(a.kv_heads, a.v_head_dim) * hidden),
                    ("o_proj", size(a.heads, a.v_head_dim) * hidden),
                ],
            ),
            Attention::Mla(a) => {
                let rank = a.q_lora_rank.unwrap_or(a.kv_lora_rank);
                let qk_dim = a.qk_nope_head_dim.saturating_add(a.qk_rope_head_dim);
                let kv_dim = a.qk_nope_head_dim.saturating_add(a.v_head_dim);
                let modules = vec![
                    ("q_a_proj", f64::from(rank) * hidden),
                    ("q_b_proj", size(a.heads, qk_dim) * f64::from(rank)),
                    ("kv_a_proj_with_mqa", f64::from(a.kv_lora_rank) * hidden),
                    ("kv_b_proj", size(a.heads, kv_dim) * f64::from(a.kv_lora_rank)),
                    ("o_proj", size(a.heads, a.v_head_dim) * hidden),
                ];
                (self.layout.attention, modules)
            }
            Attention::Compressed(a) => (
                self.layout.attention,
                vec![
                    ("wq_b", size(a.heads, a.head_dim) * f64::from(a.q_lora_rank)),
                    ("wo_a", size(a.heads, a.head_dim) * f64::from(a.o_lora_rank)),
                    ("wo_b", size(a.o_groups, a.o_lora_rank) * hidden),
                ],
            ),
            Attention::Linear(a) => {
                let values = size(a.v_heads, a.v_head_dim) * hidden;
                let inputs = 2.0 * size(a.k_heads, a.k_head_dim) * hidden + values;
                (
                    self.layout.linear,
                    vec![(self.layout.linear_input, inputs), (self.layout.linear_output, values)],
                )
            }
            Attention::StateSpace(a) => {
                let inner = size(a.heads, a.head_dim) * hidden;
                (self.layout.linear, vec![("in_proj", 2.0 * inner), ("out_proj", inner)])
            }
            Attention::ShortConv(a) => {
                let size = f64::from(a.width) * hidden;
                ("conv", vec![("in_proj", 3.0 * size), ("out_proj", size)])
            }
            Attention::None => return,
        };
        for (module, weights) in modules {
            votes.add(self.format(&format!("{root}.{module}")), weights);
        }
    }

    fn network(&self, layer: &LayerGroup, votes: &mut Votes) {
        match &layer.ffn {
            Ffn::Dense { intermediate, .. } => {
                votes.add(
                    self.format(&format!("{}.{}", self.layout.dense, self.layout.up)),
                    f64::from(*intermediate),
                );
            }
            Ffn::Moe(moe) => {
                if moe.shared_intermediate > 0 {
                    let module = format!("{}.{}", self.layout.shared, self.layout.up);
                    votes.add(self.format(&module), f64::from(moe.shared_intermediate));
                }
                if moe.dense_intermediate > 0 {
                    let module = format!("{}.{}", self.layout.dense, self.layout.up);
                    votes.add(self.format(&module), f64::from(moe.dense_intermediate));
                }
            }
            Ffn::None => {}
        }
    }

    fn experts(&self, layer: &LayerGroup, votes: &mut Votes) {
        if let Ffn::Moe(_) = &layer.ffn {
            let module = format!("{}.{}", self.layout.experts, self.layout.expert_up);
            let listed = self.format(&module);
            let format = if self.scheme.overrides_experts(listed) { self.scheme.experts } else { None };
            votes.add(format.unwrap_or(listed), 1.0);
        }
    }
}
