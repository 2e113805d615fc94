//! What an administrator may change while the cluster runs: all of a change or none of it.

use crate::action::InstanceState;
use crate::admission::Tenant;
use crate::cluster::Cluster;
use crate::request::InstanceId;
use crate::router::RouterPolicy;
use steps::StepPricer;

/// Instances of one pool at most.
pub const MOST_INSTANCES: u32 = 4096;

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// An instance finishes what it has, takes nothing new and goes.
    Drain(InstanceId),
    /// So many instances of a pool that no autoscaler looks after: missing ones load their weights, the emptiest of
    /// those too many drain.
    Scale {
        /// The pool, counted over all deployments.
        pool: u32,
        /// Instances that are active or loading afterwards.
        instances: u32,
    },
    /// How requests are spread over a pool from now on.
    Router {
        /// The pool, counted over all deployments.
        pool: u32,
        /// The rule.
        router: RouterPolicy,
    },
    /// Requests that may wait in all queues of a deployment.
    QueueLimit {
        /// The deployment.
        deployment: u32,
        /// Their number; `None` for no limit.
        limit: Option<u32>,
    },
    /// A tenant's share and limits from now on.
    Tenant {
        /// Whose.
        tenant: u32,
        /// The new terms; `None` for those of a tenant nobody knows.
        terms: Option<Tenant>,
    },
    /// A deployment takes no new requests; what is in flight ends as usual.
    Close {
        /// The deployment.
        deployment: u32,
    },
    /// A closed deployment takes requests again.
    Open {
        /// The deployment.
        deployment: u32,
    },
}

/// Why a change is not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nothing has this number.
    #[error("there is no {what} {number}; there are {count}, counted from 0")]
    Unknown {
        /// What kind of thing.
        what: &'static str,
        /// The number given.
        number: u32,
        /// How many there are.
        count: u32,
    },
    /// The thing is there, but the change makes no sense.
    #[error("{0}")]
    Refused(String),
}

impl<P: StepPricer> Cluster<P> {
    /// Whether these changes can be made, looked at before any of them is.
    ///
    /// # Errors
    /// The first that cannot.
    pub fn check(&self, commands: &[Command]) -> Result<(), CommandError> {
        commands.iter().try_for_each(|command| self.check_one(command))
    }

    fn check_one(&self, command: &Command) -> Result<(), CommandError> {
        match command {
            Command::Drain(id) => {
                known("instance", id.0, self.instances.len())?;
                let state = self.instances[id.0 as usize].state;
                if matches!(state, InstanceState::Active | InstanceState::Loading) {
                    return Ok(());
                }
                let what = format!("instance {} is {} and cannot be drained", id.0, state.name());
                Err(CommandError::Refused(what))
            }
            Command::Scale { pool, instances } => {
                known("pool", *pool, self.pools.len())?;
                if self.pools[*pool as usize].scaling.is_some() {
                    let what = format!(
                        "pool {pool} is scaled by its autoscaler; take `scaling` out of the scenario to do it by hand"
                    );
                    return Err(CommandError::Refused(what));
                }
                if *instances > MOST_INSTANCES {
                    let what = format!("{instances} instances are more than the {MOST_INSTANCES} of a pool");
                    return Err(CommandError::Refused(what));
                }
                Ok(())
            }
            Command::Router { pool, router } => {
                known("pool", *pool, self.pools.len())?;
                match router {
                    RouterPolicy::PrefixAware { load } if !load.is_finite() || *load < 0.0 => Err(
                        CommandError::Refused(format!("a load weight of {load} is not a number from 0 up")),
                    ),
                    _ => Ok(()),
                }
            }
            Command::QueueLimit { deployment, .. }
            | Command::Close { deployment }
            | Command::Open { deployment } => known("deployment", *deployment, self.deployments.len()),
            Command::Tenant { terms, .. } => terms.map_or(Ok(()), |terms| terms.check()),
        }
    }

    /// Makes changes that [`Cluster::check`] has found possible; what has become void since is skipped.
    pub(crate) fn administer(&mut self, commands: &[Command]) {
        for command in commands {
            if self.check_one(command).is_ok() {
                self.change(command);
            }
        }
    }

    fn change(&mut self, command: &Command) {
        match command {
            Command::Drain(id) => self.drain(id.0, None),
            Command::Scale { pool, instances } => self.scale_to(*pool, *instances),
            Command::Router { pool, router } => self.pools[*pool as usize].router.set(*router),
            Command::QueueLimit { deployment, limit } => {
                self.deployments[*deployment as usize].admission.queue_limit = *limit;
            }
            Command::Tenant { tenant, terms } => self.set_tenant(*tenant, *terms),
            Command::Close { deployment } => self.deployments[*deployment as usize].closed = true,
            Command::Open { deployment } => self.deployments[*deployment as usize].closed = false,
        }
    }
}

fn known(what: &'static str, number: u32, count: usize) -> Result<(), CommandError> {
    let count = count as u32;
    if number < count { Ok(()) } else { Err(CommandError::Unknown { what, number, count }) }
}
