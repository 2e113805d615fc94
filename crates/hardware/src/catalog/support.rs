//! The file of what engines support.

use super::error::CatalogError;
use super::index::Document;
use super::raw::{self, Reader};
use crate::evidence::{Grade, Source};
use crate::support::{Claim, Purpose, Support, SupportMatrix};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMatrix {
    support: Vec<RawClaim>,
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    engine: String,
    #[serde(rename = "use")]
    purpose: Purpose,
    hardware: Vec<String>,
    name: String,
    models: Vec<String>,
    state: Option<Support>,
    #[serde(default)]
    features: BTreeMap<String, Support>,
    longest: Option<u64>,
    note: Option<String>,
    source: Spanned<String>,
    grade: Grade,
}

/// Reads the file.
pub(crate) fn resolve(document: Document<'_>) -> Result<SupportMatrix, CatalogError> {
    let raw: RawMatrix = raw::parse(document)?;
    let reader = Reader { document, sources: &raw.sources };
    let claims = raw.support.into_iter().map(|claim| {
        reader.stated(&claim.source)?;
        Ok(Claim {
            engine: claim.engine,
            purpose: claim.purpose,
            hardware: claim.hardware,
            name: claim.name,
            models: claim.models,
            state: claim.state,
            features: claim.features,
            longest: claim.longest,
            note: claim.note,
            source: claim.source.into_inner(),
            grade: claim.grade,
        })
    });
    let claims = claims.collect::<Result<Vec<Claim>, CatalogError>>()?;
    Ok(SupportMatrix { claims, sources: raw.sources })
}
