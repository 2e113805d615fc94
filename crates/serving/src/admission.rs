//! Who is let in: context and memory limits, queue limits, limits per tenant.

use crate::admin::CommandError;
use crate::request::Reason;
use crate::time::Nanos;
use std::collections::BTreeMap;
use units::PerSecond;

/// A tenant's share and limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tenant {
    /// Weight in fair shares.
    pub weight: f64,
    /// Requests it may send, with bursts of one second's worth; `None` for no limit.
    pub rate: Option<PerSecond>,
    /// Requests it may have in flight at once; `None` for no limit.
    pub concurrency: Option<u32>,
    /// Tokens per minute, prompts and output together, with bursts of one minute's worth; `None` for no limit. A prompt
    /// counts when it is let in and its output once it is known, so that the next request pays for what the last one
    /// turned out to be.
    pub tokens_per_minute: Option<u64>,
}

impl Default for Tenant {
    /// Weight one and no limit.
    fn default() -> Self {
        Self { weight: 1.0, rate: None, concurrency: None, tokens_per_minute: None }
    }
}

impl Tenant {
    pub(crate) fn check(&self) -> Result<(), CommandError> {
        let refused = |what: String| Err(CommandError::Refused(what));
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return refused(format!("a weight of {} is not a number above 0", self.weight));
        }
        match self.rate {
            Some(rate) if !(rate.get().is_finite() && rate.get() >= 0.0) => {
                refused(format!("a rate of {} per second is not a number from 0 up", rate.get()))
            }
            _ => Ok(()),
        }
    }
}

/// Limits at the door of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Admission {
    /// Requests waiting in all queues of the deployment; `None` for no limit.
    pub queue_limit: Option<u32>,
}

/// What is left in one of a tenant's buckets.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// What it holds when it is full.
    pub most: f64,
    /// What is in it; below zero if it owes.
    pub level: f64,
    /// Refill per second.
    pub rate: f64,
}

impl Left {
    /// Seconds until so much is in it; for ever if it is never filled.
    pub fn until(self, wanted: f64) -> f64 {
        let short = wanted.min(self.most) - self.level;
        if short <= 0.0 { 0.0 } else { short / self.rate }
    }
}

/// What a tenant has left of its limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Requests.
    pub requests: Option<Left>,
    /// Tokens.
    pub tokens: Option<Left>,
    /// Requests in flight, and the most of them.
    pub concurrency: Option<(u32, u32)>,
}

/// What the tenants that have limits have used of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limits {
    tenants: BTreeMap<u32, Meter>,
}

#[derive(Debug, Clone)]
struct Meter {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    concurrency: Option<u32>,
    live: u32,
}

/// A token bucket; it may owe.
#[derive(Debug, Clone)]
struct Bucket {
    /// Refill per second.
    rate: f64,
    most: f64,
    level: f64,
    filled: Nanos,
}

impl Bucket {
    fn full(rate: f64, most: f64, now: Nanos) -> Self {
        Self { rate, most, level: most, filled: now }
    }

    fn left(&self, now: Nanos) -> Left {
        let level = (self.level + self.rate * now.since(self.filled).get()).min(self.most);
        Left { most: self.most, level, rate: self.rate }
    }

    fn refill(&mut self, now: Nanos) -> f64 {
        let refill = self.rate * now.since(self.filled).get();
        self.level = (self.level + refill).min(self.most);
        self.filled = now;
        self.level
    }
}

impl Meter {
    fn new(terms: &Tenant, now: Nanos) -> Option<Self> {
        let requests = terms.rate.map(|rate| Bucket::full(rate.get(), rate.get().max(1.0), now));
        let minute = |tokens: u64| Bucket::full(tokens as f64 / 60.0, tokens as f64, now);
        let tokens = terms.tokens_per_minute.map(minute);
        let limited = requests.is_some() || tokens.is_some() || terms.concurrency.is_some();
        limited.then_some(Self { requests, tokens, concurrency: terms.concurrency, live: 0 })
    }
}

impl Limits {
    pub fn new(tenants: &BTreeMap<u32, Tenant>) -> Self {
        let meter = |(tenant, terms): (&u32, &Tenant)| Some((*tenant, Meter::new(terms, Nanos::ZERO)?));
        Self { tenants: tenants.iter().filter_map(meter).collect() }
    }

    /// New terms; what is in flight stays counted.
    pub fn set(&mut self, tenant: u32, terms: &Tenant, live: u32, now: Nanos) {
        match Meter::new(terms, now) {
            Some(meter) => {
                self.tenants.insert(tenant, Meter { live, ..meter });
            }
            None => {
                self.tenants.remove(&tenant);
            }
        }
    }

