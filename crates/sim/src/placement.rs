//! Which chips an instance stands on: a map between chips and (instance, attention rank), so that hardware can fail by
//! its own names.
//!
//! Instances take their ranks in the order in which they come up: those that fit a node are not spread over two, and a
//! new one takes the first gap without a broken chip. A system that is full goes on in a copy of itself.

use crate::faults::Part;
use serving::{InstanceId, InstanceState};
use std::collections::{BTreeMap, BTreeSet};

/// What each instance of a pool stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolHardware {
    /// The system's name; pools of the same system share its chips.
    pub system: String,
    /// Packages of one such system.
    pub system_chips: u32,
    /// Packages of one node.
    pub node_chips: u32,
    /// Packages of one board.
    pub board_chips: u32,
    /// Ranks of one package.
    pub ranks_per_chip: u32,
    /// Ranks of one instance.
    pub ranks: u32,
    /// Ranks that hold one attention rank together.
    pub ranks_per_attention: u32,
}

/// The chips of one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The instance.
    pub instance: InstanceId,
    /// Its pool when it came up.
    pub pool: u32,
    /// The system, counted in the order in which pools first name them.
    pub system: u32,
    /// Its first rank, counted through the system and its copies.
    pub first: u32,
    /// Its ranks.
    pub ranks: u32,
}

/// One system under the cluster, as large as what stands on it.
#[derive(Debug, Clone, Default)]
pub struct Ground {
    /// Its name.
    pub name: String,
    /// Packages of one such system.
    pub system_chips: u32,
    /// Packages of one node.
    pub node_chips: u32,
    /// Packages of one board.
    pub board_chips: u32,
    /// Ranks of one package.
    pub ranks_per_chip: u32,
    /// Packages altogether: whole systems.
    pub chips: u32,
    /// Chips that do not work.
    pub dead: BTreeSet<u32>,
    /// Chips whose link does not work.
    pub cut: BTreeSet<u32>,
    /// First ranks of the instances that stand here, and their ranks.
    taken: BTreeMap<u32, u32>,
}

/// What a fault of hardware does to an instance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Effect {
    /// So many of its attention ranks are gone that worked before.
    Lost(InstanceId, u32),
    /// Everything under it works again.
    Whole(InstanceId),
    /// It is left with this share of its links.
    Share(InstanceId, f64),
}

/// The map.
#[derive(Debug, Clone, Default)]
pub struct Placement {
    pools: Vec<PoolHardware>,
    system_of: Vec<u32>,
    /// The systems under the cluster.
    pub grounds: Vec<Ground>,
    /// Who stands where.
    pub seats: BTreeMap<InstanceId, Seat>,
}

impl Placement {
    /// With nobody on it.
    pub fn new(pools: Vec<PoolHardware>) -> Self {
        let (mut grounds, mut system_of) = (Vec::<Ground>::new(), Vec::new());
        for pool in &pools {
            let known = grounds.iter().position(|ground| ground.name == pool.system);
            system_of.push(known.unwrap_or(grounds.len()) as u32);
            if known.is_none() {
                grounds.push(Ground {
                    name: pool.system.clone(),
                    system_chips: pool.system_chips.max(1),
                    node_chips: pool.node_chips.max(1),
                    board_chips: pool.board_chips.max(1),
                    ranks_per_chip: pool.ranks_per_chip.max(1),
                    chips: pool.system_chips.max(1),
                    ..Ground::default()
                });
            }
        }
        Self { pools, system_of, grounds, seats: BTreeMap::new() }
    }

    /// Gives an instance that comes up its chips, and takes them back from one that goes.
    pub fn changed(&mut self, instance: InstanceId, pool: u32, state: InstanceState) {
        let Some(hardware) = self.pools.get(pool as usize) else { return };
        if state == InstanceState::Removed {
            if let Some(seat) = self.seats.remove(&instance) {
                self.grounds[seat.system as usize].taken.remove(&seat.first);
            }
            return;
        }
        if self.seats.contains_key(&instance) {
            return;
        }
        let (system, ranks) = (self.system_of[pool as usize], hardware.ranks.max(1));
        let first = self.grounds[system as usize].take(ranks);
        self.seats.insert(instance, Seat { instance, pool, system, first, ranks });
    }

