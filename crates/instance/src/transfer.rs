//! How a cache gets from one instance to another.

use crate::limits::{cache_bytes, shards};
use cost::step::StepModel;
use hardware::{Domain, System};
use sim::PortConfig;
use std::sync::Arc;
use units::{Bytes, BytesPerSecond, Seconds};

/// The domain over which pools reach each other: the innermost one of their system that holds all their instances; between
/// systems, the outermost one of each.
pub fn network_domain(system: &System, ranks: u32, several: bool) -> &Domain {
    if several { system.domain_for(u32::MAX) } else { system.domain_for(ranks) }
}

/// The ports of the instances of one pool that `domain` connects with their peers.
pub fn port(model: &StepModel, domain: &Domain) -> PortConfig {
    let deployment = model.deployment();
    let ranks = f64::from(deployment.layout.ranks());
    let usual = PortConfig::default();
    PortConfig {
        fabric: domain.bandwidth.value * ranks,
        host: deployment.system.host.link.as_ref().map_or(usual.host, |link| link.value * ranks),
        latency: domain.latency.value,
        handshake: deployment.engine.host.kv_transfer_time.value,
        sequence_share: f64::from(shards(model)) / ranks,
    }
}

/// The way of a cache from a prefill to a decode instance, with nothing else under way.
///
/// The decode instance fetches what its ranks will hold. The cache leaves one data-parallel rank of the prefill instance
/// and enters one of the decode instance, so that the slower of the two groups of ports sets the pace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KvTransfer {
    /// Before the first byte: what engines take to find each other, and the network's latency.
    pub latency: Seconds,
    /// Of one request.
    pub bandwidth: BytesPerSecond,
}

impl KvTransfer {
    /// Between instances of two pools whose instances have so many ranks together.
    pub fn new(prefill: &StepModel, decode: &StepModel, ranks: u32) -> Self {
        let (from, to) = (&prefill.deployment().system, &decode.deployment().system);
        let several = !Arc::ptr_eq(from, to) && from.id != to.id;
        let sender = port(prefill, network_domain(from, ranks, several));
        let receiver = port(decode, network_domain(to, ranks, several));
        Self::between(&sender, &receiver)
    }

    /// Between two ports.
    pub fn between(sender: &PortConfig, receiver: &PortConfig) -> Self {
        let own = |port: &PortConfig| port.fabric * port.sequence_share;
        Self {
            latency: sender.handshake + sender.latency.max(receiver.latency),
            bandwidth: own(sender).min(own(receiver)),
        }
    }

    /// Seconds until the decode instance has the cache of a prompt of `tokens` tokens.
    pub fn time(&self, decode: &StepModel, tokens: f64) -> Seconds {
        let bytes: Bytes = cache_bytes(decode, tokens);
        self.latency + bytes / self.bandwidth
    }
}
