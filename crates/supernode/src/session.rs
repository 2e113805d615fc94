//! What questions have in common: the facts they are answered from.

use crate::error::Error;
use estimate::Resolver;
use estimate::economics::Site;
use hardware::overrides::Override;
use hardware::{Basis, Catalog};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::PathBuf;

/// Where facts come from and which of them are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    /// Folder with chips, systems, engines and kernel profiles that are added to (or replace) the built-in ones.
    pub catalog: Option<PathBuf>,
    /// Replaced figures, each as `chip.hbm.bandwidth=4TB/s`.
    pub set: Vec<String>,
    /// Region whose electricity price and carbon intensity are used; the catalog's default prices otherwise.
    pub region: Option<String>,
    /// What money is counted on; that of the figures set, else purchase, if absent.
    pub basis: Option<Basis>,
}

/// Facts that were read, and what has been looked up in them so far; questions asked of one session share it.
#[derive(Clone)]
pub struct Session {
    resolver: Resolver,
    site: Site,
    facts: Facts,
}

/// Figures that have a part in every answer on their basis, so that it need not be asked whether they have one in this.
const ALWAYS: [&str; 7] = [
    "chip.hbm.bandwidth",
    "chip.tdp",
    "system.overhead-power",
    "system.hourly",
    "price.electricity",
    "price.pue",
    "price.carbon",
];

impl Session {
    /// Reads the facts.
    ///
    /// # Errors
    /// A folder that cannot be read, a figure that cannot be set, a region that is unknown.
    pub fn open(facts: &Facts) -> Result<Self, Error> {
        let catalog = match &facts.catalog {
            Some(folder) => Catalog::with_overlay(folder)?,
            None => Catalog::builtin(),
        };
        let sets = facts.set.iter().map(|text| Override::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let catalog = catalog.with_overrides(&sets);
        let prices = match &facts.region {
            Some(region) => catalog.prices(region)?,
            None => catalog.economics()?.prices,
        };
        let site = Site::new(&prices, catalog.basis(facts.basis)?);
        Ok(Self { resolver: Resolver::new(catalog), site, facts: facts.clone() })
    }

    /// Refuses a replaced figure that has no part in an answer: neither without it nor with a larger one is the answer
    /// another. `again` gives the answer from other facts. Neither is asked for where no figure is replaced.
    pub(crate) fn refuse_idle_figures(
        &self,
        answer: impl FnOnce() -> Value,
        again: impl Fn(&Self) -> Result<Value, Error>,
    ) -> Result<(), Error> {
        let set = &self.facts.set;
        if set.is_empty() {
            return Ok(());
        }
        let answer = answer();
        let asked = |text: &&String| Override::parse(text).is_ok_and(|set| !ALWAYS.contains(&&*set.key()));
        for (index, text) in set.iter().enumerate().filter(|(_, text)| asked(text)) {
            let same = |others: Vec<String>| {
                let other = Self::open(&Facts { set: others, ..self.facts.clone() });
                other.and_then(|other| again(&other)).is_ok_and(|other| other == answer)
            };
            let with = |figure: Option<String>| {
                let others = set.iter().enumerate().filter(|(other, _)| *other != index);
                others.map(|(_, text)| text.clone()).chain(figure).collect()
            };
            if same(with(None)) && larger(text).is_none_or(|figure| same(with(Some(figure)))) {
                let why =
                    format!("`{text}` changes nothing: this answer does not depend on it; leave it out");
                return Err(Error::at("set", why));
            }
        }
        Ok(())
    }

    /// Names to step models.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The facts.
    pub fn catalog(&self) -> &Catalog {
        self.resolver.catalog()
    }

    /// What they cost in a region, on the same basis; the session's own prices if none is named.
    ///
    /// # Errors
    /// The region is unknown.
    pub fn site_in(&self, region: Option<&str>) -> Result<Site, Error> {
        match region {
            Some(region) => Ok(Site::new(&self.catalog().prices(region)?, self.site.basis)),
            None => Ok(self.site),
        }
    }

    /// What electricity and buildings cost.
    pub fn site(&self) -> &Site {
        &self.site
    }
}

/// The same figure, twice as large: `chip.l2=50 MiB` is `chip.l2=100 MiB`.
fn larger(set: &str) -> Option<String> {
    let (key, value) = set.split_once('=')?;
    let value = value.trim();
    let end = value.find(|letter: char| !(letter.is_ascii_digit() || letter == '.')).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    Some(format!("{key}={}{unit}", 2.0 * number.parse::<f64>().ok()?))
}
