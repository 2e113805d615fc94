//! What sets of other chips are good for: priors, zero-shot predictions, the medians of a generic chip.

use super::calibrate::{CalibrateError, CalibrateOptions};
use super::family::{Draft, OpFamily, SetKey, Structure};
use super::fit_set::{Fitted, SetData, few_rows_options, fit_rows, set_options};
use crate::fit::{Fit, FitOptions};
use crate::stats::{ErrorStats, Split, median};
use cost::kernels::{Errors, KernelSet, Kernels, ParamSpec, Residual, SetQuery};
use hardware::Chip;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Where a fit starts: coefficients with priors, structures to choose among, further starts.
#[derive(Debug, Clone)]
pub(super) struct Prior {
    pub(super) specs: Vec<ParamSpec>,
    pub(super) structures: Vec<Structure>,
    pub(super) starts: Vec<Vec<f64>>,
}

/// Spread of a few-row fit around a relative's coefficients, in ln; latencies differ more between chips.
const FEW_ROWS_SD: f64 = 0.4;
const FEW_ROWS_LATENCY_SD: f64 = 1.0;
/// Spread and weight that keep a fit which lacks the large sizes near its sibling's coefficients.
const SIBLING_SD: f64 = 0.1;
const SIBLING_WEIGHT: f64 = 20.0;

impl Prior {
    /// The family's own priors and every structure.
    pub(super) fn fresh<F: OpFamily>(family: &F, key: &SetKey) -> Self {
        Self { specs: family.params(key), structures: family.structures(key), starts: family.starts(key) }
    }

    /// Centred on a relative's coefficients for a fit of few rows: its structure first, but others if they fit better.
    fn near<F: OpFamily>(
        family: &F,
        key: &SetKey,
        values: &BTreeMap<String, f64>,
        structure: &Structure,
    ) -> Self {
        let mut prior = Self::at(family, key, values, structure, [FEW_ROWS_SD, FEW_ROWS_LATENCY_SD]);
        let others = family.structures(key).into_iter().filter(|other| other != structure);
        prior.structures.extend(others);
        prior
    }

    /// Centred on another set's coefficients and bound to its structure.
    fn at<F: OpFamily>(
        family: &F,
        key: &SetKey,
        values: &BTreeMap<String, f64>,
        structure: &Structure,
        sd: [f64; 2],
    ) -> Self {
        let specs = family
            .params(key)
            .into_iter()
            .map(|spec| match values.get(spec.name) {
                Some(value) => {
                    let sd = if spec.is_latency() { sd[1] } else { sd[0] };
                    spec.with_prior(value.clamp(spec.lower, spec.upper), sd)
                }
                None => spec,
            })
            .collect();
        Self { specs, structures: vec![structure.clone()], starts: Vec::new() }
    }
}

/// The nearest set that the catalog's profiles have for these rows, as a prior for a few-row fit.
pub(super) fn from_catalog<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    options: &CalibrateOptions<'_>,
) -> Result<Option<Prior>, CalibrateError> {
    let chip = options.chip(&data.key.chip)?;
    let kernels = Kernels::load(&chip, std::slice::from_ref(&data.key.stack), |id| options.profile(id))?;
    let precisions = family.alike(data.key.precision);
    let query = SetQuery { family: family.name(), precisions: &precisions, kernel: None };
    Ok(kernels.select(&query).ok().map(|choice| {
        let set = &choice.set;
        Prior::near(family, &data.key, &set.params, &set.structure)
    }))
}

/// Adds to each set what only the others can tell: the size split with a sibling's prior, the zero-shot error, what a
/// borrower may expect; and drafts the generic sets.
pub(super) fn finish<F: OpFamily>(
    family: &F,
    data: &[SetData<F::Shape>],
    fitted: Vec<(Fitted, KernelSet)>,
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Draft>, CalibrateError> {
    let chips: BTreeMap<String, Chip> = data
        .iter()
        .map(|data| Ok((data.key.chip.clone(), options.chip(&data.key.chip)?)))
        .collect::<Result<_, CalibrateError>>()?;
    let pool = Pool { family, data, fitted: &fitted, chips: &chips };
    if chips.len() < 2 {
        let drafts = data.iter().zip(&fitted);
        return Ok(drafts
            .map(|(data, (_, set))| Draft { chip: data.key.chip.clone(), set: set.clone() })
            .collect());
    }
    let judged: Vec<Judged> =
        (0..data.len()).into_par_iter().map(|at| pool.judge(at, options)).collect::<Result<_, _>>()?;
    let usual = median(&judged.iter().filter_map(|judged| judged.borrower_sigma).collect::<Vec<_>>());
    let mut drafts = Vec::new();
    for ((data, (_, set)), judged) in data.iter().zip(&fitted).zip(&judged) {
        let mut set = set.clone();
        set.errors.size = judged.size;
        set.errors.few_shot = judged.few_shot;
        set.errors.zero_shot = judged.zero_shot.map(|stats| stats.median_p90());
        set.transfer_sigma = judged.borrower_sigma.unwrap_or(usual).max(set.sigma);
        drafts.push(Draft { chip: data.key.chip.clone(), set });
    }
    drafts.extend(pool.generic(&judged));
    Ok(drafts)
}

struct Pool<'a, F: OpFamily> {
    family: &'a F,
    data: &'a [SetData<F::Shape>],
    fitted: &'a [(Fitted, KernelSet)],
    chips: &'a BTreeMap<String, Chip>,
}

