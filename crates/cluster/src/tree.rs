//! The chips of a cluster as nested domains with free counters per level.
//!
//! Nodes are numbered from zero and a domain of a level is a run of nodes, so that the domain of a node is a division. Each
//! domain counts its nodes by how many chips they have free; whether a request fits is answered from these counters.

use crate::cells::Cells;
use std::collections::BTreeSet;

/// A node of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

/// Chips of one node held by one job: bit `i` of `chips` is chip `i` of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// The node.
    pub node: NodeId,
    /// Which of its chips.
    pub chips: u64,
}

impl Part {
    /// How many chips these are.
    pub fn count(self) -> u32 {
        self.chips.count_ones()
    }
}

/// What a job asks for: `count` nodes with `each` chips and one more with `rest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ask {
    /// Nodes with `each` chips.
    pub count: u32,
    /// Chips on each of them.
    pub each: u32,
    /// Chips on one more node; 0 for none. Never more than `each`.
    pub rest: u32,
}

impl Ask {
    /// `chips` on as few nodes of `node` chips as can be.
    pub fn packed(chips: u32, node: u32) -> Self {
        let node = node.max(1);
        if chips <= node {
            return Self { count: 1, each: chips, rest: 0 };
        }
        Self { count: chips / node, each: node, rest: chips % node }
    }

    /// All its chips.
    pub fn chips(self) -> u32 {
        self.count.saturating_mul(self.each).saturating_add(self.rest)
    }

    /// All its nodes.
    pub fn nodes(self) -> u32 {
        self.count.saturating_add(u32::from(self.rest > 0))
    }
}

/// A level of the hierarchy above the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Its name: `rack`, `supernode`, `cluster`.
    pub name: String,
    /// Nodes in one domain of it.
    pub nodes: u32,
}

#[derive(Debug, Clone)]
struct Counters {
    nodes: u32,
    /// Nodes of domain `d` with `f` chips free at `d * (largest + 1) + f`.
    by_free: Vec<u32>,
    free: Vec<u32>,
}

/// What jobs hold in the domains of one level, the node's own level first.
#[derive(Debug, Clone)]
struct Occupancy {
    /// Nodes of a domain.
    nodes: u32,
    /// Chips of each domain, and those held.
    chips: Vec<u32>,
    held: Vec<u32>,
    /// Chips of domains where at least one is held, and where all are.
    touched: u32,
    full: u32,
}

impl Occupancy {
    fn new(capacity: &[u8], nodes: u32) -> Self {
        let mut chips = vec![0; capacity.len().div_ceil(nodes as usize)];
        for (node, size) in capacity.iter().enumerate() {
            chips[node / nodes as usize] += u32::from(*size);
        }
        Self { nodes, held: vec![0; chips.len()], chips, touched: 0, full: 0 }
    }

    fn change(&mut self, node: NodeId, by: i32) {
        let domain = (node.0 / self.nodes) as usize;
        let (all, before) = (self.chips[domain], self.held[domain]);
        let after = before.wrapping_add_signed(by);
        self.held[domain] = after;
        match (before == 0, after == 0) {
            (true, false) => self.touched += all,
            (false, true) => self.touched -= all,
            _ => {}
        }
        match (before == all, after == all) {
            (false, true) => self.full += all,
            (true, false) => self.full -= all,
            _ => {}
        }
    }
}

/// Where a job asks to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Wish {
    /// Index of the level, innermost above the node first.
    pub level: u32,
    /// Whether it waits until one domain of that level holds it; otherwise the level is only preferred.
    pub required: bool,
    /// Nodes of one slice that must share a domain, if not the whole job must.
    pub slice: Option<u32>,
}

/// The resource tree.
#[derive(Debug, Clone)]
pub struct Tree {
    largest: u32,
    capacity: Vec<u8>,
    used: Vec<u64>,
    held: Vec<u8>,
    open: Vec<bool>,
    levels: Vec<Level>,
    counters: Vec<Counters>,
    /// Nodes by free chips, in order of their number.
    sets: Vec<BTreeSet<u32>>,
    occupancy: Vec<Occupancy>,
    cells: Option<Cells>,
    open_chips: u32,
    used_chips: u32,
}

