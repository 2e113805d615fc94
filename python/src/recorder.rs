//! Requests and steps of a run, as they end.

use crate::table::Columns;
use report::Cell;
use report::ColumnKind::{Flag, Real, Text, Whole};
use sim::{Observer, Outcome, Record, RunRecord};
use units::Seconds;

fn whole(value: impl Into<u64>) -> Cell {
    Cell::Whole(i64::try_from(value.into()).unwrap_or(i64::MAX))
}

fn seconds(value: Option<Seconds>) -> Cell {
    value.map_or(Cell::Absent, |value| Cell::Real(value.get()))
}

/// Collects what is wanted of a run.
pub struct Recorder {
    /// A row per request.
    pub requests: Option<Columns>,
    /// A row per run of equal steps of an instance.
    pub steps: Option<Columns>,
}

impl Recorder {
    /// The columns of requests are those of the files that the command writes.
    pub fn new(requests: bool, steps: bool) -> Self {
        let of_requests = [
            ("request", Whole),
            ("arrival_s", Real),
            ("queue_s", Real),
            ("ttft_s", Real),
            ("tpot_s", Real),
            ("e2e_s", Real),
            ("input_tokens", Whole),
            ("output_tokens", Whole),
            ("cached_tokens", Whole),
            ("fetched_tokens", Whole),
            ("restarts", Whole),
            ("deployment", Whole),
            ("tenant", Whole),
            ("session", Whole),
            ("instance", Whole),
            ("outcome", Text),
            ("measured", Flag),
        ];
        let of_steps = [
            ("instance", Whole),
            ("start_s", Real),
            ("end_s", Real),
            ("steps", Whole),
            ("decode_seqs", Whole),
            ("prefill_tokens", Whole),
            ("decode_context_tokens", Real),
            ("waiting", Whole),
            ("stall_s", Real),
            ("energy_j", Real),
        ];
        Self {
            requests: requests.then(|| Columns::new(of_requests, &["outcome"])),
            steps: steps.then(|| Columns::new(of_steps, &[])),
        }
    }
}

impl Observer for Recorder {
    fn request_ended(&mut self, record: &Record) {
        let Some(columns) = &mut self.requests else { return };
        let outcome = match record.outcome {
            Outcome::Completed => "completed",
            Outcome::Cancelled => "cancelled",
            Outcome::Rejected(reason) => reason.name(),
        };
        columns.push(&[
            whole(record.ticket),
            Cell::Real(record.arrival.get()),
            seconds(record.queued()),
            seconds(record.ttft()),
            seconds(record.tpot()),
            Cell::Real(record.e2e().get()),
            whole(record.input),
            whole(record.output),
            whole(record.cached),
            whole(record.fetched),
            whole(record.restarts),
            whole(record.deployment),
            whole(record.tenant),
            record.session.map_or(Cell::Absent, whole),
            record.instance.map_or(Cell::Absent, |instance| whole(instance.0)),
            Cell::Text(outcome.to_owned()),
            Cell::Flag(record.measured),
        ]);
    }

    fn run_ended(&mut self, record: &RunRecord) {
        let Some(columns) = &mut self.steps else { return };
        columns.push(&[
            whole(record.instance.0),
            Cell::Real(record.start.get()),
            Cell::Real(record.end.get()),
            whole(record.steps),
            whole(record.run.decode_seqs),
            whole(record.run.prefill_tokens),
            Cell::Real(record.run.shape.busiest.decode_context),
            whole(record.waiting),
            Cell::Real(record.stall.get()),
            Cell::Real(record.energy.get()),
        ]);
    }
}
