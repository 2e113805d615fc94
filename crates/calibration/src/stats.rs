//! Splits of measured rows into fitted and tested, and statistics of the errors.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_pcg::Pcg64;

/// Indices of the rows to fit and of the rows to test.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Split {
    /// Fitted.
    pub train: Vec<usize>,
    /// Tested.
    pub test: Vec<usize>,
}

impl Split {
    /// A random `share` of `rows` rows to fit.
    pub fn random(rows: usize, share: f64, seed: u64) -> Self {
        let mut order: Vec<usize> = (0..rows).collect();
        order.shuffle(&mut Pcg64::seed_from_u64(seed));
        let cut = ((rows as f64 * share).round() as usize).min(rows);
        let test = order.split_off(cut);
        Self { train: order, test }
    }

    /// The `share` of rows with the least work to fit, the largest to test.
    pub fn size(work: &[f64], share: f64) -> Self {
        let mut order: Vec<usize> = (0..work.len()).collect();
        order.sort_by(|a, b| work[*a].total_cmp(&work[*b]));
        let cut = ((work.len() as f64 * share).round() as usize).min(work.len());
        let test = order.split_off(cut);
        Self { train: order, test }
    }

    /// Rows that `trains` says to fit (`true`), to test (`false`) or to leave out.
    pub fn by(rows: usize, trains: impl Fn(usize) -> Option<bool>) -> Self {
        let pick = |wanted| (0..rows).filter(|row| trains(*row) == Some(wanted)).collect();
        Self { train: pick(true), test: pick(false) }
    }

    /// The shipped profiles' split: rows whose [`held_out`] key says so are tested.
    pub fn shipped<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let (mut train, mut test) = (Vec::new(), Vec::new());
        for (row, key) in keys.into_iter().enumerate() {
            if held_out(key) { test.push(row) } else { train.push(row) }
        }
        Self { train, test }
    }
}

/// 64-bit FNV-1a, a hash that is the same everywhere and always.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Whether the row with this key (its shape columns joined with commas) is kept out of the shipped fits: one in five,
/// by the hash of the key, whatever the chip and stack. The same shape is kept out of all of them.
pub fn held_out(key: &str) -> bool {
    // The low bits of FNV-1a mix least; fold the high half in before the remainder.
    let hash = fnv1a(key.as_bytes());
    (hash ^ (hash >> 32)) % 5 == 0
}

/// [`held_out`] in words, for the header of a profile.
pub const SPLIT_RULE: &str = "rows whose shape key (shape columns joined with commas) has FNV-1a-64, high half folded in, divisible by 5 are held out";

/// Statistics of predictions against measurements.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ErrorStats {
    /// Rows.
    pub n: usize,
    /// Median of |predicted / measured - 1|.
    pub median_ape: f64,
    /// Its mean.
    pub mean_ape: f64,
    /// Its 90th percentile.
    pub p90_ape: f64,
    /// Mean of predicted / measured - 1: positive where the prediction is too high.
    pub bias: f64,
    /// Sum of |predicted - measured| over the sum of measured.
    pub weighted: f64,
    /// Robust standard deviation of ln(measured / predicted): half the distance between the quantiles that a normal
    /// distribution has 1.2816 deviations out, so that an 80 % band of that width holds 80 % of these rows.
    pub sigma: f64,
}

impl ErrorStats {
    /// Of pairs (predicted, measured); both positive.
    pub fn of(pairs: &[(f64, f64)]) -> Self {
        if pairs.is_empty() {
            return Self::default();
        }
        let n = pairs.len() as f64;
        let mut apes: Vec<f64> = pairs.iter().map(|(p, m)| (p / m - 1.0).abs()).collect();
        apes.sort_by(f64::total_cmp);
        let mut logs: Vec<f64> = pairs.iter().map(|(p, m)| (p / m).ln().abs()).collect();
        logs.sort_by(f64::total_cmp);
        let weight: f64 = pairs.iter().map(|(_, m)| m).sum();
        Self {
            n: pairs.len(),
            median_ape: quantile(&apes, 0.5),
            mean_ape: apes.iter().sum::<f64>() / n,
            p90_ape: quantile(&apes, 0.9),
            bias: pairs.iter().map(|(p, m)| p / m - 1.0).sum::<f64>() / n,
            weighted: pairs.iter().map(|(p, m)| (p - m).abs()).sum::<f64>() / weight,
            sigma: quantile(&logs, 0.8) / Z80,
        }
    }

    /// Median and 90th percentile.
    pub fn median_p90(&self) -> [f64; 2] {
        [self.median_ape, self.p90_ape]
    }
}

/// Standard deviations to either side that hold 80 % of a normal distribution.
pub const Z80: f64 = 1.281_551_565_545;

/// Share of (predicted, measured, sigma) rows inside `predicted * exp(+- z sigma)`.
pub fn share_inside(rows: &[(f64, f64, f64)], z: f64) -> f64 {
    if rows.is_empty() {
        return 0.0;
    }
    let inside = rows.iter().filter(|(p, m, sigma)| (m / p).ln().abs() <= z * sigma).count();
    inside as f64 / rows.len() as f64
}

/// Quantile of ascending values, interpolated; 0 for none.
pub fn quantile(ascending: &[f64], share: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return 0.0 };
    let at = share.clamp(0.0, 1.0) * last as f64;
    let low = at.floor() as usize;
    let high = at.ceil() as usize;
    ascending[low] + (ascending[high] - ascending[low]) * (at - low as f64)
}

/// Median of values in any order; 0 for none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    quantile(&sorted, 0.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_cover_every_row_once() {
        let mut all = Split::random(101, 0.3, 7);
        assert_eq!(all.train.len(), 30);
        all.train.extend(all.test);
        all.train.sort_unstable();
        assert_eq!(all.train, (0..101).collect::<Vec<_>>());
        let size = Split::size(&[3.0, 1.0, 2.0, 4.0], 0.5);
        assert_eq!((size.train, size.test), (vec![1, 2], vec![0, 3]));
    }

    #[test]
    fn one_row_in_five_is_held_out() {
        let keys: Vec<String> = (0..5000).map(|i| format!("{},{},{}", i % 17, i % 29, i)).collect();
        let out = keys.iter().filter(|key| held_out(key)).count();
        assert!((850..1150).contains(&out), "{out}");
    }

    #[test]
    fn statistics_of_known_errors() {
        let stats = ErrorStats::of(&[(1.1, 1.0), (0.9, 1.0), (1.0, 1.0)]);
        assert!((stats.median_ape - 0.1).abs() < 1e-12);
        assert!(stats.bias.abs() < 1e-12);
        assert_eq!(share_inside(&[(1.0, 1.05, 0.1), (1.0, 2.0, 0.1)], 1.0), 0.5);
    }
}
