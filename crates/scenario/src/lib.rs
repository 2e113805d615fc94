//! Scenario files: a cluster, its deployments, its traffic and its failures in one TOML file.
//!
//! Two stages: [`raw::Raw`] is what may be written, with unknown keys refused; [`Resolved`] is what runs, with every
//! name looked up and every default filled in. The flags of the command line fill the same [`raw::Raw`].

mod error;
mod place;
mod policies;
pub mod raw;
mod resolve;
mod traffic;

pub use error::ScenarioError;
pub use resolve::{PoolInfo, Resolved};

use cost::step::StepModel;
use estimate::Resolver;
use place::Place;
use raw::Raw;
use sim::{Metrics, Observer, SimError, Simulation, Totals};
use std::path::Path;
use std::sync::Arc;

/// Reads a scenario file without resolving it.
///
/// # Errors
/// A file that cannot be read, or that says what a scenario cannot say.
pub fn read(path: &Path) -> Result<(Raw, String), ScenarioError> {
    let file = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|error| ScenarioError::Read { file: file.clone(), error })?;
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

/// What is left of a resolved scenario once it has run.
pub struct Outcome<O> {
    /// Its name.
    pub name: String,
    /// Its pools.
    pub pools: Vec<PoolInfo>,
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
    let watch = (Metrics::new(slo, idle), observer);
    let (totals, (mut metrics, observer)) =
        Simulation::new(config, pricers, source, watch, options)?.run()?;
    metrics.finish(totals.end);
    Ok(Outcome { name, pools, metrics, totals, observer, seed })
}
