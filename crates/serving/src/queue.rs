//! The order in which waiting requests are served.

use crate::engine::Order;
use crate::request::RequestId;
use std::collections::{BTreeMap, VecDeque};

/// What a token of output counts against one of prompt in the virtual token counter.
const OUTPUT_WEIGHT: f64 = 2.0;

/// Waiting requests of one lane. Those taken out of the middle leave holes, so that the positions of the others hold.
#[derive(Debug, Clone, Default)]
struct Lane {
    waiting: VecDeque<Option<RequestId>>,
    /// Position of the front of `waiting`.
    first: i64,
    /// Service received so far, weighted tokens.
    served: f64,
    /// Sequences of this tenant that decode.
    running: u32,
}

impl Lane {
    /// The ends are never holes: a lane without requests is empty.
    fn trim(&mut self) {
        while self.waiting.front().is_some_and(Option::is_none) {
            self.waiting.pop_front();
            self.first += 1;
        }
        while self.waiting.back().is_some_and(Option::is_none) {
            self.waiting.pop_back();
        }
    }

    fn pop(&mut self) {
        self.waiting.pop_front();
        self.first += 1;
        self.trim();
    }
}

/// Waiting requests in lanes: one lane for first come first served, one per class for priorities, one per tenant for
/// fair shares.
#[derive(Debug, Clone)]
pub(crate) struct WaitQueue {
    order: Order,
    lanes: BTreeMap<u32, Lane>,
    len: usize,
}

