//! Tables of a scenario that hold keys of an operating point beside keys of their own.

/// Declares such a table: its own keys, beside all that say what an instance is but some. What is no key is refused with the
/// place it stands at.
macro_rules! table {
    (
        $(#[$doc:meta])*
        pub struct $name:ident without [$($without:literal),*] {
            $($(#[$field_doc:meta])* pub $field:ident: $kind:ty,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default)]
        pub struct $name {
            /// What its keys of an operating point say.
            pub point: OperatingPoint,
            $($(#[$field_doc])* pub $field: $kind,)*
        }

        impl $name {
            /// Every key that may be written.
            pub fn keys() -> &'static [&'static str] {
                static KEYS: std::sync::LazyLock<Vec<&'static str>> = std::sync::LazyLock::new(|| {
                    let without: &[&str] = &[$($without),*];
                    let point = estimate::KEYS.iter().filter(|key| key.is_of_instance()).map(|key| key.name);
                    let point = point.filter(|key| !without.contains(key));
                    point.chain([$(stringify!($field)),*]).collect()
                });
                &KEYS
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Keys;
                impl<'de> serde::de::Visitor<'de> for Keys {
                    type Value = $name;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("a table")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        mut map: A,
                    ) -> Result<$name, A::Error> {
                        let mut table = $name::default();
                        let known = $crate::table::Known($name::keys());
                        while let Some(key) = map.next_key_seed(known)? {
                            match key.as_str() {
                                $(stringify!($field) => table.$field = map.next_value()?,)*
                                key => {
                                    let point = &mut table.point;
                                    map.next_value_seed(estimate::KeySeed { point, key })?;
                                }
                            }
                        }
                        Ok(table)
                    }
                }
                deserializer.deserialize_map(Keys)
            }
        }
    };
}

pub(crate) use table;

use serde::Deserializer;
use serde::de::{DeserializeSeed, Error, Visitor};
use std::fmt;

/// Reads a key that is one of these, in any of its spellings.
#[derive(Clone, Copy)]
pub(crate) struct Known(pub &'static [&'static str]);

impl<'de> DeserializeSeed<'de> for Known {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Known {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        let usual = estimate::Key::find(key).map_or(key, |found| found.name);
        let known = self.0.iter().find(|known| **known == key || **known == usual);
        known.map(|known| (*known).to_owned()).ok_or_else(|| E::unknown_field(key, self.0))
    }
}
