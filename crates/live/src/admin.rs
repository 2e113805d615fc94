//! The administrator's port: commands, state, and the console.

use crate::app::App;
use crate::body::{Answer, error, json, with_type};
use crate::control::Snapshot;
use crate::log::{Entry, JobOrder, PartName};
use crate::openai::{ApiError, parse};
use bytes::Bytes;
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use subtle::ConstantTimeEq;

const PAGE: &str = include_str!("console/index.html");
const STYLE: &str = include_str!("console/console.css");
const SCRIPT: &str = include_str!("console/console.js");

/// A call to the administrator's port.
pub struct Call<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its path.
    pub path: &'a str,
    /// What follows the path.
    pub query: &'a str,
    /// Its `Authorization` header.
    pub authorization: Option<&'a str>,
    /// Its body.
    pub body: Bytes,
}

/// A latency in front of a deployment.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Latency {
    deployment: u32,
    seconds: f64,
}

/// Names of commands, for messages.
const HARDWARE: &str = "kill, heal, latency";
const PLANE: &str = "drain, scale, policy, queue_limit, tenant, close, open, all";
const JOBS: &str = "submit_job, cancel_job, preempt_job, hold_job, release_job, job_priority, job_quota, drain_node, \
                    undrain_node";

/// What a command becomes: an entry of the log.
pub(crate) fn command(body: &[u8]) -> Result<Entry, ApiError> {
    let map: serde_json::Map<String, Value> = parse(body)?;
    let mut keys = map.keys();
    let (Some(name), None) = (keys.next().cloned(), keys.next()) else {
        return Err(ApiError::new(
            400,
            "a command is one key with its terms, for example {\"kill\": {\"chip\": 3}}",
        ));
    };
    fn read<T: for<'a> Deserialize<'a>>(name: &str, value: Value) -> Result<T, ApiError> {
        serde_json::from_value(value).map_err(|error| ApiError::new(400, format!("`{name}`: {error}")))
    }
    let terms = || map.get(&name).cloned().unwrap_or_default();
    let among = |names: &str| names.split(',').any(|known| known.trim() == name);
    match name.as_str() {
        "kill" | "heal" => read::<Target>(&name, terms())?.entry(name == "heal"),
        "latency" => {
            let Latency { deployment, seconds } = read(&name, terms())?;
            Ok(Entry::Latency { deployment, seconds })
        }
        "all" => Ok(Entry::Admin(read(&name, terms())?)),
        _ if among(JOBS) => Ok(Entry::Job(read(&name, Value::Object(map.clone()))?)),
        _ if among(PLANE) => Ok(Entry::Admin(vec![read(&name, Value::Object(map.clone()))?])),
        _ => Err(ApiError::new(
            400,
            format!("there is no command `{name}`; there are {HARDWARE}, {PLANE}, {JOBS}"),
        )),
    }
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
struct Target {
    #[serde(default)]
    system: u32,
    chip: Option<u32>,
    board: Option<u32>,
    node: Option<u32>,
    link: Option<u32>,
    instance: Option<u32>,
}

impl Target {
    fn entry(self, works: bool) -> Result<Entry, ApiError> {
        let parts = [
            self.chip.map(|chip| PartName::Chip(self.system, chip)),
            self.board.map(|board| PartName::Board(self.system, board)),
            self.node.map(|node| PartName::Node(self.system, node)),
            self.link.map(|chip| PartName::Link(self.system, chip)),
        ];
        let mut named = parts.into_iter().flatten();
        match (named.next(), named.next(), self.instance) {
            (Some(part), None, None) => Ok(Entry::Part { part, works }),
            (None, None, Some(instance)) => Ok(Entry::Instance { instance, works }),
            _ => Err(ApiError::new(400, "name one of chip, board, node, link, instance")),
        }
    }
}

/// Answers a call.
pub async fn answer(app: &Arc<App>, token: &str, call: Call<'_>) -> Answer {
    match route(app, token, call).await {
        Ok(answer) => answer,
        Err(wrong) => error(&wrong),
    }
}

async fn route(app: &Arc<App>, token: &str, call: Call<'_>) -> Result<Answer, ApiError> {
    // The console's own files hold nothing; what it shows comes by the token.
    match (call.method, call.path) {
        (&Method::GET, "/") => return Ok(with_type(200, "text/html; charset=utf-8", PAGE)),
        (&Method::GET, "/console.css") => return Ok(with_type(200, "text/css; charset=utf-8", STYLE)),
        (&Method::GET, "/console.js") => return Ok(with_type(200, "text/javascript; charset=utf-8", SCRIPT)),
        (&Method::GET, "/favicon.ico") => return Ok(with_type(204, "image/x-icon", "")),
        _ => {}
    }
    let given = call.authorization.and_then(|text| text.strip_prefix("Bearer ")).unwrap_or("");
    if !bool::from(given.as_bytes().ct_eq(token.as_bytes())) {
        return Err(ApiError::new(401, "give the administrator's token: Authorization: Bearer ..."));
    }
    match (call.method, call.path) {
        (&Method::GET, "/state") => {
            let look = app.look().await?;
            Ok(json(200, &state(app, &look, call.query.contains("layout"))))
        }
        (&Method::POST, "/command") => {
            let entry = command(&call.body)?;
            let Entry::Job(order) = entry else {
                let seq = app.administer(entry).await?;
                return Ok(json(200, &json!({"seq": seq})));
            };
            let submits = matches!(order, JobOrder::SubmitJob(_));
            let (seq, jobs) = app.order_jobs(order).await?;
            Ok(json(200, &if submits { json!({"seq": seq, "jobs": jobs}) } else { json!({"seq": seq}) }))
        }
        (&Method::GET, "/jobs") => match app.look().await?.jobs {
            Some(jobs) => Ok(json(200, &json!(jobs))),
            None => Err(ApiError::new(404, "there is no workload manager here")),
        },
        (&Method::GET, "/state/stream") => Ok(crate::deltas::answer(app)),
        (_, "/state" | "/state/stream" | "/command" | "/jobs") => {
            Err(ApiError::new(405, "GET /state, GET /jobs, POST /command"))
        }
        (_, path) => Err(ApiError::new(404, format!("there is nothing at {path}"))),
    }
}

/// The state as JSON; with `layout` also what does not change while nothing is added: chips, boards, pools.
pub(crate) fn state(app: &App, look: &Snapshot, layout: bool) -> Value {
    let now = look.now.seconds();
    let instances: Vec<Value> = look
        .instances
        .iter()
        .zip(&look.meters.instances)
        .map(|(one, meter)| {
            json!({
                "id": one.view.id.0, "pool": one.view.pool, "state": one.view.state.name(),
                "waiting": one.view.waiting, "running": one.view.admitted, "decoding": one.view.decoding,
                "kv": one.kv_used, "runs": one.view.runs, "power_w": meter.power_now(one.view.runs).get(),
            })
        })
        .collect();
    let quantiles = |histogram: &Option<crate::meters::Histogram>| {
        let at = |q: f64| histogram.as_ref().and_then(|histogram| histogram.quantile(q));
        json!({"p50": at(0.5), "p99": at(0.99)})
    };
    let energy = look.meters.energy_at(now).get();
    let dead: Vec<Value> =
        look.grounds.iter().map(|ground| json!({"dead": ground.dead, "cut": ground.cut})).collect();
    let mut state = json!({
        "virtual_seconds": now.get(), "speed": app.pace.speed.to_string(), "in_flight": look.in_flight,
        "completed": look.meters.completed, "cancelled": look.meters.cancelled,
        "refused": look.meters.refused.iter().sum::<u64>(),
        "prompt_tokens": look.meters.tokens.0, "output_tokens": look.meters.tokens.1,
        "ttft_s": quantiles(&look.meters.ttft), "tpot_s": quantiles(&look.meters.tpot),
        "energy_j": energy,
        "power_w": instances_power(look),
        "dollars": app.dollars(now, energy),
        "hash": look.hash, "events": look.events, "instances": instances, "broken": dead,
        "lateness_s": look.lateness.0, "jobs": look.jobs,
    });
    if layout {
        state["layout"] = layout_of(app, look);
    }
    state
}

fn instances_power(look: &Snapshot) -> f64 {
    let both = look.meters.instances.iter().zip(&look.instances);
    both.map(|(meter, one)| meter.power_now(one.view.runs).get()).sum()
}

fn layout_of(app: &App, look: &Snapshot) -> Value {
    let systems: Vec<Value> = look
        .grounds
        .iter()
        .map(|ground| {
            json!({
                "name": ground.name, "chips": ground.chips, "system_chips": ground.system_chips,
                "node_chips": ground.node_chips, "board_chips": ground.board_chips,
            })
        })
        .collect();
    let seats: Vec<Value> = look
        .seats
        .iter()
        .map(|seat| {
            let chips = seat.chips(&look.grounds[seat.system as usize]);
            json!({"instance": seat.instance.0, "system": seat.system, "from": chips.start, "to": chips.end})
        })
        .collect();
    let pools: Vec<Value> = app
        .pools
        .iter()
        .map(|pool| json!({"name": pool.name, "deployment": pool.deployment, "chip": pool.chip, "peak_w": pool.peak_chip.get(), "idle_w": pool.idle_chip.get()}))
        .collect();
    let models: Vec<&str> = app.models.iter().map(|model| model.name.as_str()).collect();
    json!({"systems": systems, "seats": seats, "pools": pools, "models": models})
}
