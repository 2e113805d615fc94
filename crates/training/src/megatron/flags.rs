//! Which flags matter, which are known not to, and the values a script gives them.

use crate::error::JobError;
use std::collections::BTreeMap;

/// What a flag is to this reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Read.
    Used,
    /// Known, and without effect on step time and memory (or one that every run has).
    Ignored,
}

/// Flags that are read.
const USED: &[&str] = &[
    "--bf16",
    "--context-parallel-algo",
    "--context-parallel-size",
    "--cp-comm-type",
    "--data-parallel-sharding-strategy",
    "--decoder-first-pipeline-num-layers",
    "--decoder-last-pipeline-num-layers",
    "--expert-model-parallel-size",
    "--expert-tensor-parallel-size",
    "--ffn-hidden-size",
    "--first-k-dense-replace",
    "--fp16",
    "--fp4-format",
    "--fp8-e4m3",
    "--fp8-format",
    "--fp8-hybrid",
    "--fp8-recipe",
    "--gated-linear-unit",
    "--global-batch-size",
    "--group-query-attention",
    "--hidden-size",
    "--kv-channels",
    "--kv-lora-rank",
    "--micro-batch-size",
    "--moe-alltoall-overlap-comm",
    "--moe-ffn-hidden-size",
    "--moe-intermediate-size",
    "--moe-layer-freq",
    "--moe-router-topk",
    "--moe-shared-expert-intermediate-size",
    "--mtp-num-layers",
    "--multi-head-latent-attention",
    "--multi-latent-attention",
    "--n-shared-experts",
    "--nnodes",
    "--noop-layers",
    "--nproc-per-node",
    "--nproc_per_node",
    "--num-attention-heads",
    "--num-experts",
    "--num-layers",
    "--num-layers-per-virtual-pipeline-stage",
    "--num-query-groups",
    "--num-virtual-stages-per-pipeline-rank",
    "--optimizer-cpu-offload",
    "--padded-vocab-size",
    "--pipeline-model-parallel-size",
    "--q-lora-rank",
    "--qk-head-dim",
    "--qk-nope-head-dim",
    "--qk-pos-emb-head-dim",
    "--qk-rope-head-dim",
    "--recompute-activations",
    "--recompute-granularity",
    "--recompute-method",
    "--recompute-num-layers",
    "--reuse-fp32-param",
    "--schedules-method",
    "--seq-length",
    "--sequence-parallel",
    "--swap-optimizer",
    "--swiglu",
    "--tensor-model-parallel-size",
    "--train-iters",
    "--use-custom-fsdp",
    "--use-distributed-optimizer",
    "--use-fsdp2",
    "--use-megatron-fsdp",
    "--use-torch-fsdp2",
    "--v-head-dim",
    "--vocab-size",
    "--worker_num",
];

