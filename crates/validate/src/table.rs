//! A CSV table with named columns, plain or gzipped.

use bounded::Capped;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::str::FromStr;

/// Why a table cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The file cannot be opened or read.
    #[error("{path}: cannot be read ({reason}); give a .csv or .csv.gz file")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A line is not CSV of the header's width.
    #[error("{path}: line {line}: {reason}")]
    Line {
        /// The file.
        path: String,
        /// Line number, the header is 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// The header is of no known kind.
    #[error(
        "{path}: the header is of no known kind of measurement ({reason}); see the column lists in docs/validate.md"
    )]
    Kind {
        /// The file.
        path: String,
        /// What was missing.
        reason: String,
    },
    /// A cell is not what its column holds.
    #[error("{path}: line {line}, column {column}: `{value}` {reason}")]
    Cell {
        /// The file.
        path: String,
        /// Line number.
        line: u64,
        /// Column.
        column: String,
        /// What it holds.
        value: String,
        /// Why that cannot be.
        reason: String,
    },
}

/// The text of a file, unpacked if its name ends in `.gz`.
///
/// # Errors
/// It cannot be opened.
pub fn open_text(path: &Path) -> Result<Box<dyn Read>, TableError> {
    let shown = path.display().to_string();
    let file =
        File::open(path).map_err(|error| TableError::Read { path: shown, reason: error.to_string() })?;
    let file = BufReader::new(file);
    Ok(if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(Capped::new(flate2::bufread::MultiGzDecoder::new(file), bounded::TABLE))
    } else {
        Box::new(Capped::new(file, bounded::TABLE))
    })
}

/// A table in memory.
#[derive(Debug, Clone)]
pub struct Table {
    path: String,
    columns: BTreeMap<String, usize>,
    rows: Vec<(u64, csv::StringRecord)>,
}

impl Table {
    /// Reads a `.csv` or `.csv.gz` file.
    ///
    /// # Errors
    /// It cannot be read, or a line does not have the header's width.
    pub fn open(path: &Path) -> Result<Self, TableError> {
        let shown = path.display().to_string();
        let failed =
            |error: std::io::Error| TableError::Read { path: shown.clone(), reason: error.to_string() };
        let file = BufReader::new(File::open(path).map_err(failed)?);
        if path.extension().is_some_and(|extension| extension == "gz") {
            Self::read(flate2::bufread::MultiGzDecoder::new(file), &shown)
        } else {
            Self::read(file, &shown)
        }
    }

    /// Reads CSV text.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn read(input: impl Read, path: &str) -> Result<Self, TableError> {
        let mut reader = csv::ReaderBuilder::new().from_reader(Capped::new(input, bounded::TABLE));
        let wrong = |error: csv::Error| {
            let line = error.position().map_or(1, csv::Position::line);
            TableError::Line { path: path.to_owned(), line, reason: error.to_string() }
        };
        let header = reader.headers().map_err(wrong)?.clone();
        let columns =
            header.iter().enumerate().map(|(index, name)| (name.trim().to_owned(), index)).collect();
        let mut rows = Vec::new();
        for record in reader.records() {
            let record = record.map_err(wrong)?;
            let line = record.position().map_or(0, csv::Position::line);
            rows.push((line, record));
        }
        Ok(Self { path: path.to_owned(), columns, rows })
    }

    /// The file's name as given.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether the header has a column.
    pub fn has(&self, column: &str) -> bool {
        self.columns.contains_key(column)
    }

    /// The names of the columns, sorted.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows in order.
    pub fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        self.rows.iter().map(|(line, record)| Row { table: self, line: *line, record })
    }
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    table: &'a Table,
    line: u64,
    record: &'a csv::StringRecord,
}

impl<'a> Row<'a> {
    /// A cell, `None` if it is empty or the table has no such column.
    pub fn text(&self, column: &str) -> Option<&'a str> {
        let index = *self.table.columns.get(column)?;
        self.record.get(index).map(str::trim).filter(|cell| !cell.is_empty())
    }

    /// A cell read as `T`.
    ///
    /// # Errors
    /// It is there and is no `T`.
    pub fn parse<T: FromStr>(&self, column: &str, what: &str) -> Result<Option<T>, TableError> {
        let Some(cell) = self.text(column) else { return Ok(None) };
        cell.parse().map(Some).map_err(|_| self.wrong(column, cell, &format!("is not {what}")))
    }

    /// A count; whole numbers written as decimals (`8.0`) are read as well.
    ///
    /// # Errors
    /// It is there and is no count.
    pub fn count(&self, column: &str) -> Result<Option<u32>, TableError> {
        let Some(number) = self.parse::<f64>(column, "a whole number")? else { return Ok(None) };
        if number >= 0.0 && number <= f64::from(u32::MAX) && number.fract() == 0.0 {
            return Ok(Some(number as u32));
        }
        Err(self.wrong(
            column,
            self.text(column).unwrap_or_default(),
            "is not a whole number from 0 to 4294967295",
        ))
    }

    /// A size of a layout; zero where the source did not record it.
    ///
    /// # Errors
    /// As [`Row::count`].
    pub fn size(&self, column: &str) -> Result<Option<u32>, TableError> {
        Ok(self.count(column)?.filter(|size| *size > 0))
    }

    /// A positive finite number.
    ///
    /// # Errors
    /// It is there and is none.
    pub fn positive(&self, column: &str) -> Result<Option<f64>, TableError> {
        let Some(number) = self.parse::<f64>(column, "a number")? else { return Ok(None) };
        if number.is_finite() && number > 0.0 {
            return Ok(Some(number));
        }
        Err(self.wrong(column, self.text(column).unwrap_or_default(), "is not above 0"))
    }

    /// A number from 0 to 1.
    ///
    /// # Errors
    /// It is there and is none.
    pub fn share(&self, column: &str) -> Result<Option<f64>, TableError> {
        let Some(number) = self.parse::<f64>(column, "a number")? else { return Ok(None) };
        if (0.0..=1.0).contains(&number) {
            return Ok(Some(number));
        }
        Err(self.wrong(column, self.text(column).unwrap_or_default(), "is not from 0 to 1"))
    }

    /// What is wrong with a cell.
    pub fn wrong(&self, column: &str, value: &str, reason: &str) -> TableError {
        // Some reasons begin with the value, which the message has already.
        let reason = reason.strip_prefix(&format!("`{value}` ")).unwrap_or(reason);
        TableError::Cell {
            path: self.table.path.clone(),
            line: self.line,
            column: column.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        }
    }

    /// Its line in the file.
    pub fn line(&self) -> u64 {
        self.line
    }
}
