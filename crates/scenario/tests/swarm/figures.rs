//! Figures of an estimate: within bounds, adding up, moving the right way.

use cost::step::{RankLoad, StepShape};
use estimate::economics::Site;
use estimate::{BAND_80, Estimate, Figure, OperatingPoint as Point, Resolver, estimate};

/// How far what should not fall may fall where hardware changes.
const SLACK: f64 = 0.02;

/// The same where users and lengths change: the steady state is solved approximately.
const LOOP_SLACK: f64 = 0.1;

/// How far a larger step may be faster: measured kernels are, at sizes where another tile fits better.
const STEP_SLACK: f64 = 0.05;

/// What moves where a point is changed.
pub struct Base {
    /// Seconds of a request.
    pub e2e: f64,
    /// Seconds per token after the first, of requests that have one after the first chunk.
    pub tpot: Option<f64>,
    /// Output tokens per second.
    pub throughput: f64,
    /// Whether the cache or the engine lets fewer decode than would.
    pub full: bool,
}

fn sane(what: &str, value: f64, sigma: f64) -> f64 {
    assert!(value.is_finite() && value > 0.0, "{what} is {value}");
    assert!(sigma.is_finite() && sigma >= 0.0, "{what} has a spread of {sigma}");
    let (low, high) = Figure { value, sigma }.band();
    assert!(low <= value && value <= high, "{what}: {value} is not within {low} to {high}");
    assert!((high / value / (BAND_80 * sigma).exp() - 1.0).abs() < 1e-9, "{what}: its band");
    value
}

/// Figures are within bounds and add up.
pub fn check(point: &Point, found: &Estimate) -> Base {
    let after_first = f64::from(point.osl.unwrap_or(1).saturating_sub(1));
    let ttft = found.ttft.map(|ttft| sane("TTFT", ttft.value.get(), ttft.sigma)).expect("a TTFT");
    let tpot = found.tpot.map(|tpot| sane("TPOT", tpot.value.get(), tpot.sigma));
    let throughput = sane("throughput", found.throughput.value.get(), found.throughput.sigma);
    assert!(found.chips > 0.0 && found.chips.is_finite(), "{} chips", found.chips);
    let decodes = 0.0..=found.concurrency * 1.001;
    assert!(decodes.contains(&found.decoding), "{} of {} decode", found.decoding, found.concurrency);
    if let Some(power) = found.power {
        sane("power", power.value.get(), power.sigma);
    }
    if let Some(tpot) = tpot {
        // Nobody gets tokens faster than one per time per token, and the first comes with the others.
        let most = found.concurrency * (after_first + 1.0) / (after_first * tpot).max(f64::MIN_POSITIVE);
        assert!(throughput <= most * 1.01, "{throughput} tokens/s of {most} at most");
    }
    let e2e = ttft + tpot.unwrap_or(0.0) * after_first;
    // Little's law: users are either served or served.
    let users = throughput / (after_first + 1.0) * e2e;
    let asked = found.concurrency.max(f64::from(found.pools[0].instances));
    assert!((users / asked - 1.0).abs() < 0.03, "{users} users by Little's law of {asked}");
    let mut full = false;
    for pool in &found.pools {
        let memory = pool.memory();
        let terms: f64 = memory.terms().iter().map(|(_, bytes)| bytes.get()).sum();
        assert!((terms / memory.capacity.get() - 1.0).abs() < 1e-6, "memory terms make {terms}");
        assert!(memory.terms().iter().all(|(_, bytes)| bytes.get() >= 0.0), "{:?}", memory.terms());
        let longest = f64::from(point.isl.unwrap_or(0)) + f64::from(point.osl.unwrap_or(0));
        let held = memory.sequences(longest);
        assert!(held >= 1.0, "not one sequence fits");
        assert!(pool.step.time.get() > 0.0 && pool.step.time.is_finite());
        let deployment = pool.model.deployment();
        let engine = f64::from(deployment.engine.scheduler.max_sequences.value);
        let room = held.min(engine) * f64::from(deployment.layout.dp * pool.instances);
        full |= found.concurrency > room * 0.5;
    }
    Base { e2e, tpot, throughput, full }
}

/// Longer prompts never make a request end sooner, nor do more users; more users never get fewer tokens between them.
pub fn check_monotone(resolver: &Resolver, site: &Site, point: &Point, base: &Base) {
    let tried = |changed: &Point| estimate(resolver, changed, site).ok().map(|found| check(changed, &found));
    let longer = Point { isl: point.isl.map(|isl| isl * 2), ..point.clone() };
    if let Some(longer) = tried(&longer) {
        not_less("the end of a request of twice the prompt", longer.e2e, base.e2e);
        not_less("throughput against that of twice the prompt", base.throughput, longer.throughput);
    }
    let more = Point { concurrency: point.concurrency.map(|users| users * 2), ..point.clone() };
    if let Some(more) = tried(&more) {
        not_less("the end of a request among twice the users", more.e2e, base.e2e);
        not_less("throughput of twice the users", more.throughput, base.throughput);
        // Beyond what the cache holds users wait for a place and no more of them decode.
        if let (Some(tpot), Some(known), false) = (more.tpot, base.tpot, more.full) {
            not_less("TPOT among twice the users", tpot, known);
        }
    }
}

fn not_less(what: &str, more: f64, less: f64) {
    assert!(more >= less * (1.0 - LOOP_SLACK), "{what}: {more} instead of at least {less}");
}

pub fn no_less(what: &str, more: f64, less: f64) {
    assert!(more >= less * (1.0 - SLACK), "{what}: {more} instead of at least {less}");
}

/// A step of more sequences, longer contexts or more of a prompt never takes less time, but for what tiles do.
pub fn check_steps(found: &Estimate, seed: u64) {
    let pool = &found.pools[0];
    let ranks = pool.model.deployment().layout.dp;
    let time = |load: RankLoad| pool.model.cost(&StepShape::even(load, ranks)).time.get();
    let batch = f64::from(1 + (seed % 61) as u32);
    let context = f64::from(1 + (seed % 9973) as u32);
    let decode = time(RankLoad::decode(batch, context));
    let prefill = time(RankLoad::prefill(1.0, context, 0.0));
    let mut broken = Vec::new();
    for (what, more, less) in [
        ("a step of one sequence more", time(RankLoad::decode(batch + 1.0, context)), decode),
        ("a step of twice the batch", time(RankLoad::decode(batch * 2.0, context)), decode),
        ("a step of one token more of context", time(RankLoad::decode(batch, context + 1.0)), decode),
        ("a step of twice the context", time(RankLoad::decode(batch, context * 2.0)), decode),
        ("one token more of a prompt", time(RankLoad::prefill(1.0, context + 1.0, 0.0)), prefill),
        ("twice the prompt", time(RankLoad::prefill(1.0, context * 2.0, 0.0)), prefill),
        ("two prompts", time(RankLoad::prefill(2.0, context, 0.0)), prefill),
        ("a prompt after others", time(RankLoad::prefill(1.0, context, 1000.0)), prefill),
        (
            "a prompt beside decoding",
            time(RankLoad::prefill(1.0, context, 0.0).plus(RankLoad::decode(batch, context))),
            prefill.max(decode),
        ),
    ] {
        if more < less * (1.0 - STEP_SLACK) {
            broken
                .push(format!("{what} ({batch} x {context}): {more} instead of {less} ({:.4})", more / less));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("; "));
}
