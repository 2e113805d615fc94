//! Transfers over shared links: each moves at its max-min fair share of the links on its path.

use serving::{Nanos, TransferId};
use std::collections::BTreeMap;
use units::{Bytes, BytesPerSecond, Seconds};

/// The rate of a flow that has not been given one.
const UNKNOWN: f64 = -1.0;

/// A link, by its position in the network.
pub type LinkId = u32;

#[derive(Debug, Clone)]
struct Flow {
    path: [Option<LinkId>; 3],
    /// The most it gets, whatever its links carry.
    most: f64,
    /// Bytes still to move at the instant `since`.
    left: f64,
    since: Nanos,
    rate: f64,
    /// Data moves from here on: the latency comes first.
    starts: Nanos,
    /// When the last byte arrives at this rate.
    arrives: Nanos,
}

impl Flow {
    fn links(&self) -> impl Iterator<Item = usize> + use<> {
        self.path.into_iter().flatten().map(|link| link as usize)
    }

    /// Bytes moved from the instant `since` to `now`.
    fn moving(&self, now: Nanos) -> f64 {
        (self.rate * now.since(self.since.max(self.starts)).get()).min(self.left)
    }

    /// When it arrives, of which nothing has been moved since `since`.
    fn arrival(&self) -> Nanos {
        let from = self.since.max(self.starts);
        if self.left <= 0.0 {
            return from;
        }
        if self.rate <= 0.0 {
            return Nanos::NEVER;
        }
        let seconds = self.left / self.rate;
        Nanos::new(from.get().saturating_add((seconds * 1e9).ceil() as u64))
    }
}

#[derive(Debug, Clone, Default)]
struct Link {
    capacity: f64,
    /// Bytes moved by flows before they were last looked at.
    moved: f64,
    /// What the flows on it would take if nothing but themselves held them back.
    demand: f64,
    /// The flows on it, and those of them that only their links hold back.
    on: u32,
    free: u32,
    /// While rates are shared out: what is left of the capacity, the flows that have no rate yet, and whether they get
    /// theirs from this link now.
    left: f64,
    flows: u32,
    bound: bool,
}

impl Link {
    /// Whether its flows cannot all have what they would take.
    fn is_contended(&self) -> bool {
        self.free > 0 || self.demand > self.capacity
    }
}

/// Links and the transfers on them. As long as no link is contended, a transfer that comes or goes changes no other.
#[derive(Debug, Clone, Default)]
pub struct Network {
    links: Vec<Link>,
    flows: BTreeMap<TransferId, Flow>,
    /// The transfer that arrives next, and when.
    first: Option<(Nanos, TransferId)>,
    /// Links that are contended.
    contended: u32,
    /// Scratch: links with flows on them.
    used: Vec<LinkId>,
    now: Nanos,
}

impl Network {
    /// Adds a link.
    pub fn add(&mut self, capacity: BytesPerSecond) -> LinkId {
        self.links.push(Link { capacity: capacity.get(), ..Link::default() });
        (self.links.len() - 1) as LinkId
    }

    /// Changes a link's capacity, as when one of its planes fails.
    pub fn set_capacity(&mut self, link: LinkId, capacity: BytesPerSecond, now: Nanos) {
        self.now = self.now.max(now);
        self.change(link as usize, |link| link.capacity = capacity.get());
        self.share();
    }

    /// Starts a transfer over links at no more than a rate of its own; it takes `latency` before its first byte.
    pub fn start(
        &mut self,
        id: TransferId,
        (path, most): ([Option<LinkId>; 3], BytesPerSecond),
        bytes: Bytes,
        latency: Seconds,
        now: Nanos,
    ) {
        self.now = self.now.max(now);
        let most = most.get();
        let (since, starts) = (self.now, now.after(latency));
        let rate = most.min(f64::MAX);
        let mut flow = Flow { path, most, left: bytes.get(), since, rate, starts, arrives: Nanos::NEVER };
        flow.arrives = flow.arrival();
        let free = self.contended == 0;
        for link in flow.links() {
            self.change(link, |link| {
                link.on += 1;
                if most.is_finite() { link.demand += most } else { link.free += 1 }
            });
        }
        let arrival = (flow.arrives, id);
        self.first = Some(self.first.map_or(arrival, |first| first.min(arrival)));
        self.flows.insert(id, flow);
        if !free || self.contended > 0 {
            self.share();
        }
    }

    /// Forgets a transfer.
    pub fn cancel(&mut self, id: TransferId, now: Nanos) {
        self.now = self.now.max(now);
        if let Some(flow) = self.flows.get(&id) {
            let moved = flow.moving(self.now);
            self.remove(id, moved);
        }
    }

