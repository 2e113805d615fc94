//! Expansion of words as bash does it: quotes, parameters, arithmetic, command substitution, splitting.

use super::arithmetic;
use super::pattern;
use super::state::Shell;
use super::value::{CLOSE, CLOSE_QUOTED, OPEN, Var, is_unknown, only_mark, unknown};
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
        let mut marked = false;
        for c in text.chars() {
            match c {
                OPEN => marked = true,
                CLOSE | CLOSE_QUOTED => marked = false,
                c if c.is_ascii_whitespace() && !marked => {
                    self.end();
                    continue;
                }
                _ => {}
            }
            self.current.get_or_insert_default().push(if c == CLOSE_QUOTED { CLOSE } else { c });
        }
    }
}

/// What a `$` stands for.
enum Value {
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
                    self.put(&mut fields, Value::One(value), quote.is_some(), split)?;
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
        value: Value,
        quoted: bool,
        split: bool,
    ) -> Result<(), LaunchError> {
        match value {
            Value::One(text) => {
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
            Value::Many(items) => {
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
    fn dollar(&mut self, chars: &[char], at: usize) -> Result<(Value, usize), LaunchError> {
        match (chars.get(at), chars.get(at + 1)) {
            (Some('('), Some('(')) => {
                let end = closing(chars, at);
                if end > at + 3 && chars.get(end - 2) == Some(&')') {
                    let inner: String = chars[at + 2..end - 2].iter().collect();
                    return Ok((Value::One(self.arithmetic(&inner)?), end));
                }
                let inner: String = chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                Ok((Value::One(self.substitution(&inner)?), end))
            }
            (Some('('), _) => {
                let end = closing(chars, at);
                let inner: String = chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
                Ok((Value::One(self.substitution(&inner)?), end))
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
                Ok((Value::One(self.lookup(&name)), end))
            }
            (Some(c), _) if c.is_ascii_digit() => Ok((Value::One(self.lookup(&c.to_string())), at + 1)),
            (Some('@' | '*'), _) => Ok((Value::Many(self.world.positional.clone()), at + 1)),
            (Some('#'), _) => Ok((Value::One(self.count()), at + 1)),
            (Some('?'), _) => Ok((Value::One("0".to_owned()), at + 1)),
            (Some('$' | '!' | '-'), _) => Ok((Value::One("1".to_owned()), at + 1)),
            _ => Ok((Value::One("$".to_owned()), at)),
        }
    }

    /// `$#`: not known where the user gives no arguments to a script that may want some.
    fn count(&self) -> String {
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

    /// The inside of `${...}`.
    fn braced(&mut self, inner: &str) -> Result<Value, LaunchError> {
        if inner == "@" || inner == "*" {
            return Ok(Value::Many(self.world.positional.clone()));
        }
        if inner == "#" {
            return Ok(Value::One(self.count()));
        }
        if let Some(rest) = inner.strip_prefix('#').filter(|rest| !rest.is_empty()) {
            return self.length(rest);
        }
        if let Some(rest) = inner.strip_prefix('!') {
            return self.indirect(rest);
        }
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, mut modifier) = inner.split_at(end);
        if name.is_empty() {
            return Ok(Value::One(unknown(&[format!("?${{{inner}}}")])));
        }
        let mut var = self.var(name);
        if let Some((index, rest)) = modifier.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            modifier = rest;
            if index == "@" || index == "*" {
                if let Some(rest) =
                    modifier.strip_prefix(':').filter(|rest| !rest.starts_with(['-', '+', '=', '?']))
                {
                    return self.slice(&var.map(|var| var.elements()).unwrap_or_default(), rest);
                }
                let empty = var.as_ref().is_none_or(|var| var.elements().is_empty());
                if modifier.is_empty() || !empty {
                    return Ok(match var {
                        Some(var) => Value::Many(var.elements()),
                        None => Value::One(self.lookup(name)),
                    });
                }
                var = None;
            } else {
                let key = self.single(index)?;
                var = self.element(var.as_ref(), &key)?;
            }
        }
        self.modified(name, var.map(|var| var.first()), modifier).map(Value::One)
    }

    /// An element of an array.
    fn element(&mut self, var: Option<&Var>, key: &str) -> Result<Option<Var>, LaunchError> {
        if is_unknown(key) {
            return Ok(Some(Var::Text(unknown(&self.causes(key)))));
        }
        Ok(match var {
            Some(Var::Map(map)) => map.get(key).cloned().map(Var::Text),
            Some(Var::List(list)) => {
                let index = self.arithmetic(key)?;
                let number = index.parse::<i64>().ok();
                let number =
                    number.map(|number| if number < 0 { number + list.len() as i64 } else { number });
                let element = number
                    .and_then(|number| usize::try_from(number).ok())
                    .and_then(|at| list.get(at).cloned());
                Some(Var::Text(element.unwrap_or_default()))
            }
            Some(Var::Text(text)) if key == "0" => Some(Var::Text(text.clone())),
            _ => None,
        })
    }

    fn slice(&mut self, items: &[String], range: &str) -> Result<Value, LaunchError> {
        let (from, count) = range.split_once(':').unwrap_or((range, ""));
        let from = self.arithmetic(from)?.parse::<usize>().ok();
        let count =
            if count.is_empty() { Some(usize::MAX) } else { self.arithmetic(count)?.parse::<usize>().ok() };
        Ok(match (from, count) {
            (Some(from), Some(count)) => Value::Many(items.iter().skip(from).take(count).cloned().collect()),
            _ => Value::One(unknown(&[format!("?{range}")])),
        })
    }

    /// `${#NAME}` and `${#NAME[@]}`.
    fn length(&mut self, rest: &str) -> Result<Value, LaunchError> {
        let value = match rest.strip_suffix("[@]").or(rest.strip_suffix("[*]")) {
            Some(name) => match self.var(name) {
                Some(Var::Text(text)) if is_unknown(&text) => unknown(&self.causes(&text)),
                Some(var) => var.elements().len().to_string(),
                None => "0".to_owned(),
            },
            None => {
                let value = self.lookup(rest);
                self.map(&value, &|value| Some(value.chars().count().to_string()))?
            }
        };
        Ok(Value::One(value))
    }

    /// `${!NAME}` and `${!NAME[@]}`.
    fn indirect(&mut self, rest: &str) -> Result<Value, LaunchError> {
        if let Some(name) = rest.strip_suffix("[@]").or(rest.strip_suffix("[*]")) {
            return Ok(Value::Many(match self.var(name) {
                Some(Var::Map(map)) => map.keys().cloned().collect(),
                Some(var) => (0..var.elements().len()).map(|at| at.to_string()).collect(),
                None => Vec::new(),
            }));
        }
        let name = self.lookup(rest);
        if is_unknown(&name) {
            return Ok(Value::One(unknown(&self.causes(&name))));
        }
        Ok(Value::One(self.lookup(&name)))
    }

    /// `${NAMEmodifier}` of a value.
    fn modified(&mut self, name: &str, value: Option<String>, modifier: &str) -> Result<String, LaunchError> {
        let Some(operator) = modifier.chars().next() else {
            return Ok(value.unwrap_or_else(|| self.lookup(name)));
        };
        let (colon, rest) = match modifier.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, modifier),
        };
        let present =
            value.as_ref().filter(|value| !(colon && (value.is_empty() || Self::is_unset_mark(value))));
        match rest.chars().next() {
            Some('-' | '=') => {
                if let Some(value) = present {
                    return Ok(value.clone());
                }
                let default = self.single(&rest[1..])?;
                if value.is_none() && self.function_depth == 0 && !is_unknown(&default) {
                    self.defaults.insert(name.to_owned(), default.clone());
                }
                if rest.starts_with('=') {
                    self.set(name, Var::Text(default.clone()))?;
                }
                return Ok(default);
            }
            Some('+') => {
                return if present.is_some() { self.single(&rest[1..]) } else { Ok(String::new()) };
            }
            Some('?') => return Ok(present.cloned().unwrap_or_else(|| self.lookup(name))),
            _ => {}
        }
        let value = value.unwrap_or_else(|| self.lookup(name));
        if colon {
            return self.substring(&value, rest);
        }
        self.cut(&value, operator, &modifier[1..])
    }

    fn substring(&mut self, value: &str, range: &str) -> Result<String, LaunchError> {
        let (from, count) = range.split_once(':').unwrap_or((range, ""));
        let from = self.arithmetic(from)?.parse::<usize>().ok();
        let count = if count.is_empty() { Some(usize::MAX) } else { self.arithmetic(count)?.parse().ok() };
        self.map(value, &|value| Some(value.chars().skip(from?).take(count?).collect()))
    }

    /// `#`, `%`, `/`, `^` and `,`.
    fn cut(&mut self, value: &str, operator: char, rest: &str) -> Result<String, LaunchError> {
        let (twice, rest) = match rest.strip_prefix(operator) {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        match operator {
            '#' | '%' => {
                let wanted = self.single(rest)?;
                if is_unknown(&wanted) {
                    return Ok(unknown(&self.causes(&wanted)));
                }
                self.map(value, &|value| Some(pattern::strip(value, &wanted, operator == '%', twice)))
            }
            '/' => {
                let (from, to) = rest.split_once('/').unwrap_or((rest, ""));
                let (from, to) = (self.single(from)?, self.single(to)?);
                if is_unknown(&from) || is_unknown(&to) || from.is_empty() || from.contains(['*', '?', '[']) {
                    return Ok(unknown(&[format!("?${{.../{rest}}}")]));
                }
                let times = if twice { usize::MAX } else { 1 };
                let size = value.len() / from.len().max(1) * to.len();
                self.charge(size)?;
                self.map(value, &|value| Some(value.replacen(&from, &to, times)))
            }
            '^' if twice => self.map(value, &|value| Some(value.to_uppercase())),
            ',' if twice => self.map(value, &|value| Some(value.to_lowercase())),
            _ => Ok(unknown(&[format!("?${{...{operator}{rest}}}")])),
        }
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
