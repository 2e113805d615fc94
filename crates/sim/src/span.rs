//! Many steps of an unchanged batch in one go.
//!
//! Between two changes of a batch the time of a step depends on the length of the contexts alone, and smoothly. A span
//! takes the price at its first, middle and last step, puts a parabola through them and sums it in closed form. It is
//! kept short enough (contexts grow by a quarter at most) that the sum is off by far less than one in a thousand; the
//! comparison with stepping through every iteration is in the tests.

use serving::Run;
use steps::{StepPrice, StepPricer, StepShape};
use units::{Joules, Seconds};

/// Contexts grow by no more than this in a span.
const LONGEST_GROWTH: f64 = 0.25;

/// Below this growth a straight line will do for the parabola.
const STRAIGHT_GROWTH: f64 = 0.05;

/// Step times that differ by less than this share are told as one; percentiles are exact to about as much.
const SAME_TIME: f64 = 4e-4;

/// Groups of steps at most: contexts grow by a quarter at most, and step times by less.
const MOST_GROUPS: u32 = 1024;

/// A parabola over step numbers: `a + b i + c i^2`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Parabola {
    a: f64,
    b: f64,
    c: f64,
}

impl Parabola {
    fn through(first: f64, middle: (f64, f64), last: (f64, f64)) -> Self {
        let (m, n) = (middle.0, last.0);
        let (dm, dn) = ((middle.1 - first) / m, (last.1 - first) / n);
        let c = (dn - dm) / (n - m);
        Self { a: first, b: dm - c * m, c }
    }

    /// The sum over the first `k` steps.
    fn sum(&self, k: f64) -> f64 {
        self.a * k + self.b * k * (k - 1.0) / 2.0 + self.c * (k - 1.0) * k * (2.0 * k - 1.0) / 6.0
    }

    fn at(&self, i: f64) -> f64 {
        self.a + i * (self.b + i * self.c)
    }
}

/// The price of each of a number of steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Steps in it.
    pub steps: u32,
    time: Parabola,
    energy: Parabola,
}

impl Span {
    /// Prices up to `most` steps of `run`; fewer if contexts would grow too far for one parabola.
    pub fn price(pricer: &impl StepPricer, run: &Run, most: u32) -> Self {
        let growth = run.context_per_step / run.shape.busiest.decode_context.max(1.0);
        let longest = if growth > 0.0 { (LONGEST_GROWTH / growth).max(4.0) } else { f64::MAX };
        let steps = most.min(longest.min(f64::from(u32::MAX)) as u32).max(1);
        let first = pricer.price(&run.shape);
        if steps == 1 || run.context_per_step == 0.0 {
            return Self { steps, time: flat(first.time.get()), energy: flat(first.energy.get()) };
        }
        let at = |step: f64| pricer.price(&later(run, step));
        let end = f64::from(steps - 1);
        let last = at(end);
        let middle = (end / 2.0).floor();
        if steps < 3 || growth * f64::from(steps) < STRAIGHT_GROWTH {
            let line = |first: f64, last: f64| Parabola { a: first, b: (last - first) / end, c: 0.0 };
            let (time, energy) = (|p: StepPrice| p.time.get(), |p: StepPrice| p.energy.get());
            return Self {
                steps,
                time: line(time(first), time(last)),
                energy: line(energy(first), energy(last)),
            };
        }
        let halfway = at(middle);
        let fit =
            |of: fn(StepPrice) -> f64| Parabola::through(of(first), (middle, of(halfway)), (end, of(last)));
        Self { steps, time: fit(|price| price.time.get()), energy: fit(|price| price.energy.get()) }
    }

    /// Time of the first `steps` steps.
    pub fn time(&self, steps: u32) -> Seconds {
        Seconds::new(self.time.sum(f64::from(steps)))
    }

    /// Energy of the first `steps` steps.
    pub fn energy(&self, steps: u32) -> Joules {
        Joules::new(self.energy.sum(f64::from(steps)))
    }

    /// Time of step `index`, counted from zero.
    pub fn step_time(&self, index: u32) -> Seconds {
        Seconds::new(self.time.at(f64::from(index)))
    }

    /// Steps `from` to `to` in groups whose times are as good as equal: mean time and count of each group.
    pub fn groups(&self, from: u32, to: u32) -> impl Iterator<Item = (Seconds, u32)> + '_ {
        let (first, last) = (self.step_time(from), self.step_time(to.saturating_sub(1).max(from)));
        let spread = (last / first.max(Seconds::new(1e-12)) - 1.0).abs() / SAME_TIME;
        let count = to.saturating_sub(from);
        let groups = (spread.ceil() as u32).clamp(1, MOST_GROUPS).min(count.max(1));
        let edge = move |group: u32| from + (u64::from(count) * u64::from(group) / u64::from(groups)) as u32;
        (0..groups).map(move |group| (edge(group), edge(group + 1))).filter(|(start, end)| end > start).map(
            |(start, end)| {
                let steps = end - start;
                ((self.time(end) - self.time(start)) / f64::from(steps), steps)
            },
        )
    }

    /// Steps that are over after `elapsed`.
    pub fn steps_within(&self, elapsed: Seconds) -> u32 {
        let (mut low, mut high) = (0, self.steps);
        while low < high {
            let middle = (low + high).div_ceil(2);
            if self.time(middle) <= elapsed { low = middle } else { high = middle - 1 }
        }
        low
    }
}

fn flat(value: f64) -> Parabola {
    Parabola { a: value, ..Parabola::default() }
}

fn later(run: &Run, steps: f64) -> StepShape {
    let mut shape = run.shape;
    shape.busiest.decode_context += steps * run.context_per_step;
    shape
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Roofline;
    use steps::RankLoad;

    #[test]
    fn a_span_sums_to_what_its_steps_cost() {
        let pricer = Roofline::default();
        for (seqs, context, most) in [(1.0, 100.0, 500), (32.0, 1000.0, 200), (64.0, 4000.0, 3)] {
            let shape = StepShape::even(RankLoad::decode(seqs, context), 1);
            let run = Run {
                shape,
                context_per_step: seqs,
                max_steps: most,
                decode_seqs: seqs as u32,
                prefill_tokens: 0,
            };
            let span = Span::price(&pricer, &run, most);
            let exact: f64 =
                (0..span.steps).map(|step| pricer.price(&later(&run, f64::from(step))).time.get()).sum();
            assert!((span.time(span.steps).get() / exact - 1.0).abs() < 1e-4, "{seqs} x {context}");
            let groups: Vec<_> = span.groups(1, span.steps).collect();
            assert_eq!(groups.iter().map(|group| group.1).sum::<u32>(), span.steps - 1);
            let told: f64 = groups.iter().map(|(time, count)| time.get() * f64::from(*count)).sum();
            let rest = span.time(span.steps) - span.step_time(0);
            assert!((told / rest.get() - 1.0).abs() < 1e-9, "{told} against {rest}");
            let k = span.steps / 2;
            assert_eq!(span.steps_within(span.time(k)), k);
            assert_eq!(span.steps_within(span.time(k) * 0.9999), k.saturating_sub(1));
        }
    }
}
