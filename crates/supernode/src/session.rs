//! What questions have in common: the facts they are answered from.

use crate::error::Error;
use estimate::Resolver;
use estimate::economics::Site;
use hardware::overrides::Override;
use hardware::{Basis, Catalog};
use serde::{Deserialize, Serialize};
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
}

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
        Ok(Self { resolver: Resolver::new(catalog), site })
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
