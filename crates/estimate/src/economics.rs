//! Watts, money and carbon of a deployment that runs all the time.

use units::{
    Dollars, DollarsPerHour, DollarsPerKilowattHour, GramsCo2, GramsCo2PerKilowattHour, Joules, Seconds,
    TokensPerSecond, Watts,
};

/// What a site pays and emits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Site {
    /// Price of electricity.
    pub electricity: DollarsPerKilowattHour,
    /// Facility power over IT power.
    pub pue: f64,
    /// Carbon intensity of the electricity.
    pub carbon: GramsCo2PerKilowattHour,
    /// Time over which bought hardware is written off.
    pub lifetime: Seconds,
}

/// How chips are paid for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ownership {
    /// At a rate per package that includes its power.
    Rented(DollarsPerHour),
    /// Bought, with electricity on top.
    Bought(Dollars),
}

/// What tokens cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenCost {
    /// At the plug of the facility, per token.
    pub energy: Joules,
    /// Per million tokens.
    pub money: Option<Dollars>,
    /// Per million tokens.
    pub carbon: GramsCo2,
}

/// Cost of tokens that `chips` packages drawing `power` (IT) make at `rate`.
pub fn token_cost(
    site: &Site,
    ownership: Option<Ownership>,
    chips: f64,
    power: Watts,
    rate: TokensPerSecond,
) -> TokenCost {
    let facility = power * site.pue;
    let energy = Joules::new(facility.get() / rate.get());
    let kilowatt_hours_per_million = energy.kilowatt_hours() * 1e6;
    let electricity = Dollars::new(kilowatt_hours_per_million * site.electricity.get());
    let hours_per_million = 1e6 / rate.get() / 3600.0;
    let money = ownership.map(|ownership| match ownership {
        Ownership::Rented(rent) => Dollars::new(rent.get() * chips * hours_per_million),
        Ownership::Bought(price) => {
            let hourly = price / (site.lifetime.get() / 3600.0);
            hourly * chips * hours_per_million + electricity
        }
    });
    TokenCost { energy, money, carbon: GramsCo2::new(kilowatt_hours_per_million * site.carbon.get()) }
}
