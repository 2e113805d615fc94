//! What one instance does at one operating point, from its step model alone.
//!
//! An operating point is the number of sequences that decode on each attention rank. Requests come and end at random, so
//! that completions per decoding step are Poisson distributed: with `c` of them on average, a share `1 - exp(-c)` of the
//! steps makes room for prompts, `c / (1 - exp(-c))` at a time. Prompts go to the least loaded ranks and all ranks step
//! together, so a single prompt holds all of them up for as long as it takes.

use super::job::Work;
use cost::step::{RankLoad, StepCost, StepModel, StepPrice, StepPricer, StepShape};

/// Sequences per rank that are looked at: each up to 32, then sixteen per octave.
pub(super) fn batches(most: u32) -> Vec<u32> {
    const EXACT: u32 = 32;
    let mut found: Vec<u32> = (1..=most.min(EXACT)).collect();
    let mut base = EXACT;
    while base < most {
        found.extend((1..=16).map(|part| base + base / 16 * part).take_while(|batch| *batch <= most));
        base = base.saturating_mul(2);
    }
    found
}

/// A decoding step of `batch` sequences on every rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DecodeStep {
    /// Sequences per rank.
    pub batch: f64,
    /// Seconds.
    pub time: f64,
    /// Joules of all ranks; not a number where the chip's rating is unknown.
    pub energy: f64,
}

/// What an instance does that prefills, decodes or both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Serving {
    /// Sequences per rank that decode.
    pub batch: f64,
    /// Requests per second.
    pub rate: f64,
    /// Seconds per output token.
    pub tpot: f64,
    /// Seconds to the first token.
    pub ttft: f64,
    /// Watts of all ranks; not a number where unknown.
    pub power: f64,
    /// Share of time in which prompts hold decoding up.
    pub prompts: f64,
}

/// A step's energy, which is unknown where the chip's rating is.
fn joules(model: &StepModel, price: &StepPrice) -> f64 {
    if model.idle_power().is_some() { price.energy.get() } else { f64::NAN }
}

/// A decoding step of `batch` sequences per rank; of one sequence where there are fewer, in between which nothing runs.
pub(super) fn decode_step(model: &StepModel, work: &Work, batch: f64) -> DecodeStep {
    let shape = decode_shape(model, work, batch);
    let step = model.price(&shape);
    let time = step.time.get();
    let busy = (batch * f64::from(model.deployment().layout.dp)).min(1.0);
    let idle = model.idle_power().map_or(f64::NAN, units::Watts::get);
    let energy = joules(model, &step);
    let energy = if busy < 1.0 { busy * energy + (1.0 - busy) * idle * time } else { energy };
    DecodeStep { batch, time, energy }
}

/// The same with its breakdown.
pub(super) fn decode_cost(model: &StepModel, work: &Work, batch: f64) -> StepCost {
    model.cost(&decode_shape(model, work, batch))
}

/// Ranks hold whole sequences, and a step has at least one.
fn decode_shape(model: &StepModel, work: &Work, batch: f64) -> StepShape {
    let dp = model.deployment().layout.dp;
    StepShape {
        busiest: busiest(batch, work, dp),
        total_decode_seqs: (batch * f64::from(dp)).max(1.0),
        total_prefill_tokens: 0.0,
    }
}

/// The fullest of `dp` ranks, which all wait for.
///
/// Requests end at random, and a rank grows by its batch with every step until one of its own does and its place goes to
/// the next prompt. The rank that has waited longest holds more context than the mean by the outputs of as many requests
/// as the largest of `dp` exponential times exceeds the mean one. Ranks of equal context differ in sequences by as much
/// as contexts differ in length; the most of `dp` is about 0.8 times the usual bound of their normal deviations.
fn busiest(batch: f64, work: &Work, dp: u32) -> RankLoad {
    let even = RankLoad::decode(batch.max(1.0), work.context);
    // Below one sequence per rank only some of the ranks work.
    let ranks = f64::from(dp) * batch.min(1.0);
    if ranks <= 1.0 {
        return even;
    }
    // The harmonic number of `dp` less one.
    let waited = ranks.ln() + 0.577_216 + 0.5 / ranks - 1.0;
    let spread = work.output / (12_f64.sqrt() * work.context);
    let most = 0.8 * (2.0 * ranks.ln()).sqrt();
    let more = if batch < 1.0 { 0.0 } else { most * spread * batch.sqrt() };
    RankLoad {
        decode_seqs: even.decode_seqs + more,
        decode_context: even.decode_context + waited * work.output,
        ..even
    }
}

