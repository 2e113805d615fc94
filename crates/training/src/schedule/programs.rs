//! The programs of the schedules whose micro-batches all enter at the first stage.

use super::{Pass, Task};

fn task(pass: Pass, chunk: u32, micro: u32) -> Task {
    Task { pass, chunk, micro }
}

/// All forwards, then all backwards, last micro-batch first.
pub(super) fn gpipe(micros: u32) -> Vec<Task> {
    let forward = (0..micros).map(|micro| task(Pass::Forward, 0, micro));
    let backward = (0..micros).map(|micro| task(Pass::Backward, 0, micro));
    forward.chain(backward).collect()
}

/// Warm up with one forward for each later rank, then alternate, then drain.
pub(super) fn one_f_one_b(rank: u32, ranks: u32, micros: u32) -> Vec<Task> {
    let warmup = (ranks - rank - 1).min(micros);
    let mut program = Vec::with_capacity(2 * micros as usize);
    program.extend((0..warmup).map(|micro| task(Pass::Forward, 0, micro)));
    for micro in 0..micros - warmup {
        program.push(task(Pass::Forward, 0, micro + warmup));
        program.push(task(Pass::Backward, 0, micro));
    }
    program.extend((micros - warmup..micros).map(|micro| task(Pass::Backward, 0, micro)));
    program
}

/// Interleaved micro-batches go through each chunk in turn in groups of one per rank; a remainder joins the last group.
struct Groups {
    ranks: u32,
    micros: u32,
    chunks: u32,
}

impl Groups {
    /// Micro-batches of the last, largest group.
    fn largest(&self) -> u32 {
        if self.micros < self.ranks { self.micros } else { self.ranks + self.micros % self.ranks }
    }

    /// Chunk and micro-batch of the `index`-th forward (or backward, which takes the chunks from the last).
    fn slot(&self, index: u32, backward: bool) -> (u32, u32) {
        let last_start = self.micros - self.largest();
        let group_start = (index / (self.ranks * self.chunks) * self.ranks).min(last_start);
        let members = if group_start == last_start { self.largest() } else { self.ranks };
        let within = index - group_start * self.chunks;
        let chunk = within / members;
        (if backward { self.chunks - 1 - chunk } else { chunk }, group_start + within % members)
    }
}

/// Megatron's interleaved 1F1B: warm up until the last chunk of this rank can go backward, then alternate.
pub(super) fn interleaved(rank: u32, ranks: u32, micros: u32, chunks: u32) -> Vec<Task> {
    let total = micros * chunks;
    let groups = Groups { ranks, micros, chunks };
    let warmup = interleaved_warmup(rank, ranks, micros, chunks);
    let forward = |index| {
        let (chunk, micro) = groups.slot(index, false);
        task(Pass::Forward, chunk, micro)
    };
    let backward = |index| {
        let (chunk, micro) = groups.slot(index, true);
        task(Pass::Backward, chunk, micro)
    };
    let mut program = Vec::with_capacity(2 * total as usize);
    program.extend((0..warmup).map(forward));
    for index in 0..total - warmup {
        program.push(forward(index + warmup));
        program.push(backward(index));
    }
    program.extend((total - warmup..total).map(backward));
    program
}

/// Forwards an interleaved rank runs before its first backward. With fewer micro-batches than ranks there is no steady
/// state and every forward comes first.
pub(super) fn interleaved_warmup(rank: u32, ranks: u32, micros: u32, chunks: u32) -> u32 {
    let total = micros * chunks;
    if micros < ranks {
        return total;
    }
    let groups = Groups { ranks, micros, chunks };
    ((ranks - rank - 1) * 2 + (chunks - 1) * groups.largest()).min(total)
}

/// 1F1B whose backward is split; rank `r` lets its weight gradients lag by `r` micro-batches, so that the stages
/// before it get their input gradients sooner and no rank holds more activations than the first.
pub(super) fn zero_bubble_h1(rank: u32, ranks: u32, micros: u32) -> Vec<Task> {
    let warmup = (ranks - rank - 1).min(micros);
    let lag = rank;
    let mut program = Vec::with_capacity(3 * micros as usize);
    program.extend((0..warmup).map(|micro| task(Pass::Forward, 0, micro)));
    let mut weight = 0;
    for micro in 0..micros {
        if micro + warmup < micros {
            program.push(task(Pass::Forward, 0, micro + warmup));
        }
        program.push(task(Pass::BackwardInput, 0, micro));
        if micro >= lag {
            program.push(task(Pass::BackwardWeight, 0, weight));
            weight += 1;
        }
    }
    program.extend((weight..micros).map(|micro| task(Pass::BackwardWeight, 0, micro)));
    program
}
