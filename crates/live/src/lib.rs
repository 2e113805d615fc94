//! The control plane of [`serving`] in wall time, behind an OpenAI-compatible server.
//!
//! ```text
//!  connections ──► inbox ──► control thread: stamp, log, World::advance, World::inject ──► cells ──► streams
//! ```
//!
//! One thread decides, on virtual stamps, with the very code that simulates ([`sim::World`]). What it decides is a
//! function of its input log: wall time delays bytes, never decisions. [`core::replay`] makes the same decisions again
//! from the log, and the hash of all of them says so.

pub mod admin;
pub mod answer;
pub mod app;
pub mod body;
pub mod cell;
pub mod clock;
pub mod cluster;
pub mod control;
pub mod core;
pub mod deltas;
pub mod embeddings;
pub mod front;
pub mod jobs;
pub mod keys;
pub mod kv_events;
pub mod kv_replay;
pub mod ledger;
pub mod log;
pub mod meters;
pub mod numbers;
pub mod observe;
pub mod openai;
pub mod openapi;
pub mod prometheus;
pub mod responses;
pub mod routes;
pub mod script;
pub mod server;
pub mod text;
pub mod tls;
pub mod up;

pub use cluster::Cluster;
pub use up::{Server, Settings, UpError};
