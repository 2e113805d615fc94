//! Typed reading of one JSON object that remembers which keys were read, so that those left over can be reported.

use super::error::ImportError;
use super::neutral;
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The largest number that any key may have: well above every model, and small enough that sums of products of counts
/// stay far from overflow.
pub(crate) const LIMIT: u64 = 1 << 24;

/// The result of reading a key.
pub(crate) type Read<T> = Result<T, ImportError>;

/// A JSON object with the file it comes from. Key names may be alternatives separated by `|`.
pub(crate) struct Keys<'a> {
    origin: &'a str,
    prefix: String,
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'a str>>,
    notes: RefCell<Vec<String>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn new(origin: &'a str, prefix: &str, map: &'a Map<String, Value>) -> Self {
        Self {
            origin,
            prefix: prefix.to_owned(),
            map,
            read: RefCell::new(BTreeSet::new()),
            notes: RefCell::new(Vec::new()),
        }
    }

    /// The value of the first alternative present and not null. Alternatives that disagree are an error.
    pub(crate) fn value(&self, names: &str) -> Read<Option<&'a Value>> {
        let mut found: Option<(&str, &'a Value)> = None;
        for name in names.split('|') {
            let Some((key, value)) = self.map.get_key_value(name) else { continue };
            self.read.borrow_mut().insert(key);
            if value.is_null() {
                continue;
            }
            match found {
                Some((first, other)) if other != value => {
                    let reason = format!("is {}, but `{first}` is {}; keep one", brief(value), brief(other));
                    return Err(self.inconsistent(name, reason));
                }
                _ => found = Some((name, value)),
            }
        }
        Ok(found.map(|(_, value)| value))
    }

    /// Marks keys whose values repeat what is known otherwise or belong to another component.
    pub(crate) fn ignore(&self, names: &str) {
        for name in names.split('|') {
            if let Some((key, _)) = self.map.get_key_value(name) {
                self.read.borrow_mut().insert(key);
            }
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// Says how something that the file leaves open was read.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let text = text.into();
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    /// What was said of the reading so far.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }

    /// The value of the first alternative that is present and not null; the others count as read. Unlike
    /// [`Self::value`], alternatives may differ: files keep keys of the class theirs was derived from.
    pub(crate) fn first(&self, names: &str) -> Read<Option<&'a Value>> {
        self.ignore(names);
        let value = names.split('|').find_map(|name| self.map.get(name).filter(|value| !value.is_null()));
        Ok(value)
    }

    /// A whole number of at least one by the first alternative present; 0 and -1 stand for none.
    pub(crate) fn opt_first(&self, names: &str) -> Read<Option<u32>> {
        match self.first(names)? {
            Some(Value::Bool(false)) => Ok(None),
            Some(value) if matches!(value.as_i64(), Some(0 | -1)) => Ok(None),
            Some(value) => self.number(names, value, 1).map(Some),
            None => Ok(None),
        }
    }

    /// A whole number by the first alternative present; zero where absent.
    pub(crate) fn whole_first(&self, names: &str) -> Read<u32> {
        Ok(self.opt_first(names)?.unwrap_or(0))
    }

    /// A flag by the first alternative that is one; values of other kinds are another component's.
    pub(crate) fn flag_first(&self, names: &str) -> Read<Option<bool>> {
        self.ignore(names);
        Ok(names.split('|').find_map(|name| self.map.get(name)?.as_bool()))
    }

    /// A flag; `None` where absent or null.
    pub(crate) fn opt_flag(&self, names: &str) -> Read<Option<bool>> {
        match self.value(names)? {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(other) => Err(self.wrong_type(names, "true or false", other)),
        }
    }

    /// Whether the file has the key, be it null.
    pub(crate) fn is_present(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// A whole number of at least one that the model cannot do without.
    pub(crate) fn count(&self, names: &str) -> Read<u32> {
        self.opt_count(names)?.ok_or_else(|| self.missing(names))
    }

    pub(crate) fn count_or(&self, names: &str, default: u32) -> Read<u32> {
        Ok(self.opt_count(names)?.unwrap_or(default))
    }

    /// A whole number of at least one; `None` where absent or null.
    pub(crate) fn opt_count(&self, names: &str) -> Read<Option<u32>> {
        self.value(names)?.map(|value| self.number(names, value, 1)).transpose()
    }

    /// A whole number that may be zero; zero where absent or null.
    pub(crate) fn whole(&self, names: &str) -> Read<u32> {
        Ok(self.value(names)?.map(|value| self.number(names, value, 0)).transpose()?.unwrap_or(0))
    }

    pub(crate) fn number(&self, names: &str, value: &Value, min: u64) -> Read<u32> {
        let integer = match value {
            Value::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(integer), _) => Some(integer),
                (None, Some(float)) if float.fract() == 0.0 && (0.0..1e15).contains(&float) => {
                    Some(float as u64)
                }
                (None, Some(float)) if float.fract() != 0.0 => None,
                _ => return Err(self.out_of_range(names, value, min)),
            },
            _ => None,
        };
        let Some(integer) = integer else { return Err(self.wrong_type(names, "a whole number", value)) };
        match u32::try_from(integer) {
            Ok(small) if (min..=LIMIT).contains(&integer) => Ok(small),
            _ => Err(self.out_of_range(names, value, min)),
        }
    }

    pub(crate) fn flag(&self, names: &str, default: bool) -> Read<bool> {
        match self.value(names)? {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong_type(names, "true or false", other)),
        }
    }

    pub(crate) fn text(&self, names: &str) -> Read<Option<&'a str>> {
        match self.value(names)? {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(names, "a string", other)),
        }
    }

    pub(crate) fn list(&self, names: &str) -> Read<Option<&'a [Value]>> {
        match self.value(names)? {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(self.wrong_type(names, "a list", other)),
        }
    }

    /// A list with one entry per layer.
    pub(crate) fn per_layer(&self, names: &str, layers: u32) -> Read<Option<&'a [Value]>> {
        let Some(items) = self.list(names)? else { return Ok(None) };
        if items.len() != layers as usize {
            let reason = format!("has {} entries for {layers} layers; give one per layer", items.len());
            return Err(self.inconsistent(names, reason));
        }
        Ok(Some(items))
    }

    pub(crate) fn object(&self, name: &str) -> Read<Option<Keys<'a>>> {
        match self.value(name)? {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Keys::new(self.origin, &self.full(name), map))),
            Some(other) => Err(self.wrong_type(name, "an object", other)),
        }
    }

    /// Accepts the value only if it is one that the reader's description is true for.
    pub(crate) fn expect_flag(&self, names: &str, expected: bool, why: &str) -> Read<()> {
        if self.flag(names, expected)? == expected { Ok(()) } else { Err(self.unknown_value(names, why)) }
    }

    /// Looks at the keys that nothing read: one that may be a size is refused unless `ignored` names it, the others
    /// are noted.
    pub(crate) fn finish(&self, ignored: &[String]) -> Read<()> {
        let mut unread = Vec::new();
        for (key, value) in self.map {
            let full = self.full(key);
            let known = self.read.borrow().contains(key.as_str()) || neutral::is_neutral(key);
            if known || switched_off(value) || ignored.iter().any(|name| name == key || *name == full) {
                continue;
            }
            if neutral::may_be_a_size(key, value) {
                return Err(ImportError::UnknownKey {
                    origin: self.origin.to_owned(),
                    key: full,
                    value: brief(value),
                });
            }
            unread.push(format!("`{full}`"));
        }
        if !unread.is_empty() {
            self.note(format!("not read, of no size: {}", unread.join(", ")));
        }
        Ok(())
    }

    /// All key names.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.map.keys().map(String::as_str)
    }

    pub(crate) fn missing(&self, names: &str) -> ImportError {
        let mut alternatives = names.split('|');
        let key = self.full(alternatives.next().unwrap_or_default());
        let others: Vec<&str> = alternatives.collect();
        let remedy = if others.is_empty() {
            "take it from the file on the model's page".to_owned()
        } else {
            format!("take it from the file on the model's page (also known as `{}`)", others.join("`, `"))
        };
        ImportError::Missing { origin: self.origin.to_owned(), key, remedy }
    }

    pub(crate) fn wrong_type(&self, names: &str, expected: &str, found: &Value) -> ImportError {
        ImportError::WrongType {
            origin: self.origin.to_owned(),
            key: self.present(names),
            expected: expected.to_owned(),
            found: format!("{} ({})", kind(found), brief(found)),
        }
    }

    pub(crate) fn unknown_value(&self, names: &str, expected: &str) -> ImportError {
        let value = names.split('|').find_map(|name| self.map.get(name));
        self.unknown(names, &value.map_or_else(|| "absent".to_owned(), brief), expected)
    }

    pub(crate) fn unknown(&self, names: &str, value: &str, expected: &str) -> ImportError {
        ImportError::UnknownValue {
            origin: self.origin.to_owned(),
            key: self.present(names),
            value: value.to_owned(),
            expected: expected.to_owned(),
        }
    }

    pub(crate) fn inconsistent(&self, names: &str, reason: impl Into<String>) -> ImportError {
        ImportError::Inconsistent {
            origin: self.origin.to_owned(),
            key: self.present(names),
            reason: reason.into(),
        }
    }

    fn out_of_range(&self, names: &str, value: &Value, min: u64) -> ImportError {
        ImportError::OutOfRange {
            origin: self.origin.to_owned(),
            key: self.present(names),
            value: brief(value),
            min,
            max: LIMIT,
        }
    }

    /// The alternative that the file uses, with the path to it.
    fn present(&self, names: &str) -> String {
        let used = names.split('|').find(|name| self.map.contains_key(*name));
        self.full(used.or_else(|| names.split('|').next()).unwrap_or(names))
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() { name.to_owned() } else { format!("{}.{name}", self.prefix) }
    }
}

/// Whether a value says that a feature is not used.
fn switched_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The value as JSON, shortened to fit a line.
pub(crate) fn brief(value: &Value) -> String {
    const WIDTH: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= WIDTH {
        return text;
    }
    let start: String = text.chars().take(WIDTH - 3).collect();
    format!("{start}...")
}
