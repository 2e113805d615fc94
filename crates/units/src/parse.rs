//! Text to number: a decimal, an optional space, and a unit from the quantity's own table.

/// Why a text is not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    /// No leading number.
    #[error("`{text}` does not start with a number; write a number and a unit, for example `{example}`")]
    NoNumber {
        /// What was given.
        text: String,
        /// A value that would be accepted.
        example: &'static str,
    },
    /// The number is infinite or not a number.
    #[error("`{text}` is not a finite number; write a number and a unit, for example `{example}`")]
    NotFinite {
        /// What was given.
        text: String,
        /// A value that would be accepted.
        example: &'static str,
    },
    /// The unit does not belong to this quantity.
    #[error(
        "`{unit}` in `{text}` is not a unit of {quantity}; use one of {allowed} (for example `{example}`)"
    )]
    UnknownUnit {
        /// What was given.
        text: String,
        /// The part that was read as a unit.
        unit: String,
        /// The quantity's name.
        quantity: &'static str,
        /// The units this quantity knows.
        allowed: String,
        /// A value that would be accepted.
        example: &'static str,
    },
}

/// Reads `text` against `units`, a table of (suffix, factor to the base unit). The first row with factor 1 is
/// what a bare number means only if `bare` is set.
pub(crate) fn parse(
    text: &str,
    quantity: &'static str,
    units: &[(&'static str, f64)],
    example: &'static str,
) -> Result<f64, ParseQuantityError> {
    let trimmed = text.trim();
    let (number, unit) = split(trimmed);
    if number.is_empty() {
        return Err(ParseQuantityError::NoNumber { text: text.to_owned(), example });
    }
    let value: f64 = number
        .replace('_', "")
        .parse()
        .map_err(|_| ParseQuantityError::NoNumber { text: text.to_owned(), example })?;
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let Some(factor) = factor else {
        let names: Vec<String> = units.iter().map(|(name, _)| format!("`{name}`")).collect();
        return Err(ParseQuantityError::UnknownUnit {
            text: text.to_owned(),
            unit: unit.to_owned(),
            quantity,
            allowed: names.join(", "),
            example,
        });
    };
    let value = value * factor;
    if value.is_finite() {
        Ok(value)
    } else {
        Err(ParseQuantityError::NotFinite { text: text.to_owned(), example })
    }
}

/// Splits a number from what follows it. An `e` belongs to the number only before digits.
fn split(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let byte = bytes[end];
        let exponent = matches!(byte, b'e' | b'E') && end > 0 && {
            let rest = &bytes[end + 1..];
            let digits = rest.strip_prefix(b"-").or(rest.strip_prefix(b"+")).unwrap_or(rest);
            digits.first().is_some_and(u8::is_ascii_digit)
        };
        let sign = matches!(byte, b'-' | b'+') && (end == 0 || matches!(bytes[end - 1], b'e' | b'E'));
        if byte.is_ascii_digit() || byte == b'.' || byte == b'_' || exponent || sign {
            end += 1;
        } else {
            break;
        }
    }
    (&text[..end], text[end..].trim())
}

/// A unit a quantity may be printed in.
pub(crate) struct Shown {
    pub(crate) unit: &'static str,
    /// How many base units it is.
    pub(crate) factor: f64,
    /// The smallest value, in base units, that is printed in it.
    pub(crate) from: f64,
}

/// Prints `value` (in the base unit) with the first unit of `display` that it is large enough for (else the last), four
/// significant digits, no trailing zeros.
pub(crate) fn format(value: f64, display: &[Shown]) -> String {
    let magnitude = value.abs();
    let fitting = display.iter().find(|shown| magnitude >= shown.from * 0.99995).or(display.last());
    let (unit, factor) = fitting.map_or(("", 1.0), |shown| (shown.unit, shown.factor));
    let number = significant(value / factor, 4);
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let exponent = value.abs().log10().floor() as i32;
    if !(-4..=15).contains(&exponent) {
        return format!("{value:.*e}", (digits - 1) as usize);
    }
    let decimals = (digits - 1 - exponent).max(0) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}
