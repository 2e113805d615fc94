//! One line per request, as it ends.

use crate::parquet::{Cell, Column, ColumnKind, ParquetWriter};
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
    /// Columns, compressed.
    Parquet,
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

/// The columns of a Parquet file: those of the other forms.
fn columns() -> Vec<Column> {
    let kind = |name: &str| match name {
        "outcome" => ColumnKind::Text,
        "measured" => ColumnKind::Flag,
        _ if name.ends_with("_s") => ColumnKind::Real,
        _ => ColumnKind::Whole,
    };
    HEADER.trim_end().split(',').map(|name| Column::new(name, kind(name))).collect()
}

enum Out<W: Write + Send> {
    Jsonl(W),
    Csv(W),
    Parquet(Box<ParquetWriter<W>>),
}

/// Writes records as they come. The first error is kept for [`Records::finish`].
pub struct Records<W: Write + Send> {
    out: Out<W>,
    failed: Option<io::Error>,
}

impl<W: Write + Send> Records<W> {
    /// Writes to `out`.
    ///
    /// # Errors
    /// The beginning of the file cannot be written.
    pub fn new(mut out: W, format: RecordFormat) -> io::Result<Self> {
        let out = match format {
            RecordFormat::Csv => {
                out.write_all(HEADER.as_bytes())?;
                Out::Csv(out)
            }
            RecordFormat::Jsonl => Out::Jsonl(out),
            RecordFormat::Parquet => Out::Parquet(Box::new(ParquetWriter::new(out, &columns())?)),
        };
        Ok(Self { out, failed: None })
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub fn finish(self) -> io::Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.out {
            Out::Jsonl(mut out) | Out::Csv(mut out) => out.flush(),
            Out::Parquet(writer) => writer.finish()?.flush(),
        }
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        match &mut self.out {
            Out::Jsonl(out) => {
                serde_json::to_writer(&mut *out, line)?;
                out.write_all(b"\n")
            }
            Out::Csv(out) => {
                let texts: Vec<String> = line.cells().iter().map(text).collect();
                writeln!(out, "{}", texts.join(","))
            }
            Out::Parquet(writer) => writer.push(&line.cells()),
        }
    }
}

impl Line {
    fn cells(&self) -> [Cell; 17] {
        let whole = |value: u64| Cell::Whole(i64::try_from(value).unwrap_or(i64::MAX));
        let real = |value: Option<f64>| value.map_or(Cell::Absent, Cell::Real);
        [
            whole(self.request),
            Cell::Real(self.arrival_s),
            real(self.queue_s),
            real(self.ttft_s),
            real(self.tpot_s),
            Cell::Real(self.e2e_s),
            whole(self.input_tokens.into()),
            whole(self.output_tokens.into()),
            whole(self.cached_tokens.into()),
            whole(self.fetched_tokens.into()),
            whole(self.restarts.into()),
            whole(self.deployment.into()),
            whole(self.tenant.into()),
            self.session.map_or(Cell::Absent, whole),
            self.instance.map_or(Cell::Absent, |instance| whole(instance.into())),
            Cell::Text(self.outcome.to_owned()),
            Cell::Flag(self.measured),
        ]
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Absent => String::new(),
        Cell::Flag(value) => value.to_string(),
        Cell::Whole(value) => value.to_string(),
        Cell::Real(value) => value.to_string(),
        Cell::Text(value) => value.clone(),
    }
}

impl<W: Write + Send> Observer for Records<W> {
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
