//! No overhead of an engine is left out of an answer: another value of any figure of its profile moves every command.

mod answers;

use answers::{Latency, estimated, session, simulated, validated};
use supernode::{Error, Facts, OperatingPoint, ServingJob, Session};
use toml::{Table, Value};

/// A session with another engine in place of one of the catalog's.
fn with_engine(id: &str, profile: &Table) -> Session {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engines = folder.path().join("engines");
    std::fs::create_dir(&engines).expect("a folder");
    std::fs::write(engines.join(format!("{id}.toml")), toml::to_string(profile).expect("TOML"))
        .expect("a file");
    let facts = Facts { catalog: Some(folder.path().to_owned()), ..Facts::default() };
    Session::open(&facts).expect("an overlay")
}

/// The value of a figure as a number with what stands behind it.
fn number(value: &Value) -> Option<(f64, String)> {
    match value {
        Value::Float(number) => Some((*number, String::new())),
        Value::Integer(number) => Some((*number as f64, String::new())),
        Value::String(text) => {
            let (number, unit) = text.split_once(' ')?;
            Some((number.parse().ok()?, format!(" {unit}")))
        }
        _ => None,
    }
}

/// The profile with a figure that is twice or, where that is more than a share can be, half as large; `None` where it is
/// nought.
fn changed(profile: &Table, section: &str, key: &str) -> Option<Table> {
    let mut profile = profile.clone();
    let value = profile.get_mut(section)?.get_mut(key)?.get_mut("value")?;
    let (number, unit) = number(value)?;
    let is_share = ["hidden", "launch", "decode_overlap", "prefill_overlap"].contains(&key);
    let other = number * if is_share { 0.5 } else { 2.0 };
    *value = if unit.is_empty() { Value::Float(other) } else { Value::String(format!("{other}{unit}")) };
    (number > 0.0).then_some(profile)
}

/// Deployments that between them use everything an engine does: together and apart, with experts that travel.
fn points(engine: &str, system: &str) -> Vec<OperatingPoint> {
    let of = |more: &[(&str, &str)]| {
        let load = [("system", system), ("engine", engine), ("isl", "700"), ("osl", "40")];
        OperatingPoint::of([&load[..], more].concat()).expect("keys")
    };
    let experts = ("model", "Qwen/Qwen3-30B-A3B");
    // Batches are cut in two to hide the exchange only where they are large.
    let wide = [experts, ("dp", "4"), ("ep", "4"), ("micro_batches", "true"), ("concurrency", "1024")];
    let apart = [experts, ("mode", "disagg"), ("prefill_tp", "2"), ("decode_tp", "4"), ("concurrency", "8")];
    let eager = [experts, ("tp", "4"), ("execution", "eager"), ("concurrency", "8")];
    vec![of(&wide), of(&apart), of(&eager)]
}

fn planned(session: &Session, engine: &str, system: &str, only: &str) -> Result<Latency, Error> {
    let job = ServingJob {
        model: "Qwen/Qwen3-30B-A3B".to_owned(),
        isl: Some(700),
        osl: Some(40),
        engine: Some(engine.to_owned()),
        weight_dtype: vec![units::Dtype::Bf16],
        kv_dtype: vec![units::Dtype::Bf16],
        spec_tokens: Some(0),
        token_budget: vec![0],
        pp: vec![1],
        only: Some(only.to_owned()),
        ..ServingJob::default()
    };
    let systems = [system.to_owned()];
    let plan = supernode::plan_serve(session, &job, &systems, Some(4), false, &supernode::unwatched())?;
    let (predicted, front) = (&plan.best.predicted, &plan.front);
    // What moves a deployment that is not the best moves the front.
    let others: f64 = front.iter().map(|one| one.predicted.tpot.value + one.predicted.ttft.value).sum();
    Ok((predicted.ttft.value + others, predicted.tpot.value))
}

/// What every command says of every point.
fn answers(session: &Session, engine: &str, system: &str) -> [Vec<Option<Latency>>; 4] {
    let points = points(engine, system);
    let plans = ["agg", "disagg"].map(|only| planned(session, engine, system, only).ok());
    [
        points.iter().map(|point| estimated(session, point).ok()).collect(),
        points.iter().map(|point| simulated(session, point).ok()).collect(),
        points.iter().map(|point| Some(validated(session, point))).collect(),
        plans.to_vec(),
    ]
}

/// What moves no plan of four chips of one node: its experts are cut rather than spread, so nothing is exchanged.
const NOT_IN_PLANS: [&str; 2] = ["prefill_overlap", "expert_skew"];
/// What only decoding batches of a hundred and more on groups wider than these can feel: below, cutting a batch in two costs more
/// than it hides.
const FELT_BY_WIDE_GROUPS: &str = "decode_overlap";

#[test]
fn every_figure_of_an_engine_moves_every_answer() {
    const COMMANDS: [&str; 4] = ["estimate", "simulate", "validate", "plan serve"];
    // Between them these have a value for every figure, and a deployment that feels it.
    let engines =
        [("sglang", "h100-8"), ("vllm-ascend", "atlas-800i-a3"), ("vllm-ascend-0.13", "atlas-800i-a3")];
    let mut moved = std::collections::BTreeSet::new();
    let mut all = std::collections::BTreeSet::new();
    for (engine, system) in engines {
        let text = hardware::Catalog::builtin().engine(engine).expect("an engine").to_toml();
        let profile: Table = toml::from_str(&text).expect("TOML");
        let before = answers(&session(), engine, system);
        for section in ["host", "device"] {
            for key in profile[section].as_table().expect("a table").keys() {
                all.insert(format!("{section}.{key}"));
                // Of the older releases only what the newer ones have not is of interest.
                if engine.ends_with("0.13") && key != "replay" {
                    continue;
                }
                let Some(other) = changed(&profile, section, key) else { continue };
                let after = answers(&with_engine(engine, &other), engine, system);
                for ((command, before), after) in COMMANDS.iter().zip(&before).zip(&after) {
                    assert!(before.iter().any(Option::is_some), "{command} has an answer");
                    if before != after {
                        moved.insert((format!("{section}.{key}"), *command));
                    }
                }
            }
        }
    }
    let exempt = |key: &str, command: &str| {
        key.ends_with(FELT_BY_WIDE_GROUPS)
            || command == "plan serve" && NOT_IN_PLANS.iter().any(|name| key.ends_with(name))
    };
    let mut problems = Vec::new();
    for key in &all {
        let still = COMMANDS.iter().filter(|command| !moved.contains(&(key.clone(), **command)));
        let still = still.filter(|command| !exempt(key, command));
        problems.extend(still.map(|command| format!("{key} moves nothing in {command}")));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