    /// Which limit a request with so long a prompt would be over now; nothing is charged.
    pub fn over(&mut self, tenant: u32, prompt: u32, now: Nanos) -> Option<Reason> {
        let meter = self.tenants.get_mut(&tenant)?;
        if meter.concurrency.is_some_and(|most| meter.live >= most) {
            return Some(Reason::ConcurrencyLimited);
        }
        if meter.requests.as_mut().is_some_and(|bucket| bucket.refill(now) < 1.0) {
            return Some(Reason::RateLimited);
        }
        let needs = f64::from(prompt);
        let short = |bucket: &mut Bucket| bucket.refill(now) < needs.min(bucket.most).max(1.0);
        meter.tokens.as_mut().is_some_and(short).then_some(Reason::TokensLimited)
    }

    /// What a tenant has left now; `None` if it has no limits.
    pub fn budget(&self, tenant: u32, now: Nanos) -> Option<Budget> {
        let meter = self.tenants.get(&tenant)?;
        let left = |bucket: &Option<Bucket>| bucket.as_ref().map(|bucket| bucket.left(now));
        Some(Budget {
            requests: left(&meter.requests),
            tokens: left(&meter.tokens),
            concurrency: meter.concurrency.map(|most| (meter.live, most)),
        })
    }

    /// A request is let in.
    pub fn enter(&mut self, tenant: u32, prompt: u32) {
        let Some(meter) = self.tenants.get_mut(&tenant) else { return };
        meter.live += 1;
        if let Some(bucket) = &mut meter.requests {
            bucket.level -= 1.0;
        }
        if let Some(bucket) = &mut meter.tokens {
            bucket.level -= f64::from(prompt);
        }
    }

    /// A request that was let in ended after `output` tokens.
    pub fn leave(&mut self, tenant: u32, output: u32) {
        let Some(meter) = self.tenants.get_mut(&tenant) else { return };
        meter.live = meter.live.saturating_sub(1);
        if let Some(bucket) = &mut meter.tokens {
            bucket.level -= f64::from(output);
        }
    }

    /// Whether anybody is limited, so that ends have to be told.
    pub fn any(&self) -> bool {
        !self.tenants.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(terms: Tenant) -> Limits {
        Limits::new(&BTreeMap::from([(1, terms)]))
    }

    fn let_in(limits: &mut Limits, prompt: u32, now: Nanos) -> bool {
        let passes = limits.over(1, prompt, now).is_none();
        if passes {
            limits.enter(1, prompt);
        }
        passes
    }

    #[test]
    fn a_bucket_passes_its_rate_and_one_second_of_burst() {
        let mut limits = limits(Tenant { rate: Some(PerSecond::new(2.0)), ..Tenant::default() });
        let passed = (0..100u64).filter(|tenth| let_in(&mut limits, 1, Nanos::new(tenth * 100_000_000)));
        assert_eq!(passed.count(), 2 + 19);
        assert_eq!(limits.over(2, 1, Nanos::ZERO), None);
    }

    #[test]
    fn requests_in_flight_are_limited_and_ends_make_room() {
        let mut limits = limits(Tenant { concurrency: Some(2), ..Tenant::default() });
        let now = Nanos::ZERO;
        assert!(let_in(&mut limits, 1, now) && let_in(&mut limits, 1, now));
        assert_eq!(limits.over(1, 1, now), Some(Reason::ConcurrencyLimited));
        limits.leave(1, 5);
        assert!(let_in(&mut limits, 1, now));
    }

    #[test]
    fn what_is_left_can_be_asked_for() {
        let mut limits = limits(Tenant { tokens_per_minute: Some(600), ..Tenant::default() });
        limits.enter(1, 500);
        let left =
            limits.budget(1, Nanos::new(5_000_000_000)).and_then(|budget| budget.tokens).expect("a limit");
        assert_eq!((left.most, left.level, left.until(600.0), left.until(100.0)), (600.0, 150.0, 45.0, 0.0));
        assert_eq!(limits.budget(2, Nanos::ZERO), None);
    }

    #[test]
    fn output_is_paid_for_once_it_is_known() {
        let mut limits = limits(Tenant { tokens_per_minute: Some(600), ..Tenant::default() });
        assert!(let_in(&mut limits, 500, Nanos::ZERO));
        limits.leave(1, 700);
        assert_eq!(limits.over(1, 1, Nanos::ZERO), Some(Reason::TokensLimited));
        assert_eq!(limits.over(1, 100, Nanos::new(60_000_000_000)), Some(Reason::TokensLimited));
        assert!(let_in(&mut limits, 100, Nanos::new(70_000_000_000)), "600 owed are back after a minute");
    }
}
