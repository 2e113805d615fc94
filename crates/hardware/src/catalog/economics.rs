//! The file of prices, and the economics it resolves to.

use super::error::CatalogError;
use super::index::{Document, normal};
use super::limits;
use super::raw::{self, RawFact, Reader};
use crate::economics::{ChipHours, Economics, Prices, Region};
use crate::evidence::{Fact, Source};
use crate::overrides::{Override, OverrideError};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;
use units::{DollarsPerHour, DollarsPerKilowattHour, GramsCo2PerKilowattHour, Seconds, Watts};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEconomics {
    default_region: Spanned<String>,
    default_pue: Spanned<String>,
    default_depreciation: Spanned<String>,
    ownership: RawOwnership,
    regions: BTreeMap<String, RawRegion>,
    pue: BTreeMap<String, RawFact<f64>>,
    depreciation: BTreeMap<String, RawFact<Seconds>>,
    chip_hours: BTreeMap<String, RawChipHours>,
    all_in_power: BTreeMap<String, RawFact<Watts>>,
    power_fraction: BTreeMap<String, RawFact<f64>>,
    #[serde(default)]
    sources: BTreeMap<String, Source>,
}

/// What a purchase costs besides its price and its electricity.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOwnership {
    capital: RawFact<f64>,
    network: RawFact<f64>,
    staff: RawFact<f64>,
    space: RawFact<DollarsPerKilowattHour>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRegion {
    name: String,
    within: Option<Spanned<String>>,
    electricity: Option<RawFact<DollarsPerKilowattHour>>,
    carbon: Option<RawFact<GramsCo2PerKilowattHour>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChipHours {
    rental: Option<RawFact<DollarsPerHour>>,
    on_demand: Option<RawFact<DollarsPerHour>>,
    own_hyperscaler: Option<RawFact<DollarsPerHour>>,
    own_neocloud: Option<RawFact<DollarsPerHour>>,
}

/// Reads the file of prices.
pub(crate) fn resolve(document: Document<'_>) -> Result<Economics, CatalogError> {
    let mut raw: RawEconomics = raw::parse(document)?;
    let sources = std::mem::take(&mut raw.sources);
    let reader = Reader { document, sources: &sources };
    let regions = regions(&reader, raw.regions)?;
    let pue = facts(raw.pue, |fact| reader.fact(fact, limits::PUE))?;
    let depreciation = facts(raw.depreciation, |fact| reader.fact(fact, limits::DEPRECIATION))?;
    let prices = {
        let region = chosen(&reader, &raw.default_region, &regions)?;
        let missing = |what: &str| {
            let message =
                format!("has no {what} price or intensity of its own or around it; choose another region");
            reader.invalid(raw.default_region.span(), message)
        };
        Prices {
            electricity: region.electricity.clone().ok_or_else(|| missing("electricity"))?,
            pue: chosen(&reader, &raw.default_pue, &pue)?.clone(),
            carbon: region.carbon.clone().ok_or_else(|| missing("carbon"))?,
            depreciation: chosen(&reader, &raw.default_depreciation, &depreciation)?.clone(),
            capital: reader.fact(raw.ownership.capital, limits::YEARLY)?,
            network: reader.fact(raw.ownership.network, limits::YEARLY)?,
            staff: reader.fact(raw.ownership.staff, limits::YEARLY)?,
            space: reader.fact(raw.ownership.space, limits::ELECTRICITY)?,
        }
    };
    Ok(Economics {
        regions,
        pue,
        depreciation,
        chip_hours: facts(raw.chip_hours, |hours| hours.resolve(&reader))?,
        all_in_power: facts(raw.all_in_power, |fact| reader.fact(fact, limits::POWER))?,
        power_fraction: facts(raw.power_fraction, |fact| reader.fact(fact, limits::FRACTION))?,
        prices,
        sources,
    })
}

/// Resolves each value of a table.
fn facts<R, T>(
    raw: BTreeMap<String, R>,
    resolve: impl Fn(R) -> Result<T, CatalogError>,
) -> Result<BTreeMap<String, T>, CatalogError> {
    raw.into_iter().map(|(key, value)| resolve(value).map(|value| (key, value))).collect()
}

/// The entry of `table` that a default names.
fn chosen<'a, T>(
    reader: &Reader<'_>,
    name: &Spanned<String>,
    table: &'a BTreeMap<String, T>,
) -> Result<&'a T, CatalogError> {
    table.get(name.get_ref()).ok_or_else(|| {
        let known: Vec<&str> = table.keys().map(String::as_str).collect();
        let message = format!("`{}` is not in the table; it has {}", name.get_ref(), known.join(", "));
        reader.invalid(name.span(), message)
    })
}

/// The regions; what one lacks comes from the region it lies within (one step, which is all there is).
fn regions(
    reader: &Reader<'_>,
    raw: BTreeMap<String, RawRegion>,
) -> Result<BTreeMap<String, Region>, CatalogError> {
    let mut regions = BTreeMap::new();
    let mut around = Vec::new();
    for (key, region) in raw {
        let electricity = reader.optional(region.electricity, limits::ELECTRICITY)?;
        let carbon = reader.optional(region.carbon, limits::CARBON)?;
        around.extend(region.within.map(|within| (key.clone(), within)));
        regions.insert(key, Region { name: region.name, electricity, carbon });
    }
    for (key, within) in around {
        let outer = chosen(reader, &within, &regions)?.clone();
        let note = |place: &str| Some(format!("of {place}"));
        if let Some(inner) = regions.get_mut(&key) {
            let name = outer.name;
            inner.electricity =
                inner.electricity.take().or(outer.electricity.map(|fact| Fact { note: note(&name), ..fact }));
            inner.carbon =
                inner.carbon.take().or(outer.carbon.map(|fact| Fact { note: note(&name), ..fact }));
        }
    }
    Ok(regions)
}

/// The default prices with electricity and carbon of `region`; what it lacks must be among the replaced figures.
pub(crate) fn prices_of(
    economics: &Economics,
    region: &str,
    set: &[Override],
) -> Result<Prices, CatalogError> {
    let wanted = normal(region);
    let Some(found) = economics.regions.get(&wanted) else {
        let known: Vec<&str> = economics.regions.keys().map(String::as_str).collect();
        let hint = format!("; it has {}", known.join(", "));
        return Err(CatalogError::UnknownName { kind: "regions".to_owned(), name: region.to_owned(), hint });
    };
    let lacking = |what: &'static str| {
        let owner = format!("region {wanted}");
        let reason = format!("has no {what} in the catalog; set {what}=...");
        OverrideError::Inapplicable { key: what.to_owned(), owner, reason }
    };
    let given = |key: &str| set.iter().any(|set| set.key() == key);
    let mut prices = economics.prices.clone();
    match &found.electricity {
        Some(fact) => prices.electricity = fact.clone(),
        None if given("price.electricity") => {}
        None => return Err(lacking("price.electricity").into()),
    }
    match &found.carbon {
        Some(fact) => prices.carbon = fact.clone(),
        None if given("price.carbon") => {}
        None => return Err(lacking("price.carbon").into()),
    }
    Ok(prices)
}

impl RawChipHours {
    fn resolve(self, reader: &Reader<'_>) -> Result<ChipHours, CatalogError> {
        Ok(ChipHours {
            rental: reader.optional(self.rental, limits::RENT)?,
            on_demand: reader.optional(self.on_demand, limits::RENT)?,
            own_hyperscaler: reader.optional(self.own_hyperscaler, limits::RENT)?,
            own_neocloud: reader.optional(self.own_neocloud, limits::RENT)?,
        })
    }
}
