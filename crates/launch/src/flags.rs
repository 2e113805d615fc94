//! Flags by weight, and the values a command gives them.

use crate::error::{LaunchError, Location};
use crate::shell::value::{is_unknown, marks, unveil};
use crate::shell::variants::ask_for;
use std::collections::BTreeMap;

/// What a flag that is not modelled would change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The model.
    Model,
    /// Memory, and perhaps time.
    Memory,
    /// Time.
    Time,
    /// Nobody knows: the flag is in no list.
    Unknown,
    /// What the profile of the framework or engine stands for as a whole.
    Profile,
    /// Nothing that is priced.
    Nothing,
}

impl Weight {
    /// Whether an answer without it has to say so.
    pub fn matters(self) -> bool {
        self <= Self::Unknown
    }
}

/// What a list says of a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It is read.
    Read,
    /// It is not, and this is what it would change.
    Unread(Weight, &'static str),
}

/// A list of flags by weight.
pub(crate) struct FlagTable(BTreeMap<&'static str, Meaning>);

impl FlagTable {
    /// Reads a list: `weight flag effect`, a flag a line.
    pub fn parse(text: &'static str) -> Self {
        let line = |line: &'static str| {
            let (weight, rest) = line.split_once(' ').filter(|(weight, _)| *weight != "#")?;
            let (flag, effect) = rest.split_once(' ').unwrap_or((rest, ""));
            let meaning = match weight {
                "read" => Meaning::Read,
                "model" => Meaning::Unread(Weight::Model, effect),
                "memory" => Meaning::Unread(Weight::Memory, effect),
                "time" => Meaning::Unread(Weight::Time, effect),
                "profile" => Meaning::Unread(Weight::Profile, effect),
                _ => Meaning::Unread(Weight::Nothing, effect),
            };
            Some((flag, meaning))
        };
        Self(text.lines().filter_map(line).collect())
    }

    /// What it says of `flag`.
    pub fn get(&self, flag: &str) -> Meaning {
        self.0.get(flag).copied().unwrap_or(Meaning::Unread(Weight::Unknown, ""))
    }
}

/// A flag that is not modelled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Unread {
    /// What it would change.
    pub weight: Weight,
    /// The flag or key.
    pub flag: String,
    /// In words, if it is known.
    pub effect: String,
    /// Where it is given.
    #[serde(skip)]
    pub place: Location,
}

impl std::fmt::Display for Unread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.weight, self.effect.as_str()) {
            (Weight::Unknown, _) => write!(f, "without {} ({}), which is not known", self.flag, self.place),
            (_, "") => write!(f, "without {} ({})", self.flag, self.place),
            (_, effect) => write!(f, "without {} ({}), which {effect}", self.flag, self.place),
        }
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenFlag {
    /// Flag or key.
    pub flag: String,
    /// Its value as it was read.
    pub value: String,
    /// File and line.
    pub place: Location,
}

/// The values of a command's flags, the last one winning.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FlagValues {
    /// Value and where it stands.
    map: BTreeMap<String, (Vec<String>, Location)>,
    /// Where a flag would stand that is not given.
    home: Location,
}

/// Flags that change the model and are not read make the launch's own model worthless.
///
/// # Errors
/// There is one, and nobody else has given the model.
pub(crate) fn refuse_models(unread: &[Unread], model_given: bool) -> Result<(), LaunchError> {
    match unread.iter().find(|flag| flag.weight == Weight::Model) {
        Some(flag) if !model_given => Err(LaunchError::Model {
            place: flag.place.clone(),
            flag: flag.flag.clone(),
            effect: flag.effect.clone(),
        }),
        _ => Ok(()),
    }
}

impl FlagValues {
    /// Goes through words: `--flag value ...` and `--flag=value`; what stands before the first flag is left out.
    pub fn collect(words: &[String], home: Location, place: &dyn Fn(&str) -> Location) -> Self {
        let mut values = Self::at(home);
        let mut current: Option<String> = None;
        for word in words {
            let negative = word.strip_prefix('-').is_some_and(|rest| rest.parse::<f64>().is_ok());
            let short = word.len() == 2 && word.starts_with('-') && word.as_bytes()[1].is_ascii_alphabetic();
            if (word.starts_with("--") && word.len() > 2 || short) && !negative {
                let (name, value) = match word.split_once('=') {
                    Some((name, value)) => (name, Some(value)),
                    None => (word.as_str(), None),
                };
                values.set(name, value.into_iter().map(str::to_owned).collect(), place(name));
                current = Some(name.to_owned());
            } else if let Some(entry) = current.as_ref().and_then(|name| values.map.get_mut(name)) {
                entry.0.push(word.clone());
            }
        }
        values
    }

    /// No values yet, of a launch at `home`.
    pub fn at(home: Location) -> Self {
        Self { home, ..Self::default() }
    }

    /// Where the launch stands.
    pub fn home(&self) -> Location {
        self.home.clone()
    }

    /// Sets a value.
    pub fn set(&mut self, name: &str, value: Vec<String>, place: Location) {
        self.map.insert(name.to_owned(), (value, place));
    }

