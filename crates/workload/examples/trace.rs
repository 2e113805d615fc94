//! Prints what each trace given is read as: format, requests, the time they span, what was guessed.

use std::path::Path;
use supernode_workload::{Arrivals, Process, Replay, ReplayOptions, Source, WorkloadError};
use units::PerSecond;

fn main() {
    for file in std::env::args().skip(1) {
        match read(&file, None).or_else(|_| {
            let process = Process::Constant { rate: PerSecond::new(1.0) };
            read(&file, Arrivals::new(process, 0).ok())
        }) {
            Ok(text) => println!("{file}: {text}"),
            Err(error) => println!("{error}"),
        }
    }
}

fn read(file: &str, arrivals: Option<Arrivals>) -> Result<String, WorkloadError> {
    let times = if arrivals.is_some() { "without times" } else { "with times" };
    let mut replay = Replay::open(Path::new(file), ReplayOptions { arrivals, ..ReplayOptions::default() })?;
    let (mut requests, mut input, mut output, mut last) = (0_u64, 0_u64, 0_u64, 0.0);
    while let Some(arrival) = replay.pop()? {
        replay.ended(arrival.ticket, arrival.at);
        requests += 1;
        input += u64::from(arrival.input);
        output += u64::from(arrival.output);
        last = arrival.at.get();
    }
    let format = replay.format();
    let notes = replay.notes().join("; ");
    Ok(format!("{format} {times}, {requests} requests, {input} + {output} tokens, {last} s; {notes}"))
}
