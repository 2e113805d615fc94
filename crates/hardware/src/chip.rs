//! A chip: a package of one or more ranks, each with its own compute, memory and ports.

use crate::date::Date;
use crate::evidence::{Fact, Grade, Source};
use std::collections::BTreeMap;
use units::{Bytes, BytesPerSecond, Dollars, Dtype, FlopPerSecond, Seconds, SquareMillimetres, Watts};

/// A package as it is bought and counted.
///
/// A *rank* is what software sees as one device. An Ascend 910C package is two ranks (its two dies have their own
/// memory and ports); an NVIDIA B200 package is one rank although it holds two dies.
#[derive(Debug, Clone, PartialEq)]
pub struct Chip {
    /// Catalog key, for example `ascend-910c`.
    pub id: String,
    /// The vendor's name for it.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// Micro-architecture family, for example `hopper` or `davinci`; coefficients transfer best inside one.
    pub family: String,
    /// Other names that resolve to it.
    pub aliases: Vec<String>,
    /// Ranks in one package.
    pub ranks: u32,
    /// One of them.
    pub rank: Rank,
    /// One-direction bandwidth and latency between two ranks of one package, where there are two.
    pub package_link: Option<(Fact<BytesPerSecond>, Fact<Seconds>)>,
    /// The port of one rank into its scale-up fabric.
    pub scale_up: Option<Port>,
    /// The network port of one rank.
    pub scale_out: Option<Port>,
    /// When it was, or is said to be, first sold.
    pub release: Option<Fact<Date>>,
    /// Power of the package that its peak rates are stated at: its thermal design power as the catalog has it, whatever
    /// `tdp` is set to.
    pub rating: Option<Watts>,
    /// Thermal design power of the package, or what it is capped at.
    pub tdp: Option<Fact<Watts>>,
    /// Power of the package when nothing runs.
    pub idle: Option<Fact<Watts>>,
    /// Power of the package while kernels run on all of it, before what they read and multiply is counted.
    pub active: Option<Fact<Watts>>,
    /// Logic die area of the package, which export rules count.
    pub die_area: Option<Fact<SquareMillimetres>>,
    /// Sum of both directions of all chip-to-chip ports of the package.
    pub interconnect_bidirectional: Option<Fact<BytesPerSecond>>,
    /// Kernel profiles to price operators with, nearest first: its own if it has been measured, else its relatives'.
    pub kernels: Vec<String>,
    /// Price of the package alone.
    pub price: Option<Fact<Dollars>>,
    /// Catalog key of the system it usually sits in.
    pub system: Option<String>,
    /// Catalog key of the engine that usually serves on it.
    pub engine: Option<String>,
    /// What the facts' source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

/// A port of one rank.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// One-direction bandwidth.
    pub bandwidth: Fact<BytesPerSecond>,
    /// Link class, as in [`crate::Domain::link`].
    pub link: String,
}

/// One device as software sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rank {
    /// Dense peak of the matrix units by the format multiplied.
    pub matrix: BTreeMap<Dtype, Fact<FlopPerSecond>>,
    /// Rate of large matrix products over what the coefficients of its relatives make of the peak, by the format multiplied:
    /// where it is known of a chip that is priced with another's coefficients.
    pub attained: BTreeMap<Dtype, Fact<f64>>,
    /// Peak of the vector units in 32-bit (or the widest stated) arithmetic.
    pub vector: Option<Fact<FlopPerSecond>>,
    /// Streaming multiprocessors, AI cores or compute units.
    pub cores: Fact<u32>,
    /// Last-level on-chip cache.
    pub l2: Fact<Bytes>,
    /// Usable device memory.
    pub memory: Fact<Bytes>,
    /// Peak memory bandwidth.
    pub bandwidth: Fact<BytesPerSecond>,
}

