//! What happened when, in a fixed number of bins however long the run is.

use units::Seconds;

/// Bins of a timeline.
const BINS: usize = 256;

/// What is summed up in one bin.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bin {
    /// Requests that arrived.
    pub arrived: f64,
    /// Requests that completed.
    pub completed: f64,
    /// Output tokens.
    pub output: f64,
    /// Prompt tokens computed.
    pub prefill: f64,
    /// Energy of busy steps, joules.
    pub energy: f64,
    /// Time integral of the number of waiting requests.
    pub waiting: f64,
    /// Time integral of the share of KV blocks in use by running sequences, over instances.
    pub kv: f64,
    /// Time integral of the number of running sequences.
    pub running: f64,
    /// Busy time, over instances.
    pub busy: f64,
}

impl Bin {
    fn add(&mut self, other: &Self, share: f64) {
        self.arrived += other.arrived * share;
        self.completed += other.completed * share;
        self.output += other.output * share;
        self.prefill += other.prefill * share;
        self.energy += other.energy * share;
        self.waiting += other.waiting * share;
        self.kv += other.kv * share;
        self.running += other.running * share;
        self.busy += other.busy * share;
    }
}

/// Bins that double in width whenever the run outgrows them.
#[derive(Debug, Clone)]
pub struct Timeline {
    width: f64,
    bins: Vec<Bin>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { width: 1e-3, bins: vec![Bin::default(); BINS] }
    }
}

impl Timeline {
    /// Adds to what happened at an instant.
    pub fn at(&mut self, at: Seconds, what: &Bin) {
        self.reach(at.get());
        let index = (at.get() / self.width) as usize;
        self.bins[index].add(what, 1.0);
    }

    /// Adds what happened evenly between two instants.
    pub fn between(&mut self, start: Seconds, end: Seconds, what: &Bin) {
        let (start, end) = (start.get(), end.get());
        self.reach(end);
        if end <= start {
            return self.at(Seconds::new(start), what);
        }
        let (first, last) = ((start / self.width) as usize, (end / self.width) as usize);
        for index in first..=last {
            let from = start.max(index as f64 * self.width);
            let to = end.min((index + 1) as f64 * self.width);
            self.bins[index].add(what, ((to - from) / (end - start)).max(0.0));
        }
    }

    fn reach(&mut self, at: f64) {
        while at >= self.width * BINS as f64 {
            for index in 0..BINS / 2 {
                let mut merged = self.bins[2 * index];
                merged.add(&self.bins[2 * index + 1], 1.0);
                self.bins[index] = merged;
            }
            self.bins[BINS / 2..].fill(Bin::default());
            self.width *= 2.0;
        }
    }

    /// Width of a bin.
    pub fn width(&self) -> Seconds {
        Seconds::new(self.width)
    }

    /// The bins up to the one `end` is in.
    pub fn bins(&self, end: Seconds) -> &[Bin] {
        let count = (end.get() / self.width) as usize + 1;
        &self.bins[..count.min(BINS)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_when_bins_widen() {
        let mut timeline = Timeline::default();
        let one = Bin { output: 1.0, ..Bin::default() };
        for step in 0..1000 {
            let start = f64::from(step) * 0.7;
            timeline.between(Seconds::new(start), Seconds::new(start + 1.3), &one);
        }
        let end = Seconds::new(701.0);
        let total: f64 = timeline.bins(end).iter().map(|bin| bin.output).sum();
        assert!((total - 1000.0).abs() < 1e-6);
        assert!(timeline.bins(end).len() > 100);
    }
}
