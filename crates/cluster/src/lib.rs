//! Many jobs on one cluster.
//!
//! [`Scheduler`] is a state machine: told what happened and when, it answers with what to do. It knows chips ([`tree`]),
//! placements ([`place`]), tenants and queues, and decides by a [`policy`]. It never knows how long a job will run.
//! [`driver`] runs it in virtual time: arrivals, work at the speed that the placement allows, checkpoints, failures, services
//! that follow their load. [`mod@file`] reads what a user writes, [`import`] what other systems leave, and [`check`] holds every
//! run to laws that the scheduler does not know of.

mod cells;
pub mod check;
pub mod driver;
pub mod file;
pub mod import;
pub mod job;
pub mod links;
pub mod pass;
pub mod place;
pub mod plan;
pub mod policy;
mod reserve;
pub mod results;
pub mod scheduler;
pub mod service;
pub mod state;
mod timeline;
pub mod tree;

pub use driver::{Driver, Options};
pub use file::{ClusterError, Place};
pub use job::{Action, Cause, Event, Job, JobId, Resource, Tenant, TenantId, Uses, Why};
pub use place::Placement;
pub use plan::{Checkpoint, JobPlan, Kind, Linear, Pace, Pricer, Shape};
pub use results::Outcome;
pub use scheduler::Scheduler;
pub use service::Service;
pub use tree::{Ask, Level, NodeId, Part, Tree, Wish};
