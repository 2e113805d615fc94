//! A function of one token count, tabulated as it is asked for.
//!
//! Exact at every count up to [`EXACT`]; above, linear between points a sixteenth of an octave apart. Operator times
//! are close to linear over such a step, so the error stays far below that of the operators themselves.

use super::tally::Tally;
use std::sync::OnceLock;

const EXACT: usize = 64;
const PER_OCTAVE: f64 = 16.0;
/// 2^24 tokens in one step is beyond any engine.
const OCTAVES: usize = 18;
const POINTS: usize = EXACT + 1 + OCTAVES * PER_OCTAVE as usize + 1;

/// The tabulated function.
#[derive(Debug)]
pub(super) struct Table {
    points: Vec<OnceLock<Box<Tally>>>,
}

impl Default for Table {
    fn default() -> Self {
        Self { points: (0..POINTS).map(|_| OnceLock::new()).collect() }
    }
}

impl Table {
    /// Adds `factor` times everything at `tokens` to a tally.
    pub fn add(&self, to: &mut Tally, factor: f64, tokens: f64, price: impl Fn(f64) -> Tally) {
        let (index, share) = place(tokens);
        let low = self.point(index, &price);
        if share == 0.0 {
            to.add_scaled(low, factor);
        } else {
            to.add_scaled(low, factor * (1.0 - share));
            to.add_scaled(self.point(index + 1, &price), factor * share);
        }
    }

    fn point(&self, index: usize, price: &impl Fn(f64) -> Tally) -> &Tally {
        self.points[index].get_or_init(|| Box::new(price(tokens_at(index))))
    }
}

/// The token count of a point.
fn tokens_at(index: usize) -> f64 {
    if index <= EXACT { index as f64 } else { EXACT as f64 * ((index - EXACT) as f64 / PER_OCTAVE).exp2() }
}

/// The point at or below `tokens`, and how far towards the next.
fn place(tokens: f64) -> (usize, f64) {
    let tokens = tokens.max(0.0);
    let index = if tokens < EXACT as f64 {
        tokens as usize
    } else {
        EXACT + ((tokens / EXACT as f64).log2() * PER_OCTAVE) as usize
    };
    let index = index.min(POINTS - 2);
    let (low, high) = (tokens_at(index), tokens_at(index + 1));
    (index, ((tokens - low) / (high - low)).clamp(0.0, 1.0))
}
