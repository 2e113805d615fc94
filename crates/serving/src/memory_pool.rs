//! Slower memories that keep KV blocks after the device has dropped them: host DRAM, pooled DRAM over the scale-up
//! fabric (CloudMatrix's context cache), SSD.

use crate::prefix::MixHasher;
use crate::request::InstanceId;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use units::{Bytes, BytesPerSecond, Seconds};

/// One tier.
#[derive(Debug, Clone, PartialEq)]
pub struct TierSpec {
    /// Its name in results: `host`, `pool`, `ssd` ...
    pub name: String,
    /// How much it keeps (each instance's own share if it is not shared).
    pub capacity: Bytes,
    /// Reading bandwidth of one instance that reads alone.
    pub bandwidth: BytesPerSecond,
    /// Time to the first byte.
    pub latency: Seconds,
    /// Whether every instance reads what any wrote.
    pub shared: bool,
}

/// Where the longest cached prefix is and how long it takes to get.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Found {
    pub tier: u32,
    pub hashes: u32,
    pub shared: bool,
}

#[derive(Debug, Clone, Default)]
struct Store {
    stamps: HashMap<u64, u64, BuildHasherDefault<MixHasher>>,
    oldest: BTreeMap<u64, u64>,
    tick: u64,
}

impl Store {
    fn matched(&self, hashes: &[u64]) -> u32 {
        hashes.iter().take_while(|hash| self.stamps.contains_key(hash)).count() as u32
    }

    /// Touches from the deepest block up, so that a prefix outlives what hangs on it.
    fn put(&mut self, hashes: &[u64], capacity: usize) {
        for hash in hashes.iter().rev() {
            self.tick += 1;
            if let Some(before) = self.stamps.insert(*hash, self.tick) {
                self.oldest.remove(&before);
            }
            self.oldest.insert(self.tick, *hash);
        }
        while self.stamps.len() > capacity {
            let Some((_, hash)) = self.oldest.pop_first() else { break };
            self.stamps.remove(&hash);
        }
    }
}

/// The tiers of one deployment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tiers {
    specs: Vec<TierSpec>,
    /// By tier, then by instance; a shared tier has one.
    stores: Vec<BTreeMap<u32, Store>>,
    bytes_per_hash: Bytes,
}

impl Tiers {
    pub fn new(specs: Vec<TierSpec>, bytes_per_hash: Bytes) -> Self {
        let stores = specs.iter().map(|_| BTreeMap::new()).collect();
        Self { specs, stores, bytes_per_hash }
    }

    pub fn spec(&self, tier: u32) -> &TierSpec {
        &self.specs[tier as usize]
    }

    /// The tier with the longest prefix of `hashes` beyond `known` of them; the fastest of equals.
    pub fn find(&self, instance: InstanceId, hashes: &[u64], known: u32) -> Option<Found> {
        let mut best: Option<Found> = None;
        for (tier, spec) in self.specs.iter().enumerate() {
            let key = if spec.shared { 0 } else { instance.0 };
            let matched = self.stores[tier].get(&key).map_or(0, |store| store.matched(hashes));
            if matched > best.map_or(known, |found| found.hashes) {
                best = Some(Found { tier: tier as u32, hashes: matched, shared: spec.shared });
            }
        }
        best
    }

    /// Hashes of the longest prefix that an instance could fetch.
    pub fn longest(&self, instance: InstanceId, hashes: &[u64]) -> u32 {
        if self.specs.is_empty() { 0 } else { self.find(instance, hashes, 0).map_or(0, |found| found.hashes) }
    }

    /// How long it takes to fetch `hashes` blocks from a tier that nobody else reads, and their size.
    pub fn fetch(&self, tier: u32, hashes: u32) -> (Seconds, Bytes) {
        let spec = self.spec(tier);
        let bytes = self.bytes_per_hash * f64::from(hashes);
        (spec.latency + bytes / spec.bandwidth, bytes)
    }

    /// Keeps a prefix in every tier.
    pub fn store(&mut self, instance: InstanceId, hashes: &[u64]) {
        for (tier, spec) in self.specs.iter().enumerate() {
            let key = if spec.shared { 0 } else { instance.0 };
            let capacity = (spec.capacity / self.bytes_per_hash) as usize;
            self.stores[tier].entry(key).or_default().put(hashes, capacity);
        }
    }

    /// What an instance's own tiers kept is gone with it.
    pub fn forget(&mut self, instance: InstanceId) {
        for (tier, spec) in self.specs.iter().enumerate() {
            if !spec.shared {
                self.stores[tier].remove(&instance.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_the_oldest_block_is_dropped_first() {
        let tier = |name: &str, capacity: f64, shared| TierSpec {
            name: name.to_owned(),
            capacity: Bytes::new(capacity),
            bandwidth: BytesPerSecond::new(1e9),
            latency: Seconds::ZERO,
            shared,
        };
        let mut tiers = Tiers::new(vec![tier("host", 2e6, false), tier("pool", 8e6, true)], Bytes::new(1e6));
        tiers.store(InstanceId(0), &[1, 2, 3]);
        let found = tiers.find(InstanceId(0), &[1, 2, 3, 4], 0);
        assert_eq!(found, Some(Found { tier: 1, hashes: 3, shared: true }));
        assert_eq!(tiers.find(InstanceId(0), &[1, 2], 0).map(|found| found.tier), Some(0));
        assert_eq!(tiers.find(InstanceId(1), &[1, 2], 0).map(|found| found.tier), Some(1));
        assert_eq!(tiers.find(InstanceId(1), &[1, 2], 2), None);
    }
}
