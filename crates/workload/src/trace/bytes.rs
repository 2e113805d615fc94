//! Bytes of a trace, decompressed, with the count of lines.

use crate::error::WorkloadError;
use std::io::{self, BufRead, BufReader, Read};

/// No line of a trace is longer than this; more is a file of another kind.
const LONGEST_LINE: u64 = 256 << 20;

/// No trace has more bytes than this once decompressed: beyond it a small file was made to grow without end.
const LONGEST_TEXT: u64 = 256 << 30;

/// No result that is read as a whole is larger than this.
const LONGEST_WHOLE: u64 = 512 << 20;

/// How much is looked at to tell the format.
const PEEK: usize = 1 << 16;

/// A reader whose beginning has been read ahead; an error met on the way is given back when reading gets there.
struct Ahead {
    head: io::Cursor<Vec<u8>>,
    failed: Option<io::Error>,
    rest: Box<dyn Read>,
}

impl Ahead {
    fn new(mut rest: Box<dyn Read>) -> Self {
        let mut head = Vec::new();
        let failed = rest.by_ref().take(PEEK as u64).read_to_end(&mut head).err();
        Self { head: io::Cursor::new(head), failed, rest }
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.head.read(buffer)? {
            0 if !buffer.is_empty() => match self.failed.take() {
                Some(error) => Err(error),
                None => self.rest.read(buffer),
            },
            count => Ok(count),
        }
    }
}

/// Decompressed text, read in order.
pub(crate) struct Text {
    pub file: String,
    start: String,
    input: BufReader<Ahead>,
    compressed: bool,
    taken: u64,
    /// The line that is read next, from one.
    pub line: u64,
}

impl Text {
    /// Tells compression by the first bytes.
    pub fn open(file: &str, input: Box<dyn Read>) -> Result<Self, WorkloadError> {
        let read = |error| WorkloadError::Read { file: file.to_owned(), error };
        let mut input = input;
        let mut magic = Vec::new();
        input.by_ref().take(4).read_to_end(&mut magic).map_err(read)?;
        let whole = io::Cursor::new(magic.clone()).chain(input);
        let (input, compressed): (Box<dyn Read>, bool) = match magic[..] {
            [0x1f, 0x8b, ..] => (Box::new(flate2::read::MultiGzDecoder::new(whole)), true),
            [0x28, 0xb5, 0x2f, 0xfd] => {
                let decoder = ruzstd::decoding::StreamingDecoder::new(whole).map_err(|error| {
                    WorkloadError::Compression { file: file.to_owned(), line: 0, detail: error.to_string() }
                })?;
                (Box::new(decoder), true)
            }
            _ => (Box::new(whole), false),
        };
        let ahead = Ahead::new(input);
        let start = String::from_utf8_lossy(ahead.head.get_ref()).into_owned();
        let input = BufReader::with_capacity(PEEK, ahead);
        Ok(Self { file: file.to_owned(), start, input, compressed, taken: 0, line: 1 })
    }

    fn failed(&self, error: io::Error) -> WorkloadError {
        if self.compressed {
            let detail = error.to_string();
            WorkloadError::Compression { file: self.file.clone(), line: self.line - 1, detail }
        } else {
            WorkloadError::Read { file: self.file.clone(), error }
        }
    }

    /// An error in the line that was read last, or in `line`.
    pub fn wrong(&self, line: u64, problem: impl Into<String>) -> WorkloadError {
        WorkloadError::Line { file: self.file.clone(), line, problem: problem.into() }
    }

    /// What comes first, without reading it.
    pub fn start(&self) -> &str {
        &self.start
    }

    /// The next line without its end; false at the end of the text.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> Result<bool, WorkloadError> {
        line.clear();
        let count = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', line);
        let count = count.map_err(|error| self.failed(error))?;
        if count == 0 {
            return Ok(false);
        }
        if count as u64 == LONGEST_LINE && line.last() != Some(&b'\n') {
            return Err(self.wrong(self.line, format!("the line has more than {LONGEST_LINE} bytes")));
        }
        self.count(count as u64)?;
        self.line += 1;
        while matches!(line.last(), Some(b'\n' | b'\r')) {
            line.pop();
        }
        Ok(true)
    }

    /// Counts bytes, and stops at more than any trace has.
    fn count(&mut self, bytes: u64) -> Result<(), WorkloadError> {
        self.taken += bytes;
        if self.taken <= LONGEST_TEXT {
            return Ok(());
        }
        Err(self
            .wrong(self.line, format!("the text has more than {LONGEST_TEXT} bytes; cut the trace in parts")))
    }

    /// The next byte, if there is one.
    pub fn byte(&mut self) -> Result<Option<u8>, WorkloadError> {
        let next = match self.input.fill_buf() {
            Ok(bytes) => bytes.first().copied(),
            Err(error) => return Err(self.failed(error)),
        };
        if let Some(byte) = next {
            self.input.consume(1);
            self.line += u64::from(byte == b'\n');
            self.count(1)?;
        }
        Ok(next)
    }

    /// All that is left.
    pub fn rest(&mut self) -> Result<Vec<u8>, WorkloadError> {
        let mut bytes = Vec::new();
        let read = (&mut self.input).take(LONGEST_WHOLE + 1).read_to_end(&mut bytes);
        read.map_err(|error| self.failed(error))?;
        if bytes.len() as u64 > LONGEST_WHOLE {
            return Err(self.wrong(1, format!("the result has more than {LONGEST_WHOLE} bytes")));
        }
        Ok(bytes)
    }
}
