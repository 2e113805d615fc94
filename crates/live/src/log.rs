//! The input log: everything that came in from outside, each with its virtual instant. It is all that is needed to make
//! the same decisions again.
//!
//! One JSON document per line. The first says what cluster it is; then come inputs and, from time to time, checks: the
//! hash of all decisions so far. A log that ends in the middle of a line, as after a crash, is good up to that line.

use serde::{Deserialize, Serialize};
use serving::{Command, InstanceId, Nanos, RouterPolicy, Tenant};
use sim::Input;
use sim::faults::{FaultKind, Part};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use units::{PerSecond, Seconds};
use workload::Arrival;

/// The version that this program writes and reads.
pub const VERSION: u32 = 1;

/// Longest line that is read.
const LONGEST_LINE: u64 = 1 << 24;

/// What cluster a log is of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// [`VERSION`].
    pub supernode_input_log: u32,
    /// The version of the program that wrote it.
    pub program: String,
    /// Arguments that describe the cluster, as on the command line.
    pub arguments: Vec<String>,
    /// The text of the scenario file, if one was given.
    pub scenario: Option<String>,
    /// Whether changes of prefix caches are told; they are in the hash.
    pub kv_events: bool,
    /// The text of the file of jobs, if one was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<String>,
}

/// One line after the first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// Its number, counted from 1.
    pub seq: u64,
    /// Virtual nanoseconds since the start.
    pub at: u64,
    /// What came in.
    #[serde(flatten)]
    pub entry: Entry,
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// A request.
    Arrive(Request),
    /// The client of the request with this number went away.
    Cancel(u64),
    /// A part of the hardware broke or was mended.
    Part {
        /// Which.
        part: PartName,
        /// Whether it works now.
        works: bool,
    },
    /// An instance failed as a whole, or works again.
    Instance {
        /// Which.
        instance: u32,
        /// Whether it works now.
        works: bool,
    },
    /// An administrator's commands, all or none.
    Admin(Vec<Order>),
    /// Latency in front of a deployment.
    Latency {
        /// Which.
        deployment: u32,
        /// Seconds.
        seconds: f64,
    },
    /// Something about jobs.
    Job(JobOrder),
    /// The hash of all decisions up to here.
    Check {
        /// As [`crate::core::Core::hash`].
        hash: String,
        /// Events told to the control plane.
        events: u64,
    },
}

/// What an operator says of jobs, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum JobOrder {
    /// Jobs are submitted: an entry as `[[job]]` of a cluster file has it.
    SubmitJob(serde_json::Value),
    /// A job is withdrawn.
    CancelJob(u32),
    /// A running job writes its checkpoint and queues again, behind those of its priority who wait.
    PreemptJob(u32),
    /// A job is stopped, if it runs, and does not start until it is released.
    HoldJob(u32),
    /// A job that was held queues again.
    ReleaseJob(u32),
    /// Another priority.
    JobPriority {
        /// Which job.
        job: u32,
        /// Higher goes first.
        priority: i32,
    },
    /// Another quota.
    JobQuota {
        /// Whose.
        tenant: String,
        /// Chips; null for none.
        chips: Option<u32>,
    },
    /// A node takes no more jobs, and those that may be stopped are.
    DrainNode(u32),
    /// It takes jobs again.
    UndrainNode(u32),
}

/// A request as it is logged: its lengths and the hashes of its blocks, none of its text.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// Its number: unique in the log.
    pub id: u64,
    /// Prompt tokens.
    pub input: u32,
    /// Output tokens it will have.
    pub output: u32,
    /// The client's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// The deployment.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deployment: u32,
    /// The tenant.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tenant: u32,
    /// The conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<u64>,
    /// Class of service.
    #[serde(default, skip_serializing_if = "is_zero_u8")]
    pub priority: u8,
    /// The instance that the client has chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<u32>,
    /// Hashes of the prompt's full blocks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefix: Vec<u64>,
    /// Hashes of the full blocks of prompt and output.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<u64>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_zero_u8(value: &u8) -> bool {
    *value == 0
}

/// A part of the hardware, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartName {
    /// Chip of a system.
    Chip(u32, u32),
    /// Board of a system.
    Board(u32, u32),
    /// Node of a system.
    Node(u32, u32),
    /// Link of a chip of a system.
    Link(u32, u32),
}

impl From<PartName> for Part {
    fn from(name: PartName) -> Self {
        match name {
            PartName::Chip(system, chip) => Self::Chip { system, chip },
            PartName::Board(system, board) => Self::Board { system, board },
            PartName::Node(system, node) => Self::Node { system, node },
            PartName::Link(system, chip) => Self::Link { system, chip },
        }
    }
}

