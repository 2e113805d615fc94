//! From what is written to what runs.

use super::raw::{Raw, RawJob, RawRank, RawTenant};
use super::surroundings::options;
use super::{ClusterError, Place};
use crate::driver::Options;
use crate::job::{Range, Resource, Tenant, TenantId, Uses};
use crate::plan::{Checkpoint, JobPlan, Kind};
use crate::tree::{Ask, Level, MOST_CHIPS_PER_NODE, NodeId, Tree, Wish};
use serving::Nanos;
use std::collections::BTreeMap;

/// Units of a resource: bytes of a large cluster's memory can be counted.
const MOST_UNITS: u64 = 1_000_000_000_000_000_000;

/// What the catalog says of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Machine {
    /// Chips of the system as it is bought.
    pub chips: u32,
    /// Chips of one node.
    pub node: u32,
    /// Levels above the node, innermost first.
    pub levels: Vec<Level>,
    /// Power of a chip at work, with its share of the machine, watts.
    pub busy_power: f64,
    /// Power of an idle chip.
    pub idle_power: f64,
    /// Failures of a chip, per second.
    pub failure_rate: f64,
    /// Mean time to repair, seconds.
    pub repair: f64,
}

/// A cluster ready to run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The chips.
    pub tree: Tree,
    /// What is shared besides chips.
    pub resources: Vec<Resource>,
    /// Tenants.
    pub tenants: Vec<Tenant>,
    /// Jobs in order of submission, services aside.
    pub plans: Vec<JobPlan>,
    /// The entry of the file that each plan comes from, and `None` for a trace's.
    pub origins: Vec<Option<usize>>,
    /// Nodes kept as spares: the last ones.
    pub spares: Vec<NodeId>,
    /// What surrounds the jobs.
    pub options: Options,
}

/// Checks `raw` on `machine`. Jobs whose work has to be priced get it from whoever prices them: their `work` is their steps
/// or requests, and services are left out.
///
/// # Errors
/// A value that makes no sense, named by file, line and key.
pub fn setup(raw: &Raw, place: &Place, machine: &Machine) -> Result<Setup, ClusterError> {
    super::limits::check(raw, place)?;
    let tree = tree(raw, place, machine)?;
    let resources = resources(raw, place)?;
    let tenants = tenants(raw, place, &tree)?;
    let ranks = ranks(raw, place)?;
    let spares = raw.cluster.spares;
    if spares >= tree.nodes() {
        let problem = format!("{spares} spares leave nothing of {} nodes", tree.nodes());
        return Err(place.wrong("cluster", 0, "spares", problem));
    }
    let mut plans = Vec::new();
    for (index, job) in raw.job.iter().enumerate() {
        if job.kind == Some(Kind::Serving) {
            continue;
        }
        let context =
            Context { place, index, tree: &tree, resources: &resources, tenants: &tenants, ranks: &ranks };
        context.plans(job, &mut plans)?;
    }
    plans.sort_by_key(|(_, plan): &(Option<usize>, JobPlan)| plan.submit);
    let (origins, plans) = plans.into_iter().unzip();
    let options = options(raw, place, machine, &tree)?;
    let first = tree.nodes() - spares;
    let spares = (first..tree.nodes()).map(NodeId).collect();
    Ok(Setup { tree, resources, tenants, plans, origins, spares, options })
}

fn resources(raw: &Raw, place: &Place) -> Result<Vec<Resource>, ClusterError> {
    let all = &raw.cluster.resource;
    for (index, resource) in all.iter().enumerate() {
        let wrong = |key, problem: String| Err(place.wrong("cluster.resource", index, key, problem));
        if resource.name.trim().is_empty() {
            return wrong("name", "a resource has a name".to_owned());
        }
        if all[..index].iter().any(|other| other.name == resource.name) {
            return wrong("name", format!("there is a resource `{}` already", resource.name));
        }
        if resource.amount == 0 || resource.amount > MOST_UNITS {
            return wrong("amount", format!("{} units; write 1 to {MOST_UNITS}", resource.amount));
        }
    }
    Ok(all.iter().map(|one| Resource { name: one.name.clone(), amount: one.amount }).collect())
}

