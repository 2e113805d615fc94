//! A cluster file resolved, priced, and run under several policies on the same arrivals.

use crate::JobsError;
use crate::machine::{Rates, machine};
use crate::prices::Prices;
use crate::serving::{Replica, Servers};
use crate::trained::Trained;
use crate::windows::Window;
use cluster::file::raw::{Raw, RawJob};
use cluster::file::{Place, Setup, setup, standing};
use cluster::policy::{NAMES, by_name};
use cluster::service::Load;
use cluster::{Ask, ClusterError, Driver, Kind, Outcome, Scheduler, Service, Shape, Tree};
use hardware::Catalog;
use std::path::Path;
use units::Joules;

/// Everything of a file but the policy.
pub struct Prepared {
    /// Its name.
    pub name: String,
    /// What is written.
    pub raw: Raw,
    /// What runs.
    pub setup: Setup,
    /// Services.
    pub services: Vec<Service>,
    /// Their replicas as priced; `None` where the capacity was given.
    pub replicas: Vec<Option<Replica>>,
    /// Entries of the file that the services are.
    pub service_jobs: Vec<usize>,
    /// What chips cost.
    pub rates: Rates,
    /// What was left out of a trace.
    pub notes: Vec<String>,
    /// Prices deployments.
    pub(crate) servers: Servers,
    /// Where the policy is named, for messages.
    policy_at: String,
    /// What jobs run at.
    pub prices: Prices,
}

/// One policy's run.
pub struct Side {
    /// What it is called in tables: the policy, or the change.
    pub label: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Windows of services that were run request by request.
    pub windows: Vec<Window>,
}

/// Runs beside each other.
pub struct Comparison<'a> {
    /// What ran.
    pub prepared: &'a Prepared,
    /// Each policy's run.
    pub sides: Vec<Side>,
}

/// Resolves a file. `place` is where it was read from; traces are looked for beside it.
///
/// # Errors
/// Names that are not known, values that make no sense, jobs that cannot run.
pub fn prepare(catalog: &Catalog, raw: Raw, place: &Place, folder: &Path) -> Result<Prepared, JobsError> {
    let prepared = resolve(catalog, raw, place, folder)?;
    if prepared.setup.plans.is_empty() && prepared.services.is_empty() {
        return Err(place.wrong("", 0, "job", "there are no jobs; write `[[job]]` or `[trace]`").into());
    }
    if !prepared.services.is_empty() && prepared.setup.options.until.is_none() {
        return Err(place
            .wrong("", 0, "until", "services never end; say when the run does, for example \"24 h\"")
            .into());
    }
    Ok(prepared)
}

/// As [`prepare`], whether there are jobs or not.
pub(crate) fn resolve(
    catalog: &Catalog,
    raw: Raw,
    place: &Place,
    folder: &Path,
) -> Result<Prepared, JobsError> {
    let (machine, mut rates, system) =
        machine(catalog, raw.cluster.system.as_deref(), raw.cluster.region.as_deref())?;
    if let Some(price) = raw.cluster.price {
        (rates.chip_hour, rates.kilowatt_hour) = (Some(price.get()), 0.0);
    }
    let mut setup = setup(&raw, place, &machine)?;
    let mut notes = Vec::new();
    if let Some(trace) = &raw.trace {
        let factor = trace.limit_factor.unwrap_or(1.0);
        if !(factor >= 1.0 && factor.is_finite()) {
            return Err(place
                .wrong("trace", 0, "limit_factor", "a declared limit is at least the duration")
                .into());
        }
        let read = cluster::import::read(&folder.join(&trace.file))?;
        let levels = setup.tree.levels().to_vec();
        if raw.tenant.is_empty() && raw.job.is_empty() {
            // The trace names its own; there is nobody else.
            setup.tenants.clear();
        }
        let plans = read.plans(setup.tree.node_size(), &levels, factor, &mut setup.tenants);
        setup.origins.extend(plans.iter().map(|_| None));
        setup.plans.extend(plans);
        notes = read.notes;
        let mut order: Vec<usize> = (0..setup.plans.len()).collect();
        order.sort_by_key(|at| setup.plans[*at].submit);
        setup.origins = order.iter().map(|at| setup.origins[*at]).collect();
        setup.plans = order.iter().map(|at| setup.plans[*at].clone()).collect();
    }
    let name = raw.name.clone().unwrap_or_else(|| place.file.clone());
    let mut prepared = Prepared {
        name,
        setup,
        services: Vec::new(),
        replicas: Vec::new(),
        service_jobs: Vec::new(),
        rates,
        notes,
        policy_at: if raw.policy.is_some() { place.at("", 0, "policy") } else { "--policy".to_owned() },
        servers: Servers::new(catalog)?,
        prices: Prices::default(),
        raw,
    };
    prepared.price(catalog, place, system.as_ref().map(|system| system.id.as_str()))?;
    Ok(prepared)
}