/// An administrator's command, as it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// An instance finishes what it has and goes.
    Drain {
        /// Which.
        instance: u32,
    },
    /// So many instances of a pool.
    Scale {
        /// Which.
        pool: u32,
        /// How many.
        instances: u32,
    },
    /// Another router for a pool.
    Policy {
        /// Which.
        pool: u32,
        /// `round-robin`, `least-requests`, `least-tokens`, `power-of-two`, `prefix-aware` or `session-sticky`.
        router: Router,
    },
    /// Another limit of waiting requests.
    QueueLimit {
        /// Of which deployment.
        deployment: u32,
        /// The limit; null for none.
        limit: Option<u32>,
    },
    /// Other terms of a tenant.
    Tenant {
        /// Whose.
        tenant: u32,
        /// Weight in fair shares; 1 where it is left out.
        weight: Option<f64>,
        /// Requests per second.
        rate: Option<f64>,
        /// Requests in flight.
        concurrency: Option<u32>,
        /// Tokens per minute.
        tokens_per_minute: Option<u64>,
    },
    /// A deployment takes no new requests.
    Close {
        /// Which.
        deployment: u32,
    },
    /// A deployment takes requests again.
    Open {
        /// Which.
        deployment: u32,
    },
}

/// A router, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Router {
    /// In turn.
    RoundRobin,
    /// Fewest requests.
    LeastRequests,
    /// Fewest tokens.
    LeastTokens,
    /// The better of two.
    PowerOfTwo,
    /// Most of the prompt cached, against the load.
    PrefixAware,
    /// A session stays.
    SessionSticky,
}

/// Weight of the load in the prefix-aware router that a command switches to: the scenario's usual one.
const USUAL_LOAD: f64 = 0.1;

impl Order {
    /// The control plane's command.
    pub fn command(&self) -> Command {
        match self {
            Self::Drain { instance } => Command::Drain(InstanceId(*instance)),
            Self::Scale { pool, instances } => Command::Scale { pool: *pool, instances: *instances },
            Self::Policy { pool, router } => Command::Router {
                pool: *pool,
                router: match router {
                    Router::RoundRobin => RouterPolicy::RoundRobin,
                    Router::LeastRequests => RouterPolicy::LeastRequests,
                    Router::LeastTokens => RouterPolicy::LeastTokens,
                    Router::PowerOfTwo => RouterPolicy::PowerOfTwo,
                    Router::PrefixAware => RouterPolicy::PrefixAware { load: USUAL_LOAD },
                    Router::SessionSticky => RouterPolicy::SessionSticky,
                },
            },
            Self::QueueLimit { deployment, limit } => {
                Command::QueueLimit { deployment: *deployment, limit: *limit }
            }
            Self::Tenant { tenant, weight, rate, concurrency, tokens_per_minute } => Command::Tenant {
                tenant: *tenant,
                terms: Some(Tenant {
                    weight: weight.unwrap_or(1.0),
                    rate: rate.map(PerSecond::new),
                    concurrency: *concurrency,
                    tokens_per_minute: *tokens_per_minute,
                }),
            },
            Self::Close { deployment } => Command::Close { deployment: *deployment },
            Self::Open { deployment } => Command::Open { deployment: *deployment },
        }
    }
}

impl Request {
    /// What the world is told of it.
    pub fn arrival(&self, at: Nanos) -> Arrival {
        let hashes = |hashes: &[u64]| (!hashes.is_empty()).then(|| Arc::from(hashes));
        Arrival {
            at: at.seconds(),
            input: self.input,
            output: self.output,
            deployment: self.deployment,
            tenant: self.tenant,
            session: self.session,
            priority: self.priority,
            max_tokens: self.max_tokens,
            instance: self.instance,
            prefix: hashes(&self.prefix),
            after: hashes(&self.after),
            ticket: self.id,
            measured: true,
            ..Arrival::default()
        }
    }
}

