//! The control plane of [`serving`] in virtual time.
//!
//! [`Simulation`] feeds a [`serving::Cluster`] from a [`workload::Source`] and does what it says: it knows how long
//! steps and transfers take, when answers end and when hardware fails. Time is a counter of nanoseconds that jumps from
//! one event to the next; between two changes of a batch a whole run of steps is priced at once ([`span`]).
//!
//! [`closed_loop()`] is the shortest way in: what a benchmark client with a fixed number of users would measure.

pub mod check;
pub mod closed_loop;
mod driver;
pub mod faults;
mod flight;
pub mod metrics;
pub mod network;
pub mod record;
pub mod sketch;
pub mod span;
pub mod testing;
pub mod timeline;
mod wiring;

pub use closed_loop::{ClosedLoop, ClosedLoopResult, PoolSetting, closed_loop, closed_loop_disaggregated};
pub use driver::{FirstToken, Ingress, Options, SimError, Simulation, Totals};
pub use metrics::{Metrics, Slo};
pub use record::{Observer, Outcome, Record, RunRecord, TransferRecord};
pub use wiring::{PortConfig, TierPort};
