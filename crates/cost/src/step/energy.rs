//! Energy of a step: what the chip draws idle, plus a price per operation and per byte moved, within its rating; and how
//! much slower a step runs where the chip is capped below the rating that its peak rates are stated at.

use super::tally::Tally;
use crate::ops::Bound;
use hardware::{Chip, System};
use units::{Dtype, Joules, JoulesPerByte, JoulesPerFlop, Seconds, Watts};

/// Share of the rating drawn by an idle chip where no measurement is in the catalog (an H200 idles at 80 W of 700).
const IDLE_SHARE: f64 = 0.115;
/// Share of what is left above idle that matrix units at [`BUSY_COMPUTE`] of their peak draw: products that large are what
/// the rating is designed for.
const COMPUTE_SHARE: f64 = 1.0;
const BUSY_COMPUTE: f64 = 0.70;
/// The same for memory at [`BUSY_MEMORY`] of its peak, with the cores that wait for it: an H100 draws 267 W and a B200 452 W
/// with one sequence, an H200 517 W with 128 of a small model (the readings in `validation/power.csv`).
const MEMORY_SHARE: f64 = 0.55;
const BUSY_MEMORY: f64 = 0.85;
/// Electrical SerDes and switch, both ends, per bit.
const LINK_PICOJOULES_PER_BIT: f64 = 5.0;

/// How far voltage falls with the clock: a step's operations take energy as its square (dynamic power is clock times voltage
/// squared).
const VOLTAGE_SLOPE: f64 = 0.7;
/// Least share of the clock that power management goes down to (an H100's 510 of 1,980 MHz); what does not fit even then
/// waits.
const LEAST_CLOCK: f64 = 0.26;

/// Energy coefficients of one rank with its share of the package and of the system around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EnergyModel {
    /// Drawn whether or not anything runs.
    pub idle: Watts,
    /// Per operation of the format multiplied most.
    pub per_flop: JoulesPerFlop,
    /// Per byte of device memory.
    pub per_byte: JoulesPerByte,
    /// Per byte on a link.
    pub per_link_byte: JoulesPerByte,
    /// The rank's share of the package rating, or of what the package is capped at.
    pub cap: Watts,
    /// The rank's share of the power that the package's peak rates are stated at.
    pub rating: Watts,
    /// Host, fans, switches, optics and conversion, per rank.
    pub overhead: Watts,
}

/// How a step runs under a cap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Share of the full clock.
    pub clock: f64,
    /// Time over that at this clock, 1 or more: what the chip waits where the least clock draws too much.
    pub wait: f64,
}

impl EnergyModel {
    /// From the rating of the package, for work mostly in `format`. Without a rating in the catalog the energy is
    /// unknown.
    pub fn new(chip: &Chip, system: &System, format: Dtype) -> Option<Self> {
        let ranks = f64::from(chip.ranks.max(1));
        let cap = chip.tdp.as_ref()?.value / ranks;
        let rating = chip.rating.map_or(cap, |rating| rating / ranks);
        let idle = chip.idle.as_ref().map_or(rating * IDLE_SHARE, |fact| fact.value / ranks);
        let above = rating - idle;
        let peak = chip.rank.peak(format)?;
        Some(Self {
            idle,
            per_flop: JoulesPerFlop::new(above.get() * COMPUTE_SHARE / (BUSY_COMPUTE * peak.get())),
            per_byte: JoulesPerByte::new(
                above.get() * MEMORY_SHARE / (BUSY_MEMORY * chip.rank.bandwidth.value.get()),
            ),
            per_link_byte: JoulesPerByte::new(LINK_PICOJOULES_PER_BIT * 8e-12),
            cap,
            rating,
            overhead: system.overhead_power.value / ranks,
        })
    }

    /// Of one rank over `time` in which it did the work of `tally` at a share of its full clock.
    pub fn energy(&self, tally: &Tally, time: Seconds, clock: f64) -> Joules {
        (self.idle * time + self.work(tally, clock)).min(self.cap * time) + self.overhead * time
    }

    fn work(&self, tally: &Tally, clock: f64) -> Joules {
        let voltage = 1.0 - VOLTAGE_SLOPE * (1.0 - clock);
        self.per_flop * tally.flop() * (voltage * voltage)
            + self.per_byte * tally.memory_bytes()
            + self.per_link_byte * tally.link_bytes()
    }

