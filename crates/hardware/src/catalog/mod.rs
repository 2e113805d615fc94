//! The catalog: TOML compiled into the program, with a user's directory laid over it, parsed only where asked for.

mod check;
mod chip;
mod economics;
mod engine;
mod error;
mod export_rules;
mod index;
pub(crate) mod limits;
mod origin;
mod raw;
mod scan;
mod supply;
mod support;
mod system;

pub use check::Problem;
pub use error::{CatalogError, Place};
pub use index::Document;

use crate::chip::Chip;
use crate::economics::{Basis, Economics, Prices};
use crate::engine::Engine;
use crate::export_rules::ExportRules;
use crate::origin::Origins;
use crate::overrides::{self, Override};
use crate::supply::Supply;
use crate::support::SupportMatrix;
use crate::system::System;
use index::Index;
use std::path::Path;

/// Chips, systems and what else the catalog holds.
///
/// ```
/// use supernode_hardware::Catalog;
/// let catalog = Catalog::builtin();
/// let chip = catalog.chip("h100").unwrap();
/// assert_eq!(chip.rank.bandwidth.value.to_string(), "3.35 TB/s");
/// ```
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    index: Index,
    overrides: Vec<Override>,
}

impl Catalog {
    /// The compiled-in catalog.
    pub fn builtin() -> Self {
        Self::default()
    }

    /// The compiled-in catalog with the files of `directory` (`chips/*.toml`, `systems/*.toml`, `economics.toml` ...)
    /// added to it; a file of the same name replaces the built-in one.
    ///
    /// # Errors
    /// The directory or a file cannot be read, is not UTF-8, lies in an unknown folder, or claims a taken name.
    pub fn with_overlay(directory: impl AsRef<Path>) -> Result<Self, CatalogError> {
        Ok(Self { index: Index::with_directory(directory.as_ref())?, overrides: Vec::new() })
    }

    /// The same catalog with one more text, as if it were the file `<kind>/<id>.toml` of a user's directory.
    ///
    /// # Errors
    /// The key is not one, or the text claims a taken name. What it says is looked at when it is asked for.
    pub fn with_text(mut self, kind: &str, id: &str, text: impl Into<String>) -> Result<Self, CatalogError> {
        self.index.insert(kind, id, format!("{kind}/{id}.toml"), text.into())?;
        self.index.refuse_collisions()?;
        Ok(self)
    }

    /// The same catalog with single figures replaced in whatever chip, system or price list is asked for.
    #[must_use]
    pub fn with_overrides(mut self, overrides: &[Override]) -> Self {
        self.overrides.extend_from_slice(overrides);
        self
    }

    /// The keys of one kind (`chips`, `systems`, `kernels`, `links`, `engines` ...), in order.
    pub fn ids(&self, kind: &str) -> Vec<String> {
        let documents = self.index.documents().filter(|(document, _)| document.kind == kind);
        documents.map(|(document, _)| document.id.to_owned()).collect()
    }

