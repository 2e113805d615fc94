//! The same job on several systems, each with its own best plan: what `plan serve` finds on each, with the same number of
//! chips for all.

use crate::plan_file::{DeploymentFile, PlanFile};
use crate::serve::{Job, Place, PlanError, Watch, plan};
use cost::step::StepCost;
use estimate::economics::Site;
use estimate::{EstimateError, Resolver};
use hardware::Grade;

/// A system's best plan.
pub struct Compared {
    /// The plan as `plan serve` writes it.
    pub file: PlanFile,
    /// The system's name.
    pub name: String,
    /// The weakest grade among the figures of its chip.
    pub grade: Grade,
    /// The step of its decoding instances.
    pub step: StepCost,
}

impl Compared {
    /// The deployment that wins.
    pub fn best(&self) -> &DeploymentFile {
        &self.file.best
    }
}

/// What became of one system.
pub struct Entry {
    /// Catalog key.
    pub system: String,
    /// Its plan, or why there is none.
    pub plan: Result<Compared, String>,
}

/// Chips for each where nobody says how many: as many as the largest of the systems has, so that all are asked the same.
///
/// # Errors
/// No such system.
pub fn common_chips(resolver: &Resolver, systems: &[String]) -> Result<u32, EstimateError> {
    let chips = systems.iter().map(|system| Ok(resolver.system(system)?.chips));
    Ok(chips.collect::<Result<Vec<u32>, EstimateError>>()?.into_iter().max().unwrap_or(1))
}

/// Compares `systems` on `job` with `chips` of each; the order is kept.
///
/// # Errors
/// Names that are unknown and limits that contradict each other; a system that cannot do the job has its reason in its
/// entry.
pub fn compare(
    resolver: &Resolver,
    job: &Job,
    systems: &[String],
    chips: u32,
    site: &Site,
    watch: &Watch,
) -> Result<Vec<Entry>, PlanError> {
    let entry = |system: &String| {
        let place = Place { system: system.clone(), chip: None, chips: Some(chips) };
        let described = resolver.system(system)?;
        let plan = match plan(resolver, job, &[place], site, watch) {
            Ok(outcome) => Ok(Compared {
                name: described.name.clone(),
                grade: outcome.best.grade(),
                step: outcome.best.decoding(job),
                file: outcome.file,
            }),
            Err(PlanError::Nothing(reason)) => Err(reason),
            Err(other) => return Err(other),
        };
        Ok(Entry { system: system.clone(), plan })
    };
    systems.iter().map(entry).collect()
}
