//! Files that appear whole or not at all.

use crate::error::SweepError;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};

/// What ends the name of a file that is being written.
const UNFINISHED: &str = ".unfinished";

/// Writes a file under another name and renames it when it is on the disk.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(BufWriter<File>) -> io::Result<BufWriter<File>>,
) -> Result<(), SweepError> {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    let unfinished = PathBuf::from(name);
    let written = File::create(&unfinished)
        .and_then(|file| write(BufWriter::new(file)))
        .and_then(|buffer| buffer.into_inner().map_err(io::IntoInnerError::into_error))
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(&unfinished, path));
    written.map_err(|error| SweepError::io(path, &error))
}

/// Puts renames on the disk, so that what is removed after them is not missed if the power fails. Not every system can;
/// a killed process alone loses nothing without it.
pub fn sync_folder(folder: &Path) {
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

/// Removes a file; one that is not there is as good as removed.
pub fn remove(path: &Path) -> Result<(), SweepError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SweepError::io(path, &error)),
        _ => Ok(()),
    }
}

/// The files of a sweep, by segment.
#[derive(Default)]
pub struct Found {
    pub parts: BTreeSet<u64>,
    pub journals: BTreeSet<u64>,
    pub unfinished: Vec<PathBuf>,
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, SweepError> {
    let list = || std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    list().map_err(|error| SweepError::io(folder, &error))
}

/// Lists the files of a sweep.
pub fn list(folder: &Path) -> Result<Found, SweepError> {
    let mut found = Found::default();
    for path in entries(folder)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let segment = |prefix: &str, suffix: &str| -> Option<u64> {
            name.strip_prefix(prefix)?.strip_suffix(suffix)?.parse().ok()
        };
        if let Some(segment) = segment("part-", ".parquet") {
            found.parts.insert(segment);
        } else if let Some(segment) = segment("journal-", ".jsonl") {
            found.journals.insert(segment);
        } else if name.ends_with(UNFINISHED) {
            found.unfinished.push(path);
        }
    }
    Ok(found)
}

/// Whether the folder holds anything but files that are being written and those named.
pub fn has_strangers(folder: &Path, known: &[&str]) -> Result<bool, SweepError> {
    Ok(entries(folder)?.iter().any(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.ends_with(UNFINISHED) && !known.contains(&name.as_ref())
    }))
}
