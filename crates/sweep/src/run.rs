//! All cells of a sweep on all cores.

use crate::error::SweepError;
use crate::evaluate::Evaluator;
use crate::spec::Plan;
use crate::store::{Store, Tally};
use rayon::iter::{ParallelBridge, ParallelIterator};
use std::path::PathBuf;

/// Evaluates every cell of `plan` whose row `store` does not hold, and puts all rows together. `ended` is called once
/// for every cell that ends.
///
/// Cells are handed out in order, so that few segments are unfinished at a time; rows are the same whatever the number
/// of threads.
///
/// # Errors
/// A file cannot be written. What was kept stays kept.
pub fn run(
    plan: &Plan,
    store: Store,
    evaluator: &Evaluator,
    ended: &(dyn Fn() + Sync),
) -> Result<(PathBuf, Tally), SweepError> {
    store.pending().par_bridge().try_for_each(|cell| {
        store.keep(&evaluator.row(&plan.unit(cell)))?;
        ended();
        Ok(())
    })?;
    store.finish()
}