fn tree(raw: &Raw, place: &Place, machine: &Machine) -> Result<Tree, ClusterError> {
    let chips = raw.cluster.chips.unwrap_or(machine.chips);
    if chips == 0 {
        return Err(place.wrong("cluster", 0, "chips", "a cluster has at least one chip"));
    }
    if chips > 50_000_000 {
        return Err(place.wrong("cluster", 0, "chips", format!("{chips} chips are more than 50,000,000")));
    }
    let node = raw.cluster.node.unwrap_or(machine.node);
    if node == 0 || node > MOST_CHIPS_PER_NODE {
        let problem = format!("a node has 1 to {MOST_CHIPS_PER_NODE} chips, not {node}");
        return Err(place.wrong("cluster", 0, "node", problem));
    }
    let mut levels: Vec<Level> = machine.levels.clone();
    for (index, level) in raw.cluster.level.iter().enumerate() {
        if level.nodes < 2 {
            return Err(place.wrong(
                "cluster.level",
                index,
                "nodes",
                "a domain above the node has at least 2 nodes",
            ));
        }
        if levels.iter().any(|other| other.name == level.name) {
            let problem = format!("there is a level `{}` already", level.name);
            return Err(place.wrong("cluster.level", index, "name", problem));
        }
        levels.push(Level { name: level.name.clone(), nodes: level.nodes });
    }
    levels.sort_by_key(|level| level.nodes);
    for pair in levels.windows(2) {
        if pair[1].nodes % pair[0].nodes != 0 {
            let at = raw
                .cluster
                .level
                .iter()
                .position(|level| level.name == pair[0].name || level.name == pair[1].name);
            let problem = format!(
                "{} of {} nodes does not hold whole domains of {} with {}",
                pair[1].name, pair[1].nodes, pair[0].name, pair[0].nodes
            );
            return Err(place.wrong("cluster.level", at.unwrap_or(0), "nodes", problem));
        }
    }
    let mut capacity = vec![node; (chips / node) as usize];
    if chips % node > 0 {
        capacity.push(chips % node);
    }
    Ok(Tree::new(&capacity, &levels))
}

fn tenants(raw: &Raw, place: &Place, tree: &Tree) -> Result<Vec<Tenant>, ClusterError> {
    let mut cohorts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut total: u64 = 0;
    for (index, tenant) in raw.tenant.iter().enumerate() {
        if raw.tenant[..index].iter().any(|other| other.name == tenant.name) {
            let problem = format!("tenant `{}` has two entries, whose quotas overlap; keep one", tenant.name);
            return Err(place.wrong("tenant", index, "name", problem));
        }
        if tenant.weight.is_some_and(|weight| !(weight > 0.0 && weight.is_finite())) {
            return Err(place.wrong("tenant", index, "weight", "a weight is a positive number"));
        }
        total += u64::from(tenant.quota.unwrap_or(0));
        if total > u64::from(tree.chips()) {
            let problem = format!(
                "the quotas up to here add up to {total} chips and overlap: the cluster has {}",
                tree.chips()
            );
            return Err(place.wrong("tenant", index, "quota", problem));
        }
        if let Some(cohort) = &tenant.cohort {
            let next = cohorts.len() as u32;
            cohorts.entry(cohort).or_insert(next);
            if tenant.quota.is_none() {
                return Err(place.wrong(
                    "tenant",
                    index,
                    "quota",
                    "a member of a cohort lends what its quota leaves; give one",
                ));
            }
        }
        if tenant.borrow.is_some_and(|chips| chips > 0) && tenant.cohort.is_none() {
            return Err(place.wrong(
                "tenant",
                index,
                "borrow",
                "there is no cohort to borrow from; give `cohort`",
            ));
        }
    }
    let resolve = |tenant: &RawTenant| Tenant {
        name: tenant.name.clone(),
        quota: tenant.quota,
        borrow: tenant.borrow.unwrap_or(if tenant.cohort.is_some() { tree.chips() } else { 0 }),
        cohort: tenant.cohort.as_deref().and_then(|cohort| cohorts.get(cohort).copied()),
        weight: tenant.weight.unwrap_or(1.0),
    };
    let mut tenants: Vec<Tenant> = raw.tenant.iter().map(resolve).collect();
    if tenants.is_empty() {
        tenants.push(Tenant::open("default"));
    }
    Ok(tenants)
}

