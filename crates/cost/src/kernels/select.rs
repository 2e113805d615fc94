//! Which set prices an operator, and how far it came.

use super::profile::{KernelSet, Profile, ProfileError};
use crate::ops::{Machine, OpCost, Precision};
use hardware::{Chip, Rank};
use std::fmt;
use std::sync::Arc;
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
    shelves: Vec<Shelf>,
}

/// The sets of one chip.
#[derive(Debug, Clone)]
struct Shelf {
    chip: String,
    architecture: String,
    sets: Vec<Arc<KernelSet>>,
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

    /// Reads the profiles of `chip` in its order of preference, and the generic ones. `read` gives the text of a
    /// catalog entry of kind `kernels` (ids such as `h100.gemm`) if there is one. `stacks` are the engine's kernel
    /// stacks, nearest first.
    ///
    /// # Errors
    /// If a profile cannot be read.
    pub fn load<T: AsRef<str>>(
        chip: &Chip,
        stacks: &[String],
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<Self, KernelsError> {
        let mut shelves = Vec::new();
        // What a chip was measured with comes before its relatives, whether or not its file names it.
        let own = Some(chip.id.as_str()).filter(|id| !chip.kernels.iter().any(|key| key == id));
        let named = chip.kernels.iter().map(String::as_str);
        for key in own.into_iter().chain(named).chain([Self::GENERIC]) {
            let mut shelf = Shelf { chip: key.to_owned(), architecture: String::new(), sets: Vec::new() };
            for group in Self::GROUPS {
                let id = format!("{key}.{group}");
                if let Some(text) = read(&id) {
                    let profile = Profile::parse(text.as_ref(), &id)?;
                    shelf.sets.extend(profile.sets.into_iter().map(Arc::new));
                    shelf.architecture = profile.architecture;
                }
            }
            if Some(key) != own || !shelf.sets.is_empty() {
                shelves.push(shelf);
            }
        }
        Ok(Self {
            rank: chip.rank.clone(),
            chip: chip.id.clone(),
            architecture: chip.family.clone(),
            stacks: stacks.to_vec(),
            shelves,
        })
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
        let peak =
            self.rank.peak(dtype).ok_or_else(|| KernelsError::NoPeak { chip: self.chip.clone(), dtype })?;
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
    /// [`KernelsError::Missing`] if there is none.
    pub fn select(&self, query: &SetQuery<'_>) -> Result<Choice, KernelsError> {
        self.candidates(query).into_iter().next().ok_or_else(|| KernelsError::Missing {
            family: query.family.to_owned(),
            precision: query.precisions.first().map_or_else(String::new, |p| p.weight.to_string()),
            chip: self.chip.clone(),
        })
    }

    /// Every set that would do, nearest first; see [`Kernels::select`]. Sets of one chip and stack that differ in
    /// their kernel stand side by side, those with more rows first.
    pub fn candidates(&self, query: &SetQuery<'_>) -> Vec<Choice> {
        let (measured, generic) = self.shelves.split_at(self.shelves.len().saturating_sub(1));
        let mut found = Vec::new();
        for shelves in [measured, generic] {
            for precision in query.precisions {
                for shelf in shelves {
                    let mut here: Vec<&Arc<KernelSet>> = shelf
                        .sets
                        .iter()
                        .filter(|set| {
                            set.family == query.family
                                && set.precision == *precision
                                && !set.host_bound
                                && query.kernel.is_none_or(|kernel| set.kernel == kernel)
                        })
                        .collect();
                    here.sort_by(|a, b| {
                        (self.stack_rank(&a.stack), std::cmp::Reverse(a.rows))
                            .cmp(&(self.stack_rank(&b.stack), std::cmp::Reverse(b.rows)))
                            .then_with(|| b.version.cmp(&a.version))
                    });
                    let exact = query.precisions.first() == Some(precision);
                    found.extend(here.into_iter().map(|set| self.choice(shelf, set, exact)));
                }
            }
        }
        found
    }

    fn stack_rank(&self, stack: &str) -> usize {
        self.stacks.iter().position(|wanted| wanted == stack).unwrap_or(self.stacks.len())
    }

    fn choice(&self, shelf: &Shelf, set: &Arc<KernelSet>, exact: bool) -> Choice {
        let stack = format!("{} {}", set.stack, set.version).trim().to_owned();
        let own = shelf.chip == self.chip;
        let origin = match shelf.chip.as_str() {
            Self::GENERIC => Origin::Generic,
            _ if own && exact && set.rows == 0 => Origin::Derived { stack },
            _ if own && exact => Origin::Measured { stack, rows: set.rows },
            key => Origin::Transferred { chip: key.to_owned(), stack: set.label(), rows: set.rows },
        };
        let sigma = match origin {
            Origin::Measured { .. } | Origin::Derived { .. } => set.sigma,
            Origin::Transferred { .. } if own || shelf.architecture == self.architecture => {
                set.transfer_sigma
            }
            Origin::Transferred { .. } => set.transfer_sigma.max(self.foreign_sigma(set)),
            Origin::Generic => set.transfer_sigma,
        };
        Choice { set: Arc::clone(set), origin, sigma }
    }

    /// What a chip of another architecture has to expect of a set like this: the spread that the generic medians earned
    /// on chips of architectures that were left out of them.
    fn foreign_sigma(&self, set: &KernelSet) -> f64 {
        let generic = self.shelves.iter().filter(|shelf| shelf.chip == Self::GENERIC);
        let widest = |precise: bool| {
            generic
                .clone()
                .flat_map(|shelf| &shelf.sets)
                .filter(|other| other.family == set.family)
                .filter(|other| !precise || other.precision == set.precision)
                .map(|other| other.transfer_sigma)
                .fold(0.0, f64::max)
        };
        let precise = widest(true);
        if precise > 0.0 { precise } else { widest(false) }
    }
}
