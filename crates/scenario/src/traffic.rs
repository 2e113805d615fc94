//! The workload of a scenario.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::raw::{Raw, RawWorkload};
use std::path::{Path, PathBuf};
use units::Seconds;
use workload::{
    Arrival, ArrivalError, Arrivals, ClosedLoop, Lengths, OpenLoop, Process, Replay, ReplayOptions, Sessions,
    SessionsConfig, SharedPrefix, Source, TenantShare, WorkloadError,
};

const TABLE: &str = "workload";

/// Tokens per hash where nothing says otherwise: the blocks of Mooncake's traces.
pub(crate) const HASH_BLOCK: u32 = 512;

/// A source and what had to be known of it.
pub(crate) struct Traffic {
    pub source: Box<dyn Source>,
    /// Tokens per hash of its prefixes.
    pub hash_block: u32,
    /// Requests, if it is known how many.
    pub requests: Option<u64>,
}

/// Mean length of a request in tokens, as far as the scenario says it; for the memory of models whose cache does not
/// grow evenly.
pub(crate) fn typical_length(workload: &RawWorkload) -> f64 {
    let mean = |lengths: Option<Lengths>, usual: f64| lengths.map_or(usual, |lengths| lengths.mean());
    mean(workload.isl, 1024.0) + mean(workload.osl, 256.0)
}

pub(crate) fn traffic(raw: &Raw, place: &Place, folder: &Path) -> Result<Traffic, ScenarioError> {
    let workload = &raw.workload;
    let sent = if workload.trace.is_some() { replay(raw, place, folder)? } else { generated(raw, place)? };
    let source = Promised { source: sent.source, deadline: workload.deadline, patience: workload.patience };
    Ok(Traffic { source: Box::new(source), ..sent })
}

fn replay(raw: &Raw, place: &Place, folder: &Path) -> Result<Traffic, ScenarioError> {
    let workload = &raw.workload;
    let file = workload.trace.as_deref().unwrap_or("-");
    let path = if file == "-" { PathBuf::from(file) } else { folder.join(file) };
    let format = match workload.trace_format.as_deref().map(str::parse) {
        Some(Ok(format)) => Some(format),
        Some(Err(error)) => {
            let error: workload::trace::UnknownFormat = error;
            return Err(place.wrong(TABLE, 0, "trace_format", error.to_string()));
        }
        None => None,
    };
    // Times of a trace are its own unless an arrival process is asked for by name or by rate.
    let replaced = workload.arrival.is_some() || workload.rate.is_some();
    let arrivals = replaced.then(|| process(workload, place)).transpose()?;
    let arrivals = arrivals.map(|process| Arrivals::new(process, raw.seed)).transpose();
    let options = ReplayOptions {
        format,
        rate_scale: workload.rate_scale.unwrap_or(1.0),
        limit: workload.requests,
        repeat: workload.repeat.unwrap_or(1),
        arrivals: arrivals.map_err(|error| named(place, &error))?,
    };
    let replay = Replay::open(&path, options)?;
    let hash_block = replay.hash_block().unwrap_or(HASH_BLOCK);
    Ok(Traffic { source: Box::new(replay), hash_block, requests: None })
}

fn named(place: &Place, error: &ArrivalError) -> ScenarioError {
    place.wrong(TABLE, 0, error.key, error.problem.clone())
}

fn process(workload: &RawWorkload, place: &Place) -> Result<Process, ScenarioError> {
    let missing = |key: &str, hint: &str| place.wrong(TABLE, 0, key, format!("is needed; {hint}"));
    let rate =
        || workload.rate.ok_or_else(|| missing("rate", "give the requests per second, `rate = \"4 /s\"`"));
    Ok(match workload.arrival.as_deref().unwrap_or("poisson") {
        "poisson" => Process::Poisson { rate: rate()? },
        "constant" => Process::Constant { rate: rate()? },
        "gamma" => Process::Gamma { rate: rate()?, burstiness: workload.burstiness.unwrap_or(1.0) },
        "bursts" => Process::Bursts { rate: rate()?, size: workload.burst.unwrap_or(10) },
        "diurnal" => Process::Diurnal {
            rate: rate()?,
            swing: workload.swing.unwrap_or(0.5),
            period: workload.period.unwrap_or(Seconds::new(86_400.0)),
        },
        other => {
            let problem = format!(
                "`{other}` is not known; use one of poisson, gamma, constant, bursts, diurnal, closed"
            );
            return Err(place.wrong(TABLE, 0, "arrival", problem));
        }
    })
}