    /// Forgets a value.
    pub fn remove(&mut self, name: &str) {
        self.map.remove(name);
    }

    /// Whether the flag is given.
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Whether a key below `name` is given.
    pub fn has_below(&self, name: &str) -> bool {
        let below = format!("{name}.");
        self.map.range(below.clone()..).next().is_some_and(|(key, _)| key.starts_with(&below))
    }

    /// Its first value.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.map.get(name).map(|(values, _)| values.first().map_or("", String::as_str))
    }

    /// All its values.
    pub fn all(&self, name: &str) -> &[String] {
        self.map.get(name).map_or(&[], |(values, _)| values)
    }

    /// Where it stands.
    pub fn place(&self, name: &str) -> Location {
        self.map.get(name).map_or(self.home.clone(), |(_, place)| place.clone())
    }

    /// Every flag with its value and place.
    pub fn sources(&self) -> impl Iterator<Item = GivenFlag> {
        self.map.iter().map(|(flag, (values, place))| GivenFlag {
            flag: flag.clone(),
            value: values.join(" "),
            place: place.clone(),
        })
    }

    /// Its value, refused if a part of it is not known.
    ///
    /// # Errors
    /// It depends on a variable that nobody sets.
    pub fn known(&self, name: &str) -> Result<Option<&str>, LaunchError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if !is_unknown(text) {
            return Ok(Some(text));
        }
        let causes: Vec<String> =
            marks(text).flat_map(|body| body.split('\u{1f}')).map(str::to_owned).collect();
        let shown: Vec<String> =
            causes.iter().map(|cause| unveil(cause).trim_start_matches(['?', '=']).to_owned()).collect();
        Err(LaunchError::Ask {
            place: self.place(name),
            what: format!("{name} depends on `{}`, which the script does not set", shown.join("`, `")),
            ask: ask_for(&causes),
        })
    }

    /// Its value as a whole number.
    ///
    /// # Errors
    /// It has another value, or none.
    pub fn signed(&self, name: &str) -> Result<Option<i64>, LaunchError> {
        let Some(text) = self.known(name)? else { return Ok(None) };
        let number = text.trim().trim_matches(['"', '\'']).replace('_', "");
        let whole = number.parse::<i64>().ok().or_else(|| {
            number
                .parse::<f64>()
                .ok()
                .filter(|value| value.fract() == 0.0 && value.abs() < 1e15)
                .map(|value| value as i64)
        });
        whole.map(Some).ok_or_else(|| self.bad(name, format!("`{text}` is not a whole number")))
    }

    /// Its value as a count.
    ///
    /// # Errors
    /// It is no number from 0 to some four thousand million.
    pub fn number(&self, name: &str) -> Result<Option<u32>, LaunchError> {
        match self.signed(name)? {
            None => Ok(None),
            Some(value) => u32::try_from(value)
                .map(Some)
                .map_err(|_| self.bad(name, format!("{value} is not a number from 0 to {}", u32::MAX))),
        }
    }

    /// The first of these flags that is given, as a count.
    ///
    /// # Errors
    /// As [`FlagValues::number`].
    pub fn first(&self, names: &[&str]) -> Result<Option<u32>, LaunchError> {
        for name in names {
            if let Some(number) = self.number(name)? {
                return Ok(Some(number));
            }
        }
        Ok(None)
    }

    /// The first of these flags that is given, refused if a part of it is not known.
    ///
    /// # Errors
    /// As [`FlagValues::known`].
    pub fn known_first(&self, names: &[&str]) -> Result<Option<&str>, LaunchError> {
        names.iter().find_map(|name| self.known(name).transpose()).transpose()
    }

    /// The same values under names with two dashes in front and underscores inside, as programs in Python spell their
    /// arguments, whether they stand in a command or in a file.
    pub fn spelled(&self) -> Self {
        let plain = |name: &String| format!("--{}", name.trim_start_matches('-').replace('-', "_"));
        let map = self.map.iter().map(|(name, value)| (plain(name), value.clone())).collect();
        Self { map, home: self.home.clone() }
    }

    /// Whether a flag is on: given without a value, or with one that says so.
    pub fn on(&self, name: &str) -> bool {
        self.text(name)
            .is_some_and(|text| !matches!(text.to_ascii_lowercase().as_str(), "false" | "0" | "no" | "off"))
    }

    /// An error about a flag's value.
    pub fn bad(&self, name: &str, why: String) -> LaunchError {
        LaunchError::Value { place: self.place(name), key: name.to_owned(), why }
    }

    /// Flags that are not read, by weight.
    pub fn unread(&self, table: &FlagTable) -> Vec<Unread> {
        let mut out: Vec<Unread> = self
            .map
            .iter()
            .filter_map(|(flag, (_, place))| match table.get(flag) {
                Meaning::Read => None,
                Meaning::Unread(weight, effect) => Some(Unread {
                    weight,
                    flag: flag.clone(),
                    effect: effect.to_owned(),
                    place: place.clone(),
                }),
            })
            .collect();
        out.sort();
        out
    }
}
