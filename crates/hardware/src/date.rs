//! Calendar dates as sources give them: a day, a month, a quarter, a half or a year.

use std::fmt;
use std::str::FromStr;

/// A date that may be as coarse as a year. Dates are ordered by the last day they may stand for, so that "by a date" means
/// "certainly by then".
///
/// ```
/// use supernode_hardware::Date;
/// let quarter: Date = "2026-Q1".parse().unwrap();
/// assert!(quarter <= "2026-03-31".parse().unwrap());
/// assert!(quarter > "2026-03-30".parse().unwrap());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Date {
    text: String,
    first: (u16, u8, u8),
    last: (u16, u8, u8),
}

/// A text that is no date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a date; write 2026, 2026-06, 2026-06-30, 2026-Q2 or 2026-H1")]
pub struct ParseDateError(
    /// What was given.
    pub String,
);

impl Date {
    /// The first day it may stand for, as year, month and day.
    pub fn first(&self) -> (u16, u8, u8) {
        self.first
    }

    /// The last day it may stand for, as year, month and day.
    pub fn last(&self) -> (u16, u8, u8) {
        self.last
    }
}

/// Days in a month of the Gregorian calendar.
fn days(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// First and last month named by `2026-06`'s, `2026-Q2`'s or `2026-H1`'s second part.
fn months(part: &str) -> Option<(u8, u8)> {
    let (kind, digits) = part.split_at_checked(1)?;
    let within = |length: u8, count: u8| {
        let number: u8 = digits.parse().ok().filter(|number| (1..=count).contains(number))?;
        Some(((number - 1) * length + 1, number * length))
    };
    match kind {
        "Q" => within(3, 4),
        "H" => within(6, 2),
        _ if part.len() == 2 => {
            part.parse().ok().filter(|month| (1..=12).contains(month)).map(|month| (month, month))
        }
        _ => None,
    }
}

impl FromStr for Date {
    type Err = ParseDateError;

    fn from_str(text: &str) -> Result<Self, ParseDateError> {
        let wrong = || ParseDateError(text.to_owned());
        let mut parts = text.split('-');
        let year =
            parts.next().filter(|year| year.len() == 4 && year.bytes().all(|byte| byte.is_ascii_digit()));
        let year: u16 = year.and_then(|year| year.parse().ok()).ok_or_else(wrong)?;
        let (from, to) = parts.next().map_or(Some((1, 12)), months).ok_or_else(wrong)?;
        let (first, last) = match parts.next() {
            None => (1, days(year, to)),
            Some(day) => {
                let day =
                    day.parse().ok().filter(|number| day.len() == 2 && (1..=days(year, to)).contains(number));
                let day = day.filter(|_| from == to).ok_or_else(wrong)?;
                (day, day)
            }
        };
        match parts.next() {
            None => Ok(Self { text: text.to_owned(), first: (year, from, first), last: (year, to, last) }),
            Some(_) => Err(wrong()),
        }
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl PartialOrd for Date {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Date {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.last, self.first, &self.text).cmp(&(other.last, other.first, &other.text))
    }
}

impl<'de> serde::Deserialize<'de> for Date {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<((u16, u8, u8), (u16, u8, u8))>) {
        let date: Option<Date> = text.parse().ok();
        assert_eq!(date.map(|date| (date.first(), date.last())), expected, "{text}");
    }

    #[test]
    fn dates_of_every_precision() {
        check("2026", Some(((2026, 1, 1), (2026, 12, 31))));
        check("2024-02", Some(((2024, 2, 1), (2024, 2, 29))));
        check("2026-Q2", Some(((2026, 4, 1), (2026, 6, 30))));
        check("2026-H2", Some(((2026, 7, 1), (2026, 12, 31))));
        check("2025-12-08", Some(((2025, 12, 8), (2025, 12, 8))));
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "26",
            "2026-13",
            "2026-Q5",
            "2026-02-29",
            "2026-Q1-03",
            "2026-1",
            "2026-06-30-1",
            "soon",
            "2026-é",
        ] {
            check(text, None);
        }
    }
}
