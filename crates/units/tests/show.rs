//! What is printed reads back as what it was, to the four digits printed.

use supernode_units::*;

macro_rules! round_trips {
    ($($quantity:ident),+) => {
        $(for exponent in -12..15 {
            for mantissa in [1.0, 2.7, 9.9994, 3.3333] {
                let value = mantissa * 10f64.powi(exponent);
                let text = $quantity::new(value).to_string();
                let read: $quantity = text.parse().unwrap_or_else(|error| panic!("{value}: {error}"));
                let ratio = read.get() / value;
                assert!((ratio - 1.0).abs() < 1e-3, "{value} of {} is printed as {text}", $quantity::UNIT);
            }
        })+
    };
}

#[test]
fn every_quantity_reads_what_it_prints() {
    round_trips!(
        Seconds,
        Bytes,
        BytesPerSecond,
        Flop,
        FlopPerSecond,
        Watts,
        Joules,
        JoulesPerFlop,
        JoulesPerByte,
        Dollars,
        DollarsPerHour,
        DollarsPerKilowattHour,
        GramsCo2,
        GramsCo2PerKilowattHour,
        TokensPerSecond,
        PerSecond,
        SquareMillimetres
    );
}

#[test]
fn units_change_where_they_read_best() {
    let texts = [
        Seconds::new(3600.0).to_string(),
        Seconds::new(5.0 * 3600.0).to_string(),
        Seconds::new(4.0 * 86400.0).to_string(),
        Dollars::new(9000.0).to_string(),
        Dollars::new(41667.0).to_string(),
        DollarsPerKilowattHour::new(0.0806).to_string(),
        TokensPerSecond::new(1943.0).to_string(),
        TokensPerSecond::new(500_000.0).to_string(),
        PerSecond::new(4.0).to_string(),
    ];
    assert_eq!(
        texts,
        [
            "3600 s",
            "5 h",
            "4 d",
            "9000 USD",
            "41.67 kUSD",
            "0.0806 USD/kWh",
            "1943 tokens/s",
            "500 ktokens/s",
            "4 /s"
        ]
    );
}
