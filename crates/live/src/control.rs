//! The control thread: drains what came in, stamps and logs it, lets the world go on to now, delivers.

use crate::cell::Cell;
use crate::clock::Pace;
use crate::core::{Core, CoreError, take_and_log, take_jobs_and_log};
use crate::front::Front;
use crate::jobs::{Jobs, JobsLook};
use crate::log::{Entry, JobOrder, Request, Writer};
use crate::meters::Meters;
use ::jobs::Submission;
use cost::step::StepPricer;
use serving::{Budget, InstanceId, InstanceView, Nanos};
use sim::SimError;
use sim::placement::{Ground, Seat};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Messages taken in before the world goes on.
const BATCH: usize = 4096;

/// Wall time between two deliveries of tokens of one instance at least: what comes closer goes in one frame.
const COALESCED: Duration = Duration::from_micros(500);

/// Wall time between two checks in the log.
const CHECKED: Duration = Duration::from_secs(1);

/// What the control thread is told.
pub enum Message {
    /// A request came in.
    Arrive {
        /// What it is.
        request: Request,
        /// What its connection waits on.
        cell: Arc<Cell>,
        /// When it had been read.
        received: Instant,
        /// Tokens that are gathered before any is sent.
        gate: u32,
        /// The tenant's key, by its public part.
        key: Option<Arc<str>>,
    },
    /// The connection of a request is gone.
    Cancel(u64),
    /// Something from an administrator.
    Admin(Entry, oneshot::Sender<Result<u64, String>>),
    /// Something about jobs; what was submitted has been read already. Answered with its number in the log and the numbers
    /// of new jobs.
    Job {
        /// What is said.
        order: JobOrder,
        /// What was submitted.
        read: Option<Submission>,
        /// The answer.
        answer: oneshot::Sender<Result<(u64, Vec<u32>), String>>,
    },
    /// Somebody asks what a tenant has left of its limits.
    Budget(u32, oneshot::Sender<Option<Budget>>),
    /// Somebody wants to look.
    Look(oneshot::Sender<Box<Snapshot>>),
    /// The end.
    Stop,
}

/// An instance, to look at.
#[derive(Debug, Clone)]
pub struct InstanceLook {
    /// Its counts.
    pub view: InstanceView,
    /// Share of its KV blocks that sequences hold.
    pub kv_used: f64,
}

/// Everything there is to look at.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Virtual time.
    pub now: Nanos,
    /// Requests in flight.
    pub in_flight: u64,
    /// Instances.
    pub instances: Vec<InstanceLook>,
    /// What was measured.
    pub meters: Meters,
    /// Systems.
    pub grounds: Vec<Ground>,
    /// What instances stand on.
    pub seats: Vec<Seat>,
    /// Hash of all decisions.
    pub hash: String,
    /// Events told to the control plane.
    pub events: u64,
    /// How late the latest delivery was, wall seconds, and the latest of all.
    pub lateness: (f64, f64),
    /// Jobs, if there is a manager.
    pub jobs: Option<JobsLook>,
}

/// The thread's state.
pub struct Control<P> {
    core: Core<P, Front>,
    log: Option<Writer>,
    pace: Pace,
    ticks: BinaryHeap<Reverse<(Nanos, InstanceId)>>,
    /// The tick each instance waits for.
    next: Vec<Option<Nanos>>,
    checked: (Instant, u64),
    lateness: (f64, f64),
}

