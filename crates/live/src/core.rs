//! The deterministic part: a world, its log and its hash. Whoever drives it in wall time and whoever replays its log call
//! the same function with the same instants.

use crate::jobs::{Jobs, JobsLook};
use crate::log::{Entry, JobOrder, LogError, Reader, Writer};
use crate::meters::Meters;
use ::jobs::Submission;
use cost::step::StepPricer;
use rustc_hash::FxHashMap;
use serving::{Action, Event, InstanceId, InstanceState, Nanos};
use sim::digest::Digest;
use sim::{Observer, Record, Refusal, RunRecord, SimError, Ticket, TransferRecord, World};
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
    /// Whether an instance has come up or gone since jobs were last told.
    moved: bool,
    /// Broken chips and links that they were last told of.
    broken: usize,
}

/// The world between log and meters.
pub struct Core<P, W> {
    /// The world.
    pub world: World<P>,
    /// What watches it.
    pub watch: Watch<W>,
    /// Jobs beside the deployments.
    pub jobs: Option<Jobs>,
    now: Nanos,
}

impl<P: StepPricer, W: Watcher> Core<P, W> {
    /// Brings a world up.
    ///
    /// # Errors
    /// A broken law.
    pub fn start(
        mut world: World<P>,
        jobs: Option<Jobs>,
        meters: Meters,
        watcher: W,
        kv_events: bool,
    ) -> Result<Self, SimError> {
        let digest = Digest::default();
        let mut watch =
            Watch { digest, meters, watcher, tickets: FxHashMap::default(), moved: false, broken: 0 };
        if kv_events {
            world.watch_kv();
        }
        world.start(&mut watch)?;
        let mut core = Self { world, watch, jobs, now: Nanos::ZERO };
        core.follow(Nanos::ZERO);
        Ok(core)
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
        if self.jobs.is_some() {
            // Jobs learn of instances at the very instant at which these come and go, however late anybody looks.
            while let Some(due) = self.world.next_due().filter(|due| *due <= self.now) {
                self.world.advance(due, &mut self.watch)?;
                if self.watch.moved || self.broken() != self.watch.broken {
                    self.follow(due);
                }
            }
        }
        self.world.advance(self.now, &mut self.watch)?;
        if let Some(jobs) = &mut self.jobs {
            jobs.advance(self.now);
        }
        Ok(())
    }

    /// Broken chips and links.
    fn broken(&self) -> usize {
        self.world.hardware().systems().iter().map(|ground| ground.dead.len() + ground.cut.len()).sum()
    }

    /// Tells jobs where instances stand and what is broken.
    fn follow(&mut self, at: Nanos) {
        (self.watch.moved, self.watch.broken) = (false, self.broken());
        if let Some(jobs) = &mut self.jobs {
            let hardware = self.world.hardware();
            jobs.follow(at, hardware.systems(), hardware.seats());
        }
    }

    /// When something happens next, in the world or among jobs.
    pub fn next_due(&self) -> Option<Nanos> {
        let jobs = self.jobs.as_ref().and_then(Jobs::next_due);
        [self.world.next_due(), jobs].into_iter().flatten().min()
    }

    /// Hash of all decisions so far: those of the control plane, and those on jobs once there have been any.
    pub fn hash(&self) -> String {
        let plane = self.watch.digest.hex();
        match self.jobs.as_ref().filter(|jobs| jobs.used()) {
            Some(jobs) => format!("{plane}-{:016x}", jobs.hash()),
            None => plane,
        }
    }

    /// Carries out what an operator says of jobs, at its instant.
    ///
    /// # Errors
    /// It is refused, or a broken law.
    pub fn take_jobs(
        &mut self,
        at: Nanos,
        order: &JobOrder,
        read: Option<Submission>,
    ) -> Result<Vec<u32>, SimError> {
        self.advance(at)?;
        let Some(jobs) = &mut self.jobs else {
            return Err(no_jobs());
        };
        jobs.take(self.now, order, read).map_err(refused)
    }

    /// Takes an entry of the log in: at its instant, after all that is due by then.
    ///
    /// # Errors
    /// A refused input, which changes nothing, or a broken law.
    pub fn take(&mut self, at: Nanos, entry: &Entry) -> Result<(), SimError> {
        if let Entry::Job(order) = entry {
            return self.take_jobs(at, order, None).map(|_| ());
        }
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
        if self.watch.moved || matches!(entry, Entry::Part { .. }) {
            self.follow(self.now);
        }
        Ok(())
    }

    /// Whether a request is in flight.
    pub fn knows(&self, id: u64) -> bool {
        self.watch.tickets.contains_key(&id)
    }

    /// The check that goes into the log here.
    pub fn check(&self) -> Entry {
        Entry::Check { hash: self.hash(), events: self.watch.digest.events }
    }
}

fn refused(why: String) -> SimError {
    SimError::Refused(Refusal::Fault(why))
}

fn no_jobs() -> SimError {
    refused(
        "there is no workload manager: jobs run on a system of the catalog, or on the chips of --jobs"
            .to_owned(),
    )
}

/// Takes something about jobs in and appends it to a log, unless it is refused; its number in the log, and those of new
/// jobs.
///
/// # Errors
/// A refused order, a broken law, or a log that cannot be written.
pub fn take_jobs_and_log<P: StepPricer, W: Watcher>(
    core: &mut Core<P, W>,
    log: Option<&mut Writer>,
    at: Nanos,
    order: JobOrder,
    read: Option<Submission>,
) -> Result<(u64, Vec<u32>), CoreError> {
    core.advance(at)?;
    let jobs = core.jobs.as_ref().ok_or_else(no_jobs)?;
    jobs.allows(&order).map_err(refused)?;
    let (now, mut seq) = (core.now, 0);
    if let Some(log) = log {
        seq = log.append(now, Entry::Job(order.clone())).map_err(CoreError::Log)?;
    }
    let jobs = core.take_jobs(now, &order, read)?;
    Ok((seq, jobs))
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
    /// Jobs as they stood then, if there were any.
    pub jobs: Option<JobsLook>,
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
    jobs: Option<Jobs>,
    meters: Meters,
) -> Result<Replayed, ReplayError> {
    let mut core = Core::start(world, jobs, meters, (), reader.header.kv_events)?;
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
        let found = core.hash();
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
    let (hash, jobs) = (core.hash(), core.jobs.as_ref().filter(|jobs| jobs.used()).map(Jobs::look));
    let Core { world, watch, .. } = core;
    Ok(Replayed {
        inputs,
        checks,
        differs,
        torn: reader.torn,
        hash,
        events: watch.digest.events,
        end: world.totals().end,
        meters: watch.meters,
        jobs,
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
        self.moved = true;
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
