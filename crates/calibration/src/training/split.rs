//! Which published runs coefficients are fitted on, and which only test them.

use super::row::TrainingRow;
use crate::stats::fnv1a;
use training::Profile;

/// One group in this many is held out.
const ONE_IN: u64 = 5;

/// Runs that are fitted or held out together: those of one model on one kind of chip under one framework release.
///
/// Other batches, layouts and chip counts of the same model are too alike to test anything.
pub fn group(row: &TrainingRow, profile: &Profile, family: &str) -> String {
    format!("{}/{}/{family}/{}/{}x{}", profile.framework, profile.release, row.model, row.layers, row.hidden)
}

/// The number of `of` parts that `group` falls into, by a hash of its name.
pub fn part(group: &str, of: u64) -> u64 {
    // The low bits of FNV-1a follow the last letters too closely.
    let hash = fnv1a(group.as_bytes());
    ((hash ^ (hash >> 29)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33) % of
}

/// Whether runs of `group` are kept out of the shipped fit.
pub fn held_out(group: &str) -> bool {
    part(group, ONE_IN) == 0
}
