//! The settings of one engine instance: what its scheduler may put into a step and how it spends its KV memory.

use crate::gathering::Gathering;
use units::{Bytes, Seconds};

/// What an engine batches together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Batching {
    /// Decoding sequences first, prompt chunks in what the token budget leaves (vLLM V1, SGLang's mixed chunks).
    Mixed,
    /// Prompts in steps of their own whenever one can start; decoding waits (vLLM V0, SGLang's default).
    PrefillFirst,
    /// Prompts only when nothing decodes: whole batches at a time.
    DecodeFirst,
    /// As `Mixed`, with chunks cut so that the predicted step stays under a time per output token.
    SloAware {
        /// The longest step to plan for.
        step: Seconds,
    },
}

/// Which waiting request goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// First come, first served.
    Fcfs,
    /// The smallest [`crate::Request::priority`], first come first served inside a class.
    Priority,
    /// The tenant with the least service so far, by the virtual token counter (Sheng et al., "Fairness in Serving
    /// Large Language Models", OSDI 2024): a prompt token counts one, an output token two, over the tenant's weight.
    FairShare,
}

/// What happens to a sequence whose rank has run out of blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preemption {
    /// Its blocks are dropped; its prompt and output so far are computed again.
    Recompute,
    /// Its blocks are copied to the host and back.
    Swap,
}

/// Speculative decoding: a draft of `draft_tokens` is verified in each step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speculation {
    /// Tokens drafted per step.
    pub draft_tokens: u32,
    /// Mean share of the draft tokens that is accepted, 0 to 1.
    pub acceptance: f64,
}

impl Speculation {
    /// Tokens a sequence gains per step on average.
    pub fn tokens_per_step(self) -> f64 {
        1.0 + f64::from(self.draft_tokens) * self.acceptance.clamp(0.0, 1.0)
    }
}

/// The settings of one engine instance. Token and sequence limits are per attention data-parallel rank.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineLimits {
    /// Attention data-parallel ranks, which step together.
    pub ranks: u32,
    /// Tokens of one step (vLLM's `max_num_batched_tokens`, SGLang's `chunked_prefill_size`).
    pub token_budget: u32,
    /// Sequences in flight (`max_num_seqs`).
    pub max_seqs: u32,
    /// KV blocks.
    pub kv_blocks: u32,
    /// Tokens per block.
    pub block: u32,
    /// Longest context in tokens.
    pub max_context: u32,
    /// Whether a prompt may be cut into chunks.
    pub chunked: bool,
    /// What is batched together.
    pub batching: Batching,
    /// Whether waiting prompts start together; `None` starts each at the next step with room for it.
    pub gathering: Option<Gathering>,
    /// Which waiting request goes first.
    pub order: Order,
    /// What happens when blocks run out.
    pub preemption: Preemption,
    /// Tokens per hash of a shared prefix, a multiple of `block`; `None` switches the prefix cache off.
    pub prefix_cache: Option<u32>,
    /// Speculative decoding.
    pub speculation: Option<Speculation>,
    /// Batch sizes captured as graphs, ascending: a decode batch is padded to the next one. Empty for none.
    pub capture: Vec<u32>,
    /// Share of the blocks that admission leaves free for running sequences to grow into.
    pub watermark: f64,
    /// KV of one token on all ranks that hold a copy of the sequence.
    pub kv_bytes_per_token: Bytes,
}

impl Default for EngineLimits {
    /// vLLM V1's defaults for an online server on one rank, with memory for 100,000 tokens.
    fn default() -> Self {
        Self {
            ranks: 1,
            token_budget: 8192,
            max_seqs: 256,
            kv_blocks: 6250,
            block: 16,
            max_context: 131_072,
            chunked: true,
            batching: Batching::Mixed,
            gathering: None,
            order: Order::Fcfs,
            preemption: Preemption::Recompute,
            prefix_cache: None,
            speculation: None,
            capture: Vec::new(),
            watermark: 0.01,
            kv_bytes_per_token: Bytes::new(131_072.0),
        }
    }
}

/// Why settings cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("engine setting `{key}`: {problem}")]
pub struct LimitsError {
    /// The setting's name.
    pub key: &'static str,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl EngineLimits {
    /// Check that an engine with these settings can run.
    ///
    /// # Errors
    /// The first setting that is zero or contradicts another.
    pub fn check(&self) -> Result<(), LimitsError> {
        let positive = [
            ("ranks", self.ranks),
            ("token_budget", self.token_budget),
            ("max_seqs", self.max_seqs),
            ("kv_blocks", self.kv_blocks),
            ("block", self.block),
            ("max_context", self.max_context),
        ];
        for (key, value) in positive {
            if value == 0 {
                return Err(LimitsError { key, problem: "must be at least 1".to_owned() });
            }
        }
        if let Some(hash_block) = self.prefix_cache {
            if hash_block == 0 || hash_block % self.block != 0 {
                let problem =
                    format!("{hash_block} tokens per hash is not a multiple of the block of {}", self.block);
                return Err(LimitsError { key: "prefix_cache", problem });
            }
        }
        if !(0.0..1.0).contains(&self.watermark) {
            let problem = format!("{} is not a share between 0 and 1", self.watermark);
            return Err(LimitsError { key: "watermark", problem });
        }
        if let Some(speculation) = self.speculation {
            if !(0.0..=1.0).contains(&speculation.acceptance) {
                let problem = format!("acceptance {} is not between 0 and 1", speculation.acceptance);
                return Err(LimitsError { key: "speculation", problem });
            }
        }
        if self.capture.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(LimitsError { key: "capture", problem: "sizes must ascend".to_owned() });
        }
        Ok(())
    }

    /// The captured batch that `seqs` decoding sequences run in.
    pub(crate) fn padded(&self, seqs: u32) -> u32 {
        let at = self.capture.partition_point(|size| *size < seqs);
        self.capture.get(at).copied().unwrap_or(seqs)
    }

    /// Tokens a decoding sequence puts into a step.
    pub(crate) fn tokens_per_decode(&self) -> u32 {
        1 + self.speculation.map_or(0, |speculation| speculation.draft_tokens)
    }
}