    /// Breaks or mends a part; says what that does to whom.
    pub(crate) fn fault(&mut self, part: Part, works: bool) -> Vec<Effect> {
        let (system, chips, link) = self.chips(part);
        let Some(ground) = self.grounds.get(system as usize) else { return Vec::new() };
        let hit: Vec<Seat> =
            self.seats.values().filter(|seat| seat.stands_on(system, &chips, ground)).copied().collect();
        let before: Vec<u32> = hit.iter().map(|seat| self.lost(seat)).collect();
        let ground = &mut self.grounds[system as usize];
        let broken = if link { &mut ground.cut } else { &mut ground.dead };
        for chip in chips {
            if works {
                broken.remove(&chip)
            } else {
                broken.insert(chip)
            };
        }
        let effect = |(seat, before): (&Seat, u32)| {
            if link {
                return Some(Effect::Share(seat.instance, self.share(seat)));
            }
            let lost = self.lost(seat);
            match (lost > before, lost == 0 && before > 0) {
                (true, _) => Some(Effect::Lost(seat.instance, lost - before)),
                (_, true) => Some(Effect::Whole(seat.instance)),
                _ => None,
            }
        };
        hit.iter().zip(before).filter_map(effect).collect()
    }

    /// Whether a part exists; if not, how many of its kind there are.
    pub fn check(&self, part: Part) -> Result<(), String> {
        let (what, number) = match part {
            Part::Chip { chip, .. } | Part::Link { chip, .. } => ("chip", chip),
            Part::Board { board, .. } => ("board", board),
            Part::Node { node, .. } => ("node", node),
        };
        let system = match part {
            Part::Chip { system, .. }
            | Part::Link { system, .. }
            | Part::Board { system, .. }
            | Part::Node { system, .. } => system,
        };
        let Some(ground) = self.grounds.get(system as usize) else {
            return Err(format!(
                "there is no system {system}; there are {}, counted from 0",
                self.grounds.len()
            ));
        };
        let count = match part {
            Part::Chip { .. } | Part::Link { .. } => ground.chips,
            Part::Board { .. } => ground.chips.div_ceil(ground.board_chips),
            Part::Node { .. } => ground.chips.div_ceil(ground.node_chips),
        };
        if number < count {
            return Ok(());
        }
        Err(format!("{} has no {what} {number}; it has {count}, counted from 0", ground.name))
    }

    /// The system of a part, the chips it is made of, and whether only their links are meant.
    fn chips(&self, part: Part) -> (u32, std::ops::Range<u32>, bool) {
        let size = |system: u32, of: fn(&Ground) -> u32| self.grounds.get(system as usize).map_or(1, of);
        match part {
            Part::Chip { system, chip } => (system, chip..chip + 1, false),
            Part::Link { system, chip } => (system, chip..chip + 1, true),
            Part::Board { system, board } => {
                let size = size(system, |ground| ground.board_chips);
                (system, board * size..(board + 1) * size, false)
            }
            Part::Node { system, node } => {
                let size = size(system, |ground| ground.node_chips);
                (system, node * size..(node + 1) * size, false)
            }
        }
    }

    /// Attention ranks of an instance that have a broken chip.
    fn lost(&self, seat: &Seat) -> u32 {
        let ground = &self.grounds[seat.system as usize];
        let per = self.pools[seat.pool as usize].ranks_per_attention.max(1);
        let ranks: BTreeSet<u32> = ground
            .dead
            .range(seat.chips(ground))
            .flat_map(|chip| chip * ground.ranks_per_chip..(chip + 1) * ground.ranks_per_chip)
            .filter(|rank| (seat.first..seat.first + seat.ranks).contains(rank))
            .map(|rank| (rank - seat.first) / per)
            .collect();
        ranks.len() as u32
    }

    /// Share of an instance's chips whose links work.
    fn share(&self, seat: &Seat) -> f64 {
        let ground = &self.grounds[seat.system as usize];
        let chips = seat.chips(ground);
        let all = f64::from(chips.end - chips.start);
        (all - ground.cut.range(chips).count() as f64) / all
    }
}

