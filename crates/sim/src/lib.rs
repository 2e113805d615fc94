//! The control plane of [`serving`] in virtual time.
//!
//! [`World`] does what a [`serving::Cluster`] says: it knows how long steps and transfers take, when answers end and when
//! hardware fails. It has no clock: whoever drives it says up to when time has gone. [`Simulation`] drives it in virtual
//! time from a [`workload::Source`]: a counter of nanoseconds that jumps from one event to the next. Between two changes
//! of a batch a whole run of steps is priced at once ([`span`]).
//!
//! [`closed_loop()`] is the shortest way in: what a benchmark client with a fixed number of users would measure.

pub mod check;
pub mod closed_loop;
pub mod digest;
mod driver;
pub mod faults;
mod flight;
pub mod metrics;
pub mod network;
pub mod placement;
pub mod record;
pub mod sketch;
pub mod span;
pub mod testing;
pub mod timeline;
mod wiring;
mod world;

pub use closed_loop::{
    ClosedLoop, ClosedLoopResult, PoolSetting, closed_loop, closed_loop_deployment, closed_loop_disaggregated,
};
pub use driver::Simulation;
pub use metrics::{Metrics, Slo};
pub use record::{Observer, Outcome, Record, RunRecord, TransferRecord};
pub use wiring::{PortConfig, TierPort};
pub use world::{
    FirstToken, HardwareView, Health, Ingress, Input, Options, Refusal, SimError, Ticket, Totals, World,
};
