//! An open loop: requests come whether or not earlier ones are done.

use crate::arrivals::{ArrivalError, Arrivals, Process};
use crate::error::WorkloadError;
use crate::lengths::Lengths;
use crate::mix::{Mix, SharedPrefix, TenantShare};
use crate::random::{Stream, stream};
use crate::source::{Arrival, Source};
use units::Seconds;

/// Independent requests with drawn times and lengths.
#[derive(Debug, Clone)]
pub struct OpenLoop {
    arrivals: Arrivals,
    next: Option<Seconds>,
    left: u64,
    sent: u64,
    input: Lengths,
    output: Lengths,
    lengths: Stream,
    mix: Mix,
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
            lengths: stream(seed, "lengths"),
            mix: Mix::new(seed),
        })
    }

    /// Spreads the traffic over tenants.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Vec<TenantShare>) -> Self {
        self.mix = self.mix.with_tenants(tenants);
        self
    }

    /// Lets prompts begin alike.
    #[must_use]
    pub fn with_prefix(mut self, prefix: SharedPrefix) -> Self {
        self.mix = self.mix.with_prefix(prefix);
        self
    }

    /// Spreads the traffic evenly over the first `count` deployments.
    #[must_use]
    pub fn over_deployments(mut self, count: u32) -> Self {
        self.mix = self.mix.over_deployments(vec![1.0; count.max(1) as usize]);
        self
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
        let mut arrival = Arrival {
            at,
            input: self.input.draw(&mut self.lengths),
            output: self.output.draw(&mut self.lengths),
            ticket: self.sent,
            measured: true,
            ..Arrival::default()
        };
        self.sent += 1;
        self.mix.dress(&mut arrival);
        Ok(Some(arrival))
    }
}
