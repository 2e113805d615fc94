//! Expansion of words as bash does it: quotes, parameters, arithmetic, command substitution, splitting.

use super::arithmetic;
use super::state::Shell;
use super::value::{CLOSE, CLOSE_QUOTED, Var, is_unknown, only_mark, parted, unknown};
use crate::error::LaunchError;

/// The words built so far and the one being built.
#[derive(Default)]
struct Fields {
    done: Vec<String>,
    current: Option<String>,
}

impl Fields {
    fn push(&mut self, text: &str) {
        self.current.get_or_insert_default().push_str(text);
    }

    fn end(&mut self) {
        self.done.extend(self.current.take());
    }

    /// Puts a value behind the current word; where it is split, blanks end words, but not those within marks.
    fn value(&mut self, text: &str, split: bool) {
        if !split {
            return self.push(text);
        }
        for c in parted(text) {
            let Some(c) = c else {
                self.end();
                continue;
            };
            self.current.get_or_insert_default().push(if c == CLOSE_QUOTED { CLOSE } else { c });
        }
    }
}

/// What a `$` stands for.
pub(super) enum Expansion {
    /// One text.
    One(String),
    /// Words that stay apart even in quotes.
    Many(Vec<String>),
}

impl Shell<'_> {
    /// A word as bash splits it.
    pub(super) fn words(&mut self, text: &str) -> Result<Vec<String>, LaunchError> {
        if let Some(items) = braces(text) {
            return Ok(items);
        }
        self.expand(text, true)
    }

    /// A word that is not split, as on the right of `=`.
    pub(super) fn single(&mut self, text: &str) -> Result<String, LaunchError> {
        let mut words = self.expand(text, false)?;
        Ok(if words.len() == 1 { words.remove(0) } else { words.join(" ") })
    }

    /// The body of a here-document whose word was not quoted.
    pub(super) fn here_document(&mut self, text: &str) -> Result<String, LaunchError> {
        let quoted: String =
            text.chars().flat_map(|c| (c == '"').then_some('\\').into_iter().chain([c])).collect();
        self.single(&format!("\"{quoted}\""))
    }

    fn expand(&mut self, text: &str, split: bool) -> Result<Vec<String>, LaunchError> {
        self.down()?;
        let result = self.expand_inner(text, split);
        self.up();
        result
    }

    fn expand_inner(&mut self, text: &str, split: bool) -> Result<Vec<String>, LaunchError> {
        self.charge(text.len())?;
        let chars: Vec<char> = text.chars().collect();
        let mut fields = Fields::default();
        let mut quote = None;
        let mut at = 0;
        while at < chars.len() {
            let c = chars[at];
            at += 1;
            match (quote, c) {
                (Some(open), _) if c == open => quote = None,
                (Some('\''), _) => fields.push(c.encode_utf8(&mut [0; 4])),
                (None, '"' | '\'') => {
                    quote = Some(c);
                    fields.push("");
                }
                (_, '\\') if at < chars.len() => {
                    let next = chars[at];
                    at += 1;
                    if quote.is_some() && !matches!(next, '$' | '`' | '"' | '\\' | '\n') {
                        fields.push("\\");
                    }
                    if next != '\n' {
                        fields.push(next.encode_utf8(&mut [0; 4]));
                    }
                }
                (_, '`') => {
                    let end = (at..chars.len()).find(|i| chars[*i] == '`').unwrap_or(chars.len());
                    let inner: String = chars[at..end].iter().collect();
                    at = (end + 1).min(chars.len());
                    let value = self.substitution(&inner)?;
                    self.put(&mut fields, Expansion::One(value), quote.is_some(), split)?;
                }
                (None, '$') if matches!(chars.get(at), Some('\'' | '"')) => {}
                (_, '$') => {
                    let (value, next) = self.dollar(&chars, at)?;
                    at = next;
                    self.put(&mut fields, value, quote.is_some(), split)?;
                }
                (None, c) if c.is_ascii_whitespace() && split => fields.end(),
                (_, c) => fields.push(c.encode_utf8(&mut [0; 4])),
            }
        }
        fields.end();
        Ok(fields.done)
    }

    fn put(
        &mut self,
        fields: &mut Fields,
        value: Expansion,
        quoted: bool,
        split: bool,
    ) -> Result<(), LaunchError> {
        match value {
            Expansion::One(text) => {
                self.charge(text.len())?;
                if quoted && is_unknown(&text) {
                    fields.value(&text.replace(CLOSE, CLOSE_QUOTED.encode_utf8(&mut [0; 4])), false);
                } else {
                    fields.value(&text, split && !quoted);
                    if quoted {
                        fields.push("");
                    }
                }
            }
            Expansion::Many(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.charge(item.len() + 8)?;
                    if index > 0 {
                        if split {
                            fields.end();
                        } else {
                            fields.push(" ");
                        }
                    }
                    fields.value(item, split && !quoted);
                    if quoted {
                        fields.push("");
                    }
                }
            }
        }
        Ok(())
    }

    /// What follows a `$` at `at - 1`, and where it ends.
    fn dollar(&mut self, chars: &[char], at: usize) -> Result<(Expansion, usize), LaunchError> {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('('), Some('(')) => {
                let end = closing(chars, at);
                if end > at + 3 && chars.get(end - 2) == Some(&')') {
                    let inner: String = chars[at + 2..end - 2].iter().collect();
                    return Ok((Expansion::One(self.arithmetic(&inner)?), end));
                }
                let inner: String = chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                Ok((Expansion::One(self.substitution(&inner)?), end))
            }
            (Some('('), _) => {
                let end = closing(chars, at);
                let inner: String = chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                Ok((Expansion::One(self.substitution(&inner)?), end))
            }
            (Some('{'), _) => {
                let end = closing(chars, at);
                let inner: String = chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                Ok((self.braced(&inner)?, end))
            }
            (Some(c), _) if c.is_ascii_alphabetic() || *c == '_' => {
                let name: String =
                    chars[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
                let end = at + name.len();
                Ok((Expansion::One(self.lookup(&name)), end))
            }
            (Some(c), _) if c.is_ascii_digit() => Ok((Expansion::One(self.lookup(&c.to_string())), at + 1)),
            (Some('@' | '*'), _) => Ok((Expansion::Many(self.world.positional.clone()), at + 1)),
            (Some('#'), _) => Ok((Expansion::One(self.count()), at + 1)),
            (Some('?'), _) => Ok((Expansion::One("0".to_owned()), at + 1)),
            (Some('$' | '!' | '-'), _) => Ok((Expansion::One("1".to_owned()), at + 1)),
            _ => Ok((Expansion::One("$".to_owned()), at)),
        }
    }

    /// `$#`: not known where the user gives no arguments to a script that may want some.
    pub(super) fn count(&self) -> String {
        if self.function_depth == 0 && self.world.positional.is_empty() && self.inputs.args.is_empty() {
            return unknown(&["#".to_owned()]);
        }
        self.world.positional.len().to_string()
    }

    /// The value of `$NAME`; a mark if nobody sets it.
    pub(super) fn lookup(&self, name: &str) -> String {
        match self.var(name) {
            Some(var) => var.first(),
            // An argument that a function's caller leaves out is empty.
            None if self.function_depth > 0 && name.starts_with(|c: char| c.is_ascii_digit()) => {
                String::new()
            }
            None => unknown(&[name.to_owned()]),
        }
    }

    /// `$(( ... ))`.
    pub(super) fn arithmetic(&mut self, text: &str) -> Result<String, LaunchError> {
        let text = if text.contains(['$', '`', '"', '\'']) { self.single(text)? } else { text.to_owned() };
        let names: Vec<String> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|name| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_'))
            .take(64)
            .map(str::to_owned)
            .collect();
        let values: Vec<(String, String)> = if is_unknown(&text) {
            Vec::new()
        } else {
            names.into_iter().map(|name| (name.clone(), self.lookup(&name))).collect()
        };
        let mut whole = text.clone();
        for (_, value) in &values {
            whole.push(' ');
            whole.push_str(value);
        }
        if !is_unknown(&whole) {
            return Ok(compute(&text, &values).unwrap_or_else(|| unknown(&[format!("?$(({text}))")])));
        }
        let Some(condition) = self.only_condition(std::iter::once(whole.as_str())) else {
            return Ok(unknown(&self.causes(&whole)));
        };
        let mut arms = Vec::new();
        for arm in 0..self.conditions[condition].arms {
            let text = self.in_arm(&text, condition, arm)?;
            let mut known = Vec::new();
            for (name, value) in &values {
                known.push((name.clone(), self.in_arm(value, condition, arm)?));
            }
            let value = compute(&text, &known);
            arms.push(Var::Text(value.unwrap_or_else(|| unknown(&self.causes(&whole)))));
        }
        self.choice(condition, arms)
    }

    /// Whether a word is nothing but variables that nobody set, and so is left out; noted.
    pub(crate) fn left_out(&mut self, word: &str) -> bool {
        if !only_mark(word) || word.ends_with(CLOSE_QUOTED) || !Self::is_unset_mark(word) {
            return false;
        }
        let names = self.causes(word);
        self.empties.extend(names);
        true
    }
}

