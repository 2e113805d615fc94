//! A closed loop, request by request, on the instances of an estimate.

use crate::launch::Launch;
use estimate::{EstimateError, Pool, Roles};
use instance::Settings;
use sim::ClosedLoop;
use std::sync::Arc;
use units::{Seconds, TokensPerSecond};

/// Latencies as the source averages them, and the rate of the whole run.
pub(crate) struct Simulated {
    pub ttft: Seconds,
    pub tpot: Seconds,
    pub throughput: TokensPerSecond,
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
    let length = (f64::from(isl) + f64::from(osl)) * point.length_factor();
    // Aggregated instances do the same side by side: one with its part of the users stands for all.
    let alone = |pool: &Pool| pool.role == Roles::Both;
    let beside = pools.iter().find(|pool| alone(pool)).map_or(1, |pool| pool.instances.max(1));
    let users = users.div_ceil(beside).max(1);
    let running: Vec<instance::Pool> = pools
        .iter()
        .map(|pool| {
            let instances = if alone(pool) { 1 } else { pool.instances };
            let settings = Settings { gathering: launch.gathering, ..Settings::default() };
            let model = Arc::clone(&pool.model);
            instance::Pool { settings, ..instance::Pool::new(pool.role.into(), model, instances) }
        })
        .collect();
    let wired = instance::wire(&running, length);
    let mut client =
        ClosedLoop { ingress: wired.ingress, ..ClosedLoop::inference_x(users, isl, osl, spread) };
    if let Some(requests) = launch.requests {
        client.rounds = f64::from(requests) / f64::from(beside) / f64::from(users);
    }
    if let Some(rate) = launch.request_rate {
        client.pace = client.pace.max(Seconds::new(f64::from(beside) / rate));
    }
    let pricers = pools.iter().map(|pool| &*pool.model).collect();
    let result =
        sim::closed_loop_deployment(wired.pools, pricers, wired.ports, instance::FIRST_TOKEN, &client)
            .map_err(failed)?;
    let (ttft, tpot) = match statistic {
        "median" => (result.median_ttft, result.median_tpot),
        _ => (result.mean_ttft, result.mean_tpot),
    };
    let throughput = result.output_throughput * f64::from(beside);
    Ok(Simulated { ttft, tpot, throughput })
}
