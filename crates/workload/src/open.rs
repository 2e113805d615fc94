//! An open loop: requests come whether or not earlier ones are done.

use crate::arrivals::{ArrivalError, Arrivals, Process};
use crate::error::WorkloadError;
use crate::lengths::Lengths;
use crate::random::{Stream, stream};
use crate::source::{Arrival, Source};
use rand::Rng;
use std::sync::Arc;
use units::Seconds;

/// A tenant's part of the traffic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TenantShare {
    /// The tenant.
    pub tenant: u32,
    /// Its part, relative to the others'.
    pub share: f64,
    /// The class of its requests.
    pub priority: u8,
}

/// Prompts that begin alike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedPrefix {
    /// How many different beginnings there are.
    pub groups: u32,
    /// Share of each prompt that is its group's.
    pub share: f64,
    /// Tokens per hash.
    pub hash_block: u32,
}

/// Independent requests with drawn times and lengths.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    arrivals: Arrivals,
    next: Option<Seconds>,
    left: u64,
    sent: u64,
    input: Lengths,
    output: Lengths,
    tenants: Vec<TenantShare>,
    prefix: Option<SharedPrefix>,
    deployments: u32,
    lengths: Stream,
    mix: Stream,
}

impl OpenLoop {
    /// `requests` requests.
    ///
    /// # Errors
    /// An arrival process with a parameter out of range.
    pub fn new(
        process: Process,
        requests: u64,
        input: Lengths,
        output: Lengths,
        seed: u64,
    ) -> Result<Self, ArrivalError> {
        Ok(Self {
            arrivals: Arrivals::new(process, seed)?,
            next: None,
            left: requests,
            sent: 0,
            input,
            output,
            tenants: Vec::new(),
            prefix: None,
            deployments: 1,
            lengths: stream(seed, "lengths"),
            mix: stream(seed, "mix"),
        })
    }

    /// Spreads the traffic over tenants.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Vec<TenantShare>) -> Self {
        self.tenants = tenants;
        self
    }

    /// Lets prompts begin alike.
    #[must_use]
    pub fn with_prefix(mut self, prefix: SharedPrefix) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Spreads the traffic evenly over the first `count` deployments.
    #[must_use]
    pub fn over_deployments(mut self, count: u32) -> Self {
        self.deployments = count.max(1);
        self
    }

    fn tenant(&mut self) -> TenantShare {
        let total: f64 = self.tenants.iter().map(|tenant| tenant.share).sum();
        let mut at = if self.tenants.is_empty() { 0.0 } else { self.mix.random::<f64>() * total };
        for tenant in &self.tenants {
            at -= tenant.share;
            if at < 0.0 {
                return *tenant;
            }
        }
        self.tenants.last().copied().unwrap_or(TenantShare { tenant: 0, share: 1.0, priority: 0 })
    }

    fn prefix(&mut self, input: u32) -> Option<Arc<[u64]>> {
        let shared = self.prefix?;
        let group = self.mix.random_range(0..shared.groups.max(1));
        let blocks = input / shared.hash_block.max(1);
        let common = (f64::from(input) * shared.share / f64::from(shared.hash_block.max(1))).round() as u32;
        let own = 1 << 63 | self.sent << 20;
        let hash = |block: u32| {
            if block < common { u64::from(group) << 32 | u64::from(block) } else { own | u64::from(block) }
        };
        Some((0..blocks).map(hash).collect())
    }
}

impl Source for OpenLoop {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        if self.next.is_none() && self.left > 0 {
            self.next = self.arrivals.next();
        }
        Ok(self.next)
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        let Some(at) = self.peek()? else { return Ok(None) };
        self.next = None;
        self.left -= 1;
        let tenant = self.tenant();
        let input = self.input.draw(&mut self.lengths);
        let output = self.output.draw(&mut self.lengths);
        let prefix = self.prefix(input);
        let deployment = if self.deployments > 1 { self.mix.random_range(0..self.deployments) } else { 0 };
        let ticket = self.sent;
        self.sent += 1;
        Ok(Some(Arrival {
            at,
            input,
            output,
            deployment,
            tenant: tenant.tenant,
            priority: tenant.priority,
            prefix,
            ticket,
            measured: true,
            ..Arrival::default()
        }))
    }
}
