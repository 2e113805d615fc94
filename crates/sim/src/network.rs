//! Transfers over shared links: each moves at its max-min fair share of the links on its path.

use serving::{Nanos, TransferId};
use std::collections::BTreeMap;
use units::{Bytes, BytesPerSecond, Seconds};

/// A link, by its position in the network.
pub type LinkId = u32;

#[derive(Debug, Clone)]
struct Flow {
    path: [Option<LinkId>; 3],
    /// What it never exceeds, alone or not.
    cap: f64,
    /// Bytes still to move.
    left: f64,
    rate: f64,
    /// Data moves from here on: the latency comes first.
    starts: Nanos,
}

#[derive(Debug, Clone)]
struct Link {
    capacity: f64,
    moved: f64,
    flows: u32,
}

/// Links and the transfers on them.
#[derive(Debug, Clone, Default)]
pub struct Network {
    links: Vec<Link>,
    flows: BTreeMap<TransferId, Flow>,
    now: Nanos,
}

impl Network {
    /// Adds a link.
    pub fn add(&mut self, capacity: BytesPerSecond) -> LinkId {
        self.links.push(Link { capacity: capacity.get(), moved: 0.0, flows: 0 });
        (self.links.len() - 1) as LinkId
    }

    /// Changes a link's capacity, as when one of its planes fails.
    pub fn set_capacity(&mut self, link: LinkId, capacity: BytesPerSecond, now: Nanos) {
        self.progress(now);
        self.links[link as usize].capacity = capacity.get();
        self.share();
    }

    /// Starts a transfer; it takes `latency` before its first byte.
    pub fn start(
        &mut self,
        id: TransferId,
        path: [Option<LinkId>; 3],
        cap: Option<BytesPerSecond>,
        bytes: Bytes,
        latency: Seconds,
        now: Nanos,
    ) {
        self.progress(now);
        let cap = cap.map_or(f64::INFINITY, BytesPerSecond::get);
        let flow = Flow { path, cap, left: bytes.get(), rate: 0.0, starts: now.after(latency) };
        self.flows.insert(id, flow);
        self.share();
    }

    /// Forgets a transfer.
    pub fn cancel(&mut self, id: TransferId, now: Nanos) {
        self.progress(now);
        if self.flows.remove(&id).is_some() {
            self.share();
        }
    }

    /// When the next transfer arrives if nothing changes.
    pub fn next(&self) -> Option<Nanos> {
        self.flows.values().map(|flow| self.arrival(flow)).min()
    }

    /// Whether a transfer does not move at all.
    pub fn stalled(&self) -> bool {
        self.flows.values().any(|flow| flow.rate <= 0.0 && flow.left > 0.0)
    }

    /// Takes out a transfer that has arrived by `now`.
    pub fn arrived(&mut self, now: Nanos) -> Option<TransferId> {
        let (id, _) = self.flows.iter().find(|(_, flow)| self.arrival(flow) <= now)?;
        let id = *id;
        self.progress(now);
        if let Some(flow) = self.flows.remove(&id) {
            // What rounding to nanoseconds left over is moved with the rest.
            for link in flow.path.into_iter().flatten() {
                self.links[link as usize].moved += flow.left;
            }
        }
        self.share();
        Some(id)
    }

    /// Bytes moved over a link so far.
    pub fn moved(&self, link: LinkId) -> Bytes {
        Bytes::new(self.links[link as usize].moved)
    }

    fn arrival(&self, flow: &Flow) -> Nanos {
        let from = self.now.max(flow.starts);
        if flow.left <= 0.0 {
            return from;
        }
        if flow.rate <= 0.0 {
            return Nanos::NEVER;
        }
        let seconds = flow.left / flow.rate;
        Nanos::new(from.get().saturating_add((seconds * 1e9).ceil() as u64))
    }

    fn progress(&mut self, now: Nanos) {
        for flow in self.flows.values_mut() {
            let from = self.now.max(flow.starts);
            let bytes = (flow.rate * now.since(from).get()).min(flow.left);
            flow.left -= bytes;
            for link in flow.path.into_iter().flatten() {
                self.links[link as usize].moved += bytes;
            }
        }
        self.now = self.now.max(now);
    }

