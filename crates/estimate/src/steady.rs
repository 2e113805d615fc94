//! The steady state of an instance under a closed loop of users, by Little's law.
//!
//! Every user sends the next request when the last one ends. With `R` requests decoding, a token takes
//! `TPOT = step(R) / tokens_per_step + R / (osl - 1) * interference`, because each of the `R` others (and oneself once
//! per request) brings one prompt per `osl - 1` tokens, which holds decoding up by `interference`. The completion rate
//! is `X = R / ((osl - 1) TPOT)`, and the `N - R` requests that do not decode wait for or do their prefill:
//! `N - R = X TTFT`. `R` is where that TTFT equals what the prefill queue makes it.

use cost::step::{RankLoad, StepModel, StepShape};
use units::Seconds;

/// Users and lengths as one attention rank sees them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Users of the whole instance.
    pub users: f64,
    /// Prompt tokens that must be computed.
    pub new_tokens: f64,
    /// Prompt tokens that are cached.
    pub cached_tokens: f64,
    /// Output tokens.
    pub output_tokens: f64,
}

/// What settles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Steady {
    /// Mean time to the first token.
    pub ttft: Seconds,
    /// Mean time per output token after it.
    pub tpot: Seconds,
    /// Completed requests per second of the instance.
    pub rate: f64,
    /// Decoding sequences of the instance.
    pub decoding: f64,
    /// The most the cache or the engine lets decode.
    pub limit: f64,
    /// Share of time that prefill takes.
    pub prefill_share: f64,
}

/// Chunk sizes of a prompt under a token budget that decoding sequences share.
fn chunks(new: f64, budget: f64) -> (f64, f64) {
    let count = (new / budget).ceil().max(1.0);
    (count, new / count)
}

/// Times of prefilling one prompt on every attention rank at once.
struct Prefill {
    /// Alone on the device.
    alone: f64,
    /// What it adds to the decoding it shares steps with.
    added: f64,
}

fn prefill(model: &StepModel, load: &Load, decoding_per_rank: f64, context: f64) -> Prefill {
    let deployment = model.deployment();
    let scheduler = &deployment.engine.scheduler;
    let ranks = deployment.layout.dp;
    let budget = f64::from(scheduler.token_budget.value);
    let (count, size) =
        if scheduler.chunked_prefill { chunks(load.new_tokens, budget) } else { (1.0, load.new_tokens) };
    let decode = RankLoad::decode(decoding_per_rank, context);
    let base = model.cost(&StepShape::even(decode, ranks)).time.get();
    let mut alone = 0.0;
    let mut added = 0.0;
    for chunk in 0..count as u32 {
        let past = load.cached_tokens + f64::from(chunk) * size;
        let part = RankLoad::prefill(1.0, size, past);
        let time = model.cost(&StepShape::even(part, ranks)).time.get();
        alone += time;
        added += if scheduler.mixed_steps && decoding_per_rank > 0.0 {
            model.cost(&StepShape::even(part.plus(decode), ranks)).time.get() - base
        } else {
            time
        };
    }
    Prefill { alone, added }
}

/// Solves for the steady state of `model` under `load`.
pub fn steady(model: &StepModel, load: &Load) -> Steady {
    let deployment = model.deployment();
    let ranks = f64::from(deployment.layout.dp);
    let gain = deployment.speculation.tokens_per_step();
    let after_first = (load.output_tokens - 1.0).max(1.0);
    let prompt = load.new_tokens + load.cached_tokens;
    let context = prompt + load.output_tokens / 2.0;
    let by_memory = model.memory().sequences(prompt + load.output_tokens);
    let by_engine = f64::from(deployment.engine.scheduler.max_sequences.value);
    let limit = by_memory.min(by_engine).max(1.0) * ranks;
    let host = &deployment.engine.host;
    let once = (host.request.value + host.prompt_token.value * prompt).get();

    let state = |decoding: f64| {
        // A rank holds whole sequences: below one per rank only some of the ranks work.
        let per_rank = (decoding / ranks).max(1.0_f64.min(decoding));
        let step = model.cost(&StepShape {
            busiest: RankLoad::decode(per_rank, context),
            total_decode_seqs: decoding,
            total_prefill_tokens: 0.0,
        });
        let step = step.time.get() / gain;
        let fill = prefill(model, load, per_rank, context);
        let together = ranks.min(load.users).max(1.0);
        let per_request = fill.added / together;
        let tpot = step + decoding / after_first * per_request;
        let rate = decoding / (after_first * tpot);
        let busy = (rate * fill.alone / together).min(0.98);
        let wait = 0.5 * step * gain + fill.alone * busy / (2.0 * (1.0 - busy));
        (tpot, rate, once + wait + fill.alone, busy)
    };
    let most = limit.min(load.users);
    let surplus = |decoding: f64| {
        let (_, rate, ttft, _) = state(decoding);
        load.users - decoding - rate * ttft
    };
    let decoding = if surplus(most) >= 0.0 { most } else { bisect(surplus, 0.0, most) };
    let (tpot, rate, ttft, busy) = state(decoding);
    let queued = ((load.users - decoding) / rate).max(ttft);
    let ttft = if load.users > limit { queued } else { ttft };
    let (ttft, tpot) = gathered(host.first_chunk.value, ttft, tpot, after_first);
    Steady { ttft: Seconds::new(ttft), tpot: Seconds::new(tpot), rate, decoding, limit, prefill_share: busy }
}

