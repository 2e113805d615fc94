//! From what a scenario says to what runs: step models, engine settings, ports, failures.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::policies;
use crate::raw::{Raw, RawDeployment, RawPool};
use crate::traffic::{Traffic, traffic, typical_length};
use crate::{faults, tiers};
use cost::step::StepModel;
use estimate::economics::Ownership;
use estimate::{Formats, Point, Resolver, Roles, Sizes, ownership};
use hardware::{Catalog, CatalogError};
use serving::{
    Admission, Batching, ClusterConfig, DeploymentConfig, EngineLimits, LoadTime, PoolConfig, Recovery, Role,
    Speculation, Tenant,
};
use sim::{FirstToken, Ingress, Options, PortConfig, Slo, TierPort};
use std::path::Path;
use std::sync::Arc;
use units::{Bytes, BytesPerSecond, DollarsPerHour, Seconds, Watts};

/// Reading weights that are in nobody's memory: 671 GB in about 320 s from CloudMatrix384's model cache
/// (arXiv 2506.12708).
const COLD_BANDWIDTH: BytesPerSecond = BytesPerSecond::new(2.1e9);

/// Switching to weights that are in the model cache (same source).
const WARM_LOAD: Seconds = Seconds::new(5.0);

/// What a pool is made of, for reports.
#[derive(Clone)]
pub struct PoolInfo {
    /// Its name.
    pub name: String,
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
    /// What the chips of each pool cost to own or rent per hour, electricity aside; `None` where nobody knows.
    ///
    /// # Errors
    /// The catalog's price list is malformed.
    pub fn hourly_prices(&self, catalog: &Catalog) -> Result<Vec<Option<DollarsPerHour>>, CatalogError> {
        let hours = catalog.economics()?.prices.depreciation.value.get() / 3600.0;
        let hourly = |ownership| match ownership {
            Ownership::Rented(rent) => rent,
            Ownership::Bought(price) => DollarsPerHour::new(price.get() / hours),
        };
        let of = |pool: &PoolInfo| ownership(&pool.model.deployment().system).map(hourly);
        Ok(self.pools.iter().map(of).collect())
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
        let name = raw.name.clone().unwrap_or_else(|| raw.model.clone());
        let first = self.pools.len();
        let pools = raw.pool.iter().map(|pool| self.pool(raw, &name, pool)).collect::<Result<Vec<_>, _>>()?;
        let Some(info) = self.pools.get(first) else {
            return Err(self.place.wrong(
                "deployment",
                number,
                "pool",
                "is needed; give one aggregated pool, or one \
                 prefill and one decode pool",
            ));
        };
        let host = &info.model.deployment().engine.host;
        // Every instance that takes prompts has a tokeniser of its own, and the router keeps them equally busy.
        let entries =
            pools.iter().find(|pool| pool.role != Role::Decode).map_or(1, |pool| pool.instances.max(1));
        let prompt_token = host.prompt_token.value / f64::from(entries);
        self.options.ingress.push(Ingress {
            request: host.request.value,
            prompt_token,
            first_chunk: host.first_chunk.value,
        });
        match raw.first_token.as_deref() {
            None | Some("prefill") => {}
            Some("decode") => self.options.first_token = FirstToken::Decode,
            Some(other) => {
                let problem = format!("`{other}` is not known; use prefill or decode");
                return Err(self.place.wrong("deployment", number, "first_token", problem));
            }
        }
        let instances: u32 = pools.iter().map(|pool| pool.instances).sum();
        let mut ports = Vec::new();
        let mut tiers = Vec::new();
        for tier in &raw.tier {
            let spec = tiers::tier(self.place, self.tiers, tier, &info.model)?;
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
            recovery: Recovery { retries, spares: raw.spares, shrink: raw.shrink },
        })
    }

    fn pool(
        &mut self,
        deployment: &RawDeployment,
        name: &str,
        raw: &RawPool,
    ) -> Result<PoolConfig, ScenarioError> {
        let (place, index) = (self.place, self.at);
        self.at += 1;
        let role = policies::role(place, index, raw)?;
        let model = self.step_model(deployment, raw, role, index)?;
        let limits = self.limits(raw, &model, role, index)?;
        limits.check().map_err(|error| place.wrong("deployment.pool", index, error.key, error.problem))?;
        let instances = raw.instances.unwrap_or(1);
        let scaling =
            raw.scaling.as_ref().map(|raw| policies::scaling(place, index, raw, instances)).transpose()?;
        let pool_name = match role {
            Role::Aggregated => "aggregated",
            Role::Prefill => "prefill",
            Role::Decode => "decode",
        };
        let built = model.deployment();
        let ranks = built.layout.ranks();
        self.options.ports.push(port(&model));
        let weights = model.memory().weights() * f64::from(ranks);
        self.pools.push(PoolInfo {
            name: pool_name.to_owned(),
            deployment: name.to_owned(),
            chips: f64::from(ranks) / f64::from(built.chip.ranks),
            idle: model.idle_power().unwrap_or(Watts::ZERO),
            limits: limits.clone(),
            model: Arc::clone(&model),
        });
        Ok(PoolConfig {
            name: format!("{name}/{pool_name}"),
            role,
            limits,
            instances,
            router: policies::router(place, index, raw)?,
            load: LoadTime {
                warm: raw.load_warm.unwrap_or(WARM_LOAD),
                cold: raw.load_cold.unwrap_or(weights / COLD_BANDWIDTH),
            },
            scaling,
        })
    }

    fn step_model(
        &self,
        deployment: &RawDeployment,
        pool: &RawPool,
        role: Role,
        index: usize,
    ) -> Result<Arc<StepModel>, ScenarioError> {
        let sizes = Sizes {
            instances: None,
            tp: pool.tp,
            pp: pool.pp,
            dp: pool.dp,
            ep: pool.ep,
            moe_tp: pool.moe_tp,
            redundant_experts: pool.redundant_experts,
        };
        let point = Point {
            system: pool.system.clone().unwrap_or_else(|| deployment.system.clone()),
            chip: pool.chip.clone().or_else(|| deployment.chip.clone()),
            chips: pool.chips.map(f64::from),
            model: deployment.model.clone(),
            engine: pool.engine.clone().or_else(|| deployment.engine.clone()),
            formats: Formats {
                weight: deployment.weight_dtype,
                act: deployment.act_dtype,
                kv: deployment.kv_dtype,
                moe: deployment.moe_dtype,
            },
            sizes,
            prefill: sizes,
            decode: sizes,
            spec_tokens: deployment.spec_tokens,
            spec_accept: deployment.spec_accept,
            ..Point::default()
        };
        let roles = match role {
            Role::Aggregated => Roles::Both,
            Role::Prefill => Roles::Prefill,
            Role::Decode => Roles::Decode,
        };
        self.resolver.step_model(&point, roles).map_err(|error| ScenarioError::Deployment {
            at: self.place.at("deployment.pool", index, "role"),
            error,
        })
    }

    fn limits(
        &self,
        raw: &RawPool,
        model: &StepModel,
        role: Role,
        index: usize,
    ) -> Result<EngineLimits, ScenarioError> {
        let deployment = model.deployment();
        let scheduler = &deployment.engine.scheduler;
        let length = typical_length(&self.raw.workload);
        let block = raw.block.unwrap_or(scheduler.block.value);
        let tokens = model.memory().cache_tokens(length);
        let fits = ((tokens / f64::from(block.max(1))) as u32).max(1);
        let usual = if scheduler.mixed_steps { Batching::Mixed } else { Batching::PrefillFirst };
        let cached = raw.prefix_cache.unwrap_or(self.prefixes);
        let speculation = deployment.speculation;
        let drafts = speculation.tokens > 0 && role != Role::Prefill;
        Ok(EngineLimits {
            ranks: deployment.layout.dp,
            token_budget: raw.token_budget.unwrap_or(scheduler.token_budget.value),
            max_seqs: raw.max_seqs.unwrap_or(scheduler.max_sequences.value),
            kv_blocks: raw.kv_blocks.unwrap_or(fits),
            block,
            max_context: raw.max_context.unwrap_or(deployment.model.max_context),
            chunked: raw.chunked_prefill.unwrap_or(scheduler.chunked_prefill),
            batching: policies::batching(self.place, index, raw, usual)?,
            gathering: raw.gathering.map(policies::gathering),
            order: policies::order(self.place, index, raw)?,
            preemption: policies::preemption(self.place, index, raw)?,
            prefix_cache: cached.then_some(self.hash_block),
            speculation: drafts.then_some(Speculation {
                draft_tokens: speculation.tokens,
                acceptance: speculation.acceptance,
            }),
            capture: raw.capture.clone(),
            watermark: EngineLimits::default().watermark,
            kv_bytes_per_token: bytes_per_token(model, length),
        })
    }
}

/// Cache of one token of a sequence on all ranks that hold a part of it.
fn bytes_per_token(model: &StepModel, length: f64) -> Bytes {
    let layout = &model.deployment().layout;
    model.memory().cache_bytes(length) * (f64::from(layout.tp * layout.pp) / length)
}

/// Every rank of an instance sends its share of the cache over its own port.
fn port(model: &StepModel) -> PortConfig {
    let deployment = model.deployment();
    let ranks = f64::from(deployment.layout.ranks());
    let domain = deployment.system.domain_for(deployment.layout.ranks() * 2);
    let usual = PortConfig::default();
    let host = deployment.system.host.link.as_ref().map_or(usual.host, |link| link.value * ranks);
    PortConfig { fabric: domain.bandwidth.value * ranks, host, latency: domain.latency.value }
}
