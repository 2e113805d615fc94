//! Watts, money and carbon of a deployment that runs all the time.
//!
//! Energy is at the facility's plug everywhere: what the chips and the machines around them draw, times the PUE. Money is
//! counted on one basis per comparison, see [`Basis`]; what has no price on it has no cost.

use crate::chip::Chip;
use crate::economics::{Basis, Prices};
use crate::evidence::Grade;
use crate::system::System;
use units::{
    Dollars, DollarsPerHour, DollarsPerKilowattHour, GramsCo2, GramsCo2PerKilowattHour, Joules, Seconds,
    TokensPerSecond, Watts,
};

/// Hours of a year of 365.25 days.
pub const HOURS_PER_YEAR: f64 = 8766.0;

/// What a site pays and emits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// What money is counted on.
    pub basis: Basis,
    /// Price of electricity.
    pub electricity: DollarsPerKilowattHour,
    /// Facility power over IT power.
    pub pue: f64,
    /// Carbon intensity of the electricity.
    pub carbon: GramsCo2PerKilowattHour,
    /// Time over which bought hardware is written off.
    pub lifetime: Seconds,
    /// Cost of capital, a fraction of the purchase per year.
    pub capital: f64,
    /// Network, storage and management around the machines, a fraction of the purchase.
    pub network: f64,
    /// Maintenance and staff, a fraction of the purchase per year.
    pub staff: f64,
    /// Building and cooling per provisioned kilowatt-hour of equipment, electricity excluded.
    pub space: DollarsPerKilowattHour,
}

impl Site {
    /// The site that the catalog's prices describe, paid on `basis`.
    pub fn new(prices: &Prices, basis: Basis) -> Self {
        Self {
            basis,
            electricity: prices.electricity.value,
            pue: prices.pue.value,
            carbon: prices.carbon.value,
            lifetime: prices.depreciation.value,
            capital: prices.capital.value,
            network: prices.network.value,
            staff: prices.staff.value,
            space: prices.space.value,
        }
    }

    /// What a purchase of `price` costs per hour, electricity and space excluded: an annuity of the price and its network at
    /// the cost of capital over the lifetime, and staff.
    ///
    /// The annuity of a price `P` over `n` years at `r` is `P r / (1 - (1 + r)^-n)` a year, and `P / n` without interest.
    pub fn purchase_per_hour(&self, price: Dollars) -> DollarsPerHour {
        let years = self.lifetime.get() / 3600.0 / HOURS_PER_YEAR;
        let invested = price.get() * (1.0 + self.network);
        let annuity = if self.capital > 0.0 {
            self.capital / (1.0 - (1.0 + self.capital).powf(-years))
        } else {
            1.0 / years
        };
        DollarsPerHour::new((invested * annuity + price.get() * self.staff) / HOURS_PER_YEAR)
    }
}

/// How chips are paid for, per package with its share of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ownership {
    /// At a rate that includes power, space and staff.
    Rented {
        /// The rate.
        rent: DollarsPerHour,
        /// How good its evidence is.
        grade: Grade,
    },
    /// Bought; electricity comes on top.
    Bought {
        /// Purchase price.
        price: Dollars,
        /// IT power that space is built for.
        provisioned: Watts,
        /// How good the evidence of the price is.
        grade: Grade,
    },
}

impl Ownership {
    /// How a package of `system` with `chip` in it is paid for on `basis`; `None` where the catalog has no price on it.
    ///
    /// Where the chip has no power rating, no space is charged for it: nothing is known of it.
    pub fn of(system: &System, chip: &Chip, basis: Basis) -> Option<Self> {
        match basis {
            Basis::Rent => {
                system.hourly.as_ref().map(|fact| Self::Rented { rent: fact.value, grade: fact.grade })
            }
            Basis::Buy => system.price.as_ref().map(|fact| Self::Bought {
                price: fact.value,
                provisioned: chip.tdp.as_ref().map_or(Watts::ZERO, |tdp| tdp.value)
                    + system.overhead_power.value,
                grade: fact.grade,
            }),
        }
    }

    /// How good the evidence of the price is.
    pub fn grade(&self) -> Grade {
        let (Self::Rented { grade, .. } | Self::Bought { grade, .. }) = self;
        *grade
    }

    /// Standard deviation of ln(true / stated) of the price, by the grade of its evidence: what list prices, analysts' figures
    /// and reports of the same thing have been seen to differ by (an NVL72 rack is read from 3.0 to 4.0 million dollars, an
    /// H100 hour from 1.3 to 3.5).
    pub fn spread(&self) -> f64 {
        match self.grade() {
            Grade::Measured | Grade::Official => 0.05,
            Grade::Analyst => 0.15,
            Grade::Rumour | Grade::Assumed => 0.3,
        }
    }

