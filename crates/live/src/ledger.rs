//! The ledger: one row per request in SQLite, committed before its client is told of the end.

use crate::cell::{Cell, End};
use rusqlite::{Connection, params};
use serving::Reason;
use sim::{Outcome, Record};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Rows that come within this time share a commit.
const GROUP: Duration = Duration::from_millis(5);

/// Rows of one commit at most.
const MOST: usize = 10_000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS requests (
    id TEXT PRIMARY KEY, key TEXT, tenant INTEGER NOT NULL, deployment INTEGER NOT NULL, instance INTEGER,
    arrival REAL NOT NULL, ttft REAL, e2e REAL NOT NULL, prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT NULL, restarts INTEGER NOT NULL,
    outcome TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_tenant ON requests (tenant, arrival);
";

/// One row. Times are virtual seconds.
#[derive(Debug, Clone)]
pub struct Row {
    id: u64,
    key: Option<Arc<str>>,
    tenant: u32,
    deployment: u32,
    instance: Option<u32>,
    arrival: f64,
    ttft: Option<f64>,
    e2e: f64,
    input: u32,
    output: u32,
    cached: u32,
    restarts: u32,
    outcome: &'static str,
}

impl Row {
    /// The row of a request that has ended.
    pub fn new(record: &Record, key: Option<Arc<str>>) -> Self {
        Self {
            id: record.ticket,
            key,
            tenant: record.tenant,
            deployment: record.deployment,
            instance: record.instance.map(|instance| instance.0),
            arrival: record.arrival.get(),
            ttft: record.ttft().map(units::Seconds::get),
            e2e: record.e2e().get(),
            input: record.input,
            output: record.output,
            cached: record.cached + record.fetched,
            restarts: record.restarts,
            outcome: match record.outcome {
                Outcome::Completed => "completed",
                Outcome::Cancelled => "cancelled",
                Outcome::Rejected(reason) => reason.name(),
            },
        }
    }
}

/// Why there is no ledger.
#[derive(Debug, thiserror::Error)]
#[error("{file}: the ledger cannot be opened ({error}); give another file with --ledger")]
pub struct LedgerError {
    file: String,
    error: rusqlite::Error,
}

/// The way to the ledger's thread. Dropped, the thread writes what it has and ends.
pub struct Ledger {
    sender: Sender<(Row, Arc<Cell>, End)>,
}

impl Ledger {
    /// Opens a ledger; `run` tells the ids of this run from those of others in the same file.
    ///
    /// # Errors
    /// A file that is no database or cannot be written.
    pub fn open(path: &Path, run: &str) -> Result<(Self, JoinHandle<()>), LedgerError> {
        let wrong = |error| LedgerError { file: path.display().to_string(), error };
        let connection = Connection::open(path).map_err(wrong)?;
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=5000;")
            .and_then(|()| connection.execute_batch(SCHEMA))
            .map_err(wrong)?;
        let (sender, receiver) = channel();
        let run = run.to_owned();
        let thread = std::thread::spawn(move || keep(connection, &run, &receiver));
        Ok((Self { sender }, thread))
    }

    /// Books a row, and then tells the client.
    pub fn book(&self, row: Row, cell: Arc<Cell>, end: End) {
        if let Err(unsent) = self.sender.send((row, cell, end)) {
            let (_, cell, end) = unsent.0;
            cell.end(unbooked(end));
        }
    }
}

/// What a client is told whose row could not be written: that its request failed, as it is in no ledger.
fn unbooked(end: End) -> End {
    End { refused: end.refused.or(Some(Reason::NoInstance)), ..end }
}

fn keep(mut connection: Connection, run: &str, receiver: &Receiver<(Row, Arc<Cell>, End)>) {
    let mut failing = false;
    while let Ok(first) = receiver.recv() {
        let mut group = vec![first];
        let until = Instant::now() + GROUP;
        while group.len() < MOST {
            match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(next) => group.push(next),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        let written = write(&mut connection, run, &group);
        if let (Err(error), false) = (&written, failing) {
            eprintln!("error: the ledger cannot be written ({error}); requests fail until it can");
        }
        failing = written.is_err();
        for (_, cell, end) in group {
            cell.end(if failing { unbooked(end) } else { end });
        }
    }
}

fn write(connection: &mut Connection, run: &str, group: &[(Row, Arc<Cell>, End)]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert = transaction.prepare_cached(
            "INSERT INTO requests VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?;
        for (row, ..) in group {
            insert.execute(params![
                format!("{run}{:x}", row.id),
                row.key.as_deref(),
                row.tenant,
                row.deployment,
                row.instance,
                row.arrival,
                row.ttft,
                row.e2e,
                row.input,
                row.output,
                row.cached,
                row.restarts,
                row.outcome,
            ])?;
        }
    }
    transaction.commit()
}
