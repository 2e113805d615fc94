//! Prices, carbon intensities and measured power fractions.

use crate::evidence::{Fact, Source};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use units::{DollarsPerHour, DollarsPerKilowattHour, GramsCo2PerKilowattHour, Seconds, Watts};

/// On what basis money is counted. Rent and purchase differ in what they hold, so one comparison uses one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Basis {
    /// A market rate per chip and hour, power, space and staff included.
    Rent,
    /// The purchase over its lifetime with the cost of capital, network, space, staff and electricity.
    #[default]
    Buy,
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Rent => "rent",
            Self::Buy => "buy",
        })
    }
}

/// A text that is no basis.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a cost basis; use rent or buy")]
pub struct ParseBasisError(
    /// What was given.
    pub String,
);

impl FromStr for Basis {
    type Err = ParseBasisError;

    fn from_str(text: &str) -> Result<Self, ParseBasisError> {
        match text {
            "rent" => Ok(Self::Rent),
            "buy" => Ok(Self::Buy),
            other => Err(ParseBasisError(other.to_owned())),
        }
    }
}

/// What the catalog knows of money, carbon and measured power.
#[derive(Debug, Clone, PartialEq)]
pub struct Economics {
    /// Regions by key (`us`, `cn`, `us-texas` ...).
    pub regions: BTreeMap<String, Region>,
    /// Facility power over equipment power, by whose it is.
    pub pue: BTreeMap<String, Fact<f64>>,
    /// Time over which a purchase is written off, by whose practice it is.
    pub depreciation: BTreeMap<String, Fact<Seconds>>,
    /// What an hour of a chip costs with its share of the machine, by chip.
    pub chip_hours: BTreeMap<String, ChipHours>,
    /// Provisioned utility power per chip, by chip; the facility is included.
    pub all_in_power: BTreeMap<String, Fact<Watts>>,
    /// Measured power over the rating, by chip and phase (`h200-decode-low` ...).
    pub power_fraction: BTreeMap<String, Fact<f64>>,
    /// The prices used where nothing else is asked for.
    pub prices: Prices,
    /// What the facts' source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

/// Electricity in one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// Price of electricity as industry buys it; taken from the region around it where it has none of its own.
    pub electricity: Option<Fact<DollarsPerKilowattHour>>,
    /// Carbon intensity of its grid; taken from the region around it where it has none of its own.
    pub carbon: Option<Fact<GramsCo2PerKilowattHour>>,
}

/// What an hour of one chip costs, by how it is had.
#[derive(Debug, Clone, PartialEq)]
pub struct ChipHours {
    /// Rent on a long contract.
    pub rental: Option<Fact<DollarsPerHour>>,
    /// Rent by the hour.
    pub on_demand: Option<Fact<DollarsPerHour>>,
    /// Total cost of ownership of a hyperscaler.
    pub own_hyperscaler: Option<Fact<DollarsPerHour>>,
    /// Total cost of ownership of a smaller cloud company.
    pub own_neocloud: Option<Fact<DollarsPerHour>>,
}

impl ChipHours {
    /// Each kind of cost with the name it has in the catalog.
    pub fn entries(&self) -> [(&'static str, Option<&Fact<DollarsPerHour>>); 4] {
        [
            ("rental", self.rental.as_ref()),
            ("on_demand", self.on_demand.as_ref()),
            ("own_hyperscaler", self.own_hyperscaler.as_ref()),
            ("own_neocloud", self.own_neocloud.as_ref()),
        ]
    }
}

/// One consistent set of prices to compute with.
#[derive(Debug, Clone, PartialEq)]
pub struct Prices {
    /// Price of electricity.
    pub electricity: Fact<DollarsPerKilowattHour>,
    /// Facility power over equipment power.
    pub pue: Fact<f64>,
    /// Carbon intensity of electricity.
    pub carbon: Fact<GramsCo2PerKilowattHour>,
    /// Time over which a purchase is written off.
    pub depreciation: Fact<Seconds>,
    /// Cost of the capital bound in a purchase, as a fraction of it per year.
    pub capital: Fact<f64>,
    /// What the network between the machines, storage and management nodes add to a purchase, as a fraction of its price.
    pub network: Fact<f64>,
    /// Maintenance contracts and staff, as a fraction of the purchase per year.
    pub staff: Fact<f64>,
    /// Building, cooling and power distribution per kilowatt-hour of equipment that is provisioned, whether it is drawn
    /// or not; electricity excluded.
    pub space: Fact<DollarsPerKilowattHour>,
}
