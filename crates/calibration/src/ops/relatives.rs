//! What sets of other chips are good for: priors, zero-shot predictions, the medians of a generic chip.

use super::calibrate::{CalibrateError, CalibrateOptions};
use super::family::{Draft, OpFamily, SetKey, Structure};
use super::fit_set::{Fitted, SetData, few_rows_options, fit_rows, set_options};
use crate::stats::{ErrorStats, Split, Z80, median, quantile};
use cost::kernels::{Errors, KernelSet, Kernels, Origin, ParamSpec, Residual, SetQuery};
use cost::ops::Precision;
use hardware::Chip;
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Where a fit starts: coefficients with priors, structures to choose among, further starts, and a correction that is
/// taken over.
#[derive(Debug, Clone)]
pub(super) struct Prior {
    pub(super) specs: Vec<ParamSpec>,
    pub(super) structures: Vec<Structure>,
    pub(super) starts: Vec<Vec<f64>>,
    pub(super) base: Residual,
}

/// Spread of a few-row fit around a relative's coefficients, in ln; latencies differ more between chips.
const FEW_ROWS_SD: f64 = 0.4;
const FEW_ROWS_LATENCY_SD: f64 = 1.0;
/// Spread that keeps a fit which lacks the large sizes near its sibling's coefficients.
const SIBLING_SD: f64 = 0.1;

impl Prior {
    /// The family's own priors and every structure.
    pub(super) fn fresh<F: OpFamily>(family: &F, key: &SetKey) -> Self {
        Self {
            specs: family.params(key),
            structures: family.structures(key),
            starts: family.starts(key),
            base: Residual::default(),
        }
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
        let structures = vec![structure.clone()];
        Self { specs, structures, starts: Vec::new(), base: Residual::default() }
    }

    /// Held at a relative's coefficients, structure and correction.
    fn held<F: OpFamily>(family: &F, key: &SetKey, set: &KernelSet) -> Self {
        let sd = [SIBLING_SD, FEW_ROWS_LATENCY_SD];
        let base = if set.corrects(family.features()) { set.residual.clone() } else { Residual::default() };
        Self { base, ..Self::at(family, key, &set.params, &set.structure, sd) }
    }
}

/// The nearest set that the catalog's profiles have for these rows, as a prior for a few-row fit.
pub(super) fn from_catalog<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    options: &CalibrateOptions<'_>,
) -> Result<Option<Prior>, CalibrateError> {
    let chip = options.chip(&data.key.chip)?;
    let kernels = Kernels::load(&chip, std::slice::from_ref(&data.key.stack), |id| options.profile(id));
    let precisions = family.alike(data.key.precision);
    let query = SetQuery { family: family.name(), precisions: &precisions, kernel: None };
    Ok(kernels.candidates(&query)?.first().map(|choice| {
        let set = &choice.set;
        Prior::near(family, &data.key, &set.params, &set.structure)
    }))
}

/// The nearest set of another chip of the same architecture, to hold a fit near.
pub(super) fn held_to_relative<F: OpFamily>(
    family: &F,
    data: &SetData<F::Shape>,
    options: &CalibrateOptions<'_>,
) -> Result<Option<Prior>, CalibrateError> {
    let chip = options.chip(&data.key.chip)?;
    let alike =
        |key: &String| *key != chip.id && options.chip(key).is_ok_and(|other| other.family == chip.family);
    let others =
        Chip { kernels: chip.kernels.iter().filter(|key| alike(key)).cloned().collect(), ..chip.clone() };
    let kernels = Kernels::load(&others, std::slice::from_ref(&data.key.stack), |id| options.profile(id));
    let precisions = [data.key.precision];
    let query = SetQuery { family: family.name(), precisions: &precisions, kernel: None };
    let mut found: Vec<_> = kernels.candidates(&query)?;
    found.retain(|choice| matches!(choice.origin, Origin::Transferred { .. }));
    let same = found
        .iter()
        .find(|choice| choice.set.stack == data.key.stack && choice.set.kernel == data.key.kernel);
    let nearest = same.or(found.first());
    Ok(nearest.map(|choice| Prior::held(family, &data.key, &choice.set)))
}

/// Adds to each set what only the others can tell: the size split with a sibling's prior, the zero-shot error, what a
/// borrower may expect; and drafts the generic sets.
pub(super) fn finish<F: OpFamily>(
    family: &F,
    data: &[SetData<F::Shape>],
    fitted: Vec<(Fitted, KernelSet)>,
    options: &CalibrateOptions<'_>,
) -> Result<Vec<Draft>, CalibrateError> {
    let chips = chips_of(data, options)?;
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
    drafts.extend(pool.generic(&judged)?);
    Ok(drafts)
}

/// Datasheets of the chips that sets were measured on.
pub(super) fn chips_of<Shape: Clone + Send + Sync>(
    data: &[SetData<Shape>],
    options: &CalibrateOptions<'_>,
) -> Result<BTreeMap<String, Chip>, CalibrateError> {
    data.iter().map(|data| Ok((data.key.chip.clone(), options.chip(&data.key.chip)?))).collect()
}