    /// When the next transfer arrives if nothing changes.
    pub fn next(&self) -> Option<Nanos> {
        self.first.map(|(at, _)| at)
    }

    /// Whether a transfer does not move at all.
    pub fn stalled(&self) -> bool {
        self.flows.values().any(|flow| flow.rate <= 0.0 && flow.left > 0.0)
    }

    /// Takes out a transfer that has arrived by `now`.
    pub fn arrived(&mut self, now: Nanos) -> Option<TransferId> {
        let (_, id) = self.first.filter(|(at, _)| *at <= now)?;
        self.now = self.now.max(now);
        // What rounding to nanoseconds left over is moved with the rest.
        let left = self.flows.get(&id).map_or(0.0, |flow| flow.left);
        self.remove(id, left);
        Some(id)
    }

    /// Bytes moved over a link so far.
    pub fn moved(&self, link: LinkId) -> Bytes {
        let on = self.flows.values().filter(|flow| flow.path.contains(&Some(link)));
        let moving: f64 = on.map(|flow| flow.moving(self.now)).sum();
        Bytes::new(self.links[link as usize].moved + moving)
    }

    /// Changes a link, and with it whether it counts as contended.
    fn change(&mut self, link: usize, change: impl FnOnce(&mut Link)) {
        let link = &mut self.links[link];
        self.contended -= u32::from(link.is_contended());
        change(link);
        self.contended += u32::from(link.is_contended());
    }

    /// Takes a transfer off its links, over which so many of its bytes were moved since it was last looked at.
    fn remove(&mut self, id: TransferId, moved: f64) {
        let Some(flow) = self.flows.remove(&id) else { return };
        let free = self.contended == 0;
        for link in flow.links() {
            self.links[link].moved += moved;
            self.change(link, |link| {
                link.on -= 1;
                if flow.most.is_finite() {
                    link.demand -= flow.most
                } else {
                    link.free -= 1
                }
                if link.on == 0 {
                    link.demand = 0.0;
                }
            });
        }
        if !free || self.contended > 0 {
            self.share();
        } else if self.first.is_some_and(|(_, first)| first == id) {
            self.first = self.flows.iter().map(|(id, flow)| (flow.arrives, *id)).min();
        }
    }

    /// Gives every flow its share from now on.
    fn share(&mut self) {
        let now = self.now;
        for flow in self.flows.values_mut() {
            let moved = flow.moving(now);
            flow.left -= moved;
            flow.since = now;
            for link in flow.links() {
                self.links[link].moved += moved;
            }
        }
        self.fill();
        let arrivals = self.flows.iter_mut().map(|(id, flow)| {
            flow.arrives = flow.arrival();
            (flow.arrives, *id)
        });
        self.first = arrivals.min();
    }

