//! Traces in columns.

use super::bytes::Text;
use super::{Format, Reading, Row, Rows, TimeUnit, length};
use crate::error::WorkloadError;
use crate::source::Arrival;

/// A comma-separated trace with a header.
pub(crate) struct Columns {
    text: Text,
    format: Format,
    /// Positions of time, input and output; a table without times has no position for them.
    at: [usize; 3],
    names: [String; 3],
    timed: bool,
    session: Option<usize>,
    priority: Option<usize>,
    unit: TimeUnit,
    line: Vec<u8>,
}

impl Columns {
    pub fn new(mut text: Text, format: Format, reading: &Reading) -> Result<Self, WorkloadError> {
        let named = reading.columns.clone().unwrap_or_default();
        let names = match format {
            Format::Azure => ["TIMESTAMP", "ContextTokens", "GeneratedTokens"],
            Format::BurstGpt => ["Timestamp", "Request tokens", "Response tokens"],
            Format::Vidur => ["arrived_at", "num_prefill_tokens", "num_decode_tokens"],
            Format::Csv if reading.columns.is_none() => {
                let problem = "a table needs its columns named (arrival=NAME,input=NAME,output=NAME)";
                return Err(text.wrong(1, problem));
            }
            Format::Csv => [named.arrival.as_deref().unwrap_or(""), &named.input, &named.output],
            _ => ["arrival_timestamp", "prompt_size", "token_size"],
        };
        let names = names.map(str::to_owned);
        let timed = !names[0].is_empty();
        let mut line = Vec::new();
        text.read_line(&mut line)?;
        let header = String::from_utf8_lossy(&line).trim_start_matches('\u{feff}').to_owned();
        let columns: Vec<&str> = header.split(',').map(|name| name.trim().trim_matches('"')).collect();
        let find = |name: &str| {
            columns.iter().position(|column| *column == name).ok_or_else(|| {
                text.wrong(1, format!("the header lacks the column `{name}` of a {format} trace"))
            })
        };
        let mut at = [0; 3];
        for (position, name) in at.iter_mut().zip(&names).filter(|(_, name)| !name.is_empty()) {
            *position = find(name)?;
        }
        let session = named.session.as_deref().map(find).transpose()?;
        let priority = named.priority.as_deref().map(find).transpose()?;
        let unit = reading.time_unit.unwrap_or(TimeUnit::Seconds);
        Ok(Self { text, format, at, names, timed, session, priority, unit, line })
    }

    fn parse(&self, fields: &[&str]) -> Result<Option<Row>, String> {
        let field = |which: usize| {
            let text = fields.get(self.at[which]).map(|text| text.trim().trim_matches('"'));
            text.filter(|text| !text.is_empty()).ok_or_else(|| format!("`{}` is missing", self.names[which]))
        };
        let tokens = |which: usize| {
            let text = field(which)?;
            // Some exports write whole numbers as `12.0`.
            let whole = text.strip_suffix(".0").unwrap_or(text);
            let value = whole.parse::<i64>().map_err(|_| {
                format!("`{}` is `{text}`, which is not a whole number of tokens", self.names[which])
            })?;
            length(value, &self.names[which])
        };
        let at = if self.timed { Some(self.time(field(0)?)?) } else { None };
        let (input, output) = (tokens(1)?, tokens(2)?);
        if input == 0 || output == 0 {
            return Ok(None);
        }
        let other =
            |column: Option<usize>| column.and_then(|column| fields.get(column)).map(|text| text.trim());
        let session = other(self.session).filter(|text| !text.is_empty());
        let session = session.map(|text| super::rows::session_number(&serde_json::Value::from(text)));
        let priority = match other(self.priority).filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => text.parse().map_err(|_| format!("`{text}` is not a class between 0 and 255"))?,
        };
        let arrival = Arrival { input, output, session, priority, measured: true, ..Arrival::default() };
        Ok(Some(Row { at, arrival, ..Row::default() }))
    }

    /// A time in nanoseconds: a date with a time of day, or a number in the trace's unit.
    fn time(&self, text: &str) -> Result<i128, String> {
        let scale = self.unit.nanoseconds();
        let number = || match self.unit {
            TimeUnit::Seconds => decimal_nanoseconds(text),
            _ => {
                let value = text.parse::<f64>().ok().map(|value| value * scale);
                value
                    .filter(|value| value.is_finite() && value.abs() < 1e19)
                    .map(|value| value.round() as i128)
            }
        };
        let at = match self.format {
            Format::Azure => wall_clock(text),
            Format::Csv => wall_clock(text).or_else(number),
            _ => number(),
        };
        at.ok_or_else(|| format!("`{}` is `{text}`, which is not a time", self.names[0]))
    }
}

