//! What a family of operators must say of itself to be calibrated and predicted.

use super::calibrate::{CalibrateError, CalibrateOptions};
use super::fit_set;
use super::predict::Prediction;
use super::study::Study;
use super::table::{OpTable, Record, TableError};
use crate::fit::GridOptions;
use crate::ops_attention_linear::LinearFamily;
use crate::ops_attention_mla::{MlaDecodeFamily, MlaPrefillFamily};
use cost::kernels::{KernelSet, ParamSpec, ProfileError};
use cost::ops::{Machine, Precision};
use std::collections::BTreeMap;
use units::{Dtype, Seconds};

/// Structural choices by name, as profiles store them.
pub type Structure = BTreeMap<String, String>;

/// What rows are grouped by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SetKey {
    /// Catalog key of the chip.
    pub chip: String,
    /// Software that launched the kernel.
    pub stack: String,
    /// Its version.
    pub version: String,
    /// Kernel or library name; empty where unknown.
    pub kernel: String,
    /// Formats of the operands (weights or cache, activations or queries).
    pub precision: Precision,
}

impl SetKey {
    /// Whether a fitted set of a profile for this key's chip is the one for these rows.
    pub fn matches(&self, set: &KernelSet) -> bool {
        self.stack == set.stack
            && self.version == set.version
            && self.kernel == set.kernel
            && self.precision == set.precision
    }
}

/// One measured row.
#[derive(Debug, Clone, PartialEq)]
pub struct OpRow<Shape> {
    /// The set it belongs to.
    pub key: SetKey,
    /// Its shape.
    pub shape: Shape,
    /// Measured time.
    pub time: Seconds,
}

/// A form as the fit calls it: coefficient values and a shape to seconds.
pub type Form<'a, Shape> = Box<dyn Fn(&[f64], &Shape) -> f64 + Send + Sync + 'a>;

/// A family of operators with its form.
///
/// A family that lives in the same profile file as others names the same group. Only these methods are particular to
/// it; splitting, searching, fitting and reporting are not its business.
pub trait OpFamily: Sync {
    /// What the form needs of a row.
    type Shape: Clone + Send + Sync;

    /// Its name in profiles, for example `gemm`.
    fn name(&self) -> &'static str;

    /// The profile file it lives in: one of [`cost::kernels::Kernels::GROUPS`].
    fn group(&self) -> &'static str;

    /// The form's name in profiles, for example `wave12`.
    fn form(&self) -> &'static str;

    /// Whether a table with this header may hold rows of the family.
    fn accepts(&self, table: &OpTable) -> bool;

    /// The row a record is, or `None` if it belongs to another family of the same table or measures nothing.
    ///
    /// # Errors
    /// If a field is malformed.
    fn read(&self, record: &Record<'_>) -> Result<Option<OpRow<Self::Shape>>, TableError>;

    /// The shape as text, its columns joined with commas: equal shapes are averaged, and the shipped split goes by it.
    fn shape_key(&self, shape: &Self::Shape) -> String;

    /// The format whose matrix peak the form is given.
    fn multiplied(&self, key: &SetKey) -> Dtype {
        key.precision.activation
    }

    /// Coefficients with bounds and priors for such a set.
    fn params(&self, key: &SetKey) -> Vec<ParamSpec>;

    /// Weight of the priors against the rows; see [`crate::fit::FitOptions::prior_weight`].
    fn prior_weight(&self) -> f64 {
        crate::fit::FitOptions::default().prior_weight
    }

    /// Starting points of the search besides the priors' centres.
    fn starts(&self, key: &SetKey) -> Vec<Vec<f64>> {
        let _ = key;
        Vec::new()
    }

    /// Structures to choose among.
    fn structures(&self, key: &SetKey) -> Vec<Structure>;

    /// The form of a structure on a machine, as benchmarks measure it.
    ///
    /// # Errors
    /// If the structure is not one of this family's.
    fn compile<'a>(
        &'a self,
        key: &SetKey,
        structure: &Structure,
        machine: Machine,
    ) -> Result<Form<'a, Self::Shape>, ProfileError>;

    /// A measure of work by which the largest rows are told, for the size split.
    fn work(&self, shape: &Self::Shape) -> f64;

    /// Whether the split by families of shapes fits this one (`true`), tests it (`false`) or leaves it out.
    fn trains(&self, shape: &Self::Shape) -> Option<bool>;

