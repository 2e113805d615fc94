//! Facts about hardware and what runs on it: chips, links, domains, systems, engines, prices and export rules.
//!
//! Everything here is data from the catalog (TOML, compiled in; a directory given by the user is laid over it),
//! resolved into types with units. This crate knows nothing of models and computes no times.

pub mod catalog;
pub mod chip;
mod date;
pub mod economics;
pub mod engine;
mod engine_toml;
pub mod evidence;
pub mod export_rules;
pub mod money;
pub mod origin;
pub mod overrides;
pub mod show;
pub mod supply;
pub mod support;
pub mod system;

pub use catalog::{Catalog, CatalogError, Document, Place, Problem};
pub use chip::{Chip, Port, Rank};
pub use date::{Date, ParseDateError};
pub use economics::{Basis, ChipHours, Economics, ParseBasisError, Prices, Region};
pub use engine::{Engine, Execution, Platform, UnknownExecution};
pub use evidence::{BAND_80, Fact, Grade, Source};
pub use overrides::{Override, OverrideError};
pub use system::{Domain, DomainKind, Host, System, Topology};
