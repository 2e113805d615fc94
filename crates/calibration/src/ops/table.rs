//! Tables of measured operators as text, with typed access that names file, line and column in errors.

use csv::StringRecord;
use flate2::read::GzDecoder;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use units::Dtype;

/// A table that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened or read.
    #[error("cannot read `{file}`: {source}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not CSV.
    #[error("`{file}` is not a CSV table: {source}")]
    Csv {
        /// The file.
        file: String,
        /// What the reader says.
        source: csv::Error,
    },
    /// A field that is no number.
    #[error("`{file}` line {line}: `{column}` is `{value}`; give a number")]
    Number {
        /// The file.
        file: String,
        /// Its line.
        line: u64,
        /// The column.
        column: String,
        /// What stands there.
        value: String,
    },
    /// A field that is no number format.
    #[error("`{file}` line {line}, column `{column}`: {source}")]
    Dtype {
        /// The file.
        file: String,
        /// Its line.
        line: u64,
        /// The column.
        column: String,
        /// What is wrong.
        source: units::UnknownDtype,
    },
    /// A header that no family knows.
    #[error("`{file}` is no operator table this can read: its columns are {columns}")]
    UnknownHeader {
        /// The file.
        file: String,
        /// Its columns.
        columns: String,
    },
}

/// A table in memory.
#[derive(Debug, Clone)]
pub struct OpTable {
    file: String,
    columns: Vec<String>,
    records: Vec<StringRecord>,
    chip: Option<String>,
}

impl OpTable {
    /// Reads a `.csv` or `.csv.gz`.
    ///
    /// # Errors
    /// If the file cannot be read or is not CSV.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, TableError> {
        let path = path.as_ref();
        let file = path.display().to_string();
        let opened = File::open(path).map_err(|source| TableError::Read { file: file.clone(), source })?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            Self::parse(&file, GzDecoder::new(BufReader::new(opened)))
        } else {
            Self::parse(&file, BufReader::new(opened))
        }
    }

    /// Reads CSV text; `file` names it in errors.
    ///
    /// # Errors
    /// If it is not CSV.
    pub fn parse(file: &str, text: impl Read) -> Result<Self, TableError> {
        let wrong = |source| TableError::Csv { file: file.to_owned(), source };
        let mut reader = csv::Reader::from_reader(bounded::Capped::new(text, bounded::TABLE));
        let columns = reader.headers().map_err(wrong)?.iter().map(|name| name.trim().to_owned()).collect();
        let records = reader.records().collect::<Result<_, _>>().map_err(wrong)?;
        Ok(Self { file: file.to_owned(), columns, records, chip: None })
    }

    /// The same table with all rows measured on `chip`, for tables without such a column.
    #[must_use]
    pub fn on_chip(mut self, chip: Option<&str>) -> Self {
        self.chip = chip.map(str::to_owned);
        self
    }

    /// The same table with the rows of one chip only, as its `chip` column names it; a table without the column is
    /// left whole.
    #[must_use]
    pub fn of_chip(mut self, chip: &str) -> Self {
        if let Some(column) = self.columns.iter().position(|name| name == "chip") {
            self.records.retain(|fields| fields.get(column).is_some_and(|name| name.trim() == chip));
        }
        self
    }

    /// Its name in messages.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Whether the header has all of these columns.
    pub fn has(&self, columns: &[&str]) -> bool {
        columns.iter().all(|wanted| self.columns.iter().any(|column| column == wanted))
    }

    /// The first column whose name starts with `prefix`: some tables explain a column in its name.
    pub fn column_starting(&self, prefix: &str) -> Option<&str> {
        self.columns.iter().map(String::as_str).find(|column| column.starts_with(prefix))
    }

    /// Its rows.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(|fields| Record { table: self, fields })
    }

    /// The error for a header that no family knows.
    pub fn unknown_header(&self) -> TableError {
        TableError::UnknownHeader { file: self.file.clone(), columns: self.columns.join(", ") }
    }
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    table: &'a OpTable,
    fields: &'a StringRecord,
}

impl<'a> Record<'a> {
    /// The table it is of.
    pub fn table(&self) -> &'a OpTable {
        self.table
    }

    /// Its line in the file, from 1.
    pub fn line(&self) -> u64 {
        self.fields.position().map_or(0, csv::Position::line)
    }

    /// A field, trimmed; empty if the column or the value is missing.
    pub fn text(&self, column: &str) -> &'a str {
        let index = self.table.columns.iter().position(|name| name == column);
        index.and_then(|index| self.fields.get(index)).map_or("", str::trim)
    }

    /// A field that must be a finite number.
    ///
    /// # Errors
    /// [`TableError::Number`].
    pub fn number(&self, column: &str) -> Result<f64, TableError> {
        let value = self.text(column);
        value.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| TableError::Number {
            file: self.table.file.clone(),
            line: self.line(),
            column: column.to_owned(),
            value: value.to_owned(),
        })
    }

    /// A number, or `default` if the field is empty.
    ///
    /// # Errors
    /// [`TableError::Number`].
    pub fn number_or(&self, column: &str, default: f64) -> Result<f64, TableError> {
        if self.text(column).is_empty() { Ok(default) } else { self.number(column) }
    }

    /// A field that must be a number format.
    ///
    /// # Errors
    /// [`TableError::Dtype`].
    pub fn dtype(&self, column: &str) -> Result<Dtype, TableError> {
        self.text(column).parse().map_err(|source| TableError::Dtype {
            file: self.table.file.clone(),
            line: self.line(),
            column: column.to_owned(),
            source,
        })
    }

    /// The chip measured: what the caller said, else the `chip` column, else `default`.
    pub fn chip_or(&self, default: &str) -> String {
        match (&self.table.chip, self.text("chip")) {
            (Some(chip), _) => chip.clone(),
            (None, "") => default.to_owned(),
            (None, chip) => chip.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name_and_errors_say_where() {
        let table = OpTable::parse("t.csv", "chip,m,latency_us\nh100,16,2.5\nh100,x,\n".as_bytes()).unwrap();
        assert!(table.has(&["m", "chip"]) && !table.has(&["n"]));
        let rows: Vec<Record<'_>> = table.records().collect();
        assert_eq!(rows[0].number("m").unwrap(), 16.0);
        assert_eq!(rows[1].number_or("latency_us", 1.0).unwrap(), 1.0);
        insta::assert_snapshot!(rows[1].number("m").unwrap_err(), @"`t.csv` line 3: `m` is `x`; give a number");
    }
}
