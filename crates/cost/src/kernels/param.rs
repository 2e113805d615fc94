//! What a coefficient is: its name, unit, meaning, range and where a fit starts from.

/// One coefficient of a form.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ParamSpec {
    /// Its name in profiles.
    pub name: &'static str,
    /// Its unit; empty for a ratio.
    pub unit: &'static str,
    /// What it stands for.
    pub meaning: &'static str,
    /// Smallest value with a physical meaning.
    pub lower: f64,
    /// Largest.
    pub upper: f64,
    /// Centre of the log-normal prior: the median over measured sets.
    pub prior: f64,
    /// Standard deviation of the prior in natural logarithm.
    pub prior_sd: f64,
}

/// A coefficient with the value it has in a set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Param {
    /// What it is.
    pub spec: ParamSpec,
    /// Its value, in the unit of `spec`.
    pub value: f64,
}

impl ParamSpec {
    /// All fields in order.
    pub const fn new(
        name: &'static str,
        unit: &'static str,
        meaning: &'static str,
        lower: f64,
        upper: f64,
        prior: f64,
        prior_sd: f64,
    ) -> Self {
        Self { name, unit, meaning, lower, upper, prior, prior_sd }
    }

    /// The same coefficient with another prior.
    #[must_use]
    pub const fn with_prior(self, prior: f64, prior_sd: f64) -> Self {
        Self { prior, prior_sd, ..self }
    }

    /// Whether it is a latency of the launching software, which a borrowed set keeps as it is, rather than a ratio to
    /// the datasheet.
    pub fn is_latency(&self) -> bool {
        self.unit == "s"
    }
}
