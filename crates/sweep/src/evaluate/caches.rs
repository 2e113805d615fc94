//! What cells share: names looked up and deployments priced, one set for each way the catalog is changed.

use crate::unit::Unit;
use estimate::Resolver;
use hardware::Catalog;
use hardware::overrides::Override;
use std::path::Path;
use std::sync::Mutex;

/// Sets kept at a time. Cells come in order, so that those that change the catalog alike are mostly neighbours.
const KEPT: usize = 8;

/// Cells after which a set is made anew: priced deployments are never dropped from one, and a sweep may have millions.
const LIFETIME: u32 = 4096;

type Key = (Option<String>, Vec<String>);

#[derive(Default)]
pub(super) struct Caches {
    kept: Mutex<Vec<(Key, Resolver, u32)>>,
}

impl Caches {
    /// The lookups of the unit's catalog.
    pub(super) fn of(&self, unit: &Unit) -> Result<Resolver, String> {
        let key = (unit.catalog.clone(), unit.set.clone());
        let mut kept = self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(at) = kept.iter().position(|(other, _, _)| *other == key) {
            let (_, resolver, uses) = &mut kept[at];
            *uses += 1;
            let resolver = resolver.clone();
            if *uses >= LIFETIME {
                kept.remove(at);
            }
            return Ok(resolver);
        }
        let resolver = Resolver::new(catalog(unit)?);
        if kept.len() == KEPT {
            kept.remove(0);
        }
        kept.push((key, resolver.clone(), 1));
        Ok(resolver)
    }
}

fn catalog(unit: &Unit) -> Result<Catalog, String> {
    let catalog = match &unit.catalog {
        Some(folder) => Catalog::with_overlay(Path::new(folder)).map_err(|error| error.to_string())?,
        None => Catalog::builtin(),
    };
    let sets: Result<Vec<Override>, _> = unit.set.iter().map(|text| Override::parse(text)).collect();
    Ok(catalog.with_overrides(&sets.map_err(|error| error.to_string())?))
}