impl Prepared {
    fn price(&mut self, catalog: &Catalog, place: &Place, system: Option<&str>) -> Result<(), JobsError> {
        let links = !self.setup.options.uplinks.is_empty();
        let levels = self.setup.tree.levels().to_vec();
        let jobs = self.raw.job.clone();
        for (index, job) in jobs.iter().enumerate() {
            let kind = job.kind.unwrap_or(Kind::Opaque);
            let (mut trained, mut batch) = (None, None);
            let need = || {
                system.ok_or_else(|| {
                    place.wrong(
                        "cluster",
                        0,
                        "system",
                        format!("{} is priced on a system of the catalog; name one", kind.name()),
                    )
                })
            };
            match kind {
                Kind::Training => {
                    let at = place.at("job.train", ordinal(&jobs, index, |job| job.train.is_some()), "model");
                    let mut found = Trained::new(catalog, need()?, job, &levels, links, &at)?;
                    self.terms(job, index, &mut found, &at)?;
                    trained = Some(found);
                }
                Kind::BatchInference => {
                    let at = place.at("job.serve", ordinal(&jobs, index, |job| job.serve.is_some()), "model");
                    let replica = self.servers.replica(need()?, job, &at)?;
                    self.limit(index, job.requests.unwrap_or(0.0) / replica.capacity);
                    batch = Some(replica);
                }
                Kind::Serving => self.service(&jobs, index, place, system)?,
                Kind::Opaque => {}
            }
            self.prices.add(trained, batch);
        }
        self.prices.assign(&self.setup.origins);
        Ok(())
    }

    /// Gives the plans of a training job their checkpoints, and a limit where none was declared.
    fn terms(
        &mut self,
        job: &RawJob,
        index: usize,
        trained: &mut Trained,
        at: &str,
    ) -> Result<(), JobsError> {
        let Some(first) = self.setup.origins.iter().position(|origin| *origin == Some(index)) else {
            return Ok(());
        };
        let shape = best_shape(&self.setup.tree, self.setup.plans[first].ask);
        let (rate, checkpoint) =
            trained.terms(job, &shape).map_err(|problem| JobsError::Job { at: at.to_owned(), problem })?;
        // The usual shape is known before anybody waits for it.
        let _ = trained.pace(&shape);
        let length = job.steps.unwrap_or(0.0) / rate * (1.0 + checkpoint.write / checkpoint.interval);
        self.limit(index, length);
        for (plan, origin) in self.setup.plans.iter_mut().zip(&self.setup.origins) {
            if *origin == Some(index) {
                plan.checkpoint = checkpoint;
            }
        }
        Ok(())
    }

    /// Declares 1.2 times `length`, and twice as long for a job that may run smaller, where no limit is given.
    fn limit(&mut self, index: usize, length: f64) {
        for (plan, origin) in self.setup.plans.iter_mut().zip(&self.setup.origins) {
            if *origin == Some(index) && plan.limit.is_none() && plan.elastic.is_none() {
                plan.limit = Some(1.2 * length);
            }
        }
    }

    fn service(
        &mut self,
        jobs: &[RawJob],
        index: usize,
        place: &Place,
        system: Option<&str>,
    ) -> Result<(), JobsError> {
        let job = &jobs[index];
        let ordinal = ordinal(jobs, index, |job| job.serve.is_some());
        let wrong = |key: &str, problem: &str| place.wrong("job.serve", ordinal, key, problem);
        let Some(serve) = &job.serve else {
            return Err(place.wrong("job", index, "serve", "a service needs a `[job.serve]` table").into());
        };
        let (ask, tenant, priority, wish) = standing(&self.raw, place, &self.setup, index)?;
        let replica = match (serve.capacity, system) {
            (Some(_), _) => None,
            (None, Some(system)) => {
                Some(self.servers.replica(system, job, &place.at("job.serve", ordinal, "model"))?)
            }
            (None, None) => return Err(wrong("capacity", "without a `system`, say it").into()),
        };
        let priced = replica.map_or(0.0, |replica| replica.capacity);
        let capacity = serve.capacity.map_or(priced, units::PerSecond::get);
        if capacity <= 0.0 {
            return Err(wrong("capacity", "a replica serves more than nothing").into());
        }
        let load = load(serve).map_err(|(key, problem)| wrong(key, problem))?;
        let most = self.setup.tree.chips() / ask.chips().max(1);
        let (least, most) = (serve.min.unwrap_or(1), serve.max.unwrap_or(most).min(most));
        if least > most {
            return Err(wrong("min", "there are more replicas than `max` or the cluster allows").into());
        }
        let windows = windows(serve, replica).map_err(|(key, problem)| wrong(key, problem))?;
        let loading = replica.map_or(0.0, |replica| replica.load_time);
        self.services.push(Service {
            name: job.name.clone().unwrap_or_else(|| format!("service-{}", index + 1)),
            tenant,
            priority,
            ask,
            wish,
            load,
            capacity,
            least,
            most,
            interval: serve.interval.map_or(300.0, units::Seconds::get).max(1.0),
            headroom: serve.headroom.unwrap_or(0.1),
            load_time: serve.load_time.map_or(loading, units::Seconds::get),
            busy: self.busy(ask, replica),
            slack: slack(serve, replica),
            patience: serve.patience.map_or(60.0, units::Seconds::get),
            windows,
        });
        self.service_jobs.push(index);
        self.replicas.push(replica);
        Ok(())
    }

