//! The workload manager beside the deployments of a cluster that comes up.

use crate::error::Error;
use crate::session::Session;
use cluster::file::{Place, parse};
use cost::step::StepModel;
use live::Cluster;
use live::jobs::Jobs;
use std::path::Path;
use std::sync::Arc;

/// A workload manager on the chips of one of the cluster's systems, as a cluster file describes it: `file` is what messages
/// call it, and traces are looked for in `folder`.
///
/// # Errors
/// A file that says what it cannot say here, or names a system that the cluster does not have.
pub fn jobs(
    session: &Session,
    beside: &Cluster<Arc<StepModel>>,
    file: &str,
    text: &str,
    folder: &Path,
) -> Result<Jobs, Error> {
    let mut raw = parse(file, text).map_err(Error::input)?;
    let place = Place { file: file.to_owned(), text: format!("{text}\n") };
    let refused = |key: &str, problem: String| Error::input(place.wrong("cluster", 0, key, problem));
    let hardware = beside.world.hardware();
    let names: Vec<&str> = hardware.systems().iter().map(|system| system.name.as_str()).collect();
    let wanted = raw.cluster.system.as_deref().or(names.first().copied()).unwrap_or("");
    let Some(ground) = names.iter().position(|name| *name == wanted) else {
        let problem = format!("jobs share the chips of the scenario, which has {}", names.join(", "));
        return Err(refused("system", problem));
    };
    let random = raw.cluster.failures || raw.cluster.failure_rate.is_some();
    if random || raw.cluster.level.iter().any(|level| level.failure_rate.is_some()) {
        let key = if raw.cluster.failures { "failures" } else { "failure_rate" };
        let problem = "hardware fails as the scenario's `[failures]` and the administrator say; leave it out";
        return Err(refused(key, problem.to_owned()));
    }
    raw.cluster.system = Some(names[ground].to_owned());
    let catalog = session.resolver().catalog();
    let (manager, intake) =
        ::jobs::Manager::open(catalog, raw, &place, folder.to_owned()).map_err(Error::input)?;
    Ok(Jobs::new(manager, intake, ground as u32))
}

/// What there is if nothing is said: the `easy` policy on the first system, where the catalog knows it.
pub(super) fn usual(session: &Session, beside: &Cluster<Arc<StepModel>>) -> Option<Jobs> {
    let first = beside.world.hardware().systems().first().map(|system| system.name.clone())?;
    session.resolver().catalog().system(&first).ok()?;
    jobs(session, beside, "jobs", "", Path::new("")).ok()
}
