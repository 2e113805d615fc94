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

    /// Chunk and micro-batch of every forward in order.
    fn order(&self) -> Vec<(u32, u32)> {
        let mut order = Vec::with_capacity((self.micros * self.chunks) as usize);
        let last_start = self.micros - self.largest();
        let mut start = 0;
        while start < self.micros {
            let end = if start == last_start { self.micros } else { start + self.ranks };
            for chunk in 0..self.chunks {
                order.extend((start..end).map(|micro| (chunk, micro)));
            }
            start = end;
        }
        order
    }
}

/// Megatron's interleaved 1F1B: warm up until the last chunk of this rank can go backward, then alternate. All ranks take
/// chunks and micro-batches in one order.
pub(super) struct Interleaving {
    groups: Groups,
    order: Vec<(u32, u32)>,
}

impl Interleaving {
    pub(super) fn new(ranks: u32, micros: u32, chunks: u32) -> Self {
        let groups = Groups { ranks, micros, chunks };
        Self { order: groups.order(), groups }
    }

    /// What rank `rank` does; backward takes the chunks from the last.
    pub(super) fn program(&self, rank: u32) -> Vec<Task> {
        let Groups { ranks, micros, chunks } = self.groups;
        let (early, steady) = self.order.split_at(interleaved_warmup(rank, ranks, micros, chunks) as usize);
        let forward = |&(chunk, micro): &(u32, u32)| task(Pass::Forward, chunk, micro);
        let backward = |&(chunk, micro): &(u32, u32)| task(Pass::Backward, chunks - 1 - chunk, micro);
        let mut program = Vec::with_capacity(2 * self.order.len());
        program.extend(early.iter().map(forward));
        for (ahead, behind) in steady.iter().zip(&self.order) {
            program.push(forward(ahead));
            program.push(backward(behind));
        }
        program.extend(self.order[steady.len()..].iter().map(backward));
        program
    }
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