pub(super) struct Pool<'a, F: OpFamily> {
    pub(super) family: &'a F,
    pub(super) data: &'a [SetData<F::Shape>],
    pub(super) fitted: &'a [(Fitted, KernelSet)],
    pub(super) chips: &'a BTreeMap<String, Chip>,
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
    pub(super) fn others(&self, at: usize) -> Vec<usize> {
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
        Fitted::given(structure.clone(), specs, params, Residual::default())
    }

    fn errors_of(&self, at: usize, fitted: &Fitted) -> Result<ErrorStats, CalibrateError> {
        let all: Vec<usize> = (0..self.data[at].len()).collect();
        Ok(ErrorStats::of(&self.data[at].pairs(self.family, fitted, &all)?))
    }

    fn judge(&self, at: usize, options: &CalibrateOptions<'_>) -> Result<Judged, CalibrateError> {
        let others = self.others(at);
        let zero_shot = self.zero_shot(at, &others)?;
        let study = options.study && self.data[at].studied();
        let size = if study { Some(self.size_split(at, options)?) } else { None };
        let few_shot =
            if study && !others.is_empty() { Some(self.few_shot(at, &others, options)?) } else { None };
        Ok(Judged { size, few_shot, zero_shot, borrower_sigma: self.borrowers(at)? })
    }

    /// Errors of the medians of `others`, with none of this set's rows; `None` if there are no others.
    pub(super) fn zero_shot(
        &self,
        at: usize,
        others: &[usize],
    ) -> Result<Option<ErrorStats>, CalibrateError> {
        if others.is_empty() {
            return Ok(None);
        }
        let (values, structure) = self.middle(others);
        self.errors_of(at, &self.borrowed(at, &values, &structure)).map(Some)
    }

    /// Fitted on 32 random rows near the medians of other chips, tested on the rest; the mean of three draws.
    pub(super) fn few_shot(
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
    pub(super) fn size_split(
        &self,
        at: usize,
        options: &CalibrateOptions<'_>,
    ) -> Result<[f64; 2], CalibrateError> {
        let data = &self.data[at];
        let work: Vec<f64> = data.shapes.iter().map(|shape| self.family.work(shape)).collect();
        let split = Split::size(&work, 0.7);
        let mut how = set_options(self.family, data, options.seed);
        let prior = match self.sibling(at) {
            Some(sibling) => {
                how.fit = how.fit.held();
                Prior::held(self.family, &data.key, &self.fitted[sibling].1)
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

    /// Usable sets by format.
    pub(super) fn formats(&self) -> BTreeMap<Precision, Vec<usize>> {
        let mut formats: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for at in (0..self.data.len()).filter(|at| self.usable(*at)) {
            formats.entry(self.data[at].key.precision).or_default().push(at);
        }
        formats
    }

    /// Whether no other chip measured is of this one's architecture, so that leaving it out leaves nothing like it in.
    fn alone(&self, at: usize) -> bool {
        let architecture = |at: usize| self.chips.get(&self.data[at].key.chip).map(|chip| &chip.family);
        (0..self.data.len()).all(|other| {
            self.data[other].key.chip == self.data[at].key.chip || architecture(other) != architecture(at)
        })
    }

    /// The spread that a chip of an architecture nobody has measured sees with the medians of `sets`: of those sets whose
    /// architecture stands alone, or of all of them if none does, but then no less than other formats earned.
    pub(super) fn foreign_spread(&self, sets: &[usize]) -> Result<f64, CalibrateError> {
        let alone =
            |sets: &[usize]| -> Vec<usize> { sets.iter().copied().filter(|at| self.alone(*at)).collect() };
        let foreign = alone(sets);
        if !foreign.is_empty() {
            return self.pooled_spread(&foreign);
        }
        let all: Vec<usize> = (0..self.data.len()).filter(|at| self.usable(*at)).collect();
        Ok(self.pooled_spread(sets)?.max(self.pooled_spread(&alone(&all))?))
    }

    /// The spread that holds 80 % of the rows of `sets`, each priced with the medians of the other chips; every set
    /// counts the same, whatever its size.
    fn pooled_spread(&self, sets: &[usize]) -> Result<f64, CalibrateError> {
        const POINTS: usize = 40;
        let mut pooled = Vec::new();
        for at in sets {
            let others = self.others(*at);
            if others.is_empty() {
                continue;
            }
            let (values, structure) = self.middle(&others);
            let rows: Vec<usize> = (0..self.data[*at].len()).collect();
            let borrowed = self.borrowed(*at, &values, &structure);
            let pairs = self.data[*at].pairs(self.family, &borrowed, &rows)?;
            let mut logs: Vec<f64> = pairs.iter().map(|(p, m)| (p / m).ln().abs()).collect();
            logs.sort_by(f64::total_cmp);
            pooled.extend((0..POINTS).map(|i| quantile(&logs, (i as f64 + 0.5) / POINTS as f64)));
        }
        pooled.sort_by(f64::total_cmp);
        Ok(quantile(&pooled, 0.8) / Z80)
    }

    /// One set per format: the medians over all chips, with the spread that a chip left out of them sees.
    fn generic(&self, judged: &[Judged]) -> Result<Vec<Draft>, CalibrateError> {
        self.formats()
            .into_iter()
            .map(|(precision, sets)| {
                let (params, structure) = self.middle(&sets);
                let seen: Vec<ErrorStats> = sets.iter().filter_map(|at| judged[*at].zero_shot).collect();
                let column =
                    |pick: fn(&ErrorStats) -> f64| median(&seen.iter().map(pick).collect::<Vec<_>>());
                let sigma = self.foreign_spread(&sets)?;
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
                    held_out: 0,
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
                Ok(Draft { chip: Kernels::GENERIC.to_owned(), set })
            })
            .collect()
    }
}
