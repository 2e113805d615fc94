//! Which layers the virtual stages and the ranks of a pipeline hold, those that are alike told once.

use crate::error::JobError;
use crate::schedule::Schedule;
use crate::stages;
use model::LayerGroup;

/// What a virtual stage, or a rank with all of its stages, holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contents {
    /// Layers of each kind.
    pub layers: Vec<u32>,
    /// Whether the embedding is here.
    pub first: bool,
    /// Whether the head is here.
    pub last: bool,
}

impl Contents {
    /// Layers of any kind.
    pub fn count(&self) -> u32 {
        self.layers.iter().sum()
    }

    fn add(&mut self, other: &Self) {
        for (sum, layers) in self.layers.iter_mut().zip(&other.layers) {
            *sum += layers;
        }
        self.first |= other.first;
        self.last |= other.last;
    }
}

/// Ranks that hold stages alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rank {
    /// The lowest of them: none has more micro-batches in flight.
    pub lowest: u32,
    /// Their stages in the order of chunks, as numbers of distinct ones.
    pub stages: Vec<usize>,
    /// All they hold.
    pub contents: Contents,
}

/// A model cut over a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Partition {
    /// Distinct virtual stages.
    pub stages: Vec<Contents>,
    /// Which of them each virtual stage is, in forward order.
    pub stage_of: Vec<usize>,
    /// Distinct ranks.
    pub ranks: Vec<Rank>,
    /// Which of them each rank is.
    pub rank_of: Vec<usize>,
}

impl Partition {
    /// Layers of `groups` over `pp` ranks; `edges` are the layers of the first and the last stage where they are set.
    ///
    /// # Errors
    /// A stage would be left with nothing.
    pub fn new(
        groups: &[LayerGroup],
        schedule: Schedule,
        pp: u32,
        edges: (Option<u32>, Option<u32>),
    ) -> Result<Self, JobError> {
        let layers = groups.iter().map(|group| group.count).sum();
        let split = stages::split(layers, schedule.virtual_stages(pp), edges)?;
        let mut partition =
            Self { stages: Vec::new(), stage_of: Vec::new(), ranks: Vec::new(), rank_of: Vec::new() };
        for stage in contents(groups, &split) {
            let at = place(&mut partition.stages, |known| *known == stage, || stage.clone());
            partition.stage_of.push(at);
        }
        for rank in 0..pp {
            partition.add_rank(schedule, rank, pp, groups.len());
        }
        Ok(partition)
    }

    fn add_rank(&mut self, schedule: Schedule, rank: u32, pp: u32, kinds: usize) {
        let of = |chunk| self.stage_of[schedule.stage_of(rank, chunk, pp) as usize];
        let stages: Vec<usize> = (0..schedule.chunks()).map(of).collect();
        let mut contents = Contents { layers: vec![0; kinds], ..Contents::default() };
        for stage in &stages {
            contents.add(&self.stages[*stage]);
        }
        let made = || Rank { lowest: rank, stages: stages.clone(), contents };
        self.rank_of.push(place(&mut self.ranks, |known| known.stages == stages, made));
    }
}

/// Where in `known` the wanted one is, put at its end if it is new.
fn place<T>(known: &mut Vec<T>, wanted: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    known.iter().position(wanted).unwrap_or_else(|| {
        known.push(make());
        known.len() - 1
    })
}

/// What each virtual stage holds, in forward order.
fn contents(groups: &[LayerGroup], split: &[u32]) -> Vec<Contents> {
    let mut kinds =
        groups.iter().enumerate().flat_map(|(kind, group)| std::iter::repeat_n(kind, group.count as usize));
    let stage = |(stage, count): (usize, &u32)| {
        let mut layers = vec![0u32; groups.len()];
        for kind in kinds.by_ref().take(*count as usize) {
            layers[kind] += 1;
        }
        Contents { layers, first: stage == 0, last: stage + 1 == split.len() }
    };
    split.iter().enumerate().map(stage).collect()
}