fn compute(text: &str, values: &[(String, String)]) -> Option<String> {
    let value = |name: &str| values.iter().find(|(own, _)| own == name).map(|(_, value)| value.clone());
    arithmetic::evaluate(text, &value).map(|value| value.to_string())
}

/// `{1..8}` and `{a,b}` where they are the whole word.
fn braces(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.contains(['{', '$', '"', '\'', ' ', '\n']) {
        return None;
    }
    if let Some((from, to)) = inner.split_once("..") {
        let (from, to) = (from.parse::<i32>().ok()?, to.parse::<i32>().ok()?);
        let items = if from <= to {
            (from..=to).take(4096).collect::<Vec<_>>()
        } else {
            (to..=from).rev().take(4096).collect()
        };
        return Some(items.iter().map(i32::to_string).collect());
    }
    inner.contains(',').then(|| inner.split(',').map(str::to_owned).collect())
}

/// Position after the bracket that closes the one at `at`; quotes are respected.
fn closing(chars: &[char], at: usize) -> usize {
    let (open, close) = if chars[at] == '(' { ('(', ')') } else { ('{', '}') };
    let (mut depth, mut quote, mut index) = (0u32, None, at);
    while index < chars.len() {
        let c = chars[index];
        index += 1;
        match (quote, c) {
            (_, '\\') if quote != Some('\'') => index += 1,
            (Some(mark), _) if c == mark => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c == open => depth += 1,
            (None, c) if c == close => {
                depth -= 1;
                if depth == 0 {
                    return index;
                }
            }
            _ => {}
        }
    }
    chars.len()
}
