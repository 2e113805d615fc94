//! From a resolved scenario to a cluster that can be brought up.

use cost::step::StepModel;
use hardware::DomainKind;
use live::Cluster;
use live::app::{Model, Money, PoolFacts};
use scenario::{PoolInfo, Resolved};
use serving::{ConfigError, Role};
use sim::World;
use sim::placement::PoolHardware;
use std::sync::Arc;
use units::{DollarsPerHour, Watts};

/// Chips of a node where the system does not say.
const USUAL_NODE: u32 = 8;

/// Makes a cluster of a scenario; `prices` are those of each pool's chips, `per_joule` that of electricity.
///
/// # Errors
/// A cluster that cannot run.
pub fn cluster(
    mut resolved: Resolved,
    prices: &[Option<DollarsPerHour>],
    per_joule: f64,
) -> Result<Cluster<Arc<StepModel>>, ConfigError> {
    let models = models(&mut resolved);
    let (mut entries, mut next, mut chips) = (Vec::new(), 0, 0.0);
    let mut hourly = Some(DollarsPerHour::new(0.0));
    let mut pools = Vec::new();
    let mut infos = resolved.pools.iter().zip(prices);
    for (number, deployment) in resolved.config.deployments.iter().enumerate() {
        for pool in &deployment.pools {
            let Some((info, price)) = infos.next() else { continue };
            if pool.role != Role::Decode {
                entries.extend(next..next + pool.instances);
            }
            next += pool.instances;
            let here = info.chips * f64::from(pool.instances);
            chips += here;
            hourly = hourly.zip(*price).map(|(sum, price)| sum + price * here);
            pools.push(facts(&pool.name, number as u32, info));
        }
    }
    let options =
        sim::Options { hardware: resolved.pools.iter().map(stands_on).collect(), ..resolved.options };
    let pricers = resolved.pools.iter().map(|pool| Arc::clone(&pool.model)).collect();
    let idle = resolved.pools.iter().map(|pool| pool.idle).collect();
    let world = World::new(resolved.config, pricers, options)?;
    let money = Money { hourly, per_joule };
    Ok(Cluster { world, idle, models, pools, entries, chips: chips.round() as u32, money, jobs: None })
}

/// Models as clients see them. Prefixes are cached block by block, as engines do, whatever the hashes of the scenario's
/// own traffic stand for.
fn models(resolved: &mut Resolved) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for (number, deployment) in resolved.config.deployments.iter_mut().enumerate() {
        let caches = deployment.pools.iter().any(|pool| pool.limits.prefix_cache.is_some());
        let block = deployment.pools.iter().fold(1, |all, pool| lcm(all, pool.limits.block));
        for pool in &mut deployment.pools {
            pool.limits.prefix_cache = pool.limits.prefix_cache.map(|_| block);
        }
        let max_context = deployment.pools.iter().map(|pool| pool.limits.max_context).min().unwrap_or(1);
        let gate = resolved.options.ingress.get(number).map_or(1.0, |ingress| ingress.stream_interval);
        models.push(Model {
            name: deployment.name.clone(),
            deployment: number as u32,
            max_context,
            block: if caches { block } else { 0 },
            gate: gate.round().max(1.0) as u32,
        });
    }
    models
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x.max(1) * b
}

fn facts(name: &str, deployment: u32, info: &PoolInfo) -> PoolFacts {
    let built = info.model.deployment();
    let per_chip = f64::from(built.chip.ranks);
    let memory = info.model.memory();
    PoolFacts {
        name: name.to_owned(),
        deployment,
        chip: built.chip.name.clone(),
        ascend: built.chip.vendor.to_ascii_lowercase().contains("huawei"),
        system: built.system.id.clone(),
        idle_chip: info.idle / info.chips.max(1e-9),
        // Idle chips draw with their share of the system, and so do busy ones.
        peak_chip: built.chip.tdp.as_ref().map_or(Watts::new(1000.0), |tdp| tdp.value)
            + built.system.overhead_power.value,
        memory_chip: built.chip.rank.memory.value * per_chip,
        weights_chip: memory.weights() * per_chip,
        kv_chip: memory.for_cache() * per_chip,
    }
}

/// Where the instances of a pool stand. A board is what a node holds, as far as the catalog knows.
fn stands_on(info: &PoolInfo) -> PoolHardware {
    let built = info.model.deployment();
    let ranks_per_chip = built.chip.ranks.max(1);
    let node = built.system.domain(DomainKind::Node).and_then(|domain| domain.ranks);
    let node_chips = node.map_or(USUAL_NODE, |ranks| (ranks / ranks_per_chip).max(1));
    PoolHardware {
        system: built.system.id.clone(),
        system_chips: built.system.chips,
        node_chips,
        board_chips: node_chips,
        ranks_per_chip,
        ranks: built.layout.ranks(),
        ranks_per_attention: built.layout.tp.max(1),
    }
}
