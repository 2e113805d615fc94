//! The file of who makes what.

use super::error::CatalogError;
use super::index::Document;
use super::raw::{self, Reader};
use crate::date::Date;
use crate::evidence::{Grade, Source};
use crate::origin::{Component, Maker, Origin, Origins};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrigins {
    origin: Vec<RawOrigin>,
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawOrigin {
    part: Component,
    of: Vec<String>,
    makers: Spanned<Vec<Maker>>,
    note: Option<String>,
    said: Date,
    source: Spanned<String>,
    grade: Grade,
}

/// Reads the file.
pub(crate) fn resolve(document: Document<'_>) -> Result<Origins, CatalogError> {
    let raw: RawOrigins = raw::parse(document)?;
    let reader = Reader { document, sources: &raw.sources };
    let statements = raw.origin.into_iter().map(|origin| {
        reader.stated(&origin.source)?;
        if origin.makers.get_ref().is_empty() {
            return Err(reader.invalid(origin.makers.span(), "names no maker".to_owned()));
        }
        Ok(Origin {
            part: origin.part,
            of: origin.of,
            makers: origin.makers.into_inner(),
            note: origin.note,
            said: origin.said,
            source: origin.source.into_inner(),
            grade: origin.grade,
        })
    });
    let statements = statements.collect::<Result<Vec<Origin>, CatalogError>>()?;
    Ok(Origins { statements, sources: raw.sources })
}
