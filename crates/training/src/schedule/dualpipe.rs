//! DualPipe: micro-batches enter from both ends of the pipeline, each rank holding two stages.

use super::{Pass, Task};
use std::collections::VecDeque;

/// Builds one rank's program; `own` is the direction whose micro-batches enter at the nearer end.
struct Writer {
    program: Vec<Task>,
    /// Which chunk plays direction 0 for this rank.
    own: u32,
    half: u32,
    next_forward: [u32; 2],
    next_backward: [u32; 2],
    /// Weight gradients left for later, oldest first.
    deferred: VecDeque<(u32, u32)>,
}

impl Writer {
    /// The chunk and the running number of `direction`; chunk 1's micro-batches are numbered after chunk 0's.
    fn place(&self, direction: u32, index: u32) -> (u32, u32) {
        let chunk = direction ^ self.own;
        (chunk, index + chunk * self.half)
    }

    fn forward(&mut self, direction: u32) {
        let (chunk, micro) = self.place(direction, self.next_forward[direction as usize]);
        self.next_forward[direction as usize] += 1;
        self.program.push(Task { pass: Pass::Forward, chunk, micro });
    }

    fn backward(&mut self, direction: u32, split: bool) {
        let (chunk, micro) = self.place(direction, self.next_backward[direction as usize]);
        self.next_backward[direction as usize] += 1;
        let pass = if split { Pass::BackwardInput } else { Pass::Backward };
        if split {
            self.deferred.push_back((chunk, micro));
        }
        self.program.push(Task { pass, chunk, micro });
    }

    fn weight(&mut self) {
        if let Some((chunk, micro)) = self.deferred.pop_front() {
            self.program.push(Task { pass: Pass::BackwardWeight, chunk, micro });
        }
    }
}

/// The eight phases of DeepSeek's published schedule (github.com/deepseek-ai/DualPipe). `ranks` and `micros` are even and
/// `micros >= 2 * ranks`.
pub(super) fn program(rank: u32, ranks: u32, micros: u32) -> Vec<Task> {
    let half_ranks = ranks / 2;
    let second = rank >= half_ranks;
    let depth = rank.min(ranks - 1 - rank);
    let half = micros / 2;
    let mut w = Writer {
        program: Vec::with_capacity(3 * micros as usize),
        own: u32::from(second),
        half,
        next_forward: [0; 2],
        next_backward: [0; 2],
        deferred: VecDeque::new(),
    };
    let outer = half_ranks - depth - 1;
    let inner = depth + 1;
    for _ in 0..2 * outer {
        w.forward(0);
    }
    for _ in 0..inner {
        w.forward(0);
        w.forward(1);
    }
    for _ in 0..outer {
        w.backward(1, true);
        w.weight();
        w.forward(1);
    }
    for _ in 0..half - ranks + inner {
        w.forward(0);
        w.backward(1, false);
        w.forward(1);
        w.backward(0, false);
    }
    for _ in 0..outer {
        w.backward(1, false);
        w.forward(1);
        w.backward(0, false);
    }
    let mut split = false;
    for i in 0..inner {
        split |= i == inner / 2 && depth % 2 == 1;
        w.backward(1, split);
        split |= i == inner / 2 && depth % 2 == 0;
        w.backward(0, split);
    }
    for _ in 0..outer {
        w.weight();
        w.backward(0, true);
    }
    for _ in 0..inner {
        w.weight();
    }
    w.program
}
