//! Scenario files: a cluster, its deployments, its traffic and its failures in one TOML file.
//!
//! Two stages: [`raw::Raw`] is what may be written, with unknown keys refused; [`Resolved`] is what runs, with every
//! name looked up and every default filled in. The flags of the command line fill the same [`raw::Raw`].

mod costs;
mod error;
mod faults;
mod limits;
mod place;
mod policies;
pub mod raw;
mod resolve;
mod table;
mod tiers;
mod traffic;
mod utilisation;

pub use costs::Costs;
pub use error::ScenarioError;
pub use resolve::{PoolInfo, Resolved};
pub use utilisation::PoolUse;

use cost::step::StepModel;
use estimate::Resolver;
use place::Place;
use raw::Raw;
use sim::{Metrics, Observer, SimError, Simulation, Totals};
use std::path::Path;
use std::sync::Arc;
use utilisation::Utilisation;

/// Reads a scenario file without resolving it.
///
/// # Errors
/// A file that cannot be read, or that says what a scenario cannot say.
pub fn read(path: &Path) -> Result<(Raw, String), ScenarioError> {
    let file = path.display().to_string();
    let text = bounded::read_text(path, bounded::TEXT)
        .map_err(|error| ScenarioError::Read { file: file.clone(), error })?;
    let raw = parse(&file, &text)?;
    Ok((raw, text))
}

/// Parses the text of a scenario; `file` is what messages call it.
///
/// # Errors
/// Text that says what a scenario cannot say.
pub fn parse(file: &str, text: &str) -> Result<Raw, ScenarioError> {
    toml::from_str(text).map_err(|error| ScenarioError::Syntax {
        file: file.to_owned(),
        message: error.to_string().trim().to_owned(),
    })
}

/// Resolves a scenario. `path` and `text` are where it was read from (an empty text for flags).
///
/// # Errors
/// Names that are unknown, values that make no sense, models that do not fit.
pub fn resolve(raw: &Raw, path: &Path, text: &str, resolver: &Resolver) -> Result<Resolved, ScenarioError> {
    let place = Place { file: path.display().to_string(), text: text.to_owned() };
    let folder = path.parent().unwrap_or(Path::new(""));
    resolve::resolve(raw, &place, folder, resolver)
}

/// A deployment, for reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentInfo {
    /// Its name.
    pub name: String,
    /// Names of its tiers.
    pub tiers: Vec<String>,
}

impl<O> Outcome<O> {
    /// The outcome without its observer, and the observer.
    pub fn split(self) -> (Outcome<()>, O) {
        let Self { name, pools, used, deployments, metrics, totals, observer, seed } = self;
        (Outcome { name, pools, used, deployments, metrics, totals, observer: (), seed }, observer)
    }

    /// The outcome with another observer.
    pub fn with<N>(self, observer: N) -> Outcome<N> {
        let Self { name, pools, used, deployments, metrics, totals, observer: _, seed } = self;
        Outcome { name, pools, used, deployments, metrics, totals, observer, seed }
    }
}

/// What is left of a resolved scenario once it has run.
pub struct Outcome<O> {
    /// Its name.
    pub name: String,
    /// Its pools.
    pub pools: Vec<PoolInfo>,
    /// What each pool used of its hardware while it was busy.
    pub used: Vec<PoolUse>,
    /// Its deployments.
    pub deployments: Vec<DeploymentInfo>,
    /// Everything that was measured.
    pub metrics: Metrics,
    /// Counts of the run itself.
    pub totals: Totals,
    /// What else watched.
    pub observer: O,
    /// Seed of everything random.
    pub seed: u64,
}

/// Runs a scenario, watched by `observer` beside the metrics.
///
/// # Errors
/// A trace that turns out to be malformed, or a broken law.
pub fn run<O: Observer>(resolved: Resolved, observer: O) -> Result<Outcome<O>, SimError> {
    let Resolved { name, config, pools, options, slo, source, seed, .. } = resolved;
    let pricers: Vec<Arc<StepModel>> = pools.iter().map(|pool| Arc::clone(&pool.model)).collect();
    let idle = pools.iter().map(|pool| pool.idle).collect();
    let deployments: Vec<DeploymentInfo> = config
        .deployments
        .iter()
        .map(|deployment| DeploymentInfo {
            name: deployment.name.clone(),
            tiers: deployment.tiers.iter().map(|tier| tier.name.clone()).collect(),
        })
        .collect();
    let metrics = Metrics::new(slo, idle, deployments.len());
    let watch = ((metrics, Utilisation::new(&pools)), observer);
    let (totals, ((mut metrics, utilisation), observer)) =
        Simulation::new(config, pricers, source, watch, options)?.run()?;
    metrics.finish(totals.end);
    let used = utilisation.result();
    Ok(Outcome { name, pools, used, deployments, metrics, totals, observer, seed })
}
