//! What the scheduler of an instance may do.

use cost::step::StepModel;
use serving::{Batching, EngineLimits, Gathering, Order, Preemption, Role, Speculation};
use units::Bytes;

/// What is set otherwise than the engine's profile, the model and the memory say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// Most tokens of one step of an attention rank.
    pub token_budget: Option<u32>,
    /// Most sequences of an attention rank.
    pub max_sequences: Option<u32>,
    /// KV blocks of an attention rank.
    pub kv_blocks: Option<u32>,
    /// Tokens of a block.
    pub block: Option<u32>,
    /// Longest context in tokens.
    pub max_context: Option<u32>,
    /// Whether a prompt may be cut.
    pub chunked_prefill: Option<bool>,
    /// What is batched together.
    pub batching: Option<Batching>,
    /// When waiting prompts start together.
    pub gathering: Option<Gathering>,
    /// Which waiting request goes first.
    pub order: Option<Order>,
    /// What happens when blocks run out.
    pub preemption: Option<Preemption>,
    /// Tokens per hash of a shared prefix; no prefix cache if absent.
    pub prefix_cache: Option<u32>,
    /// Batch sizes captured as graphs; none by default.
    pub capture: Vec<u32>,
    /// Tokens that reach a client together as its first.
    pub stream_interval: Option<f64>,
}

/// The limits of one instance in `role` for sequences of about `length` tokens (which matters only to models whose cache
/// does not grow evenly with the context).
pub fn limits(model: &StepModel, role: Role, length: f64, settings: &Settings) -> EngineLimits {
    let deployment = model.deployment();
    let scheduler = &deployment.engine.scheduler;
    let usual = EngineLimits::default();
    // An engine whose blocks are coarser than those of a trace is taken to run with the trace's, as its page size allows.
    let own = scheduler.block.value;
    let finer = settings.prefix_cache.filter(|hashed| *hashed > 0 && own % hashed == 0);
    let block = settings.block.or(finer).unwrap_or(own);
    let tokens = model.memory().cache_tokens(length);
    let fits = ((tokens / f64::from(block.max(1))) as u32).max(1);
    let batching = if scheduler.mixed_steps { Batching::Mixed } else { Batching::PrefillFirst };
    let speculation = deployment.speculation;
    let drafts = speculation.tokens > 0 && role != Role::Prefill;
    EngineLimits {
        ranks: deployment.layout.dp,
        // Every pipeline stage has a batch of its own at work, and a step is all of them.
        token_budget: settings
            .token_budget
            .unwrap_or(scheduler.token_budget.value)
            .saturating_mul(deployment.layout.pp),
        max_seqs: settings.max_sequences.unwrap_or(scheduler.max_sequences.value),
        kv_blocks: settings.kv_blocks.unwrap_or(fits),
        block,
        max_context: settings.max_context.unwrap_or(deployment.model.max_context),
        chunked: settings.chunked_prefill.unwrap_or(scheduler.chunked_prefill),
        batching: settings.batching.unwrap_or(batching),
        gathering: settings.gathering,
        order: settings.order.unwrap_or(usual.order),
        preemption: settings.preemption.unwrap_or(usual.preemption),
        prefix_cache: settings.prefix_cache,
        speculation: drafts
            .then_some(Speculation { draft_tokens: speculation.tokens, acceptance: speculation.acceptance }),
        capture: settings.capture.clone(),
        watermark: usual.watermark,
        kv_bytes_per_token: cache_bytes(model, length) / length,
    }
}

/// Cache of one sequence of `tokens` tokens on all ranks of an instance that hold a part or a copy of it.
pub fn cache_bytes(model: &StepModel, tokens: f64) -> Bytes {
    model.memory().cache_bytes(tokens) * f64::from(shards(model))
}

/// Ranks of an instance that hold a sequence: those of one data-parallel rank.
pub(crate) fn shards(model: &StepModel) -> u32 {
    let layout = &model.deployment().layout;
    layout.tp * layout.pp
}