/// Share of the prompts that others send, as one of those who decode sees it: nobody is held up by a prompt of one's own.
fn others(model: &StepModel, batch: f64) -> f64 {
    let decoding = batch * f64::from(model.deployment().layout.dp);
    (1.0 - 1.0 / decoding.max(1.0)).max(0.0)
}

/// Seconds to the first token and per token as a client sees them that gets its first tokens together.
pub(super) fn streamed(model: &StepModel, work: &Work, ttft: f64, tpot: f64) -> (f64, f64) {
    let interval = model.deployment().engine.host.stream_interval.value;
    let held = (interval - 1.0).clamp(0.0, work.after_first());
    (ttft + held * tpot, tpot * (1.0 - held / work.after_first()))
}

/// Requests that end in a step.
fn completions(model: &StepModel, work: &Work, batch: f64) -> f64 {
    let ranks = f64::from(model.deployment().layout.dp);
    batch * ranks * model.deployment().speculation.tokens_per_step() / work.after_first()
}

/// What decoding alone would do: no aggregated instance does better at this batch. Its first token is that of a request
/// whose cache is there.
pub(super) fn decoding(model: &StepModel, work: &Work, step: &DecodeStep) -> Serving {
    let (ttft, tpot) =
        streamed(model, work, 0.0, step.time / model.deployment().speculation.tokens_per_step());
    Serving {
        batch: step.batch,
        rate: completions(model, work, step.batch) / step.time,
        tpot,
        ttft,
        power: step.energy / step.time,
        prompts: 0.0,
    }
}

/// Seconds of a request outside the engine's steps.
pub(super) fn once(model: &StepModel, work: &Work) -> f64 {
    let host = &model.deployment().engine.host;
    (host.request.value + host.prompt_token.value * work.prompt()).get()
}

/// How prompts are cut for one rank.
#[derive(Debug, Clone, Copy)]
struct Cutting {
    /// Steps that a prompt takes, the last in part.
    chunks: f64,
    /// Tokens of each.
    size: f64,
    /// Tokens before a chunk, on average.
    past: f64,
    /// Prompts that go into one step of a rank.
    together: f64,
    /// Prompts of mean length that fill the budget.
    fit: f64,
    /// By how much of the mean the longest of many prompts exceeds it, where it is not cut to the budget.
    excess: f64,
}

impl Cutting {
    /// Of prompts of `new` tokens to compute in a token budget.
    fn new(model: &StepModel, work: &Work, new: f64, budget: f64) -> Self {
        let chunked = model.deployment().engine.scheduler.chunked_prefill;
        if chunked && new > budget {
            // What the last chunk leaves of the budget goes to the next prompt: only a part of a step is this one's.
            return Self {
                chunks: new / budget,
                size: budget,
                past: work.cached + (new - budget) / 2.0,
                together: 1.0,
                fit: 1.0,
                excess: 0.0,
            };
        }
        // Prompts that cannot be cut differ in length: on average half of one is left over.
        let fit = budget / new;
        let together = if chunked { fit } else { fit - 0.5 }.max(1.0);
        Self { chunks: 1.0, size: new, past: work.cached, together, fit: fit.max(1.0), excess: work.excess }
    }
}

impl Cutting {
    /// The fullest of `ranks` ranks that share `prompts` on average, which sets the time of all.
    ///
    /// Prompts are whole and come at random: where there are nearly as many as ranks, there are often more, and then one
    /// rank has two; beyond, half of one more than the mean. And the longest of several exceeds their mean, the less the
    /// more of them a rank has.
    fn fullest(&self, prompts: f64, ranks: f64) -> RankLoad {
        let share = prompts / ranks;
        let mean = share.max(1.0);
        let whole = 0.5 * (1.0 - 1.0 / ranks) * (2.0 * share - 1.0).clamp(0.0, 1.0).powi(2);
        let load = RankLoad::prefill((mean + whole).min(self.fit.max(mean)), self.size, self.past);
        let beside = prompts.min(ranks);
        let longer = self.excess * (beside - 1.0).max(0.0) / (beside + 1.0) / mean.sqrt();
        let more = longer * self.size;
        RankLoad {
            prefill_tokens: load.prefill_tokens + more,
            prefill_pairs: load.prefill_pairs + more * (self.past + self.size + more / 2.0),
            ..load
        }
    }
}

