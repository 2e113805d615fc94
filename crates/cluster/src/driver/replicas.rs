//! Services at work: the autoscaler submits and withdraws replicas, requests are counted.

use super::work::Run;
use super::{Driver, What, seconds};
use crate::job::{Event, Job, JobId};
use crate::plan::Pricer;
use crate::results::{Ending, ServiceRecord, WindowRecord};
use crate::service::{Service, flow};
use serving::Nanos;

/// A service with its replicas.
pub(super) struct Running<'a> {
    pub service: &'a Service,
    /// Replicas that were submitted and not withdrawn, oldest first.
    replicas: Vec<JobId>,
    /// Of these, those that serve.
    ready: Vec<JobId>,
    record: ServiceRecord,
    /// Requests that wait for a place.
    backlog: f64,
    up: bool,
}

impl<'a> Running<'a> {
    pub fn new(service: &'a Service) -> Self {
        let record =
            ServiceRecord { name: service.name.clone(), least: u32::MAX, ..ServiceRecord::default() };
        let window =
            |(from, to): &(f64, f64)| WindowRecord { from: *from, to: *to, ..WindowRecord::default() };
        let windows = service.windows.iter().map(window).collect();
        let record = ServiceRecord { windows, ..record };
        Self { service, replicas: Vec::new(), ready: Vec::new(), record, backlog: 0.0, up: false }
    }

    pub fn record(mut self) -> ServiceRecord {
        if !self.up {
            self.record.least = 0;
        }
        self.record
    }

    fn count(&mut self) {
        let ready = self.ready.len() as u32;
        self.up |= ready >= self.service.least.max(1);
        self.record.most = self.record.most.max(ready);
        if self.up {
            self.record.least = self.record.least.min(ready);
        }
    }
}

impl<P: Pricer> Driver<'_, P> {
    /// Counts requests until `at`: a fluid that finds `ready` replicas of constant capacity, and waits for them.
    pub(super) fn serve(&mut self, at: Nanos) {
        let (from, to) = (self.now.seconds().get(), at.seconds().get());
        for running in &mut self.services {
            let rate = running.service.load.at(0.5 * (from + to));
            let capacity = running.ready.len() as f64 * running.service.capacity;
            let Service { slack, patience, .. } = *running.service;
            let (found, backlog) = flow(rate, capacity, running.backlog, to - from, slack, patience);
            running.backlog = backlog;
            running.record.requests += found.came;
            running.record.within += found.within;
            running.record.lost += found.lost;
            let ready = running.ready.len() as f64;
            // There is an event at both ends of every window, so that no stretch is partly in one.
            let inside = |one: &&mut WindowRecord| one.from <= from + 1e-6 && to <= one.to + 1e-6;
            for window in running.record.windows.iter_mut().filter(inside) {
                window.requests += found.came;
                window.within += found.within;
                window.replicas += ready * (to - from);
            }
            let held: u32 = running.replicas.iter().map(|job| self.runs[job.0 as usize].held).sum();
            running.record.chip_seconds += f64::from(held) * (to - from);
        }
    }

    /// The autoscaler looks.
    pub(super) fn tick(&mut self, index: usize, events: &mut Vec<Event>) {
        let now = self.now;
        let service = self.services[index].service;
        let wanted = service.wanted(now.seconds().get()) as usize;
        while self.services[index].replicas.len() < wanted {
            let id = JobId(self.runs.len() as u32);
            self.runs.push(Run::of_replica(
                index as u32,
                service.tenant,
                service.ask.chips(),
                now,
                service.load_time,
                service.busy,
            ));
            self.services[index].replicas.push(id);
            events.push(Event::Submitted(replica(service, id, now)));
        }
        while self.services[index].replicas.len() > wanted {
            // The newest goes; one that still waits before one that serves.
            let waiting = |id: &JobId| self.runs[id.0 as usize].ending != Ending::Running;
            let replicas = &self.services[index].replicas;
            let at = replicas.iter().rposition(waiting).unwrap_or(replicas.len() - 1);
            let id = self.services[index].replicas.remove(at);
            let rejected = self.runs[id.0 as usize].ending == Ending::Rejected;
            if !rejected {
                self.withdraw(id);
                events.push(Event::Cancelled(id));
            }
        }
        let next = Nanos::new(now.get().saturating_add(seconds(service.interval.max(1.0)).get()));
        self.push(next, What::Tick(index as u32));
    }

    pub(super) fn ready(&mut self, job: JobId, version: u32) {
        let run = &self.runs[job.0 as usize];
        if run.version != version {
            return;
        }
        if let Some(service) = run.service {
            let running = &mut self.services[service as usize];
            running.ready.push(job);
            running.record.starts += 1;
            running.count();
        }
    }

    /// A replica no longer serves.
    pub(super) fn unready(&mut self, job: JobId) {
        if let Some(service) = self.runs[job.0 as usize].service {
            let running = &mut self.services[service as usize];
            running.ready.retain(|other| *other != job);
            running.count();
        }
    }
}

fn replica(service: &Service, id: JobId, now: Nanos) -> Job {
    Job {
        uses: Box::default(),
        id,
        tenant: service.tenant,
        priority: service.priority,
        ask: service.ask,
        elastic: None,
        limit: Nanos::NEVER,
        wish: service.wish,
        preemptible: false,
        grace: Nanos::ZERO,
        submitted: now,
        deadline: None,
        scaling: 0.0,
        oracle: None,
    }
}
