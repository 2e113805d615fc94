//! A workload manager that goes on: jobs are submitted, watched and stopped while time passes.

use crate::JobsError;
use crate::machine::Rates;
use crate::prices::Prices;
use crate::run::{Prepared, resolve};
use cluster::driver::{Intervention, JobView, Refused};
use cluster::file::Place;
use cluster::file::raw::{Raw, RawJob};
use cluster::policy::{NAMES, by_name};
use cluster::{ClusterError, Driver, JobId, JobPlan, Options, Scheduler, Tenant};
use hardware::Catalog;
use serving::Nanos;
use std::path::PathBuf;

/// Jobs that one submission may bring.
pub const MOST_AT_ONCE: usize = 10_000;

/// Reads and prices what is submitted. It needs no manager, so that pricing keeps nobody waiting.
pub struct Intake {
    catalog: Catalog,
    /// The cluster without jobs.
    raw: Raw,
    folder: PathBuf,
}

/// Jobs that have been read and priced.
pub struct Submission {
    plans: Vec<JobPlan>,
    prices: Prices,
}

impl Submission {
    /// How many jobs it brings.
    pub fn len(&self) -> usize {
        self.plans.len()
    }

    /// Whether it brings none.
    pub fn is_empty(&self) -> bool {
        self.plans.is_empty()
    }
}

impl Intake {
    /// Reads an entry as `[[job]]` of a cluster file has it.
    ///
    /// # Errors
    /// It says what a job cannot say, or cannot run on this cluster.
    pub fn read(&self, entry: &serde_json::Value) -> Result<Submission, JobsError> {
        let place = Place { file: "submitted".to_owned(), text: " ".to_owned() };
        let job: RawJob = serde_json::from_value(entry.clone()).map_err(|error| JobsError::Job {
            at: "submitted: job".to_owned(),
            problem: error.to_string(),
        })?;
        let wrong = |key: &str, problem: &str| Err(place.wrong("job", 0, key, problem).into());
        if job.at.is_some() || job.every.is_some() {
            let key = if job.at.is_some() { "at" } else { "every" };
            return wrong(key, "a job is submitted when it is sent; send it then");
        }
        if job.kind == Some(cluster::Kind::Serving) {
            return wrong("kind", "services are the deployments of the scenario; scale those");
        }
        if job.count.unwrap_or(1) as usize > MOST_AT_ONCE {
            return wrong("count", "at most 10,000 jobs come at once; send the others later");
        }
        let raw = Raw { job: vec![job], ..self.raw.clone() };
        let Prepared { setup, prices, .. } = resolve(&self.catalog, raw, &place, &self.folder)?;
        Ok(Submission { plans: setup.plans, prices })
    }
}

/// The manager.
pub struct Manager {
    driver: Driver<'static, Prices>,
    policy: String,
    tenants: Vec<Tenant>,
    rates: Rates,
    busy_power: f64,
}

impl Manager {
    /// Opens a cluster file; its jobs and its trace are submitted at their times. Jobs that come later are read by the
    /// intake.
    ///
    /// # Errors
    /// As for a run, or what a cluster that goes on cannot do.
    pub fn open(
        catalog: &Catalog,
        raw: Raw,
        place: &Place,
        folder: PathBuf,
    ) -> Result<(Self, Intake), JobsError> {
        let names = raw.policy.as_ref().map_or_else(|| vec!["easy".to_owned()], |policy| policy.list());
        let [name] = names.as_slice() else {
            return Err(place.wrong("", 0, "policy", "a cluster that goes on has one policy").into());
        };
        let Some(policy) = by_name(name, &raw.settings) else {
            let problem = format!("there is no policy `{name}`; there are {}", NAMES.join(", "));
            return Err(place.wrong("", 0, "policy", problem).into());
        };
        if raw.until.is_some() {
            return Err(place.wrong("", 0, "until", "a cluster that goes on ends when it is stopped").into());
        }
        let empty = Raw { job: Vec::new(), trace: None, ..raw.clone() };
        let prepared = resolve(catalog, raw, place, &folder)?;
        if !prepared.services.is_empty() {
            let problem = "services are the deployments of the scenario here; leave them out";
            return Err(place.wrong("job", 0, "kind", problem).into());
        }
        let settings = &prepared.raw.settings;
        let setup = prepared.setup;
        let mut scheduler = Scheduler::new(setup.tree, setup.tenants.clone(), prepared.raw.placement, policy);
        scheduler.set_half_life(settings.half_life.get());
        scheduler.set_resources(setup.resources);
        scheduler.set_spares(setup.spares);
        let busy_power = setup.options.busy_power;
        let options = Options { endless: true, ..setup.options };
        let driver = Driver::new(scheduler, setup.plans, &[], prepared.prices, options);
        let manager =
            Self { driver, policy: name.clone(), tenants: setup.tenants, rates: prepared.rates, busy_power };
        Ok((manager, Intake { catalog: catalog.clone(), raw: empty, folder }))
    }

    /// The policy's name.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Tenants in order.
    pub fn tenants(&self) -> &[Tenant] {
        &self.tenants
    }

    /// What chips cost.
    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// The cluster, to look at.
    pub fn driver(&self) -> &Driver<'static, Prices> {
        &self.driver
    }

    /// When something happens next.
    pub fn next_due(&self) -> Option<Nanos> {
        self.driver.next_due()
    }

    /// Lets everything happen that is due by `to`.
    pub fn advance(&mut self, to: Nanos) {
        self.driver.advance(to);
    }

    /// Submits jobs at `at`; their numbers.
    pub fn submit(&mut self, at: Nanos, submission: Submission) -> std::ops::Range<u32> {
        self.driver.advance(at);
        let first = self.driver.jobs();
        self.driver.pricer().append(submission.prices);
        let orders: Vec<Intervention> =
            submission.plans.into_iter().map(|plan| Intervention::Submit(Box::new(plan))).collect();
        let last = first + orders.len() as u32;
        // A submission is never refused: what cannot run becomes a job that was rejected.
        let _ = self.driver.inject(at, orders);
        first..last
    }

    /// Whether orders can be carried out.
    ///
    /// # Errors
    /// Why one cannot.
    pub fn allows(&self, orders: &[Intervention]) -> Result<(), Refused> {
        orders.iter().try_for_each(|order| self.driver.allows(order))
    }

    /// Carries orders out at `at`.
    ///
    /// # Errors
    /// Why one cannot; none is then.
    pub fn order(&mut self, at: Nanos, orders: Vec<Intervention>) -> Result<(), Refused> {
        self.driver.inject(at, orders)
    }

    /// A job, to look at.
    pub fn view(&self, id: JobId) -> Option<JobView<'_>> {
        self.driver.view(id)
    }

    /// Draw of the chips that jobs hold, with their share of the machine, watts.
    pub fn power(&self) -> f64 {
        f64::from(self.driver.scheduler().state().tree.used_chips()) * self.busy_power
    }
}

impl From<Refused> for JobsError {
    fn from(refused: Refused) -> Self {
        ClusterError::Value { at: "job".to_owned(), problem: refused.to_string() }.into()
    }
}
