//! From what a scenario says to what runs: step models, engine settings, ports, failures.

use crate::costs::Costs;
use crate::error::ScenarioError;
use crate::place::Place;
use crate::policies;
use crate::raw::{Raw, RawDeployment, RawPool};
use crate::traffic::{Traffic, traffic, typical_length};
use crate::{faults, limits, tiers};
use cost::step::StepModel;
use estimate::economics::{Ownership, Site};
use estimate::{IdleKey, KeyError, OperatingPoint, Resolver, Roles};
use instance::{Pool, Settings, Wired};
use serving::{Admission, ClusterConfig, DeploymentConfig, EngineLimits, Recovery, Role, Tenant};
use sim::{FirstToken, Options, Slo, TierPort};
use std::path::Path;
use std::sync::Arc;
use units::Watts;

/// What a pool is made of, for reports.
#[derive(Clone)]
pub struct PoolInfo {
    /// Its name.
    pub name: String,
    /// What its instances do.
    pub role: Role,
    /// The deployment's.
    pub deployment: String,
    /// What prices its steps.
    pub model: Arc<StepModel>,
    /// Packages of one instance.
    pub chips: f64,
    /// Draw of an idle instance.
    pub idle: Watts,
    /// Settings of each instance.
    pub limits: EngineLimits,
}

/// A scenario ready to run.
pub struct Resolved {
    /// Its name.
    pub name: String,
    /// The control plane's settings.
    pub config: ClusterConfig,
    /// Pools in order.
    pub pools: Vec<PoolInfo>,
    /// The driver's settings.
    pub options: Options,
    /// What counts as good.
    pub slo: Slo,
    /// The traffic.
    pub source: Box<dyn workload::Source>,
    /// Requests, if it is known how many.
    pub requests: Option<u64>,
    /// Seed of everything random.
    pub seed: u64,
}

impl Resolved {
    /// What the run is paid for with, at a site.
    pub fn costs(&self, site: Site) -> Costs {
        let of = |pool: &PoolInfo| {
            let deployment = pool.model.deployment();
            Ownership::of(&deployment.system, &deployment.chip, site.basis)
        };
        Costs { site, pools: self.pools.iter().map(of).collect() }
    }
}

/// Resolves a scenario; traces are looked for beside the file, in `folder`.
pub(crate) fn resolve(
    raw: &Raw,
    place: &Place,
    folder: &Path,
    resolver: &Resolver,
) -> Result<Resolved, ScenarioError> {
    if raw.deployment.is_empty() {
        return Err(place.wrong(
            "",
            0,
            "deployment",
            "is needed; a scenario has at least one `[[deployment]]`",
        ));
    }
    limits::check(raw, place)?;
    let Traffic { source, hash_block, prefixes, requests } = traffic(raw, place, folder)?;
    let mut context = Context {
        raw,
        place,
        resolver,
        hash_block,
        prefixes,
        pools: Vec::new(),
        options: Options::default(),
        at: 0,
        tiers: 0,
    };
    let deployments =
        raw.deployment.iter().map(|deployment| context.deployment(deployment)).collect::<Result<_, _>>()?;
    let tenants = raw.tenant.iter().map(|tenant| {
        let terms = Tenant {
            weight: tenant.weight.unwrap_or(1.0).max(1e-6),
            rate: tenant.rate,
            concurrency: tenant.concurrency,
            tokens_per_minute: tenant.tokens_per_minute,
        };
        (tenant.id, terms)
    });
    let config = ClusterConfig { deployments, tenants: tenants.collect(), seed: raw.seed };
    let faults = faults::faults(raw, place, &config, &context.pools, resolver.catalog())?;
    let options = Options { faults, until: raw.until, ..context.options };
    let name = raw.name.clone().unwrap_or_else(|| place.file.clone());
    let slo = Slo { ttft: raw.slo.ttft, tpot: raw.slo.tpot, e2e: raw.slo.e2e };
    Ok(Resolved { name, config, pools: context.pools, options, slo, source, requests, seed: raw.seed })
}

struct Context<'a> {
    raw: &'a Raw,
    place: &'a Place,
    resolver: &'a Resolver,
    hash_block: u32,
    /// Whether requests have prefixes to be cached.
    prefixes: bool,
    pools: Vec<PoolInfo>,
    options: Options,
    /// Pools seen so far, for messages.
    at: usize,
    /// Tiers seen so far, for messages.
    tiers: usize,
}

