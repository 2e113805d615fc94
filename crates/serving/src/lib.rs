//! The control plane of inference as a state machine without input or output.
//!
//! [`Cluster::handle`] is told what happened and when, and answers with what to do: start a run of steps, move KV, hand
//! out tokens, turn a request away, set a timer. It never reads a clock, and nothing here knows whether time is virtual.
//! Whoever drives it decides how long things take.
//!
//! ```text
//!  Event::Arrived ──► admission ──► router ──► queue ──► scheduler ──► Action::Start(run)
//!                                                 ▲          │ kv, prefix, tiers
//!  Event::StepFinished ──► tokens, ends ──────────┴── preempt, hand off
//! ```
//!
//! A *run* is any number of steps with an unchanged batch, so that the cost of the control plane grows with what
//! changes and not with the tokens produced.

pub mod action;
pub mod admin;
pub mod admission;
mod cluster;
mod custom;
pub mod elasticity;
pub mod engine;
pub mod failover;
mod gathering;
mod inspect;
mod instance;
mod kv;
pub mod memory_pool;
pub mod pools;
mod prefix;
mod queue;
mod request;
mod router;
mod scheduler;
mod speculative;
mod time;

pub use action::{Action, Ended, Endpoint, Event, InstanceState, KvChange, LoadTime, Run, Timer, TransferId};
pub use admin::{Command, CommandError};
pub use admission::{Admission, Budget, Left, Tenant};
pub use cluster::Cluster;
pub use custom::{CustomPolicy, Decides, Pressure, RouteCandidate, SharedPolicy};
pub use elasticity::{Scaling, ScalingRule};
pub use engine::{Batching, EngineLimits, LimitsError, Order, Preemption, Speculation};
pub use failover::Recovery;
pub use gathering::Gathering;
pub use inspect::{InstanceView, PoolView};
pub use memory_pool::TierSpec;
pub use pools::{ClusterConfig, ConfigError, DeploymentConfig, PoolConfig, Role};
pub use request::{InstanceId, Reason, Request, RequestId};
pub use router::RouterPolicy;
pub use speculative::TokenClock;
pub use time::Nanos;