/// Flags of optimizer settings, data, logging, checkpoints, initialisation and numerics that do not change the work,
/// and of kernels and overlaps that a framework profile already stands for.
const IGNORED: &[&str] = &[
    "--accumulate-allreduce-grads-in-fp32",
    "--adam-beta1",
    "--adam-beta2",
    "--adam-eps",
    "--add-qkv-bias",
    "--attention-backend",
    "--attention-dropout",
    "--attention-softmax-in-fp32",
    "--auto-detect-ckpt-format",
    "--balanced-moe-experts",
    "--beta-fast",
    "--beta-slow",
    "--ckpt-format",
    "--ckpt-fully-parallel-load",
    "--clip-grad",
    "--cross-entropy-fusion-impl",
    "--cross-entropy-loss-fusion",
    "--data-cache-path",
    "--data-path",
    "--dataloader-type",
    "--disable-bias-linear",
    "--dist-ckpt-format",
    "--distributed-backend",
    "--distributed-timeout-minutes",
    "--empty-unused-memory-level",
    "--enable-experimental",
    "--eod-mask-loss",
    "--eval-interval",
    "--eval-iters",
    "--exit-duration-in-mins",
    "--exit-interval",
    "--finetune",
    "--fp8-amax-compute-algo",
    "--fp8-amax-history-len",
    "--fp8-margin",
    "--fp8-param-gather",
    "--grad-reduce-in-bf16",
    "--hidden-dropout",
    "--init-method-std",
    "--initial-loss-scale",
    "--kv-head-num",
    "--load",
    "--log-interval",
    "--log-memory-to-tensorboard",
    "--log-num-zeros-in-grad",
    "--log-params-norm",
    "--log-progress",
    "--log-throughput",
    "--log-timers-to-tensorboard",
    "--log-validation-ppl-to-tensorboard",
    "--lr",
    "--lr-decay-iters",
    "--lr-decay-samples",
    "--lr-decay-style",
    "--lr-warmup-fraction",
    "--lr-warmup-init",
    "--lr-warmup-iters",
    "--lr-warmup-samples",
    "--make-vocab-size-divisible-by",
    "--manual-gc",
    "--manual-gc-interval",
    "--mask-prob",
    "--master-addr",
    "--master-port",
    "--master_addr",
    "--master_port",
    "--max-position-embeddings",
    "--merge-file",
    "--min-lr",
    "--mmap-bin-files",
    "--moe-aux-loss-coeff",
    "--moe-enable-deepep",
    "--moe-expert-capacity-factor",
    "--moe-grouped-gemm",
    "--moe-pad-expert-input-to-capacity",
    "--moe-per-layer-logging",
    "--moe-permutation-async-comm",
    "--moe-permute-fusion",
    "--moe-router-bias-update-rate",
    "--moe-router-dtype",
    "--moe-router-enable-expert-bias",
    "--moe-router-group-topk",
    "--moe-router-load-balancing-type",
    "--moe-router-num-groups",
    "--moe-router-pre-softmax",
    "--moe-router-score-function",
    "--moe-router-topk-scaling-factor",
    "--moe-token-dispatcher-type",
    "--moe-token-drop-policy",
    "--moe-z-loss-coeff",
    "--mscale",
    "--mscale-all-dim",
    "--mtp-loss-scaling-factor",
    "--no-async-tensor-model-parallel-allreduce",
    "--no-bias-dropout-fusion",
    "--no-bias-gelu-fusion",
    "--no-check-for-nan-in-loss-and-grad",
    "--no-create-attention-mask-in-dataloader",
    "--no-gradient-accumulation-fusion",
    "--no-load-optim",
    "--no-load-rng",
    "--no-masked-softmax-fusion",
    "--no-mmap-bin-files",
    "--no-position-embedding",
    "--no-rope-fusion",
    "--no-save-optim",
    "--no-save-rng",
    "--no-shared-storage",
    "--node-rank",
    "--node_rank",
    "--norm-epsilon",
    "--normalization",
    "--num-workers",
    "--overlap-grad-reduce",
    "--overlap-param-gather",
    "--overlap-p2p-communication",
    "--position-embedding-type",
    "--qk-layernorm",
    "--rdzv-backend",
    "--rdzv-endpoint",
    "--rdzv-id",
    "--rope-scaling-factor",
    "--rotary-base",
    "--rotary-percent",
    "--rotary-scaling-factor",
    "--routed-scaling-factor",
    "--save",
    "--save-interval",
    "--seed",
    "--shape-order",
    "--split",
    "--tensorboard-dir",
    "--tensorboard-queue-size",
    "--test-data-path",
    "--tiktoken-pattern",
    "--timing-log-level",
    "--tokenizer-model",
    "--tokenizer-name-or-path",
    "--tokenizer-type",
    "--topk-group",
    "--tp-comm-overlap",
    "--train-data-path",
    "--train-samples",
    "--transformer-impl",
    "--untie-embeddings-and-output-weights",
    "--use-ascend-mc2",
    "--use-cp-send-recv-overlap",
    "--use-flash-attn",
    "--use-fused-moe-token-permute-and-unpermute",
    "--use-fused-ring-attention-update",
    "--use-fused-rmsnorm",
    "--use-fused-rotary-pos-emb",
    "--use-fused-swiglu",
    "--use-mcore-models",
    "--use-rotary-position-embeddings",
    "--use-tp-pp-dp-mapping",
    "--valid-data-path",
    "--vocab-extra-ids",
    "--vocab-file",
    "--wandb-exp-name",
    "--wandb-project",
    "--wandb-save-dir",
    "--weight-decay",
    "--weight-decay-incr-style",
    "--enable-one-logger",
    "--no-bias-swiglu-fusion",
    "--apply-layernorm-1p",
    "--attention-mask-type",
    "--apply-query-key-layer-scaling",
];

/// What the flag `name` is; `None` if nobody knows it.
pub(super) fn kind(name: &str) -> Option<Kind> {
    if USED.contains(&name) {
        Some(Kind::Used)
    } else if IGNORED.contains(&name) {
        Some(Kind::Ignored)
    } else {
        None
    }
}

/// Values of the flags that are read, the last one winning.
#[derive(Debug, Clone, Default)]
pub(super) struct Values(BTreeMap<String, String>);

impl Values {
    /// Whether the flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Its value.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Its value as a whole number.
    ///
    /// # Errors
    /// It has another value.
    pub fn number(&self, name: &'static str) -> Result<Option<u32>, JobError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| JobError::Value {
            key: name.to_owned(),
            why: if text.is_empty() {
                "its value is a variable that the script does not set; put a number there".to_owned()
            } else {
                format!("`{text}` is not a whole number")
            },
        })
    }
}

/// Goes through `words`: flags that are read go into `values`, the names of all others to `other`.
pub(super) fn collect(words: &[String], values: &mut Values, mut other: impl FnMut(&str)) {
    let mut at = 0;
    while at < words.len() {
        let word = &words[at];
        at += 1;
        if !word.starts_with("--") {
            continue;
        }
        let (name, inline) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let next = words.get(at).filter(|next| !next.starts_with("--"));
        let value = inline.or_else(|| next.cloned()).unwrap_or_default();
        if kind(name) == Some(Kind::Used) {
            values.0.insert(name.to_owned(), value);
        } else {
            other(name);
        }
    }
}