    /// The unparsed file of `kind` that answers to `name`, by key or alias, whatever its case.
    ///
    /// # Errors
    /// Nothing of that kind has the name.
    pub fn document(&self, kind: &str, name: &str) -> Result<Document<'_>, CatalogError> {
        self.index.find(kind, name)
    }

    /// The error for a name that nothing of `kinds` has, with the nearest one.
    pub(crate) fn unknown(&self, kinds: &[&str], name: &str) -> CatalogError {
        self.index.unknown(kinds, name)
    }

    /// The text of that file.
    ///
    /// # Errors
    /// Nothing of that kind has the name.
    pub fn text(&self, kind: &str, name: &str) -> Result<&str, CatalogError> {
        self.document(kind, name).map(|document| document.text)
    }

    /// A chip by key or alias.
    ///
    /// # Errors
    /// No chip has the name, its file is malformed, or a replaced figure does not fit it.
    pub fn chip(&self, name: &str) -> Result<Chip, CatalogError> {
        let mut chip = chip::resolve(self.document("chips", name)?)?;
        for set in &self.overrides {
            set.apply_to_chip(&mut chip)?;
        }
        Ok(chip)
    }

    /// A chip by key or alias, or the chip of a system by the system's.
    ///
    /// # Errors
    /// No chip and no system has the name, or a file is malformed.
    pub fn chip_or_that_of_a_system(&self, name: &str) -> Result<Chip, CatalogError> {
        match self.chip(name) {
            Err(CatalogError::UnknownName { .. }) => match self.system(name) {
                Ok(system) => self.chip(&system.chip),
                Err(CatalogError::UnknownName { .. }) => Err(self.unknown(&["chips", "systems"], name)),
                Err(error) => Err(error),
            },
            found => found,
        }
    }

    /// The system that a chip is looked at in where none is named, and the chip: its usual one, or the system whose key or
    /// alias `name` is.
    ///
    /// # Errors
    /// As those of [`Catalog::chip_or_that_of_a_system`].
    pub fn usual_place(&self, name: &str) -> Result<(String, Chip), CatalogError> {
        let chip = self.chip_or_that_of_a_system(name)?;
        let system = match self.document("chips", name) {
            Ok(_) => chip.usual_system().to_owned(),
            Err(_) => self.document("systems", name)?.id.to_owned(),
        };
        Ok((system, chip))
    }

    /// A system by key or alias, with its own chip in it.
    ///
    /// # Errors
    /// No system has the name, its file is malformed, or a replaced figure does not fit it.
    pub fn system(&self, name: &str) -> Result<System, CatalogError> {
        let system = system::resolve(self.document("systems", name)?)?;
        // The chip of any other system can only matter to its domains through replaced figures.
        if system.generic || self.overrides.iter().any(Override::is_for_chips) {
            let chip = self.chip(&system.chip)?;
            self.finished(system.with_chip(&chip))
        } else {
            self.finished(system)
        }
    }

    /// A system with another chip in it, and that chip: see [`System::with_chip`].
    ///
    /// # Errors
    /// As those of [`Catalog::system`] and [`Catalog::chip`].
    pub fn system_with_chip(&self, name: &str, chip: &str) -> Result<(System, Chip), CatalogError> {
        let chip = self.chip_or_that_of_a_system(chip)?;
        let system = system::resolve(self.document("systems", name)?)?;
        Ok((self.finished(system.with_chip(&chip))?, chip))
    }

    /// Fills in what an hour of the chip costs and replaces figures.
    fn finished(&self, mut system: System) -> Result<System, CatalogError> {
        if system.hourly.is_none() {
            let economics = self.economics()?;
            if let Some(rental) =
                economics.chip_hours.get(&system.chip).and_then(|hours| hours.rental.clone())
            {
                system.sources.extend(
                    economics.sources.get_key_value(&rental.source).map(|(k, v)| (k.clone(), v.clone())),
                );
                system.hourly = Some(rental);
            }
        }
        for set in &self.overrides {
            set.apply_to_system(&mut system)?;
        }
        // A chip whose price is set is priced in its machine by the rule for any chip placed in one.
        let sets = |key: &str| self.overrides.iter().any(|set| set.key() == key);
        if sets("chip.price") && !sets("system.price") {
            system.price = self.chip(&system.chip)?.price_in_a_machine();
        }
        Ok(system)
    }

    /// Prices, carbon intensities and measured power fractions.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn economics(&self) -> Result<Economics, CatalogError> {
        let mut economics = economics::resolve(self.document("", "economics")?)?;
        self.replace(&mut economics.prices)?;
        Ok(economics)
    }

    /// The prices of a region (`us-texas`, `cn` ...).
    ///
    /// # Errors
    /// The file is malformed, there is no such region, or it has no price or intensity and none is set.
    pub fn prices(&self, region: &str) -> Result<Prices, CatalogError> {
        let economics = economics::resolve(self.document("", "economics")?)?;
        let mut prices = economics::prices_of(&economics, region, &self.overrides)?;
        self.replace(&mut prices)?;
        Ok(prices)
    }

    /// The basis that money is counted on: the one asked for, else the one that the figures set belong to (a rent set asks
    /// for rent, a price for purchase), else purchase.
    ///
    /// # Errors
    /// A figure is set that has no part in the basis, or two figures of different bases are.
    pub fn basis(&self, asked: Option<Basis>) -> Result<Basis, CatalogError> {
        overrides::basis(asked, &self.overrides).map_err(CatalogError::from)
    }

    fn replace(&self, prices: &mut Prices) -> Result<(), CatalogError> {
        self.overrides.iter().try_for_each(|set| set.apply_to_prices(prices)).map_err(CatalogError::from)
    }

    /// Published export-control thresholds.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn export_rules(&self) -> Result<ExportRules, CatalogError> {
        export_rules::resolve(self.document("", "export_rules")?)
    }

    /// What is said of how many chips are made, stocked and shipped.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn supply(&self) -> Result<Supply, CatalogError> {
        supply::resolve(self.document("", "supply")?)
    }

    /// Who makes the parts of chips and what serves on them.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn origins(&self) -> Result<Origins, CatalogError> {
        origin::resolve(self.document("", "origins")?)
    }

    /// What engines say they support.
    ///
    /// # Errors
    /// The file is malformed.
    pub fn support(&self) -> Result<SupportMatrix, CatalogError> {
        support::resolve(self.document("", "support")?)
    }

    /// An engine by key or alias.
    ///
    /// # Errors
    /// No engine has the name, or its file is malformed.
    pub fn engine(&self, name: &str) -> Result<Engine, CatalogError> {
        engine::resolve(self.document("engines", name)?)
    }
}
