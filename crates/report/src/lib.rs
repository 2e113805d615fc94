//! What is printed: tables for people, JSON for programs, pages with charts.
//!
//! Nothing is computed here: a number shown in two places comes from one field of a result.

mod compare;
mod estimate;
mod table;
mod validate;

pub use compare::{compare_json, compare_text};
pub use estimate::{estimate_json, estimate_text};
pub use table::{list, table};
pub use validate::{validate_json, validate_text, worst_text};