/// Chips that one node may have at most: one bit each.
pub const MOST_CHIPS_PER_NODE: u32 = 64;

impl Tree {
    /// A tree of nodes with these many chips (1 to 64 each) under `levels`, innermost first. The last level is made to hold
    /// all nodes.
    pub fn new(capacity: &[u32], levels: &[Level]) -> Self {
        let largest = capacity.iter().copied().max().unwrap_or(1).clamp(1, MOST_CHIPS_PER_NODE);
        let count = u32::try_from(capacity.len()).unwrap_or(u32::MAX);
        let mut levels: Vec<Level> =
            levels.iter().filter(|level| level.nodes > 1 && level.nodes < count).cloned().collect();
        levels.push(Level { name: "cluster".to_owned(), nodes: count.max(1) });
        let width = largest as usize + 1;
        let counters = levels
            .iter()
            .map(|level| {
                let domains = count.div_ceil(level.nodes).max(1) as usize;
                Counters { nodes: level.nodes, by_free: vec![0; domains * width], free: vec![0; domains] }
            })
            .collect();
        let sizes: Vec<u8> =
            capacity.iter().map(|chips| (*chips).clamp(1, MOST_CHIPS_PER_NODE) as u8).collect();
        let each = std::iter::once(1).chain(levels.iter().map(|level| level.nodes));
        let occupancy = each.map(|nodes| Occupancy::new(&sizes, nodes)).collect();
        let mut tree = Self {
            largest,
            capacity: sizes,
            used: vec![0; capacity.len()],
            held: vec![0; capacity.len()],
            open: vec![true; capacity.len()],
            levels,
            counters,
            sets: vec![BTreeSet::new(); width],
            occupancy,
            cells: None,
            open_chips: 0,
            used_chips: 0,
        };
        for node in 0..tree.capacity.len() {
            let free = tree.free(NodeId(node as u32));
            tree.open_chips += free;
            tree.count(node as u32, free, 1);
        }
        tree
    }

    /// Keeps free cells of a buddy system from now on.
    pub fn keep_cells(&mut self) {
        self.cells = Some(Cells::new(self.nodes()));
        (0..self.nodes()).for_each(|node| self.set_cells(NodeId(node)));
    }

    /// The free cells, if they are kept.
    pub fn cells(&self) -> Option<&Cells> {
        self.cells.as_ref()
    }

    fn set_cells(&mut self, node: NodeId) {
        let (capacity, at) = (self.capacity(node), node.0 as usize);
        if let Some(cells) = &mut self.cells {
            let used = if self.open[at] { self.used[at] } else { mask(capacity) };
            cells.set(node.0, used, capacity, capacity == self.largest);
        }
    }

    /// Chips of domains of a level where a job holds at least one, and where jobs hold all; level 0 is the node, `n` the
    /// `n`-th level above it.
    pub fn occupancy(&self, level: usize) -> (u32, u32) {
        self.occupancy.get(level).map_or((0, 0), |level| (level.touched, level.full))
    }

    /// Chips of the largest node.
    pub fn node_size(&self) -> u32 {
        self.largest
    }

    /// How many nodes there are.
    pub fn nodes(&self) -> u32 {
        self.capacity.len() as u32
    }

    /// The levels above the node, innermost first; the last is the whole cluster.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// Chips of a node.
    pub fn capacity(&self, node: NodeId) -> u32 {
        u32::from(self.capacity[node.0 as usize])
    }

    /// All chips, whether their nodes are open or not.
    pub fn chips(&self) -> u32 {
        self.capacity.iter().map(|chips| u32::from(*chips)).sum()
    }

    /// Chips of open nodes.
    pub fn open_chips(&self) -> u32 {
        self.open_chips
    }

