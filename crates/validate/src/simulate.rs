//! A closed loop, request by request, on the instances of an estimate.

use crate::recipe::Launch;
use cost::step::StepModel;
use estimate::{EstimateError, Pool, Roles};
use serving::{Batching, EngineLimits, Speculation};
use sim::{ClosedLoop, FirstToken, Ingress, PoolSetting, PortConfig};
use std::sync::Arc;
use units::{Bytes, Seconds};

/// Latencies as the source averages them.
pub(crate) struct Simulated {
    pub ttft: Seconds,
    pub tpot: Seconds,
}

/// What the instance's scheduler may do, from the engine profile and the memory that is left.
fn limits(model: &StepModel, launch: &Launch) -> EngineLimits {
    let point = &launch.point;
    let deployment = model.deployment();
    let scheduler = &deployment.engine.scheduler;
    let length = f64::from(point.isl.unwrap_or(1)) + f64::from(point.osl.unwrap_or(1));
    let block = scheduler.block.value;
    let tokens = model.memory().cache_tokens(length * point.length_factor());
    let speculation = deployment.speculation;
    EngineLimits {
        ranks: deployment.layout.dp,
        token_budget: scheduler.token_budget.value,
        max_seqs: scheduler.max_sequences.value,
        kv_blocks: ((tokens / f64::from(block)) as u32).max(1),
        block,
        max_context: u32::MAX / 2,
        chunked: scheduler.chunked_prefill,
        batching: if scheduler.mixed_steps { Batching::Mixed } else { Batching::PrefillFirst },
        gathering: launch.gathering,
        speculation: (speculation.tokens > 0)
            .then_some(Speculation { draft_tokens: speculation.tokens, acceptance: speculation.acceptance }),
        kv_bytes_per_token: per_token(model, length),
        ..EngineLimits::default()
    }
}

fn per_token(model: &StepModel, length: f64) -> Bytes {
    model.memory().cache_bytes(length) * (f64::from(model.deployment().layout.tp) / length)
}

fn failed(error: impl std::fmt::Display) -> EstimateError {
    EstimateError::Coefficients(error.to_string())
}

/// Runs the closed loop of a launch on its pools.
pub(crate) fn closed_loop(
    pools: &[Pool],
    launch: &Launch,
    statistic: &str,
) -> Result<Simulated, EstimateError> {
    let point = &launch.point;
    let users = point.concurrency.unwrap_or(1);
    let (isl, osl) = (point.isl.unwrap_or(1), point.osl.unwrap_or(1));
    let spread = point.length_spread.unwrap_or(1.0);
    let client = |users: u32, front: &Pool| ClosedLoop {
        ingress: ingress(&front.model, launch),
        ..ClosedLoop::inference_x(users.max(1), isl, osl, spread)
    };
    let of = |role: Roles| pools.iter().find(|pool| pool.role == role);
    let result = match (of(Roles::Both), of(Roles::Prefill), of(Roles::Decode)) {
        (Some(pool), ..) => {
            let alone = client(users.div_ceil(pool.instances), pool);
            sim::closed_loop(&*pool.model, &limits(&pool.model, launch), &alone)
        }
        (None, Some(prefill), Some(decode)) => {
            let setting = |pool: &Pool| PoolSetting {
                pricer: Arc::clone(&pool.model),
                limits: limits(&pool.model, launch),
                instances: pool.instances,
                port: port(&pool.model),
            };
            let first = FirstToken::Decode;
            let client = client(users, prefill);
            sim::closed_loop_disaggregated(&setting(prefill), &setting(decode), first, &client)
        }
        _ => return Err(failed("an estimate without instances")),
    };
    let result = result.map_err(failed)?;
    let (ttft, tpot) = match statistic {
        "median" => (result.median_ttft, result.median_tpot),
        _ => (result.mean_ttft, result.mean_tpot),
    };
    Ok(Simulated { ttft, tpot })
}

/// What a request passes in front of the engine's loop.
fn ingress(model: &StepModel, launch: &Launch) -> Ingress {
    let host = &model.deployment().engine.host;
    Ingress {
        request: host.request.value,
        prompt_token: host.prompt_token.value,
        first_chunk: launch.first_chunk.unwrap_or(host.first_chunk.value),
    }
}

/// Every tensor-parallel rank of an instance sends its share of the cache over its own port.
fn port(model: &StepModel) -> PortConfig {
    let deployment = model.deployment();
    let domain = deployment.system.domain_for(deployment.layout.ranks() * 2);
    PortConfig {
        fabric: domain.bandwidth.value * f64::from(deployment.layout.ranks()),
        latency: domain.latency.value + deployment.engine.host.hand_off.value,
        ..PortConfig::default()
    }
}
