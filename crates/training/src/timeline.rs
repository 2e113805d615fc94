//! A step as a Perfetto (Chrome trace event) timeline, micro-batches expanded.

use crate::job::Job;
use crate::schedule::{self, Pass};
use crate::step::Step;
use serde::Serialize;

/// Tasks a timeline holds at most, so that a viewer still opens it.
pub const MAX_TASKS: usize = 400_000;

#[derive(Serialize)]
struct Trace {
    #[serde(rename = "displayTimeUnit")]
    unit: &'static str,
    #[serde(rename = "traceEvents")]
    events: Vec<Event>,
}

#[derive(Serialize)]
struct Event {
    name: String,
    cat: &'static str,
    ph: &'static str,
    ts: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dur: Option<f64>,
    pid: u32,
    tid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Args>,
}

#[derive(Serialize)]
struct Args {
    name: String,
}

/// The timeline of `step` as JSON: a track per pipeline rank, times in microseconds. Micro-batches beyond
/// [`MAX_TASKS`] tasks are left out and the rest of the step shown as one block.
pub fn perfetto(job: &Job, step: &Step) -> String {
    let ranks = job.layout.pp;
    let per_micro = (ranks * job.schedule.chunks() * 3) as usize;
    let micros = job.micros().min((MAX_TASKS / per_micro.max(1)).max(2 * ranks as usize) as u32);
    let run = schedule::execute(job.schedule, ranks, micros, &step.stage_times, step.send);
    let mut events = Vec::new();
    for (rank, intervals) in run.ranks.iter().enumerate() {
        let rank = rank as u32;
        events.push(Event {
            name: "thread_name".to_owned(),
            cat: "__metadata",
            ph: "M",
            ts: 0.0,
            dur: None,
            pid: 0,
            tid: rank,
            args: Some(Args { name: format!("pipeline rank {rank}") }),
        });
        for interval in intervals {
            let (letter, cat) = match interval.task.pass {
                Pass::Forward => ("F", "forward"),
                Pass::Backward => ("B", "backward"),
                Pass::BackwardInput => ("B", "backward input"),
                Pass::BackwardWeight => ("W", "backward weight"),
            };
            let name = format!("{letter}{} chunk {}", interval.task.micro, interval.task.chunk);
            events.push(block(name, cat, interval.start.us(), interval.end.us(), rank));
        }
        let end = intervals.last().map_or(0.0, |interval| interval.end.us());
        let exposed = step.ranks[rank as usize].exposed_gradients.us();
        if exposed > 0.0 {
            events.push(block("gradient exchange".to_owned(), "communication", end, end + exposed, rank));
        }
    }
    let mut at = step.time.us();
    for name in ["step overhead", "weight gather (exposed)", "optimizer"] {
        let time = step.part(name).us();
        if time > 0.0 {
            for rank in 0..ranks {
                events.push(block(name.to_owned(), "optimizer", at - time, at, rank));
            }
            at -= time;
        }
    }
    let trace = Trace { unit: "ms", events };
    serde_json::to_string(&trace).unwrap_or_default()
}

fn block(name: String, cat: &'static str, start: f64, end: f64, tid: u32) -> Event {
    Event { name, cat, ph: "X", ts: start, dur: Some(end - start), pid: 0, tid, args: None }
}
