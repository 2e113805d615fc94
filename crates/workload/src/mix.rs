//! What traffic is made of besides times and lengths: whose requests are, how prompts begin, which deployment they ask for.

use crate::error::WorkloadError;
use crate::random::{Stream, stream};
use crate::source::{Arrival, Source};
use rand::Rng;
use std::collections::VecDeque;
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

/// Draws what an arrival process and lengths leave open. What a request says of itself stays as it is.
#[derive(Debug, Clone)]
pub struct Mix {
    tenants: Vec<TenantShare>,
    prefix: Option<SharedPrefix>,
    /// Relative part of each deployment.
    deployments: Vec<f64>,
    seed: u64,
    random: Stream,
}

impl Mix {
    /// One tenant, no shared beginnings, one deployment.
    pub fn new(seed: u64) -> Self {
        Self { tenants: Vec::new(), prefix: None, deployments: Vec::new(), seed, random: stream(seed, "mix") }
    }

    /// Spreads the traffic over tenants; the turns of a session are one tenant's.
    #[must_use]
    pub fn with_tenants(mut self, tenants: Vec<TenantShare>) -> Self {
        self.tenants = tenants;
        self
    }

    /// Lets prompts that have no prefix of their own begin alike.
    #[must_use]
    pub fn with_prefix(mut self, prefix: SharedPrefix) -> Self {
        self.prefix = Some(prefix);
        self
    }

    /// Spreads the traffic over deployments in proportion to `shares`; the turns of a session stay together.
    #[must_use]
    pub fn over_deployments(mut self, shares: Vec<f64>) -> Self {
        self.deployments = shares;
        self
    }

    /// Fills in what is open.
    pub fn dress(&mut self, arrival: &mut Arrival) {
        if arrival.tenant == 0 && !self.tenants.is_empty() {
            let at = self.draw(arrival.session, "tenant");
            let shares = self.tenants.iter().map(|tenant| tenant.share);
            let tenant = self.tenants[pick(shares, at)];
            (arrival.tenant, arrival.priority) = (tenant.tenant, tenant.priority);
        }
        if arrival.prefix.is_none() {
            arrival.prefix = self.prefix(arrival.input, arrival.ticket);
        }
        if arrival.deployment == 0 && self.deployments.len() > 1 {
            let at = self.draw(arrival.session, "deployment");
            arrival.deployment = pick(self.deployments.iter().copied(), at) as u32;
        }
    }

    /// A number from 0 to 1: the same for all turns of a session.
    fn draw(&mut self, session: Option<u64>, what: &str) -> f64 {
        match session {
            Some(session) => stream(self.seed ^ session.wrapping_mul(0x9E37_79B9_7F4A_7C15), what).random(),
            None => self.random.random(),
        }
    }

    fn prefix(&mut self, input: u32, ticket: u64) -> Option<Arc<[u64]>> {
        let shared = self.prefix?;
        let group = self.random.random_range(0..shared.groups.max(1));
        let blocks = input / shared.hash_block.max(1);
        let common = (f64::from(input) * shared.share / f64::from(shared.hash_block.max(1))).round() as u32;
        let own = 1 << 63 | ticket << 20;
        let hash = |block: u32| {
            if block < common { u64::from(group) << 32 | u64::from(block) } else { own | u64::from(block) }
        };
        Some((0..blocks).map(hash).collect())
    }
}

