//! Sums of operator prices by family and by what bounds them.

use crate::ops::{Bound, OpCost};
use units::{Bytes, Flop, Seconds};

/// Families of operators that a breakdown shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Scores, softmax and values (or the scan of a linear attention), with the cache read.
    Attention,
    /// Matrix products in front of and behind attention.
    Projection,
    /// Dense feed-forward and shared experts.
    Dense,
    /// Router and routed experts.
    Experts,
    /// Output projection to the vocabulary, and sampling.
    Head,
    /// Norms, rotary embedding, activations, residuals, launch gaps.
    Elementwise,
    /// All-reduce, all-gather, reduce-scatter, stage to stage.
    Collective,
    /// Expert dispatch and combine.
    Dispatch,
    /// The host processor's share that the device waits for.
    Host,
}

impl Family {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 9] = [
        Self::Attention,
        Self::Projection,
        Self::Dense,
        Self::Experts,
        Self::Head,
        Self::Elementwise,
        Self::Collective,
        Self::Dispatch,
        Self::Host,
    ];

    /// Kernels that the host launches for one priced operator of the family: a priced norm stands for all the small ones of
    /// a layer (two norms with their residuals, those of queries and keys, rotary embedding, activation), attention comes
    /// with the write of its cache, fused experts with gating, sorting, two grouped products, activation and reduction.
    const fn kernels(self) -> f64 {
        match self {
            Self::Elementwise | Self::Experts => 6.0,
            Self::Attention | Self::Head => 2.0,
            _ => 1.0,
        }
    }

    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Projection => "projection",
            Self::Dense => "dense ffn",
            Self::Experts => "experts",
            Self::Head => "lm head",
            Self::Elementwise => "elementwise",
            Self::Collective => "collective",
            Self::Dispatch => "dispatch/combine",
            Self::Host => "host",
        }
    }
}

impl Bound {
    /// All of them, in the order they are shown.
    pub const ALL: [Self; 4] = [Self::Compute, Self::Memory, Self::Network, Self::Launch];

    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compute => "compute",
            Self::Memory => "hbm",
            Self::Network => "network",
            Self::Launch => "launch",
        }
    }
}

const FAMILIES: usize = Family::ALL.len();
const BOUNDS: usize = Bound::ALL.len();

/// Time by family and bound, and the work that energy is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Tally {
    time: [[f64; BOUNDS]; FAMILIES],
    work: Work,
}

/// What operators do beside taking time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Work {
    flop: f64,
    memory_bytes: f64,
    link_bytes: f64,
    launches: f64,
    mixing_launches: f64,
}

impl Work {
    fn add_scaled(&mut self, other: &Self, factor: f64) {
        self.flop += other.flop * factor;
        self.memory_bytes += other.memory_bytes * factor;
        self.link_bytes += other.link_bytes * factor;
        self.launches += other.launches * factor;
        self.mixing_launches += other.mixing_launches * factor;
    }
}

/// A tally that is kept: the few times that are not nothing, so that adding it costs what is in it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sparse {
    times: Box<[(u8, u8, f64)]>,
    work: Work,
}

impl From<&Tally> for Sparse {
    fn from(tally: &Tally) -> Self {
        let cells = tally.time.iter().zip(0_u8..).flat_map(|(row, family)| {
            row.iter().zip(0_u8..).map(move |(time, bound)| (family, bound, *time))
        });
        Self { times: cells.filter(|(_, _, time)| *time != 0.0).collect(), work: tally.work }
    }
}

impl Tally {
    /// Adds `count` operators of this price.
    pub fn add(&mut self, family: Family, cost: OpCost, count: f64) {
        self.time[family as usize][cost.bound as usize] += cost.time.get() * count;
        self.work.flop += cost.flop.get() * count;
        let launches = family.kernels() * count;
        self.work.launches += launches;
        if family == Family::Attention {
            self.work.mixing_launches += launches;
        }
        if cost.bound == Bound::Network {
            self.work.link_bytes += cost.bytes.get() * count;
        } else {
            self.work.memory_bytes += cost.bytes.get() * count;
        }
    }

    /// Adds a bare duration.
    pub fn add_time(&mut self, family: Family, bound: Bound, time: Seconds) {
        self.time[family as usize][bound as usize] += time.get();
    }

    /// Adds `factor` times another tally.
    pub fn add_scaled(&mut self, other: &Self, factor: f64) {
        for (mine, theirs) in self.time.iter_mut().flatten().zip(other.time.iter().flatten()) {
            *mine += theirs * factor;
        }
        self.work.add_scaled(&other.work, factor);
    }

    /// The same of a tally that was kept.
    pub(super) fn add_sparse(&mut self, other: &Sparse, factor: f64) {
        for (family, bound, time) in &other.times {
            self.time[usize::from(*family)][usize::from(*bound)] += time * factor;
        }
        self.work.add_scaled(&other.work, factor);
    }

    /// Multiplies every time, not the work, by `factor`.
    pub fn stretch(&mut self, factor: f64) {
        self.time.iter_mut().flatten().for_each(|time| *time *= factor);
    }

    /// Multiplies the times under one bound by `factor`.
    pub fn stretch_bound(&mut self, bound: Bound, factor: f64) {
        self.time.iter_mut().for_each(|row| row[bound as usize] *= factor);
    }

    /// Multiplies the times of one family by `factor`.
    pub fn stretch_family(&mut self, family: Family, factor: f64) {
        self.time[family as usize].iter_mut().for_each(|time| *time *= factor);
    }

    /// Time of one family under one bound.
    pub fn time(&self, family: Family, bound: Bound) -> Seconds {
        Seconds::new(self.time[family as usize][bound as usize])
    }

    /// Time of one family.
    pub fn family_time(&self, family: Family) -> Seconds {
        Seconds::new(self.time[family as usize].iter().sum())
    }

    /// Time under one bound.
    pub fn bound_time(&self, bound: Bound) -> Seconds {
        Seconds::new(self.time.iter().map(|row| row[bound as usize]).sum())
    }

    /// All time, nothing overlapped.
    pub fn total(&self) -> Seconds {
        Seconds::new(self.time.iter().flatten().sum())
    }

    /// Arithmetic done.
    pub fn flop(&self) -> Flop {
        Flop::new(self.work.flop)
    }

    /// Device memory traffic.
    pub fn memory_bytes(&self) -> Bytes {
        Bytes::new(self.work.memory_bytes)
    }

    /// Kernels launched.
    pub fn launches(&self) -> f64 {
        self.work.launches
    }

    /// Of them those of attention and scans.
    pub fn mixing_launches(&self) -> f64 {
        self.work.mixing_launches
    }

    /// Bytes sent over links.
    pub fn link_bytes(&self) -> Bytes {
        Bytes::new(self.work.link_bytes)
    }

    /// The point at `share` between this and `other`.
    #[must_use]
    pub fn between(&self, other: &Self, share: f64) -> Self {
        let mut point = Self::default();
        point.add_scaled(self, 1.0 - share);
        point.add_scaled(other, share);
        point
    }
}
