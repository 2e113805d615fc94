//! Which set prices an operator, and how far it came.

use super::profile::{KernelSet, Profile, ProfileError};
use crate::ops::{Machine, OpCost, Precision};
use hardware::{Chip, Rank};
use std::fmt;
use std::sync::{Arc, OnceLock};
use units::{Dtype, FlopPerSecond};

/// Where the coefficients behind a figure come from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Measured on this chip.
    Measured {
        /// Stack and version.
        stack: String,
        /// Rows fitted.
        rows: u32,
    },
    /// Given for this chip without a row that was fitted: derived from published figures.
    Derived {
        /// Stack and version.
        stack: String,
    },
    /// Measured on another chip, or in another format, and applied to this chip's datasheet.
    Transferred {
        /// Catalog key of the chip measured.
        chip: String,
        /// Family, format, stack and version of the set.
        stack: String,
        /// Rows fitted.
        rows: u32,
    },
    /// Medians over all chips measured.
    Generic,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured { stack, .. } => write!(f, "measured ({stack})"),
            Self::Derived { stack } => write!(f, "derived from published figures ({stack})"),
            Self::Transferred { chip, stack, .. } => write!(f, "transferred from {chip} ({stack})"),
            Self::Generic => f.write_str("generic"),
        }
    }
}

/// The price of an operator with what is known of its quality.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced {
    /// The price.
    pub cost: OpCost,
    /// Where its coefficients come from.
    pub origin: Origin,
    /// Standard deviation of ln(true / predicted time).
    pub sigma: f64,
}

/// What is being looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetQuery<'a> {
    /// Operator family.
    pub family: &'a str,
    /// Formats in the order of preference: the exact one first, then those that behave alike.
    pub precisions: &'a [Precision],
    /// Kernel name, if only one will do.
    pub kernel: Option<&'a str>,
}

/// A set with how far it came.
#[derive(Debug, Clone)]
pub struct Choice {
    /// The set; shared, so that a prepared kernel may keep it.
    pub set: Arc<KernelSet>,
    /// Where it comes from.
    pub origin: Origin,
    /// Standard deviation of ln(true / predicted time) at this distance.
    pub sigma: f64,
}

/// bf16 peak of the largest core among the chips measured: an SM of a GB200.
const LARGEST_CORE: FlopPerSecond = FlopPerSecond::new(16.5e12);

/// The ways a rank's cores may be put to work: each as it is, or as several smaller ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Machines(Vec<Machine>);

impl From<Machine> for Machines {
    fn from(machine: Machine) -> Self {
        Self(vec![machine])
    }
}

impl Machines {
    /// Each with its peak and its memory bandwidth multiplied.
    #[cfg(test)]
    pub(crate) fn scaled(&self, peak: f64, bandwidth: f64) -> Self {
        let better = |machine: &Machine| Machine {
            peak: machine.peak * peak,
            bandwidth: machine.bandwidth * bandwidth,
            ..*machine
        };
        Self(self.0.iter().map(better).collect())
    }

    /// The quickest of the prices that `price` gives.
    pub fn quickest(&self, price: impl Fn(&Machine) -> OpCost) -> OpCost {
        let mut best = price(&self.0[0]);
        for machine in &self.0[1..] {
            let cost = price(machine);
            if cost.time < best.time {
                best = cost;
            }
        }
        best
    }
}

/// The profiles of one chip and its relatives, read once and shared.
#[derive(Debug, Clone)]
pub struct Kernels {
    rank: Rank,
    chip: String,
    architecture: String,
    stacks: Vec<String>,
    /// Per chip, nearest first; the last one holds the generic medians.
    measured: Arc<[ChipProfiles]>,
}

/// The profiles of one chip.
#[derive(Debug)]
struct ChipProfiles {
    chip: String,
    groups: Vec<FamilyGroup>,
}

/// The profile of a group of families, parsed once one of them is asked for: most models need few.
#[derive(Debug)]
struct FamilyGroup {
    name: &'static str,
    id: String,
    text: String,
    parsed: OnceLock<Result<Sets, ProfileError>>,
}

/// What a profile holds.
#[derive(Debug)]
struct Sets {
    architecture: String,
    sets: Vec<Arc<KernelSet>>,
}

impl FamilyGroup {
    fn sets(&self) -> Result<&Sets, ProfileError> {
        let parsed = self.parsed.get_or_init(|| {
            let Profile { architecture, sets, .. } = Profile::parse(&self.text, &self.id)?;
            Ok(Sets { architecture, sets: sets.into_iter().map(Arc::new).collect() })
        });
        parsed.as_ref().map_err(Clone::clone)
    }

