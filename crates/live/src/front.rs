//! What connections are told: tokens as they come, and ends. Everything is gathered first and delivered once the log is
//! safe.

use crate::cell::{Cell, End};
use crate::core::Watcher;
use crate::ledger::{Ledger, Row};
use rustc_hash::FxHashMap;
use serving::{Action, InstanceId, InstanceState, KvChange, Nanos};
use sim::{Observer, Outcome, Record};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use units::Seconds;

/// What is kept of a request while it is in flight.
struct Entry {
    cell: Arc<Cell>,
    /// Tokens that are gathered before any is sent.
    gate: u32,
    /// Where it decodes: instance and position in its members.
    place: Option<(u32, u32)>,
    /// The virtual instant it arrived at, for its ledger row.
    key: Option<Arc<str>>,
}

/// A request that decodes on an instance: it has `clock + base` tokens.
struct Member {
    ticket: u64,
    base: i64,
}

/// Something to deliver.
enum Out {
    Count(Arc<Cell>, u32),
    End(Arc<Cell>, End, Row),
}

/// A change of a prefix cache, to be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvEvent {
    /// The instance.
    pub instance: u32,
    /// The attention rank.
    pub rank: u32,
    /// How it changed.
    pub change: KvChange,
}

/// The connections' side of a world.
#[derive(Default)]
pub struct Front {
    entries: FxHashMap<u64, Entry>,
    members: Vec<Vec<Member>>,
    out: Vec<Out>,
    /// Instances that began a run since they were last asked for.
    pub started: Vec<InstanceId>,
    /// Where changes of prefix caches go.
    pub kv: Option<Sender<(Nanos, Vec<KvEvent>)>>,
    /// Where rows go before their clients are told.
    pub ledger: Option<Ledger>,
}

impl Watcher for Front {}

impl Front {
    /// A request is about to be taken in.
    pub fn add(&mut self, id: u64, cell: Arc<Cell>, gate: u32, key: Option<Arc<str>>) {
        self.entries.insert(id, Entry { cell, gate, place: None, key });
    }

    /// Instances that have had members.
    pub fn instances(&self) -> usize {
        self.members.len()
    }

    /// The members of an instance have got the tokens up to `clock`.
    pub fn tick(&mut self, instance: InstanceId, clock: u64) {
        let Some(members) = self.members.get(instance.0 as usize) else { return };
        for member in members {
            if let Some(entry) = self.entries.get(&member.ticket) {
                let count = (clock as i64 + member.base).max(0) as u32;
                if count >= entry.gate {
                    self.out.push(Out::Count(Arc::clone(&entry.cell), count));
                }
            }
        }
    }

    fn take_out(&mut self, ticket: u64) {
        let Some((instance, at)) = self.entries.get_mut(&ticket).and_then(|entry| entry.place.take()) else {
            return;
        };
        let members = &mut self.members[instance as usize];
        members.swap_remove(at as usize);
        let moved = members.get(at as usize).map(|moved| moved.ticket);
        if let Some(entry) = moved.and_then(|moved| self.entries.get_mut(&moved)) {
            entry.place = Some((instance, at));
        }
    }

    /// Tells the connections what has been gathered.
    pub fn deliver(&mut self) {
        for out in self.out.drain(..) {
            match (out, &self.ledger) {
                (Out::Count(cell, count), _) => cell.set(count),
                (Out::End(cell, end, row), Some(ledger)) => ledger.book(row, cell, end),
                (Out::End(cell, end, _), None) => cell.end(end),
            }
        }
    }

    /// Ends everything that is in flight, as when the world has broken.
    pub fn abandon(&mut self) {
        self.deliver();
        for (_, entry) in self.entries.drain() {
            let refused = Some(serving::Reason::NoInstance);
            entry.cell.end(End { refused, output: 0, cached: 0, instance: None, ttft: 0, e2e: 0 });
        }
    }
}

impl Observer for Front {
    fn request_ended(&mut self, record: &Record) {
        self.take_out(record.ticket);
        let Some(entry) = self.entries.remove(&record.ticket) else { return };
        let nanos = |time: Seconds| Nanos::from_seconds(time).get();
        let refused = if let Outcome::Rejected(reason) = record.outcome { Some(reason) } else { None };
        let end = End {
            refused,
            output: record.output,
            cached: record.cached + record.fetched,
            instance: record.instance.map(|instance| instance.0),
            ttft: record.ttft().map_or(0, nanos),
            e2e: nanos(record.e2e()),
        };
        let row = Row::new(record, entry.key);
        self.out.push(Out::End(entry.cell, end, row));
    }

    fn run_started(&mut self, instance: InstanceId, _: Nanos) {
        self.started.push(instance);
    }

    fn instance_changed(&mut self, instance: InstanceId, _: u32, _: InstanceState, _: Seconds) {
        while self.members.len() <= instance.0 as usize {
            self.members.push(Vec::new());
        }
    }

    fn decided(&mut self, at: Nanos, actions: &[Action]) {
        let Some(sender) = &self.kv else { return };
        let event = |action: &Action| match action {
            Action::Kv { instance, rank, change } => {
                Some(KvEvent { instance: instance.0, rank: *rank, change: *change })
            }
            _ => None,
        };
        let events: Vec<KvEvent> = actions.iter().filter_map(event).collect();
        if !events.is_empty() {
            // Nobody publishes any more: the server is on its way down.
            let _ = sender.send((at, events));
        }
    }

    fn tokens(&mut self, ticket: u64, count: u32) {
        if let Some(entry) = self.entries.get(&ticket).filter(|entry| count >= entry.gate) {
            self.out.push(Out::Count(Arc::clone(&entry.cell), count));
        }
    }

    fn joined(&mut self, ticket: u64, instance: InstanceId, clock: u64, count: u32) {
        self.tokens(ticket, count);
        let Some(entry) = self.entries.get_mut(&ticket) else { return };
        let members = &mut self.members[instance.0 as usize];
        entry.place = Some((instance.0, members.len() as u32));
        members.push(Member { ticket, base: i64::from(count) - clock as i64 });
    }

    fn left(&mut self, ticket: u64, count: u32) {
        self.take_out(ticket);
        self.tokens(ticket, count);
    }
}
