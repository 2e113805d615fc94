//! What happened in a run beside its traffic, and which chips it stood on.

use crate::chart::{Chart, Curve, Drawing, Heat, Occurrence};
use crate::page::Grid;
use crate::pages::number;
use crate::words::Words;
use scenario::Outcome;
use serving::{InstanceId, InstanceState};
use sim::placement::{Placement, PoolHardware, Seat};
use sim::{Observer, Record};
use std::collections::{BTreeMap, BTreeSet};
use units::Seconds;

/// Events that are kept; a table of more is read by nobody.
const KEPT: usize = 200;
/// Marks that are drawn.
const MARKS: usize = 40;
/// Chips that are drawn.
const MOST_CHIPS: usize = 4096;

/// Watches what breaks, scales and is preempted.
pub struct Happenings {
    placement: Placement,
    /// The last place of every instance there was.
    seats: BTreeMap<InstanceId, Seat>,
    /// Those that serve.
    active: BTreeSet<InstanceId>,
    failed: BTreeSet<InstanceId>,
    events: Vec<(f64, InstanceId, u32, InstanceState, bool)>,
    left_out: u64,
    restarts: BTreeMap<u64, u32>,
}

impl Happenings {
    /// Over the hardware of the pools.
    pub fn new(hardware: Vec<PoolHardware>) -> Self {
        Self {
            placement: Placement::new(hardware),
            seats: BTreeMap::new(),
            active: BTreeSet::new(),
            failed: BTreeSet::new(),
            events: Vec::new(),
            left_out: 0,
            restarts: BTreeMap::new(),
        }
    }

    fn name(words: &Words, state: InstanceState, repaired: bool) -> &str {
        match state {
            InstanceState::Failed => words.say("event-failed"),
            InstanceState::Active if repaired => words.say("event-repaired"),
            InstanceState::Active => words.say("event-up"),
            InstanceState::Loading => words.say("event-loading"),
            InstanceState::Draining => words.say("event-draining"),
            InstanceState::Removed => words.say("event-removed"),
        }
    }

    fn keep(&mut self, event: (f64, InstanceId, u32, InstanceState, bool)) {
        if self.events.len() == KEPT {
            self.left_out += 1;
        } else {
            self.events.push(event);
        }
    }

    /// What happened as marks; where many happen at once, they are one mark with their number.
    pub(super) fn marks(&self, words: &Words) -> Vec<Occurrence> {
        let mut marks: Vec<(f64, String, bool, usize)> = Vec::new();
        for (at, _, _, state, repaired) in &self.events {
            let name = Self::name(words, *state, *repaired).to_owned();
            if let Some(last) = marks.last_mut().filter(|last| last.1 == name && (at - last.0).abs() < 1e-3) {
                last.3 += 1;
            } else if marks.len() < MARKS {
                marks.push((*at, name, *state == InstanceState::Failed, 1));
            }
        }
        let mark = |(at, name, bad, count): (f64, String, bool, usize)| {
            let name = if count > 1 { format!("{count} x {name}") } else { name };
            Occurrence { at, name, bad }
        };
        marks.into_iter().map(mark).collect()
    }

    pub(super) fn left_out(&self, words: &Words) -> String {
        match self.left_out {
            0 => String::new(),
            count => {
                words.fill("events-left-out", &[("count", &count.to_string()), ("kept", &KEPT.to_string())])
            }
        }
    }

    pub(super) fn table(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .figures(words.say("time"), "s")
            .figures(words.say("instance"), "")
            .figures(words.say("pool"), "")
            .words(words.say("event"));
        for (at, instance, pool, state, repaired) in &self.events {
            grid.row([
                number(*at),
                instance.0.to_string(),
                pool.to_string(),
                Self::name(words, *state, *repaired).to_owned(),
            ]);
        }
        grid
    }

    /// Requests that ended after having been preempted or lost, second by second.
    pub(super) fn restarts(&self, words: &Words) -> Vec<Curve> {
        if self.restarts.is_empty() {
            return Vec::new();
        }
        let last = self.restarts.keys().max().copied().unwrap_or(0);
        let every = last.div_ceil(300).max(1);
        let mut sums: BTreeMap<u64, f64> = (0..=last / every).map(|bin| (bin, 0.0)).collect();
        for (second, count) in &self.restarts {
            *sums.entry(second / every).or_default() += f64::from(*count);
        }
        let points = sums.into_iter().map(|(bin, sum)| ((bin as f64 + 0.5) * every as f64, sum));
        vec![Curve::line(words.say("restarts"), points)]
    }

    /// The systems node by node, each chip coloured by the share of the run in which it was busy.
    pub(super) fn maps<O>(&self, words: &Words, outcome: &Outcome<O>) -> Vec<Chart> {
        let end = outcome.metrics.end.get();
        let grounds = self.placement.grounds.iter().enumerate();
        grounds
            .filter_map(|(system, ground)| {
                let chips = (ground.chips as usize).min(MOST_CHIPS);
                let mut cells: Vec<Option<f64>> = vec![None; chips];
                for seat in self.seats.values().filter(|seat| seat.system as usize == system) {
                    let Some(usage) = outcome.metrics.usage.get(&seat.instance) else { continue };
                    let busy = 100.0 * usage.busy.get() / end.max(1e-9) / f64::from(ground.ranks_per_chip);
                    for rank in seat.first..seat.first + seat.ranks {
                        if let Some(cell) = cells.get_mut((rank / ground.ranks_per_chip) as usize) {
                            *cell = Some(cell.unwrap_or(0.0) + busy);
                        }
                    }
                }
                if chips < 2 {
                    return None;
                }
                let node = words.say("node");
                let mut heat =
                    Heat::of(&cells, ground.node_chips as usize, (0.0, 100.0), |row| format!("{node} {row}"));
                heat.cell = words.say("chip").to_owned();
                let title = words.fill("map-title", &[("system", &ground.name)]);
                Some(Chart::new(title, "%", Drawing::Heat(heat)).with_note(words.say("map-note")))
            })
            .collect()
    }
}

impl Observer for Happenings {
    fn request_ended(&mut self, record: &Record) {
        if record.restarts > 0 {
            *self.restarts.entry(record.end.get().max(0.0) as u64).or_default() += record.restarts;
        }
    }

    fn instance_changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState, at: Seconds) {
        self.placement.changed(instance, pool, state);
        if let Some(seat) = self.placement.seats.get(&instance) {
            self.seats.insert(instance, *seat);
        }
        // What served and loads its weights again has failed, and a spare stands in for its hardware.
        let served = self.active.remove(&instance);
        let lost = served && state == InstanceState::Loading;
        let repaired = state == InstanceState::Active && self.failed.remove(&instance);
        if lost || state == InstanceState::Failed {
            self.failed.insert(instance);
        }
        if state == InstanceState::Active {
            self.active.insert(instance);
        }
        // That a cluster comes up is no news.
        if at.get() <= 0.0 {
            return;
        }
        if lost {
            self.keep((at.get(), instance, pool, InstanceState::Failed, false));
        }
        self.keep((at.get(), instance, pool, state, repaired));
    }
}