    /// Whether it may hold sets of a family. A family that no group is known for may be in any.
    fn may_hold(&self, family: &str) -> bool {
        let group = match family {
            "quantize" => "gemm",
            scan if scan.starts_with("scan") || scan.starts_with("convolution") => "linear_attention",
            other => other,
        };
        let known = |name: &&str| group.starts_with(*name);
        Kernels::GROUPS.iter().find(|name| known(name)).is_none_or(|name| *name == self.name)
    }
}

impl ChipProfiles {
    /// The groups that may hold sets of a family, parsed.
    fn of(&self, family: &str) -> Result<Vec<&Sets>, ProfileError> {
        self.groups.iter().filter(|group| group.may_hold(family)).map(FamilyGroup::sets).collect()
    }
}

/// Why an operator cannot be priced.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum KernelsError {
    /// A profile that cannot be used.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Nothing measured, borrowed or generic.
    #[error(
        "no kernel coefficients for `{family}` in {precision} on `{chip}`; add a profile to the catalog or calibrate one"
    )]
    Missing {
        /// Operator family.
        family: String,
        /// Formats wanted.
        precision: String,
        /// Catalog key of the chip.
        chip: String,
    },
    /// The chip has no matrix unit for it.
    #[error("`{chip}` has no matrix peak for {dtype}; add one under `matrix` in its catalog file")]
    NoPeak {
        /// Catalog key of the chip.
        chip: String,
        /// The format multiplied.
        dtype: Dtype,
    },
}

impl Kernels {
    /// Groups of families, one file each per chip.
    pub const GROUPS: [&'static str; 5] = ["gemm", "attention", "mla", "linear_attention", "moe"];
    /// Catalog key of the medians over all chips.
    pub const GENERIC: &'static str = "generic";

    /// The profiles of `chip` in its order of preference, and the generic ones. `read` gives the text of a catalog entry of
    /// kind `kernels` (ids such as `h100.gemm`) if there is one. `stacks` are the engine's kernel stacks, nearest first.
    pub fn load<T: AsRef<str>>(chip: &Chip, stacks: &[String], read: impl Fn(&str) -> Option<T>) -> Self {
        // What a chip was measured with comes before its relatives, whether or not its file names it.
        let own = Some(chip.id.as_str()).filter(|id| !chip.kernels.iter().any(|key| key == id));
        let named = chip.kernels.iter().map(String::as_str);
        let group = |key: &str, name: &'static str| {
            let id = format!("{key}.{name}");
            let text = read(&id)?.as_ref().to_owned();
            Some(FamilyGroup { name, id, text, parsed: OnceLock::new() })
        };
        let measured = own.into_iter().chain(named).chain([Self::GENERIC]).map(|key| {
            let groups = Self::GROUPS.iter().filter_map(|name| group(key, name)).collect();
            ChipProfiles { chip: key.to_owned(), groups }
        });
        Self {
            rank: chip.rank.clone(),
            chip: chip.id.clone(),
            architecture: chip.family.clone(),
            stacks: stacks.to_vec(),
            measured: measured.collect(),
        }
    }

    /// The same profiles for another engine.
    #[must_use]
    pub fn with_stacks(&self, stacks: &[String]) -> Self {
        Self { stacks: stacks.to_vec(), ..self.clone() }
    }

    /// The rank that operators run on.
    pub fn rank(&self) -> &Rank {
        &self.rank
    }

    /// What a form needs to know of the rank when it multiplies operands of `dtype`.
    ///
    /// # Errors
    /// [`KernelsError::NoPeak`] if the chip cannot multiply them at all.
    pub fn machine(&self, dtype: Dtype) -> Result<Machine, KernelsError> {
        let peak = self.rank.attained_peak(dtype);
        let peak = peak.ok_or_else(|| KernelsError::NoPeak { chip: self.chip.clone(), dtype })?;
        Ok(Machine {
            peak,
            bandwidth: self.rank.bandwidth.value,
            cores: f64::from(self.rank.cores.value),
            l2: self.rank.l2.value,
        })
    }

    /// The ways to use the rank's cores on operands of `dtype`.
    ///
    /// The forms were fitted to cores of at most `LARGEST_CORE`. A larger one (a systolic array of a TPU, say) may work
    /// on several such tiles at a time; on how many is the kernel's choice like that of its tiles, so the quickest counts.
    /// A higher peak opens ways and closes none: no operator gets slower by it.
    ///
    /// # Errors
    /// As [`Kernels::machine`].
    pub fn machines(&self, dtype: Dtype) -> Result<Machines, KernelsError> {
        let whole = self.machine(dtype)?;
        let most = self.rank.peak(Dtype::Bf16).map_or(whole.cores, |peak| (peak / LARGEST_CORE).floor());
        let doubled = std::iter::successors(Some(whole.cores.max(1.0) * 2.0), |cores| Some(cores * 2.0));
        let cut = doubled.take_while(|cores| *cores <= most).map(|cores| Machine { cores, ..whole });
        Ok(Machines(std::iter::once(whole).chain(cut).collect()))
    }

