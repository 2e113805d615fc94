//! The deterministic part: a world, its log and its hash. Whoever drives it in wall time and whoever replays its log call
//! the same function with the same instants.

use crate::log::{Entry, LogError, Reader, Writer};
use crate::meters::Meters;
use cost::step::StepPricer;
use rustc_hash::FxHashMap;
use serving::{Action, Event, InstanceId, InstanceState, Nanos};
use sim::digest::Digest;
use sim::{Observer, Record, RunRecord, SimError, Ticket, TransferRecord, World};
use units::Seconds;

/// What watches decisions beside the hash and the meters: connections, or nobody.
pub trait Watcher: Observer + Default {}

impl Watcher for () {}

/// The hash, the meters and what else watches.
#[derive(Default)]
pub struct Watch<W> {
    /// The hash of all decisions.
    pub digest: Digest,
    /// What is measured.
    pub meters: Meters,
    /// What else watches.
    pub watcher: W,
    tickets: FxHashMap<u64, (Ticket, Option<u32>)>,
}

/// The world between log and meters.
pub struct Core<P, W> {
    /// The world.
    pub world: World<P>,
    /// What watches it.
    pub watch: Watch<W>,
    now: Nanos,
}

impl<P: StepPricer, W: Watcher> Core<P, W> {
    /// Brings a world up.
    ///
    /// # Errors
    /// A broken law.
    pub fn start(mut world: World<P>, meters: Meters, watcher: W, kv_events: bool) -> Result<Self, SimError> {
        let digest = Digest::default();
        let mut watch = Watch { digest, meters, watcher, tickets: FxHashMap::default() };
        if kv_events {
            world.watch_kv();
        }
        world.start(&mut watch)?;
        Ok(Self { world, watch, now: Nanos::ZERO })
    }

    /// The latest instant it has been told of.
    pub fn now(&self) -> Nanos {
        self.now
    }

    /// Lets everything happen that is due by `to`.
    ///
    /// # Errors
    /// A broken law.
    pub fn advance(&mut self, to: Nanos) -> Result<(), SimError> {
        self.now = self.now.max(to);
        self.world.advance(self.now, &mut self.watch)
    }

    /// Takes an entry of the log in: at its instant, after all that is due by then.
    ///
    /// # Errors
    /// A refused input, which changes nothing, or a broken law.
    pub fn take(&mut self, at: Nanos, entry: &Entry) -> Result<(), SimError> {
        self.advance(at)?;
        let tickets = &self.watch.tickets;
        let Some(input) = entry.input(self.now, |id| tickets.get(&id).map(|known| known.0)) else {
            return Ok(());
        };
        // The request may end at once: its ticket is forgotten with its end only if it is known before.
        let ended = self.watch.meters.ended;
        let ticket = self.world.inject(self.now, input, &mut self.watch)?;
        if let (Entry::Arrive(request), Some(ticket), true) =
            (entry, ticket, self.watch.meters.ended == ended)
        {
            self.watch.tickets.insert(request.id, (ticket, request.max_tokens));
        }
        Ok(())
    }

    /// Whether a request is in flight.
    pub fn knows(&self, id: u64) -> bool {
        self.watch.tickets.contains_key(&id)
    }

    /// The check that goes into the log here.
    pub fn check(&self) -> Entry {
        Entry::Check { hash: self.watch.digest.hex(), events: self.watch.digest.events }
    }
}

/// Takes an entry in and appends it to a log, unless it is refused.
///
/// # Errors
/// A refused input, a broken law, or a log that cannot be written.
pub fn take_and_log<P: StepPricer, W: Watcher>(
    core: &mut Core<P, W>,
    log: Option<&mut Writer>,
    at: Nanos,
    entry: Entry,
) -> Result<u64, CoreError> {
    core.advance(at)?;
    let tickets = &core.watch.tickets;
    if let Some(input) = entry.input(core.now, |id| tickets.get(&id).map(|known| known.0)) {
        core.world.allows(&input).map_err(SimError::from)?;
    }
    // Before it takes effect, so that nothing that a client has seen is missing after a crash.
    let (now, mut seq) = (core.now, 0);
    if let Some(log) = log {
        seq = log.append(now, entry.clone()).map_err(CoreError::Log)?;
    }
    core.take(now, &entry)?;
    Ok(seq)
}

