//! Expert load.

/// Expected experts, of `experts` equally likely ones, that receive at least one of `rows` rows.
pub fn touched(rows: f64, experts: f64) -> f64 {
    if experts <= 1.0 { experts.min(rows) } else { experts * (1.0 - (1.0 - 1.0 / experts).powf(rows)) }
}
