//! This program's own trace format: a run written down, to be replayed to the same result.

use crate::source::Arrival;
use serde::Serialize;
use std::io::{self, Write};

#[derive(Serialize)]
struct Line<'a> {
    arrival_ns: u64,
    input_length: u32,
    output_length: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash_ids: Option<&'a [u64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after_hash_ids: Option<&'a [u64]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    tenant: u32,
    #[serde(skip_serializing_if = "is_zero_class")]
    priority: u8,
    #[serde(skip_serializing_if = "is_zero")]
    deployment: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
}

fn is_zero(value: &u32) -> bool {
    *value == 0
}

fn is_zero_class(value: &u8) -> bool {
    *value == 0
}

/// Writes requests as lines of JSON.
pub struct TraceWriter<W> {
    out: W,
}

impl<W: Write> TraceWriter<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes one request.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn write(&mut self, arrival: &Arrival) -> io::Result<()> {
        let line = Line {
            arrival_ns: (arrival.at.get() * 1e9).round() as u64,
            input_length: arrival.input,
            output_length: arrival.output,
            hash_ids: arrival.prefix.as_deref(),
            after_hash_ids: arrival.after.as_deref(),
            session: arrival.session,
            tenant: arrival.tenant,
            priority: arrival.priority,
            deployment: arrival.deployment,
            max_tokens: arrival.max_tokens,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    /// Ends the trace.
    ///
    /// # Errors
    /// What the underlying writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
