//! How long prompts and outputs are.

use rand::Rng;
use rand_distr::{Distribution, LogNormal};
use std::fmt;
use std::str::FromStr;

/// A distribution of token counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Lengths {
    /// Always the same.
    Fixed(u32),
    /// Uniform between the two, both included.
    Uniform(u32, u32),
    /// Log-normal, cut to between one and `max`.
    LogNormal {
        /// The median.
        median: f64,
        /// Standard deviation of the logarithm.
        sigma: f64,
        /// The longest.
        max: u32,
    },
}

impl Lengths {
    /// Uniform in `[spread * nominal, nominal]`, as InferenceX draws lengths; a spread of one is fixed.
    pub fn spread(nominal: u32, spread: f64) -> Self {
        let low = (f64::from(nominal) * spread.clamp(0.0, 1.0)).round() as u32;
        if low >= nominal { Self::Fixed(nominal.max(1)) } else { Self::Uniform(low.max(1), nominal) }
    }

    /// A length, at least one.
    pub fn draw(&self, random: &mut impl Rng) -> u32 {
        match *self {
            Self::Fixed(length) => length.max(1),
            Self::Uniform(low, high) => random.random_range(low.max(1)..=high.max(low).max(1)),
            Self::LogNormal { median, sigma, max } => {
                let drawn = LogNormal::new(median.ln(), sigma).map_or(median, |law| law.sample(random));
                (drawn.round() as u32).clamp(1, max.max(1))
            }
        }
    }

    /// The mean, of the uncut law for a log-normal.
    pub fn mean(&self) -> f64 {
        match *self {
            Self::Fixed(length) => f64::from(length),
            Self::Uniform(low, high) => f64::midpoint(f64::from(low), f64::from(high)),
            Self::LogNormal { median, sigma, .. } => median * (sigma * sigma / 2.0).exp(),
        }
    }
}

/// A text that is no distribution of lengths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a length; write tokens (`1024`), a range (`512-1024`) or `lognormal(median, sigma, max)`"
)]
pub struct LengthError(String);

impl FromStr for Lengths {
    type Err = LengthError;

    fn from_str(text: &str) -> Result<Self, LengthError> {
        let wrong = || LengthError(text.to_owned());
        let whole =
            |part: &str| part.trim().parse::<u32>().ok().filter(|length| *length > 0).ok_or_else(wrong);
        let trimmed = text.trim();
        if let Some(inner) = trimmed.strip_prefix("lognormal(").and_then(|rest| rest.strip_suffix(')')) {
            let parts: Vec<&str> = inner.split(',').collect();
            let [median, sigma, max] = parts[..] else { return Err(wrong()) };
            let median: f64 = median.trim().parse().map_err(|_| wrong())?;
            let sigma: f64 = sigma.trim().parse().map_err(|_| wrong())?;
            let sane =
                median.is_finite() && median >= 1.0 && sigma.is_finite() && (0.0..=10.0).contains(&sigma);
            return if sane { Ok(Self::LogNormal { median, sigma, max: whole(max)? }) } else { Err(wrong()) };
        }
        match trimmed.split_once('-') {
            Some((low, high)) => {
                let (low, high) = (whole(low)?, whole(high)?);
                if low <= high { Ok(Self::Uniform(low, high)) } else { Err(wrong()) }
            }
            None => whole(trimmed).map(Self::Fixed),
        }
    }
}

impl fmt::Display for Lengths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Uniform(low, high) => write!(f, "{low}-{high}"),
            Self::LogNormal { median, sigma, max } => write!(f, "lognormal({median}, {sigma}, {max})"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Lengths {
    /// From a whole number or a text.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Lengths;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of tokens, a range \"512-1024\" or \"lognormal(median, sigma, max)\"")
            }
            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Lengths, E> {
                value.to_string().parse().map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Lengths, E> {
                value.to_string().parse().map_err(E::custom)
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Lengths, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_means_match_the_law() {
        let mut random = crate::random::stream(1, "lengths");
        for text in ["700", "100-900", "lognormal(300, 0.8, 1000000)"] {
            let law: Lengths = text.parse().unwrap();
            assert_eq!(law.to_string(), text);
            let mean = (0..40_000).map(|_| f64::from(law.draw(&mut random))).sum::<f64>() / 40_000.0;
            assert!((mean / law.mean() - 1.0).abs() < 0.02, "{text}: {mean} against {}", law.mean());
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in
            ["", "0", "-5", "9-3", "lognormal(0, 1, 5)", "lognormal(5, 1)", "12k", "1.5", "99999999999"]
        {
            assert!(text.parse::<Lengths>().is_err(), "{text}");
        }
    }
}
