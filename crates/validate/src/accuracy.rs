//! Everything that is said of the accuracy of the shipped coefficients, in one place.

use crate::launch::Launches;
use crate::measurements::{Measurements, MeasurementsError};
use crate::operator_sets::{SetErrors, operator_sets};
use crate::published::{LAUNCHES_FOLDER, PublishedError, predict_published};
use crate::serving::Fidelity;
use crate::summary::Scored;
use calibration::ops::{CalibrateError, OpTable};
use cost::kernels::{KernelSet, Kernels, KernelsError, Origin, Profile, ProfileError, Residual, SetQuery};
use cost::ops::Precision;
use estimate::economics::Site;
use hardware::{Catalog, CatalogError};
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use units::Dtype;

/// Why accuracy cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum AccuracyError {
    /// The folder of measurements cannot be read.
    #[error("{}: cannot be read ({source}); give a folder with `measured` and `ops` in it", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A table of measurements.
    #[error(transparent)]
    Rows(#[from] MeasurementsError),
    /// A table of operators.
    #[error(transparent)]
    Operators(#[from] CalibrateError),
    /// The published rows.
    #[error(transparent)]
    Published(#[from] PublishedError),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// A kernel profile.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A chip's kernels.
    #[error(transparent)]
    Kernels(#[from] KernelsError),
}

/// A chip's operators priced as if nobody had measured it.
#[derive(Debug, Clone, PartialEq)]
pub struct Unmeasured {
    /// Catalog key of the chip.
    pub chip: String,
    /// Its sets, with the errors of a relative's (or the generic) coefficients on all of their rows.
    pub sets: Vec<SetErrors>,
}

/// A shipped set with what it was held to.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Catalog key of the chip.
    pub chip: String,
    /// The set, without its residual grid.
    pub set: KernelSet,
}

/// What prices one operator family on a chip, and how wide its band is.
#[derive(Debug, Clone, PartialEq)]
pub struct ChipBand {
    /// Catalog key of the chip.
    pub chip: String,
    /// Operator family.
    pub family: &'static str,
    /// Where the coefficients come from.
    pub origin: Origin,
    /// Standard deviation of ln(true / predicted).
    pub sigma: f64,
}

/// A serving table with its rows predicted.
#[derive(Debug, Clone)]
pub struct ServingTable {
    /// Its name.
    pub name: String,
    /// Whether no fit may ever use it.
    pub apart: bool,
    /// Launched as is known of the rows.
    pub rows: Vec<Scored>,
    /// The same, launched with every engine's defaults.
    pub bare: Vec<Scored>,
}

/// Everything measured.
#[derive(Debug, Clone)]
pub struct Accuracy {
    /// Serving tables with their rows.
    pub serving: Vec<ServingTable>,
    /// Training tables by name, with their rows.
    pub training: Vec<(String, Vec<Scored>)>,
    /// Operators by set.
    pub operators: Vec<SetErrors>,
    /// Chips priced as if nobody had measured them.
    pub unmeasured: Vec<Unmeasured>,
    /// Shipped sets.
    pub carried: Vec<Carried>,
    /// What every chip of the catalog is priced with.
    pub bands: Vec<ChipBand>,
    /// Published rows by file.
    pub published: Vec<(String, Vec<Scored>)>,
}

/// Families whose band is stated for each chip.
const FAMILIES: [&str; 4] = ["gemm", "attention_prefill", "attention_decode", "moe"];

/// Tables whose layouts are only partly stated: they have no prediction as measured.
const PARTIAL: &str = "_partial";

/// Measures everything in `data` (its folders `measured`, `truth` and `ops`) and the `published` rows. `progress` is told what is
/// being read.
///
/// # Errors
/// A folder cannot be read or a table is malformed.
pub fn collect(
    data: &Path,
    published: &Path,
    catalog: &Catalog,
    site: &Site,
    progress: &dyn Fn(&str),
) -> Result<Accuracy, AccuracyError> {
    let (mut serving, mut training) = (Vec::new(), Vec::new());
    let launches = Launches::beside(&published.join(LAUNCHES_FOLDER)).map_err(MeasurementsError::from)?;
    let apart = data.join("truth");
    let mut files = tables(&data.join("measured"))?;
    files.extend(if apart.is_dir() { tables(&apart)? } else { Vec::new() });
    for path in files {
        let name = name(&path);
        let header = OpTable::open(&path).map_err(CalibrateError::from)?;
        let known = header.has(&["id", "mode"]) || header.has(&["framework", "seq_len"]);
        if !known || name.contains(PARTIAL) {
            continue;
        }
        progress(&name);
        let measurements = Measurements::open(&path, None)?;
        let bare = measurements.score(catalog, site, Fidelity::Simulate)?;
        if matches!(measurements, Measurements::Training(_)) {
            training.push((name, bare));
            continue;
        }
        let rows = measurements.launched_as(&launches).score(catalog, site, Fidelity::Simulate)?;
        serving.push(ServingTable { name, apart: path.starts_with(&apart), rows, bare });
    }
    let mut operator_tables = Vec::new();
    for path in tables(&data.join("ops"))? {
        let table = OpTable::open(&path).map_err(CalibrateError::from)?;
        if crate::operators::accepts(&table) {
            operator_tables.push(table);
        }
    }
    let mut operators = Vec::new();
    for table in &operator_tables {
        progress(table.file());
        operators.extend(operator_sets(table, catalog)?);
    }
    let carried = carried(catalog)?;
    progress("chips as if nobody had measured them");
    let unmeasured = unmeasured(&operator_tables, &operators, catalog)?;
    Ok(Accuracy {
        serving,
        training,
        operators,
        unmeasured,
        carried,
        bands: bands(catalog)?,
        published: predict_published(published, catalog, site)?,
    })
}

fn tables(folder: &Path) -> Result<Vec<PathBuf>, AccuracyError> {
    let failed = |source| AccuracyError::Read { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = name(&path);
        if name.ends_with(".csv") || name.ends_with(".csv.gz") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn carried(catalog: &Catalog) -> Result<Vec<Carried>, AccuracyError> {
    let mut all = Vec::new();
    for id in catalog.ids("kernels") {
        let profile = Profile::parse(catalog.text("kernels", &id)?, &id)?;
        for set in profile.sets {
            all.push(Carried {
                chip: profile.chip.clone(),
                set: KernelSet { residual: Residual::default(), ..set },
            });
        }
    }
    Ok(all)
}

/// Each measured chip in turn with its own profiles emptied: what is left is what a chip without data is priced with.
fn unmeasured(
    tables: &[OpTable],
    operators: &[SetErrors],
    catalog: &Catalog,
) -> Result<Vec<Unmeasured>, AccuracyError> {
    let mut chips: Vec<&String> = operators.iter().map(|set| &set.key.chip).collect();
    chips.sort();
    chips.dedup();
    let of_chip = |chip: &&String| -> Result<Unmeasured, AccuracyError> {
        let catalog = without(catalog, chip)?;
        let mut sets = Vec::new();
        for table in tables {
            let all = operator_sets(&table.clone().of_chip(chip), &catalog)?;
            sets.extend(all.into_iter().filter(|set| set.key.chip == **chip));
        }
        Ok(Unmeasured { chip: (*chip).clone(), sets })
    };
    chips.par_iter().map(of_chip).collect()
}

fn without(catalog: &Catalog, chip: &str) -> Result<Catalog, AccuracyError> {
    let mut catalog = catalog.clone();
    let empty = Profile {
        chip: chip.to_owned(),
        architecture: String::new(),
        date: String::new(),
        source: String::new(),
        split: String::new(),
        sets: Vec::new(),
    };
    for id in catalog.ids("kernels") {
        if id.split_once('.').is_some_and(|(of, _)| of == chip) {
            catalog = catalog.with_text("kernels", &id, empty.to_toml())?;
        }
    }
    Ok(catalog)
}

fn bands(catalog: &Catalog) -> Result<Vec<ChipBand>, AccuracyError> {
    let precisions = cost::kernels::alike(Precision { weight: Dtype::Bf16, activation: Dtype::Bf16 });
    let mut all = Vec::new();
    for id in catalog.ids("chips") {
        let chip = catalog.chip(&id)?;
        let kernels = Kernels::load(&chip, &[], |id| catalog.text("kernels", id).ok());
        for family in FAMILIES {
            let query = SetQuery { family, precisions: &precisions, kernel: None };
            if let Ok(choice) = kernels.select(&query) {
                all.push(ChipBand { chip: id.clone(), family, origin: choice.origin, sigma: choice.sigma });
            }
        }
    }
    Ok(all)
}
