//! The keys of an operating point: the one list that flags, jobs, scenarios, table columns and plans are read by.
//!
//! A new key is a field of [`OperatingPoint`] and a line of [`KEYS`].

use crate::spec::{Mode, OperatingPoint};
use bounded::ranges::{self, Range};
use hardware::Execution;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use units::Dtype;

/// A field of an operating point, by what may be written into it.
pub enum Slot<'a> {
    /// A name that must be given.
    Name(&'a mut String),
    /// A name.
    Text(&'a mut Option<String>),
    /// A whole number.
    Count(&'a mut Option<u32>),
    /// A whole number that is 0 if not given.
    Whole(&'a mut u32),
    /// A number.
    Number(&'a mut Option<f64>),
    /// A share from 0 to 1 that is 0 if not given.
    Share(&'a mut f64),
    /// True or false.
    Truth(&'a mut Option<bool>),
    /// A number format.
    Format(&'a mut Option<Dtype>),
    /// How decoding steps are launched.
    Execution(&'a mut Option<Execution>),
    /// What kind of instances serve.
    Mode(&'a mut Mode),
}

/// One key.
pub struct Key {
    /// Its name; on the command line with `-` for `_`.
    pub name: &'static str,
    /// What it means, a sentence.
    pub help: &'static str,
    /// What its number may be, where it is one.
    pub range: Option<Range>,
    /// Its field.
    pub slot: fn(&mut OperatingPoint) -> Slot<'_>,
}

macro_rules! range {
    () => {
        None
    };
    ($range:ident) => {
        Some(ranges::$range)
    };
}

macro_rules! keys {
    ($($name:literal $kind:ident $($field:ident).+ $(in $range:ident)? : $help:literal;)+) => {
        /// Every key, in the order they are shown.
        pub const KEYS: &[Key] = &[
            $(Key {
                name: $name,
                help: $help,
                range: range!($($range)?),
                slot: |point| Slot::$kind(&mut point.$($field).+),
            },)+
        ];
    };
}

/// Keys that say what is asked of a deployment rather than what it is.
const LOAD: [&str; 8] =
    ["mode", "isl", "osl", "length_spread", "concurrency", "batch_per_rank", "kv_len", "prefix_hit"];

/// Other spellings of keys, as engines have them.
const SPELLINGS: [(&str, &str); 1] = [("max_seqs", "max_sequences")];

keys! {
    "system" Name system: "Catalog key of the system.";
    "chip" Text chip: "Catalog key of a chip to put in the system instead of its own.";
    "chips" Number chips in CHIPS: "Packages used by the whole deployment.";
    "model" Name model: "Hugging Face id of a built-in model, or the path of a config.json.";
    "engine" Text engine: "Catalog key of the engine; the chip's usual one if not given.";
    "engine_version" Text engine_version: "Version of the engine, where its overheads depend on it, for example 0.12.0.";
    "mode" Mode mode: "agg, disagg, prefill or decode.";
    "weight_dtype" Format formats.weight: "Weights instead of the checkpoint's format.";
    "act_dtype" Format formats.act: "Activations.";
    "kv_dtype" Format formats.kv: "Cache.";
    "moe_dtype" Format formats.moe: "Routed experts.";
    "isl" Count isl in ISL: "Prompt tokens.";
    "osl" Count osl in OSL: "Output tokens.";
    "length_spread" Number length_spread in LENGTH_SPREAD: "Lengths are uniform from this share of nominal to nominal.";
    "concurrency" Count concurrency in CONCURRENCY: "Requests in flight in the whole deployment.";
    "tp" Count sizes.tp in TP: "Tensor-parallel ranks.";
    "pp" Count sizes.pp in PP: "Pipeline stages.";
    "dp" Count sizes.dp in DP: "Attention data-parallel ranks.";
    "ep" Count sizes.ep in EP: "Expert-parallel ranks.";
    "moe_tp" Count sizes.moe_tp in MOE_TP: "Tensor-parallel ranks of one expert.";
    "redundant_experts" Count sizes.redundant_experts in REDUNDANT_EXPERTS: "Expert replicas beyond one of each.";
    "prefill_instances" Count prefill.instances in INSTANCES: "Prefill instances (disagg).";
    "prefill_tp" Count prefill.tp in TP: "Tensor-parallel ranks of a prefill instance.";
    "prefill_pp" Count prefill.pp in PP: "Pipeline stages of a prefill instance.";
    "prefill_dp" Count prefill.dp in DP: "Attention data-parallel ranks of a prefill instance.";
    "prefill_ep" Count prefill.ep in EP: "Expert-parallel ranks of a prefill instance.";
    "prefill_moe_tp" Count prefill.moe_tp in MOE_TP: "Tensor-parallel ranks of one expert of a prefill instance.";
    "prefill_redundant_experts" Count prefill.redundant_experts in REDUNDANT_EXPERTS: "Expert replicas of a prefill instance beyond one of each.";
    "decode_instances" Count decode.instances in INSTANCES: "Decode instances (disagg).";
    "decode_tp" Count decode.tp in TP: "Tensor-parallel ranks of a decode instance.";
    "decode_pp" Count decode.pp in PP: "Pipeline stages of a decode instance.";
    "decode_dp" Count decode.dp in DP: "Attention data-parallel ranks of a decode instance.";
    "decode_ep" Count decode.ep in EP: "Expert-parallel ranks of a decode instance.";
    "decode_moe_tp" Count decode.moe_tp in MOE_TP: "Tensor-parallel ranks of one expert of a decode instance.";
    "decode_redundant_experts" Count decode.redundant_experts in REDUNDANT_EXPERTS: "Expert replicas of a decode instance beyond one of each.";
    "batch_per_rank" Count batch_per_rank in BATCH_PER_RANK: "Sequences (decode) or tokens (prefill) per rank and step.";
    "kv_len" Count kv_len in KV_LEN: "Context length of a decode point.";
    "spec_tokens" Whole spec_tokens in SPEC_TOKENS: "Draft tokens per step.";
    "spec_accept" Number spec_accept in SPEC_ACCEPT: "Mean share of draft tokens accepted, 0 to 1.";
    "prefix_hit" Share prefix_hit in PREFIX_HIT: "Share of prompt tokens served from a cache, 0 to 1.";
    "token_budget" Count token_budget in TOKEN_BUDGET: "Most tokens of one step instead of the engine's.";
    "max_sequences" Count max_sequences in MAX_SEQS: "Most sequences running at once per attention rank instead of the engine's.";
    "memory_fraction" Number memory_fraction in MEMORY_FRACTION: "Share of device memory that the engine takes instead of its default, 0 to 1.";
    "stream_interval" Number stream_interval in STREAM_INTERVAL: "Tokens that reach a client together instead of the engine's, 1 or more.";
    "execution" Execution execution: "How decoding steps are launched instead of the engine's habit: eager, piecewise or full-graph.";
    "expert_skew" Number expert_skew in EXPERT_SKEW: "Load of the busiest expert rank over the mean, minus 1, instead of the engine's.";
    "micro_batches" Truth micro_batches: "Whether two micro-batches overlap communication with computation, instead of the engine's habit.";
}

/// A key that does not exist or a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct KeyError {
    /// The key as it was written.
    pub key: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Key {
    /// The key called `name`, in any spelling.
    pub fn find(name: &str) -> Option<&'static Key> {
        let usual = SPELLINGS.iter().find(|(other, _)| *other == name).map_or(name, |(_, usual)| usual);
        KEYS.iter().find(|key| key.name == usual)
    }

    /// Other spellings of its name.
    pub fn spellings(&self) -> impl Iterator<Item = &'static str> {
        let own = self.name;
        SPELLINGS.iter().filter(move |(_, usual)| *usual == own).map(|(other, _)| *other)
    }

    /// Whether it says what one kind of instance is: neither the load nor how two kinds differ.
    pub fn is_of_instance(&self) -> bool {
        !self.is_of_side() && !LOAD.contains(&self.name)
    }

    /// Whether it says how prefill or decode instances differ from the other kind.
    pub fn is_of_side(&self) -> bool {
        self.name.starts_with("prefill_") || self.name.starts_with("decode_")
    }

    /// What a point says of it, as it is written; `None` where it says nothing.
    pub fn said(&self, point: &OperatingPoint) -> Option<String> {
        (self.slot)(&mut point.clone()).said()
    }
}

fn read<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not {what}"))
}

/// A whole number; one that is written as a decimal (`8.0`, as tables have it) is read as well.
fn count(text: &str) -> Result<u32, String> {
    if let Ok(count) = text.parse() {
        return Ok(count);
    }
    let number: f64 = read(text, "a whole number")?;
    let whole = (0.0..=f64::from(u32::MAX)).contains(&number) && number.fract() == 0.0;
    if whole {
        Ok(number as u32)
    } else {
        Err(format!("`{text}` is not a whole number from 0 to {}", u32::MAX))
    }
}

fn number(text: &str) -> Result<f64, String> {
    let number: f64 = read(text, "a number")?;
    if number.is_finite() { Ok(number) } else { Err(format!("`{text}` is not a finite number")) }
}

impl Slot<'_> {
    /// Writes what a text says.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn set(self, text: &str) -> Result<(), String> {
        match self {
            Self::Name(name) => *name = text.to_owned(),
            Self::Text(name) => *name = Some(text.to_owned()),
            Self::Count(slot) => *slot = Some(count(text)?),
            Self::Whole(slot) => *slot = count(text)?,
            Self::Number(slot) => *slot = Some(number(text)?),
            Self::Share(slot) => *slot = number(text)?,
            Self::Truth(slot) => *slot = Some(read(text, "true or false")?),
            Self::Format(slot) => {
                *slot = Some(text.parse().map_err(|error: units::UnknownDtype| error.to_string())?);
            }
            Self::Execution(slot) => {
                *slot = Some(text.parse().map_err(|error: hardware::UnknownExecution| error.to_string())?);
            }
            Self::Mode(mode) => {
                *mode = text.parse().map_err(|error: crate::spec::UnknownMode| error.to_string())?;
            }
        }
        Ok(())
    }
}

impl Slot<'_> {
    /// What is in it, as it is written; `None` where that is what is there if nothing is said.
    pub fn said(self) -> Option<String> {
        match self {
            Self::Name(name) => (!name.is_empty()).then(|| name.clone()),
            Self::Text(text) => text.clone(),
            Self::Count(count) => count.map(|count| count.to_string()),
            Self::Whole(count) => (*count > 0).then(|| count.to_string()),
            Self::Number(number) => number.map(|number| number.to_string()),
            Self::Share(share) => (*share != 0.0).then(|| share.to_string()),
            Self::Truth(truth) => truth.map(|truth| truth.to_string()),
            Self::Format(format) => format.map(|format| format.to_string()),
            Self::Execution(execution) => execution.map(|execution| execution.name().to_owned()),
            Self::Mode(mode) => (*mode != Mode::default()).then(|| mode.name().to_owned()),
        }
    }

    /// The number in it, if it holds one.
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::Count(count) => count.map(f64::from),
            Self::Whole(count) => Some(f64::from(*count)),
            Self::Number(number) => *number,
            Self::Share(share) => Some(*share),
            _ => None,
        }
    }
}

impl OperatingPoint {
    /// Writes what `other` says over what is said.
    pub fn overlay(&mut self, other: &Self) {
        for key in KEYS {
            if let Some(text) = key.said(other) {
                // What a key has said can be read by the same key.
                let _ = (key.slot)(self).set(&text);
            }
        }
    }

    /// Writes the value of a key.
    ///
    /// # Errors
    /// There is no such key, or it cannot have this value.
    pub fn set(&mut self, key: &str, text: &str) -> Result<(), KeyError> {
        let wrong = |problem: String| KeyError { key: key.to_owned(), problem };
        let Some(found) = Key::find(key) else {
            let names: Vec<&str> = KEYS.iter().map(|key| key.name).collect();
            return Err(wrong(format!(
                "is not a key of an operating point; use one of {}",
                names.join(", ")
            )));
        };
        (found.slot)(self).set(text).map_err(wrong)
    }

    /// The point that keys and texts describe.
    ///
    /// # Errors
    /// As [`OperatingPoint::set`], for the first that is wrong.
    pub fn of<'a>(entries: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, KeyError> {
        let mut point = Self::default();
        for (key, text) in entries {
            point.set(key, text)?;
        }
        Ok(point)
    }
}