/// Lengths this much apart, as a share of their mean, are priced as two kinds of prompts.
const UNLIKE: f64 = 0.3;

/// How the prompts of a job are cut: one kind of them, or short and long ones.
///
/// The work of a prompt grows faster than its length. Two lengths stand for all where they differ much: of the mean and
/// the standard deviation of the whole, the shorter not below a quarter of the mean.
#[derive(Debug, Clone)]
struct Cuts {
    /// Shares of the prompts.
    parts: Vec<(f64, Cutting)>,
    /// Steps that a prompt takes, on average.
    chunks: f64,
    /// Prompts that go into one step of a rank, on average.
    together: f64,
}

impl Cuts {
    fn new(model: &StepModel, work: &Work, budget: f64) -> Self {
        // Of uniform lengths the longest exceeds the mean by this many standard deviations.
        let deviation = work.excess / 3_f64.sqrt();
        let lengths = if deviation < UNLIKE {
            vec![(1.0, work.new)]
        } else {
            let shorter = deviation.min(0.75);
            let longer = deviation * deviation / shorter;
            let share = shorter / (shorter + longer);
            vec![(1.0 - share, work.new * (1.0 - shorter)), (share, work.new * (1.0 + longer))]
        };
        let parts: Vec<(f64, Cutting)> = lengths
            .into_iter()
            .map(|(share, new)| (share, Cutting::new(model, work, new.max(1.0), budget)))
            .collect();
        let mean = |of: fn(&Cutting) -> f64| parts.iter().map(|(share, cutting)| share * of(cutting)).sum();
        let (chunks, together) = (mean(|cutting| cutting.chunks), mean(|cutting| cutting.together));
        Self { parts, chunks, together }
    }

    /// One step of a chunk of each of `prompts` prompts, beside `decode` on every rank: a step is as likely to hold a
    /// prompt as that takes steps.
    fn step(&self, model: &StepModel, prompts: f64, decode: RankLoad) -> Spent {
        let weigh = |(share, cutting): &(f64, Cutting)| {
            let once = Cutting { chunks: 1.0, ..*cutting };
            prompts_spent(model, &once, prompts, decode).times(share * cutting.chunks / self.chunks)
        };
        self.parts.iter().map(weigh).fold(Spent::default(), Spent::plus)
    }

    /// All steps of `prompts` prompts that start together.
    fn spent(&self, model: &StepModel, prompts: f64) -> Spent {
        let weigh = |(share, cutting): &(f64, Cutting)| {
            prompts_spent(model, cutting, prompts, RankLoad::default()).times(*share)
        };
        self.parts.iter().map(weigh).fold(Spent::default(), Spent::plus)
    }
}

/// Seconds and joules of something.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    time: f64,
    energy: f64,
}

impl Spent {
    fn plus(self, other: Self) -> Self {
        Self { time: self.time + other.time, energy: self.energy + other.energy }
    }

    fn times(self, count: f64) -> Self {
        Self { time: self.time * count, energy: self.energy * count }
    }
}

/// All steps of `prompts` prompts that start together, spread over the ranks, beside `decode` on every rank.
fn prompts_spent(model: &StepModel, cutting: &Cutting, prompts: f64, decode: RankLoad) -> Spent {
    let dp = f64::from(model.deployment().layout.dp);
    let rounds = (prompts / dp / cutting.together).max(1.0);
    let load = cutting.fullest(prompts / rounds, dp);
    let step = model.price(&StepShape {
        busiest: load.plus(decode),
        total_decode_seqs: decode.decode_seqs * dp,
        total_prefill_tokens: prompts / rounds * cutting.size,
    });
    Spent { time: step.time.get(), energy: joules(model, &step) }.times(rounds * cutting.chunks)
}

