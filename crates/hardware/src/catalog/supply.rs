//! The file of statements on supply.

use super::error::CatalogError;
use super::index::Document;
use super::raw::{self, Reader};
use crate::date::Date;
use crate::evidence::{Grade, Source};
use crate::supply::{Matter, Statement, Supply};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSupply {
    statement: Vec<RawStatement>,
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStatement {
    chip: String,
    what: Matter,
    low: Option<Spanned<f64>>,
    high: Option<f64>,
    unit: Option<String>,
    period: Date,
    note: Option<String>,
    said: Date,
    source: Spanned<String>,
    grade: Grade,
}

/// Reads the file of statements.
pub(crate) fn resolve(document: Document<'_>) -> Result<Supply, CatalogError> {
    let raw: RawSupply = raw::parse(document)?;
    let reader = Reader { document, sources: &raw.sources };
    let mut statements = raw
        .statement
        .into_iter()
        .map(|statement| statement.resolve(&reader))
        .collect::<Result<Vec<Statement>, CatalogError>>()?;
    statements
        .sort_by(|a, b| (&a.chip, a.what, &a.period, &a.said).cmp(&(&b.chip, b.what, &b.period, &b.said)));
    Ok(Supply { statements, sources: raw.sources })
}

impl RawStatement {
    fn resolve(self, reader: &Reader<'_>) -> Result<Statement, CatalogError> {
        reader.stated(&self.source)?;
        if let Some(low) = &self.low {
            let good = *low.get_ref() > 0.0 && low.get_ref().is_finite();
            let ordered = self.high.is_none_or(|high| high.is_finite() && high >= *low.get_ref());
            if !good || !ordered {
                let message = "must be positive and not above `high`".to_owned();
                return Err(reader.invalid(low.span(), message));
            }
            if self.unit.is_none() {
                let message = "needs a `unit`, such as \"packages\"".to_owned();
                return Err(reader.invalid(low.span(), message));
            }
        }
        Ok(Statement {
            chip: self.chip,
            what: self.what,
            range: self.low.map(|low| (low.into_inner(), self.high)),
            unit: self.unit.unwrap_or_default(),
            period: self.period,
            note: self.note,
            said: self.said,
            grade: self.grade,
            source: self.source.into_inner(),
        })
    }
}
