//! One line per request, as it ends.

use serde::Serialize;
use sim::{Observer, Outcome, Record};
use std::io::{self, Write};
use units::Seconds;

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFormat {
    /// JSON objects, one a line.
    Jsonl,
    /// Comma-separated, with a header.
    Csv,
}

#[derive(Serialize)]
struct Line {
    request: u64,
    arrival_s: f64,
    queue_s: Option<f64>,
    ttft_s: Option<f64>,
    tpot_s: Option<f64>,
    e2e_s: f64,
    input_tokens: u32,
    output_tokens: u32,
    cached_tokens: u32,
    fetched_tokens: u32,
    restarts: u32,
    deployment: u32,
    tenant: u32,
    session: Option<u64>,
    instance: Option<u32>,
    outcome: &'static str,
    measured: bool,
}

const HEADER: &str = "request,arrival_s,queue_s,ttft_s,tpot_s,e2e_s,input_tokens,output_tokens,cached_tokens,\
fetched_tokens,restarts,deployment,tenant,session,instance,outcome,measured\n";

/// Writes records as they come. The first error is kept for [`Records::finish`].
pub struct Records<W> {
    out: W,
    format: RecordFormat,
    failed: Option<io::Error>,
}

impl<W: Write> Records<W> {
    /// Writes to `out`.
    pub fn new(mut out: W, format: RecordFormat) -> Self {
        let failed = match format {
            RecordFormat::Csv => out.write_all(HEADER.as_bytes()).err(),
            RecordFormat::Jsonl => None,
        };
        Self { out, format, failed }
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        match self.format {
            RecordFormat::Jsonl => {
                serde_json::to_writer(&mut self.out, line)?;
                self.out.write_all(b"\n")
            }
            RecordFormat::Csv => {
                let real = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
                let whole = |value: Option<u64>| value.map(|value| value.to_string()).unwrap_or_default();
                writeln!(
                    self.out,
                    "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}",
                    line.request,
                    line.arrival_s,
                    real(line.queue_s),
                    real(line.ttft_s),
                    real(line.tpot_s),
                    line.e2e_s,
                    line.input_tokens,
                    line.output_tokens,
                    line.cached_tokens,
                    line.fetched_tokens,
                    line.restarts,
                    line.deployment,
                    line.tenant,
                    whole(line.session),
                    whole(line.instance.map(u64::from)),
                    line.outcome,
                    line.measured
                )
            }
        }
    }
}

impl<W: Write> Observer for Records<W> {
    fn request_ended(&mut self, record: &Record) {
        let seconds = |value: Option<Seconds>| value.map(Seconds::get);
        let line = Line {
            request: record.ticket,
            arrival_s: record.arrival.get(),
            queue_s: seconds(record.queued()),
            ttft_s: seconds(record.ttft()),
            tpot_s: seconds(record.tpot()),
            e2e_s: record.e2e().get(),
            input_tokens: record.input,
            output_tokens: record.output,
            cached_tokens: record.cached,
            fetched_tokens: record.fetched,
            restarts: record.restarts,
            deployment: record.deployment,
            tenant: record.tenant,
            session: record.session,
            instance: record.instance.map(|instance| instance.0),
            outcome: match record.outcome {
                Outcome::Completed => "completed",
                Outcome::Cancelled => "cancelled",
                Outcome::Rejected(reason) => reason.name(),
            },
            measured: record.measured,
        };
        if self.failed.is_none() {
            self.failed = self.write(&line).err();
        }
    }
}
