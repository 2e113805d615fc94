//! Pools of instances as the control plane and the clock take them.

use crate::limits::{Settings, limits};
use crate::transfer::{network_domain, port};
use cost::step::StepModel;
use serving::{LoadTime, PoolConfig, Role, RouterPolicy, Scaling};
use sim::{Ingress, PortConfig};
use std::sync::Arc;
use units::{BytesPerSecond, Seconds};

/// Reading weights that are in nobody's memory: 671 GB in about 320 s from CloudMatrix384's model cache
/// (arXiv 2506.12708).
const COLD_BANDWIDTH: BytesPerSecond = BytesPerSecond::new(2.1e9);

/// Switching to weights that are in the model cache (same source).
const WARM_LOAD: Seconds = Seconds::new(5.0);

/// Equal instances of a deployment.
#[derive(Clone)]
pub struct Pool {
    /// Its name in reports.
    pub name: String,
    /// What its instances do.
    pub role: Role,
    /// What prices their steps.
    pub model: Arc<StepModel>,
    /// How many there are at the start.
    pub instances: u32,
    /// What is set otherwise than engine and memory say.
    pub settings: Settings,
    /// How requests are spread over them; [`crate::ROUTER`] if absent.
    pub router: Option<RouterPolicy>,
    /// Time to come up with the weights in the model cache; a measured one if absent.
    pub load_warm: Option<Seconds>,
    /// Time to come up from storage; as long as the weights take to read if absent.
    pub load_cold: Option<Seconds>,
    /// Whether and how their number follows the load.
    pub scaling: Option<Scaling>,
}

impl Pool {
    /// With everything as the engine has it.
    pub fn new(role: Role, model: Arc<StepModel>, instances: u32) -> Self {
        let name = match role {
            Role::Aggregated => "aggregated",
            Role::Prefill => "prefill",
            Role::Decode => "decode",
        };
        Self {
            name: name.to_owned(),
            role,
            model,
            instances,
            settings: Settings::default(),
            router: None,
            load_warm: None,
            load_cold: None,
            scaling: None,
        }
    }
}

/// The pools of one deployment, ready for the control plane and the clock.
pub struct Wired {
    /// Settings of each pool.
    pub pools: Vec<PoolConfig>,
    /// Ports of an instance of each.
    pub ports: Vec<PortConfig>,
    /// What a request passes in front of the deployment.
    pub ingress: Ingress,
}

/// Wires the pools of one deployment for sequences of about `length` tokens.
pub fn wire(pools: &[Pool], length: f64) -> Wired {
    let system = |pool: &Pool| Arc::clone(&pool.model.deployment().system);
    let several = pools.windows(2).any(|pair| system(&pair[0]).id != system(&pair[1]).id);
    let ranks = |pool: &Pool| pool.model.deployment().layout.ranks().saturating_mul(pool.instances.max(1));
    let all = pools.iter().map(ranks).fold(0, u32::saturating_add);
    let ports = pools.iter().map(|pool| {
        let system = &pool.model.deployment().system;
        port(&pool.model, network_domain(system, all, several))
    });
    let ports = ports.collect();
    let front = pools.iter().find(|pool| pool.role != Role::Decode);
    // Tokens are sent by the instance that decodes.
    let streaming = pools.iter().find(|pool| pool.role != Role::Prefill);
    let ingress = front.zip(streaming).map_or_else(Ingress::default, |(front, streaming)| {
        let usual = streaming.model.deployment().engine.host.stream_interval.value;
        ingress(&front.model, front.instances, streaming.settings.stream_interval.unwrap_or(usual))
    });
    Wired { pools: pools.iter().map(|pool| config(pool, length)).collect(), ports, ingress }
}

fn config(pool: &Pool, length: f64) -> PoolConfig {
    let ranks = pool.model.deployment().layout.ranks();
    let weights = pool.model.memory().weights() * f64::from(ranks);
    PoolConfig {
        name: pool.name.clone(),
        role: pool.role,
        limits: limits(&pool.model, pool.role, length, &pool.settings),
        instances: pool.instances,
        router: pool.router.unwrap_or(crate::ROUTER),
        load: LoadTime {
            warm: pool.load_warm.unwrap_or(WARM_LOAD),
            cold: pool.load_cold.unwrap_or(weights / COLD_BANDWIDTH),
        },
        scaling: pool.scaling.clone(),
    }
}

/// What a request passes in front of `instances` instances that take prompts: each has a tokeniser of its own.
fn ingress(model: &StepModel, instances: u32, stream_interval: f64) -> Ingress {
    let host = &model.deployment().engine.host;
    Ingress {
        request: host.request.value,
        prompt_token: host.prompt_token.value,
        tokenisers: instances.max(1),
        stream_interval,
    }
}
