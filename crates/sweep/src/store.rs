//! The folder of a sweep: rows that survive a killed process.
//!
//! Cells are grouped into segments of neighbours. A finished row is one line appended to the journal of its segment
//! (`journal-K.jsonl`) in one write, which a killed process has either done or not; half a line at the end is cut off
//! when the sweep goes on. A segment whose rows are all there becomes `part-K.parquet`, in the order of cells; the part
//! appears by a rename, and only then is the journal removed. When all parts are there they become `rows.parquet` the
//! same way. So every cell is, at any moment, in exactly one place or in none; where a crash leaves a journal beside
//! its part, or parts beside the whole, the former are known to be copies.

mod files;
mod journal;
mod rows;

use crate::error::SweepError;
use crate::evaluate::{Row, Status};
use crate::spec::Plan;
use files::{remove, sync_folder, write_atomically};
use fs4::fs_std::FileExt;
use journal::Journal;
use report::{Cell, Column, ParquetWriter, read_parquet};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

const IDENTITY: &str = "sweep.json";
const LOCK: &str = "lock";
const ROWS: &str = "rows.parquet";

/// How often, and how long apart, a taken lock is tried again.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Cells of one segment: few enough that parts appear while a small sweep runs, enough that a large one has not too
/// many files.
fn segment_size(cells: u64) -> u64 {
    (cells / 64).next_power_of_two().clamp(16, 8192)
}

/// Rows of a sweep in a folder, which no other process can use at the same time.
pub struct Store {
    folder: PathBuf,
    columns: Vec<Column>,
    cells: u64,
    size: u64,
    /// Segments that are parts.
    parts: BTreeSet<u64>,
    /// Segments of which some rows were there at the start, with the cells of those.
    begun: BTreeMap<u64, BTreeSet<u64>>,
    open: Mutex<BTreeMap<u64, Arc<Mutex<Journal>>>>,
    whole: bool,
    _lock: File,
}

/// How many cells ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    counts: [u64; Status::ALL.len()],
}

impl Tally {
    /// Cells that ended so.
    pub fn of(&self, status: Status) -> u64 {
        self.counts[status as usize]
    }

    fn count(&mut self, name: &str) {
        if let Some(status) = Status::ALL.into_iter().find(|status| status.name() == name) {
            self.counts[status as usize] += 1;
        }
    }
}

impl Store {
    /// Opens the folder of `plan`, made if it is not there.
    ///
    /// # Errors
    /// The folder belongs to another sweep or to something else, another process is using it, or it cannot be used.
    pub fn open(folder: &Path, plan: &Plan) -> Result<Self, SweepError> {
        std::fs::create_dir_all(folder).map_err(|error| SweepError::io(folder, &error))?;
        let refused = |problem: &str| {
            Err(SweepError::Folder { folder: folder.display().to_string(), problem: problem.to_owned() })
        };
        let identity = folder.join(IDENTITY);
        if !identity.exists() && files::has_strangers(folder, &[LOCK])? {
            return refused("the folder is not empty and holds no sweep; give another one");
        }
        let path = folder.join(LOCK);
        let lock = File::options().create(true).append(true).open(&path);
        let lock = lock.map_err(|error| SweepError::io(&path, &error))?;
        if !locked(&lock).map_err(|error| SweepError::io(&path, &error))? {
            return refused("another process is working on this sweep; wait for it or stop it");
        }
        if !same_identity(&identity, plan)? {
            return refused(
                "the folder holds the rows of another sweep (or of another version); give another folder, or delete it",
            );
        }
        Self::resume(folder, plan, lock)
    }

    fn resume(folder: &Path, plan: &Plan, lock: File) -> Result<Self, SweepError> {
        let mut store = Self {
            folder: folder.to_owned(),
            columns: plan.columns().to_vec(),
            cells: plan.cells(),
            size: segment_size(plan.cells()),
            parts: BTreeSet::new(),
            begun: BTreeMap::new(),
            open: Mutex::default(),
            whole: folder.join(ROWS).exists(),
            _lock: lock,
        };
        let found = files::list(folder)?;
        for path in found.unfinished {
            remove(&path)?;
        }
        if store.whole {
            let copies = found.parts.iter().map(|part| store.part(*part));
            copies
                .chain(found.journals.iter().map(|part| store.journal(*part)))
                .try_for_each(|path| remove(&path))?;
            return Ok(store);
        }
        store.parts = found.parts;
        for segment in found.journals {
            if store.parts.contains(&segment) {
                remove(&store.journal(segment))?;
                continue;
            }
            let rows = Journal::recover(&store.journal(segment), store.range(segment))?;
            store.begun.insert(segment, rows);
        }
        // A process may have been killed between the last row of a segment and its part.
        let full = |(segment, rows): (&u64, &BTreeSet<u64>)| {
            (rows.len() as u64 == store.range(*segment).end - store.range(*segment).start).then_some(*segment)
        };
        let full: Vec<u64> = store.begun.iter().filter_map(full).collect();
        for segment in full {
            store.begun.remove(&segment);
            store.close(segment)?;
            store.parts.insert(segment);
        }
        Ok(store)
    }