impl Context<'_> {
    fn deployment(&mut self, raw: &RawDeployment) -> Result<DeploymentConfig, ScenarioError> {
        let number = self.options.ingress.len();
        let name = raw.name.clone().unwrap_or_else(|| raw.point.model.clone());
        let first = self.at;
        let pools = raw.pool.iter().map(|pool| self.pool(raw, pool)).collect::<Result<Vec<_>, _>>()?;
        let Some(model) = pools.first().map(|pool| Arc::clone(&pool.model)) else {
            return Err(self.place.wrong(
                "deployment",
                number,
                "pool",
                "is needed; give one aggregated pool, or one \
                 prefill and one decode pool",
            ));
        };
        let instances: Vec<(Roles, &StepModel)> =
            pools.iter().map(|pool| (pool.role.into(), &*pool.model)).collect();
        self.refuse_idle("deployment", number, &raw.point, &instances)?;
        let wired = self.wire(&name, first, &pools)?;
        match raw.first_token.as_deref() {
            None => self.options.first_token = instance::FIRST_TOKEN,
            Some("prefill") => self.options.first_token = FirstToken::Prefill,
            Some("decode") => self.options.first_token = FirstToken::Decode,
            Some(other) => {
                let problem = format!("`{other}` is not known; use prefill or decode");
                return Err(self.place.wrong("deployment", number, "first_token", problem));
            }
        }
        let pools = wired.pools;
        let instances: u32 = pools.iter().map(|pool| pool.instances).sum();
        let mut ports = Vec::new();
        let mut tiers = Vec::new();
        for tier in &raw.tier {
            let spec = tiers::tier(self.place, self.tiers, tier, &model)?;
            self.tiers += 1;
            // A device of an instance's own has one reader.
            let readers = if spec.shared { f64::from(instances.max(1)) } else { 1.0 };
            let total = tier.total_bandwidth.unwrap_or(spec.bandwidth * readers);
            ports.push(TierPort { reader: spec.bandwidth, total, latency: spec.latency });
            tiers.push(spec);
        }
        self.options.tiers.push(ports);
        let usual = Recovery::default();
        let retries = raw.retries.unwrap_or(usual.retries);
        Ok(DeploymentConfig {
            name,
            pools,
            tiers,
            admission: Admission { queue_limit: raw.queue_limit },
            recovery: Recovery { retries, spares: raw.spares.unwrap_or(0), shrink: raw.shrink },
        })
    }

    /// The pools of a deployment, of which `first` is the first in the file, as the control plane and the clock take them.
    fn wire(&mut self, name: &str, first: usize, pools: &[Pool]) -> Result<Wired, ScenarioError> {
        let mut wired = instance::wire(pools, typical_length(&self.raw.workload));
        for (index, (pool, config)) in pools.iter().zip(&wired.pools).enumerate() {
            let wrong = |error: serving::LimitsError| {
                self.place.wrong("deployment.pool", first + index, error.key, error.problem)
            };
            config.limits.check().map_err(wrong)?;
            let built = pool.model.deployment();
            self.pools.push(PoolInfo {
                name: pool.name.clone(),
                role: pool.role,
                deployment: name.to_owned(),
                chips: f64::from(built.layout.ranks()) / f64::from(built.chip.ranks),
                idle: pool.model.idle_power().unwrap_or(Watts::ZERO),
                limits: config.limits.clone(),
                model: Arc::clone(&pool.model),
            });
        }
        for config in &mut wired.pools {
            config.name = format!("{name}/{}", config.name);
        }
        self.options.ports.extend(&wired.ports);
        self.options.ingress.push(wired.ingress);
        Ok(wired)
    }

    fn pool(&mut self, deployment: &RawDeployment, raw: &RawPool) -> Result<Pool, ScenarioError> {
        let (place, index) = (self.place, self.at);
        self.at += 1;
        let role = policies::role(place, index, raw)?;
        let model = self.step_model(deployment, raw, role, index)?;
        let instances = raw.instances.unwrap_or(1);
        let scaling =
            raw.scaling.as_ref().map(|raw| policies::scaling(place, index, raw, instances)).transpose()?;
        Ok(Pool {
            settings: self.settings(raw, index)?,
            router: policies::router(place, index, raw)?,
            load_warm: raw.load_warm,
            load_cold: raw.load_cold,
            scaling,
            ..Pool::new(role, model, instances)
        })
    }

    fn step_model(
        &self,
        deployment: &RawDeployment,
        pool: &RawPool,
        role: Role,
        index: usize,
    ) -> Result<Arc<StepModel>, ScenarioError> {
        let mut point = deployment.point.clone();
        point.overlay(&pool.point);
        (point.prefill, point.decode) = (point.sizes, point.sizes);
        let model = self.resolver.step_model(&point, role.into()).map_err(|error| {
            let at = self.place.pool(index, pool.role.as_deref().unwrap_or("aggregated"));
            ScenarioError::Deployment { at, error }
        })?;
        let mut own = pool.point.clone();
        own.engine = point.engine;
        self.refuse_idle("deployment.pool", index, &own, &[(role.into(), &*model)])?;
        let layout = model.deployment().layout;
        let packages = f64::from(layout.ranks()) / f64::from(model.deployment().chip.ranks);
        if let Some(chips) = pool.point.chips.filter(|chips| *chips != packages) {
            let problem = format!("{chips} is not what the sizes make of an instance, which is {packages}");
            return Err(self.place.wrong("deployment.pool", index, "chips", problem));
        }
        Ok(model)
    }

    /// Refuses keys of the `index`-th `table` that change nothing in these instances.
    fn refuse_idle(
        &self,
        table: &str,
        index: usize,
        point: &OperatingPoint,
        instances: &[(Roles, &StepModel)],
    ) -> Result<(), ScenarioError> {
        let refused = estimate::refuse_idle(self.resolver, point, instances.iter().copied());
        refused.map_err(|error| match error {
            IdleKey::Lookup(error) => {
                ScenarioError::Deployment { at: self.place.at(table, index, "engine"), error }
            }
            IdleKey::Key(KeyError { key, problem }) => self.place.wrong(table, index, &key, problem),
        })
    }

    fn settings(&self, raw: &RawPool, index: usize) -> Result<Settings, ScenarioError> {
        let place = self.place;
        let cached = raw.prefix_cache.unwrap_or(self.prefixes);
        Ok(Settings {
            token_budget: None,
            max_sequences: None,
            kv_blocks: raw.kv_blocks,
            block: raw.block,
            max_context: raw.max_context,
            chunked_prefill: raw.chunked_prefill,
            batching: policies::batching(place, index, raw)?,
            gathering: raw.gathering.map(policies::gathering),
            order: policies::order(place, index, raw)?,
            preemption: policies::preemption(place, index, raw)?,
            prefix_cache: cached.then_some(self.hash_block),
            capture: raw.capture.clone(),
            stream_interval: None,
        })
    }
}
