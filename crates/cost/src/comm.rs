//! Collectives and expert exchange on nested domains.
//!
//! A [`Network`] is a system's domains (package, node, scale-up domain, cluster) with the coefficients of their links
//! from the catalog's `links/<class>.toml`. [`Network::group`] prepares a [`Group`] of ranks, on which collectives are
//! then priced; [`Exchange`] prepares expert dispatch and combine for a group and a layer; [`InstanceComm`] is both as
//! the step model asks for them.
//!
//! # Conventions
//! Message sizes are bytes and follow nccl-tests: `S` is the buffer of one rank for an all-reduce, a broadcast and an
//! all-to-all, the *gathered* buffer for an all-gather and the buffer *before* scattering for a reduce-scatter. Bandwidth
//! is that of one rank in one direction. A rank is what software sees as one device: one die of a two-die package with
//! ports of their own. Measurement tables differ: NVIDIA's give `message_size` in elements of `nccl_dtype` (NCCL) or of
//! two bytes (custom all-reduce); the Ascend table gives bytes, for all-gather and reduce-scatter of one rank's share.
//!
//! # Monotonicity
//! More bytes never take less time, nor does a slower link. More ranks may: a switch reduces in the network for eight
//! ranks but not for two, and libraries change their algorithm.

mod contention;
mod curve;
mod exchange;
mod experts;
mod form;
mod group;
mod links;
mod network;
mod pricing;
#[cfg(test)]
mod tests;
mod topology;

pub use contention::{Flow, finish_times, share};
pub use exchange::{Direction, EXCHANGE_PARAMS, ExchangeForm, Load, touched_groups};
pub use experts::{Exchange, ExchangeSpec, GroupLimit, Library, PREPARE, Routing};
pub use form::{CHUNK, COLLECTIVE_PARAMS, Collective, CollectiveForm, FAR_CHUNK, Place};
pub use group::{CommCost, Group, PIPELINE_LOSS};
pub use links::{
    COLLECTIVE_FEATURES, EXCHANGE_FEATURES, LinkClass, LinkError, LinkSet, RINGS_TO, SetBasis, USUAL_RANKS,
};
pub use network::{
    COMM_GROUP, CommError, GENERIC, MAX_DOMAINS, Network, OTHER_CHIP_SIGMA, OTHER_CLASS_SIGMA,
};
pub use pricing::{CommSpec, InstanceComm};