    /// Progressive filling: the most contended link fixes the rate of its flows, and so on with what is left.
    fn share(&mut self) {
        let alone = self.flows.len() == 1;
        if let Some(flow) = self.flows.values_mut().next().filter(|_| alone) {
            let links = flow.path.into_iter().flatten().map(|link| self.links[link as usize].capacity);
            flow.rate = links.fold(flow.cap, f64::min);
            return;
        }
        let mut left: BTreeMap<LinkId, f64> = BTreeMap::new();
        for flow in self.flows.values_mut() {
            flow.rate = -1.0;
            for link in flow.path.into_iter().flatten() {
                self.links[link as usize].flows = 0;
                left.insert(link, self.links[link as usize].capacity);
            }
        }
        for flow in self.flows.values() {
            for link in flow.path.into_iter().flatten() {
                self.links[link as usize].flows += 1;
            }
        }
        loop {
            let fair = |link: LinkId, left: f64| left / f64::from(self.links[link as usize].flows);
            let contended = left.iter().filter(|(link, _)| self.links[**link as usize].flows > 0);
            let tightest = contended.map(|(link, left)| fair(*link, *left)).fold(f64::INFINITY, f64::min);
            let open = self.flows.values().filter(|flow| flow.rate < 0.0);
            let capped = open.map(|flow| flow.cap).fold(f64::INFINITY, f64::min);
            let rate = tightest.min(capped);
            if !rate.is_finite() {
                break;
            }
            let bound: Vec<LinkId> = left
                .iter()
                .filter(|(link, left)| self.links[**link as usize].flows > 0 && fair(**link, **left) <= rate)
                .map(|(link, _)| *link)
                .collect();
            for flow in self.flows.values_mut().filter(|flow| flow.rate < 0.0) {
                let on_bound = flow.path.into_iter().flatten().any(|link| bound.contains(&link));
                if !on_bound && flow.cap > rate {
                    continue;
                }
                flow.rate = rate;
                for link in flow.path.into_iter().flatten() {
                    self.links[link as usize].flows -= 1;
                    if let Some(left) = left.get_mut(&link) {
                        *left = (*left - rate).max(0.0);
                    }
                }
            }
        }
        // A flow over no link and without a cap takes no time.
        for flow in self.flows.values_mut().filter(|flow| flow.rate < 0.0) {
            flow.rate = f64::MAX;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn gigabytes(amount: f64) -> Bytes {
        Bytes::new(amount * 1e9)
    }

    #[test]
    fn two_flows_share_a_link_and_the_second_half_goes_twice_as_fast() {
        let mut network = Network::default();
        let link = network.add(BytesPerSecond::new(1e9));
        let path = [Some(link), None, None];
        network.start(TransferId(1), path, None, gigabytes(1.0), Seconds::ZERO, Nanos::ZERO);
        network.start(TransferId(2), path, None, gigabytes(2.0), Seconds::ZERO, Nanos::ZERO);
        assert_eq!(network.next(), Some(Nanos::from_seconds(Seconds::new(2.0))));
        let then = Nanos::from_seconds(Seconds::new(2.0));
        assert_eq!(network.arrived(then), Some(TransferId(1)));
        assert_eq!(network.next(), Some(Nanos::from_seconds(Seconds::new(3.0))));
        let end = Nanos::from_seconds(Seconds::new(3.0));
        assert_eq!(network.arrived(end), Some(TransferId(2)));
        assert!((network.moved(link).get() / 3e9 - 1.0).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn no_link_is_overbooked_and_every_flow_is_held_back_by_something(
            flows in proptest::collection::vec((0u32..4, 4u32..8, 1.0f64..50.0), 1..20),
        ) {
            let mut network = Network::default();
            for capacity in [1.0, 2.0, 3.0, 4.0, 2.0, 2.0, 8.0, 1.0] {
                network.add(BytesPerSecond::new(capacity));
            }
            for (id, (from, to, cap)) in flows.iter().enumerate() {
                let cap = (*cap < 5.0).then(|| BytesPerSecond::new(*cap));
                let id = TransferId(id as u64);
                network.start(id, [Some(*from), Some(*to), None], cap, Bytes::new(10.0), Seconds::ZERO, Nanos::ZERO);
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
                prop_assert!(flow.rate >= flow.cap || flow.path.into_iter().flatten().any(full));
            }
        }
    }
}