/// Classes of priority by rank: one more than the highest class they are above. Classes that are above each other in a circle
/// have none.
fn ranks(raw: &Raw, place: &Place) -> Result<BTreeMap<String, i32>, ClusterError> {
    for (index, class) in raw.priority.iter().enumerate() {
        for other in &class.above {
            if !raw.priority.iter().any(|class| class.name == *other) {
                let problem = format!("there is no priority `{other}`");
                return Err(place.wrong("priority", index, "above", problem));
            }
        }
        if raw.priority[..index].iter().any(|other| other.name == class.name) {
            return Err(place.wrong(
                "priority",
                index,
                "name",
                format!("there is a priority `{}` already", class.name),
            ));
        }
    }
    let mut ranks: BTreeMap<String, i32> = BTreeMap::new();
    while ranks.len() < raw.priority.len() {
        let ready = raw.priority.iter().find(|class| {
            !ranks.contains_key(&class.name) && class.above.iter().all(|other| ranks.contains_key(other))
        });
        let Some(class) = ready else {
            let circle: Vec<usize> = (0..raw.priority.len())
                .filter(|index| !ranks.contains_key(&raw.priority[*index].name))
                .collect();
            let names: Vec<&str> = circle.iter().map(|index| raw.priority[*index].name.as_str()).collect();
            let problem = format!("the priorities {} are above each other in a cycle", names.join(", "));
            return Err(place.wrong("priority", circle[0], "above", problem));
        };
        let rank = class.above.iter().map(|other| ranks[other] + 1).max().unwrap_or(0);
        ranks.insert(class.name.clone(), rank);
    }
    Ok(ranks)
}

/// One entry of the file.
pub(super) struct Context<'a> {
    place: &'a Place,
    index: usize,
    tree: &'a Tree,
    resources: &'a [Resource],
    tenants: &'a [Tenant],
    ranks: &'a BTreeMap<String, i32>,
}

