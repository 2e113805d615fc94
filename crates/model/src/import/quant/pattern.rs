//! How configurations name modules: a path, a path with `*`, or a regular expression after `re:`.

use crate::import::keys::{Keys, Read};
use regex_lite::Regex;
use serde_json::Value;

/// A set of modules.
#[derive(Debug)]
pub(super) enum Pattern {
    /// A module and what is below it; a path that does not start at the root matches anywhere.
    Path(String),
    /// The same with `*` for anything.
    Glob(String),
    /// Names that a regular expression is found at the start of.
    Regex(Regex),
}

impl Pattern {
    fn parse(keys: &Keys, names: &str, text: &str) -> Read<Self> {
        let Some(expression) = text.strip_prefix("re:") else {
            let owned = text.to_owned();
            return Ok(if text.contains('*') { Self::Glob(owned) } else { Self::Path(owned) });
        };
        match Regex::new(&format!("^(?:{expression})")) {
            Ok(regex) => Ok(Self::Regex(regex)),
            Err(error) => Err(keys.unknown(
                names,
                &format!("`{text}`"),
                &format!("it is no regular expression: {error}"),
            )),
        }
    }

    /// The patterns of a list.
    pub(super) fn list(keys: &Keys, names: &str) -> Read<Vec<Self>> {
        let one = |item: &Value| match item.as_str() {
            Some(text) => Self::parse(keys, names, text),
            None => Err(keys.wrong_type(names, "a list of strings", item)),
        };
        keys.list(names)?.unwrap_or_default().iter().map(one).collect()
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Path(path) => contains_path(name, path),
            Self::Glob(glob) => glob_matches(glob.as_bytes(), name.as_bytes()) || glob_above(glob, name),
            Self::Regex(regex) => regex.is_match(name),
        }
    }
}

/// Whether `path` is a run of whole components of `name`.
fn contains_path(name: &str, path: &str) -> bool {
    let starts = |start: usize| start == 0 || name.as_bytes()[start - 1] == b'.';
    let ends = |end: usize| end == name.len() || name.as_bytes()[end] == b'.';
    name.match_indices(path).any(|(start, found)| starts(start) && ends(start + found.len()))
}

/// Whether the pattern matches a module that `name` is below.
fn glob_above(glob: &str, name: &str) -> bool {
    name.match_indices('.').any(|(end, _)| glob_matches(glob.as_bytes(), &name.as_bytes()[..end]))
}

/// Matches `*` with any run of characters, in time linear in the product of the lengths.
fn glob_matches(glob: &[u8], name: &[u8]) -> bool {
    let (mut g, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while n < name.len() {
        if g < glob.len() && glob[g] == b'*' {
            retry = Some((g, n));
            g += 1;
        } else if g < glob.len() && glob[g] == name[n] {
            g += 1;
            n += 1;
        } else if let Some((star, start)) = retry {
            retry = Some((star, start + 1));
            g = star + 1;
            n = start + 1;
        } else {
            return false;
        }
    }
    glob[g..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_whole_components() {
        assert!(contains_path("model.layers.1.mlp.gate", "gate"));
        assert!(!contains_path("model.layers.1.mlp.gate_proj", "gate"));
        assert!(contains_path("model.layers.1.mlp.experts.0.up_proj", "model.layers.1.mlp.experts"));
        assert!(!contains_path("model.layers.11.mlp", "model.layers.1"));
    }

    #[test]
    fn globs_match_names_and_what_is_below() {
        let glob = |pattern: &str| Pattern::Glob(pattern.to_owned());
        assert!(glob("model.layers.*.self_attn").matches("model.layers.7.self_attn.q_proj"));
        assert!(glob("model.layers.0.self_attn*").matches("model.layers.0.self_attn.q_proj"));
        assert!(glob("*.attn.*").matches("layers.0.attn.wq_b"));
        assert!(!glob("*.attn.*").matches("layers.0.ffn.experts.0.w1"));
        assert!(glob("a*a*a*b").matches("aaaaaaaaab") && !glob("a*a*a*b").matches("aaaaaaaaac"));
    }
}
