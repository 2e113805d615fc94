//! The catalog: TOML compiled into the program, with a user's directory laid over it, parsed only where asked for.

mod chip;
mod engine;
mod error;
mod index;
mod limits;
mod raw;
mod scan;
mod system;

pub use error::{CatalogError, Place};
pub use index::Document;

use crate::chip::Chip;
use crate::engine::Engine;
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
        Ok(Self { index: Index::with_directory(directory.as_ref())? })
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
    /// No chip has the name, or its file is malformed.
    pub fn chip(&self, name: &str) -> Result<Chip, CatalogError> {
        chip::resolve(self.document("chips", name)?)
    }

    /// A system by key or alias.
    ///
    /// # Errors
    /// No system has the name, or its file is malformed.
    pub fn system(&self, name: &str) -> Result<System, CatalogError> {
        system::resolve(self.document("systems", name)?)
    }

    /// An engine by key or alias.
    ///
    /// # Errors
    /// No engine has the name, or its file is malformed.
    pub fn engine(&self, name: &str) -> Result<Engine, CatalogError> {
        engine::resolve(self.document("engines", name)?)
    }
}