    /// The nearest set: the exact formats before those that behave alike, this chip before its relatives, the
    /// preferred stacks before others, and the generic medians last. Sets that measured the host are passed over.
    ///
    /// # Errors
    /// [`KernelsError::Missing`] if there is none; a profile that cannot be read.
    pub fn select(&self, query: &SetQuery<'_>) -> Result<Choice, KernelsError> {
        self.candidates(query)?.into_iter().next().ok_or_else(|| KernelsError::Missing {
            family: query.family.to_owned(),
            precision: query.precisions.first().map_or_else(String::new, |p| p.weight.to_string()),
            chip: self.chip.clone(),
        })
    }

    /// Every set that would do, nearest first; see [`Kernels::select`]. Sets of one chip and stack that differ in
    /// their kernel stand side by side, those with more rows first.
    ///
    /// # Errors
    /// A profile that cannot be read.
    pub fn candidates(&self, query: &SetQuery<'_>) -> Result<Vec<Choice>, KernelsError> {
        let (measured, generic) = self.measured.split_at(self.measured.len().saturating_sub(1));
        let wanted = |set: &&Arc<KernelSet>, precision: &Precision| {
            set.family == query.family
                && set.precision == *precision
                && !set.host_bound
                && query.kernel.is_none_or(|kernel| set.kernel == kernel)
        };
        let mut found = Vec::new();
        for chips in [measured, generic] {
            for precision in query.precisions {
                let exact = query.precisions.first() == Some(precision);
                for chip in chips {
                    let groups = chip.of(query.family)?;
                    let sets = groups.iter().flat_map(|group| {
                        let here = group.sets.iter().filter(|set| wanted(set, precision));
                        here.map(|set| (group.architecture.as_str(), set))
                    });
                    let mut here: Vec<_> = sets.collect();
                    here.sort_by(|(_, a), (_, b)| {
                        (self.stack_rank(&a.stack), std::cmp::Reverse(a.rows))
                            .cmp(&(self.stack_rank(&b.stack), std::cmp::Reverse(b.rows)))
                            .then_with(|| b.version.cmp(&a.version))
                    });
                    for (architecture, set) in here {
                        found.push(self.choice(&chip.chip, architecture, set, exact)?);
                    }
                }
            }
        }
        Ok(found)
    }

    fn stack_rank(&self, stack: &str) -> usize {
        self.stacks.iter().position(|wanted| wanted == stack).unwrap_or(self.stacks.len())
    }

    fn choice(
        &self,
        chip: &str,
        architecture: &str,
        set: &Arc<KernelSet>,
        exact: bool,
    ) -> Result<Choice, KernelsError> {
        let stack = format!("{} {}", set.stack, set.version).trim().to_owned();
        let own = chip == self.chip;
        let origin = match chip {
            Self::GENERIC => Origin::Generic,
            _ if own && exact && set.rows == 0 => Origin::Derived { stack },
            _ if own && exact => Origin::Measured { stack, rows: set.rows },
            key => Origin::Transferred { chip: key.to_owned(), stack: set.label(), rows: set.rows },
        };
        let sigma = match origin {
            Origin::Measured { .. } | Origin::Derived { .. } => set.sigma,
            Origin::Transferred { .. } if own || architecture == self.architecture => set.transfer_sigma,
            Origin::Transferred { .. } => set.transfer_sigma.max(self.foreign_sigma(set)?),
            Origin::Generic => set.transfer_sigma,
        };
        Ok(Choice { set: Arc::clone(set), origin, sigma })
    }

    /// What a chip of another architecture has to expect of a set like this: the spread that the generic medians earned
    /// on chips of architectures that were left out of them.
    fn foreign_sigma(&self, set: &KernelSet) -> Result<f64, KernelsError> {
        let generic = self.measured.iter().filter(|measured| measured.chip == Self::GENERIC);
        let generic = generic.map(|measured| measured.of(&set.family)).collect::<Result<Vec<_>, _>>()?;
        let widest = |precise: bool| {
            let sets = generic.iter().flatten().flat_map(|group| &group.sets);
            sets.filter(|other| other.family == set.family)
                .filter(|other| !precise || other.precision == set.precision)
                .map(|other| other.transfer_sigma)
                .fold(0.0, f64::max)
        };
        let precise = widest(true);
        Ok(if precise > 0.0 { precise } else { widest(false) })
    }
}
