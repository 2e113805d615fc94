//! Files that a command writes: opened before the work begins, written aside, put in place together at its end.
//!
//! What cannot be written is thus known before anything is computed, a run that is interrupted leaves the files of the
//! run before it as they were, and files that belong together are always of one run.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Files of this process that are written aside.
static ASIDE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Takes away what is written aside, for a program that ends at once.
pub fn abandon() {
    // A panic elsewhere says nothing of the list.
    let list = ASIDE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    for path in list.iter() {
        let _ = fs::remove_file(path);
    }
}

fn remember(path: &Path) {
    ASIDE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(path.to_owned());
}

fn forget(path: &Path) {
    ASIDE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).retain(|known| known != path);
}

/// Why a file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot be written ({reason}); choose another place", self.path.display())]
pub struct OutputError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub reason: String,
}

impl OutputError {
    fn new(path: &Path, reason: impl ToString) -> Self {
        Self { path: path.to_owned(), reason: reason.to_string() }
    }
}

/// Which file of [`Outputs`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputId(usize);

/// One file.
#[derive(Debug)]
struct Output {
    /// As the user named it.
    path: PathBuf,
    /// Where it goes: the file behind links.
    target: PathBuf,
    /// Where it is until then; `None` for what is no regular file (a pipe, a device), which is written straight away.
    aside: Option<PathBuf>,
    /// Where text goes; taken away where something else writes.
    file: Option<BufWriter<File>>,
    /// The same file, for what has to be done with it at the end.
    handle: File,
    executable: bool,
}

/// Files of one command.
#[derive(Debug, Default)]
pub struct Outputs {
    files: Vec<Output>,
    /// Folders that were made for them, outermost first.
    folders: Vec<PathBuf>,
    committed: bool,
}

impl Outputs {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes sure that there is a folder.
    ///
    /// # Errors
    /// There is something else of its name, or it cannot be made.
    pub fn folder(&mut self, path: &Path) -> Result<(), OutputError> {
        let missing: Vec<&Path> = path
            .ancestors()
            .filter(|part| !part.as_os_str().is_empty())
            .take_while(|part| !part.exists())
            .collect();
        fs::create_dir_all(path).map_err(|error| OutputError::new(path, error))?;
        self.folders.extend(missing.into_iter().rev().map(Path::to_owned));
        Ok(())
    }

    /// Opens a file; what is there already stays until [`Outputs::commit`].
    ///
    /// # Errors
    /// It cannot be written, or another file of this command goes there.
    pub fn open(&mut self, path: &Path) -> Result<OutputId, OutputError> {
        let failed = |error: io::Error| OutputError::new(path, error);
        // A link is followed, so that the file behind it is replaced, not the link.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if self.files.iter().any(|other| other.target == target) {
            return Err(OutputError::new(path, "two outputs of this command go there"));
        }
        let (aside, file) = match fs::metadata(&target) {
            Ok(found) if found.is_dir() => return Err(OutputError::new(path, "it is a folder")),
            Ok(found) if !found.is_file() => {
                (None, OpenOptions::new().write(true).open(&target).map_err(failed)?)
            }
            found => {
                if found.is_ok() {
                    OpenOptions::new().append(true).open(&target).map_err(failed)?;
                }
                let aside = aside(&target);
                let file = OpenOptions::new().write(true).create_new(true).open(&aside).map_err(failed)?;
                remember(&aside);
                (Some(aside), file)
            }
        };
        let handle = file.try_clone().map_err(failed)?;
        let file = Some(BufWriter::new(file));
        self.files.push(Output { path: path.to_owned(), target, aside, file, handle, executable: false });
        Ok(OutputId(self.files.len() - 1))
    }

    /// Opens a file that is written piece by piece by whoever gets the writer, who flushes it before the commit.
    ///
    /// # Errors
    /// As [`Outputs::open`].
    pub fn stream(&mut self, path: &Path) -> Result<BufWriter<File>, OutputError> {
        let id = self.open(path)?;
        let taken = self.files[id.0].file.take();
        taken.ok_or_else(|| OutputError::new(path, "it was just opened, and is gone"))
    }

    /// Writes all of a file.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(&mut self, id: OutputId, text: &str) -> Result<(), OutputError> {
        let output = &mut self.files[id.0];
        let Some(file) = &mut output.file else { return Ok(()) };
        file.write_all(text.as_bytes()).map_err(|error| OutputError::new(&output.path, error))
    }

    /// The file can be run.
    pub fn executable(&mut self, id: OutputId) {
        self.files[id.0].executable = true;
    }

    /// Names of the files in the order in which they were opened.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|output| output.path.as_path())
    }

    /// Puts all files in place. Nothing is in place unless everything has been written.
    ///
    /// # Errors
    /// The disk is full, or a folder is gone.
    pub fn commit(mut self) -> Result<(), OutputError> {
        for output in &mut self.files {
            output.finish().map_err(|error| OutputError::new(&output.path, error))?;
        }
        for output in &mut self.files {
            if let Some(aside) = &output.aside {
                fs::rename(aside, &output.target).map_err(|error| OutputError::new(&output.path, error))?;
                forget(aside);
                output.aside = None;
            }
        }
        self.committed = true;
        Ok(())
    }
}