/// Why the core stops.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The world says so.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The log cannot be written.
    #[error("the input log cannot be written ({0})")]
    Log(std::io::Error),
}

/// What a replay found.
#[derive(Debug)]
pub struct Replayed {
    /// Inputs taken in.
    pub inputs: u64,
    /// Checks of the log that hold.
    pub checks: u64,
    /// The first that does not: its line's number, the hash it has, and the hash found.
    pub differs: Option<(u64, String, String)>,
    /// Whether the log ends in the middle of a line.
    pub torn: bool,
    /// The hash when everything has ended.
    pub hash: String,
    /// Events told to the control plane.
    pub events: u64,
    /// When the last request ended.
    pub end: Seconds,
    /// What was measured.
    pub meters: Meters,
}

/// Why a replay stops.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry cannot be taken in.
    #[error(transparent)]
    Sim(#[from] SimError),
}

/// Makes the decisions of a log again, and goes on until every request in it has ended.
///
/// # Errors
/// A log that is not one, or that is of another cluster.
pub fn replay<P: StepPricer>(
    mut reader: Reader,
    world: World<P>,
    meters: Meters,
) -> Result<Replayed, ReplayError> {
    let mut core = Core::start(world, meters, (), reader.header.kv_events)?;
    let (mut inputs, mut checks, mut differs, mut last) = (0, 0, None, 0);
    while let Some(line) = reader.next_line()? {
        if line.at < last {
            return Err(reader.wrong(format!("goes back in time, from {last} to {}", line.at)).into());
        }
        last = line.at;
        let at = Nanos::new(line.at);
        let Entry::Check { hash, .. } = &line.entry else {
            core.take(at, &line.entry).map_err(|error| match error {
                SimError::Refused(refusal) => ReplayError::Log(reader.wrong(refusal.to_string())),
                other => other.into(),
            })?;
            inputs += 1;
            continue;
        };
        core.advance(at)?;
        let found = core.watch.digest.hex();
        if found == *hash {
            checks += 1;
        } else if differs.is_none() {
            differs = Some((line.seq, hash.clone(), found));
        }
    }
    while core.world.in_flight() > 0 {
        match core.world.next_due() {
            Some(at) if core.world.looks() < 10_000 => core.advance(at)?,
            // What is left waits for hardware that nobody mends.
            _ => core.world.cancel_all(core.now, &mut core.watch)?,
        }
    }
    let Core { world, watch, .. } = core;
    Ok(Replayed {
        inputs,
        checks,
        differs,
        torn: reader.torn,
        hash: watch.digest.hex(),
        events: watch.digest.events,
        end: world.totals().end,
        meters: watch.meters,
    })
}

impl<W: Observer> Observer for Watch<W> {
    fn request_ended(&mut self, record: &Record) {
        let known = self.tickets.remove(&record.ticket);
        let at_length = known.and_then(|(_, limit)| limit) == Some(record.output);
        self.meters.ended(record, at_length);
        self.watcher.request_ended(record);
    }

    fn run_started(&mut self, instance: InstanceId, at: Nanos) {
        self.watcher.run_started(instance, at);
    }

    fn run_ended(&mut self, record: &RunRecord) {
        self.meters.run_ended(record);
        self.watcher.run_ended(record);
    }

    fn transfer_ended(&mut self, record: &TransferRecord) {
        self.meters.transfer_ended(record);
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState, at: Seconds) {
        self.meters.instance_changed(instance, pool, state, at);
        self.watcher.instance_changed(instance, pool, state, at);
    }

    fn tokens_lost(&mut self, tokens: u64) {
        self.meters.tokens_lost(tokens);
    }

    fn told(&mut self, at: Nanos, event: &Event) {
        self.digest.told(at, event);
    }

    fn decided(&mut self, at: Nanos, actions: &[Action]) {
        self.digest.decided(at, actions);
        self.meters.decided(at, actions);
        self.watcher.decided(at, actions);
    }

    fn tokens(&mut self, ticket: u64, count: u32) {
        self.watcher.tokens(ticket, count);
    }

    fn joined(&mut self, ticket: u64, instance: InstanceId, clock: u64, count: u32) {
        self.watcher.joined(ticket, instance, clock, count);
    }

    fn left(&mut self, ticket: u64, count: u32) {
        self.watcher.left(ticket, count);
    }
}
