//! What a search needs to know of a job, found out no further than it takes to rule it out.

use super::Step;
use super::plan::{Outline, Plan};
use crate::error::JobError;
use crate::formats;
use crate::schedule::Schedule;
use rustc_hash::FxHashMap;
use units::Seconds;

/// What a search learns of a job.
pub(crate) enum Verdict {
    /// It fits; its price.
    Fits(Box<Step>),
    /// It fits, and takes longer than asked for.
    Slower,
    /// It does not fit.
    TooBig,
    /// Even without waiting for other ranks it would take longer than asked for.
    TooSlow,
}

/// Prices a job for a search: memory first, then the time that the ranks work against `most`, and only then the pipeline,
/// whose runs are kept in `runs`.
///
/// # Errors
/// As of [`super::price`].
pub(crate) fn judge(plan: &Plan<'_>, most: Seconds, runs: &mut Runs) -> Result<Verdict, JobError> {
    plan.job.check()?;
    let peak = formats::peak(plan.machine.chip, plan.job.precision)?;
    let memories = plan.memories();
    let capacity = plan.machine.chip.rank.memory.value;
    if memories.iter().any(|(memory, _)| memory.total() > capacity) {
        return Ok(Verdict::TooBig);
    }
    let outline = plan.outline(&memories);
    if plan.least(&outline) >= most {
        return Ok(Verdict::TooSlow);
    }
    let finish = runs.finish(plan, &outline);
    if plan.time(&outline, finish) >= most {
        return Ok(Verdict::Slower);
    }
    Ok(Verdict::Fits(Box::new(plan.step(&outline, finish, peak))))
}

/// Pipelines of one model run before. Sharding of the optimizer and what lives on the host leave a pipeline as it is, so that
/// jobs which differ in these alone share a run.
#[derive(Default)]
pub(crate) struct Runs(FxHashMap<RunKey, Vec<Seconds>>);

/// What a run depends on: schedule, ranks, micro-batches, and the bits of the time of a send and of each distinct stage.
type RunKey = (Schedule, u32, u32, Vec<u64>);

impl Runs {
    fn finish(&mut self, plan: &Plan<'_>, outline: &Outline) -> &[Seconds] {
        let mut bits = Vec::with_capacity(3 * outline.stages.len() + 1);
        bits.push(outline.send.get().to_bits());
        for times in &outline.stages {
            let all = [times.forward, times.backward_input, times.backward_weight];
            bits.extend(all.map(|time| time.get().to_bits()));
        }
        let job = plan.job;
        let key = (job.schedule, job.layout.pp, job.micros(), bits);
        self.0.entry(key).or_insert_with(|| plan.run(outline))
    }
}