    /// Progressive filling: the most contended link (or the least a flow gets at most) fixes the rate of its flows, and
    /// so on with what is left.
    fn fill(&mut self) {
        let links = &mut self.links;
        if self.flows.len() == 1 {
            for flow in self.flows.values_mut() {
                let capacities = flow.path.into_iter().flatten().map(|link| links[link as usize].capacity);
                // A flow over no link takes no time.
                flow.rate = capacities.fold(flow.most.min(f64::MAX), f64::min);
            }
            return;
        }
        self.used.clear();
        for flow in self.flows.values_mut() {
            flow.rate = UNKNOWN;
            for id in flow.path.into_iter().flatten() {
                let link = &mut links[id as usize];
                if link.flows == 0 {
                    link.left = link.capacity;
                    self.used.push(id);
                }
                link.flows += 1;
            }
        }
        loop {
            let fair = |link: &Link| link.left / f64::from(link.flows);
            let contended = self.used.iter().map(|id| &links[*id as usize]).filter(|link| link.flows > 0);
            let rate = contended.map(fair).fold(f64::INFINITY, f64::min);
            let waiting = self.flows.values().filter(|flow| flow.rate == UNKNOWN);
            let rate = waiting.map(|flow| flow.most).fold(rate, f64::min);
            if !rate.is_finite() {
                break;
            }
            for id in &self.used {
                let link = &mut links[*id as usize];
                link.bound = link.flows > 0 && fair(link) <= rate;
            }
            for flow in self.flows.values_mut().filter(|flow| flow.rate == UNKNOWN) {
                let path = flow.path.into_iter().flatten();
                if flow.most > rate && !path.clone().any(|id| links[id as usize].bound) {
                    continue;
                }
                flow.rate = rate;
                for id in path {
                    let link = &mut links[id as usize];
                    link.flows -= 1;
                    link.left = (link.left - rate).max(0.0);
                }
            }
        }
        for flow in self.flows.values_mut().filter(|flow| flow.rate == UNKNOWN) {
            flow.rate = f64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A transfer that only its links hold back.
    const FREE: BytesPerSecond = BytesPerSecond::new(f64::INFINITY);

    fn gigabytes(amount: f64) -> Bytes {
        Bytes::new(amount * 1e9)
    }

    #[test]
    fn two_flows_share_a_link_and_the_second_half_goes_twice_as_fast() {
        let mut network = Network::default();
        let link = network.add(BytesPerSecond::new(1e9));
        let path = [Some(link), None, None];
        network.start(TransferId(1), (path, FREE), gigabytes(1.0), Seconds::ZERO, Nanos::ZERO);
        network.start(TransferId(2), (path, FREE), gigabytes(2.0), Seconds::ZERO, Nanos::ZERO);
        assert_eq!(network.next(), Some(Nanos::from_seconds(Seconds::new(2.0))));
        let then = Nanos::from_seconds(Seconds::new(2.0));
        assert_eq!(network.arrived(then), Some(TransferId(1)));
        assert_eq!(network.next(), Some(Nanos::from_seconds(Seconds::new(3.0))));
        let end = Nanos::from_seconds(Seconds::new(3.0));
        assert_eq!(network.arrived(end), Some(TransferId(2)));
        assert!((network.moved(link).get() / 3e9 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_transfer_goes_no_faster_than_its_own_rank_and_leaves_the_rest_to_others() {
        let mut network = Network::default();
        let link = network.add(BytesPerSecond::new(4e9));
        let path = [Some(link), None, None];
        let slow = BytesPerSecond::new(1e9);
        network.start(TransferId(1), (path, slow), gigabytes(1.0), Seconds::ZERO, Nanos::ZERO);
        assert_eq!(network.next(), Some(Nanos::from_seconds(Seconds::new(1.0))));
        network.start(TransferId(2), (path, FREE), gigabytes(1.5), Seconds::ZERO, Nanos::ZERO);
        let half = Nanos::from_seconds(Seconds::new(0.5));
        assert_eq!(network.arrived(half), Some(TransferId(2)));
        assert_eq!(network.next(), Some(Nanos::from_seconds(Seconds::new(1.0))));
    }

    /// Rates as they are if everything is shared out afresh.
    fn afresh(network: &Network) -> Vec<f64> {
        let mut again = network.clone();
        again.share();
        again.flows.values().map(|flow| flow.rate).collect()
    }

    proptest! {
        #[test]
        fn what_comes_and_goes_leaves_rates_as_if_shared_out_afresh(
            steps in proptest::collection::vec((0u64..12, 0u32..4, 4u32..8, 1u32..5, any::<bool>()), 1..60),
        ) {
            let mut network = Network::default();
            for capacity in [4.0, 5.0, 3.0, 8.0, 6.0, 4.0, 8.0, 7.0] {
                network.add(BytesPerSecond::new(capacity));
            }
            for (at, (id, from, to, most, starts)) in steps.into_iter().enumerate() {
                let (id, now) = (TransferId(id), Nanos::new(at as u64 * 100_000_000));
                while network.arrived(now).is_some() {}
                network.cancel(id, now);
                if starts {
                    let path = [Some(from), Some(to), None];
                    let most = BytesPerSecond::new(f64::from(most));
                    network.start(id, (path, most), Bytes::new(2.5), Seconds::ZERO, now);
                }
                let rates: Vec<f64> = network.flows.values().map(|flow| flow.rate).collect();
                prop_assert_eq!(rates, afresh(&network));
            }
        }

        #[test]
        fn no_link_is_overbooked_and_every_flow_is_held_back_by_something(
            flows in proptest::collection::vec((0u32..4, 4u32..8), 1..20),
        ) {
            let mut network = Network::default();
            for capacity in [1.0, 2.0, 3.0, 4.0, 2.0, 2.0, 8.0, 1.0] {
                network.add(BytesPerSecond::new(capacity));
            }
            for (id, (from, to)) in flows.iter().enumerate() {
                let id = TransferId(id as u64);
                let path = [Some(*from), Some(*to), None];
                network.start(id, (path, FREE), Bytes::new(10.0), Seconds::ZERO, Nanos::ZERO);
            }
            let used = |link: LinkId| -> f64 {
                let on = network.flows.values().filter(|flow| flow.path.contains(&Some(link)));
                on.map(|flow| flow.rate).sum()
            };
            for link in 0..8 {
                prop_assert!(used(link) <= network.links[link as usize].capacity * (1.0 + 1e-9));
            }
            for flow in network.flows.values() {
                let full = |link: LinkId| used(link) >= network.links[link as usize].capacity * (1.0 - 1e-9);
                prop_assert!(flow.path.into_iter().flatten().any(full));
            }
        }
    }
}
