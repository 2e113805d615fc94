//! A time as a function of a size, tabulated once so that an evaluation costs a logarithm and an exponential.

/// ln(seconds) at half-octave steps of the size, never falling: more bytes never take less time, whatever a residual
/// fitted to noisy rows says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Curve {
    log2_first: f64,
    knots: Vec<f64>,
    /// Seconds per unit of size beyond the last knot.
    slope: f64,
    /// Seconds at the first knot: what is left when the size goes to zero.
    latency: f64,
}

/// Knots per octave: between them a line in logarithms is within half a percent of `a + b size`.
const PER_OCTAVE: f64 = 2.0;

impl Curve {
    /// Tabulates `time` over sizes from `2^low` to `2^high`.
    pub(crate) fn new(low: i32, high: i32, time: impl Fn(f64) -> f64) -> Self {
        let count = (high - low) * PER_OCTAVE as i32 + 1;
        let size = |knot: i32| (f64::from(low) + f64::from(knot) / PER_OCTAVE).exp2();
        let mut highest = f64::NEG_INFINITY;
        let knots: Vec<f64> = (0..count)
            .map(|knot| {
                highest = highest.max(time(size(knot)).ln());
                highest
            })
            .collect();
        let last = knots.len() - 1;
        let (a, b) = (knots[last - 2].exp(), knots[last].exp());
        let slope = (b - a).max(0.0) / (size(count - 1) - size(count - 3));
        Self { log2_first: f64::from(low), latency: knots[0].exp(), knots, slope }
    }

    /// Seconds at `size`.
    pub(crate) fn at(&self, size: f64) -> f64 {
        let x = (size.log2() - self.log2_first) * PER_OCTAVE;
        if x.is_nan() || x <= 0.0 {
            return self.latency;
        }
        let last = self.knots.len() - 1;
        let low = x as usize;
        if low >= last {
            let end = (self.log2_first + last as f64 / PER_OCTAVE).exp2();
            return self.knots[last].exp() + (size - end) * self.slope;
        }
        let share = x - low as f64;
        // In this order a flat stretch stays exactly flat.
        (self.knots[low] + (self.knots[low + 1] - self.knots[low]) * share).exp()
    }

    /// Seconds left when the size goes to zero.
    pub(crate) fn latency(&self) -> f64 {
        self.latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_reproduced_inside_and_beyond_the_table() {
        let time = |bytes: f64| 5e-6 + bytes / 300e9;
        let curve = Curve::new(5, 30, time);
        for bytes in [100.0, 3e3, 1.7e6, 4e6, 1e9, 5e10] {
            assert!((curve.at(bytes) / time(bytes) - 1.0).abs() < 6e-3, "{bytes}");
        }
        assert_eq!(curve.at(0.0), curve.latency());
    }

    #[test]
    fn a_dip_is_levelled() {
        let curve = Curve::new(0, 10, |size| if size > 30.0 && size < 60.0 { 1.0 } else { 2.0 });
        assert_eq!(curve.at(40.0), 2.0);
    }
}