/// An aggregated instance with `decode` sequences per rank; `None` where prompts come faster than they can be computed.
pub(super) fn aggregated(model: &StepModel, work: &Work, decode: &DecodeStep) -> Option<Serving> {
    let ending = completions(model, work, decode.batch);
    if model.deployment().engine.scheduler.mixed_steps {
        mixed(model, work, decode, ending)
    } else {
        prompts_first(model, work, decode, ending)
    }
}

/// Prompts in steps of their own whenever one can start.
fn prompts_first(model: &StepModel, work: &Work, decode: &DecodeStep, ending: f64) -> Option<Serving> {
    let budget = f64::from(model.deployment().engine.scheduler.token_budget.value);
    let share = -(-ending).exp_m1();
    let fill = Cuts::new(model, work, budget).spent(model, ending / share);
    let cycle = decode.time + share * fill.time;
    let gain = model.deployment().speculation.tokens_per_step();
    let others = others(model, decode.batch);
    let rest = others * (decode.time.powi(2) + share * fill.time.powi(2)) / (2.0 * cycle);
    let seen = (decode.time + others * share * fill.time) / gain;
    let (ttft, tpot) = streamed(model, work, once(model, work) + rest + fill.time, seen);
    Some(Serving {
        batch: decode.batch,
        rate: ending / cycle,
        tpot,
        ttft,
        power: (decode.energy + share * fill.energy) / cycle,
        prompts: share * fill.time / cycle,
    })
}

/// Chunks of prompts in what decoding leaves of the token budget.
fn mixed(model: &StepModel, work: &Work, decode: &DecodeStep, ending: f64) -> Option<Serving> {
    let deployment = model.deployment();
    let dp = f64::from(deployment.layout.dp);
    let queries = 1.0 + f64::from(deployment.speculation.tokens);
    let budget = f64::from(deployment.engine.scheduler.token_budget.value) - decode.batch * queries;
    if budget < 1.0 {
        return None;
    }
    let cutting = Cuts::new(model, work, budget);
    // Prompts under way at once, and the most that can be.
    let under_way = ending * cutting.chunks;
    let most = dp * cutting.together;
    let load = under_way / most;
    if load >= 0.97 {
        return None;
    }
    let share = -(-under_way).exp_m1();
    let held = busiest(decode.batch, work, deployment.layout.dp);
    let with = cutting.step(model, under_way / share, held);
    let mean = (1.0 - share) * decode.time + share * with.time;
    let others = others(model, decode.batch);
    let rest = others * ((1.0 - share) * decode.time.powi(2) + share * with.time.powi(2)) / (2.0 * mean);
    let queue =
        with.time * cutting.chunks * load.powf((2.0 * (most + 1.0)).sqrt()) / (2.0 * most * (1.0 - load));
    let seen = decode.time + others * share * (with.time - decode.time);
    let first = once(model, work) + rest + others * queue + with.time * cutting.chunks;
    let (ttft, tpot) = streamed(model, work, first, seen / deployment.speculation.tokens_per_step());
    Some(Serving {
        batch: decode.batch,
        rate: ending / mean,
        tpot,
        ttft,
        power: ((1.0 - share) * decode.energy + share * with.energy) / mean,
        prompts: share * (with.time - decode.time) / mean,
    })
}

/// A prefill instance: a queue whose server takes as many prompts at once as wait, up to what its ranks can hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Prefilling {
    /// (prompts, seconds, joules) of a round of steps, ascending in prompts.
    rounds: Vec<(f64, f64, f64)>,
    /// Most prompts of a round.
    most: f64,
    once: f64,
    /// Watts of all ranks when nothing runs.
    pub idle: f64,
}

/// Load beyond which a queue is not let: near saturation a small error in either pool's rate becomes a long wait here.
const FULLEST: f64 = 0.9;

