//! A cluster that is up in this process.

use crate::sessions::session;
use crate::simulate::Described;
use crate::verbs::parse;
use crate::work;
use live::clock::Speed;
use live::text::Style;
use pyo3::prelude::*;
use serde::Deserialize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use supernode::up::{self, Built, Description, Server, Settings};
use supernode::{Answer, Error, Facts, question};
use workload::Lengths;

/// What comes up, and how.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    scenario: Option<Described>,
    #[serde(default)]
    osl: Option<Lengths>,
    #[serde(default)]
    seed: Option<u64>,
    #[serde(default)]
    port: u16,
    #[serde(default)]
    speed: Option<f64>,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    log: Option<PathBuf>,
    #[serde(default)]
    ledger: Option<PathBuf>,
    #[serde(default)]
    keys: Option<PathBuf>,
    #[serde(default)]
    drain: Option<units::Seconds>,
}

fn describe(wanted: &Wanted) -> Result<Description, Error> {
    let (osl, seed) = (wanted.osl, wanted.seed);
    let Some(scenario) = &wanted.scenario else {
        return Ok(Description { osl, seed, ..Description::usual()? });
    };
    let (raw, text) = scenario.read()?;
    Ok(Description { raw, path: scenario.path.clone(), text, osl, seed })
}

/// The words that describe the cluster, for whoever replays the log.
fn arguments(wanted: &Wanted, facts: &Facts) -> Vec<String> {
    let mut words = Vec::new();
    if let Some(scenario) = &wanted.scenario {
        words.push(scenario.path.display().to_string());
    }
    let mut flag = |name: &str, value: Option<String>| {
        words.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
    };
    flag("--osl", wanted.osl.map(|lengths| lengths.to_string()));
    flag("--seed", wanted.seed.map(|seed| seed.to_string()));
    flag("--catalog", facts.catalog.as_ref().map(|folder| folder.display().to_string()));
    facts.set.iter().for_each(|set| flag("--set", Some(set.clone())));
    words
}

fn settings(wanted: &Wanted, facts: &Facts, text: &str) -> Result<Settings, Error> {
    let speed = match wanted.speed {
        Some(speed) => speed.to_string().parse::<Speed>().map_err(|error| Error::at("speed", error))?,
        None => Speed::default(),
    };
    let style = match wanted.text.as_deref() {
        None | Some("lorem") => Style::Lorem,
        Some("echo") => Style::Echo,
        Some(other) => return Err(Error::at("text", format!("`{other}` is not known; use lorem or echo"))),
    };
    let drain = wanted.drain.map_or(1.0, units::Seconds::get).clamp(0.0, 86_400.0);
    Ok(Settings {
        port: wanted.port,
        admin_port: Some(0),
        metrics_port: Some(0),
        speed,
        style,
        log: wanted.log.clone(),
        ledger: wanted.ledger.clone(),
        keys: wanted.keys.clone(),
        arguments: arguments(wanted, facts),
        scenario: wanted.scenario.is_some().then(|| text.to_owned()),
        drain: Duration::from_secs_f64(drain),
        ..Settings::default()
    })
}

/// Where a cluster that is up listens.
#[pyclass(frozen, get_all, module = "supernode._native")]
pub struct LiveServer {
    /// Base of OpenAI's API.
    address: String,
    /// The administrator's address.
    admin: String,
    /// Address of the chips' metrics.
    metrics: String,
    /// The administrator's token.
    token: String,
    /// Chips in use.
    chips: u32,
    server: Hidden,
}

/// What Python does not see.
struct Hidden(Mutex<Option<Server>>);

impl<'py> IntoPyObject<'py> for &Hidden {
    type Target = pyo3::types::PyBool;
    type Output = pyo3::Borrowed<'py, 'py, pyo3::types::PyBool>;
    type Error = std::convert::Infallible;

    /// Whether it is up.
    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        let up = self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        up.into_pyobject(py)
    }
}

/// Brings a cluster up; `facts` and `document` are JSON.
#[pyfunction]
pub fn bring_up(py: Python<'_>, facts: String, document: String) -> PyResult<LiveServer> {
    work::run(py, &Arc::default(), move || {
        let facts: Facts = question(parse(&facts)?)?;
        let wanted: Wanted = question(parse(&document)?)?;
        let description = describe(&wanted)?;
        let settings = settings(&wanted, &facts, &description.text)?;
        let Built { cluster, output, seed } = up::build(&session(&facts)?, description)?;
        let chips = cluster.chips;
        let server = up::start(cluster, Settings { output, seed, ..settings })?;
        let at = &server.addresses;
        let url = |address: Option<std::net::SocketAddr>| {
            address.map(|address| format!("http://{address}")).unwrap_or_default()
        };
        Ok(LiveServer {
            address: url(Some(at.main)),
            admin: url(at.admin),
            metrics: url(at.metrics),
            token: server.token.clone(),
            chips,
            server: Hidden(Mutex::new(Some(server))),
        })
    })
}

#[pymethods]
impl LiveServer {
    /// Lets requests in flight end and goes down; the hash of all decisions. None if it is down already.
    fn stop(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let server = self.server.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(server) = server else { return Ok(None) };
        let broken = |why| Error::no(format!("the control plane had stopped: {why}"));
        work::run(py, &Arc::default(), move || server.stop().map(Some).map_err(broken))
    }
}

/// Makes the decisions of a log again; `facts` and `document` are what it was brought up with.
#[pyfunction]
pub fn replay(py: Python<'_>, facts: String, document: String, log: PathBuf) -> PyResult<(String, String)> {
    work::run(py, &Arc::default(), move || {
        let facts: Facts = question(parse(&facts)?)?;
        let wanted: Wanted = question(parse(&document)?)?;
        let reader = up::open_log(&log)?;
        let Built { cluster, .. } = up::build(&session(&facts)?, describe(&wanted)?)?;
        let found = up::replay(reader, cluster)?;
        up::agrees(&found)?;
        Ok((found.json(), found.text()))
    })
}

/// What a server that was forgotten says.
impl Drop for Hidden {
    fn drop(&mut self) {
        let server = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            // Going down waits for threads, which an interpreter that collects its garbage must not.
            drop(std::thread::Builder::new().spawn(move || server.stop()));
        }
    }
}
