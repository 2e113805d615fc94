//! The workload of a scenario.

use crate::error::ScenarioError;
use crate::place::Place;
use crate::raw::{Raw, RawWorkload};
use std::path::{Path, PathBuf};
use units::Seconds;
use workload::{
    Arrival, ArrivalError, Arrivals, ClosedLoop, Format, Lengths, Mix, Mixed, OpenLoop, Process, Reading,
    Replay, ReplayOptions, Sessions, SessionsConfig, SharedPrefix, Source, TenantShare, WorkloadError,
};

const TABLE: &str = "workload";

/// Tokens per hash where nothing says otherwise: the blocks of Mooncake's traces.
pub(crate) const HASH_BLOCK: u32 = 512;

/// A source and what had to be known of it.
pub(crate) struct Traffic {
    pub source: Box<dyn Source>,
    /// Tokens per hash of its prefixes.
    pub hash_block: u32,
    /// Whether its requests have prefixes.
    pub prefixes: bool,
    /// Requests, if it is known how many.
    pub requests: Option<u64>,
}

/// What is sent when, before anything is mixed in.
struct Sent {
    source: Box<dyn Source>,
    /// Tokens per hash of the prefixes it has of its own.
    hash_block: Option<u32>,
    requests: Option<u64>,
    /// Whether it waits for answers.
    closed: bool,
    /// Whether it is a recorded run, whose requests say all of themselves.
    recorded: bool,
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
    idle(raw, place, &sent)?;
    let given = workload.prefix.and_then(|prefix| prefix.block);
    let hash_block = sent.hash_block.or(given).unwrap_or(HASH_BLOCK);
    let deployments = raw.deployment.len() as u32;
    let mirrored = match workload.split.as_deref() {
        None | Some("share") => false,
        Some("mirror") if sent.closed => {
            let problem =
                "`mirror` needs traffic that does not wait for answers: an arrival process or a trace";
            return Err(place.wrong(TABLE, 0, "split", problem));
        }
        Some("mirror") => true,
        Some(other) => {
            let problem = format!("`{other}` is not known; use share or mirror");
            return Err(place.wrong(TABLE, 0, "split", problem));
        }
    };
    let mix = if sent.recorded { Mix::new(raw.seed) } else { mix(raw, place, hash_block)? };
    let copies = if mirrored { deployments } else { 1 };
    let mixed = Mixed::mirrored(sent.source, mix, copies);
    let source = Promised { source: mixed, deadline: workload.deadline, patience: workload.patience };
    Ok(Traffic {
        source: Box::new(source),
        hash_block,
        prefixes: sent.hash_block.is_some() || workload.prefix.is_some(),
        requests: sent.requests.map(|count| count * u64::from(copies)),
    })
}

/// Tenants, shared beginnings and deployments.
fn mix(raw: &Raw, place: &Place, hash_block: u32) -> Result<Mix, ScenarioError> {
    let sane = |share: f64| share.is_finite() && share >= 0.0;
    let mut mix = Mix::new(raw.seed);
    let mut tenants = Vec::new();
    for (index, tenant) in raw.tenant.iter().enumerate() {
        let share = tenant.share.unwrap_or(1.0);
        if !sane(share) {
            return Err(place.wrong("tenant", index, "share", format!("{share} is not a part of anything")));
        }
        tenants.push(TenantShare { tenant: tenant.id, share, priority: tenant.priority });
    }
    if !tenants.is_empty() {
        mix = mix.with_tenants(tenants);
    }
    let mut shares = Vec::new();
    for (index, deployment) in raw.deployment.iter().enumerate() {
        let share = deployment.share.unwrap_or(1.0);
        if !sane(share) {
            let problem = format!("{share} is not a part of anything");
            return Err(place.wrong("deployment", index, "share", problem));
        }
        shares.push(share);
    }
    mix = mix.over_deployments(shares);
    if let Some(prefix) = raw.workload.prefix {
        if prefix.groups == 0 || !(0.0..=1.0).contains(&prefix.share) || prefix.block == Some(0) {
            let problem =
                "needs at least one group, a share between 0 and 1 and a block of at least one token";
            return Err(place.wrong("workload.prefix", 0, "share", problem));
        }
        mix = mix.with_prefix(SharedPrefix { groups: prefix.groups, share: prefix.share, hash_block });
    }
    Ok(mix)
}

fn replay(raw: &Raw, place: &Place, folder: &Path) -> Result<Sent, ScenarioError> {
    let workload = &raw.workload;
    let file = workload.trace.as_deref().unwrap_or("-");
    let path = if file == "-" { PathBuf::from(file) } else { folder.join(file) };
    let reading = Reading {
        format: parsed(place, "trace_format", workload.trace_format.as_deref())?,
        time_unit: parsed(place, "time_unit", workload.time_unit.as_deref())?,
        block_size: workload.block_size,
        columns: parsed(place, "columns", workload.columns.as_deref())?,
    };
    // Times of a trace are its own unless an arrival process is asked for by name or by rate.
    let replaced = workload.arrival.is_some() || workload.rate.is_some();
    let arrivals = replaced.then(|| process(workload, place)).transpose()?;
    let arrivals = arrivals.map(|process| Arrivals::new(process, raw.seed)).transpose();
    let options = ReplayOptions {
        reading,
        rate_scale: workload.rate_scale.unwrap_or(1.0),
        limit: workload.requests,
        repeat: workload.repeat.unwrap_or(1),
        arrivals: arrivals.map_err(|error| named(place, &error))?,
    };
    let replay = Replay::open(&path, options)?;
    unread(workload, place, replay.format())?;
    let (hash_block, recorded) = (replay.hash_block(), replay.format() == Format::Supernode);
    // Requests that wait for others need the ends of those, as the users of a closed loop do.
    let closed = replay.waits();
    Ok(Sent { source: Box::new(replay), hash_block, requests: None, closed, recorded })
}

