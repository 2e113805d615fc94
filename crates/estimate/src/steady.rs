//! The steady state of an instance under a closed loop of users, by Little's law.
//!
//! Every user sends the next request when the last one ends. With `R` requests decoding on average, a request that decodes
//! sees itself and `R (N-1)/N` others (what a customer of a closed network sees: Reiser and Lavenberg, "Mean-Value Analysis
//! of Closed Multichain Queuing Networks", 1980), so that a lone user never queues behind, or decodes beside, itself. A
//! token takes `TPOT = step / tokens_per_step + R (N-1)/N added / (osl-1)`, because each of the others brings one prompt per
//! `osl - 1` tokens, which holds decoding up by `added`. The completion rate is `X = R / ((osl-1) TPOT)`, prompts that
//! arrive while one round is under way are prefilled together in the next, and the `N - R` requests that do not decode wait for or do
//! their prefill: `N - R = X TTFT`. `R` is where that TTFT equals what the prefill queue makes it.

use cost::step::{RankLoad, StepCost, StepModel, StepShape};
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
    /// Share of time that steps with prompts in them take.
    pub prefill_share: f64,
    /// Prompts that share such a step.
    pub together: f64,
}

/// Most chunks of a prompt that are priced one by one; of more, evenly spread ones stand for their neighbours.
const MOST_CHUNKS: f64 = 16.0;

/// Prompts that share a round, on every attention rank at once.
struct Round {
    /// From the first chunk to the first tokens, with the decoding that shares the steps.
    service: f64,
    /// What each of the prompts adds to the decoding it shares steps with.
    added: f64,
}

/// A closed loop on one instance.
struct Loop<'a> {
    model: &'a StepModel,
    load: &'a Load,
    ranks: f64,
    context: f64,
    /// Tokens after the first.
    after_first: f64,
    /// Share of the users that a request finds there beside itself.
    others: f64,
    /// Before the engine's loop sees the prompt.
    once: f64,
    limit: f64,
}

/// What a number of decoding requests leads to.
struct State {
    tpot: f64,
    rate: f64,
    ttft: f64,
    busy: f64,
    together: f64,
}

/// Prompts or sequences on the busiest rank where `total` are spread over `ranks`: never a part of one.
fn busiest(total: f64, ranks: f64) -> f64 {
    (total / ranks).max(1.0)
}

impl<'a> Loop<'a> {
    fn new(model: &'a StepModel, load: &'a Load) -> Self {
        let deployment = model.deployment();
        let ranks = f64::from(deployment.layout.dp);
        let prompt = load.new_tokens + load.cached_tokens;
        let by_memory = model.memory().sequences(prompt + load.output_tokens);
        let by_engine = f64::from(deployment.engine.scheduler.max_sequences.value);
        let host = &deployment.engine.host;
        Self {
            model,
            load,
            ranks,
            context: prompt + load.output_tokens / 2.0,
            after_first: load.output_tokens - 1.0,
            others: (load.users - 1.0).max(0.0) / load.users,
            once: (host.request.value + host.prompt_token.value * prompt).get(),
            limit: by_memory.min(by_engine).max(1.0) * ranks,
        }
    }

    /// Sequences in a step that a decoding request takes part in.
    fn batch(&self, decoding: f64) -> f64 {
        (1.0 + decoding * self.others).min(self.limit.max(1.0))
    }

    fn decode(&self, batch: f64) -> StepShape {
        StepShape {
            busiest: RankLoad::decode(busiest(batch, self.ranks), self.context),
            total_decode_seqs: batch,
            total_prefill_tokens: 0.0,
        }
    }

    /// Tokens of one step on one rank: each pipeline stage has a batch of its own at work.
    fn budget(&self) -> f64 {
        let deployment = self.model.deployment();
        f64::from(deployment.engine.scheduler.token_budget.value) * f64::from(deployment.layout.pp)
    }

    /// Most prompts that the token budget lets share a step.
    fn most_together(&self) -> f64 {
        self.ranks * (self.budget() / self.load.new_tokens.max(1.0)).floor().max(1.0)
    }