impl<P: StepPricer> Control<P> {
    /// Over a world that has been started.
    pub fn new(core: Core<P, Front>, log: Option<Writer>, pace: Pace) -> Self {
        let checked = (Instant::now(), 0);
        Self { core, log, pace, ticks: BinaryHeap::new(), next: Vec::new(), checked, lateness: (0.0, 0.0) }
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// A broken law, or a log that cannot be written.
    pub fn run(&mut self, inbox: &Receiver<Message>) -> Result<(), CoreError> {
        loop {
            let mut message = match self.wait() {
                Some(wait) if wait.is_zero() => inbox.try_recv().ok(),
                Some(wait) => match inbox.recv_timeout(wait) {
                    Ok(message) => Some(message),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => Some(Message::Stop),
                },
                None => Some(inbox.recv().unwrap_or(Message::Stop)),
            };
            let mut stop = false;
            for _ in 0..BATCH {
                let Some(taken) = message else { break };
                stop |= self.take(taken)?;
                message = if stop { None } else { inbox.try_recv().ok() };
            }
            self.go_on()?;
            if stop {
                return self.close();
            }
        }
    }

    /// Wall time until something is due.
    fn wait(&self) -> Option<Duration> {
        let tick = self.ticks.peek().map(|Reverse((at, _))| *at);
        let at = [tick, self.core.next_due()].into_iter().flatten().min()?;
        let now = Instant::now();
        // A clock that is far ahead is asked again: durations are bounded.
        Some(self.pace.instant(at).saturating_duration_since(now).min(CHECKED))
    }

    /// Takes a message in; true if it is the last.
    fn take(&mut self, message: Message) -> Result<bool, CoreError> {
        match message {
            Message::Arrive { request, cell, received, gate, key } => {
                self.core.watch.watcher.add(request.id, cell, gate, key);
                let at = self.pace.at(received);
                take_and_log(&mut self.core, self.log.as_mut(), at, Entry::Arrive(request))?;
            }
            Message::Cancel(id) => {
                let at = self.pace.now();
                // What is due by now may be its end.
                self.core.advance(at)?;
                if self.core.knows(id) {
                    take_and_log(&mut self.core, self.log.as_mut(), at, Entry::Cancel(id))?;
                }
            }
            Message::Admin(entry, answer) => {
                let at = self.pace.now();
                let done = match take_and_log(&mut self.core, self.log.as_mut(), at, entry) {
                    Ok(seq) => Ok(seq),
                    Err(CoreError::Sim(SimError::Refused(refusal))) => Err(refusal.to_string()),
                    Err(other) => return Err(other),
                };
                let _ = answer.send(done);
            }
            Message::Job { order, read, answer } => {
                let at = self.pace.now();
                let done = match take_jobs_and_log(&mut self.core, self.log.as_mut(), at, order, read) {
                    Ok(done) => Ok(done),
                    Err(CoreError::Sim(SimError::Refused(refusal))) => Err(refusal.to_string()),
                    Err(other) => return Err(other),
                };
                let _ = answer.send(done);
            }
            Message::Budget(tenant, answer) => {
                let now = self.pace.now();
                self.core.advance(now)?;
                let _ = answer.send(self.core.world.cluster().budget(tenant, now));
            }
            Message::Look(answer) => {
                self.core.advance(self.pace.now())?;
                let _ = answer.send(Box::new(self.look()));
            }
            Message::Stop => return Ok(true),
        }
        Ok(false)
    }

    /// Lets the world go on to now and delivers what has come of it.
    fn go_on(&mut self) -> Result<(), CoreError> {
        let (due, now) = (self.core.next_due(), self.pace.now());
        self.core.advance(now)?;
        self.tick(now);
        if let Some(late) = due.filter(|due| *due <= now) {
            let wall = self.pace.speed.wall_for(now.get() - late.get()) as f64 * 1e-9;
            self.lateness = (wall, self.lateness.1.max(wall));
        }
        let events = self.core.watch.digest.events;
        if self.log.is_some() && self.checked.0.elapsed() >= CHECKED && self.checked.1 != events {
            self.checked = (Instant::now(), events);
            self.write_check()?;
        }
        if let Some(log) = &mut self.log {
            log.flush().map_err(CoreError::Log)?;
        }
        self.core.watch.watcher.deliver();
        Ok(())
    }

    fn write_check(&mut self) -> Result<(), CoreError> {
        let (check, now) = (self.core.check(), self.core.now());
        let Some(log) = &mut self.log else { return Ok(()) };
        log.append(now, check).map(|_| ()).map_err(CoreError::Log)
    }

    /// Hands out the tokens of the steps that are over by now, and looks when the next are.
    fn tick(&mut self, now: Nanos) {
        let front = &mut self.core.watch.watcher;
        self.next.resize(front.instances(), None);
        while let Some(Reverse((at, instance))) = self.ticks.peek().copied().filter(|due| due.0.0 <= now) {
            self.ticks.pop();
            if self.next[instance.0 as usize] != Some(at) {
                continue;
            }
            self.next[instance.0 as usize] = None;
            front.tick(instance, self.core.world.clock_at(instance, now));
            front.started.push(instance);
        }
        let rest = Nanos::new(now.get() + self.pace.speed.virtual_in(COALESCED.as_nanos() as u64));
        for instance in std::mem::take(&mut front.started) {
            let slot = &mut self.next[instance.0 as usize];
            let Some(at) = self.core.world.next_tick(instance, now).map(|at| at.max(rest)) else { continue };
            if slot.is_none_or(|known| at < known) {
                *slot = Some(at);
                self.ticks.push(Reverse((at, instance)));
            }
        }
    }

    fn look(&self) -> Snapshot {
        let (world, watch) = (&self.core.world, &self.core.watch);
        let hardware = world.hardware();
        let instances = (0..world.cluster().instance_count()).map(|index| {
            let id = InstanceId(index);
            InstanceLook { view: world.cluster().instance(id), kv_used: world.kv_used(id) }
        });
        Snapshot {
            now: self.core.now(),
            in_flight: world.in_flight() as u64,
            instances: instances.collect(),
            meters: watch.meters.clone(),
            grounds: hardware.systems().to_vec(),
            seats: hardware.seats().copied().collect(),
            hash: self.core.hash(),
            events: watch.digest.events,
            lateness: self.lateness,
            jobs: self.core.jobs.as_ref().map(Jobs::look),
        }
    }

    /// The last check, and an end for whoever still waits.
    fn close(&mut self) -> Result<(), CoreError> {
        self.write_check()?;
        if let Some(log) = &mut self.log {
            log.flush().map_err(CoreError::Log)?;
        }
        self.core.watch.watcher.abandon();
        Ok(())
    }

    /// Ends whoever waits, as when the thread has broken.
    pub fn abandon(&mut self) {
        self.core.watch.watcher.abandon();
    }

    /// Hash of all decisions so far.
    pub fn hash(&self) -> String {
        self.core.hash()
    }
}
