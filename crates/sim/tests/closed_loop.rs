//! The closed-loop benchmark client against what must hold for any engine.

use serving::{Batching, EngineLimits, Gathering, Speculation};
use sim::testing::Roofline;
use sim::{ClosedLoop, FirstToken, PoolSetting, PortConfig, closed_loop, closed_loop_disaggregated};
use std::time::Instant;
use supernode_sim as sim;

fn limits() -> EngineLimits {
    EngineLimits { kv_blocks: 40_000, max_seqs: 1024, ..EngineLimits::default() }
}

#[test]
fn one_user_gets_the_bare_latencies() {
    let pricer = Roofline::default();
    let result = closed_loop(&pricer, &limits(), &ClosedLoop::inference_x(1, 1024, 128, 1.0)).unwrap();
    use steps::{RankLoad, StepPricer, StepShape};
    let prompt = pricer.price(&StepShape::even(RankLoad::prefill(1.0, 1024.0, 0.0), 1)).time;
    assert!((result.median_ttft / prompt - 1.0).abs() < 1e-6);
    let steps = (1..128).map(|token| f64::from(1024 + token));
    let decode: f64 =
        steps.map(|c| pricer.price(&StepShape::even(RankLoad::decode(1.0, c), 1)).time.get()).sum();
    assert!((result.mean_tpot.get() / (decode / 127.0) - 1.0).abs() < 1e-6);
    assert_eq!((result.completed, result.failed), (10, 0));
}

#[test]
fn littles_law_holds_and_more_users_wait_longer() {
    let pricer = Roofline::default();
    let mut before = None;
    for users in [4, 32, 256] {
        let result =
            closed_loop(&pricer, &limits(), &ClosedLoop::inference_x(users, 1024, 256, 0.8)).unwrap();
        let in_flight = result.request_throughput.get() * result.mean_e2e.get();
        assert!((in_flight / f64::from(users) - 1.0).abs() < 0.12, "{users} users, {in_flight} in flight");
        if let Some((ttft, tpot, throughput)) = before {
            assert!(
                result.mean_ttft > ttft && result.mean_tpot > tpot && result.output_throughput > throughput
            );
        }
        before = Some((result.mean_ttft, result.mean_tpot, result.output_throughput));
    }
}

#[test]
fn too_little_memory_shows_as_queueing() {
    let pricer = Roofline::default();
    let roomy = limits();
    let tight = EngineLimits { kv_blocks: 2000, ..limits() };
    let client = ClosedLoop::inference_x(64, 1024, 1024, 0.8);
    let (roomy, tight) =
        (closed_loop(&pricer, &roomy, &client).unwrap(), closed_loop(&pricer, &tight, &client).unwrap());
    assert!(tight.mean_ttft > 5.0 * roomy.mean_ttft, "{} against {}", tight.mean_ttft, roomy.mean_ttft);
    assert_eq!((tight.completed, tight.failed), (640, 0));
}

#[test]
fn prefill_first_trades_tpot_for_ttft() {
    let pricer = Roofline::default();
    let client = ClosedLoop::inference_x(64, 4096, 256, 0.8);
    let mixed = closed_loop(&pricer, &EngineLimits { token_budget: 1024, ..limits() }, &client).unwrap();
    let prefill_first = EngineLimits { batching: Batching::PrefillFirst, ..limits() };
    let eager = closed_loop(&pricer, &prefill_first, &client).unwrap();
    assert!(eager.mean_ttft < mixed.mean_ttft && eager.mean_tpot > mixed.mean_tpot);
}

#[test]
fn prompts_that_gather_start_later_and_disturb_less() {
    let pricer = Roofline::default();
    let client = ClosedLoop::inference_x(64, 4096, 1024, 0.8);
    let at_once = closed_loop(&pricer, &limits(), &client).unwrap();
    let gathering = Some(Gathering { tokens: 0, requests: 8, settle: 0, timeout: 200 });
    let gathered = closed_loop(&pricer, &EngineLimits { gathering, ..limits() }, &client).unwrap();
    assert!(gathered.mean_ttft > at_once.mean_ttft && gathered.failed == 0);
    assert!(gathered.mean_tpot < at_once.mean_tpot);
    let timeout = Some(Gathering { tokens: 0, requests: 64, settle: 0, timeout: 20 });
    // Prompts so short that their own steps hardly count.
    let short = ClosedLoop::inference_x(16, 16, 1024, 0.8);
    let soon = closed_loop(&pricer, &limits(), &short).unwrap();
    let timed = closed_loop(&pricer, &EngineLimits { gathering: timeout, ..limits() }, &short).unwrap();
    let late = (timed.mean_ttft - soon.mean_ttft) / timed.mean_tpot;
    assert!((5.0..=22.0).contains(&late), "{late} steps");
}

#[test]
fn speculation_divides_tpot_by_the_accepted_length() {
    let pricer = Roofline::default();
    let client = ClosedLoop::inference_x(8, 1024, 512, 1.0);
    let plain = closed_loop(&pricer, &limits(), &client).unwrap();
    let speculation = Some(Speculation { draft_tokens: 1, acceptance: 0.7 });
    let fast = closed_loop(&pricer, &EngineLimits { speculation, ..limits() }, &client).unwrap();
    let gain = plain.mean_tpot / fast.mean_tpot;
    assert!((gain / 1.7 - 1.0).abs() < 0.02, "{gain}");
}

#[test]
fn decode_of_a_disaggregated_deployment_is_not_disturbed_by_prompts() {
    let pricer = Roofline::default();
    let client = ClosedLoop::inference_x(64, 4096, 256, 0.8);
    let pool = PoolSetting { pricer, limits: limits(), instances: 1, port: PortConfig::default() };
    let apart = closed_loop_disaggregated(&pool, &pool, FirstToken::Prefill, &client).unwrap();
    let together = closed_loop(&pricer, &limits(), &client).unwrap();
    assert!(apart.mean_tpot < together.mean_tpot && apart.failed == 0);
    let late = closed_loop_disaggregated(&pool, &pool, FirstToken::Decode, &client).unwrap();
    assert!(late.mean_ttft > apart.mean_ttft);
}

#[test]
fn the_largest_published_closed_loops_take_well_under_a_second() {
    let pricer = Roofline::default();
    let start = Instant::now();
    let result = closed_loop(&pricer, &limits(), &ClosedLoop::inference_x(512, 1024, 8192, 0.8)).unwrap();
    println!("{:?} for {} requests", start.elapsed(), result.completed);
    assert_eq!(result.completed, 5120);
    assert!(start.elapsed().as_secs_f64() < 5.0);
}
