//! One deployment, one answer: every command that is asked about a deployment with one user says the same.

use rand::{Rng, SeedableRng};
use std::fmt::Write as _;
use std::path::Path;
use supernode::{Answer, Error, Facts, OperatingPoint, ServingJob, Session};
use units::Seconds;
use validate::{Fidelity, Table};

/// How far two answers about the same deployment may lie apart.
const APART: f64 = 0.05;

fn session() -> Session {
    Session::open(&Facts::default()).expect("built-in facts")
}

/// With another engine in place of one of the catalog's.
fn with_engine(engine: &hardware::Engine) -> Session {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engines = folder.path().join("engines");
    std::fs::create_dir(&engines).expect("a folder");
    std::fs::write(engines.join(format!("{}.toml", engine.id)), engine.to_toml()).expect("a file");
    let facts = Facts { catalog: Some(folder.path().to_owned()), ..Facts::default() };
    Session::open(&facts).expect("an overlay")
}

/// Seconds to the first token and per token.
type Latency = (f64, f64);

fn estimated(session: &Session, point: &OperatingPoint) -> Result<Latency, Error> {
    let found = supernode::estimate(session, point)?;
    Ok((found.ttft.expect("a TTFT").value.get(), found.tpot.expect("a TPOT").value.get()))
}

/// The point as a scenario with one user.
fn scenario(point: &OperatingPoint) -> String {
    let json = serde_json::to_value(point).expect("keys");
    let keys = json.as_object().expect("keys");
    let toml = |value: &serde_json::Value| value.to_string();
    let mut text = String::from("[[deployment]]\n");
    for key in ["model", "system", "chip", "engine", "weight_dtype", "act_dtype", "kv_dtype", "moe_dtype"] {
        if let Some(value) = keys.get(key) {
            let _ = writeln!(text, "{key} = {}", toml(value));
        }
    }
    let pools: &[(&str, &str)] = match keys.contains_key("mode") {
        true => &[("prefill", "prefill_"), ("decode", "decode_")],
        false => &[("aggregated", "")],
    };
    for (role, prefix) in pools {
        let _ = writeln!(text, "[[deployment.pool]]\nrole = \"{role}\"");
        for size in ["instances", "tp", "pp", "dp", "ep", "moe_tp", "redundant_experts"] {
            if let Some(value) = keys.get(&format!("{prefix}{size}")) {
                let _ = writeln!(text, "{size} = {}", toml(value));
            }
        }
        if let Some(budget) = point.token_budget.filter(|_| *role == "aggregated") {
            let _ = writeln!(text, "token_budget = {budget}");
        }
    }
    let (isl, osl) = (point.isl.expect("a prompt"), point.osl.expect("an answer"));
    let _ =
        writeln!(text, "[workload]\narrival = \"closed\"\nusers = 1\nrequests = 3\nisl = {isl}\nosl = {osl}");
    text
}

fn simulated(session: &Session, point: &OperatingPoint) -> Result<Latency, Error> {
    let found = supernode::simulate(session, Path::new("point.toml"), &scenario(point))?.document();
    let mean = |what: &str| found["latency"][what]["mean"].as_f64().expect("a mean");
    Ok((mean("ttft"), mean("tpot")))
}

/// The point as a row of a table, predicted request by request.
fn validated(session: &Session, point: &OperatingPoint) -> Latency {
    let json = serde_json::to_value(point).expect("keys");
    let mut columns = vec![("id".to_owned(), "row".to_owned())];
    if point.mode == estimate::Mode::Agg {
        columns.push(("mode".to_owned(), "agg".to_owned()));
    }
    for (key, value) in json.as_object().expect("keys") {
        columns.push((key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    }
    let (names, cells): (Vec<String>, Vec<String>) = columns.into_iter().unzip();
    let text = format!("{}\n{}\n", names.join(","), cells.join(","));
    let table = Table::read(text.as_bytes(), "point.csv").expect("a table");
    let rows = validate::read_serving(&table).expect("a row");
    let found = validate::predict(session.resolver(), &rows, session.site(), Fidelity::Simulate);
    let figures = found[0].prediction.as_ref().expect("a prediction").figures;
    (figures.ttft.expect("a TTFT").get(), figures.tpot.expect("a TPOT").get())
}

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
                if apart(a, b) > APART {
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

/// Doubles a figure and asks everything about two deployments of one engine.
#[test]
fn every_overhead_of_an_engine_moves_every_answer() {
    let point = |mode: &str| {
        let mut point = OperatingPoint::of([
            ("system", "gb200-nvl72"),
            ("engine", "sglang"),
            ("model", "deepseek-ai/DeepSeek-R1"),
            ("isl", "1024"),
            ("osl", "64"),
            ("concurrency", "1"),
        ])
        .expect("keys");
        let keys: &[(&str, &str)] = match mode {
            "disagg" => &[("mode", "disagg"), ("prefill_tp", "4"), ("decode_tp", "8")],
            _ => &[("dp", "8"), ("ep", "8")],
        };
        for (key, value) in keys {
            point.set(key, value).expect("a key");
        }
        point
    };
    let points = [point("agg"), point("disagg")];
    let answers = |session: &Session| -> Vec<Vec<Latency>> {
        let of = |point| {
            vec![
                estimated(session, point).expect("an estimate"),
                simulated(session, point).expect("a run"),
                validated(session, point),
            ]
        };
        points.iter().map(of).collect()
    };
    let before = answers(&session());
    type Figure = fn(&mut hardware::Engine) -> &mut hardware::Fact<Seconds>;
    let figures: [(&str, Figure); 6] = [
        ("host.step", |engine| &mut engine.host.step),
        ("host.request", |engine| &mut engine.host.request),
        ("host.prompt_token", |engine| &mut engine.host.prompt_token),
        ("host.hand_off", |engine| &mut engine.host.hand_off),
        ("device.layer", |engine| &mut engine.device.layer),
        ("device.layer_eager", |engine| &mut engine.device.layer_eager),
    ];
    for (key, figure) in figures {
        let mut engine = hardware::Catalog::builtin().engine("sglang").expect("an engine");
        let fact = figure(&mut engine);
        if fact.value <= Seconds::ZERO {
            continue;
        }
        fact.value = fact.value * 2.0;
        let after = answers(&with_engine(&engine));
        let moved = |at: usize| {
            (0..3).all(|command| {
                let (a, b): (Latency, Latency) = (before[at][command], after[at][command]);
                (a.0 - b.0).abs() > 1e-9 || (a.1 - b.1).abs() > 1e-9
            })
        };
        // A hand-off is there only where prefill and decode are apart.
        assert!(moved(1), "{key} does not move every answer about instances apart");
        assert!(moved(0) || key == "host.hand_off", "{key} does not move every answer about one instance");
    }
}
