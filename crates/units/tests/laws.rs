//! Laws of quantities over random values.

use proptest::prelude::*;
use supernode_units::*;

/// Whether `value` survives being printed (four digits) and read.
macro_rules! survives {
    ($value:expr, $($quantity:ident),+) => {
        $({
            let text = $quantity::new($value).to_string();
            let read: Result<$quantity, _> = text.parse();
            let read = read.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
            let ratio = read.get() / $value;
            prop_assert!((ratio - 1.0).abs() < 1e-3, "{} is printed as {}", $value, text);
        })+
    };
}

proptest! {
    #[test]
    fn every_quantity_round_trips(exponent in -9.0f64..14.0) {
        let value = 10f64.powf(exponent);
        survives!(
            value,
            Seconds, Bytes, BytesPerSecond, Flop, FlopPerSecond, Watts, Joules, JoulesPerFlop, JoulesPerByte, Dollars,
            DollarsPerHour, DollarsPerKilowattHour, GramsCo2, GramsCo2PerKilowattHour, TokensPerSecond, PerSecond,
            SquareMillimetres
        );
    }

    #[test]
    fn products_and_quotients_undo_each_other(rate in 1.0f64..1e15, time in 1e-9f64..1e6) {
        let moved = BytesPerSecond::new(rate) * Seconds::new(time);
        let back = moved / BytesPerSecond::new(rate);
        prop_assert!((back.get() / time - 1.0).abs() < 1e-12);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,24}") {
        let _ = text.parse::<Seconds>();
        let _ = text.parse::<BytesPerSecond>();
        let _ = text.parse::<Dtype>();
    }
}