impl Entry {
    /// The world's input; a cancelled request's ticket is what `ticket` knows it by. `None` for a check, and for a
    /// request that has ended.
    pub fn input(&self, at: Nanos, ticket: impl Fn(u64) -> Option<sim::Ticket>) -> Option<Input> {
        Some(match self {
            Self::Arrive(request) => Input::Arrive(request.arrival(at)),
            Self::Cancel(id) => Input::Cancel(ticket(*id)?),
            Self::Part { part, works } => {
                Input::Fault(FaultKind::Part { part: (*part).into(), works: *works })
            }
            Self::Instance { instance, works: true } => {
                Input::Fault(FaultKind::Repair { instance: InstanceId(*instance) })
            }
            Self::Instance { instance, works: false } => {
                let instance = InstanceId(*instance);
                Input::Fault(FaultKind::Fail { instance, ranks: u32::MAX, repairable: true })
            }
            Self::Admin(orders) => Input::Admin(orders.iter().map(Order::command).collect()),
            Self::Latency { deployment, seconds } => {
                Input::Latency { deployment: *deployment, extra: Seconds::new(*seconds) }
            }
            Self::Job(_) | Self::Check { .. } => return None,
        })
    }
}

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened, read or written.
    #[error("{file}: {error}")]
    Io {
        /// The file.
        file: String,
        /// Why not.
        error: std::io::Error,
    },
    /// A line is not what a log has.
    #[error("{file}:{line}: {problem}")]
    Line {
        /// The file.
        file: String,
        /// The line.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

/// Writes a log.
pub struct Writer {
    out: BufWriter<File>,
    seq: u64,
    buffer: Vec<u8>,
}

impl Writer {
    /// Begins a log.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn create(path: &Path, header: &Header) -> Result<Self, LogError> {
        let failed = |error| LogError::Io { file: path.display().to_string(), error };
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path).map_err(failed)?);
        let text = serde_json::to_string(header).map_err(|error| failed(error.into()))?;
        writeln!(out, "{text}").and_then(|()| out.flush()).map_err(failed)?;
        Ok(Self { out, seq: 0, buffer: Vec::new() })
    }

    /// Appends an entry; returns its number.
    ///
    /// # Errors
    /// A disk that is full, say.
    pub fn append(&mut self, at: Nanos, entry: Entry) -> std::io::Result<u64> {
        self.seq += 1;
        self.buffer.clear();
        serde_json::to_writer(&mut self.buffer, &Line { seq: self.seq, at: at.get(), entry })?;
        self.buffer.push(b'\n');
        self.out.write_all(&self.buffer)?;
        Ok(self.seq)
    }

    /// Hands everything to the operating system, so that a crash of this process loses nothing.
    ///
    /// # Errors
    /// As [`Writer::append`].
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Reads a log.
pub struct Reader {
    input: BufReader<File>,
    file: String,
    line: u64,
    /// What cluster it is of.
    pub header: Header,
    /// Whether it ended in the middle of a line.
    pub torn: bool,
}

impl Reader {
    /// Opens a log.
    ///
    /// # Errors
    /// A file that cannot be read or is no log of this version.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        let file = path.display().to_string();
        let failed = |error| LogError::Io { file: file.clone(), error };
        let mut input = BufReader::with_capacity(1 << 18, File::open(path).map_err(failed)?);
        let mut text = Vec::new();
        read_line(&mut input, &mut text).map_err(failed)?;
        let wrong = |problem: String| LogError::Line { file: file.clone(), line: 1, problem };
        let header: Header = serde_json::from_slice(&text)
            .map_err(|error| wrong(format!("is not the first line of an input log ({error})")))?;
        if header.supernode_input_log != VERSION {
            return Err(wrong(format!(
                "version {} of the log; this program reads version {VERSION}",
                header.supernode_input_log
            )));
        }
        Ok(Self { input, file, line: 1, header, torn: false })
    }

    /// The next line; `None` at the end, or where a crash tore the last line.
    ///
    /// # Errors
    /// A line that is not what a log has.
    pub fn next_line(&mut self) -> Result<Option<Line>, LogError> {
        let mut text = Vec::new();
        let error = |error| LogError::Io { file: self.file.clone(), error };
        let whole = read_line(&mut self.input, &mut text).map_err(error)?;
        if text.is_empty() {
            return Ok(None);
        }
        self.line += 1;
        match serde_json::from_slice(&text) {
            Ok(line) if whole => Ok(Some(line)),
            Err(error) if whole => {
                let (file, line) = (self.file.clone(), self.line);
                Err(LogError::Line { file, line, problem: format!("is no entry of an input log ({error})") })
            }
            _ => {
                self.torn = true;
                Ok(None)
            }
        }
    }

    /// An error at the line read last.
    pub fn wrong(&self, problem: String) -> LogError {
        LogError::Line { file: self.file.clone(), line: self.line, problem }
    }
}

/// Reads up to the end of a line; false if the file ends before.
fn read_line(input: &mut impl BufRead, text: &mut Vec<u8>) -> std::io::Result<bool> {
    std::io::Read::take(&mut *input, LONGEST_LINE).read_until(b'\n', text)?;
    let whole = text.last() == Some(&b'\n');
    if !whole && text.len() as u64 == LONGEST_LINE {
        return Err(std::io::Error::other("a line is longer than 16 MiB"));
    }
    Ok(whole)
}
