//! The file of export-control thresholds.

use super::error::CatalogError;
use super::index::Document;
use super::raw::{self, Reader};
use crate::date::Date;
use crate::evidence::Source;
use crate::export_rules::{Condition, ExportRules, Measure, Metric, Rule};
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRules {
    #[serde(default)]
    groups: BTreeMap<String, Vec<String>>,
    rule: Vec<RawRule>,
    sources: BTreeMap<String, Source>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    date: Date,
    until: Option<Date>,
    #[serde(default)]
    chips: Vec<String>,
    #[serde(default)]
    makers: Vec<String>,
    #[serde(default)]
    sellers: Vec<Spanned<String>>,
    #[serde(default)]
    buyers: Vec<String>,
    #[serde(default)]
    countries: Vec<Spanned<String>>,
    name: String,
    effect: String,
    unless: Option<Spanned<String>>,
    note: Option<String>,
    #[serde(default)]
    any: Vec<Vec<Spanned<RawCondition>>>,
    source: Spanned<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCondition {
    metric: Metric,
    at_least: Option<Spanned<String>>,
    below: Option<Spanned<String>>,
}

/// Reads the file of thresholds.
pub(crate) fn resolve(document: Document<'_>) -> Result<ExportRules, CatalogError> {
    let raw: RawRules = raw::parse(document)?;
    let reader = Reader { document, sources: &raw.sources };
    let mut rules: Vec<Rule> = Vec::with_capacity(raw.rule.len());
    for rule in raw.rule {
        if let Some(unless) = &rule.unless {
            if !rules.iter().any(|earlier| earlier.id == *unless.get_ref()) {
                let message = format!("`{}` is not an earlier rule of this file", unless.get_ref());
                return Err(reader.invalid(unless.span(), message));
            }
        }
        reader.stated(&rule.source)?;
        let any =
            rule.any.into_iter().map(|all| all.into_iter().map(|raw| condition(&reader, raw)).collect());
        rules.push(Rule {
            id: rule.id,
            date: rule.date,
            until: rule.until,
            chips: rule.chips,
            makers: rule.makers,
            sellers: places(&reader, &raw.groups, rule.sellers)?,
            buyers: rule.buyers,
            countries: places(&reader, &raw.groups, rule.countries)?,
            name: rule.name,
            effect: rule.effect,
            unless: rule.unless.map(Spanned::into_inner),
            note: rule.note,
            any: any.collect::<Result<_, _>>()?,
            source: rule.source.into_inner(),
        });
    }
    Ok(ExportRules { rules, sources: raw.sources })
}

/// ISO codes of a list that may name groups.
fn places(
    reader: &Reader<'_>,
    groups: &BTreeMap<String, Vec<String>>,
    names: Vec<Spanned<String>>,
) -> Result<Vec<String>, CatalogError> {
    let mut codes = Vec::new();
    for name in names {
        match groups.get(name.get_ref()) {
            Some(members) => codes.extend(members.iter().cloned()),
            None if name.get_ref().len() == 2 => codes.push(name.into_inner()),
            None => {
                let message =
                    format!("`{}` is neither a country of two letters nor a key of `groups`", name.get_ref());
                return Err(reader.invalid(name.span(), message));
            }
        }
    }
    codes.sort();
    codes.dedup();
    Ok(codes)
}

fn condition(reader: &Reader<'_>, raw: Spanned<RawCondition>) -> Result<Condition, CatalogError> {
    let span = raw.span();
    let raw = raw.into_inner();
    let (text, at_least) = match (raw.at_least, raw.below) {
        (Some(text), None) => (text, true),
        (None, Some(text)) => (text, false),
        _ => return Err(reader.invalid(span, "give either `at_least` or `below`".to_owned())),
    };
    let threshold = match raw.metric {
        Metric::Tpp | Metric::PerformanceDensity | Metric::MemoryBandwidthDensity => text
            .get_ref()
            .parse()
            .ok()
            .filter(|number: &f64| number.is_finite())
            .map(Measure::Points)
            .ok_or_else(|| {
                reader.invalid(text.span(), format!("`{}` is not a number such as \"4800\"", text.get_ref()))
            })?,
        Metric::MemoryBandwidth | Metric::Interconnect | Metric::MemoryAndInterconnect => {
            let rate = text.get_ref().parse();
            Measure::Rate(
                rate.map_err(|error: units::ParseQuantityError| {
                    reader.invalid(text.span(), error.to_string())
                })?,
            )
        }
    };
    Ok(Condition { metric: raw.metric, threshold, at_least })
}
