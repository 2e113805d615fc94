//! A timeline for ui.perfetto.dev: a process per instance with its runs and counters, and the lives of sampled requests.

use serde_json::{Value, json};
use serving::{InstanceId, InstanceState};
use sim::{Observer, Record, RunRecord, TransferRecord};
use std::collections::BTreeSet;
use std::io::{self, Write};
use units::Seconds;

/// Events written at most; the interface gets slow beyond, and the rest of a long run looks like its beginning.
const MOST_EVENTS: u64 = 2_000_000;

/// The process that holds requests.
const REQUESTS: u32 = 0;

/// Writes events as they come. The first error is kept for [`Perfetto::finish`].
pub struct Perfetto<W> {
    out: W,
    events: u64,
    sample: u64,
    known: BTreeSet<InstanceId>,
    failed: Option<io::Error>,
}

impl<W: Write> Perfetto<W> {
    /// Writes to `out` every run of every instance and one request in `sample`.
    pub fn new(mut out: W, sample: u64) -> Self {
        let failed = out.write_all(b"{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n").err();
        let mut trace = Self { out, events: 0, sample: sample.max(1), known: BTreeSet::new(), failed };
        trace.name(REQUESTS, "requests");
        trace
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The first thing that could not be written.
    pub fn finish(mut self) -> io::Result<()> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        self.out.write_all(b"\n]}\n")?;
        self.out.flush()
    }

    fn event(&mut self, event: &Value) {
        if self.failed.is_some() || self.events >= MOST_EVENTS {
            return;
        }
        let comma: &[u8] = if self.events == 0 { b"" } else { b",\n" };
        self.events += 1;
        let written =
            self.out.write_all(comma).and_then(|()| Ok(serde_json::to_writer(&mut self.out, event)?));
        self.failed = written.err();
    }

    fn name(&mut self, pid: u32, name: &str) {
        self.event(&json!({ "name": "process_name", "ph": "M", "pid": pid, "args": { "name": name } }));
    }

    fn counter(&mut self, name: &str, pid: u32, at: Seconds, value: f64) {
        self.event(
            &json!({ "name": name, "ph": "C", "ts": at.us(), "pid": pid, "args": { "value": value } }),
        );
    }
}

fn process(instance: InstanceId) -> u32 {
    instance.0 + 1
}

impl<W: Write> Observer for Perfetto<W> {
    fn request_ended(&mut self, record: &Record) {
        if record.ticket % self.sample != 0 {
            return;
        }
        let mut phase = |name: &str, from: Option<Seconds>, to: Option<Seconds>| {
            let (Some(from), Some(to)) = (from, to) else { return };
            let args = json!({
                "input": record.input, "output": record.output, "cached": record.cached, "tenant": record.tenant,
                "outcome": format!("{:?}", record.outcome),
            });
            let common = |ph: &str, at: Seconds| {
                json!({
                    "name": name, "cat": "request", "ph": ph, "ts": at.us(), "id": record.ticket, "pid": REQUESTS,
                    "tid": record.ticket % 1024, "args": args,
                })
            };
            self.event(&common("b", from));
            self.event(&common("e", to));
        };
        let end = Some(record.end);
        phase("request", Some(record.arrival), end);
        phase("queued", Some(record.arrival), record.admitted.or(end));
        phase("prefill", record.admitted, record.first_token);
        phase("decode", record.first_token, end);
    }

    fn run_ended(&mut self, record: &RunRecord) {
        let pid = process(record.instance);
        let run = &record.run;
        let name = match (run.decode_seqs, run.prefill_tokens) {
            (_, 0) => "decode",
            (0, _) => "prefill",
            _ => "mixed",
        };
        let duration = record.end - record.start;
        self.event(&json!({
            "name": name, "cat": "step", "ph": "X", "ts": record.start.us(), "dur": duration.us(), "pid": pid, "tid": 1,
            "args": {
                "steps": record.steps, "decode_seqs": run.decode_seqs, "prefill_tokens": run.prefill_tokens,
                "context": run.shape.busiest.decode_context, "energy_J": record.energy.get(),
            },
        }));
        self.counter("batch", pid, record.start, f64::from(run.decode_seqs));
        self.counter("queue", pid, record.end, f64::from(record.waiting));
        self.counter("KV %", pid, record.end, record.kv_used * 100.0);
        self.counter(
            "power kW",
            pid,
            record.start,
            (record.energy / duration.max(Seconds::new(1e-9))).get() / 1e3,
        );
    }

    fn transfer_ended(&mut self, record: &TransferRecord) {
        let name = if record.tier.is_some() { "fetch" } else { "KV transfer" };
        self.event(&json!({
            "name": name, "cat": "transfer", "ph": "X", "ts": record.start.us(), "dur": (record.end - record.start).us(),
            "pid": process(record.to), "tid": 2, "args": { "bytes": record.bytes.get() },
        }));
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState, at: Seconds) {
        let pid = process(instance);
        if self.known.insert(instance) {
            self.name(pid, &format!("instance {} (pool {pool})", instance.0));
        }
        self.event(&json!({
            "name": format!("{state:?}"), "cat": "instance", "ph": "i", "s": "p", "ts": at.us(), "pid": pid, "tid": 1,
        }));
    }

    fn wants_kv(&self, _: Seconds) -> bool {
        true
    }
}
