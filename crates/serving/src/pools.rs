//! Deployments and their pools: aggregated, or prefill and decode apart with a hand-off of KV between them.

use crate::action::LoadTime;
use crate::admission::{Admission, Tenant};
use crate::elasticity::Scaling;
use crate::engine::{EngineLimits, LimitsError};
use crate::failover::Recovery;
use crate::memory_pool::TierSpec;
use crate::router::{Router, RouterPolicy};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the instances of a pool do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Prompts and output.
    Aggregated,
    /// Prompts and the first token, then the KV goes to a decode instance.
    Prefill,
    /// All tokens after the first.
    Decode,
}

/// Equal instances behind one router.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolConfig {
    /// Its name in results.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Settings of each instance.
    pub limits: EngineLimits,
    /// Instances at the start.
    pub instances: u32,
    /// How requests are spread.
    pub router: RouterPolicy,
    /// How long a new instance takes to come up.
    pub load: LoadTime,
    /// When instances are added and removed.
    pub scaling: Option<Scaling>,
}

/// One model served by one aggregated pool, or by a prefill and a decode pool.
#[derive(Debug, Clone, PartialEq)]
pub struct DeploymentConfig {
    /// Its name in results.
    pub name: String,
    /// Its pools: one aggregated, or one prefill and one decode.
    pub pools: Vec<PoolConfig>,
    /// Memories behind the devices that keep prefixes.
    pub tiers: Vec<TierSpec>,
    /// Who is let in.
    pub admission: Admission,
    /// What happens when hardware fails.
    pub recovery: Recovery,
}

/// Everything the control plane is set up with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ClusterConfig {
    /// The deployments, which requests name by position.
    pub deployments: Vec<DeploymentConfig>,
    /// Tenants with terms of their own; others have weight one and no limit.
    pub tenants: BTreeMap<u32, Tenant>,
    /// Seed of the routers' random choices.
    pub seed: u64,
}

/// Why a cluster cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// An engine setting is wrong.
    #[error("pool `{pool}`: {error}")]
    Limits {
        /// The pool's name.
        pool: String,
        /// What is wrong.
        error: LimitsError,
    },
    /// The pools do not make a deployment.
    #[error("deployment `{0}` needs one aggregated pool, or one prefill and one decode pool")]
    Pools(String),
    /// A pool has no instance and can never get one.
    #[error("pool `{0}` has no instance")]
    Empty(String),
    /// Hand-off needs the same hash blocks on both sides.
    #[error("deployment `{0}`: its pools disagree on the block size of the prefix cache")]
    HashBlocks(String),
}

impl DeploymentConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut roles: Vec<Role> = self.pools.iter().map(|pool| pool.role).collect();
        roles.sort_unstable();
        if roles != [Role::Aggregated] && roles != [Role::Prefill, Role::Decode] {
            return Err(ConfigError::Pools(self.name.clone()));
        }
        for pool in &self.pools {
            let named = |error| ConfigError::Limits { pool: pool.name.clone(), error };
            pool.limits.check().map_err(named)?;
            if pool.instances == 0 && pool.scaling.is_none() {
                return Err(ConfigError::Empty(pool.name.clone()));
            }
        }
        let mut hash_blocks = self.pools.iter().filter_map(|pool| pool.limits.prefix_cache);
        let first = hash_blocks.next();
        if hash_blocks.any(|block| Some(block) != first) {
            return Err(ConfigError::HashBlocks(self.name.clone()));
        }
        Ok(())
    }
}

/// A pool at work.
#[derive(Debug)]
pub(crate) struct Pool {
    pub role: Role,
    pub deployment: u32,
    pub limits: Arc<EngineLimits>,
    pub members: Vec<u32>,
    pub router: Router,
    pub load: LoadTime,
    pub scaling: Option<Scaling>,
    /// Whether an instance has loaded before, so that the weights are in the model cache.
    pub warm: bool,
}

/// A deployment at work.
#[derive(Debug)]
pub(crate) struct Deployment {
    /// The pool that computes prompts.
    pub entry: u32,
    /// The pool that goes on from there, if it is another.
    pub decode: Option<u32>,
    pub admission: Admission,
    pub recovery: Recovery,
    pub tiers: crate::memory_pool::Tiers,
    /// Whether it takes no new requests.
    pub closed: bool,
}
