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

/// What is compared: a system, the chip in it, and where it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Entrant {
    /// Catalog key of the system.
    pub system: String,
    /// Catalog key of the chip that is put in it instead of its own.
    pub chip: Option<String>,
    /// Region whose prices it pays, where it is not that of all.
    pub region: Option<String>,
    /// What it pays and emits.
    pub site: Site,
}

impl Entrant {
    /// What it is called in results.
    pub fn label(&self) -> String {
        let chip = self.chip.as_ref().map_or_else(String::new, |chip| format!("{chip} in "));
        let region = self.region.as_ref().map_or_else(String::new, |region| format!("@{region}"));
        format!("{chip}{}{region}", self.system)
    }
}

/// What became of one system.
pub struct Entry {
    /// What was compared.
    pub entrant: Entrant,
    /// What it is called.
    pub system: String,
    /// Its plan, or why there is none.
    pub plan: Result<Compared, String>,
}

/// Chips for each where nobody says how many: as many as the largest of the systems has, so that all are asked the same.
///
/// # Errors
/// No such system.
pub fn common_chips(resolver: &Resolver, entrants: &[Entrant]) -> Result<u32, EstimateError> {
    let chips = entrants.iter().map(|entrant| Ok(resolver.system(&entrant.system)?.chips));
    Ok(chips.collect::<Result<Vec<u32>, EstimateError>>()?.into_iter().max().unwrap_or(1))
}

/// Compares `entrants` on `job` with `chips` of each; the order is kept.
///
/// # Errors
/// Names that are unknown and limits that contradict each other; a system that cannot do the job has its reason in its
/// entry.
pub fn compare(
    resolver: &Resolver,
    job: &Job,
    entrants: &[Entrant],
    chips: u32,
    watch: &Watch,
) -> Result<Vec<Entry>, PlanError> {
    let entry = |entrant: &Entrant| {
        let Entrant { system, chip, site, .. } = entrant;
        let place = Place { system: system.clone(), chip: chip.clone(), chips: Some(chips) };
        let (described, _) = resolver.placed(system, chip.as_deref())?;
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
        Ok(Entry { entrant: entrant.clone(), system: entrant.label(), plan })
    };
    entrants.iter().map(entry).collect()
}
