//! Percentiles of any number of values in bounded memory.

/// Values kept as they are before the sketch goes over to buckets.
const EXACT: usize = 1 << 16;

/// Ratio of neighbouring bucket edges: a percentile is off by at most 0.02 %.
const RATIO: f64 = 1.0004;

/// The smallest value told apart from zero.
const SMALLEST: f64 = 1e-9;

/// A distribution of values that are not negative.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    exact: Vec<f64>,
    /// Weights by bucket, once there are too many values; the first holds what is below [`SMALLEST`].
    buckets: Vec<f64>,
    weight: f64,
    sum: f64,
    squares: f64,
    largest: f64,
}

impl Sketch {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.note(value, 1.0);
        if self.buckets.is_empty() {
            self.exact.push(value);
            if self.exact.len() == EXACT {
                self.spill();
            }
        } else {
            self.bucket(value, 1.0);
        }
    }

    /// Adds a value as often as `weight` says.
    pub fn add_weighted(&mut self, value: f64, weight: f64) {
        if self.buckets.is_empty() {
            self.spill();
        }
        self.note(value, weight);
        self.bucket(value, weight);
    }

    fn note(&mut self, value: f64, weight: f64) {
        self.weight += weight;
        self.sum += value * weight;
        self.squares += value * value * weight;
        self.largest = self.largest.max(value);
    }

    fn spill(&mut self) {
        self.buckets.push(0.0);
        for value in std::mem::take(&mut self.exact) {
            self.bucket(value, 1.0);
        }
    }

    fn bucket(&mut self, value: f64, weight: f64) {
        let index = if value <= SMALLEST { 0 } else { 1 + ((value / SMALLEST).ln() / RATIO.ln()) as usize };
        if index >= self.buckets.len() {
            self.buckets.resize(index + 1, 0.0);
        }
        self.buckets[index] += weight;
    }

    /// Values added, by weight.
    pub fn count(&self) -> f64 {
        self.weight
    }

    /// The mean; zero of nothing.
    pub fn mean(&self) -> f64 {
        if self.weight > 0.0 { self.sum / self.weight } else { 0.0 }
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        if self.weight > 0.0 { (self.squares / self.weight - mean * mean).max(0.0).sqrt() } else { 0.0 }
    }

    /// The largest value.
    pub fn max(&self) -> f64 {
        self.largest
    }

    /// The value that the share `q` of all values does not exceed, by linear interpolation between ranks.
    pub fn quantile(&self, q: f64) -> f64 {
        if self.buckets.is_empty() {
            let mut sorted = self.exact.clone();
            sorted.sort_unstable_by(f64::total_cmp);
            let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
            let rank = q * last as f64;
            let (low, share) = (rank.floor() as usize, rank.fract());
            let high = (low + 1).min(last);
            return sorted[low] + (sorted[high] - sorted[low]) * share;
        }
        let target = q * self.weight;
        let mut below = 0.0;
        for (index, weight) in self.buckets.iter().enumerate() {
            if *weight > 0.0 && below + weight >= target {
                if index == 0 {
                    return 0.0;
                }
                let share = (target - below) / weight;
                return (SMALLEST * RATIO.powf((index - 1) as f64 + share)).min(self.largest);
            }
            below += weight;
        }
        self.largest
    }

    /// Points of the cumulative distribution, for a chart: (value, share).
    pub fn curve(&self, points: usize) -> Vec<(f64, f64)> {
        let shares = (0..=points).map(|point| point as f64 / points as f64);
        shares.map(|share| (self.quantile(share), share)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn quantiles_of_many_values_are_those_of_sorting_them() {
        let mut random = workload::random::stream(3, "sketch");
        let mut values: Vec<f64> = (0..200_000).map(|_| random.random_range(-9.0f64..4.0).exp()).collect();
        let mut sketch = Sketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        values.sort_unstable_by(f64::total_cmp);
        for q in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let exact = values[(q * (values.len() - 1) as f64) as usize];
            assert!((sketch.quantile(q) / exact - 1.0).abs() < 5e-4, "{q}");
        }
        assert!((sketch.mean() / (values.iter().sum::<f64>() / 200_000.0) - 1.0).abs() < 1e-9);
        assert!(sketch.buckets.len() < 80_000);
    }

    #[test]
    fn few_values_are_exact() {
        let mut sketch = Sketch::default();
        [4.0, 1.0, 3.0, 2.0].into_iter().for_each(|value| sketch.add(value));
        assert_eq!((sketch.quantile(0.0), sketch.quantile(0.5), sketch.quantile(1.0)), (1.0, 2.5, 4.0));
        assert_eq!((sketch.mean(), sketch.max()), (2.5, 4.0));
    }
}
