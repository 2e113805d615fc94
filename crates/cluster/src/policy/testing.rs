//! A node of eight chips, a few jobs, and when they ran.

use crate::driver::{Driver, Options};
use crate::job::{Range, Resource, Tenant, TenantId};
use crate::place::Placement;
use crate::plan::{Checkpoint, JobPlan, Kind, Linear};
use crate::policy::{Settings, by_name};
use crate::scheduler::Scheduler;
use crate::tree::{Ask, Tree};
use serving::Nanos;
use units::Seconds;

/// A job of `chips` chips for `seconds`, its exact limit declared.
pub fn job(name: &str, submit: u64, chips: u32, seconds: u64) -> JobPlan {
    JobPlan {
        uses: Box::default(),
        name: name.into(),
        kind: Kind::Opaque,
        tenant: TenantId(0),
        priority: 0,
        ask: Ask::packed(chips, 8),
        elastic: None,
        limit: Some(seconds as f64),
        wish: None,
        preemptible: true,
        deadline: None,
        scaling: 1.0,
        submit: Nanos::new(submit * 1_000_000_000),
        work: seconds as f64,
        checkpoint: Checkpoint::default(),
    }
}

impl JobPlan {
    /// With a priority.
    pub fn priority(self, priority: i32) -> Self {
        Self { priority, ..self }
    }

    /// Of another tenant.
    pub fn tenant(self, tenant: u32) -> Self {
        Self { tenant: TenantId(tenant), ..self }
    }

    /// That needs units of resources.
    pub fn needs(self, uses: &[(u32, u64)]) -> Self {
        Self { uses: uses.into(), ..self }
    }

    /// That may run at other sizes, and therefore longer.
    pub fn elastic(self, least: u32, most: u32) -> Self {
        Self { elastic: Some(Range { least, most }), limit: None, ..self }
    }
}

/// A tenant of the one cohort.
pub fn quota(quota: u32, borrow: u32) -> Tenant {
    Tenant { quota: Some(quota), borrow, cohort: Some(0), ..Tenant::open("quota") }
}

/// A tenant without a quota.
pub fn open() -> Tenant {
    Tenant::open("open")
}

/// Runs `jobs` and compares when each ran.
#[track_caller]
pub fn check(policy: &str, jobs: &[JobPlan], expected: &str) {
    check_tenants(policy, &[open(), open()], jobs, expected);
}

/// As [`check`] with these tenants.
#[track_caller]
pub fn check_tenants(policy: &str, tenants: &[Tenant], jobs: &[JobPlan], expected: &str) {
    check_shared((policy, 8, &[]), tenants, jobs, expected);
}

/// As [`check_tenants`] under a policy, on so many chips, with these resources.
#[track_caller]
pub fn check_shared(
    (policy, chips, resources): (&str, u32, &[(&str, u64)]),
    tenants: &[Tenant],
    jobs: &[JobPlan],
    expected: &str,
) {
    let settings = Settings { backfill_interval: Seconds::ZERO, ..Settings::default() };
    let policy = by_name(policy, &settings).expect("a policy");
    let tree = Tree::new(&[chips], &[]);
    let mut scheduler = Scheduler::new(tree, tenants.to_vec(), Placement::BestFit, policy);
    let resource = |(name, amount): &(&str, u64)| Resource { name: (*name).to_owned(), amount: *amount };
    scheduler.set_resources(resources.iter().map(resource).collect());
    let options = Options { stretches: true, ..Options::default() };
    let outcome = Driver::new(scheduler, jobs, &[], Linear, options).run();
    assert_eq!(outcome.broken, Vec::<String>::new());
    let round = |seconds: f64| (seconds * 1e6).round() / 1e6;
    let mut words = Vec::new();
    for (index, job) in jobs.iter().enumerate() {
        let mut text = job.name.to_string();
        let mut last = None;
        for stretch in outcome.stretches.iter().filter(|stretch| stretch.job.0 as usize == index) {
            // A change of size is not a pause.
            if last == Some(stretch.from) {
                let at = text.rfind('-').expect("a stretch before");
                text.truncate(at);
                text.push_str(&format!("-{}", round(stretch.to)));
            } else {
                text.push_str(&format!(" {}-{}", round(stretch.from), round(stretch.to)));
            }
            last = Some(stretch.to);
        }
        words.push(text);
    }
    assert_eq!(words.join(", "), expected);
}