#[derive(Debug, Clone, Copy)]
struct Judged {
    size: Option<[f64; 2]>,
    few_shot: Option<[f64; 2]>,
    zero_shot: Option<ErrorStats>,
    /// Spread that chips which list this one's profile see with this set.
    borrower_sigma: Option<f64>,
}

impl<F: OpFamily> Pool<'_, F> {
    fn usable(&self, at: usize) -> bool {
        self.data[at].studied() && !self.fitted[at].1.host_bound
    }

    /// Sets of other chips that could stand in for set `at`: the nearest format that has any.
    fn others(&self, at: usize) -> Vec<usize> {
        let key = &self.data[at].key;
        let other = |i: &usize| self.usable(*i) && self.data[*i].key.chip != key.chip;
        self.family
            .alike(key.precision)
            .into_iter()
            .map(|precision| {
                (0..self.data.len())
                    .filter(other)
                    .filter(|i| self.data[*i].key.precision == precision)
                    .collect::<Vec<usize>>()
            })
            .find(|found| !found.is_empty())
            .unwrap_or_default()
    }

    /// A set of a chip that this one lists as its relative, of the same stack if there is one.
    fn sibling(&self, at: usize) -> Option<usize> {
        let key = &self.data[at].key;
        let listed = &self.chips.get(&key.chip)?.kernels;
        let near = |i: &usize| {
            let other = &self.data[*i].key;
            let chip = listed.iter().position(|chip| *chip == other.chip);
            chip.map(|chip| (other.stack != key.stack, other.kernel != key.kernel, chip))
        };
        self.others(at).into_iter().filter(|i| near(i).is_some()).min_by_key(near)
    }

    /// Component-wise geometric median of several sets with the structure most of them have.
    fn middle(&self, sets: &[usize]) -> (BTreeMap<String, f64>, Structure) {
        let mut columns: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut votes: BTreeMap<&Structure, usize> = BTreeMap::new();
        for at in sets {
            let set = &self.fitted[*at].1;
            for (name, value) in &set.params {
                columns.entry(name.clone()).or_default().push(value.ln());
            }
            *votes.entry(&set.structure).or_default() += 1;
        }
        let values = columns.into_iter().map(|(name, logs)| (name, median(&logs).exp())).collect();
        let structure =
            votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(structure, _)| structure.clone());
        (values, structure.unwrap_or_default())
    }

    /// Coefficients from elsewhere applied to set `at` without any of its rows.
    fn borrowed(&self, at: usize, values: &BTreeMap<String, f64>, structure: &Structure) -> Fitted {
        let specs = self.family.params(&self.data[at].key);
        let params: Vec<f64> =
            specs.iter().map(|spec| values.get(spec.name).copied().unwrap_or(spec.prior)).collect();
        let count = specs.len();
        let fit = Fit {
            params,
            cost: 0.0,
            spread: vec![0.0; count],
            covariance: Vec::new(),
            pinned: vec![false; count],
        };
        Fitted { structure: structure.clone(), specs, fit, residual: Residual::default() }
    }

    fn errors_of(&self, at: usize, fitted: &Fitted) -> Result<ErrorStats, CalibrateError> {
        let all: Vec<usize> = (0..self.data[at].len()).collect();
        Ok(ErrorStats::of(&self.data[at].pairs(self.family, fitted, &all)?))
    }

    fn judge(&self, at: usize, options: &CalibrateOptions<'_>) -> Result<Judged, CalibrateError> {
        let others = self.others(at);
        let zero_shot = if others.is_empty() {
            None
        } else {
            let (values, structure) = self.middle(&others);
            Some(self.errors_of(at, &self.borrowed(at, &values, &structure))?)
        };
        let study = options.study && self.data[at].studied();
        let size = if study { Some(self.size_split(at, options)?) } else { None };
        let few_shot =
            if study && !others.is_empty() { Some(self.few_shot(at, &others, options)?) } else { None };
        Ok(Judged { size, few_shot, zero_shot, borrower_sigma: self.borrowers(at)? })
    }

    /// Fitted on 32 random rows near the medians of other chips, tested on the rest; the mean of three draws.
    fn few_shot(
        &self,
        at: usize,
        others: &[usize],
        options: &CalibrateOptions<'_>,
    ) -> Result<[f64; 2], CalibrateError> {
        const DRAWS: u64 = 3;
        let data = &self.data[at];
        let (values, structure) = self.middle(others);
        let prior = Prior::near(self.family, &data.key, &values, &structure);
        let mut mean = [0.0; 2];
        for draw in 0..DRAWS {
            let split = Split::random(data.len(), 32.0 / data.len() as f64, options.seed + draw);
            let how = few_rows_options(options.seed + draw);
            let fitted = fit_rows(self.family, data, &split.train, &prior, &how)?;
            let errors = ErrorStats::of(&data.pairs(self.family, &fitted, &split.test)?).median_p90();
            mean.iter_mut().zip(errors).for_each(|(mean, error)| *mean += error / DRAWS as f64);
        }
        Ok(mean)
    }

    /// Fitted on the smaller sizes near a sibling's coefficients, tested on the largest.
    fn size_split(&self, at: usize, options: &CalibrateOptions<'_>) -> Result<[f64; 2], CalibrateError> {
        let data = &self.data[at];
        let work: Vec<f64> = data.shapes.iter().map(|shape| self.family.work(shape)).collect();
        let split = Split::size(&work, 0.7);
        let mut how = set_options(self.family, data, options.seed);
        let prior = match self.sibling(at) {
            Some(sibling) => {
                how.fit = FitOptions { prior_weight: SIBLING_WEIGHT, random_starts: 0, ..how.fit };
                let set = &self.fitted[sibling].1;
                let sd = [SIBLING_SD, FEW_ROWS_LATENCY_SD];
                Prior::at(self.family, &data.key, &set.params, &set.structure, sd)
            }
            None => Prior {
                structures: vec![self.fitted[at].0.structure.clone()],
                ..Prior::fresh(self.family, &data.key)
            },
        };
        let fitted = fit_rows(self.family, data, &split.train, &prior, &how)?;
        Ok(ErrorStats::of(&data.pairs(self.family, &fitted, &split.test)?).median_p90())
    }

    /// The spread that other chips see when they borrow set `at`, as [`Kernels`] would let them.
    fn borrowers(&self, at: usize) -> Result<Option<f64>, CalibrateError> {
        let (own, set) = (&self.data[at].key, &self.fitted[at].1);
        let mut seen = Vec::new();
        for i in 0..self.data.len() {
            let other = &self.data[i].key;
            let lists = self.chips.get(&other.chip).is_some_and(|chip| chip.kernels.contains(&own.chip));
            let alike = other.chip != own.chip
                && other.precision == own.precision
                && other.stack == own.stack
                && (other.kernel == own.kernel || !self.has_kernel(&other.chip, own));
            if lists && alike && self.usable(i) && self.usable(at) {
                let mut borrowed = self.borrowed(i, &set.params, &set.structure);
                borrowed.residual = set.residual.clone();
                seen.push(self.errors_of(i, &borrowed)?.sigma);
            }
        }
        Ok((!seen.is_empty()).then(|| median(&seen)))
    }

    /// Whether the chip has a set of the same stack and kernel name as `key`.
    fn has_kernel(&self, chip: &str, key: &SetKey) -> bool {
        self.data.iter().any(|data| {
            data.key.chip == chip
                && data.key.stack == key.stack
                && data.key.kernel == key.kernel
                && data.key.precision == key.precision
        })
    }

    /// One set per format: the medians over all chips, with the spread that a chip left out of them sees.
    fn generic(&self, judged: &[Judged]) -> Vec<Draft> {
        let mut formats: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for at in (0..self.data.len()).filter(|at| self.usable(*at)) {
            formats.entry(self.data[at].key.precision).or_default().push(at);
        }
        formats
            .into_iter()
            .map(|(precision, sets)| {
                let (params, structure) = self.middle(&sets);
                let seen: Vec<ErrorStats> = sets.iter().filter_map(|at| judged[*at].zero_shot).collect();
                let column =
                    |pick: fn(&ErrorStats) -> f64| median(&seen.iter().map(pick).collect::<Vec<_>>());
                let sigma = column(|stats| stats.sigma);
                let set = KernelSet {
                    family: self.family.name().to_owned(),
                    stack: Kernels::GENERIC.to_owned(),
                    version: String::new(),
                    kernel: String::new(),
                    precision,
                    form: self.family.form().to_owned(),
                    structure,
                    params,
                    spread: BTreeMap::new(),
                    pinned: Vec::new(),
                    rows: 0,
                    data: String::new(),
                    sigma,
                    transfer_sigma: sigma,
                    host_bound: false,
                    errors: Errors {
                        zero_shot: Some([column(|stats| stats.median_ape), column(|stats| stats.p90_ape)]),
                        ..Errors::default()
                    },
                    features: Vec::new(),
                    residual: Residual::default(),
                };
                Draft { chip: Kernels::GENERIC.to_owned(), set }
            })
            .collect()
    }
}
