//! Expected number of tiles that a random number of rows fills.

/// Expected `ceil(X / block)` of a row count `X >= 1` with the given mean and variance.
///
/// `X` is taken as triangular around its mean (two equal uniforms, support of +-2.45 standard deviations), which makes
/// the expectation a second difference of the twice integrated ceiling: exact in the limits of no spread (a staircase)
/// and of wide spread (`mean / block + 1/2`), and cheap. The half row makes up for `X` being a whole number.
pub fn expected_tiles(mean: f64, variance: f64, block: f64) -> f64 {
    let centre = (mean.max(1.0) - 0.5) / block;
    // Half the support: the standard deviation of the sum of two uniforms of width h is h / sqrt(6).
    let h = ((6.0 * variance.max(0.0)).sqrt() / block).max(1e-3);
    let difference =
        twice_integrated(centre + h) - 2.0 * twice_integrated(centre) + twice_integrated(centre - h);
    (difference / (h * h)).max(1.0)
}

/// The second integral of `max(ceil(x), 1)` from 0.
fn twice_integrated(x: f64) -> f64 {
    if x <= 0.0 {
        return 0.5 * x * x;
    }
    // Positive and small: truncation is the floor.
    let n = x as i64 as f64;
    let rest = x - n;
    n * (n + 1.0) * (2.0 * n + 1.0) / 12.0 + 0.5 * n * (n + 1.0) * rest + 0.5 * (n + 1.0) * rest * rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by summing the Poisson distribution, given at least one row.
    fn poisson(rate: f64, block: f64) -> (f64, f64, f64) {
        let (mut p, mut tiles, mut mean, mut square) = ((-rate).exp(), 0.0, 0.0, 0.0);
        let none = p;
        for k in 1..4000 {
            let x = f64::from(k);
            p *= rate / x;
            tiles += p * (x / block).ceil();
            mean += p * x;
            square += p * x * x;
        }
        let some = 1.0 - none;
        (tiles / some, mean / some, square / some - (mean / some).powi(2))
    }

    #[test]
    fn agrees_with_the_poisson_sum() {
        for block in [16.0, 64.0, 128.0] {
            for rate in [0.1, 1.0, 5.0, 14.0, 40.0, 60.0, 64.0, 70.0, 100.0, 200.0, 500.0] {
                let (tiles, mean, variance) = poisson(rate, block);
                let found = expected_tiles(mean, variance, block);
                assert!((found / tiles - 1.0).abs() < 0.03, "rate {rate} block {block}: {found} {tiles}");
            }
        }
    }

    #[test]
    fn without_spread_it_is_the_ceiling() {
        for (rows, tiles) in [(1.0, 1.0), (63.0, 1.0), (64.0, 1.0), (65.0, 2.0), (200.0, 4.0)] {
            assert!((expected_tiles(rows, 0.0, 64.0) - tiles).abs() < 1e-6, "{rows}");
        }
    }
}
