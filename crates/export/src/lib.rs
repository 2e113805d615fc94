//! Plans to launch files: scripts and manifests of the engines and orchestrators that run them.
//!
//! What is written is in `templates/`, one file for the flags of each engine and one for each kind of launch file; the
//! code only works out what goes where. Every flag in the templates is one that the engine documents
//! (`tests/documented_flags.toml`).

mod context;
mod error;
mod placement;
mod render;
mod target;
mod training;

pub use context::is_address;
pub use error::ExportError;
pub use target::Target;
pub use training::{TrainLayout, Trainer, export_training, read_training};

use context::Context;
use planner::plan_file::{DeploymentFile, PlanFile};
use render::Renderer;

/// A file to launch with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaunchFile {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
    /// Whether it is a script to run.
    pub executable: bool,
}

/// Which deployment of a plan is launched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The winner.
    #[default]
    Best,
    /// The best in which every instance prefills and decodes.
    Aggregated,
    /// The best with prefill and decode instances apart.
    Disaggregated,
    /// The one at this place of the list of the best, counted from 1.
    Top(usize),
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "best" => Ok(Self::Best),
            "aggregated" => Ok(Self::Aggregated),
            "disaggregated" => Ok(Self::Disaggregated),
            place => place.parse().ok().filter(|place| *place > 0).map(Self::Top).ok_or_else(|| {
                format!("`{text}` is no deployment; use best, aggregated, disaggregated or a place in the list, from 1")
            }),
        }
    }
}

/// What a plan does not say.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Which of the plan's deployments.
    pub choice: Choice,
    /// Addresses of the nodes, those of the first pool first; names to be replaced if empty.
    pub hosts: Vec<String>,
    /// Memory of each device's share of a cache pool in host memory, GiB; no pool if `None`.
    pub kv_pool: Option<u32>,
    /// Container image instead of the published one, for manifests.
    pub image: Option<String>,
}

/// The launch files of a plan, in the order in which a reader wants them.
///
/// # Errors
/// The plan has no such deployment, the target cannot run it, or there are not enough hosts.
pub fn export(plan: &PlanFile, target: Target, options: &Options) -> Result<Vec<LaunchFile>, ExportError> {
    let deployment = choose(plan, options.choice)?;
    let context = Context::new(plan, deployment, target, options)?;
    target.files(&context, &Renderer::new()?)
}

fn choose(plan: &PlanFile, choice: Choice) -> Result<&DeploymentFile, ExportError> {
    let (found, wanted) = match choice {
        Choice::Best => return Ok(&plan.best),
        Choice::Aggregated => {
            (plan.aggregated.as_ref(), "aggregated deployment that meets the limits".to_owned())
        }
        Choice::Disaggregated => {
            (plan.disaggregated.as_ref(), "disaggregated deployment that meets the limits".to_owned())
        }
        Choice::Top(place) => {
            (plan.top.get(place - 1), format!("deployment at place {place}; it lists {}", plan.top.len()))
        }
    };
    found.ok_or(ExportError::NoDeployment { wanted })
}
