//! KV on its way over the network.

use super::{SimError, What, World};
use crate::record::{Observer, TransferRecord};
use serving::{Endpoint, Event, InstanceId, Nanos, RequestId, TransferId};
use steps::StepPricer;
use units::Bytes;

#[derive(Debug, Clone, Copy)]
pub(super) struct Transfer {
    request: RequestId,
    from: Endpoint,
    to: InstanceId,
    start: Nanos,
    bytes: Bytes,
}

impl<P: StepPricer> World<P> {
    pub(super) fn transfer(
        &mut self,
        id: TransferId,
        request: RequestId,
        from: Endpoint,
        to: Endpoint,
        bytes: Bytes,
    ) {
        let Endpoint::Instance(to) = to else { return };
        let pool = self.cluster.pool_of(to);
        let from_pool =
            if let Endpoint::Instance(instance) = from { self.cluster.pool_of(instance) } else { pool };
        let deployment = self.flights.at(request).arrival.deployment;
        let way = self.wiring.way(from, to, pool, deployment, from_pool);
        self.wiring.network.start(id, (way.links, way.most), bytes, way.latency, self.now);
        self.transfers.insert(id, Transfer { request, from, to, start: self.now, bytes });
        self.watch_network();
    }

    /// Schedules a look at the network for when its next transfer arrives.
    pub(super) fn watch_network(&mut self) {
        self.network_epoch += 1;
        if let Some(at) = self.wiring.network.next().filter(|at| *at < Nanos::NEVER) {
            let what = What::Arrivals(self.network_epoch);
            self.schedule(at.max(self.now), what);
        }
    }

    pub(super) fn transfers_over(&mut self, out: &mut impl Observer) -> Result<(), SimError> {
        let mut arrived = Vec::new();
        while let Some(id) = self.wiring.network.arrived(self.now) {
            if let Some(transfer) = self.transfers.remove(&id) {
                let tier = if let Endpoint::Tier(tier, _) = transfer.from { Some(tier) } else { None };
                out.transfer_ended(&TransferRecord {
                    to: transfer.to,
                    start: transfer.start.seconds(),
                    end: self.now.seconds(),
                    bytes: transfer.bytes,
                    tier,
                });
                debug_assert!(
                    self.flights.at(transfer.request).live,
                    "a transfer belongs to a request in flight"
                );
            }
            arrived.push(id);
        }
        if !arrived.is_empty() {
            self.tell(Event::TransfersFinished(arrived), out)?;
        }
        self.watch_network();
        Ok(())
    }
}
