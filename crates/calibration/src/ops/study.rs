//! How well shipped sets carry over: to rows at random, to larger sizes, to other shapes, to other chips.
//!
//! The shipped coefficients are not touched: a study fits anew on a part of the rows, or takes other chips'
//! coefficients, and tests on the rest.

use super::calibrate::{CalibrateError, CalibrateOptions, Calibrated};
use super::family::{AnyFamily, Draft, OpFamily};
use super::fit_set::{Fitted, SetData, family_split, gather, random_split};
use super::relatives::{Pool, chips_of};
use super::table::OpTable;
use cost::kernels::{KernelSet, Kernels, Profile};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::str::FromStr;

/// One way of carrying over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Study {
    /// Fitted on a random 30 % of the rows, tested on the rest.
    Random,
    /// Fitted on the 70 % with the least work near a sibling's coefficients, tested on the rest.
    Size,
    /// Fitted on some families of shapes, tested on others.
    Shapes,
    /// Coefficients of the other chips, none of this one's rows.
    Foreign,
    /// Fitted on 32 random rows near the other chips' coefficients, tested on the rest.
    Few,
}

impl Study {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Random, Self::Size, Self::Shapes, Self::Foreign, Self::Few];

    /// Its name in flags and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Size => "size",
            Self::Shapes => "shapes",
            Self::Foreign => "foreign",
            Self::Few => "few",
        }
    }

    /// The result of a set that was studied: median and 90th percentile of the absolute relative error.
    pub fn of(self, set: &KernelSet) -> Option<[f64; 2]> {
        match self {
            Self::Random => set.errors.random,
            Self::Size => set.errors.size,
            Self::Shapes => set.errors.family,
            Self::Foreign => set.errors.zero_shot,
            Self::Few => set.errors.few_shot,
        }
    }
}

/// A text that is no study.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a study; use random, size, shapes, foreign or few")]
pub struct UnknownStudy(
    /// What was given.
    pub String,
);

impl FromStr for Study {
    type Err = UnknownStudy;

    fn from_str(text: &str) -> Result<Self, UnknownStudy> {
        Self::ALL.into_iter().find(|study| study.name() == text).ok_or_else(|| UnknownStudy(text.to_owned()))
    }
}

/// Studies every set of the catalog's profiles that has rows in `tables`, and gives the profiles with those errors
/// renewed; sets without rows and everything else in them stay as they are.
///
/// # Errors
/// If a table is malformed or of no known kind, a chip is not in the catalog, or no set of the catalog has rows here.
pub fn study_ops(
    tables: &[OpTable],
    families: &[Box<dyn AnyFamily>],
    options: &CalibrateOptions<'_>,
    studies: &[Study],
) -> Result<Vec<Calibrated>, CalibrateError> {
    let mut files: BTreeMap<String, Profile> = BTreeMap::new();
    for table in tables {
        if !families.iter().any(|family| family.accepts(table)) {
            return Err(table.unknown_header().into());
        }
    }
    for family in families.iter().filter(|family| tables.iter().any(|table| family.accepts(table))) {
        for Draft { chip, set } in family.study(tables, options, studies)? {
            let id = format!("{chip}.{}", family.group());
            if !files.contains_key(&id) {
                let text = options.profile(&id).unwrap_or_default();
                files.insert(id.clone(), Profile::parse(text, &id)?);
            }
            let same = |other: &&mut KernelSet| other.data == set.data && other.label() == set.label();
            if let Some(known) = files.get_mut(&id).and_then(|profile| profile.sets.iter_mut().find(same)) {
                *known = set;
            }
        }
    }
    if files.is_empty() {
        return Err(CalibrateError::Empty);
    }
    Ok(files.into_iter().map(|(id, profile)| Calibrated { id, profile }).collect())
}

pub(super) fn study_family<F: OpFamily>(
    family: &F,
    tables: &[OpTable],
    options: &CalibrateOptions<'_>,
    studies: &[Study],
) -> Result<Vec<Draft>, CalibrateError> {
    let mut data = Vec::new();
    let mut shipped = Vec::new();
    for set in gather(family, tables, options)? {
        if let Some(known) = known(family, &set, options)? {
            data.push(set);
            shipped.push(known);
        }
    }
    let chips = chips_of(&data, options)?;
    let pool = Pool { family, data: &data, fitted: &shipped, chips: &chips };
    let mut drafts: Vec<Draft> = (0..data.len())
        .into_par_iter()
        .map(|at| study_set(&pool, at, options, studies))
        .collect::<Result<_, CalibrateError>>()?;
    if studies.contains(&Study::Foreign) && chips.len() > 1 {
        drafts.extend(generic_spreads(&pool, options)?);
    }
    Ok(drafts)
}

/// The catalog's generic sets of the family with the spread that chips left out of the medians see.
fn generic_spreads<F: OpFamily>(
    pool: &Pool<'_, F>,
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Draft>, CalibrateError> {
    let id = format!("{}.{}", Kernels::GENERIC, OpFamily::group(pool.family));
    let Some(text) = options.profile(&id) else { return Ok(Vec::new()) };
    let formats = pool.formats();
    let mut drafts = Vec::new();
    for mut set in Profile::parse(text, &id)?.sets {
        let Some(sets) = formats.get(&set.precision).filter(|_| set.family == OpFamily::name(pool.family))
        else {
            continue;
        };
        set.sigma = pool.foreign_spread(sets)?;
        set.transfer_sigma = set.sigma;
        drafts.push(Draft { chip: Kernels::GENERIC.to_owned(), set });
    }
    Ok(drafts)
}

/// The catalog's set for these rows.
fn known<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    options: &CalibrateOptions<'_>,
) -> Result<Option<(Fitted, KernelSet)>, CalibrateError> {
    let id = format!("{}.{}", data.key.chip, OpFamily::group(family));
    let Some(text) = options.profile(&id) else { return Ok(None) };
    let found = Profile::parse(text, &id)?
        .sets
        .into_iter()
        .find(|set| set.family == OpFamily::name(family) && data.key.matches(set) && set.rows > 0);
    let Some(set) = found else { return Ok(None) };
    let specs = family.params(&data.key);
    let params = set.values(&specs)?;
    Ok(Some((Fitted::given(set.structure.clone(), specs, params, set.residual.clone()), set)))
}

fn study_set<F: OpFamily>(
    pool: &Pool<'_, F>,
    at: usize,
    options: &CalibrateOptions<'_>,
    studies: &[Study],
) -> Result<Draft, CalibrateError> {
    let data = &pool.data[at];
    let mut set = pool.fitted[at].1.clone();
    set.held_out = u32::try_from(data.shipped_split().test.len()).unwrap_or(u32::MAX);
    let others = pool.others(at);
    for study in studies {
        if !data.studied() && *study != Study::Foreign {
            continue;
        }
        match study {
            Study::Random => set.errors.random = Some(random_split(pool.family, data, options)?),
            Study::Size => set.errors.size = Some(pool.size_split(at, options)?),
            Study::Shapes => {
                set.errors.family = family_split(pool.family, data, &set.structure, options)?;
            }
            Study::Foreign => {
                set.errors.zero_shot = pool.zero_shot(at, &others)?.map(|stats| stats.median_p90());
            }
            Study::Few if !others.is_empty() => {
                set.errors.few_shot = Some(pool.few_shot(at, &others, options)?);
            }
            Study::Few => {}
        }
    }
    Ok(Draft { chip: data.key.chip.clone(), set })
}
