//! What `supernode model show` prints of a model.

use crate::arch::{Attention, Ffn, LayerGroup, Model};
use crate::counts::{ByPart, Part, Phase, cache_kinds};
use std::fmt::Write;
use units::{Bytes, Flop};

/// Context at which work per token is shown, unless the model is shorter.
const CONTEXT: u32 = 4096;

/// One line of the description: what, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The group of lines it belongs to.
    pub section: &'static str,
    /// What the value is of.
    pub label: String,
    /// The value with its unit.
    pub value: String,
}

/// The description of a model as rows, in the order to print them.
pub fn rows(model: &Model) -> Vec<Row> {
    let mut rows = Rows::default();
    rows.model(model);
    rows.layers(model);
    rows.parameters(model);
    rows.formats(model);
    rows.weights(model);
    rows.cache(model);
    rows.work(model);
    for note in &model.ignored {
        rows.push("not described", "", note.clone());
    }
    rows.0
}

/// The description as text, values aligned within each section.
pub fn show(model: &Model) -> String {
    let rows = rows(model);
    let width = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    let mut section = "";
    for row in &rows {
        if row.section != section {
            let gap = if section.is_empty() { "" } else { "\n" };
            // Writing to a string does not fail.
            let _ = writeln!(text, "{gap}{}", row.section);
            section = row.section;
        }
        let line = format!("  {:width$}  {}", row.label, row.value);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn push(&mut self, section: &'static str, label: impl Into<String>, value: impl Into<String>) {
        self.0.push(Row { section, label: label.into(), value: value.into() });
    }

    fn model(&mut self, model: &Model) {
        let layers: u32 = model.layers.iter().map(|group| group.count).fold(0, u32::saturating_add);
        self.push("model", "id", &model.id);
        self.push("model", "family", &model.family);
        self.push("model", "hidden size", model.hidden.to_string());
        let tied = if model.tied_embeddings { ", output head tied to the embedding" } else { "" };
        self.push("model", "vocabulary", format!("{}{tied}", model.vocab));
        self.push("model", "longest context", format!("{} tokens", model.max_context));
        if model.residual_streams > 1 {
            self.push("model", "residual streams", model.residual_streams.to_string());
        }
        self.push("model", "layers", layers.to_string());
        for sentence in &model.reading {
            let (label, text) = sentence.split_once(": ").unwrap_or(("read", sentence));
            self.push("model", label, text);
        }
    }

    fn layers(&mut self, model: &Model) {
        for group in &model.layers {
            self.push("layers", format!("{} x", group.count), layer(group));
        }
        if let Some((modules, module)) = &model.mtp {
            self.push("layers", format!("{modules} x"), format!("multi-token prediction: {}", layer(module)));
        }
    }

    fn parameters(&mut self, model: &Model) {
        let parameters = model.parameters();
        self.push("parameters", "total", count(parameters.total()));
        self.push("parameters", "active per token", count(parameters.active()));
        for tower in &model.towers {
            self.push(
                "parameters",
                if tower.name.ends_with("experts") {
                    tower.name.clone()
                } else {
                    format!("{} tower", tower.name)
                },
                format!("about {}", count(tower.parameters)),
            );
        }
        if !model.towers.is_empty() {
            let towers: u64 = model.towers.iter().map(|tower| tower.parameters).sum();
            self.push("parameters", "total with towers", count(parameters.total().saturating_add(towers)));
        }
        for (part, total) in parameters.total.iter().filter(|(_, total)| **total > 0) {
            let active = parameters.active[part];
            let share = if active == *total { String::new() } else { format!(" ({} active)", count(active)) };
            self.push("parameters", part.name(), format!("{}{share}", count(*total)));
        }
    }

    fn formats(&mut self, model: &Model) {
        let formats = &model.quantization;
        let matrix = |weights: units::Dtype, activations: units::Dtype| {
            format!("{weights} (activations {activations})")
        };
        self.push("formats", "weights", matrix(formats.weights, formats.activations));
        self.push("formats", "attention", formats.attention.name());
        if model.layers.iter().any(|group| matches!(group.ffn, Ffn::Moe(_))) {
            self.push("formats", "routed experts", matrix(formats.experts, formats.expert_activations));
        }
        if let Some(group) = formats.group {
            let zero = if group.zero_points { " and a zero point" } else { "" };
            self.push("formats", "groups", format!("{} weights share a scale{zero}", group.size));
        }
        self.push("formats", "embedding, head", formats.embedding.name());
        self.push("formats", "cache", formats.kv.name());
        if model.layers.iter().any(|group| is_recurrent(&group.attention)) {
            self.push("formats", "recurrent state", formats.state.name());
        }
    }

    fn weights(&mut self, model: &Model) {
        let bytes = model.weight_bytes();
        let without_mtp: Bytes =
            bytes.iter().filter(|(part, _)| *part != Part::Mtp).map(|(_, bytes)| *bytes).sum();
        self.push("weight bytes", "total", without_mtp.to_string());
        for (part, bytes) in bytes.iter().filter(|(_, bytes)| bytes.get() > 0.0) {
            self.push("weight bytes", part.name(), bytes.to_string());
        }
    }

    fn cache(&mut self, model: &Model) {
        self.push(
            "cache",
            "per token",
            format!("{} (layers that keep the whole context)", model.kv_bytes_per_token()),
        );
        for kind in cache_kinds(model) {
            let value = match kind.tokens_max {
                _ if kind.per_sequence.get() > 0.0 => format!("{} per sequence", kind.per_sequence),
                Some(limit) => {
                    format!("{} per token, at most {}", kind.per_token, kind.bytes(f64::from(limit)))
                }
                None => format!("{} per token", kind.per_token),
            };
            self.push("cache", format!("{} x {}", kind.layers, kind.label), value);
        }
        let longest = model.cache_bytes(f64::from(model.max_context));
        self.push("cache", "one sequence", format!("{longest} at {} tokens", model.max_context));
    }

    fn work(&mut self, model: &Model) {
        let context = f64::from(CONTEXT.min(model.max_context));
        let prefill = model.flops_per_token(Phase::Prefill { tokens: context });
        let decode = model.flops_per_token(Phase::Decode { context });
        let sum = |flops: &ByPart<Flop>| -> Flop { flops.iter().map(|(_, flops)| *flops).sum() };
        self.push(
            "FLOPs per token",
            "prefill",
            format!("{} (mean over a prompt of {context} tokens)", sum(&prefill)),
        );
        self.push("FLOPs per token", "decode", format!("{} (after {context} tokens)", sum(&decode)));
        for (part, flops) in decode.iter().filter(|(_, flops)| flops.get() > 0.0) {
            self.push("FLOPs per token", part.name(), format!("{} prefill, {flops} decode", prefill[part]));
        }
    }
}

/// A number of parameters in full and rounded.
fn count(parameters: u64) -> String {
    let scales = [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")];
    let value = parameters as f64;
    match scales.into_iter().find(|(scale, _)| value >= *scale) {
        Some((scale, letter)) => format!("{:.4} {letter}", value / scale),
        None => parameters.to_string(),
    }
}

fn is_recurrent(attention: &Attention) -> bool {
    matches!(attention, Attention::Linear(_) | Attention::StateSpace(_))
}

fn layer(group: &LayerGroup) -> String {
    match (attention(&group.attention), ffn(&group.ffn)) {
        (Some(attention), Some(ffn)) => format!("{attention}; {ffn}"),
        (one, other) => one.or(other).unwrap_or_else(|| "nothing".to_owned()),
    }
}

fn attention(attention: &Attention) -> Option<String> {
    Some(match attention {
        Attention::MultiHead(a) => {
            let window = a.window.map(|window| format!(", window {window}")).unwrap_or_default();
            let selects = a.indexer.as_ref().map(|indexer| format!(", top {} of the past", indexer.topk));
            let gate = if a.output_gate { ", gated" } else { "" };
            let (heads, kv) = (a.heads, a.kv_heads);
            format!(
                "attention {heads}/{kv} heads of {}{window}{}{gate}",
                a.head_dim,
                selects.unwrap_or_default()
            )
        }
        Attention::Mla(a) => {
            let selects = a.indexer.as_ref().map(|indexer| format!(", top {} of the past", indexer.topk));
            format!(
                "latent attention {} heads, rank {}{}",
                a.heads,
                a.kv_lora_rank,
                selects.unwrap_or_default()
            )
        }
        Attention::Compressed(a) => {
            let past = match (a.ratio, &a.indexer) {
                (0, _) => String::new(),
                (ratio, None) => format!(", past folded {ratio}:1"),
                (ratio, Some(indexer)) => format!(", top {} of the past folded {ratio}:1", indexer.topk),
            };
            format!("compressed attention {} heads of {}, window {}{past}", a.heads, a.head_dim, a.window)
        }
        Attention::Linear(a) => {
            let (keys, values) = (a.k_head_dim, a.v_head_dim);
            format!("linear attention {} states of {keys} x {values}", a.v_heads)
        }
        Attention::StateSpace(a) => {
            let kind = if a.dt_rank.is_some() { "state space (Mamba-1)" } else { "state space" };
            format!("{kind} {} heads of {}, state {}", a.heads, a.head_dim, a.state)
        }
        Attention::ShortConv(a) => {
            format!("short convolution of {} taps over {} channels", a.kernel, a.width)
        }
        Attention::None => return None,
    })
}

fn ffn(ffn: &Ffn) -> Option<String> {
    Some(match ffn {
        Ffn::Dense { intermediate, gated, .. } => {
            format!("{}feed-forward {intermediate}", if *gated { "gated " } else { "" })
        }
        Ffn::Moe(moe) => {
            let shared = if moe.shared_intermediate > 0 {
                format!(" + shared {}", moe.shared_intermediate)
            } else {
                String::new()
            };
            let dense = if moe.dense_intermediate > 0 {
                format!(" + dense {}", moe.dense_intermediate)
            } else {
                String::new()
            };
            let latent =
                moe.latent.map(|latent| format!(" in a latent space of {latent}")).unwrap_or_default();
            let identity = if moe.identity_experts > 0 {
                format!(" (+{} identity)", moe.identity_experts)
            } else {
                String::new()
            };
            format!(
                "{} of {}{identity} experts of {}{latent}{shared}{dense}",
                moe.topk, moe.experts, moe.intermediate
            )
        }
        Ffn::None => return None,
    })
}