/// A value as TOML and JSON have it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Truth(bool),
    Whole(i64),
    Number(f64),
    Text(String),
}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truth(value) => value.fmt(f),
            Self::Whole(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
        }
    }
}

/// Reads the value of a key into a point, so that a value that is wrong is reported where it stands.
pub struct KeySeed<'a> {
    /// The point.
    pub point: &'a mut OperatingPoint,
    /// The key.
    pub key: &'a str,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Some(value) = Option::<Scalar>::deserialize(deserializer)? else { return Ok(()) };
        self.point.set(self.key, &value.to_string()).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for OperatingPoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = OperatingPoint;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("keys of an operating point with their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OperatingPoint, A::Error> {
                let mut point = OperatingPoint::default();
                while let Some(key) = map.next_key::<String>()? {
                    if Key::find(&key).is_none() {
                        point.set(&key, "").map_err(A::Error::custom)?;
                    }
                    map.next_value_seed(KeySeed { point: &mut point, key: &key })?;
                }
                Ok(point)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// Keys that have a value other than what they have if not given.
impl Serialize for OperatingPoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut point = self.clone();
        let mut map = serializer.serialize_map(None)?;
        for key in KEYS {
            let name = key.name;
            match (key.slot)(&mut point) {
                Slot::Name(value) if !value.is_empty() => map.serialize_entry(name, value)?,
                Slot::Text(Some(value)) => map.serialize_entry(name, value)?,
                Slot::Count(Some(value)) => map.serialize_entry(name, value)?,
                Slot::Whole(value) if *value != 0 => map.serialize_entry(name, value)?,
                Slot::Number(Some(value)) => map.serialize_entry(name, value)?,
                Slot::Share(value) if *value != 0.0 => map.serialize_entry(name, value)?,
                Slot::Truth(Some(value)) => map.serialize_entry(name, value)?,
                Slot::Format(Some(value)) => map.serialize_entry(name, value)?,
                Slot::Execution(Some(value)) => map.serialize_entry(name, value)?,
                Slot::Mode(value) if *value != Mode::default() => map.serialize_entry(name, value)?,
                _ => {}
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A value that every key of its kind can have.
    fn sample(key: &Key, number: u32) -> String {
        match (key.slot)(&mut OperatingPoint::default()) {
            Slot::Name(_) | Slot::Text(_) => format!("name-{number}"),
            Slot::Count(_) | Slot::Whole(_) => (number + 1).to_string(),
            Slot::Number(_) | Slot::Share(_) => format!("{}", f64::from(number + 1) / 64.0),
            Slot::Truth(_) => (number % 2 == 0).to_string(),
            Slot::Format(_) => ["bf16", "fp8", "int8"][number as usize % 3].to_owned(),
            Slot::Execution(_) => ["eager", "piecewise", "full-graph"][number as usize % 3].to_owned(),
            Slot::Mode(_) => ["disagg", "prefill", "decode"][number as usize % 3].to_owned(),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(chosen in proptest::collection::btree_map(0..KEYS.len(), 0_u32..60, 0..12)) {
            let mut point = OperatingPoint::default();
            for (at, number) in &chosen {
                point.set(KEYS[*at].name, &sample(&KEYS[*at], *number)).unwrap();
            }
            let text = serde_json::to_string(&point).unwrap();
            let read: OperatingPoint = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(read, point);
        }
    }

    #[test]
    fn every_key_has_a_field_of_its_own() {
        for (at, key) in KEYS.iter().enumerate() {
            let mut point = OperatingPoint::default();
            point.set(key.name, &sample(key, 1)).unwrap();
            let written = serde_json::to_value(&point).unwrap();
            let names: Vec<&String> = written.as_object().unwrap().keys().collect();
            assert_eq!(names, [key.name]);
            assert!(KEYS[..at].iter().all(|other| other.name != key.name), "{} is there twice", key.name);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let wrong = |text: &str| serde_json::from_str::<OperatingPoint>(text).unwrap_err().to_string();
        for (text, part) in [
            (r#"{"tpp": 4}"#, "tpp: is not a key"),
            (r#"{"tp": "four"}"#, "tp: `four` is not a whole number"),
            (r#"{"isl": -1}"#, "isl: `-1` is not a whole number from 0"),
            (r#"{"kv_dtype": "fp9"}"#, "kv_dtype:"),
            (r#"{"mode": "both"}"#, "mode: `both`"),
            (r#"{"micro_batches": 3}"#, "micro_batches: `3` is not true or false"),
        ] {
            let message = wrong(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }
}
