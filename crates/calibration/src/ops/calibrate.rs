//! From tables to profiles.

use super::family::{AnyFamily, Draft};
use super::table::{OpTable, TableError};
use crate::stats::SPLIT_RULE;
use cost::kernels::{KernelsError, Profile, ProfileError};
use cost::ops::Machine;
use hardware::catalog::CatalogError;
use hardware::{Catalog, Chip};
use std::collections::BTreeMap;
use units::Dtype;

/// What a calibration needs beside the rows.
#[derive(Debug, Clone, Copy)]
pub struct CalibrateOptions<'a> {
    /// Datasheets of the chips measured, and the profiles that few rows lean on.
    pub catalog: &'a Catalog,
    /// Today's date, written into the profiles.
    pub date: &'a str,
    /// Where the rows come from, in words, written into the profiles.
    pub source: &'a str,
    /// Seed of samples, starts and folds.
    pub seed: u64,
    /// Whether sets with enough rows are also fitted on a random 30 %, on the smaller sizes and on some families of
    /// shapes, to report how well each carries over. Takes three times as long.
    pub study: bool,
}

/// A calibration that cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// A malformed table.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A chip that the catalog does not know.
    #[error("cannot calibrate rows of chip `{chip}`: {source}")]
    Chip {
        /// The name in the rows.
        chip: String,
        /// What the catalog says.
        source: CatalogError,
    },
    /// A chip that cannot multiply the format of its rows.
    #[error(
        "rows of chip `{chip}` multiply {dtype}, but its catalog file has no matrix peak for it; add one"
    )]
    NoPeak {
        /// Catalog key of the chip.
        chip: String,
        /// The format.
        dtype: Dtype,
    },
    /// A profile that cannot be read or compiled.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A profile of a relative that cannot be read.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
    /// Nothing to fit.
    #[error("no row of the tables can be fitted: each set needs at least {min} different shapes", min = super::MIN_ROWS)]
    Empty,
}

/// A profile file to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibrated {
    /// Its id in a catalog's `kernels` folder, without `.toml`: `h100.gemm`.
    pub id: String,
    /// Its content; [`Profile::to_toml`] is the file.
    pub profile: Profile,
}

/// Fits every set of every family found in `tables` and groups them into profile files, one per chip and group.
///
/// # Errors
/// If a table is malformed or of no known kind, a chip is not in the catalog, or nothing can be fitted.
pub fn calibrate_ops(
    tables: &[OpTable],
    families: &[Box<dyn AnyFamily>],
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Calibrated>, CalibrateError> {
    for table in tables {
        if !families.iter().any(|family| family.accepts(table)) {
            return Err(table.unknown_header().into());
        }
    }
    let mut files: BTreeMap<String, Profile> = BTreeMap::new();
    for family in families {
        if !tables.iter().any(|table| family.accepts(table)) {
            continue;
        }
        for Draft { chip, set } in family.calibrate(tables, options)? {
            let id = format!("{chip}.{}", family.group());
            let architecture = options.catalog.chip(&chip).map_or_else(|_| String::new(), |chip| chip.family);
            let profile = files.entry(id).or_insert_with(|| Profile {
                chip: chip.clone(),
                architecture,
                date: options.date.to_owned(),
                source: options.source.to_owned(),
                split: SPLIT_RULE.to_owned(),
                sets: Vec::new(),
            });
            profile.sets.push(set);
        }
    }
    if files.is_empty() {
        return Err(CalibrateError::Empty);
    }
    Ok(files.into_iter().map(|(id, profile)| Calibrated { id, profile }).collect())
}

impl CalibrateOptions<'_> {
    /// The datasheet of a chip named in rows.
    pub(super) fn chip(&self, name: &str) -> Result<Chip, CalibrateError> {
        self.catalog.chip(name).map_err(|source| CalibrateError::Chip { chip: name.to_owned(), source })
    }

    /// The text of a profile, if the catalog has it.
    pub(super) fn profile(&self, id: &str) -> Option<&str> {
        self.catalog.text("kernels", id).ok()
    }
}

/// What a form needs to know of one rank of `chip`.
pub(super) fn machine(chip: &Chip, dtype: Dtype) -> Result<Machine, CalibrateError> {
    let rank = &chip.rank;
    let peak = rank.peak(dtype).ok_or_else(|| CalibrateError::NoPeak { chip: chip.id.clone(), dtype })?;
    Ok(Machine {
        peak,
        bandwidth: rank.bandwidth.value,
        cores: f64::from(rank.cores.value),
        l2: rank.l2.value,
    })
}