    /// Names of the residual's features, which the cost crate reads in the same order.
    fn features(&self) -> &'static [&'static str];

    /// Their values, positive.
    fn feature_values(&self, shape: &Self::Shape) -> Vec<f64>;

    /// Axes and grids of the residual for rows with these feature values.
    fn grids(&self, features: &[Vec<f64>]) -> GridOptions;

    /// Time of its quickest row above which a set is taken to measure the host rather than the kernel.
    fn host_floor(&self) -> Seconds {
        Seconds::new(5e-5)
    }

    /// Different shapes below which a set leans on a relative's coefficients.
    fn few_rows(&self) -> usize {
        64
    }

    /// Different shapes from which the rows held out, and splits of them, say something.
    fn study_rows(&self) -> usize {
        100
    }

    /// Sets that behave enough alike to borrow coefficients from when there are none in a format.
    fn alike(&self, precision: Precision) -> Vec<Precision> {
        cost::kernels::alike(precision)
    }
}

/// One fitted set on its way into a profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// Catalog key of the chip.
    pub chip: String,
    /// The set.
    pub set: KernelSet,
}

/// [`OpFamily`] without its shape type, so that families can stand in one list.
pub trait AnyFamily: Sync {
    /// Its name in profiles.
    fn name(&self) -> &'static str;

    /// The profile file it lives in.
    fn group(&self) -> &'static str;

    /// Whether a table with this header may hold rows of the family.
    fn accepts(&self, table: &OpTable) -> bool;

    /// Fits every set in the tables.
    ///
    /// # Errors
    /// If a row is malformed, a chip unknown, or a set has nothing to be fitted from.
    fn calibrate(
        &self,
        tables: &[OpTable],
        options: &CalibrateOptions<'_>,
    ) -> Result<Vec<Draft>, CalibrateError>;

    /// Predicts every row of a table that belongs to the family.
    ///
    /// # Errors
    /// If a row is malformed.
    fn predict(
        &self,
        table: &OpTable,
        options: &CalibrateOptions<'_>,
    ) -> Result<Vec<Prediction>, CalibrateError>;

    /// Measures how well the catalog's sets of the tables carry over: the same sets with those errors renewed.
    ///
    /// # Errors
    /// If a row is malformed, a chip unknown or a profile unreadable.
    fn study(
        &self,
        tables: &[OpTable],
        options: &CalibrateOptions<'_>,
        studies: &[Study],
    ) -> Result<Vec<Draft>, CalibrateError>;
}

impl<F: OpFamily> AnyFamily for F {
    fn name(&self) -> &'static str {
        OpFamily::name(self)
    }

    fn group(&self) -> &'static str {
        OpFamily::group(self)
    }

    fn accepts(&self, table: &OpTable) -> bool {
        OpFamily::accepts(self, table)
    }

    fn calibrate(
        &self,
        tables: &[OpTable],
        options: &CalibrateOptions<'_>,
    ) -> Result<Vec<Draft>, CalibrateError> {
        fit_set::calibrate_family(self, tables, options)
    }

    fn predict(
        &self,
        table: &OpTable,
        options: &CalibrateOptions<'_>,
    ) -> Result<Vec<Prediction>, CalibrateError> {
        super::predict::predict_family(self, table, options)
    }

    fn study(
        &self,
        tables: &[OpTable],
        options: &CalibrateOptions<'_>,
        studies: &[Study],
    ) -> Result<Vec<Draft>, CalibrateError> {
        super::study::study_family(self, tables, options, studies)
    }
}

/// Every family that tables are searched for, in the order of their profiles.
pub fn families() -> Vec<Box<dyn AnyFamily>> {
    let mut all: Vec<Box<dyn AnyFamily>> = vec![
        Box::new(crate::ops_gemm::GemmFamily),
        Box::new(crate::ops_gemm::QuantizeFamily),
        Box::new(crate::ops_attention::PrefillFamily),
        Box::new(crate::ops_attention::DecodeFamily),
        Box::new(MlaPrefillFamily { module: false }),
        Box::new(MlaDecodeFamily { module: false }),
        Box::new(MlaPrefillFamily { module: true }),
        Box::new(MlaDecodeFamily { module: true }),
        Box::new(crate::ops_moe::MoeFamily::default()),
    ];
    for family in LinearFamily::ALL {
        all.push(Box::new(family));
    }
    for family in crate::ops_comm::CommFamily::ALL {
        all.push(Box::new(family));
    }
    all
}
