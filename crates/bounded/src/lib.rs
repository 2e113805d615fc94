//! Input within bounds: files that are read up to a stated size, so that none, however well packed or endless, takes the
//! memory of the machine, the [`ranges`] of the numbers in them, and the [`place`] of a key that is wrong.
//!
//! The limits on sizes are far above what the formats need. They count bytes as they are used: after decompression.

pub mod place;
pub mod ranges;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a text that is read as a whole: a scenario, a plan, a configuration, a script.
pub const TEXT: u64 = 64 << 20;

/// Most bytes of a table that is held in memory, unpacked.
pub const TABLE: u64 = 512 << 20;

/// Most bytes of one line or one record of a stream that is otherwise not held in memory.
pub const RECORD: u64 = 16 << 20;

/// Input that does not end where it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("holds more than {} MiB{}, the most that is read", self.limit >> 20, if self.record { " in one record" } else { "" })]
pub struct TooLarge {
    /// Most bytes that are read.
    pub limit: u64,
    /// Whether the limit is that of one record, not of the whole.
    pub record: bool,
}

impl From<TooLarge> for io::Error {
    fn from(error: TooLarge) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// A reader that fails once more than a limit has been read.
#[derive(Debug)]
pub struct Capped<R> {
    input: R,
    left: u64,
    limit: u64,
}

impl<R> Capped<R> {
    /// Of `input`, of which at most `limit` bytes are read.
    pub fn new(input: R, limit: u64) -> Self {
        Self { input, left: limit, limit }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => {
                self.left = left;
                Ok(count)
            }
            None => Err(TooLarge { limit: self.limit, record: false }.into()),
        }
    }
}

/// The text of a file.
///
/// # Errors
/// It cannot be read, is no UTF-8, or holds more than `limit` bytes.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Err(TooLarge { limit, record: false }.into());
    }
    text_of(file, limit)
}

/// All text of `input`.
///
/// # Errors
/// As [`read_text`].
pub fn text_of(input: impl Read, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    Capped::new(input, limit).read_to_string(&mut text)?;
    Ok(text)
}

/// All bytes of `input`.
///
/// # Errors
/// It cannot be read, or holds more than `limit` bytes.
pub fn bytes_of(input: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    Capped::new(input, limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_within_the_limit_is_whole() {
        assert_eq!(text_of("four".as_bytes(), 4).expect("it fits"), "four");
        assert_eq!(bytes_of(&b""[..], 0).expect("it fits"), b"");
    }

    #[test]
    fn endless_input_is_refused_with_the_limit() {
        let error = bytes_of(io::repeat(b'x'), 1 << 20).expect_err("it does not end").to_string();
        assert_eq!(error, "holds more than 1 MiB, the most that is read");
    }

    #[test]
    fn large_files_are_refused_before_they_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("sparse");
        File::create(&path).and_then(|file| file.set_len(1 << 40)).expect("a sparse file");
        assert!(read_text(&path, TEXT).is_err_and(|error| error.to_string().contains("64 MiB")));
    }
}
