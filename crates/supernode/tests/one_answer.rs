//! One deployment, one answer: every command that is asked about a deployment with one user says the same.

mod answers;

use answers::{Latency, estimated, session, simulated, validated};
use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use supernode::{OperatingPoint, ServingJob, Session};

/// How far two answers about the same deployment may lie apart.
const APART: f64 = 0.05;
/// How far apart a plan and the simulation that confirmed it may be.
const OWN_LOAD_APART: f64 = 0.07;

fn apart(a: f64, b: f64) -> f64 {
    (a / b).max(b / a) - 1.0
}

/// A point that the engines can run, drawn at random.
fn draw(random: &mut rand_pcg::Pcg64) -> OperatingPoint {
    const PLACES: [(&str, &[&str]); 4] = [
        ("h100-8", &["vllm", "sglang", "trtllm"]),
        ("h200-8", &["vllm", "sglang", "trtllm"]),
        ("gb200-nvl72", &["sglang", "trtllm"]),
        ("cloudmatrix384", &["cloudmatrix-infer", "vllm-ascend"]),
    ];
    let (system, engines) = PLACES[random.random_range(0..PLACES.len())];
    let engine = engines[random.random_range(0..engines.len())];
    let wide = system.starts_with("gb200") || system.starts_with("cloud");
    let (model, tps): (&str, &[u32]) = match random.random_range(0..if wide { 3 } else { 2 }) {
        0 => ("meta-llama/Llama-3.1-8B", &[1, 2, 4]),
        1 => ("Qwen/Qwen3-32B", &[2, 4, 8]),
        _ => ("deepseek-ai/DeepSeek-R1", &[8, 16]),
    };
    let mut tp = || tps[random.random_range(0..tps.len())];
    let (first, second) = (tp(), tp());
    let apart = random.random_bool(0.5);
    let mut point = OperatingPoint::default();
    let mut set = |key: &str, value: &str| point.set(key, value).expect("a key");
    set("system", system);
    set("engine", engine);
    set("model", model);
    set("isl", &random.random_range(128..8000).to_string());
    set("osl", &random.random_range(64..600).to_string());
    set("concurrency", "1");
    if apart {
        set("mode", "disagg");
        set("prefill_tp", &first.to_string());
        set("decode_tp", &second.to_string());
    } else {
        set("tp", &first.to_string());
    }
    point
}

/// Points that fit, each with what a run of one user measures.
fn runs(session: &Session) -> Vec<(OperatingPoint, Latency)> {
    let mut random = rand_pcg::Pcg64::seed_from_u64(11);
    let points = (0..60).map(|_| draw(&mut random));
    let found: Vec<(OperatingPoint, Latency)> = points
        .filter_map(|point| match simulated(session, &point) {
            Ok(run) => Some((point, run)),
            // What cannot run is not estimated either.
            Err(error) => {
                assert!(estimated(session, &point).is_err(), "{point:?}: {error}");
                None
            }
        })
        .collect();
    assert!(found.len() > 40, "only {} of the points fit", found.len());
    found
}

/// Where `command` says something else than the runs.
fn differences(
    command: &str,
    runs: &[(OperatingPoint, Latency)],
    ask: impl Fn(&OperatingPoint) -> Latency,
) -> String {
    let mut text = String::new();
    for (point, run) in runs {
        let answer = ask(point);
        for (figure, a, b) in [("TTFT", answer.0, run.0), ("TPOT", answer.1, run.1)] {
            if apart(a, b) > APART {
                let point = serde_json::to_string(point).expect("keys");
                let (a, b) = (a * 1e3, b * 1e3);
                let _ = writeln!(text, "{figure}: {command} {a:.2} ms, simulate {b:.2} ms: {point}");
            }
        }
    }
    text
}

#[test]
fn commands_agree_about_one_user() {
    let session = session();
    let runs = runs(&session);
    let wrong = differences("validate", &runs, |point| validated(&session, point));
    assert!(wrong.is_empty(), "{wrong}");
    let wrong = differences("estimate", &runs, |point| estimated(&session, point).expect("an estimate"));
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn plans_for_one_user_do_what_they_say() {
    let session = session();
    let mut wrong = String::new();
    for (model, system, chips, isl, osl, only) in [
        ("meta-llama/Llama-3.1-8B", "h100-8", 4, 1024, 256, None),
        ("Qwen/Qwen3-32B", "h200-8", 8, 3000, 200, Some("agg")),
        ("Qwen/Qwen3-32B", "h200-8", 8, 3000, 200, Some("disagg")),
        ("deepseek-ai/DeepSeek-R1", "gb200-nvl72", 12, 1024, 256, Some("disagg")),
        ("meta-llama/Llama-3.1-8B", "cloudmatrix384", 4, 2000, 128, Some("agg")),
    ] {
        let job = ServingJob {
            model: model.to_owned(),
            isl: Some(isl),
            osl: Some(osl),
            spec_tokens: Some(0),
            token_budget: vec![0],
            pp: vec![1],
            target_concurrency: Some(1),
            objective: Some("chips".to_owned()),
            only: only.map(str::to_owned),
            ..ServingJob::default()
        };
        let systems = [system.to_owned()];
        let plan =
            supernode::plan_serve(&session, &job, &systems, Some(chips), true, &supernode::unwatched())
                .unwrap_or_else(|error| panic!("{model} on {system}: {error}"));
        let point = plan.best.operating_point(&plan);
        assert_eq!(point.concurrency, Some(1));
        let planned = (plan.best.predicted.ttft.value, plan.best.predicted.tpot.value);
        let run = plan.best.simulated.as_ref().expect("a simulation");
        let answers = [
            ("its simulation", (run.ttft.value, run.tpot.value)),
            ("estimate", estimated(&session, &point).expect("an estimate")),
            ("simulate", simulated(&session, &point).expect("a run")),
        ];
        for (command, (ttft, tpot)) in answers {
            for (figure, a, b) in [("TTFT", planned.0, ttft), ("TPOT", planned.1, tpot)] {
                // A plan's own simulation is of the load it was found at, which is not quite one user.
                let most = if command == "its simulation" { OWN_LOAD_APART } else { APART };
                if apart(a, b) > most {
                    let _ = writeln!(
                        wrong,
                        "{figure} of {model} on {system}: plan {:.2} ms, {command} {:.2} ms",
                        a * 1e3,
                        b * 1e3
                    );
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
