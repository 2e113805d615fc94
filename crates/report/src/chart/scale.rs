//! Axes with round ticks.

/// How a figure becomes a place.
#[derive(Debug, Clone)]
pub struct Scale {
    low: f64,
    high: f64,
    log: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// A linear axis over `low..high`, widened to round ends, drawn from `from` to `to`.
    pub fn linear(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = apart(low, high);
        let step = step(high - low, 5);
        Self { low: (low / step).floor() * step, high: (high / step).ceil() * step, log: false, from, to }
    }

    /// A linear axis that ends where the figures end.
    pub fn exact(low: f64, high: f64, from: f64, to: f64) -> Self {
        let (low, high) = apart(low, high);
        Self { low, high, log: false, from, to }
    }

    /// A logarithmic axis over positive figures.
    pub fn log(low: f64, high: f64, from: f64, to: f64) -> Self {
        let low = if low.is_finite() && low > 0.0 { low } else { 1e-3 };
        let high = if high.is_finite() && high > low { high } else { low * 10.0 };
        Self { low: low / 1.1, high: high * 1.1, log: true, from, to }
    }

    /// Where a figure is drawn; what lies outside is drawn at the end.
    pub fn place(&self, value: f64) -> f64 {
        let share = if self.log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// The ends of what is shown.
    pub fn ends(&self) -> (f64, f64) {
        (self.low, self.high)
    }

    /// Round figures to mark, about `count` of them.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.log { self.log_ticks(count) } else { self.linear_ticks(count) }
    }

    /// Round figures to mark with what is written at them: along a linear axis all in the same thousands, so that no `5000`
    /// stands beside a `10k`; along a logarithmic one from a thousand up wherever any of them is above ten thousand.
    pub fn marks(&self, count: usize) -> Vec<(f64, String)> {
        let ticks = self.ticks(count);
        let largest = ticks.iter().fold(0.0f64, |most, tick| most.max(tick.abs()));
        let text = |value: f64| match (largest < 1e4, self.log) {
            (true, _) => digits(value, 3),
            (_, false) => in_thousands(value, largest),
            (_, true) => in_thousands(value, value.abs()),
        };
        ticks.into_iter().map(|tick| (tick, text(tick))).collect()
    }

    fn linear_ticks(&self, count: usize) -> Vec<f64> {
        let step = step(self.high - self.low, count);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last).map(|at| at as f64 * step).collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<f64> {
        let decades = (self.low.log10().floor() as i32)..=(self.high.log10().ceil() as i32);
        let wanted: &[f64] = if decades.clone().count() > count { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let all = decades.flat_map(|decade| wanted.iter().map(move |one| one * 10f64.powi(decade)));
        let all: Vec<f64> = all.filter(|tick| (self.low..=self.high).contains(tick)).collect();
        let every = all.len().div_ceil(count.max(2) * 2).max(1);
        all.into_iter().step_by(every).collect()
    }
}

/// Two ends that are finite and not the same.
fn apart(low: f64, high: f64) -> (f64, f64) {
    let low = if low.is_finite() { low } else { 0.0 };
    let high = if high.is_finite() { high } else { low + 1.0 };
    if high > low { (low, high) } else { (low, low + low.abs().max(1.0)) }
}

/// The round step (1, 2 or 5 times a power of ten) that cuts `span` into about `count` pieces.
fn step(span: f64, count: usize) -> f64 {
    let rough = span / count.max(1) as f64;
    let power = 10f64.powf(rough.log10().floor());
    let wanted = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * power >= rough * 0.999);
    wanted.unwrap_or(10.0) * power
}

/// A figure in the thousands, millions ... that `size` is counted in; nought needs none.
fn in_thousands(value: f64, size: f64) -> String {
    let (scaled, suffix) = match size {
        _ if size >= 1e12 => (value / 1e12, "T"),
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    if value == 0.0 { "0".to_owned() } else { format!("{}{suffix}", digits(scaled, 3)) }
}

/// A single figure as text: as many digits as it needs, from ten thousand up as k, M, G.
pub fn tick(value: f64) -> String {
    if value.abs() < 1e4 { digits(value, 3) } else { in_thousands(value, value.abs()) }
}

/// A figure with `significant` digits and no zeros that say nothing.
pub fn digits(value: f64, significant: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { "-".to_owned() };
    }
    let places = (significant - 1 - value.abs().log10().floor() as i32).clamp(0, 12) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(scale: &Scale) -> String {
        scale.marks(5).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round_and_cover_the_axis() {
        assert_eq!(shown(&Scale::linear(0.0, 5.37, 0.0, 1.0)), "0 2 4 6");
        assert_eq!(shown(&Scale::linear(0.0, 13_480.0, 0.0, 1.0)), "0 5k 10k 15k");
        assert_eq!(shown(&Scale::linear(0.0, 0.0, 0.0, 1.0)), "0 0.2 0.4 0.6 0.8 1");
        assert_eq!(shown(&Scale::linear(-3.0, 3.0, 0.0, 1.0)), "-4 -2 0 2 4");
        assert_eq!(shown(&Scale::log(3.0, 4000.0, 0.0, 1.0)), "5 10 20 50 100 200 500 1000 2000");
        assert_eq!(shown(&Scale::linear(0.0, 1_900_000.0, 0.0, 1.0)), "0 0.5M 1M 1.5M 2M");
        assert_eq!(shown(&Scale::linear(0.0, 6_000.0, 0.0, 1.0)), "0 2000 4000 6000");
        assert_eq!(shown(&Scale::log(300.0, 40_000.0, 0.0, 1.0)), "500 1k 2k 5k 10k 20k");
        assert_eq!(shown(&Scale::linear(f64::NAN, f64::INFINITY, 0.0, 1.0)), "0 0.2 0.4 0.6 0.8 1");
    }

    #[test]
    fn places_grow_with_the_figure_and_stay_inside() {
        let scale = Scale::log(1.0, 100.0, 10.0, 90.0);
        assert!((scale.place(10.0) - 50.0).abs() < 1e-9);
        assert!((scale.place(-1.0) - 10.0).abs() < 1e-9);
        assert!((scale.place(1e9) - 90.0).abs() < 1e-9);
    }
}
