//! From what a scenario says to what runs: step models, engine settings, ports, failures.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::policies;
use crate::raw::{Raw, RawDeployment, RawPool};
use crate::traffic::{Traffic, traffic, typical_length};
use cost::step::StepModel;
use estimate::economics::Ownership;
use estimate::{Formats, Point, Resolver, Roles, Sizes, ownership};
use hardware::{Catalog, CatalogError};
use rand::Rng;
use serving::{
    Admission, Batching, ClusterConfig, DeploymentConfig, EngineLimits, InstanceId, LoadTime, PoolConfig,
    Recovery, Role, Speculation, Tenant, TierSpec,
};
use sim::faults::{Fault, FaultKind};
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
    let Traffic { source, hash_block, requests } = traffic(raw, place, folder)?;
    let mut context =
        Context { raw, place, resolver, hash_block, pools: Vec::new(), options: Options::default(), at: 0 };
    let deployments =
        raw.deployment.iter().map(|deployment| context.deployment(deployment)).collect::<Result<_, _>>()?;
    let tenants = raw.tenant.iter().map(|tenant| {
        let terms = Tenant { weight: tenant.weight.unwrap_or(1.0).max(1e-6), rate: tenant.rate };
        (tenant.id, terms)
    });
    let config = ClusterConfig { deployments, tenants: tenants.collect(), seed: raw.seed };
    let faults = faults(raw, place, &config, &context.pools)?;
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
    pools: Vec<PoolInfo>,
    options: Options,
    /// Pools seen so far, for messages.
    at: usize,
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
        self.options
            .ingress
            .push(Ingress { request: host.request.value, prompt_token: host.prompt_token.value });
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
            let latency = tier.latency.unwrap_or(Seconds::from_us(20.0));
            let total = tier.total_bandwidth.unwrap_or(tier.bandwidth * f64::from(instances.max(1)));
            ports.push(TierPort { reader: tier.bandwidth, total, latency });
            tiers.push(TierSpec {
                name: tier.name.clone(),
                capacity: tier.capacity,
                bandwidth: tier.bandwidth,
                latency,
                shared: tier.shared,
            });
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
        let cached = raw
            .prefix_cache
            .unwrap_or(self.raw.workload.prefix.is_some() || self.raw.workload.sessions.is_some());
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

fn faults(
    raw: &Raw,
    place: &Place,
    config: &ClusterConfig,
    pools: &[PoolInfo],
) -> Result<Vec<Fault>, ScenarioError> {
    let counts =
        config.deployments.iter().flat_map(|deployment| deployment.pools.iter().map(|pool| pool.instances));
    let owners: Vec<&PoolInfo> = pools
        .iter()
        .zip(counts)
        .flat_map(|(pool, count)| std::iter::repeat_n(pool, count as usize))
        .collect();
    let mut faults = Vec::new();
    for (index, fault) in raw.fault.iter().enumerate() {
        let wrong = |key: &str, problem: String| place.wrong("fault", index, key, problem);
        let hit = [fault.instance].into_iter().chain(fault.also.iter().copied());
        if let Some(unknown) = hit.clone().find(|instance| *instance as usize >= owners.len()) {
            let problem =
                format!("there is no instance {unknown}; the scenario starts with {}", owners.len());
            return Err(wrong("instance", problem));
        }
        let instances: Vec<InstanceId> = hit.map(InstanceId).collect();
        let deployment = owners[fault.instance as usize].model.deployment();
        let left = fault.left.unwrap_or(0.5);
        // Ranks of attention that go with a chip or a node: those its ranks belong to.
        let of_chips =
            |chips: u32| (chips * deployment.chip.ranks).div_ceil(deployment.layout.tp.max(1)).max(1);
        let kind = match fault.kind.as_str() {
            "chip" => Some(of_chips(1)),
            "node" => {
                let node =
                    deployment.system.domains.iter().find(|domain| domain.kind == hardware::DomainKind::Node);
                let ranks = node.and_then(|domain| domain.ranks).unwrap_or(8);
                Some(ranks.div_ceil(deployment.layout.tp.max(1)).max(1))
            }
            "instance" => Some(u32::MAX),
            "link" | "switch" => None,
            other => {
                let problem =
                    format!("`{other}` is not known; use one of chip, node, instance, link, switch");
                return Err(wrong("kind", problem));
            }
        };
        if !(0.0..=1.0).contains(&left) {
            return Err(wrong("left", format!("{left} is not a share between 0 and 1")));
        }
        let repair = fault.repair.map(|after| fault.at + after);
        match kind {
            None => {
                faults.push(Fault {
                    at: fault.at,
                    kind: FaultKind::Links { instances: instances.clone(), share: left },
                });
                faults
                    .extend(repair.map(|at| Fault { at, kind: FaultKind::Links { instances, share: 1.0 } }));
            }
            Some(ranks) => {
                for instance in instances {
                    let kind = FaultKind::Fail { instance, ranks, repairable: repair.is_some() };
                    faults.push(Fault { at: fault.at, kind });
                    faults.extend(repair.map(|at| Fault { at, kind: FaultKind::Repair { instance } }));
                }
            }
        }
    }
    if let Some(rate) = &raw.failures {
        if rate.chip_mtbf <= Seconds::ZERO || rate.repair <= Seconds::ZERO {
            return Err(place.wrong("failures", 0, "chip_mtbf", "times must be more than 0"));
        }
        let mut random = workload::random::stream(raw.seed, "failures");
        for (index, pool) in owners.iter().enumerate() {
            let instance = InstanceId(index as u32);
            let ranks =
                pool.model.deployment().chip.ranks.div_ceil(pool.model.deployment().layout.tp.max(1)).max(1);
            let mut draw = |mean: Seconds| mean * -(1.0 - random.random::<f64>()).ln();
            let mut at = draw(rate.chip_mtbf / pool.chips.max(1.0));
            while at < rate.horizon {
                let mended = at + draw(rate.repair);
                faults.push(Fault { at, kind: FaultKind::Fail { instance, ranks, repairable: true } });
                faults.push(Fault { at: mended, kind: FaultKind::Repair { instance } });
                at = mended + draw(rate.chip_mtbf / pool.chips.max(1.0));
            }
        }
    }
    faults.sort_by(|a, b| a.at.get().total_cmp(&b.at.get()));
    Ok(faults)
}
