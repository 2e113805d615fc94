//! No bytes make the reader of traces panic, whatever the format is said to be, and what it gives is in order. The first
//! byte chooses a format, or lets it be told.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use supernode_workload::{Arrivals, Format, Process, Reading, Replay, ReplayOptions, Source};
use units::{PerSecond, Seconds};

fuzz_target!(|data: &[u8]| {
    let Some((choice, text)) = data.split_first() else { return };
    let format = Format::ALL.get(usize::from(*choice)).copied();
    let columns = (*choice % 2 == 0).then(|| "arrival=t,input=i,output=o".parse().ok()).flatten();
    let process = Process::Constant { rate: PerSecond::new(1.0) };
    let arrivals = if *choice % 3 == 0 { Arrivals::new(process, 0).ok() } else { None };
    let reading = Reading { format, columns, ..Reading::default() };
    let options = ReplayOptions { reading, arrivals, ..ReplayOptions::default() };
    let Ok(mut replay) = Replay::from_reader("trace", Box::new(Cursor::new(text.to_vec())), options) else { return };
    let mut clock = 0.0;
    while let Ok(Some(arrival)) = replay.pop() {
        assert!(arrival.at.get().is_finite() && arrival.at.get() >= clock);
        clock = arrival.at.get();
        replay.ended(arrival.ticket, arrival.at + Seconds::new(1.0));
    }
    let _ = replay.notes();
});