impl Prefilling {
    pub fn new(model: &StepModel, work: &Work) -> Self {
        let budget = f64::from(model.deployment().engine.scheduler.token_budget.value);
        let cutting = Cuts::new(model, work, budget);
        let most = f64::from(model.deployment().layout.dp) * cutting.together;
        // Times bend where there are as many prompts as ranks, and are close to straight on either side.
        let ranks = f64::from(model.deployment().layout.dp);
        let mut sizes = vec![1.0];
        sizes.extend([0.125, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0, 16.0].map(|share| share * ranks));
        sizes.retain(|size| *size < most && *size >= 1.0);
        sizes.push(most);
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let rounds = sizes
            .into_iter()
            .map(|prompts| {
                let spent = cutting.spent(model, prompts);
                (prompts, spent.time, spent.energy)
            })
            .collect();
        let idle = model.idle_power().map_or(f64::NAN, units::Watts::get);
        Self { rounds, most, once: once(model, work), idle }
    }

    /// Seconds and joules of a round of `prompts`.
    fn round(&self, prompts: f64) -> (f64, f64) {
        let above = self.rounds.partition_point(|(size, ..)| *size < prompts);
        let Some(high) = self.rounds.get(above) else {
            return self.rounds.last().map_or((0.0, 0.0), |round| (round.1, round.2));
        };
        let Some(low) = above.checked_sub(1).and_then(|below| self.rounds.get(below)) else {
            return (high.1, high.2);
        };
        let share = (prompts - low.0) / (high.0 - low.0);
        (low.1 + (high.1 - low.1) * share, low.2 + (high.2 - low.2) * share)
    }

    /// Requests per second at which every round is full.
    fn capacity(&self) -> f64 {
        self.most / self.round(self.most).0
    }

    /// Prompts of a round at `rate` requests per second: as many as come in during one, at least one.
    fn prompts_at(&self, rate: f64) -> f64 {
        let mut prompts = 1.0;
        for _ in 0..40 {
            let next = (rate * self.round(prompts).0).clamp(1.0, self.most);
            if next - prompts < 1e-3 * prompts {
                return next;
            }
            prompts = next;
        }
        prompts
    }

    /// Seconds to the first token, hand-over apart, at `rate` requests per second.
    ///
    /// An arriving request waits for the rest of the current round, and in a full instance for rounds before: the wait of a
    /// queue of one server is spread over the places of a round, with Sakasegawa's exponent for many places.
    pub fn ttft(&self, rate: f64) -> f64 {
        let round = self.round(self.prompts_at(rate)).0;
        let load = rate / self.capacity();
        let rest = 0.5 * round * (rate * round).min(1.0);
        let queue = round * load.powf((2.0 * (self.most + 1.0)).sqrt()) / (2.0 * self.most * (1.0 - load));
        self.once + rest + queue + round
    }

    /// Most requests per second within `limit` seconds to the first token; `None` where one alone takes longer.
    pub fn most_rate(&self, limit: f64) -> Option<f64> {
        let most = FULLEST * self.capacity();
        if self.once + self.round(1.0).0 > limit {
            return None;
        }
        if self.ttft(most) <= limit {
            return Some(most);
        }
        let (mut low, mut high) = (0.0, most);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if self.ttft(middle) <= limit {
                low = middle
            } else {
                high = middle
            }
            if high - low < 1e-4 * high {
                break;
            }
        }
        (low > 0.0).then_some(low)
    }

    /// Joules of a prompt above what the ranks draw idle, in rounds as full as at `rate`.
    pub fn above_idle(&self, rate: f64) -> f64 {
        let prompts = self.prompts_at(rate);
        let (time, energy) = self.round(prompts);
        (energy - self.idle * time) / prompts
    }

    /// Share of time it works at `rate` requests per second.
    pub fn busy(&self, rate: f64) -> f64 {
        let prompts = self.prompts_at(rate);
        (rate * self.round(prompts).0 / prompts).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::batches;

    #[test]
    fn batches_ascend_and_end_where_they_should() {
        for most in [1, 7, 32, 33, 100, 512, 1024] {
            let found = batches(most);
            assert!(found.windows(2).all(|pair| pair[0] < pair[1]), "{most}: {found:?}");
            assert_eq!(found.first(), Some(&1));
            let last = *found.last().expect("at least one");
            assert!(last <= most && f64::from(last) > f64::from(most) * 0.93, "{most}: {last}");
        }
    }
}