    /// `together` prompts prefilled at once beside `batch` decoding sequences.
    fn round(&self, together: f64, batch: f64) -> Round {
        let scheduler = &self.model.deployment().engine.scheduler;
        let on_rank = busiest(together, self.ranks);
        let chunks = self.chunks();
        let size = self.load.new_tokens / chunks;
        let mixed = scheduler.mixed_steps && batch > 0.0;
        let decode = if mixed { self.decode(batch) } else { StepShape::default() };
        let base = if mixed { self.time(&decode) } else { 0.0 };
        let priced = chunks.min(MOST_CHUNKS);
        let (mut service, mut added) = (0.0, 0.0);
        for chunk in 0..priced as u32 {
            let at = (f64::from(chunk) + 0.5) * chunks / priced - 0.5;
            let past = self.load.cached_tokens + at * size;
            let time = self.time(&StepShape {
                busiest: RankLoad::prefill(on_rank, size, past).plus(decode.busiest),
                total_decode_seqs: decode.total_decode_seqs,
                total_prefill_tokens: size * together,
            });
            service += time;
            added += (time - base).max(0.0);
        }
        let each = chunks / priced;
        Round { service: service * each, added: added * each / together }
    }

    fn time(&self, shape: &StepShape) -> f64 {
        self.model.cost(shape).time.get()
    }

    fn state(&self, decoding: f64) -> State {
        let batch = self.batch(decoding);
        let step = self.time(&self.decode(batch));
        let seen = decoding * self.others;
        let per_token = step / self.model.deployment().speculation.tokens_per_step();
        let beside = if seen > 0.0 { batch } else { 0.0 };
        let together = self.together(decoding, beside > 0.0);
        let found = self.round(together, beside);
        let tpot = per_token + seen * found.added / self.after_first;
        let rate = decoding / (self.after_first * tpot);
        let busy = (rate * found.service / together).min(1.0);
        let ttft = self.once + self.wait(step, seen, rate, &found, together) + found.service;
        State { tpot, rate, ttft, busy, together }
    }

    /// Prompts that share a round. Those that arrive during one share the next: as many as requests end while the round
    /// gives every decoding request its tokens, each of which makes room for the next and, in a closed loop, brings it. Of
    /// the requests that do not decode two in three are in the round under way, the others have arrived behind it.
    fn together(&self, decoding: f64, beside: bool) -> f64 {
        let ended = decoding * self.others * self.tokens(beside) / self.after_first;
        let inside = (self.load.users - decoding) / BEHIND;
        ended.min(inside).clamp(1.0, self.most_together().min(self.load.users).max(1.0))
    }

    /// Tokens that a decoding request gets during a round, or, where prompts have steps of their own, between two.
    fn tokens(&self, beside: bool) -> f64 {
        let deployment = self.model.deployment();
        let mixed = deployment.engine.scheduler.mixed_steps && beside;
        let steps = if mixed { self.chunks() } else { 1.0 };
        steps * deployment.speculation.tokens_per_step()
    }

    /// Steps of a prompt.
    fn chunks(&self) -> f64 {
        let scheduler = &self.model.deployment().engine.scheduler;
        let budget = f64::from(scheduler.token_budget.value);
        if scheduler.chunked_prefill { (self.load.new_tokens / budget).ceil().max(1.0) } else { 1.0 }
    }

    /// Between a prompt's arrival in the engine's loop and its first chunk.
    fn wait(&self, step: f64, seen: f64, rate: f64, found: &Round, together: f64) -> f64 {
        let busy = (rate * self.others * found.service / together).min(1.0);
        let residual = 0.5 * found.service * busy + 0.5 * step * seen.min(1.0) * (1.0 - busy);
        // Prompts queue only where no more of them fit into a round.
        let full = if together < 0.9 * self.most_together() { 0.0 } else { busy.min(MOST_BUSY) };
        let queue = found.service * full * full / (2.0 * (1.0 - full));
        (residual + queue).min(residual + (self.load.users - 1.0).max(0.0) * found.service / together)
    }

    /// A loop of prompts alone: all users wait for their first token, in rounds as large as fit.
    fn prompts_only(&self) -> Steady {
        let together = self.load.users.min(self.most_together());
        let service = self.round(together, 0.0).service;
        let rate = (together / service).min(self.load.users / (self.once + service));
        Steady {
            ttft: Seconds::new(self.load.users / rate),
            tpot: Seconds::ZERO,
            rate,
            decoding: 0.0,
            limit: self.limit,
            prefill_share: (rate * service / together).min(1.0),
            together,
        }
    }
}

