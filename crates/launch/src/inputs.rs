//! What the user says beside the file: arguments, variables, and how files beside it are read.

use std::collections::BTreeMap;

/// What a launch is read with.
#[derive(Default)]
pub struct Inputs<'a> {
    /// Positional arguments of the script, from 1.
    pub args: BTreeMap<u32, String>,
    /// Variables of the environment.
    pub env: BTreeMap<String, String>,
    /// Reads a file that the launch names (a DeepSpeed configuration, another script); `None` if there is none.
    pub files: Option<&'a dyn Fn(&str) -> Option<String>>,
}

impl Inputs<'_> {
    /// The text of a file that the launch names.
    pub(crate) fn file(&self, name: &str) -> Option<String> {
        self.files.and_then(|read| read(name)).filter(|text| text.len() <= MAX_TEXT)
    }
}

/// Bytes beyond which a text is no launch.
pub const MAX_TEXT: usize = 1 << 20;

/// Reads `NAME=VALUE`.
///
/// # Errors
/// There is no `=`, or no name before it.
pub fn parse_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => {
            Err(format!("`{text}` is not NAME=VALUE, for example NNODES=4 (or 1=8B for the first argument)"))
        }
    }
}
