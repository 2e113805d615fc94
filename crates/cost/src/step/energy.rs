//! Energy of a step: what the chip draws idle, what it draws more while kernels run on it, and a price per operation and per
//! byte moved, within its rating; and how much slower a step runs where the chip is capped below the rating that its peak rates
//! are stated at.

use super::tally::{Family, Tally};
use crate::ops::Bound;
use hardware::{Chip, System};
use units::{Dtype, Joules, JoulesPerByte, JoulesPerFlop, Seconds, Watts};

/// Share of the rating drawn by an idle chip where no measurement is in the catalog (an H200 idles at 80 W of 700).
const IDLE_SHARE: f64 = 0.115;
/// Share of what is left above idle that a chip draws while kernels run on it, whatever they do, where no measurement is in the
/// catalog: clocks, schedulers, registers and caches of cores that wait for memory as much as of cores that multiply. Between
/// what an H100 (0.52) and a B200 (0.62) show; fitted with [`COMPUTE_SHARE`] to the readings of `validation/power.csv` whose group
/// is not held out.
const ACTIVE_SHARE: f64 = 0.57;
/// Share of what is left above idle that memory adds at its peak rate: the 4.5 pJ per bit of stacked memory come to 120 of the
/// 620 W of an H100.
const MEMORY_SHARE: f64 = 0.2;
/// The same of matrix units at their peak: with the others more than there is, so that the rating is reached before the peak.
const COMPUTE_SHARE: f64 = 1.14;
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
    /// Drawn beside it while kernels run.
    pub active: Watts,
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
        let active = chip.active.as_ref().map_or(above * ACTIVE_SHARE, |fact| fact.value / ranks - idle);
        let peak = chip.rank.peak(format)?;
        Some(Self {
            idle,
            active: active.max(Watts::ZERO),
            per_flop: JoulesPerFlop::new(above.get() * COMPUTE_SHARE / peak.get()),
            per_byte: JoulesPerByte::new(above.get() * MEMORY_SHARE / chip.rank.bandwidth.value.get()),
            per_link_byte: JoulesPerByte::new(LINK_PICOJOULES_PER_BIT * 8e-12),
            cap,
            rating,
            overhead: system.overhead_power.value / ranks,
        })
    }

    /// Of one rank over `time` in which it did the work of `tally` at a share of its full clock.
    pub fn energy(&self, tally: &Tally, time: Seconds, clock: f64) -> Joules {
        let running = (time - tally.family_time(Family::Host)).max(Seconds::ZERO);
        (self.idle * time + self.work(tally, running, clock)).min(self.cap * time) + self.overhead * time
    }

    /// Beside idling, of a step whose kernels run for `running`.
    fn work(&self, tally: &Tally, running: Seconds, clock: f64) -> Joules {
        let voltage = 1.0 - VOLTAGE_SLOPE * (1.0 - clock);
        let squared = voltage * voltage;
        self.active * running * (clock * squared)
            + self.per_flop * tally.flop() * squared
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
        let waiting = tally.family_time(Family::Host);
        // What the step would draw beyond the cap, less what measured kernels were held to.
        let power = |clock: f64| {
            let time = clocked * (1.0 / clock) + rest;
            let running = (time - waiting * (1.0 / clock)).max(Seconds::ZERO);
            (self.idle * time + self.work(tally, running, clock)).min(self.rating * time) / time
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
    use proptest::prelude::*;
    use units::{Bytes, Flop};

    fn model(cap: f64) -> EnergyModel {
        EnergyModel {
            idle: Watts::new(80.0),
            active: Watts::new(320.0),
            per_flop: JoulesPerFlop::new(1.14 * 620.0 / 0.989e15),
            per_byte: JoulesPerByte::new(0.2 * 620.0 / 3.35e12),
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
        600 W: clock 0.94, 2.06 ms
        500 W: clock 0.85, 2.18 ms
        400 W: clock 0.74, 2.36 ms
        300 W: clock 0.60, 2.67 ms
        200 W: clock 0.42, 3.40 ms
        100 W: clock 0.26, 14.62 ms
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