/// Keys that say how a trace is read and that its format does not ask for.
fn unread(workload: &RawWorkload, place: &Place, format: Format) -> Result<(), ScenarioError> {
    let hashed = matches!(format, Format::Mooncake | Format::Agentic | Format::Bailian | Format::Weka);
    let timed = hashed || matches!(format, Format::ServeGen | Format::Csv | Format::AiPerf);
    for (key, given, read, what) in [
        ("time_unit", workload.time_unit.is_some(), timed, "times"),
        ("block_size", workload.block_size.is_some(), hashed, "prefixes"),
    ] {
        if given && !read {
            let problem =
                format!("has no effect: the format of the trace says all of its {what}; leave it out");
            return Err(place.wrong(TABLE, 0, key, problem));
        }
    }
    Ok(())
}

/// Keys that the traffic leaves nothing for.
fn idle(raw: &Raw, place: &Place, sent: &Sent) -> Result<(), ScenarioError> {
    let wrong = |table: &str, key: &str, why: &str| {
        Err(place.wrong(table, 0, key, format!("has no effect here: {why}; leave it out")))
    };
    let workload = &raw.workload;
    if workload.split.is_some() && raw.deployment.len() < 2 {
        return wrong(TABLE, "split", "there is one deployment");
    }
    let Some(prefix) = &workload.prefix else { return Ok(()) };
    match sent.hash_block {
        _ if sent.recorded => wrong(TABLE, "prefix", "a recorded run has prefixes of its own"),
        Some(own) if prefix.block.is_some_and(|block| block != own) => {
            wrong("workload.prefix", "block", &format!("this traffic has prefixes in blocks of {own} tokens"))
        }
        _ => Ok(()),
    }
}

/// A value of its own form, if it is given.
fn parsed<T: std::str::FromStr>(
    place: &Place,
    key: &str,
    text: Option<&str>,
) -> Result<Option<T>, ScenarioError>
where
    T::Err: std::fmt::Display,
{
    text.map(str::parse).transpose().map_err(|error: T::Err| place.wrong(TABLE, 0, key, error.to_string()))
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

fn generated(raw: &Raw, place: &Place) -> Result<Sent, ScenarioError> {
    let workload = &raw.workload;
    let lengths = |lengths: Option<Lengths>, key: &str| {
        lengths
            .ok_or_else(|| place.wrong(TABLE, 0, key, "is needed; give tokens, a range or a log-normal law"))
    };
    let (input, output) = (lengths(workload.isl, "isl")?, lengths(workload.osl, "osl")?);
    if let Some(sessions) = &workload.sessions {
        let config = SessionsConfig {
            process: process(workload, place)?,
            sessions: sessions.count,
            turns: sessions.turns,
            system: sessions.system,
            input,
            output,
            think: sessions.think,
            hash_block: HASH_BLOCK,
            max_context: 1 << 17,
        };
        let source = Sessions::new(config, raw.seed).map_err(|error| named(place, &error))?;
        let source = Box::new(source);
        return Ok(Sent {
            source,
            hash_block: Some(HASH_BLOCK),
            requests: None,
            closed: true,
            recorded: false,
        });
    }
    let requests = workload
        .requests
        .ok_or_else(|| place.wrong(TABLE, 0, "requests", "is needed; say how many requests are sent"))?;
    if workload.arrival.as_deref() == Some("closed") {
        let users = workload.users.ok_or_else(|| {
            place.wrong(TABLE, 0, "users", "is needed for a closed loop; say how many users send")
        })?;
        let source = ClosedLoop::new(users, workload.warm_up.unwrap_or(0), requests, input, output, raw.seed);
        return Ok(Sent {
            source: Box::new(source),
            hash_block: None,
            requests: Some(requests),
            closed: true,
            recorded: false,
        });
    }
    let open = OpenLoop::new(process(workload, place)?, requests, input, output, raw.seed);
    let open = open.map_err(|error| named(place, &error))?;
    Ok(Sent {
        source: Box::new(open),
        hash_block: None,
        requests: Some(requests),
        closed: false,
        recorded: false,
    })
}

/// Adds what is promised to, and expected by, every request.
struct Promised<S> {
    source: S,
    deadline: Option<Seconds>,
    patience: Option<Seconds>,
}

impl<S: Source> Source for Promised<S> {
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

    fn notes(&self) -> Vec<String> {
        self.source.notes()
    }
}