    fn part(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("part-{segment:06}.parquet"))
    }

    fn journal(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("journal-{segment:06}.jsonl"))
    }

    /// The cells of a segment.
    fn range(&self, segment: u64) -> std::ops::Range<u64> {
        let start = segment.saturating_mul(self.size).min(self.cells);
        start..start.saturating_add(self.size).min(self.cells)
    }

    fn segments(&self) -> u64 {
        self.cells.div_ceil(self.size)
    }

    /// Cells whose rows were there when the store was opened.
    pub fn done(&self) -> u64 {
        if self.whole {
            return self.cells;
        }
        let parts: u64 = self.parts.iter().map(|part| self.range(*part).end - self.range(*part).start).sum();
        parts + self.begun.values().map(|rows| rows.len() as u64).sum::<u64>()
    }

    /// Cells whose rows were not there when the store was opened, in order.
    pub fn pending(&self) -> impl Iterator<Item = u64> + Send + '_ {
        let segments = if self.whole { 0 } else { self.segments() };
        (0..segments).filter(|segment| !self.parts.contains(segment)).flat_map(move |segment| {
            let begun = self.begun.get(&segment);
            self.range(segment).filter(move |cell| begun.is_none_or(|rows| !rows.contains(cell)))
        })
    }

    /// Keeps a row. When this returns, a killed process does not lose it.
    ///
    /// # Errors
    /// It cannot be written; the sweep can go on later from what was written before.
    pub fn keep(&self, row: &Row) -> Result<(), SweepError> {
        let segment = row.cell / self.size;
        let journal = self.opened(segment)?;
        let mut journal = journal.lock().unwrap_or_else(PoisonError::into_inner);
        journal.append(&row.line())?;
        if journal.missing() > 0 {
            return Ok(());
        }
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&segment);
        self.close(segment)
    }

    fn opened(&self, segment: u64) -> Result<Arc<Mutex<Journal>>, SweepError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(journal) = open.get(&segment) {
            return Ok(Arc::clone(journal));
        }
        let range = self.range(segment);
        let there = self.begun.get(&segment).map_or(0, |rows| rows.len() as u64);
        let journal = Journal::open(&self.journal(segment), range.end - range.start - there)?;
        let journal = Arc::new(Mutex::new(journal));
        open.insert(segment, Arc::clone(&journal));
        Ok(journal)
    }

    /// Turns the full journal of a segment into its part.
    fn close(&self, segment: u64) -> Result<(), SweepError> {
        let path = self.journal(segment);
        let mut rows = Journal::read(&path)?;
        rows.sort_by_key(|row| row.cell);
        write_atomically(&self.part(segment), |file| {
            let mut writer = ParquetWriter::new(file, &self.columns)?;
            rows.iter().try_for_each(|row| writer.push(&rows::cells(&self.columns, &row.values)))?;
            writer.finish()
        })?;
        sync_folder(&self.folder);
        remove(&path)
    }

    /// Puts all rows into `rows.parquet`, in the order of cells, and counts them.
    ///
    /// # Errors
    /// Rows are missing, or a file cannot be read or written.
    pub fn finish(self) -> Result<(PathBuf, Tally), SweepError> {
        let path = self.folder.join(ROWS);
        let mut tally = Tally::default();
        if self.whole {
            rows::read(&path, |row| count(&mut tally, &row))?;
            return Ok((path, tally));
        }
        write_atomically(&path, |file| {
            let mut writer = ParquetWriter::new(file, &self.columns)?;
            for segment in 0..self.segments() {
                read_parquet(File::open(self.part(segment))?, |row| {
                    count(&mut tally, &row);
                    writer.push(&row)
                })?;
            }
            writer.finish()
        })?;
        sync_folder(&self.folder);
        (0..self.segments()).try_for_each(|segment| remove(&self.part(segment)))?;
        Ok((path, tally))
    }
}

/// Whether the lock could be had. A killed process keeps its own for the moment that it takes to go away.
fn locked(lock: &File) -> std::io::Result<bool> {
    for _ in 0..LOCK_TRIES {
        if FileExt::try_lock_exclusive(lock)? {
            return Ok(true);
        }
        std::thread::sleep(LOCK_PAUSE);
    }
    Ok(false)
}

fn count(tally: &mut Tally, row: &[Cell]) {
    // The second column of every sweep is the status.
    if let Some(Cell::Text(status)) = row.get(1) {
        tally.count(status);
    }
}

/// Whether the folder's sweep is this one; a folder without a sweep becomes this one's.
fn same_identity(path: &Path, plan: &Plan) -> Result<bool, SweepError> {
    let identity = plan.identity();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(serde_json::from_str::<Value>(&text).is_ok_and(|found| found == identity)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            write_atomically(path, |mut file| {
                use std::io::Write;
                file.write_all(format!("{identity:#}\n").as_bytes()).map(|()| file)
            })?;
            Ok(true)
        }
        Err(error) => Err(SweepError::io(path, &error)),
    }
}

#[cfg(test)]
mod tests;
