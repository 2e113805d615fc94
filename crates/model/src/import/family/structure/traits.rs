//! What a class fixes beside the keys of its configuration: biases, norms, gates, ties.
//!
//! A key of the file goes before a trait, and a trait before a guess by structure.

/// Norms of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QkNorm {
    /// None.
    No,
    /// One scale of head width shared by the heads.
    Head,
    /// A scale for every element of every head.
    Whole,
}

/// How attention and a state space share a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Each layer has one of them.
    Apart,
    /// Every layer has both, side by side.
    Beside,
}

/// One class.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Traits {
    /// `model_type`.
    pub name: &'static str,
    /// Biases of the q, k and v projections.
    pub qkv_bias: bool,
    /// Bias of the output projection.
    pub out_bias: bool,
    /// Biases of feed-forward networks.
    pub mlp_bias: bool,
    /// Whether feed-forward networks have a gate matrix; `None` follows the activation.
    pub gated: Option<bool>,
    /// Norms of queries and keys; `None` follows the keys of the file.
    pub qk_norm: Option<QkNorm>,
    /// Norms of hidden width per layer.
    pub norms: u32,
    /// Norms outside the layers.
    pub outer_norms: u32,
    /// Whether norms have biases; `None` follows the name of their epsilon.
    pub norm_bias: Option<bool>,
    /// Whether the head is the embedding where the file does not say; `None` is not known.
    pub tied: Option<bool>,
    /// Rows of a learned position table beyond the longest context; `None` has no table.
    pub positions: Option<u32>,
    /// The inner width is this multiple of the hidden size where the file gives none.
    pub multiple: Option<u32>,
    /// Whether the file's inner width is that of both halves of a gated network together.
    pub halved_width: bool,
    /// Whether the router has a bias per expert.
    pub router_bias: bool,
    /// Shared experts where the file does not say.
    pub shared_experts: Option<u32>,
    /// Whether the shared expert has a scalar gate.
    pub shared_gate: bool,
    /// Whether attention outputs are gated by a second query-sized projection.
    pub output_gate: bool,
    /// Whether queries and outputs of attention are experts' (JetMoE).
    pub attention_experts: bool,
    /// Whether a matrix of hidden width stands in front of the output head (ModernBERT).
    pub head_matrix: bool,
    /// How attention and state space share layers.
    pub sharing: Sharing,
}

impl Traits {
    /// A pre-norm decoder with RMS norms and without biases.
    pub(crate) const PLAIN: Self = Self {
        name: "",
        qkv_bias: false,
        out_bias: false,
        mlp_bias: false,
        gated: Some(true),
        qk_norm: Some(QkNorm::No),
        norms: 2,
        outer_norms: 1,
        norm_bias: Some(false),
        tied: Some(false),
        positions: None,
        multiple: None,
        halved_width: false,
        router_bias: false,
        shared_experts: None,
        shared_gate: false,
        output_gate: false,
        attention_experts: false,
        head_matrix: false,
        sharing: Sharing::Apart,
    };

    /// A class that nothing is known of.
    pub(crate) const UNKNOWN: Self =
        Self { gated: None, qk_norm: None, norm_bias: None, tied: None, ..Self::PLAIN };

    /// LayerNorm with biases, biases on every projection, a network of two matrices.
    const GPT: Self = Self {
        qkv_bias: true,
        out_bias: true,
        mlp_bias: true,
        gated: Some(false),
        norm_bias: Some(true),
        tied: Some(true),
        multiple: Some(4),
        ..Self::PLAIN
    };

    /// Whether anything is known of the class.
    pub(crate) fn is_known(&self) -> bool {
        !self.name.is_empty()
    }
}

const fn plain(name: &'static str) -> Traits {
    Traits { name, ..Traits::PLAIN }
}

const fn tied(name: &'static str) -> Traits {
    Traits { name, tied: Some(true), ..Traits::PLAIN }
}

const fn normed(name: &'static str, qk_norm: QkNorm) -> Traits {
    Traits { name, qk_norm: Some(qk_norm), ..Traits::PLAIN }
}

const fn biased(name: &'static str) -> Traits {
    Traits { name, qkv_bias: true, ..Traits::PLAIN }
}

/// Without a gate: two matrices.
const fn ungated(name: &'static str) -> Traits {
    Traits { name, gated: Some(false), ..Traits::PLAIN }
}

/// Attention and network share one norm; heads of queries and keys have norms of their own where a key says so.
const fn cohere(name: &'static str) -> Traits {
    Traits { name, norms: 1, qk_norm: None, tied: Some(true), ..Traits::PLAIN }
}

