//! Where the time of a pass goes.

use std::ops::{Add, AddAssign, Index, IndexMut, Mul};
use units::Seconds;

/// A part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Dense matrix products of attention projections, feed-forward parts, embedding and head.
    Gemm,
    /// The attention core.
    Attention,
    /// Matrix products of routed experts.
    Experts,
    /// Norms, activations, residuals, casts, routing.
    Elementwise,
    /// Waiting for the host to launch kernels.
    Host,
    /// Tensor-parallel communication that nothing hides.
    TensorParallel,
    /// Context-parallel communication that nothing hides.
    ContextParallel,
    /// Expert dispatch and combine that nothing hides.
    ExpertParallel,
    /// Weight gathering and gradient exchange inside a pass (fully sharded) that nothing hides.
    Sharding,
    /// Pipeline sends that nothing hides.
    Pipeline,
    /// Transfers of offloaded activations that nothing hides.
    Offload,
}

impl Part {
    /// Every part, in the order reports show them.
    pub const ALL: [Self; 11] = [
        Self::Gemm,
        Self::Attention,
        Self::Experts,
        Self::Elementwise,
        Self::Host,
        Self::TensorParallel,
        Self::ContextParallel,
        Self::ExpertParallel,
        Self::Sharding,
        Self::Pipeline,
        Self::Offload,
    ];

    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemm => "matrix products",
            Self::Attention => "attention",
            Self::Experts => "experts",
            Self::Elementwise => "elementwise",
            Self::Host => "host launches",
            Self::TensorParallel => "tensor parallel (exposed)",
            Self::ContextParallel => "context parallel (exposed)",
            Self::ExpertParallel => "expert parallel (exposed)",
            Self::Sharding => "weight sharding (exposed)",
            Self::Pipeline => "pipeline sends (exposed)",
            Self::Offload => "offload (exposed)",
        }
    }
}

/// Times by part.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Times([Seconds; Part::ALL.len()]);

impl Times {
    /// The sum of all parts.
    pub fn total(&self) -> Seconds {
        self.0.iter().copied().sum()
    }

    /// Time the device computes: what communication can hide behind.
    pub fn compute(&self) -> Seconds {
        [Part::Gemm, Part::Attention, Part::Experts, Part::Elementwise]
            .into_iter()
            .map(|part| self[part])
            .sum()
    }

    /// Each part with its time.
    pub fn iter(&self) -> impl Iterator<Item = (Part, Seconds)> + '_ {
        Part::ALL.into_iter().map(|part| (part, self[part]))
    }

    /// Adds to a part.
    pub fn add(&mut self, part: Part, time: Seconds) {
        self[part] += time;
    }

    /// Adds communication of which `hidden` may run behind this pass's computation, as far as there is any; the
    /// rest is exposed.
    pub fn add_hiding(&mut self, part: Part, time: Seconds, hidden: f64, behind: Seconds) {
        let cover = (time * hidden).min(behind);
        self.add(part, time - cover.max(Seconds::ZERO));
    }
}

impl Index<Part> for Times {
    type Output = Seconds;

    fn index(&self, part: Part) -> &Seconds {
        &self.0[part as usize]
    }
}

impl IndexMut<Part> for Times {
    fn index_mut(&mut self, part: Part) -> &mut Seconds {
        &mut self.0[part as usize]
    }
}

impl Add for Times {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl AddAssign for Times {
    fn add_assign(&mut self, other: Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

impl Mul<f64> for Times {
    type Output = Self;

    fn mul(mut self, factor: f64) -> Self {
        for time in &mut self.0 {
            *time = *time * factor;
        }
        self
    }
}
