//! What is said of the supply of chips: how many are made, stocked, sold and shipped, and when. Statements with source, date
//! and grade, kept side by side where they disagree.

use crate::date::Date;
use crate::evidence::{Grade, Source};
use std::collections::BTreeMap;
use std::fmt;

/// What a statement is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Matter {
    /// When it is, or is said to become, available.
    Availability,
    /// When first samples are, or were, given out.
    FirstSamples,
    /// When mass shipment begins or began.
    MassShipment,
    /// Packages made in a period.
    Production,
    /// Packages a maker plans to make in a period.
    PlannedProduction,
    /// Packages that could be made in a period with the parts at hand.
    PossibleProduction,
    /// Packages sold in a period.
    Sales,
    /// Machines in use.
    Deployed,
    /// Share of good dies.
    Yield,
    /// Dies in stock.
    DieStock,
    /// Memory stacks in stock.
    MemoryStock,
    /// Parts from abroad.
    ForeignContent,
}

impl Matter {
    /// Whether the figure is packages made in a period, against which a fleet can be held.
    pub fn is_output(self) -> bool {
        matches!(self, Self::Production | Self::PlannedProduction | Self::PossibleProduction)
    }
}

impl fmt::Display for Matter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Availability => "availability",
            Self::FirstSamples => "first samples",
            Self::MassShipment => "mass shipment",
            Self::Production => "production",
            Self::PlannedProduction => "planned production",
            Self::PossibleProduction => "possible production",
            Self::Sales => "sales",
            Self::Deployed => "deployed",
            Self::Yield => "yield",
            Self::DieStock => "die stock",
            Self::MemoryStock => "memory stock",
            Self::ForeignContent => "foreign content",
        })
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// Catalog key of the chip, or the beginning of the keys of its bins (`ascend-910b`).
    pub chip: String,
    /// What it is about.
    pub what: Matter,
    /// Lower and upper bound in `unit`; an upper bound that is missing is not known.
    pub range: Option<(f64, Option<f64>)>,
    /// Unit of the range: packages, dies, stacks, fraction ...
    pub unit: String,
    /// The period or moment it speaks of.
    pub period: Date,
    /// What else it says.
    pub note: Option<String>,
    /// When it was said.
    pub said: Date,
    /// How good the evidence is.
    pub grade: Grade,
    /// Key of its source.
    pub source: String,
}

impl Statement {
    /// The range in words.
    pub fn figure(&self) -> String {
        let number = |value: f64| match value {
            value if self.unit == "fraction" => format!("{:.0} %", value * 100.0),
            value => thousands(value),
        };
        let unit = if self.unit == "fraction" { "" } else { &self.unit };
        match self.range {
            None => String::new(),
            Some((low, Some(high))) if low == high => format!("{} {unit}", number(low)).trim_end().to_owned(),
            Some((low, Some(high))) => {
                format!("{} to {} {unit}", number(low), number(high)).trim_end().to_owned()
            }
            Some((low, None)) => format!("over {} {unit}", number(low)).trim_end().to_owned(),
        }
    }

    /// The share of this output that `packages` come to, lowest and highest; `None` where it is no count of packages.
    pub fn share(&self, packages: f64) -> Option<(f64, f64)> {
        let (low, high) = self.range.filter(|_| self.what.is_output() && self.unit == "packages")?;
        Some((packages / high.unwrap_or(low), packages / low))
    }
}

/// All statements.
#[derive(Debug, Clone, PartialEq)]
pub struct Supply {
    /// By what they are about and the period they speak of.
    pub statements: Vec<Statement>,
    /// What the statements' source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

impl Supply {
    /// What is said of a chip, by its catalog key.
    pub fn of(&self, chip: &str) -> Vec<&Statement> {
        self.statements.iter().filter(|statement| chip.starts_with(&statement.chip)).collect()
    }
}

/// A count with a comma every three digits.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let from_right = digits.chars().rev().enumerate();
    let grouped = from_right.flat_map(|(index, digit)| {
        let comma = (index > 0 && index % 3 == 0).then_some(',');
        comma.into_iter().chain([digit])
    });
    grouped.collect::<Vec<char>>().into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use crate::Catalog;

    #[test]
    fn the_bins_of_a_chip_share_its_statements() {
        let supply = Catalog::builtin().supply().unwrap();
        assert_eq!(supply.of("ascend-910b2").len(), supply.of("ascend-910b4").len());
        assert!(supply.of("ascend-910b2").iter().all(|statement| statement.chip == "ascend-910b"));
        assert!(supply.of("h100").is_empty());
    }

    /// 100 supernodes of 384 packages against 600,000 planned for 2026.
    #[test]
    fn a_fleet_is_a_share_of_what_is_made() {
        let supply = Catalog::builtin().supply().unwrap();
        let plan =
            supply.of("ascend-910c").into_iter().find(|statement| statement.figure() == "600,000 packages");
        let (low, high) = plan.unwrap().share(38_400.0).unwrap();
        assert!((low - 0.064).abs() < 1e-12 && (high - 0.064).abs() < 1e-12);
    }
}
