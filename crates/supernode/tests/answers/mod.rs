//! What each command says of one deployment with few users.

use std::fmt::Write as _;
use std::path::Path;
use supernode::{Answer, Error, Facts, OperatingPoint, Session};
use validate::{Fidelity, Table};

pub fn session() -> Session {
    Session::open(&Facts::default()).expect("built-in facts")
}

/// Seconds to the first token and per token.
pub type Latency = (f64, f64);

pub fn estimated(session: &Session, point: &OperatingPoint) -> Result<Latency, Error> {
    let found = supernode::estimate(session, point)?;
    Ok((found.ttft.expect("a TTFT").value.get(), found.tpot.expect("a TPOT").value.get()))
}

/// The point as a scenario.
pub fn scenario(point: &OperatingPoint) -> String {
    let json = serde_json::to_value(point).expect("keys");
    let keys = json.as_object().expect("keys");
    let toml = |value: &serde_json::Value| value.to_string();
    let mut text = String::from("[[deployment]]\n");
    for key in estimate::KEYS.iter().filter(|key| key.is_of_instance() && key.name != "chips") {
        if let Some(value) = keys.get(key.name) {
            let _ = writeln!(text, "{} = {}", key.name, toml(value));
        }
    }
    let pools: &[(&str, &str)] = match keys.contains_key("mode") {
        true => &[("prefill", "prefill_"), ("decode", "decode_")],
        false => &[("aggregated", "")],
    };
    for (role, prefix) in pools {
        let _ = writeln!(text, "[[deployment.pool]]\nrole = \"{role}\"");
        for size in ["instances", "tp", "pp", "dp", "ep", "moe_tp", "redundant_experts"] {
            if let Some(value) = keys.get(&format!("{prefix}{size}")).filter(|_| !prefix.is_empty()) {
                let _ = writeln!(text, "{size} = {}", toml(value));
            }
        }
    }
    let (isl, osl) = (point.isl.expect("a prompt"), point.osl.expect("an answer"));
    let users = point.concurrency.expect("users");
    let requests = 3 * users;
    let _ = writeln!(
        text,
        "[workload]\narrival = \"closed\"\nusers = {users}\nrequests = {requests}\nisl = {isl}\nosl = {osl}"
    );
    text
}

pub fn simulated(session: &Session, point: &OperatingPoint) -> Result<Latency, Error> {
    let found = supernode::simulate(session, Path::new("point.toml"), &scenario(point))?.document();
    let mean = |what: &str| found["latency"][what]["mean"].as_f64().expect("a mean");
    Ok((mean("ttft"), mean("tpot")))
}

/// The point as a row of a table, predicted request by request.
pub fn validated(session: &Session, point: &OperatingPoint) -> Latency {
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
