//! A function of one token count, tabulated as it is asked for.
//!
//! Exact at every count up to [`EXACT`]; above, linear between points a sixteenth of an octave apart. Operator times
//! are close to linear over such a step, so the error stays far below that of the operators themselves.

use super::tally::{Sparse, Tally};
use std::sync::{LazyLock, OnceLock};

const EXACT: usize = 64;
const PER_OCTAVE: f64 = 16.0;
/// 2^24 tokens in one step is beyond any engine.
const OCTAVES: usize = 18;
const POINTS: usize = EXACT + 1 + OCTAVES * PER_OCTAVE as usize + 1;

/// The token count of each point.
static TOKENS: LazyLock<[f64; POINTS]> = LazyLock::new(|| {
    std::array::from_fn(|index| match index.checked_sub(EXACT) {
        None | Some(0) => index as f64,
        Some(above) => EXACT as f64 * (above as f64 / PER_OCTAVE).exp2(),
    })
});

/// The tabulated function.
#[derive(Debug)]
pub(super) struct Table {
    points: Vec<OnceLock<Sparse>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { points: (0..POINTS).map(|_| OnceLock::new()).collect() }
    }
}

/// Where a token count lies in every table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Position {
    /// The point at or below it.
    index: usize,
    /// How far it is towards the next.
    share: f64,
}

impl Position {
    /// The position of `tokens`.
    pub fn of(tokens: f64) -> Self {
        let tokens = tokens.max(0.0);
        let index = if tokens < EXACT as f64 {
            tokens as usize
        } else {
            EXACT + ((tokens / EXACT as f64).log2() * PER_OCTAVE) as usize
        };
        let index = index.min(POINTS - 2);
        let (low, high) = (TOKENS[index], TOKENS[index + 1]);
        Self { index, share: ((tokens - low) / (high - low)).clamp(0.0, 1.0) }
    }
}

impl Table {
    /// Adds `factor` times everything at a position to a tally.
    pub fn add(&self, to: &mut Tally, factor: f64, at: Position, price: impl Fn(f64) -> Tally) {
        let Position { index, share } = at;
        let low = self.point(index, &price);
        if share == 0.0 {
            to.add_sparse(low, factor);
        } else {
            to.add_sparse(low, factor * (1.0 - share));
            to.add_sparse(self.point(index + 1, &price), factor * share);
        }
    }

    fn point(&self, index: usize, price: &impl Fn(f64) -> Tally) -> &Sparse {
        self.points[index].get_or_init(|| Sparse::from(&price(TOKENS[index])))
    }
}
