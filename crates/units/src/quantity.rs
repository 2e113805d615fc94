//! The quantities themselves, made by one macro from a table of units each.

use crate::parse::{self, ParseQuantityError};
use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub, SubAssign};
use std::str::FromStr;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $base:ident, $label:literal, $example:literal,
     parse [$(($unit:literal, $factor:expr)),+ $(,)?], show [$(($shown:literal, $shown_factor:expr $(, from $from:expr)?)),+ $(,)?]) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
        pub struct $name(f64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0.0);

            #[doc = concat!("From a number of ", $label, ".")]
            pub const fn new(value: f64) -> Self {
                Self(value)
            }

            #[doc = concat!("The number of ", $label, ".")]
            pub const fn get(self) -> f64 {
                self.0
            }

            /// The smaller of the two.
            #[must_use]
            pub fn min(self, other: Self) -> Self {
                Self(self.0.min(other.0))
            }

            /// The larger of the two.
            #[must_use]
            pub fn max(self, other: Self) -> Self {
                Self(self.0.max(other.0))
            }

            /// Whether the value is neither infinite nor "not a number".
            pub fn is_finite(self) -> bool {
                self.0.is_finite()
            }

            #[doc = concat!("The name of the base unit, for machine-readable output: `", stringify!($base), "`.")]
            pub const UNIT: &'static str = stringify!($base);
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&parse::format(self.0, &[$(parse::Shown {
                    unit: $shown,
                    factor: $shown_factor,
                    from: [$($from,)? $shown_factor][0],
                }),+]))
            }
        }

        impl FromStr for $name {
            type Err = ParseQuantityError;

            fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
                parse::parse(text, stringify!($name), &[$(($unit, $factor)),+], $example).map(Self)
            }
        }

        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0 + other.0)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                self.0 += other.0;
            }
        }

        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                Self(self.0 - other.0)
            }
        }

        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                self.0 -= other.0;
            }
        }

        impl Neg for $name {
            type Output = Self;
            fn neg(self) -> Self {
                Self(-self.0)
            }
        }

        impl Mul<f64> for $name {
            type Output = Self;
            fn mul(self, factor: f64) -> Self {
                Self(self.0 * factor)
            }
        }

        impl Mul<$name> for f64 {
            type Output = $name;
            fn mul(self, quantity: $name) -> $name {
                $name(self * quantity.0)
            }
        }

        impl Div<f64> for $name {
            type Output = Self;
            fn div(self, divisor: f64) -> Self {
                Self(self.0 / divisor)
            }
        }

        /// The ratio of two of a kind is a bare number.
        impl Div for $name {
            type Output = f64;
            fn div(self, other: Self) -> f64 {
                self.0 / other.0
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
                Self(iter.map(|quantity| quantity.0).sum())
            }
        }

        impl serde::Serialize for $name {
            /// As a bare number in the base unit; the field or its schema names the unit.
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_f64(self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            /// From text with a unit. A bare number is refused: it does not say what it means.
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Visitor;
                impl serde::de::Visitor<'_> for Visitor {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "a number with a unit in quotes, for example \"{}\"", $example)
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Visitor)
            }
        }
    };
}

macro_rules! product {
    ($a:ident * $b:ident = $c:ident) => {
        impl Mul<$b> for $a {
            type Output = $c;
            fn mul(self, other: $b) -> $c {
                $c::new(self.get() * other.get())
            }
        }
        impl Mul<$a> for $b {
            type Output = $c;
            fn mul(self, other: $a) -> $c {
                $c::new(self.get() * other.get())
            }
        }
        impl Div<$a> for $c {
            type Output = $b;
            fn div(self, other: $a) -> $b {
                $b::new(self.get() / other.get())
            }
        }
        impl Div<$b> for $c {
            type Output = $a;
            fn div(self, other: $b) -> $a {
                $a::new(self.get() / other.get())
            }
        }
    };
}