impl Output {
    /// Everything on the disk.
    fn finish(&mut self) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            file.flush()?;
        }
        let Some(aside) = &self.aside else { return Ok(()) };
        self.handle.sync_all()?;
        if let Ok(present) = fs::metadata(&self.target) {
            fs::set_permissions(aside, present.permissions())?;
        }
        if self.executable { make_executable(aside) } else { Ok(()) }
    }
}

impl Drop for Outputs {
    /// Whatever is not in place is taken away, and so are folders that were made for it.
    fn drop(&mut self) {
        for output in &mut self.files {
            drop(output.file.take());
            if let Some(aside) = &output.aside {
                let _ = fs::remove_file(aside);
                forget(aside);
            }
        }
        if !self.committed {
            for folder in self.folders.iter().rev() {
                // A folder in which there is something else stays.
                let _ = fs::remove_dir(folder);
            }
        }
    }
}

/// A name beside the target that nobody else takes.
fn aside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A name may have 255 bytes, of which some are needed for what is added.
    let kept: String = name.chars().take(60).collect();
    target.with_file_name(format!(".{kept}.{}.unfinished", std::process::id()))
}

#[cfg(unix)]
fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let mode = fs::metadata(path)?.permissions().mode();
    // Whoever may read it may run it.
    fs::set_permissions(path, fs::Permissions::from_mode(mode | ((mode & 0o444) >> 2)))
}

#[cfg(not(unix))]
fn make_executable(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_are_in_place_together_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::write(&first, "old").expect("writes");
        let begin = || {
            let mut outputs = Outputs::new();
            let ids = [&first, &second].map(|path| outputs.open(path).expect("it can be written"));
            for id in ids {
                outputs.write(id, "new").expect("it is written");
            }
            outputs
        };
        drop(begin());
        assert_eq!(names(folder.path()), ["first"], "nothing is left of what was not finished");
        assert_eq!(fs::read_to_string(&first).expect("reads"), "old");
        begin().commit().expect("it is in place");
        assert_eq!(names(folder.path()), ["first", "second"]);
        assert_eq!(fs::read_to_string(&first).expect("reads"), "new");
    }

    #[test]
    fn what_cannot_be_written_is_known_before_the_work() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut outputs = Outputs::new();
        let is_folder = outputs.open(folder.path()).expect_err("a folder").to_string();
        assert!(is_folder.contains("it is a folder"), "{is_folder}");
        assert!(outputs.open(&folder.path().join("no/such/file")).is_err());
        let file = folder.path().join("file");
        outputs.open(&file).expect("it can be written");
        let twice = outputs.open(&file).expect_err("twice").to_string();
        assert!(twice.contains("two outputs") && twice.contains("file"), "{twice}");
    }

    #[test]
    fn folders_made_for_files_that_never_come_go_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("a/b");
        let mut outputs = Outputs::new();
        outputs.folder(&deep).expect("it is made");
        outputs.open(&deep.join("file")).expect("it can be written");
        drop(outputs);
        assert_eq!(names(folder.path()), [""; 0]);
        let mut outputs = Outputs::new();
        outputs.folder(&deep).expect("it is made");
        outputs.commit().expect("nothing to do");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let (link, behind) = (folder.path().join("link"), folder.path().join("behind"));
        fs::write(&behind, "old").expect("writes");
        std::os::unix::fs::symlink(&behind, &link).expect("a link");
        let mut outputs = Outputs::new();
        let (id, null) =
            (outputs.open(&link).expect("opens"), outputs.open(Path::new("/dev/null")).expect("opens"));
        outputs.write(id, "new").expect("it is written");
        outputs.write(null, "nothing").expect("it is written");
        outputs.executable(id);
        outputs.commit().expect("it is in place");
        assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
        assert_eq!(fs::read_to_string(&behind).expect("reads"), "new");
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&behind).expect("a file").permissions().mode() & 0o100, 0o100);
    }
}