/// The part of a whole, cut by `shares`, that the point `at` (0 to 1) is in.
fn pick(shares: impl Iterator<Item = f64> + Clone, at: f64) -> usize {
    let mut left = at * shares.clone().sum::<f64>();
    let mut last = 0;
    for (index, share) in shares.enumerate() {
        left -= share;
        last = index;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// A source with a [`Mix`], each request sent once or to every deployment.
pub struct Mixed<S> {
    source: S,
    mix: Mix,
    /// Deployments that get a copy each; one for no copies.
    mirrors: u32,
    copies: VecDeque<Arrival>,
}

impl<S: Source> Mixed<S> {
    /// Each request is sent once.
    pub fn new(source: S, mix: Mix) -> Self {
        Self { source, mix, mirrors: 1, copies: VecDeque::new() }
    }

    /// Sends each request to each of `deployments` deployments, to compare them. The source is not told of ends, so it
    /// must be one that does not wait for them.
    pub fn mirrored(source: S, mix: Mix, deployments: u32) -> Self {
        Self { mirrors: deployments.max(1), ..Self::new(source, mix) }
    }
}

impl<S: Source> Source for Mixed<S> {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        match self.copies.front() {
            Some(copy) => Ok(Some(copy.at)),
            None => self.source.peek(),
        }
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        if let Some(copy) = self.copies.pop_front() {
            return Ok(Some(copy));
        }
        let Some(mut arrival) = self.source.pop()? else { return Ok(None) };
        self.mix.dress(&mut arrival);
        if self.mirrors > 1 {
            let ticket = arrival.ticket * u64::from(self.mirrors);
            for deployment in 1..self.mirrors {
                let ticket = ticket + u64::from(deployment);
                self.copies.push_back(Arrival { deployment, ticket, ..arrival.clone() });
            }
            (arrival.deployment, arrival.ticket) = (0, ticket);
        }
        Ok(Some(arrival))
    }

    fn ended(&mut self, ticket: u64, at: Seconds) {
        if self.mirrors == 1 {
            self.source.ended(ticket, at);
        }
    }

    fn notes(&self) -> Vec<String> {
        self.source.notes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lengths, OpenLoop, Process};
    use units::PerSecond;

    fn open(requests: u64) -> OpenLoop {
        let process = Process::Constant { rate: PerSecond::new(1.0) };
        OpenLoop::new(process, requests, Lengths::Fixed(256), Lengths::Fixed(8), 1).unwrap()
    }

    fn all(mut source: impl Source) -> Vec<Arrival> {
        std::iter::from_fn(|| source.pop().unwrap()).collect()
    }

    #[test]
    fn shares_are_kept_and_sessions_stay_with_their_tenant() {
        let share = |tenant, share| TenantShare { tenant, share, priority: 0 };
        let mut mix = Mix::new(4).with_tenants(vec![share(1, 1.0), share(2, 3.0)]);
        let tenant_of = |mix: &mut Mix, session| {
            let mut arrival = Arrival { session, ..Arrival::default() };
            mix.dress(&mut arrival);
            arrival.tenant
        };
        let second = (0..4000).filter(|_| tenant_of(&mut mix, None) == 2).count();
        assert!((2900..3100).contains(&second), "{second}");
        let second = (0..4000).filter(|session| tenant_of(&mut mix, Some(*session)) == 2).count();
        assert!((2900..3100).contains(&second), "{second}");
        for session in 0..100 {
            assert_eq!(tenant_of(&mut mix, Some(session)), tenant_of(&mut mix, Some(session)));
        }
        let mut own = Arrival { tenant: 9, ..Arrival::default() };
        mix.dress(&mut own);
        assert_eq!(own.tenant, 9, "what a request says of itself stays");
    }

    #[test]
    fn mirrored_traffic_is_the_same_for_every_deployment() {
        let prefix = SharedPrefix { groups: 3, share: 0.5, hash_block: 64 };
        let arrivals = all(Mixed::mirrored(open(20), Mix::new(2).with_prefix(prefix), 2));
        assert_eq!(arrivals.len(), 40);
        let tickets: std::collections::BTreeSet<u64> = arrivals.iter().map(|one| one.ticket).collect();
        assert_eq!(tickets.len(), 40);
        for pair in arrivals.chunks(2) {
            assert_eq!((pair[0].deployment, pair[1].deployment), (0, 1));
            assert_eq!(
                (pair[0].at, pair[0].input, &pair[0].prefix),
                (pair[1].at, pair[1].input, &pair[1].prefix)
            );
        }
    }
}
