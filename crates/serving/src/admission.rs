//! Who is let in: context and memory limits, queue limits, rate limits per tenant.

use crate::time::Nanos;
use std::collections::BTreeMap;
use units::PerSecond;

/// A tenant's share and limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tenant {
    /// Weight in fair shares.
    pub weight: f64,
    /// Requests it may send, with bursts of one second's worth; `None` for no limit.
    pub rate: Option<PerSecond>,
}

/// Limits at the door of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Admission {
    /// Requests waiting in all queues of the deployment; `None` for no limit.
    pub queue_limit: Option<u32>,
}

/// Token buckets of the tenants that have a rate limit.
#[derive(Debug, Clone, Default)]
pub(crate) struct RateLimits {
    buckets: BTreeMap<u32, Bucket>,
}

#[derive(Debug, Clone)]
struct Bucket {
    rate: f64,
    tokens: f64,
    filled: Nanos,
}

impl RateLimits {
    pub fn new(tenants: &BTreeMap<u32, Tenant>) -> Self {
        let limited =
            tenants.iter().filter_map(|(tenant, terms)| terms.rate.map(|rate| (*tenant, rate.get())));
        let bucket = |rate: f64| Bucket { rate, tokens: rate.max(1.0), filled: Nanos::ZERO };
        Self { buckets: limited.map(|(tenant, rate)| (tenant, bucket(rate))).collect() }
    }

    /// Whether a request of `tenant` may pass now.
    pub fn pass(&mut self, tenant: u32, now: Nanos) -> bool {
        let Some(bucket) = self.buckets.get_mut(&tenant) else { return true };
        let refill = bucket.rate * now.since(bucket.filled).get();
        bucket.tokens = (bucket.tokens + refill).min(bucket.rate.max(1.0));
        bucket.filled = now;
        let passes = bucket.tokens >= 1.0;
        if passes {
            bucket.tokens -= 1.0;
        }
        passes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_passes_its_rate_and_one_second_of_burst() {
        let tenants = BTreeMap::from([(1, Tenant { weight: 1.0, rate: Some(PerSecond::new(2.0)) })]);
        let mut limits = RateLimits::new(&tenants);
        let passed = (0..100u64).filter(|tenth| limits.pass(1, Nanos::new(tenth * 100_000_000))).count();
        assert_eq!(passed, 2 + 19);
        assert!(limits.pass(2, Nanos::ZERO));
    }
}