    /// Share of the chips' busy power that a replica draws when fully loaded.
    fn busy(&self, ask: Ask, replica: Option<Replica>) -> f64 {
        let (options, chips) = (&self.setup.options, f64::from(ask.chips()));
        replica.and_then(|replica| replica.power).map_or(1.0, |power| {
            let span = (options.busy_power - options.idle_power).max(1e-9);
            ((power / chips - options.idle_power) / span).clamp(0.0, 1.0)
        })
    }

    /// What chips draw, at the facility's plug; `None` where the chip's power is not known.
    pub fn at_plug(&self, energy: Joules) -> Option<Joules> {
        let known = self.setup.options.busy_power > 0.0;
        known.then(|| energy * self.rates.pue)
    }

    /// Runs one policy.
    ///
    /// # Errors
    /// There is no policy of that name.
    pub fn run(&mut self, policy: &str, stretches: bool, explain_at: Option<f64>) -> Result<Side, JobsError> {
        let settings = &self.raw.settings;
        let Some(found) = by_name(policy, settings) else {
            let problem = format!("there is no policy `{policy}`; there are {}", NAMES.join(", "));
            return Err(ClusterError::Value { at: self.policy_at.clone(), problem }.into());
        };
        let mut scheduler =
            Scheduler::new(self.setup.tree.clone(), self.setup.tenants.clone(), self.raw.placement, found);
        scheduler.set_half_life(settings.half_life.get());
        scheduler.set_resources(self.setup.resources.clone());
        scheduler.set_spares(self.setup.spares.iter().copied());
        let mut options = self.setup.options.clone();
        (options.stretches, options.explain_at) = (stretches, explain_at);
        let mut outcome =
            Driver::new(scheduler, &self.setup.plans, &self.services, &mut self.prices, options).run();
        policy.clone_into(&mut outcome.policy);
        let windows = self.windows(&outcome)?;
        Ok(Side { label: policy.to_owned(), outcome, windows })
    }
}

/// How many tables of a kind come before that of job `index`.
fn ordinal(jobs: &[RawJob], index: usize, has: impl Fn(&RawJob) -> bool) -> usize {
    jobs[..index].iter().filter(|job| has(job)).count()
}

/// Seconds that a request may wait for a place and still have its first token in time: waiting is as good as working on the
/// prompt.
fn slack(serve: &cluster::file::raw::RawServe, replica: Option<Replica>) -> f64 {
    let usual = replica.map_or(0.0, |replica| replica.ttft);
    serve.ttft.map_or(1e9, |limit| (limit.get() - usual).max(0.0))
}

/// Windows of a service that are run request by request: only where its replicas are priced.
fn windows(
    serve: &cluster::file::raw::RawServe,
    replica: Option<Replica>,
) -> Result<Vec<(f64, f64)>, (&'static str, &'static str)> {
    if replica.is_none() && !serve.window.is_empty() {
        return Err(("window", "requests are run on a priced deployment; leave `capacity` out"));
    }
    let one = |window: &cluster::file::raw::RawWindow| {
        let (at, length) = (window.at.get(), window.length.get());
        let fits = at >= 0.0 && length > 0.0 && length <= 7200.0;
        fits.then_some((at, at + length))
            .ok_or(("window", "a window begins at 0 or later and lasts 2 h at most"))
    };
    serve.window.iter().map(one).collect()
}

fn load(serve: &cluster::file::raw::RawServe) -> Result<Load, (&'static str, &'static str)> {
    if !serve.load.is_empty() {
        let points: Vec<(f64, f64)> =
            serve.load.iter().map(|point| (point.at.get(), point.rate.get())).collect();
        if points.windows(2).any(|pair| pair[1].0 <= pair[0].0) || points.iter().any(|point| point.1 < 0.0) {
            return Err(("load", "its points come in the order of time, with rates from 0"));
        }
        return Ok(Load::Points(points));
    }
    let peak = serve.peak.ok_or(("peak", "say its load: `peak` and `trough`, or `load`"))?.get();
    let trough = serve.trough.map_or(peak, units::PerSecond::get);
    if !(0.0..=peak).contains(&trough) {
        return Err(("trough", "it is between 0 and `peak`"));
    }
    Ok(Load::Day { peak, trough, peak_at: serve.peak_at.map_or(15.0 * 3600.0, units::Seconds::get) })
}

/// The most compact shape of a request on an empty cluster.
fn best_shape(tree: &Tree, ask: Ask) -> Shape {
    let mix = cluster::place::SizeMix::default();
    let parts = cluster::place::pick(tree, ask, None, cluster::Placement::BestFit, &mix).unwrap_or_default();
    Shape::of(tree, &parts)
}
