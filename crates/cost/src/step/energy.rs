//! Energy of a step: what the chip draws idle, plus a price per operation and per byte moved, capped at its rating.

use super::tally::Tally;
use hardware::{Chip, System};
use units::{Dtype, Joules, JoulesPerByte, JoulesPerFlop, Seconds, Watts};

/// Share of the rating drawn by an idle chip where no measurement is in the catalog (an H200 idles at 80 W of 700).
const IDLE_SHARE: f64 = 0.115;
/// Share of what is left above idle that matrix units at [`BUSY_COMPUTE`] of their peak draw; training nodes draw
/// 76-82 % of their rating (arXiv 2506.14551).
const COMPUTE_SHARE: f64 = 0.75;
const BUSY_COMPUTE: f64 = 0.70;
/// The same for memory at [`BUSY_MEMORY`] of its peak: decoding draws 137-300 W of an H200's 700 W (arXiv 2605.11999).
const MEMORY_SHARE: f64 = 0.35;
const BUSY_MEMORY: f64 = 0.85;
/// Electrical SerDes and switch, both ends, per bit.
const LINK_PICOJOULES_PER_BIT: f64 = 5.0;

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
    /// The rank's share of the package rating.
    pub cap: Watts,
    /// Host, fans, switches, optics and conversion, per rank.
    pub overhead: Watts,
}

impl EnergyModel {
    /// From the rating of the package, for work mostly in `format`. Without a rating in the catalog the energy is
    /// unknown.
    pub fn new(chip: &Chip, system: &System, format: Dtype) -> Option<Self> {
        let ranks = f64::from(chip.ranks.max(1));
        let cap = chip.tdp.as_ref()?.value / ranks;
        let idle = chip.idle.as_ref().map_or(cap * IDLE_SHARE, |fact| fact.value / ranks);
        let above = cap - idle;
        let peak = chip.rank.peak(format)?;
        Some(Self {
            idle,
            per_flop: JoulesPerFlop::new(above.get() * COMPUTE_SHARE / (BUSY_COMPUTE * peak.get())),
            per_byte: JoulesPerByte::new(
                above.get() * MEMORY_SHARE / (BUSY_MEMORY * chip.rank.bandwidth.value.get()),
            ),
            per_link_byte: JoulesPerByte::new(LINK_PICOJOULES_PER_BIT * 8e-12),
            cap,
            overhead: system.overhead_power.value / ranks,
        })
    }

    /// Of one rank over `time` in which it did the work of `tally`.
    pub fn energy(&self, tally: &Tally, time: Seconds) -> Joules {
        let work = self.per_flop * tally.flop()
            + self.per_byte * tally.memory_bytes()
            + self.per_link_byte * tally.link_bytes();
        (self.idle * time + work).min(self.cap * time) + self.overhead * time
    }
}
