//! How instances and tiers are wired: the links a transfer goes over.

use crate::network::{LinkId, Network};
use serving::{Endpoint, InstanceId, Nanos};
use std::collections::BTreeMap;
use units::{BytesPerSecond, Seconds};

/// The ports of the instances of one pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PortConfig {
    /// Out of, and into, one instance over the fabric.
    pub fabric: BytesPerSecond,
    /// Between one instance and its host's memory.
    pub host: BytesPerSecond,
    /// Time to the first byte of a transfer over the fabric.
    pub latency: Seconds,
    /// Before the cache of a request leaves one instance for another: finding each other, allocating, registering.
    pub handshake: Seconds,
    /// Share of the ports that one sequence gets at most: it is on one data-parallel rank of the instance, 0 to 1.
    pub sequence_share: f64,
}

impl Default for PortConfig {
    /// A node with eight 400 Gbit/s ports, half of them usable at once, and eight PCIe 5 links.
    fn default() -> Self {
        Self {
            fabric: BytesPerSecond::new(200e9),
            host: BytesPerSecond::new(400e9),
            latency: Seconds::from_us(20.0),
            handshake: Seconds::ZERO,
            sequence_share: 1.0,
        }
    }
}

/// A tier as the network sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TierPort {
    /// What one instance gets at most.
    pub reader: BytesPerSecond,
    /// What all readers together get at most.
    pub total: BytesPerSecond,
    /// Time to the first byte.
    pub latency: Seconds,
}

#[derive(Debug, Clone, Copy)]
struct Ports {
    out: LinkId,
    into: LinkId,
    host: LinkId,
    pool: u32,
}

/// The wiring of a cluster, made as its instances appear.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wiring {
    pools: Vec<PortConfig>,
    tiers: Vec<Vec<TierPort>>,
    ports: BTreeMap<InstanceId, Ports>,
    tier_links: BTreeMap<(u32, u32, Option<InstanceId>), LinkId>,
    /// What each instance draws from each shared tier at most.
    readers: BTreeMap<(u32, u32, InstanceId), LinkId>,
    pub network: Network,
}

/// A way from one endpoint to another.
pub(crate) struct Way {
    pub links: [Option<LinkId>; 3],
    pub latency: Seconds,
    /// The most that a transfer of one sequence gets.
    pub most: BytesPerSecond,
}

impl Wiring {
    /// `pools` has an entry per pool, `tiers` one per deployment.
    pub fn new(pools: Vec<PortConfig>, tiers: Vec<Vec<TierPort>>) -> Self {
        Self { pools, tiers, ..Self::default() }
    }

    fn config(&self, pool: u32) -> PortConfig {
        self.pools.get(pool as usize).copied().unwrap_or_default()
    }

    fn ports(&mut self, instance: InstanceId, pool: u32) -> Ports {
        let config = self.config(pool);
        let network = &mut self.network;
        *self.ports.entry(instance).or_insert_with(|| Ports {
            out: network.add(config.fabric),
            into: network.add(config.fabric),
            host: network.add(config.host),
            pool,
        })
    }

    /// The way to an instance of `pool` in `deployment`.
    pub fn way(&mut self, from: Endpoint, to: InstanceId, pool: u32, deployment: u32, from_pool: u32) -> Way {
        let here = self.ports(to, pool);
        let config = self.config(pool);
        let latency = config.latency;
        let most = config.fabric * config.sequence_share;
        match from {
            Endpoint::Instance(instance) => {
                let there = self.ports(instance, from_pool);
                let sender = self.config(from_pool);
                let most = most.min(sender.fabric * sender.sequence_share);
                let latency = sender.handshake + latency.max(sender.latency);
                Way { links: [Some(there.out), Some(here.into), None], latency, most }
            }
            Endpoint::Host(_) => {
                let most = config.host * config.sequence_share;
                Way { links: [Some(here.host), None, None], latency, most }
            }
            Endpoint::Tier(tier, owner) => {
                let known =
                    self.tiers.get(deployment as usize).and_then(|tiers| tiers.get(tier as usize)).copied();
                let Some(port) = known else {
                    return Way { links: [Some(here.into), None, None], latency, most };
                };
                let network = &mut self.network;
                let key = (deployment, tier, owner);
                let link = *self.tier_links.entry(key).or_insert_with(|| network.add(port.total));
                let reader = (deployment, tier, to);
                let reader = *self.readers.entry(reader).or_insert_with(|| network.add(port.reader));
                let (last, most) = if owner.is_some() {
                    (here.host, config.host * config.sequence_share)
                } else {
                    (here.into, most)
                };
                Way { links: [Some(link), Some(reader), Some(last)], latency: port.latency, most }
            }
        }
    }

    /// Scales the fabric ports of an instance, as when links or switches fail or come back.
    pub fn scale(&mut self, instance: InstanceId, pool: u32, share: f64, now: Nanos) {
        let ports = self.ports(instance, pool);
        let config = self.config(ports.pool);
        for link in [ports.out, ports.into] {
            self.network.set_capacity(link, config.fabric * share, now);
        }
    }
}