impl Context<'_> {
    fn wrong(&self, key: &str, problem: impl Into<String>) -> ClusterError {
        self.place.wrong("job", self.index, key, problem)
    }

    fn plans(&self, job: &RawJob, plans: &mut Vec<(Option<usize>, JobPlan)>) -> Result<(), ClusterError> {
        let kind = job.kind.unwrap_or(Kind::Opaque);
        let ask = self.ask(job)?;
        let work = self.work(job, kind)?;
        let elastic = self.elastic(job, ask)?;
        self.allowed(self.tenant(job)?, ask)?;
        let uses = self.uses(job)?;
        let count = job.count.unwrap_or(1);
        if count == 0 || count > 10_000_000 {
            return Err(self.wrong("count", format!("{count} jobs; write 1 to 10,000,000")));
        }
        let scaling = job.scaling.unwrap_or(0.9);
        if !(0.0..=1.0).contains(&scaling) {
            return Err(self.wrong("scaling", "the exponent of speed over chips is 0 to 1"));
        }
        let checkpoint = Checkpoint {
            interval: job.checkpoint_interval.map_or(f64::INFINITY, units::Seconds::get),
            write: job.checkpoint_write.map_or(0.0, units::Seconds::get),
            restore: job.restart.map_or(0.0, units::Seconds::get),
        };
        if checkpoint.interval <= 0.0 || checkpoint.write < 0.0 || checkpoint.restore < 0.0 {
            return Err(self.wrong("checkpoint_interval", "times of checkpoints are positive"));
        }
        let name = job.name.clone().unwrap_or_else(|| format!("job-{}", self.index + 1));
        for copy in 0..count {
            let at = job.at.map_or(0.0, units::Seconds::get)
                + f64::from(copy) * job.every.map_or(0.0, units::Seconds::get);
            if !(0.0..=3.15e9).contains(&at) {
                return Err(self.wrong("at", "times are between 0 and a hundred years"));
            }
            // An elastic job takes longer at its least size, and is not to be cut off for it.
            let stretch = elastic.map_or(1.0, |range| f64::from(ask.chips()) / f64::from(range.least));
            let usual = job.duration.map(|length| 1.2 * stretch * length.get());
            let limit = job.limit.map(units::Seconds::get).or(usual);
            let plan = JobPlan {
                uses: uses.clone(),
                name: if count > 1 { format!("{name}-{}", copy + 1).into() } else { name.as_str().into() },
                kind,
                tenant: self.tenant(job)?,
                priority: self.priority(job)?,
                ask,
                elastic,
                limit,
                wish: self.wish(job, ask)?,
                preemptible: job.preemptible.unwrap_or(true),
                deadline: job.deadline.map(units::Seconds::get),
                scaling,
                submit: Nanos::new((at * 1e9).round() as u64),
                work,
                checkpoint,
            };
            plans.push((Some(self.index), plan));
        }
        Ok(())
    }

    fn uses(&self, job: &RawJob) -> Result<Uses, ClusterError> {
        let find = |(name, units): (&String, &u64)| {
            let Some(at) = self.resources.iter().position(|resource| resource.name == *name) else {
                let problem = format!("there is no resource `{name}`; write a `[[cluster.resource]]`");
                return Err(self.wrong("uses", problem));
            };
            let amount = self.resources[at].amount;
            if *units > amount {
                let problem = format!("it needs {units} of `{name}`, the cluster has {amount}");
                return Err(self.wrong("uses", problem));
            }
            Ok((at as u32, *units))
        };
        job.uses.iter().filter(|(_, units)| **units > 0).map(find).collect()
    }

    fn ask(&self, job: &RawJob) -> Result<Ask, ClusterError> {
        let Some(chips) = job.chips else {
            return Err(self.wrong("chips", "say how many chips it asks for"));
        };
        if chips == 0 {
            return Err(self.wrong("chips", "a job needs at least one chip"));
        }
        if chips > self.tree.chips() {
            let problem = format!("it asks for {chips} chips, the cluster has {}", self.tree.chips());
            return Err(self.wrong("chips", problem));
        }
        let Some(nodes) = job.nodes else {
            return Ok(Ask::packed(chips, self.tree.node_size()));
        };
        if nodes == 0 || chips % nodes != 0 || chips / nodes > self.tree.node_size() {
            let problem = format!(
                "{chips} chips are not spread evenly over {nodes} nodes of {}; change `nodes` or `chips`",
                self.tree.node_size()
            );
            return Err(self.wrong("nodes", problem));
        }
        Ok(Ask { count: nodes, each: chips / nodes, rest: 0 })
    }

    /// Whether a tenant may ever have so many chips.
    fn allowed(&self, tenant: TenantId, ask: Ask) -> Result<(), ClusterError> {
        let tenant = &self.tenants[tenant.0 as usize];
        let most = tenant.quota.map_or(u32::MAX, |quota| quota.saturating_add(tenant.borrow));
        if ask.chips() <= most {
            return Ok(());
        }
        let problem =
            format!("it asks for {} chips, tenant `{}` may use {most} at most", ask.chips(), tenant.name);
        Err(self.wrong("chips", problem))
    }

    fn work(&self, job: &RawJob, kind: Kind) -> Result<f64, ClusterError> {
        let (key, value, others) = match kind {
            Kind::Opaque => ("duration", job.duration.map(units::Seconds::get), "an opaque job"),
            Kind::Training => ("steps", job.steps, "a training job"),
            Kind::BatchInference => ("requests", job.requests, "batch inference"),
            Kind::Serving => return Ok(f64::INFINITY),
        };
        for (other, given) in [
            ("duration", job.duration.is_some()),
            ("steps", job.steps.is_some()),
            ("requests", job.requests.is_some()),
        ] {
            if given && other != key {
                return Err(self.wrong(other, format!("{others} has `{key}`, not `{other}`")));
            }
        }
        match value {
            Some(value) if value > 0.0 && value.is_finite() => Ok(value),
            Some(_) => Err(self.wrong(key, "it must be more than nothing")),
            None => Err(self.wrong(key, format!("{others} needs it"))),
        }
    }

    fn elastic(&self, job: &RawJob, ask: Ask) -> Result<Option<Range>, ClusterError> {
        if job.min_chips.is_none() && job.max_chips.is_none() {
            return Ok(None);
        }
        let chips = ask.chips();
        let range = Range { least: job.min_chips.unwrap_or(chips), most: job.max_chips.unwrap_or(chips) };
        if range.least == 0 || range.least > chips || range.most < chips || range.most > self.tree.chips() {
            let problem = format!(
                "min_chips {} <= chips {chips} <= max_chips {} <= {} of the cluster must hold",
                range.least,
                range.most,
                self.tree.chips()
            );
            return Err(self.wrong(if job.min_chips.is_some() { "min_chips" } else { "max_chips" }, problem));
        }
        Ok(Some(range))
    }

    fn tenant(&self, job: &RawJob) -> Result<TenantId, ClusterError> {
        let Some(name) = &job.tenant else {
            return Ok(TenantId(0));
        };
        let found = self.tenants.iter().position(|tenant| tenant.name == *name);
        found.map(|at| TenantId(at as u32)).ok_or_else(|| {
            let known: Vec<&str> = self.tenants.iter().map(|tenant| tenant.name.as_str()).collect();
            self.wrong("tenant", format!("there is no tenant `{name}`; there are {}", known.join(", ")))
        })
    }

    fn priority(&self, job: &RawJob) -> Result<i32, ClusterError> {
        match &job.priority {
            None => Ok(0),
            Some(RawRank::Number(number)) => Ok(*number),
            Some(RawRank::Class(name)) => self.ranks.get(name).copied().ok_or_else(|| {
                let known: Vec<&str> = self.ranks.keys().map(String::as_str).collect();
                let known =
                    if known.is_empty() { "none; write `[[priority]]`".to_owned() } else { known.join(", ") };
                self.wrong("priority", format!("there is no priority `{name}`; there are {known}"))
            }),
        }
    }

    fn wish(&self, job: &RawJob, ask: Ask) -> Result<Option<Wish>, ClusterError> {
        let (key, name, required) = match (&job.require, &job.prefer) {
            (Some(_), Some(_)) => return Err(self.wrong("prefer", "a level is either required or preferred")),
            (Some(name), None) => ("require", name, true),
            (None, Some(name)) => ("prefer", name, false),
            (None, None) if job.slice.is_some() => {
                return Err(self.wrong("slice", "say with `require` which level holds each slice"));
            }
            (None, None) => return Ok(None),
        };
        let level = self.tree.levels().iter().position(|level| level.name == *name).ok_or_else(|| {
            let known: Vec<&str> = self.tree.levels().iter().map(|level| level.name.as_str()).collect();
            self.wrong(key, format!("there is no level `{name}`; there are {}", known.join(", ")))
        })?;
        if job.slice == Some(0) {
            return Err(self.wrong("slice", "a slice has at least one node"));
        }
        let (nodes, inside) = (job.slice.unwrap_or(ask.nodes()), self.tree.levels()[level].nodes);
        if required && nodes > inside {
            let problem = format!("it takes {nodes} nodes, a {name} has {inside}");
            return Err(self.wrong(if job.slice.is_some() { "slice" } else { key }, problem));
        }
        Ok(Some(Wish { level: level as u32, required, slice: job.slice }))
    }
}

/// Tenant, priority and wish of a service, which are those of its replicas.
///
/// # Errors
/// As for any job.
pub fn standing(
    raw: &Raw,
    place: &Place,
    setup: &Setup,
    index: usize,
) -> Result<(Ask, TenantId, i32, Option<Wish>), ClusterError> {
    let ranks = ranks(raw, place)?;
    let context = Context {
        place,
        index,
        tree: &setup.tree,
        resources: &setup.resources,
        tenants: &setup.tenants,
        ranks: &ranks,
    };
    let job = &raw.job[index];
    let ask = context.ask(job)?;
    let (tenant, wish) = (context.tenant(job)?, context.wish(job, ask)?);
    context.allowed(tenant, ask)?;
    Ok((ask, tenant, context.priority(job)?, wish))
}