fn generated(raw: &Raw, place: &Place) -> Result<Traffic, ScenarioError> {
    let workload = &raw.workload;
    let lengths = |lengths: Option<Lengths>, key: &str| {
        lengths
            .ok_or_else(|| place.wrong(TABLE, 0, key, "is needed; give tokens, a range or a log-normal law"))
    };
    let (input, output) = (lengths(workload.isl, "isl")?, lengths(workload.osl, "osl")?);
    let hash_block = workload.prefix.and_then(|prefix| prefix.block).unwrap_or(HASH_BLOCK);
    if let Some(sessions) = &workload.sessions {
        let config = SessionsConfig {
            process: process(workload, place)?,
            sessions: sessions.count,
            turns: sessions.turns,
            system: sessions.system,
            input,
            output,
            think: sessions.think,
            hash_block,
            max_context: 1 << 17,
        };
        let source = Sessions::new(config, raw.seed).map_err(|error| named(place, &error))?;
        return Ok(Traffic { source: Box::new(source), hash_block, requests: None });
    }
    let requests = workload
        .requests
        .ok_or_else(|| place.wrong(TABLE, 0, "requests", "is needed; say how many requests are sent"))?;
    if workload.arrival.as_deref() == Some("closed") {
        let users = workload.users.ok_or_else(|| {
            place.wrong(TABLE, 0, "users", "is needed for a closed loop; say how many users send")
        })?;
        let source = ClosedLoop::new(users, workload.warm_up.unwrap_or(0), requests, input, output, raw.seed);
        return Ok(Traffic { source: Box::new(source), hash_block, requests: Some(requests) });
    }
    let open = OpenLoop::new(process(workload, place)?, requests, input, output, raw.seed);
    let mut open = open.map_err(|error| named(place, &error))?.over_deployments(raw.deployment.len() as u32);
    let shares: Vec<TenantShare> = raw
        .tenant
        .iter()
        .map(|tenant| TenantShare {
            tenant: tenant.id,
            share: tenant.share.unwrap_or(1.0),
            priority: tenant.priority,
        })
        .collect();
    if !shares.is_empty() {
        open = open.with_tenants(shares);
    }
    if let Some(prefix) = workload.prefix {
        if prefix.groups == 0 || !(0.0..=1.0).contains(&prefix.share) {
            let problem = "needs at least one group and a share between 0 and 1";
            return Err(place.wrong("workload.prefix", 0, "share", problem));
        }
        open = open.with_prefix(SharedPrefix { groups: prefix.groups, share: prefix.share, hash_block });
    }
    Ok(Traffic { source: Box::new(open), hash_block, requests: Some(requests) })
}

/// Adds what is promised to, and expected by, every request.
struct Promised {
    source: Box<dyn Source>,
    deadline: Option<Seconds>,
    patience: Option<Seconds>,
}

impl Source for Promised {
    fn peek(&mut self) -> Result<Option<Seconds>, WorkloadError> {
        self.source.peek()
    }

    fn pop(&mut self) -> Result<Option<Arrival>, WorkloadError> {
        let (deadline, patience) = (self.deadline, self.patience);
        Ok(self.source.pop()?.map(|arrival| Arrival { deadline, patience, ..arrival }))
    }

    fn ended(&mut self, ticket: u64, at: Seconds) {
        self.source.ended(ticket, at);
    }
}