impl Seat {
    /// Its chips.
    pub fn chips(&self, ground: &Ground) -> std::ops::Range<u32> {
        self.first / ground.ranks_per_chip..(self.first + self.ranks).div_ceil(ground.ranks_per_chip)
    }

    fn stands_on(&self, system: u32, chips: &std::ops::Range<u32>, ground: &Ground) -> bool {
        let own = self.chips(ground);
        self.system == system && own.start < chips.end && chips.start < own.end
    }
}

impl Ground {
    /// Takes so many ranks: behind the last instance, or in the first gap that is whole once somebody has gone.
    fn take(&mut self, ranks: u32) -> u32 {
        let mut first = 0;
        loop {
            first = self.aligned(first, ranks);
            match self.in_the_way(first, ranks) {
                Some(next) => first = next,
                None => break,
            }
        }
        self.taken.insert(first, ranks);
        let chips = (first + ranks).div_ceil(self.ranks_per_chip);
        self.chips = self.chips.max(chips.div_ceil(self.system_chips) * self.system_chips);
        first
    }

    /// An instance that fits a node is not spread over two.
    fn aligned(&self, first: u32, ranks: u32) -> u32 {
        let node = self.node_chips * self.ranks_per_chip;
        let inside = first % node;
        if inside > 0 && ranks > node - inside { first + node - inside } else { first }
    }

    /// Where to try next if `ranks` ranks from `first` on are taken or broken.
    fn in_the_way(&self, first: u32, ranks: u32) -> Option<u32> {
        let before = self.taken.range(..first + ranks).next_back();
        let taken = before.map(|(start, held)| start + held).filter(|end| *end > first);
        let chips = first / self.ranks_per_chip..(first + ranks).div_ceil(self.ranks_per_chip);
        let broken = self.dead.range(chips).next_back().map(|chip| (chip + 1) * self.ranks_per_chip);
        taken.max(broken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(ranks: u32) -> Placement {
        Placement::new(vec![PoolHardware {
            system: "s".to_owned(),
            system_chips: 16,
            node_chips: 8,
            board_chips: 4,
            ranks_per_chip: 2,
            ranks,
            ranks_per_attention: 2,
        }])
    }

    fn up(placement: &mut Placement, count: u32) -> Vec<u32> {
        (0..count)
            .map(|instance| {
                placement.changed(InstanceId(instance), 0, InstanceState::Active);
                placement.seats[&InstanceId(instance)].first
            })
            .collect()
    }

    #[test]
    fn instances_fill_nodes_and_copies_of_the_system() {
        let mut map = placement(6);
        assert_eq!(up(&mut map, 6), [0, 6, 16, 22, 32, 38]);
        assert_eq!(map.grounds[0].chips, 32, "a second system");
        map.changed(InstanceId(1), 0, InstanceState::Removed);
        map.fault(Part::Chip { system: 0, chip: 3 }, false);
        map.changed(InstanceId(9), 0, InstanceState::Loading);
        assert_eq!(map.seats[&InstanceId(9)].first, 8, "the gap, without its broken chip");
    }

    #[test]
    fn chips_take_their_attention_ranks_and_mended_ones_give_them_back() {
        let mut map = placement(16);
        up(&mut map, 2);
        let chip = |chip| Part::Chip { system: 0, chip };
        let instance = InstanceId(0);
        assert_eq!(map.fault(chip(0), false), [Effect::Lost(instance, 1)]);
        assert_eq!(map.fault(chip(0), false), [], "it is broken already");
        let board = Part::Board { system: 0, board: 0 };
        assert_eq!(map.fault(board, false), [Effect::Lost(instance, 3)]);
        assert_eq!(map.fault(chip(0), true), [], "three are left");
        assert_eq!(map.fault(board, true), [Effect::Whole(instance)]);
        let node = Part::Node { system: 0, node: 1 };
        assert_eq!(map.fault(node, false), [Effect::Lost(InstanceId(1), 8)]);
        assert_eq!(map.fault(Part::Link { system: 0, chip: 1 }, false), [Effect::Share(instance, 0.875)]);
        assert!(map.check(Part::Node { system: 0, node: 2 }).is_err());
        assert!(map.check(Part::Chip { system: 1, chip: 0 }).is_err());
    }
}
