//! Whole numbers as JSON has them: `3` and `3.0` are the same number.

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use std::fmt;

/// A whole number, however it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Whole(i64);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Whole;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Whole, E> {
                Ok(Whole(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole, E> {
                let wrong = |_| E::invalid_value(Unexpected::Unsigned(number), &self);
                i64::try_from(number).map(Whole).map_err(wrong)
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Whole, E> {
                // Beyond this not every whole number is one of these.
                let exact = number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0;
                if exact {
                    Ok(Whole(number as i64))
                } else {
                    Err(E::invalid_value(Unexpected::Float(number), &self))
                }
            }
        }
        deserializer.deserialize_any(Number)
    }
}

/// A number that may be left out.
pub fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    Ok(Option::<Whole>::deserialize(deserializer)?.map(|whole| whole.0))
}

/// Numbers of tokens.
pub fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u32>, D::Error> {
    Vec::<Whole>::deserialize(deserializer)?.into_iter().map(token).collect()
}

/// Several lists of numbers of tokens.
pub fn token_lists<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u32>>, D::Error> {
    let lists = Vec::<Vec<Whole>>::deserialize(deserializer)?;
    lists.into_iter().map(|list| list.into_iter().map(token).collect()).collect()
}

fn token<E: Error>(whole: Whole) -> Result<u32, E> {
    let wrong = |_| E::invalid_value(Unexpected::Signed(whole.0), &"the number of a token, 0 to 4294967295");
    u32::try_from(whole.0).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Whole>(text).ok().map(|whole| whole.0);
        assert_eq!((read("3"), read("3.0"), read("-2e2"), read("0.5")), (Some(3), Some(3), Some(-200), None));
        assert_eq!(
            (read("1e300"), read("18446744073709551615"), read("\"3\""), read("true")),
            (None, None, None, None)
        );
        let list = |text: &str| tokens(&mut serde_json::Deserializer::from_str(text)).ok();
        assert_eq!((list("[1, 2.0]"), list("[-1]"), list("[4294967296]")), (Some(vec![1, 2]), None, None));
    }
}