impl WaitQueue {
    pub fn new(order: Order) -> Self {
        Self { order, lanes: BTreeMap::new(), len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts a request last; returns its position, by which it can be removed.
    pub fn push_back(&mut self, id: RequestId, tenant: u32, class: u32) -> i64 {
        let lane = self.lane(tenant, class);
        lane.waiting.push_back(Some(id));
        let at = lane.first + lane.waiting.len() as i64 - 1;
        self.len += 1;
        at
    }

    /// Puts a preempted request before the others of its lane; returns its position.
    pub fn push_front(&mut self, id: RequestId, tenant: u32, class: u32) -> i64 {
        let lane = self.lane(tenant, class);
        lane.waiting.push_front(Some(id));
        lane.first -= 1;
        let at = lane.first;
        self.len += 1;
        at
    }

    /// The request to serve next.
    pub fn peek(&self) -> Option<RequestId> {
        self.next_lane().and_then(|lane| lane.waiting.front().copied().flatten())
    }

    /// Takes the request that [`WaitQueue::peek`] named.
    pub fn pop(&mut self) -> Option<RequestId> {
        let id = self.peek()?;
        let key = self.key_of_next()?;
        self.lanes.get_mut(&key)?.pop();
        self.len -= 1;
        Some(id)
    }

    /// Takes the request out that was given this position, wherever it waits.
    pub fn remove(&mut self, at: i64, tenant: u32, class: u32) -> bool {
        let key = self.key(tenant, class);
        let Some(lane) = self.lanes.get_mut(&key) else { return false };
        let index = usize::try_from(at - lane.first).ok();
        let Some(slot) = index.and_then(|index| lane.waiting.get_mut(index)) else { return false };
        if slot.take().is_none() {
            return false;
        }
        self.len -= 1;
        lane.trim();
        true
    }

    pub fn iter(&self) -> impl Iterator<Item = RequestId> {
        self.lanes.values().flat_map(|lane| lane.waiting.iter().copied().flatten())
    }

    /// A prompt of `tokens` tokens of `tenant` was admitted.
    pub fn charge_prompt(&mut self, tenant: u32, tokens: u32, weight: f64) {
        if self.order == Order::FairShare {
            self.lane(tenant, 0).served += f64::from(tokens) / weight;
        }
    }

    /// A sequence of `tenant` joined (+1) or left (-1) the batch.
    pub fn running(&mut self, tenant: u32, joined: bool) {
        if self.order == Order::FairShare {
            let lane = self.lane(tenant, 0);
            lane.running = if joined { lane.running + 1 } else { lane.running.saturating_sub(1) };
        }
    }

    /// Every running sequence gained `tokens` tokens.
    pub fn charge_output(&mut self, tokens: u64, weight_of: impl Fn(u32) -> f64) {
        if self.order == Order::FairShare {
            for (tenant, lane) in &mut self.lanes {
                lane.served += OUTPUT_WEIGHT * tokens as f64 * f64::from(lane.running) / weight_of(*tenant);
            }
        }
    }

    fn key(&self, tenant: u32, class: u32) -> u32 {
        match self.order {
            Order::Fcfs => 0,
            Order::Priority => class,
            Order::FairShare => tenant,
        }
    }

    fn lane(&mut self, tenant: u32, class: u32) -> &mut Lane {
        let key = self.key(tenant, class);
        // A tenant that comes back after a pause starts level with the least served of those who are here: it cannot
        // save up service.
        let idle = self.lanes.get(&key).is_none_or(|lane| lane.waiting.is_empty() && lane.running == 0);
        if idle && self.order == Order::FairShare {
            let active = self.lanes.values().filter(|lane| !lane.waiting.is_empty() || lane.running > 0);
            let least = active.map(|lane| lane.served).min_by(f64::total_cmp).unwrap_or(0.0);
            let lane = self.lanes.entry(key).or_default();
            lane.served = lane.served.max(least);
        }
        self.lanes.entry(key).or_default()
    }

    fn key_of_next(&self) -> Option<u32> {
        let waiting = self.lanes.iter().filter(|(_, lane)| !lane.waiting.is_empty());
        match self.order {
            Order::Fcfs | Order::Priority => waiting.map(|(key, _)| *key).next(),
            Order::FairShare => waiting.min_by(|a, b| a.1.served.total_cmp(&b.1.served)).map(|(key, _)| *key),
        }
    }

    fn next_lane(&self) -> Option<&Lane> {
        self.lanes.get(&self.key_of_next()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(queue: &mut WaitQueue) -> Vec<u32> {
        std::iter::from_fn(|| queue.pop()).map(|id| id.0).collect()
    }

    #[test]
    fn priorities_come_before_arrival_and_preempted_requests_before_their_class() {
        let mut queue = WaitQueue::new(Order::Priority);
        queue.push_back(RequestId(1), 0, 1);
        queue.push_back(RequestId(2), 0, 0);
        queue.push_back(RequestId(3), 0, 0);
        queue.push_front(RequestId(4), 0, 1);
        assert_eq!(drain(&mut queue), [2, 3, 4, 1]);
    }

    #[test]
    fn requests_that_leave_the_middle_of_the_queue_leave_the_others_in_order() {
        let mut queue = WaitQueue::new(Order::Fcfs);
        let mut at: Vec<i64> = (0..6).map(|id| queue.push_back(RequestId(id), 0, 0)).collect();
        at.push(queue.push_front(RequestId(6), 0, 0));
        assert!(queue.remove(at[2], 0, 0) && queue.remove(at[5], 0, 0) && queue.remove(at[6], 0, 0));
        assert!(!queue.remove(at[2], 0, 0), "it is gone");
        assert_eq!((queue.len(), queue.peek()), (4, Some(RequestId(0))));
        queue.pop();
        assert!(!queue.remove(at[0], 0, 0) && queue.remove(at[1], 0, 0));
        assert_eq!(drain(&mut queue), [3, 4]);
    }

    #[test]
    fn a_tenant_that_floods_the_queue_alternates_with_one_that_does_not() {
        let mut queue = WaitQueue::new(Order::FairShare);
        for id in 0..4 {
            queue.push_back(RequestId(id), 7, 0);
        }
        queue.push_back(RequestId(10), 8, 0);
        queue.push_back(RequestId(11), 8, 0);
        let mut served = Vec::new();
        while let Some(id) = queue.pop() {
            queue.charge_prompt(if id.0 < 10 { 7 } else { 8 }, 100, 1.0);
            served.push(id.0);
        }
        assert_eq!(served, [0, 10, 1, 11, 2, 3]);
    }
}
