//! Pipeline schedules: what each pipeline rank does, in which order.
//!
//! A schedule is a *program* per rank: an ordered list of [`Task`]s. [`execute`] runs the programs as a dependency graph;
//! it knows nothing of which schedule it runs. Ranks of the same stage behave alike and are one rank here, so the cost
//! of executing grows with the pipeline, not with the cluster.

mod dualpipe;
mod execute;
mod programs;
#[cfg(test)]
mod tests;

pub use execute::{Execution, Interval, StageTimes, execute, makespan};

use crate::error::JobError;

/// What a task does to one micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pass {
    /// Forward.
    Forward,
    /// Backward, gradients of inputs and of weights together.
    Backward,
    /// Gradient of the inputs only: what the previous stage waits for.
    BackwardInput,
    /// Gradient of the weights: nobody waits for it but the optimizer.
    BackwardWeight,
}

/// One entry of a rank's program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Task {
    /// What to do.
    pub pass: Pass,
    /// Which of the rank's model chunks to do it with.
    pub chunk: u32,
    /// Micro-batch, counted from 0 over the whole step.
    pub micro: u32,
}

/// The order in which a pipeline works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Schedule {
    /// All forwards, then all backwards (GPipe, arXiv 1811.06965).
    GPipe,
    /// One forward, one backward (PipeDream-flush, arXiv 2104.04473 section 2.2.1).
    OneFOneB,
    /// 1F1B with `chunks` model chunks on each rank (arXiv 2104.04473 section 2.2.2).
    Interleaved {
        /// Model chunks per rank, the virtual pipeline size.
        chunks: u32,
    },
    /// Zero-bubble H1: the weight gradient fills the cool-down, memory as in 1F1B (arXiv 2401.10241).
    ZeroBubbleH1,
    /// Micro-batches enter from both ends; each rank holds two stages (DeepSeek-V3, arXiv 2412.19437 section 3.2.1).
    DualPipe,
}

impl Schedule {
    /// Reads the names the command line uses; `chunks` is the virtual pipeline size, which makes `1f1b` interleaved.
    ///
    /// # Errors
    /// The name is none of the five, `interleaved` has a single chunk, or another schedule several.
    pub fn parse(name: &str, chunks: u32) -> Result<Self, JobError> {
        let chunks_of = |given: u32, why: &str| JobError::Value {
            key: "--vpp".to_owned(),
            why: format!("{given} does not go with --schedule {name}: {why}"),
        };
        Ok(match name {
            "1f1b" if chunks <= 1 => Self::OneFOneB,
            "interleaved" if chunks <= 1 => return Err(chunks_of(chunks, "give at least 2 chunks")),
            "1f1b" | "interleaved" => Self::Interleaved { chunks },
            "gpipe" | "zb-h1" | "dualpipe" if chunks > 1 => {
                return Err(chunks_of(chunks, "it has no virtual stages; choose interleaved"));
            }
            "gpipe" => Self::GPipe,
            "zb-h1" => Self::ZeroBubbleH1,
            "dualpipe" => Self::DualPipe,
            _ => {
                return Err(JobError::UnknownName {
                    flag: "--schedule",
                    given: name.to_owned(),
                    allowed: "gpipe, 1f1b, interleaved, zb-h1, dualpipe",
                });
            }
        })
    }

    /// The name the command line uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::GPipe => "gpipe",
            Self::OneFOneB => "1f1b",
            Self::Interleaved { .. } => "interleaved",
            Self::ZeroBubbleH1 => "zb-h1",
            Self::DualPipe => "dualpipe",
        }
    }

    /// Model chunks that one rank holds.
    pub fn chunks(self) -> u32 {
        match self {
            Self::Interleaved { chunks } => chunks.max(1),
            Self::DualPipe => 2,
            _ => 1,
        }
    }

    /// Virtual stages the model is cut into over `ranks` pipeline ranks. DualPipe holds the model twice, once for each
    /// direction, so its two chunks do not cut it finer.
    pub fn virtual_stages(self, ranks: u32) -> u32 {
        match self {
            Self::Interleaved { chunks } => ranks * chunks.max(1),
            _ => ranks,
        }
    }

    /// Which part of the model, in forward order, chunk `chunk` of rank `rank` is.
    pub fn stage_of(self, rank: u32, chunk: u32, ranks: u32) -> u32 {
        match self {
            Self::Interleaved { .. } => chunk * ranks + rank,
            Self::DualPipe if chunk == 1 => ranks - 1 - rank,
            _ => rank,
        }
    }

    /// Whether the schedule can run `micros` micro-batches over `ranks` pipeline ranks.
    ///
    /// # Errors
    /// DualPipe needs an even number of ranks and an even number of micro-batches, at least two per rank.
    pub fn check(self, ranks: u32, micros: u32) -> Result<(), JobError> {
        if self == Self::DualPipe && (ranks % 2 == 1 || micros % 2 == 1 || micros < 2 * ranks) {
            return Err(JobError::DualPipe { ranks, micros });
        }
        Ok(())
    }

    /// The program of pipeline rank `rank` of `ranks` for `micros` micro-batches.
    pub fn program(self, rank: u32, ranks: u32, micros: u32) -> Vec<Task> {
        match self {
            Self::GPipe => programs::gpipe(micros),
            Self::OneFOneB => programs::one_f_one_b(rank, ranks, micros),
            Self::Interleaved { chunks } if chunks <= 1 => programs::one_f_one_b(rank, ranks, micros),
            Self::Interleaved { chunks } => programs::Interleaving::new(ranks, micros, chunks).program(rank),
            Self::ZeroBubbleH1 => programs::zero_bubble_h1(rank, ranks, micros),
            Self::DualPipe => dualpipe::program(rank, ranks, micros),
        }
    }

    /// The programs of all `ranks` pipeline ranks.
    fn programs(self, ranks: u32, micros: u32) -> Vec<Vec<Task>> {
        match self {
            Self::Interleaved { chunks } if chunks > 1 => {
                let order = programs::Interleaving::new(ranks, micros, chunks);
                (0..ranks).map(|rank| order.program(rank)).collect()
            }
            _ => (0..ranks).map(|rank| self.program(rank, ranks, micros)).collect(),
        }
    }

    /// Most activations alive at once on `rank`, in units of one micro-batch through one of its chunks.
    pub fn peak_in_flight(self, rank: u32, ranks: u32, micros: u32) -> u32 {
        let total = micros * self.chunks();
        match self {
            Self::GPipe => total,
            Self::OneFOneB => (ranks - rank).min(total),
            Self::Interleaved { chunks } if chunks <= 1 => (ranks - rank).min(total),
            Self::Interleaved { chunks } => {
                (programs::interleaved_warmup(rank, ranks, micros, chunks) + 1).min(total)
            }
            Self::ZeroBubbleH1 => ranks.min(total),
            Self::DualPipe => (ranks + 1).min(micros),
        }
    }

    /// Micro-batches after which a steady program repeats itself.
    fn period(self, ranks: u32) -> u32 {
        match self {
            Self::Interleaved { chunks } if chunks > 1 => ranks,
            Self::DualPipe => 2,
            _ => 1,
        }
    }
}