    /// Chips that jobs hold.
    pub fn used_chips(&self) -> u32 {
        self.used_chips
    }

    /// Chips free on open nodes.
    pub fn free_chips(&self) -> u32 {
        self.counters.last().map_or(0, |root| root.free[0])
    }

    /// Chips that a job could get on a node now.
    pub fn free(&self, node: NodeId) -> u32 {
        let at = node.0 as usize;
        if !self.open[at] {
            return 0;
        }
        u32::from(self.capacity[at]).saturating_sub(self.used[at].count_ones() + u32::from(self.held[at]))
    }

    /// Whether a node takes jobs.
    pub fn is_open(&self, node: NodeId) -> bool {
        self.open[node.0 as usize]
    }

    /// Which chips of a node are taken.
    pub fn used(&self, node: NodeId) -> u64 {
        self.used[node.0 as usize]
    }

    /// The domain of `level` that a node is in.
    pub fn domain(&self, level: usize, node: NodeId) -> u32 {
        node.0 / self.levels[level].nodes
    }

    /// How many domains a level has.
    pub fn domains(&self, level: usize) -> u32 {
        self.counters[level].free.len() as u32
    }

    /// Chips free in a domain.
    pub fn free_in(&self, level: usize, domain: u32) -> u32 {
        self.counters[level].free[domain as usize]
    }

    /// Nodes of a domain.
    pub fn members(&self, level: usize, domain: u32) -> std::ops::Range<u32> {
        let nodes = self.levels[level].nodes;
        let first = domain * nodes;
        first..first.saturating_add(nodes).min(self.nodes())
    }

    fn count(&mut self, node: u32, free: u32, by: i32) {
        let width = self.largest as usize + 1;
        for counters in &mut self.counters {
            let domain = (node / counters.nodes) as usize;
            let slot = &mut counters.by_free[domain * width + free as usize];
            *slot = slot.wrapping_add_signed(by);
            let total = &mut counters.free[domain];
            *total = total.wrapping_add_signed(by * free as i32);
        }
        if by > 0 {
            self.sets[free as usize].insert(node);
        } else {
            self.sets[free as usize].remove(&node);
        }
    }

    fn change(&mut self, node: NodeId, edit: impl FnOnce(&mut Self, usize)) {
        let before = self.free(node);
        edit(self, node.0 as usize);
        let after = self.free(node);
        if before != after {
            self.count(node.0, before, -1);
            self.count(node.0, after, 1);
        }
        self.set_cells(node);
    }

    fn occupy(&mut self, node: NodeId, by: i32) {
        self.occupancy.iter_mut().for_each(|level| level.change(node, by));
    }

    /// Gives chips to a job.
    pub fn take(&mut self, part: Part) {
        debug_assert_eq!(self.used[part.node.0 as usize] & part.chips, 0, "a chip is taken twice");
        self.used_chips += part.count();
        self.occupy(part.node, part.count() as i32);
        self.change(part.node, |tree, at| tree.used[at] |= part.chips);
    }

    /// Takes chips back.
    pub fn give(&mut self, part: Part) {
        self.used_chips -= part.count();
        self.occupy(part.node, -(part.count() as i32));
        self.change(part.node, |tree, at| tree.used[at] &= !part.chips);
    }

    /// Keeps chips of a node from being picked without giving them to anybody.
    pub fn hold(&mut self, node: NodeId, chips: u32) {
        self.change(node, |tree, at| tree.held[at] = tree.held[at].saturating_add(chips as u8));
    }

    /// Ends [`Tree::hold`].
    pub fn unhold(&mut self, node: NodeId, chips: u32) {
        self.change(node, |tree, at| tree.held[at] = tree.held[at].saturating_sub(chips as u8));
    }