    /// How the step of `tally`, `hidden` of which runs behind the rest, runs under the cap; `None` at its full pace: always
    /// where the cap is the rating, which measured kernels ran under.
    pub fn pace(&self, tally: &Tally, hidden: Seconds) -> Option<Pace> {
        if self.cap >= self.rating {
            return None;
        }
        let clocked = tally.bound_time(Bound::Compute) + tally.bound_time(Bound::Launch);
        let rest = tally.total() - hidden - clocked;
        // What the step would draw beyond the cap, less what measured kernels were held to.
        let power = |clock: f64| {
            let time = clocked * (1.0 / clock) + rest;
            (self.idle * time + self.work(tally, clock)).min(self.rating * time) / time
        };
        if power(1.0) <= self.cap {
            return None;
        }
        let (mut low, mut high) = (LEAST_CLOCK, 1.0);
        for _ in 0..40 {
            let middle = f64::midpoint(low, high);
            if power(middle) <= self.cap { low = middle } else { high = middle }
        }
        let clock = low;
        let over = power(clock) - self.idle;
        let room = self.cap - self.idle;
        // A cap at or below idle leaves nothing to work with; a thousandth keeps times finite.
        let wait = (over / room.max(self.rating * 1e-3)).max(1.0);
        Some(Pace { clock, wait })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::OpCost;
    use crate::step::tally::Family;
    use proptest::prelude::*;
    use units::{Bytes, Flop};

    fn model(cap: f64) -> EnergyModel {
        EnergyModel {
            idle: Watts::new(80.0),
            per_flop: JoulesPerFlop::new(620.0 / 0.7e15),
            per_byte: JoulesPerByte::new(0.55 * 620.0 / (0.85 * 3.35e12)),
            per_link_byte: JoulesPerByte::new(4e-11),
            cap: Watts::new(cap),
            rating: Watts::new(700.0),
            overhead: Watts::ZERO,
        }
    }

    /// A millisecond of products at `busy` of the peak, and one of reading.
    fn tally(busy: f64, read: f64) -> Tally {
        let mut tally = Tally::default();
        let mut add = |bound, flop, bytes| {
            let (time, flop, bytes) = (Seconds::from_ms(1.0), Flop::new(flop), Bytes::new(bytes));
            tally.add(Family::Dense, OpCost { time, bound, flop, bytes }, 1.0);
        };
        add(Bound::Compute, busy * 1e12, 0.0);
        add(Bound::Memory, 0.0, read * 3.35e9);
        tally
    }

    fn time(cap: f64, tally: &Tally) -> f64 {
        let clocked = tally.bound_time(Bound::Compute).ms();
        let rest = tally.total().ms() - clocked;
        model(cap)
            .pace(tally, Seconds::ZERO)
            .map_or(clocked + rest, |pace| (clocked / pace.clock + rest) * pace.wait)
    }

    #[test]
    fn a_cap_below_the_rating_slows_the_clock_and_a_low_one_waits() {
        let step = tally(0.6, 0.8);
        let shown = [700.0, 600.0, 500.0, 400.0, 300.0, 200.0, 100.0].map(|cap| {
            let clock = model(cap).pace(&step, Seconds::ZERO).map_or(1.0, |pace| pace.clock);
            format!("{cap:3.0} W: clock {clock:.2}, {:.2} ms", time(cap, &step))
        });
        insta::assert_snapshot!(shown.join("\n"), @r"
        700 W: clock 1.00, 2.00 ms
        600 W: clock 1.00, 2.00 ms
        500 W: clock 0.99, 2.01 ms
        400 W: clock 0.81, 2.24 ms
        300 W: clock 0.59, 2.69 ms
        200 W: clock 0.34, 3.95 ms
        100 W: clock 0.26, 22.22 ms
        ");
    }

    proptest! {
        #[test]
        fn a_higher_cap_is_never_slower(busy in 0.0..0.8, read in 0.0..0.9, caps in (81.0..900.0, 81.0..900.0)) {
            let step = tally(busy, read);
            let (low, high) = if caps.0 < caps.1 { caps } else { (caps.1, caps.0) };
            prop_assert!(time(high, &step) <= time(low, &step) * (1.0 + 1e-9));
        }
    }
}