quantity!(
    /// A duration.
    Seconds, s, "seconds", "50 ms",
    parse [("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("ns", 1e-9), ("min", 60.0), ("h", 3600.0), ("d", 86400.0)],
    show [("d", 86400.0, from 3.0 * 86400.0), ("h", 3600.0, from 3.0 * 3600.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)]
);
quantity!(
    /// An amount of data; prefixes are decimal, `GiB` and its like binary.
    Bytes, B, "bytes", "64 GB",
    parse [("B", 1.0), ("kB", 1e3), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("PB", 1e15),
           ("KiB", 1024.0), ("MiB", 1048576.0), ("GiB", 1073741824.0), ("TiB", 1099511627776.0)],
    show [("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0)]
);
quantity!(
    /// A data rate, one direction unless said otherwise; `Gbit/s` and `Gb/s` are bits.
    BytesPerSecond, B_per_s, "bytes per second", "1.6 TB/s",
    parse [("B/s", 1.0), ("kB/s", 1e3), ("MB/s", 1e6), ("GB/s", 1e9), ("TB/s", 1e12), ("PB/s", 1e15),
           ("GiB/s", 1073741824.0), ("TiB/s", 1099511627776.0),
           ("Mbit/s", 1e6 / 8.0), ("Gbit/s", 1e9 / 8.0), ("Gb/s", 1e9 / 8.0), ("Tbit/s", 1e12 / 8.0), ("Tb/s", 1e12 / 8.0)],
    show [("PB/s", 1e15), ("TB/s", 1e12), ("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3), ("B/s", 1.0)]
);
quantity!(
    /// Arithmetic work: a multiply-add is two.
    Flop, FLOP, "floating-point (or integer) operations", "2 TFLOP",
    parse [("FLOP", 1.0), ("MFLOP", 1e6), ("GFLOP", 1e9), ("TFLOP", 1e12), ("PFLOP", 1e15), ("EFLOP", 1e18), ("ZFLOP", 1e21)],
    show [("ZFLOP", 1e21), ("EFLOP", 1e18), ("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9), ("MFLOP", 1e6), ("FLOP", 1.0)]
);
quantity!(
    /// Arithmetic rate, dense; `TOPS` is the same for integers.
    FlopPerSecond, FLOP_per_s, "operations per second", "353.9 TFLOPS",
    parse [("FLOPS", 1.0), ("FLOP/s", 1.0), ("GFLOPS", 1e9), ("GFLOP/s", 1e9), ("TFLOPS", 1e12), ("TFLOP/s", 1e12), ("TOPS", 1e12),
           ("PFLOPS", 1e15), ("PFLOP/s", 1e15), ("POPS", 1e15), ("EFLOPS", 1e18), ("EFLOP/s", 1e18)],
    show [("EFLOPS", 1e18), ("PFLOPS", 1e15), ("TFLOPS", 1e12), ("GFLOPS", 1e9), ("FLOPS", 1.0)]
);
quantity!(
    /// Power.
    Watts, W, "watts", "700 W",
    parse [("W", 1.0), ("mW", 1e-3), ("kW", 1e3), ("MW", 1e6), ("GW", 1e9)],
    show [("MW", 1e6), ("kW", 1e3), ("W", 1.0), ("mW", 1e-3)]
);
quantity!(
    /// Energy.
    Joules, J, "joules", "12 kWh",
    parse [("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9), ("pJ", 1e-12), ("kJ", 1e3), ("MJ", 1e6), ("GJ", 1e9),
           ("Wh", 3600.0), ("kWh", 3.6e6), ("MWh", 3.6e9), ("GWh", 3.6e12)],
    show [("GWh", 3.6e12), ("MWh", 3.6e9), ("kWh", 3.6e6), ("kJ", 1e3), ("J", 1.0), ("mJ", 1e-3), ("uJ", 1e-6), ("nJ", 1e-9), ("pJ", 1e-12)]
);
quantity!(
    /// Energy per operation.
    JoulesPerFlop, J_per_FLOP, "joules per operation", "0.5 pJ/FLOP",
    parse [("J/FLOP", 1.0), ("pJ/FLOP", 1e-12), ("fJ/FLOP", 1e-15)],
    show [("pJ/FLOP", 1e-12), ("fJ/FLOP", 1e-15)]
);
quantity!(
    /// Energy per byte moved.
    JoulesPerByte, J_per_B, "joules per byte", "40 pJ/B",
    parse [("J/B", 1.0), ("nJ/B", 1e-9), ("pJ/B", 1e-12), ("pJ/bit", 8e-12)],
    show [("nJ/B", 1e-9), ("pJ/B", 1e-12)]
);
quantity!(
    /// Money, US dollars of the date its source states.
    Dollars, USD, "US dollars", "3.0 MUSD",
    parse [("USD", 1.0), ("kUSD", 1e3), ("MUSD", 1e6), ("GUSD", 1e9)],
    show [("GUSD", 1e9), ("MUSD", 1e6), ("kUSD", 1e3, from 1e4), ("USD", 1.0)]
);
quantity!(
    /// Money per time, as chips are rented.
    DollarsPerHour, USD_per_h, "US dollars per hour", "2.1 USD/h",
    parse [("USD/h", 1.0), ("USD/hr", 1.0)],
    show [("USD/h", 1.0)]
);
quantity!(
    /// Money per energy.
    DollarsPerKilowattHour, USD_per_kWh, "US dollars per kilowatt hour", "0.08 USD/kWh",
    parse [("USD/kWh", 1.0), ("USD/MWh", 1e-3)],
    show [("USD/kWh", 1.0)]
);
quantity!(
    /// Mass of CO2-equivalent emissions.
    GramsCo2, gCO2e, "grams of CO2-equivalent", "300 g",
    parse [("g", 1.0), ("kg", 1e3), ("t", 1e6), ("gCO2e", 1.0), ("kgCO2e", 1e3), ("tCO2e", 1e6)],
    show [("t", 1e6), ("kg", 1e3), ("g", 1.0)]
);
quantity!(
    /// Carbon intensity of electricity.
    GramsCo2PerKilowattHour, gCO2e_per_kWh, "grams of CO2-equivalent per kilowatt hour", "530 g/kWh",
    parse [("g/kWh", 1.0), ("gCO2e/kWh", 1.0), ("kg/kWh", 1e3), ("kg/MWh", 1.0)],
    show [("g/kWh", 1.0)]
);
quantity!(
    /// A rate of tokens.
    TokensPerSecond, tokens_per_s, "tokens per second", "2000 tokens/s",
    parse [("tokens/s", 1.0), ("tok/s", 1.0), ("ktokens/s", 1e3), ("Mtokens/s", 1e6)],
    show [("Mtokens/s", 1e6), ("ktokens/s", 1e3, from 1e5), ("tokens/s", 1.0)]
);
quantity!(
    /// A rate of anything counted: requests, steps, failures.
    PerSecond, per_s, "per second", "4 /s",
    parse [("/s", 1.0), ("Hz", 1.0), ("req/s", 1.0), ("requests/s", 1.0), ("/h", 1.0 / 3600.0), ("/d", 1.0 / 86400.0), ("/year", 1.0 / 31_557_600.0)],
    show [("/s", 1.0, from 1e-2), ("/h", 1.0 / 3600.0), ("/year", 1.0 / 31_557_600.0)]
);
quantity!(
    /// Silicon area.
    SquareMillimetres, mm2, "square millimetres", "814 mm2",
    parse [("mm2", 1.0), ("mm²", 1.0)],
    show [("mm2", 1.0)]
);

product!(BytesPerSecond * Seconds = Bytes);
product!(FlopPerSecond * Seconds = Flop);
product!(Watts * Seconds = Joules);
product!(JoulesPerFlop * Flop = Joules);
product!(JoulesPerByte * Bytes = Joules);

impl Joules {
    /// The number of kilowatt hours.
    pub fn kilowatt_hours(self) -> f64 {
        self.get() / 3.6e6
    }
}

impl Seconds {
    /// From milliseconds.
    pub const fn from_ms(milliseconds: f64) -> Self {
        Self::new(milliseconds * 1e-3)
    }

    /// From microseconds.
    pub const fn from_us(microseconds: f64) -> Self {
        Self::new(microseconds * 1e-6)
    }

    /// The number of milliseconds.
    pub const fn ms(self) -> f64 {
        self.get() * 1e3
    }

    /// The number of microseconds.
    pub const fn us(self) -> f64 {
        self.get() * 1e6
    }
}