    /// Opens or closes a node; a closed one keeps its jobs and takes no new ones.
    pub fn set_open(&mut self, node: NodeId, open: bool) {
        if self.open[node.0 as usize] == open {
            return;
        }
        let chips = self.capacity(node);
        if open {
            self.open_chips += chips;
        } else {
            self.open_chips -= chips;
        }
        self.change(node, |tree, at| tree.open[at] = open);
    }

    /// Nodes of a domain with at least `chips` free.
    pub fn at_least(&self, level: usize, domain: u32, chips: u32) -> u32 {
        let width = self.largest as usize + 1;
        let base = domain as usize * width;
        let from = (chips as usize).min(width);
        self.counters[level].by_free[base + from..base + width].iter().sum()
    }

    /// Whether a domain holds what is asked.
    pub fn holds(&self, level: usize, domain: u32, ask: Ask) -> bool {
        if ask.each > self.largest || self.free_in(level, domain) < ask.chips() {
            return false;
        }
        let whole = self.at_least(level, domain, ask.each);
        whole >= ask.count && (ask.rest == 0 || self.at_least(level, domain, ask.rest) > ask.count)
    }

    /// Whether it fits anywhere in the cluster, topology aside.
    pub fn fits(&self, ask: Ask) -> bool {
        self.holds(self.levels.len() - 1, 0, ask)
    }

    /// The lowest free chips of a node.
    pub fn chips_of(&self, node: NodeId, count: u32) -> Part {
        let at = node.0 as usize;
        let mut free = !self.used[at] & mask(u32::from(self.capacity[at]));
        let mut chips = 0u64;
        for _ in 0..count {
            let bit = free & free.wrapping_neg();
            chips |= bit;
            free ^= bit;
        }
        Part { node, chips }
    }

    /// The first node of `range` with exactly `free` chips free.
    pub fn first_with(&self, free: u32, range: std::ops::Range<u32>) -> Option<NodeId> {
        self.sets.get(free as usize)?.range(range).next().map(|node| NodeId(*node))
    }

    /// How many nodes have exactly `free` chips free.
    pub fn with_free(&self, free: u32) -> u32 {
        self.sets.get(free as usize).map_or(0, |set| set.len() as u32)
    }

    /// The domains of the next level inside one domain.
    pub fn children(&self, level: usize, domain: u32) -> std::ops::Range<u32> {
        let nodes = self.members(level, domain);
        let inner = self.levels[level - 1].nodes;
        nodes.start / inner..nodes.end.div_ceil(inner)
    }
}

/// The lowest `count` bits.
pub fn mask(count: u32) -> u64 {
    if count >= 64 { u64::MAX } else { (1 << count) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        Tree::new(&[8, 8, 8, 8, 8, 2], &[Level { name: "rack".to_owned(), nodes: 2 }])
    }

    #[test]
    fn counters_follow_what_is_taken() {
        let mut tree = tree();
        assert_eq!((tree.chips(), tree.free_chips(), tree.domains(0)), (42, 42, 3));
        let part = tree.chips_of(NodeId(0), 3);
        tree.take(part);
        assert_eq!((tree.free(NodeId(0)), tree.free_in(0, 0), tree.free_chips()), (5, 13, 39));
        tree.set_open(NodeId(0), false);
        assert_eq!((tree.free(NodeId(0)), tree.free_in(0, 0), tree.open_chips()), (0, 8, 34));
        tree.give(part);
        tree.set_open(NodeId(0), true);
        assert_eq!((tree.free_chips(), tree.used_chips()), (42, 0));
    }

    #[test]
    fn a_request_fits_nodes_not_chips() {
        let mut tree = tree();
        for node in 0..5 {
            let part = tree.chips_of(NodeId(node), 4);
            tree.take(part);
        }
        assert_eq!(tree.free_chips(), 22);
        assert!(!tree.fits(Ask::packed(8, 8)), "no node is whole");
        assert!(tree.fits(Ask { count: 5, each: 4, rest: 2 }));
        assert!(!tree.fits(Ask { count: 5, each: 4, rest: 3 }));
    }
}