/// Prompts in or behind a round for each that is in it: arrivals are even, so that half a round waits on average.
const BEHIND: f64 = 1.5;
/// A queue of prompts is never taken for busier than this: a closed loop has no endless queue. Here a prompt waits for some
/// fifty others on average, beyond which the number of users, not this queue, sets the wait.
const MOST_BUSY: f64 = 0.98;

/// Solves for the steady state of `model` under `load`.
pub fn steady(model: &StepModel, load: &Load) -> Steady {
    let users = Loop::new(model, load);
    if load.output_tokens <= 1.0 {
        return users.prompts_only();
    }
    let most = users.limit.min(load.users);
    let surplus = |decoding: f64| {
        let state = users.state(decoding);
        load.users - decoding - state.rate * state.ttft
    };
    let decoding = if surplus(most) >= 0.0 { most } else { bisect(surplus, 0.0, most) };
    let State { tpot, rate, busy, together, .. } = users.state(decoding);
    // Little's law, to the last user: whoever does not decode waits for a first token.
    let ttft = (load.users - decoding) / rate;
    let chunk = model.deployment().engine.host.stream_interval.value;
    let (ttft, tpot) = gathered(chunk, ttft, tpot, users.after_first);
    Steady {
        ttft: Seconds::new(ttft),
        tpot: Seconds::new(tpot),
        rate,
        decoding,
        limit: users.limit,
        prefill_share: busy,
        together,
    }
}

/// The mean step between two tokens of a decoding request: decoding its batch, with the share of the prompts that others
/// bring meanwhile. Its time is what the steady state's TPOT is made of.
pub fn mean_step(model: &StepModel, load: &Load, state: &Steady) -> StepCost {
    let users = Loop::new(model, load);
    let batch = users.batch(state.decoding);
    let decode = users.decode(batch);
    let mut step = model.cost(&decode);
    let scheduler = &model.deployment().engine.scheduler;
    let seen = state.decoding * users.others;
    if seen <= 0.0 || users.after_first <= 0.0 {
        return step;
    }
    let gain = model.deployment().speculation.tokens_per_step();
    let added = gain * seen * users.round(state.together, batch).added / users.after_first;
    let chunk = load.new_tokens.min(f64::from(scheduler.token_budget.value));
    let prompts = RankLoad::prefill(busiest(state.together, users.ranks), chunk, load.cached_tokens);
    let beside = if scheduler.mixed_steps { decode } else { StepShape::default() };
    let with = model.cost(&StepShape {
        busiest: prompts.plus(beside.busiest),
        total_decode_seqs: beside.total_decode_seqs,
        total_prefill_tokens: chunk * state.together,
    });
    let base = if scheduler.mixed_steps { step.time.get() } else { 0.0 };
    let share = added / (with.time.get() - base).max(f64::MIN_POSITIVE);
    let alone = step.clone();
    step.add_scaled(&with, share);
    if scheduler.mixed_steps {
        step.add_scaled(&alone, -share);
    }
    step
}

/// TTFT and TPOT as a client sees them that gets its first `chunk` tokens together.
fn gathered(chunk: f64, ttft: f64, tpot: f64, after_first: f64) -> (f64, f64) {
    let held = (chunk - 1.0).clamp(0.0, after_first);
    (ttft + held * tpot, tpot * (1.0 - held / after_first))
}

/// The zero of a falling function.
fn bisect(falling: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if falling(middle) > 0.0 {
            low = middle
        } else {
            high = middle
        }
        if high - low < 1e-9 * high {
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
    let alone = Load { users: load.users, ..*load };
    let service = Loop::new(prefill_side.model, &alone).round(1.0, 0.0).service;
    let capacity = servers / service;
    let others = (load.users - 1.0).max(0.0) / load.users;

    let tpot_at = |decoding: f64| {
        let batch = 1.0 + decoding * others;
        let shape = StepShape::even(RankLoad::decode(busiest(batch, ranks), context), decode.layout.dp);
        decode_side.model.cost(&shape).time.get() / gain
    };
    let ttft_at = |rate: f64| {
        let busy = (others * rate / capacity).min(0.999);
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
    let ttft = (load.users - decoding) / rate;
    let (ttft, tpot) = gathered(decode.engine.host.stream_interval.value, ttft, tpot, after_first);
    Steady {
        ttft: Seconds::new(ttft),
        tpot: Seconds::new(tpot),
        rate,
        decoding,
        limit,
        prefill_share: rate / capacity,
        together: 1.0,
    }
}
