//! JSON objects one after the other, on lines of their own or in an array, one at a time.

use super::bytes::Text;
use crate::error::WorkloadError;

/// No object of a trace is longer than this; more is a file of another kind.
const LONGEST_OBJECT: usize = 256 << 20;

/// Cuts a text into its outermost objects.
pub(crate) struct Objects {
    pub text: Text,
    buffer: Vec<u8>,
}

impl Objects {
    pub fn new(text: Text) -> Self {
        Self { text, buffer: Vec::new() }
    }

    /// The next object's bytes and the line it begins on.
    pub fn next(&mut self) -> Result<Option<(u64, &[u8])>, WorkloadError> {
        let line = loop {
            let line = self.text.line;
            match self.text.byte()? {
                None => return Ok(None),
                Some(b'{') => break line,
                Some(b' ' | b'\t' | b'\r' | b'\n' | b',' | b'[' | b']') => {}
                // A byte-order mark.
                Some(0xef | 0xbb | 0xbf) if line == 1 => {}
                Some(byte) => {
                    let problem = format!("`{}` where an object `{{...}}` should begin", char::from(byte));
                    return Err(self.text.wrong(line, problem));
                }
            }
        };
        self.buffer.clear();
        self.buffer.push(b'{');
        let (mut depth, mut quoted, mut escaped) = (1, false, false);
        while depth > 0 {
            let Some(byte) = self.text.byte()? else {
                return Err(self.text.wrong(line, "the file ends inside the object that begins here"));
            };
            self.buffer.push(byte);
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b'{' if !quoted => depth += 1,
                b'}' if !quoted => depth -= 1,
                _ => {}
            }
            if self.buffer.len() > LONGEST_OBJECT {
                return Err(self.text.wrong(line, "the object that begins here has more than 256 MB"));
            }
        }
        Ok(Some((line, &self.buffer)))
    }
}
