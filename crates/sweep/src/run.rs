//! All cells of a sweep on all cores.

use crate::error::SweepError;
use crate::evaluate::Evaluator;
use crate::spec::Plan;
use crate::store::{Store, Tally};
use rayon::iter::{ParallelBridge, ParallelIterator};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

/// Evaluates every cell of `plan` whose row `store` does not hold, and puts all rows together. `ended` is called once
/// for every cell that ends. No cell is begun once `stop` is set.
///
/// Cells are handed out in order, so that few segments are unfinished at a time; rows are the same whatever the number
/// of threads.
///
/// # Errors
/// A file cannot be written, or `stop` was set. What was kept stays kept.
pub fn run(
    plan: &Plan,
    store: Store,
    evaluator: &Evaluator,
    ended: &(dyn Fn() + Sync),
    stop: &AtomicBool,
) -> Result<(PathBuf, Tally), SweepError> {
    store.pending().par_bridge().try_for_each(|cell| {
        if stop.load(Ordering::Relaxed) {
            return Err(SweepError::Stopped);
        }
        store.keep(&evaluator.row(&plan.unit(cell)))?;
        ended();
        Ok(())
    })?;
    store.finish()
}
