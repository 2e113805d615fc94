//! Free cells of a buddy system: aligned blocks of a power of two, of chips inside nodes and of whole nodes.
//!
//! Kept up to date as chips are taken and given back, so that the smallest free cell that holds a request is a look into a few
//! sets instead of a walk over all nodes.

use crate::tree::mask;
use std::collections::BTreeSet;

/// The free cells of a tree, each counted once at its largest: its buddy is not free.
#[derive(Debug, Clone, Default)]
pub struct Cells {
    /// Nodes that have a free cell of `2^k` chips, by `k`.
    chips: Vec<BTreeSet<u32>>,
    /// Sizes of free cells of each node: bit `k` for `2^k` chips.
    sizes: Vec<u8>,
    /// First nodes of free cells of `2^k` whole nodes, by `k`.
    nodes: Vec<BTreeSet<u32>>,
    /// Nodes that are empty.
    empty: Vec<bool>,
}

/// Sizes of the largest free cells of a node of `capacity` chips of which `used` are taken: bit `k` for `2^k`.
fn sizes_of(used: u64, capacity: u32) -> u8 {
    let mut sizes = 0;
    let mut first = 0;
    while first < capacity {
        let fits =
            |size: u32| first % size == 0 && first + size <= capacity && used & (mask(size) << first) == 0;
        let Some(k) = (0..=6u32).rev().find(|k| fits(1 << k)) else {
            first += 1;
            continue;
        };
        sizes |= 1 << k;
        first += 1 << k;
    }
    sizes
}

impl Cells {
    /// For so many nodes, none of which has a free cell yet.
    pub fn new(nodes: u32) -> Self {
        let levels = 33 - nodes.leading_zeros() as usize;
        Self {
            chips: vec![BTreeSet::new(); 7],
            sizes: vec![0; nodes as usize],
            nodes: vec![BTreeSet::new(); levels],
            empty: vec![false; nodes as usize],
        }
    }

    /// A node has these chips taken now; a closed one has all of them taken. `whole` says whether it is of the usual size.
    pub fn set(&mut self, node: u32, used: u64, capacity: u32, whole: bool) {
        let (before, after) = (self.sizes[node as usize], sizes_of(used, capacity));
        self.sizes[node as usize] = after;
        for (k, set) in self.chips.iter_mut().enumerate() {
            match (before >> k & 1, after >> k & 1) {
                (1, 0) => drop(set.remove(&node)),
                (0, 1) => drop(set.insert(node)),
                _ => {}
            }
        }
        let empty = whole && used == 0;
        if self.empty[node as usize] != empty {
            self.empty[node as usize] = empty;
            if empty { self.merge(node) } else { self.split(node) }
        }
    }

    /// A node becomes a free cell, which joins its buddies as far as they are free.
    fn merge(&mut self, node: u32) {
        let (mut first, mut k) = (node, 0);
        while k + 1 < self.nodes.len() && self.nodes[k].remove(&(first ^ (1 << k))) {
            first &= !(1 << k);
            k += 1;
        }
        self.nodes[k].insert(first);
    }

    /// A node leaves the free cell that it is in, whose other halves stay free.
    fn split(&mut self, node: u32) {
        let found = (0..self.nodes.len()).find(|k| self.nodes[*k].remove(&(node >> k << k)));
        for k in (0..found.unwrap_or(0)).rev() {
            self.nodes[k].insert((node >> k << k) ^ (1 << k));
        }
    }

    /// The node with the smallest free cell of at least `size` chips (a power of two), the lowest of several, and the size of
    /// that cell.
    pub fn chip_cell(&self, size: u32) -> Option<(u32, u32)> {
        let from = size.trailing_zeros() as usize;
        let found = (from..self.chips.len()).find_map(|k| self.chips[k].first().map(|node| (*node, 1 << k)));
        found.filter(|_| size.is_power_of_two())
    }

    /// The first node of the smallest free cell of at least `count` (a power of two) whole nodes, the lowest of several.
    pub fn node_cell(&self, count: u32) -> Option<u32> {
        let from = count.trailing_zeros() as usize;
        (from..self.nodes.len()).find_map(|k| self.nodes[k].first().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};
    use rand_pcg::Pcg64Mcg;

    /// By definition: a free aligned block that is not inside a larger one, found by looking at all of them.
    fn largest(free: &[bool], size: usize) -> Vec<usize> {
        let block = |first: usize, size: usize| {
            first + size <= free.len() && free[first..first + size].iter().all(|free| *free)
        };
        (0..free.len())
            .step_by(size)
            .filter(|first| block(*first, size) && !block(first / (2 * size) * (2 * size), 2 * size))
            .collect()
    }

    #[test]
    fn cells_are_those_of_the_definition() {
        let random = &mut Pcg64Mcg::seed_from_u64(3);
        for _ in 0..20 {
            let (nodes, capacity) =
                (random.random_range(1..40u32), [1, 6, 8, 16][random.random_range(0..4usize)]);
            let mut cells = Cells::new(nodes);
            let mut used = vec![0u64; nodes as usize];
            (0..nodes).for_each(|node| cells.set(node, 0, capacity, true));
            for _ in 0..200 {
                let node = random.random_range(0..nodes);
                used[node as usize] =
                    if random.random_bool(0.5) { 0 } else { random.random::<u64>() & mask(capacity) };
                cells.set(node, used[node as usize], capacity, true);
                let empty: Vec<bool> = used.iter().map(|used| *used == 0).collect();
                for (k, set) in cells.nodes.iter().enumerate() {
                    let found: Vec<usize> = set.iter().map(|node| *node as usize).collect();
                    assert_eq!(found, largest(&empty, 1 << k), "cells of {} nodes", 1 << k);
                }
                let chips: Vec<bool> =
                    (0..capacity).map(|chip| used[node as usize] >> chip & 1 == 0).collect();
                for k in 0..7 {
                    let has = !largest(&chips, 1 << k).is_empty();
                    assert_eq!(
                        cells.chips[k].contains(&node),
                        has,
                        "{:b}: cells of {}",
                        used[node as usize],
                        1 << k
                    );
                }
            }
        }
    }
}
