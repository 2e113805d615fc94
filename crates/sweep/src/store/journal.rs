//! Rows of one segment as they finish, a line each.

use crate::error::SweepError;
use crate::evaluate::Row;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A journal that is being written.
pub struct Journal {
    path: PathBuf,
    file: File,
    missing: u64,
    /// Whether a line may be there in part, so that nothing whole can follow it.
    torn: bool,
}

impl Journal {
    /// Opens a journal to which `missing` rows are to be added.
    pub fn open(path: &Path, missing: u64) -> Result<Self, SweepError> {
        let file = File::options().create(true).append(true).open(path);
        let file = file.map_err(|error| SweepError::io(path, &error))?;
        Ok(Self { path: path.to_owned(), file, missing, torn: false })
    }

    /// Adds a row. The line goes to the system in one write.
    pub fn append(&mut self, line: &str) -> Result<(), SweepError> {
        if self.torn {
            let message = "a row could not be written; give the command again when there is room".to_owned();
            return Err(SweepError::File { file: self.path.display().to_string(), message });
        }
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        self.torn = written.is_err();
        written.map_err(|error| SweepError::io(&self.path, &error))?;
        self.missing = self.missing.saturating_sub(1);
        Ok(())
    }

    /// Rows still to be added.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// The rows of a journal that is whole.
    pub fn read(path: &Path) -> Result<Vec<Row>, SweepError> {
        let text = std::fs::read_to_string(path).map_err(|error| SweepError::io(path, &error))?;
        let rows = text.lines().enumerate().map(|(at, line)| {
            Row::parse(line).ok_or_else(|| SweepError::File {
                file: path.display().to_string(),
                message: format!(
                    "line {} is damaged; delete the file, its cells are evaluated again",
                    at + 1
                ),
            })
        });
        rows.collect()
    }

    /// The cells of a journal that a process left behind. From the first line on that is not whole, or not of this
    /// segment, the journal is cut off: what was there is evaluated again.
    pub fn recover(path: &Path, segment: Range<u64>) -> Result<BTreeSet<u64>, SweepError> {
        let bytes = std::fs::read(path).map_err(|error| SweepError::io(path, &error))?;
        let mut cells = BTreeSet::new();
        let mut good = 0;
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            let row =
                line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()).and_then(Row::parse);
            match row {
                Some(row) if segment.contains(&row.cell) && cells.insert(row.cell) => good += line.len(),
                _ => break,
            }
        }
        if good < bytes.len() {
            let cut = File::options().write(true).open(path).and_then(|file| file.set_len(good as u64));
            cut.map_err(|error| SweepError::io(path, &error))?;
        }
        Ok(cells)
    }
}
