//! Reading facts out of TOML with the place of each, so that a message can point at it.

use super::error::{CatalogError, Place};
use super::index::Document;
use super::limits::Limit;
use crate::evidence::{Fact, Grade, Source};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use toml::Spanned;

/// `{ value, source, grade, note }` as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFact<T> {
    value: Spanned<T>,
    source: Spanned<String>,
    grade: Grade,
    note: Option<String>,
}

/// A parsed file's text and its sources, against which facts are resolved.
pub(crate) struct Reader<'a> {
    pub(crate) document: Document<'a>,
    pub(crate) sources: &'a BTreeMap<String, Source>,
}

/// Parses a file into its raw form.
pub(crate) fn parse<T: DeserializeOwned>(document: Document<'_>) -> Result<T, CatalogError> {
    toml::from_str(document.text).map_err(|error| {
        let span = error.span().unwrap_or(0..0);
        let message = error.message().trim().replace('\n', "; ");
        let mut place = Place::of(document.path, document.text, span.start);
        if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
            // The span is that of the table the key is missing from: the file, a value in braces, or dotted keys.
            let starts_at_key =
                document.text.get(span.start..).is_some_and(|rest| !rest.starts_with(['{', '[']));
            let table = match place.key.rsplit_once('.') {
                _ if span.start == 0 => "",
                Some((table, _)) if starts_at_key => table,
                _ => &place.key,
            };
            place.key = if table.is_empty() { field.to_owned() } else { format!("{table}.{field}") };
        }
        CatalogError::Syntax { place, message }
    })
}

impl Reader<'_> {
    /// An error at `span`.
    pub(crate) fn invalid(&self, span: Range<usize>, message: String) -> CatalogError {
        let place = Place::of(self.document.path, self.document.text, span.start);
        CatalogError::Invalid { place, message }
    }

    /// Checks that the source of a statement is a key of the file's list.
    pub(crate) fn stated(&self, source: &Spanned<String>) -> Result<(), CatalogError> {
        if self.sources.contains_key(source.get_ref()) {
            return Ok(());
        }
        let message = format!("`{}` is not among this file's sources", source.get_ref());
        Err(self.invalid(source.span(), message))
    }

    /// Checks the evidence of a fact: a source is a key of the file's list, or words if the figure is assumed.
    fn evidence<T>(&self, raw: RawFact<T>) -> Result<(Spanned<T>, Fact<()>), CatalogError> {
        let RawFact { value, source, grade, note } = raw;
        let words = grade == Grade::Assumed && source.get_ref().contains(' ');
        if !words && !self.sources.contains_key(source.get_ref()) {
            let known: Vec<String> = self.sources.keys().map(|key| format!("`{key}`")).collect();
            let listed = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!(
                "`{}` is not among this file's sources ({listed}); add `sources.{}` with title, date and address{}",
                source.get_ref(),
                source.get_ref().replace(' ', "-"),
                if grade == Grade::Assumed { ", or say in words why it is assumed" } else { "" },
            );
            return Err(self.invalid(source.span(), message));
        }
        Ok((value, Fact { value: (), source: source.into_inner(), grade, note }))
    }

    /// A figure that must lie within `limit`.
    pub(crate) fn fact<T>(&self, raw: RawFact<T>, limit: Limit<T>) -> Result<Fact<T>, CatalogError>
    where
        T: PartialOrd + Display + Copy,
    {
        let (value, evidence) = self.evidence(raw)?;
        limit.hold(*value.get_ref()).map_err(|message| self.invalid(value.span(), message))?;
        Ok(evidence.map(|()| value.into_inner()))
    }

    /// The same for a figure that need not be given.
    pub(crate) fn optional<T>(
        &self,
        raw: Option<RawFact<T>>,
        limit: Limit<T>,
    ) -> Result<Option<Fact<T>>, CatalogError>
    where
        T: PartialOrd + Display + Copy,
    {
        raw.map(|raw| self.fact(raw, limit)).transpose()
    }

    /// A fact whose values have no range.
    pub(crate) fn as_given<T>(&self, raw: RawFact<T>) -> Result<Fact<T>, CatalogError> {
        let (value, evidence) = self.evidence(raw)?;
        Ok(evidence.map(|()| value.into_inner()))
    }

    /// A fact in words.
    pub(crate) fn words(&self, raw: RawFact<String>) -> Result<Fact<String>, CatalogError> {
        let (value, evidence) = self.evidence(raw)?;
        if value.get_ref().trim().is_empty() {
            return Err(self.invalid(value.span(), "is empty; say something or leave the key out".to_owned()));
        }
        Ok(evidence.map(|()| value.into_inner()))
    }

    /// A bare number that must lie within `limit`.
    pub(crate) fn number<T>(&self, raw: Spanned<T>, limit: Limit<T>) -> Result<T, CatalogError>
    where
        T: PartialOrd + Display + Copy,
    {
        limit.hold(*raw.get_ref()).map_err(|message| self.invalid(raw.span(), message))?;
        Ok(raw.into_inner())
    }
}