impl Rank {
    /// The format the matrix units run for operands of format `wanted`: itself if there is a peak for it, else the
    /// narrowest supported format at least as wide (a chip without FP8 multiplies FP8 weights in BF16).
    pub fn compute_dtype(&self, wanted: Dtype) -> Option<Dtype> {
        let same_unit: &[Dtype] = match wanted {
            Dtype::Fp8Block | Dtype::Fp8 | Dtype::Mxfp8 | Dtype::Hif8 => {
                &[wanted, Dtype::Fp8, Dtype::Mxfp8, Dtype::Bf16, Dtype::Fp16]
            }
            Dtype::Nvfp4 | Dtype::Mxfp4 => {
                &[wanted, Dtype::Mxfp4, Dtype::Nvfp4, Dtype::Fp8, Dtype::Mxfp8, Dtype::Bf16, Dtype::Fp16]
            }
            Dtype::Int8 => &[Dtype::Int8, Dtype::Fp8, Dtype::Bf16, Dtype::Fp16],
            Dtype::Int4 => &[Dtype::Bf16, Dtype::Fp16],
            Dtype::Bf16 => &[Dtype::Bf16, Dtype::Fp16],
            Dtype::Fp16 => &[Dtype::Fp16, Dtype::Bf16],
            Dtype::Tf32 => &[Dtype::Tf32, Dtype::Fp32],
            Dtype::Fp32 => &[Dtype::Fp32, Dtype::Tf32],
        };
        same_unit.iter().copied().find(|dtype| self.matrix.contains_key(dtype))
    }

    /// Dense peak when multiplying operands of format `wanted`, by the rule of [`Rank::compute_dtype`].
    pub fn peak(&self, wanted: Dtype) -> Option<FlopPerSecond> {
        self.compute_dtype(wanted).map(|dtype| self.matrix[&dtype].value)
    }

    /// The peak that coefficients borrowed from another chip are applied to: less than [`Rank::peak`] where large products are
    /// known to reach less of it than on the chip that lends them.
    pub fn attained_peak(&self, wanted: Dtype) -> Option<FlopPerSecond> {
        let dtype = self.compute_dtype(wanted)?;
        let share = self.attained.get(&dtype).map_or(1.0, |fact| fact.value);
        Some(self.matrix[&dtype].value * share)
    }
}

impl Chip {
    /// Catalog key of the system to put it in where none is asked for.
    pub fn usual_system(&self) -> &str {
        self.system.as_deref().unwrap_or("generic-8")
    }

    /// Standard deviation of ln(true / stated) that the evidence of the figures behind times adds to them: nothing where the
    /// vendor or those who quote it say so, more where a peak or the memory bandwidth is assumed, most where it is a rumour
    /// (figures read for the 910D before and after its cancellation was reported lie within a factor of 1.5).
    pub fn spread(&self) -> f64 {
        let peaks = self.rank.matrix.values().map(|fact| fact.grade);
        match peaks.chain([self.rank.bandwidth.grade]).max() {
            Some(Grade::Rumour) => 0.25,
            Some(Grade::Assumed) => 0.1,
            _ => 0.0,
        }
    }

    /// Price of the package with its share of a machine, where the package alone has one.
    ///
    /// The share is 15 % of the package: what host, board, cooling and ports come to in servers of eight whose price and
    /// whose chips' price are both known. Assumed for any chip.
    pub fn price_in_a_machine(&self) -> Option<Fact<Dollars>> {
        let price = self.price.as_ref()?;
        let note = format!("{} for the chip plus 15 % for its share of the machine", price.value);
        Some(Fact {
            note: Some(note),
            grade: price.grade.max(Grade::Assumed),
            ..price.map(|price| *price * 1.15)
        })
    }

    /// How many letters of this chip a statement's `name` gives: the beginning of its catalog key, `vendor:NAME` (none of
    /// them) or `family:NAME` (one); `None` where it names another.
    pub fn named_by(&self, name: &str) -> Option<usize> {
        match name.split_once(':') {
            Some(("vendor", vendor)) => vendor.eq_ignore_ascii_case(&self.vendor).then_some(0),
            Some(("family", family)) => (family == self.family).then_some(1),
            _ => self.id.starts_with(name).then_some(name.len() + 1),
        }
    }

    /// Catalog key of the engine to serve with where none is asked for.
    pub fn usual_engine(&self) -> &str {
        self.engine.as_deref().unwrap_or("vllm")
    }

    /// The weakest grade among the figures that times depend on.
    pub fn grade(&self) -> Grade {
        let rank = &self.rank;
        rank.matrix
            .values()
            .map(|fact| fact.grade)
            .chain([rank.memory.grade, rank.bandwidth.grade])
            .max()
            .unwrap_or(Grade::Assumed)
    }
}