    /// Dollars per package and hour, the electricity that a bought package draws excluded.
    pub fn per_hour(&self, site: &Site) -> DollarsPerHour {
        match self {
            Self::Rented { rent, .. } => *rent,
            Self::Bought { price, provisioned, .. } => {
                let space = provisioned.get() / 1e3 * site.space.get();
                DollarsPerHour::new(site.purchase_per_hour(*price).get() + space)
            }
        }
    }

    /// Dollars for `chips` packages over `elapsed`, with `energy` at the facility's plug where it is known.
    pub fn over(&self, site: &Site, chips: f64, elapsed: Seconds, energy: Option<Joules>) -> Dollars {
        let held = self.per_hour(site).get() * chips * elapsed.get() / 3600.0;
        let electricity = match (self, energy) {
            (Self::Bought { .. }, Some(energy)) => energy.kilowatt_hours() * site.electricity.get(),
            _ => 0.0,
        };
        Dollars::new(held + electricity)
    }

    /// Dollars per hour of `chips` packages that draw `power` (IT) together.
    pub fn running(&self, site: &Site, chips: f64, power: Watts) -> DollarsPerHour {
        let electricity = match self {
            Self::Rented { .. } => 0.0,
            Self::Bought { .. } => power.get() * site.pue / 1e3 * site.electricity.get(),
        };
        DollarsPerHour::new(self.per_hour(site).get() * chips + electricity)
    }
}

/// Standard deviation of ln(true / predicted) of electric power, as used for the bands of energy.
pub const POWER_SPREAD: f64 = 0.2;

/// The same of the carbon intensity of a grid: an hour, or another year, against the yearly mean.
pub const CARBON_SPREAD: f64 = 0.1;

/// What tokens cost; each figure with the standard deviation of ln(true / predicted) behind it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenCost {
    /// What money is counted on.
    pub basis: Basis,
    /// At the plug of the facility, per token.
    pub energy: (Joules, f64),
    /// Per million tokens.
    pub money: Option<(Dollars, f64)>,
    /// How good the evidence of the price is, where there is one.
    pub price_grade: Option<Grade>,
    /// Per million tokens.
    pub carbon: (GramsCo2, f64),
}

/// Cost of tokens that `chips` packages drawing `power` (IT) make at `rate`, whose logarithm is known to `rate_spread`.
pub fn token_cost(
    site: &Site,
    ownership: Option<Ownership>,
    chips: f64,
    power: Watts,
    rate: TokensPerSecond,
    rate_spread: f64,
) -> TokenCost {
    let energy = Joules::new(power.get() * site.pue / rate.get());
    let hours_per_million = 1e6 / rate.get() / 3600.0;
    let money = ownership.map(|ownership| {
        let money = Dollars::new(ownership.running(site, chips, power).get() * hours_per_million);
        (money, rate_spread.hypot(ownership.spread()))
    });
    let carbon = GramsCo2::new(energy.kilowatt_hours() * 1e6 * site.carbon.get());
    let energy_spread = rate_spread.hypot(POWER_SPREAD);
    TokenCost {
        basis: site.basis,
        energy: (energy, energy_spread),
        money,
        price_grade: ownership.map(|ownership| ownership.grade()),
        carbon: (carbon, energy_spread.hypot(CARBON_SPREAD)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Site {
        let prices = crate::Catalog::builtin().prices("us").expect("the default region has prices");
        Site::new(&prices, Basis::Buy)
    }

    #[test]
    fn an_annuity_without_interest_is_the_price_over_its_lifetime() {
        let site = Site { capital: 0.0, network: 0.0, staff: 0.0, ..site() };
        let hours = site.lifetime.get() / 3600.0;
        let hourly = site.purchase_per_hour(Dollars::new(hours));
        assert!((hourly.get() - 1.0).abs() < 1e-9, "{hourly}");
    }

    /// 1000 dollars over four years at 10 %: 315.47 a year (any annuity table).
    #[test]
    fn an_annuity_with_interest_is_that_of_the_tables() {
        let lifetime = Seconds::new(4.0 * HOURS_PER_YEAR * 3600.0);
        let site = Site { capital: 0.1, network: 0.0, staff: 0.0, lifetime, ..site() };
        let yearly = site.purchase_per_hour(Dollars::new(1000.0)).get() * HOURS_PER_YEAR;
        assert!((yearly - 315.47).abs() < 0.01, "{yearly}");
    }

    #[test]
    fn rent_holds_electricity_and_a_purchase_does_not() {
        let site = site();
        let power = Watts::new(1000.0);
        let rented = Ownership::Rented { rent: DollarsPerHour::new(2.0), grade: Grade::Analyst };
        assert_eq!(rented.running(&site, 1.0, power), rented.running(&site, 1.0, Watts::ZERO));
        let bought =
            Ownership::Bought { price: Dollars::new(30_000.0), provisioned: power, grade: Grade::Analyst };
        assert!(bought.running(&site, 1.0, power) > bought.running(&site, 1.0, Watts::ZERO));
    }
}
