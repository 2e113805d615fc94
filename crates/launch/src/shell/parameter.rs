//! `${...}`: defaults, elements, lengths, prefixes and suffixes.

use super::expand::Expansion;
use super::pattern;
use super::state::Shell;
use super::value::{Var, is_unknown, unknown};
use crate::error::LaunchError;

impl Shell<'_> {
    /// The inside of `${...}`.
    pub(super) fn braced(&mut self, inner: &str) -> Result<Expansion, LaunchError> {
        if inner == "@" || inner == "*" {
            return Ok(Expansion::Many(self.world.positional.clone()));
        }
        if inner == "#" {
            return Ok(Expansion::One(self.count()));
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
            return Ok(Expansion::One(unknown(&[format!("?${{{inner}}}")])));
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
                        Some(var) => Expansion::Many(var.elements()),
                        None => Expansion::One(self.lookup(name)),
                    });
                }
                var = None;
            } else {
                let key = self.single(index)?;
                var = self.element(var.as_ref(), &key)?;
            }
        }
        self.modified(name, var.map(|var| var.first()), modifier).map(Expansion::One)
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

    fn slice(&mut self, items: &[String], range: &str) -> Result<Expansion, LaunchError> {
        let (from, count) = range.split_once(':').unwrap_or((range, ""));
        let from = self.arithmetic(from)?.parse::<usize>().ok();
        let count =
            if count.is_empty() { Some(usize::MAX) } else { self.arithmetic(count)?.parse::<usize>().ok() };
        Ok(match (from, count) {
            (Some(from), Some(count)) => {
                Expansion::Many(items.iter().skip(from).take(count).cloned().collect())
            }
            _ => Expansion::One(unknown(&[format!("?{range}")])),
        })
    }

    /// `${#NAME}` and `${#NAME[@]}`.
    fn length(&mut self, rest: &str) -> Result<Expansion, LaunchError> {
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
        Ok(Expansion::One(value))
    }

    /// `${!NAME}` and `${!NAME[@]}`.
    fn indirect(&mut self, rest: &str) -> Result<Expansion, LaunchError> {
        if let Some(name) = rest.strip_suffix("[@]").or(rest.strip_suffix("[*]")) {
            return Ok(Expansion::Many(match self.var(name) {
                Some(Var::Map(map)) => map.keys().cloned().collect(),
                Some(var) => (0..var.elements().len()).map(|at| at.to_string()).collect(),
                None => Vec::new(),
            }));
        }
        let name = self.lookup(rest);
        if is_unknown(&name) {
            return Ok(Expansion::One(unknown(&self.causes(&name))));
        }
        Ok(Expansion::One(self.lookup(&name)))
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
}