/// Norms around every sub-layer.
const fn sandwich(name: &'static str) -> Traits {
    Traits { name, norms: 4, ..Traits::PLAIN }
}

/// The classes read by structure, as their reference implementations have them.
pub(crate) const CLASSES: &[Traits] = &[
    // Pre-norm decoders without biases unless a key says so.
    plain("baichuan"),
    plain("internlm"),
    plain("internlm3"),
    plain("yi"),
    plain("Yi"),
    plain("aquila"),
    plain("xverse"),
    plain("exaone"),
    plain("ministral"),
    plain("solar"),
    plain("orion"),
    plain("telechat"),
    plain("cwm"),
    plain("helium"),
    plain("iquestcoder"),
    plain("diffllama"),
    plain("mllama_text_model"),
    plain("deepseek"),
    plain("dbrx"),
    plain("aria_text"),
    plain("bailing_moe"),
    plain("granitemoe"),
    plain("granitemoeshared"),
    plain("granitemoe_swa"),
    plain("granitemoehybrid"),
    plain("solar_open"),
    plain("jamba"),
    plain("bamba"),
    plain("minimax_text_01"),
    plain("minimax"),
    plain("arctic"),
    plain("grok-1"),
    plain("grok"),
    plain("mistral4"),
    plain("sarvam_mla"),
    plain("axk1"),
    plain("axk2"),
    plain("decilm"),
    plain("codeshell"),
    plain("zhinao"),
    plain("dots1_text"),
    tied("granite_docling_text"),
    tied("granite_swa"),
    tied("paddleocr_vl_text"),
    tied("vaultgemma"),
    tied("youtu"),
    Traits { qk_norm: Some(QkNorm::Head), ..tied("openelm") },
    tied("minicpm"),
    tied("minicpm3"),
    Traits {
        mlp_bias: false,
        router_bias: true,
        tied: Some(true),
        shared_experts: Some(2),
        ..plain("ernie4_5_moe")
    },
    Traits { router_bias: true, tied: Some(true), ..plain("ernie4_5_vl_moe") },
    Traits { router_bias: true, tied: Some(true), ..plain("ernie4_5_moe_vl") },
    Traits { outer_norms: 2, ..tied("ernie4_5_vl_moe_text") },
    // Biases on queries, keys and values.
    Traits { halved_width: true, ..biased("qwen") },
    biased("qwen2_5_omni_text"),
    biased("qwen2_audio"),
    Traits { norm_bias: Some(true), ..biased("internlm1") },
    biased("chatglm3"),
    Traits { qkv_bias: true, norms: 4, ..plain("glm4v_text") },
    Traits { qkv_bias: true, ..plain("glm4v_moe_text") },
    sandwich("glm_ocr_text"),
    sandwich("hyperclovax"),
    Traits { output_gate: true, ..sandwich("muse_glimmer_text") },
    // Two vectors of hidden width gate the residuals beside three norms.
    Traits { norms: 5, output_gate: true, ..plain("muse_spark_text") },
    Traits { output_gate: true, ..plain("hy_v4") },
    Traits { output_gate: true, ..plain("hy_v4_text") },
    Traits { attention_experts: true, tied: Some(true), ..plain("jetmoe") },
    Traits { outer_norms: 3, head_matrix: true, tied: Some(true), ..plain("modernbert-decoder") },
    Traits {
        mlp_bias: true,
        halved_width: true,
        out_bias: true,
        tied: Some(true),
        ..plain("recurrent_gemma")
    },
    normed("inkling_text", QkNorm::Head),
    normed("inkling2_text", QkNorm::Head),
    plain("mistral_large4_text"),
    plain("unlimited_ocr_text"),
    plain("glm5_next_text"),
    plain("phi4_multimodal"),
    Traits { norms: 4, output_gate: true, ..normed("beam", QkNorm::Head) },
    // Norms of queries and keys.
    Traits { gated: Some(false), ..normed("apertus", QkNorm::Head) },
    Traits { gated: Some(false), ..normed("apertus1p5_text", QkNorm::Head) },
    normed("exaone4", QkNorm::Head),
    Traits { router_bias: true, ..normed("exaone_moe", QkNorm::Head) },
    normed("hunyuan", QkNorm::Head),
    normed("hunyuan_v1_dense", QkNorm::Head),
    normed("hunyuan_v1_moe", QkNorm::Head),
    normed("hunyuan_dense", QkNorm::Head),
    normed("qwen3_omni_moe_text", QkNorm::Head),
    normed("molmo2_text", QkNorm::Head),
    normed("mellum", QkNorm::Head),
    normed("flint", QkNorm::Head),
    normed("sarvam_moe", QkNorm::Head),
    normed("bailing_moe_linear", QkNorm::Head),
    normed("olmo_hybrid", QkNorm::Whole),
    normed("olmo3", QkNorm::Whole),
    normed("olmoe", QkNorm::Whole),
    Traits { norms: 2, ..normed("flex_olmo", QkNorm::Whole) },
    Traits { router_bias: true, ..normed("dots1", QkNorm::Head) },
    Traits { norms: 4, router_bias: true, output_gate: true, ..normed("afmoe", QkNorm::Head) },
    Traits { norms: 4, ..normed("kolibri1", QkNorm::Head) },
    Traits { router_bias: true, ..normed("laguna", QkNorm::Head) },
    Traits { tied: Some(true), ..normed("lfm2", QkNorm::Head) },
    Traits { tied: Some(true), router_bias: true, ..normed("lfm2_moe", QkNorm::Head) },
    Traits { norms: 4, tied: Some(true), ..normed("lfm3", QkNorm::Head) },
    Traits { router_bias: true, ..normed("step3p5", QkNorm::Head) },
    Traits { tied: Some(true), ..normed("doge", QkNorm::Head) },
    // One norm for attention and network together.
    cohere("cohere"),
    cohere("cohere2"),
    cohere("cohere2_moe"),
    // Networks without a gate.
    ungated("arcee"),
    ungated("mistral_large"),
    Traits { norm_bias: Some(true), ..ungated("nemotron") },
    Traits { gated: Some(false), norms: 0, outer_norms: 0, ..plain("nanochat") },
    Traits {
        gated: Some(false),
        norms: 1,
        norm_bias: Some(true),
        tied: Some(true),
        multiple: Some(4),
        ..plain("falcon")
    },
    Traits {
        gated: Some(false),
        norms: 1,
        norm_bias: Some(true),
        tied: Some(true),
        multiple: Some(4),
        ..plain("RefinedWeb")
    },
    Traits {
        gated: Some(false),
        norms: 1,
        norm_bias: Some(true),
        tied: Some(true),
        multiple: Some(4),
        ..plain("RefinedWebModel")
    },
    Traits { gated: Some(false), tied: Some(true), multiple: Some(4), ..plain("mpt") },
    // Two extra norms inside: of the attention's output and of the network's inner width.
    Traits { gated: Some(true), norms: 3, tied: Some(true), ..plain("bitnet") },
    // LayerNorm.
    Traits { norm_bias: Some(true), ..plain("stablelm") },
    Traits { norm_bias: Some(true), ..plain("stablelm_epoch") },
    Traits { norm_bias: Some(true), qkv_bias: false, ..plain("phimoe") },
    Traits { norms: 0, outer_norms: 0, ..plain("olmo") },
    Traits { norms: 0, outer_norms: 0, ..plain("hf_olmo") },
    Traits {
        qkv_bias: true,
        out_bias: true,
        mlp_bias: true,
        norm_bias: Some(true),
        gated: Some(false),
        ..plain("jais2")
    },
    Traits {
        qkv_bias: true,
        out_bias: true,
        mlp_bias: true,
        norm_bias: Some(true),
        gated: Some(true),
        tied: Some(true),
        ..plain("phi3small")
    },
    // The GPT line.
    Traits { name: "gpt_bigcode", positions: Some(0), ..Traits::GPT },
    Traits { name: "gpt_neo", qkv_bias: false, positions: Some(0), ..Traits::GPT },
    Traits { name: "codegen", qkv_bias: false, out_bias: false, norms: 1, tied: Some(false), ..Traits::GPT },
    Traits { name: "biogpt", positions: Some(2), ..Traits::GPT },
    Traits { name: "xglm", ..Traits::GPT },
    Traits { name: "openai-gpt", outer_norms: 0, positions: Some(0), ..Traits::GPT },
    Traits { name: "persimmon", tied: Some(false), qk_norm: Some(QkNorm::Head), ..Traits::GPT },
    Traits { name: "gpt-sw3", positions: Some(0), ..Traits::GPT },
    Traits { name: "jais", positions: None, gated: Some(true), ..Traits::GPT },
    // State spaces.
    Traits { name: "mamba", norms: 1, tied: Some(true), ..Traits::PLAIN },
    Traits { name: "falcon_mamba", norms: 1, tied: Some(true), ..Traits::PLAIN },
    Traits { name: "mamba2", norms: 1, tied: Some(false), ..Traits::PLAIN },
    Traits { name: "falcon_h1", sharing: Sharing::Beside, ..Traits::PLAIN },
];
