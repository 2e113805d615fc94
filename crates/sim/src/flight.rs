//! The driver's own book of requests in flight: what the world knows and the control plane does not.

use crate::record::{Outcome, Record};
use serving::{InstanceId, Nanos, Request, RequestId};
use workload::Arrival;

/// A request in flight.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flight {
    pub arrival: Arrival,
    pub arrived: Nanos,
    pub admitted: Option<Nanos>,
    pub first_token: Option<Nanos>,
    /// Tokens produced before it joined the batch it is in.
    pub emitted: u32,
    /// Token clock when it joined, while it is in a batch.
    pub joined: Option<u64>,
    pub instance: Option<InstanceId>,
    pub cached: u32,
    pub fetched: u32,
    pub restarts: u32,
    /// Rises whenever what was foretold for the request no longer holds.
    pub epoch: u32,
    pub live: bool,
    /// Whether the control plane has been told of it.
    pub told: bool,
    /// Whether its client went away before that.
    pub left: bool,
    /// Rises when the slot is used again.
    pub use_count: u32,
}

impl Flight {
    /// Tells this request from others that had or will have the same id.
    pub fn arrival_epoch(&self) -> u32 {
        self.use_count
    }
}

/// Requests in flight by id; ids are used again.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    slots: Vec<Flight>,
    vacant: Vec<u32>,
    pub live: usize,
}

impl Flights {
    /// Takes a request in and gives it an id.
    pub fn add(&mut self, arrival: Arrival, arrived: Nanos) -> RequestId {
        self.live += 1;
        let slot = self.vacant.pop().unwrap_or_else(|| {
            self.slots.push(Flight::default());
            (self.slots.len() - 1) as u32
        });
        let flight = &mut self.slots[slot as usize];
        let (epoch, use_count) = (flight.epoch + 1, flight.use_count + 1);
        *flight = Flight { arrival, arrived, epoch, use_count, live: true, told: true, ..Flight::default() };
        RequestId(slot)
    }

    /// The flight in a slot, if there was ever one.
    pub fn get(&self, id: RequestId) -> Option<&Flight> {
        self.slots.get(id.0 as usize)
    }

    pub fn at(&self, id: RequestId) -> &Flight {
        &self.slots[id.0 as usize]
    }

    pub fn at_mut(&mut self, id: RequestId) -> &mut Flight {
        &mut self.slots[id.0 as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (RequestId, &Flight)> {
        let slots = self.slots.iter().enumerate();
        slots.filter(|(_, flight)| flight.live).map(|(slot, flight)| (RequestId(slot as u32), flight))
    }

    /// Closes the book on a request.
    pub fn end(&mut self, id: RequestId, now: Nanos, outcome: Outcome) -> Record {
        let flight = &mut self.slots[id.0 as usize];
        flight.live = false;
        flight.epoch += 1;
        self.live -= 1;
        self.vacant.push(id.0);
        let arrival = std::mem::take(&mut flight.arrival);
        Record {
            ticket: arrival.ticket,
            arrival: flight.arrived.seconds(),
            admitted: flight.admitted.map(Nanos::seconds),
            first_token: flight.first_token.map(Nanos::seconds),
            end: now.seconds(),
            input: arrival.input,
            output: flight.emitted,
            cached: flight.cached,
            fetched: flight.fetched,
            tenant: arrival.tenant,
            deployment: arrival.deployment,
            session: arrival.session,
            instance: flight.instance,
            restarts: flight.restarts,
            outcome,
            measured: arrival.measured,
        }
    }
}

/// What a front end gets to see of an arrival.
pub(crate) fn visible(arrival: &Arrival, arrived: Nanos) -> Request {
    Request {
        prompt: arrival.input,
        max_tokens: arrival.max_tokens,
        deployment: arrival.deployment,
        tenant: arrival.tenant,
        session: arrival.session,
        priority: arrival.priority,
        instance: arrival.instance.map(InstanceId),
        prefix: arrival.prefix.clone(),
        deadline: arrival.deadline.map(|deadline| arrived.after(deadline)),
    }
}