impl Rows for Columns {
    fn next(&mut self) -> Result<Option<Option<Row>>, WorkloadError> {
        loop {
            let line = self.text.line;
            let mut buffer = std::mem::take(&mut self.line);
            let more = self.text.read_line(&mut buffer)?;
            self.line = buffer;
            if !more {
                return Ok(None);
            }
            let content =
                std::str::from_utf8(&self.line).map_err(|_| self.text.wrong(line, "not UTF-8 text"))?;
            if content.trim().is_empty() {
                continue;
            }
            let fields: Vec<&str> = content.split(',').collect();
            let row = self.parse(&fields).map_err(|problem| self.text.wrong(line, problem))?;
            return Ok(Some(row.map(|row| Row { line, ..row })));
        }
    }
}

/// Seconds as a decimal number, to nanoseconds without going through floating point where it can be avoided.
pub(crate) fn decimal_nanoseconds(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 12 || !digits(whole) || !digits(fraction) {
        let value: f64 = text.parse().ok()?;
        return (value.is_finite() && value.abs() < 1e12).then(|| (value * 1e9).round() as i128);
    }
    let mut nanoseconds: String = fraction.chars().take(9).collect();
    while nanoseconds.len() < 9 {
        nanoseconds.push('0');
    }
    let below: i128 = nanoseconds.parse().ok()?;
    // The tenth digit rounds.
    let up = i128::from(fraction.as_bytes().get(9).is_some_and(|digit| *digit >= b'5'));
    Some(whole.parse::<i128>().ok()? * 1_000_000_000 + below + up)
}

/// `2023-11-16 18:17:03.9799600`, with or without a zone offset, in nanoseconds since 1970.
fn wall_clock(text: &str) -> Option<i128> {
    let text = text.strip_suffix('Z').unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (time, offset) = match time.find(['+', '-']) {
        Some(at) => (&time[..at], zone(&time[at..])?),
        None => (time, 0),
    };
    let mut parts = time.splitn(3, ':');
    let (hours, minutes) = (parts.next()?.parse::<i64>().ok()?, parts.next()?.parse::<i64>().ok()?);
    let seconds = decimal_nanoseconds(parts.next()?)?;
    if !(0..24).contains(&hours) || !(0..60).contains(&minutes) || !(0..61_000_000_000).contains(&seconds) {
        return None;
    }
    let minutes = (days_since_1970(year, month, day) * 24 + hours) * 60 + minutes - offset;
    Some(i128::from(minutes) * 60_000_000_000 + seconds)
}

/// Minutes of `+08:00` and its like.
fn zone(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (hours, minutes) = text[1..].split_once(':').unwrap_or((&text[1..], "0"));
    Some(sign * (hours.parse::<i64>().ok()? * 60 + minutes.parse::<i64>().ok()?))
}

/// Days of the Gregorian calendar (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(decimal_nanoseconds("4.314579"), Some(4_314_579_000));
        assert_eq!(decimal_nanoseconds("5.8926549999999995"), Some(5_892_655_000));
        assert_eq!(decimal_nanoseconds("12"), Some(12_000_000_000));
        assert_eq!(decimal_nanoseconds("1e3"), Some(1_000_000_000_000));
        assert_eq!(decimal_nanoseconds("noon"), None);
        assert_eq!(wall_clock("1970-01-02 00:00:01.5"), Some(86_401_500_000_000));
        assert_eq!(wall_clock("2023-11-16 18:17:03.9799600"), Some(1_700_158_623_979_960_000));
        assert_eq!(wall_clock("2024-05-10 08:00:00.0+08:00"), wall_clock("2024-05-10 00:00:00.0+00:00"));
        assert_eq!(wall_clock("2024-13-10 08:00:00"), None);
    }
}
