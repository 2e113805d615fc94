//! From a step model to a running instance: the one place that says what the scheduler of a priced deployment may do, how
//! much its cache holds, over which ports a cache leaves and enters it, and what a request passes in front of it.
//!
//! Everything that runs or estimates an instance takes these from here, so that two commands cannot disagree about the
//! same deployment.

mod limits;
mod transfer;
mod wiring;

pub use limits::{Settings, cache_bytes, limits};
pub use transfer::{KvTransfer, network_domain, port};
pub use wiring::{Pool, Wired, wire};

use serving::RouterPolicy;
use sim::FirstToken;

/// How requests are spread over the instances of a pool, and over the ranks of an instance, where nothing else is said.
pub const ROUTER: RouterPolicy = RouterPolicy::LeastTokens;

/// Which instance's first token the client sees where nothing else is said: the engines stream from the decode instance,
/// which has the first token once the cache is there.
pub const FIRST_TOKEN: FirstToken = FirstToken::Decode;
