//! The parts that sizes and work are divided into.

use std::ops::{Index, IndexMut};

/// A part of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Token embedding, learned positions and other tables that are looked up.
    Embedding,
    /// Token mixing: attention, linear attention and state-space layers.
    Attention,
    /// The scorer that selects what sparse attention reads.
    Indexer,
    /// Dense feed-forward networks.
    DenseFfn,
    /// Routed experts.
    RoutedExperts,
    /// Shared experts.
    SharedExperts,
    /// Projections into and out of the latent space of routed experts.
    Latent,
    /// Routers.
    Router,
    /// Normalisations.
    Norms,
    /// Mixing of parallel residual streams.
    Residual,
    /// Output projection.
    OutputHead,
    /// Multi-token-prediction modules.
    Mtp,
}

impl Part {
    /// Every part.
    pub const ALL: [Self; 12] = [
        Self::Embedding,
        Self::Attention,
        Self::Indexer,
        Self::DenseFfn,
        Self::RoutedExperts,
        Self::SharedExperts,
        Self::Latent,
        Self::Router,
        Self::Norms,
        Self::Residual,
        Self::OutputHead,
        Self::Mtp,
    ];

    /// The name a reader sees.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Attention => "attention",
            Self::Indexer => "sparse indexer",
            Self::DenseFfn => "dense feed-forward",
            Self::RoutedExperts => "routed experts",
            Self::SharedExperts => "shared experts",
            Self::Latent => "latent projections",
            Self::Router => "router",
            Self::Norms => "norms",
            Self::Residual => "residual mixing",
            Self::OutputHead => "output head",
            Self::Mtp => "multi-token prediction",
        }
    }
}

/// One value for each part.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ByPart<T>([T; Part::ALL.len()]);

impl<T> ByPart<T> {
    /// The value of each part by a function.
    pub fn from_fn(value: impl Fn(Part) -> T) -> Self {
        Self(Part::ALL.map(value))
    }

    /// Parts with their values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Part, &T)> {
        Part::ALL.into_iter().zip(&self.0)
    }

    /// Another value for each part.
    pub fn map<U>(&self, change: impl Fn(&T) -> U) -> ByPart<U> {
        ByPart::from_fn(|part| change(&self[part]))
    }
}

impl<T> Index<Part> for ByPart<T> {
    type Output = T;
    fn index(&self, part: Part) -> &T {
        &self.0[part as usize]
    }
}

impl<T> IndexMut<Part> for ByPart<T> {
    fn index_mut(&mut self, part: Part) -> &mut T {
        &mut self.0[part as usize]
    }
}

/// Numbers of weights, by how a token meets them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Weights {
    /// In matrices that every token is multiplied with.
    pub matrix: u128,
    /// In vectors: norms, biases.
    pub vector: u128,
    /// In tables that are looked up.
    pub table: u128,
    /// In the matrices of experts, and in further tables: all of them, whether a token meets them or not.
    pub expert: u128,
    /// In the matrices of the experts that one token is sent to.
    pub chosen: u128,
    /// In a matrix that is counted elsewhere and multiplied with here.
    pub reused: u128,
}

impl Weights {
    pub(crate) fn total(&self) -> u64 {
        whole([self.matrix, self.vector, self.table, self.expert])
    }

    pub(crate) fn active(&self) -> u64 {
        whole([self.matrix, self.vector, self.table, self.chosen])
    }

    /// Weights that one token is multiplied with.
    pub(crate) fn multiplied(&self) -> u64 {
        whole([self.matrix, self.chosen, self.reused])
    }
}

/// The sum, or the largest number if it is more.
fn whole<const N: usize>(counts: [u128; N]) -> u64 {
    let sum = counts.into_iter().fold(0, u128::saturating_add);
    u64::try_from(sum).unwrap_or(u64::MAX)
}

impl ByPart<Weights> {
    /// Adds `count` times another tally.
    pub(crate) fn add(&mut self, other: &Self, count: u32) {
        let plus = |a: u128, b: u128| a.saturating_add(b.saturating_mul(u128::from(count)));
        for (part, b) in other.iter() {
            let a = self[part];
            self[part] = Weights {
                matrix: plus(a.matrix, b.matrix),
                vector: plus(a.vector, b.vector),
                table: plus(a.table, b.table),
                expert: plus(a.expert, b.expert),
                chosen: plus(a.chosen, b.chosen),
                reused: plus(a.reused, b.reused),
            };
        }
    }
}

/// The product of counts, which stops at the largest number instead of overflowing.
pub(crate) fn product<const N: usize>(factors: [u32; N]) -> u128 {
    factors.into_iter().fold(1, |product: u128, factor| product.saturating_mul(u128::from(factor)))
}
