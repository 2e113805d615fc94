//! A system of the catalog as nested domains of chips, with what they draw and cost.

use crate::JobsError;
use cluster::Level;
use cluster::file::Machine;
use hardware::{Catalog, DomainKind, System};
use training::goodput::{self, Reliability};

/// What chips and electricity cost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rates {
    /// A chip per hour, electricity aside unless it is rented; `None` where nobody knows.
    pub chip_hour: Option<f64>,
    /// Electricity per kilowatt hour; 0 where a rent includes it.
    pub kilowatt_hour: f64,
    /// Facility power over IT power.
    pub pue: f64,
}

impl Rates {
    /// Dollars for chip-seconds and joules at the chips.
    pub fn money(&self, chip_seconds: f64, joules: f64) -> Option<f64> {
        self.chip_hour
            .map(|hour| chip_seconds / 3600.0 * hour + joules * self.pue / 3.6e6 * self.kilowatt_hour)
    }
}

/// The machine of that name, and what it costs at the region's prices.
///
/// # Errors
/// The catalog lacks the system, its chip or the region.
pub fn machine(
    catalog: &Catalog,
    system: Option<&str>,
    region: Option<&str>,
) -> Result<(Machine, Rates, Option<System>), JobsError> {
    let prices = match region {
        Some(region) => catalog.prices(region)?,
        None => catalog.economics()?.prices,
    };
    let pue = prices.pue.value;
    let Some(name) = system else {
        // Chips without a name: their shape is what the file says, and nobody knows what they draw or cost.
        let machine = Machine {
            chips: 8,
            node: 8,
            levels: Vec::new(),
            busy_power: 0.0,
            idle_power: 0.0,
            failure_rate: 0.0,
            repair: 2.0 * 86_400.0,
        };
        return Ok((
            machine,
            Rates { chip_hour: None, kilowatt_hour: prices.electricity.value.get(), pue },
            None,
        ));
    };
    let system = catalog.system(name)?;
    let chip = catalog.chip(&system.chip)?;
    let per_chip = system.ranks_per_chip().max(1);
    let packages = |kind| system.domain(kind).and_then(|domain| domain.ranks).map(|ranks| ranks / per_chip);
    let scale_up = packages(DomainKind::ScaleUp);
    let node =
        packages(DomainKind::Node).or(scale_up).unwrap_or(8).clamp(1, cluster::tree::MOST_CHIPS_PER_NODE);
    let mut levels = Vec::new();
    if let Some(chips) = scale_up.filter(|chips| *chips > node) {
        levels.push(Level { name: "supernode".to_owned(), nodes: chips / node });
    }
    let overhead = system.overhead_power.value;
    let power = |busy| goodput::chip_power(&chip, overhead, busy).map_or(0.0, units::Watts::get);
    let reliability = Reliability::parse(catalog.text("failures", "default")?).map_err(|error| {
        JobsError::Job { at: "failures/default.toml".to_owned(), problem: error.to_string() }
    })?;
    let machine = Machine {
        chips: system.chips,
        node,
        levels,
        busy_power: power(1.0),
        idle_power: power(0.0),
        failure_rate: hardware_failures(&reliability, &chip.family),
        repair: reliability.repair.get(),
    };
    let hours = prices.depreciation.value.get() / 3600.0;
    let rented = system.hourly.as_ref().map(|fact| fact.value.get());
    let chip_hour = rented.or(system.price.as_ref().map(|fact| fact.value.get() / hours));
    // A rent includes the electricity.
    let kilowatt_hour = if rented.is_some() { 0.0 } else { prices.electricity.value.get() };
    Ok((machine, Rates { chip_hour, kilowatt_hour, pue }, Some(system)))
}

/// Failures of a chip that take its node away: all but those of software.
fn hardware_failures(reliability: &Reliability, family: &str) -> f64 {
    let rates = reliability.rates_for(family);
    (rates.total() - rates.software).get()
}