/// TTFT and TPOT as a client sees them that gets its first `chunk` tokens together.
fn gathered(chunk: f64, ttft: f64, tpot: f64, after_first: f64) -> (f64, f64) {
    let held = (chunk - 1.0).clamp(0.0, after_first);
    (ttft + held * tpot, tpot * (1.0 - held / after_first))
}

/// The zero of a falling function.
fn bisect(falling: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..40 {
        let middle = f64::midpoint(low, high);
        if falling(middle) > 0.0 {
            low = middle
        } else {
            high = middle
        }
        if high - low < 1e-3 * high {
            break;
        }
    }
    f64::midpoint(low, high)
}

/// One side of a disaggregated deployment.
pub struct Side<'a> {
    /// Its step model.
    pub model: &'a StepModel,
    /// How many instances it has.
    pub instances: f64,
}

/// The steady state of prefill instances that hand over to decode instances after `transfer`.
pub fn disaggregated(
    prefill_side: &Side<'_>,
    decode_side: &Side<'_>,
    load: &Load,
    transfer: Seconds,
) -> Steady {
    let decode = decode_side.model.deployment();
    let ranks = f64::from(decode.layout.dp) * decode_side.instances;
    let gain = decode.speculation.tokens_per_step();
    let after_first = (load.output_tokens - 1.0).max(1.0);
    let prompt = load.new_tokens + load.cached_tokens;
    let context = prompt + load.output_tokens / 2.0;
    let by_memory = decode_side.model.memory().sequences(prompt + load.output_tokens);
    let by_engine = f64::from(decode.engine.scheduler.max_sequences.value);
    let limit = by_memory.min(by_engine).max(1.0) * ranks;
    let host = &prefill_side.model.deployment().engine.host;
    let once = (host.request.value + host.prompt_token.value * prompt).get() + transfer.get();

    let servers = f64::from(prefill_side.model.deployment().layout.dp) * prefill_side.instances;
    let service = prefill(prefill_side.model, load, 0.0, context).alone;
    let capacity = servers / service;

    let tpot_at = |decoding: f64| {
        let per_rank = (decoding / ranks).max(1.0_f64.min(decoding));
        let shape = StepShape::even(RankLoad::decode(per_rank, context), decode.layout.dp);
        decode_side.model.cost(&shape).time.get() / gain
    };
    let ttft_at = |rate: f64| {
        let busy = (rate / capacity).min(0.999);
        // Several servers in parallel: the wait of one server shortened by Sakasegawa's exponent.
        let wait = 0.5 * service * busy.powf((2.0 * (servers + 1.0)).sqrt() - 1.0) / (servers * (1.0 - busy));
        once + service + wait
    };
    let rate_at = |decoding: f64| (decoding / (after_first * tpot_at(decoding))).min(capacity * 0.999);
    let surplus = |decoding: f64| load.users - decoding - rate_at(decoding) * ttft_at(rate_at(decoding));
    let most = limit.min(load.users);
    let decoding = if surplus(most) >= 0.0 { most } else { bisect(surplus, 0.0, most) };
    // Where prefill is the bottleneck fewer decode than could.
    let decoding = if decoding / (after_first * tpot_at(decoding)) > capacity {
        bisect(|r| capacity - r / (after_first * tpot_at(r)), 0.0, decoding)
    } else {
        decoding
    };
    let rate = rate_at(decoding);
    let tpot = tpot_at(decoding);
    let ttft = ttft_at(rate).max((load.users - decoding) / rate);
    let (ttft, tpot) = gathered(decode.engine.host.first_chunk.value, ttft, tpot, after_first);
    Steady {
        ttft: Seconds::new(ttft),
        tpot: Seconds::new(tpot),
        rate,
        decoding,
        limit,
        prefill_share: rate / capacity,
    }
}
