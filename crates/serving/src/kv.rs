//! Paged KV memory of one rank: a count of free blocks, the blocks of running sequences and those of the prefix cache.
//!
//! Running sequences grow by the same number of tokens per step, so which of them need a new block is known from the
//! position of each inside its last block. A histogram of these positions on the instance's token clock gives the
//! blocks any number of steps will take without a look at any sequence.

use crate::prefix::{NodeId, PrefixTree, ROOT};

/// The blocks a sequence holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The cached prefix it uses, by its last node.
    pub leaf: NodeId,
    /// Nodes on the way there.
    pub nodes: u32,
    /// Blocks of its own, as of the last time they were counted.
    pub private: u32,
}

impl Hold {
    /// Nothing.
    pub const NONE: Self = Self { leaf: ROOT, nodes: 0, private: 0 };
}

/// The KV memory of one rank.
#[derive(Debug, Clone)]
pub(crate) struct RankKv {
    block: u32,
    total: u32,
    free: u32,
    blocks_per_node: u32,
    /// Sequences by (context - token clock) modulo the block.
    phases: Vec<u32>,
    seqs: u32,
    pub tree: Option<PrefixTree>,
}

impl RankKv {
    pub fn new(total: u32, block: u32, hash_block: Option<u32>) -> Self {
        Self {
            block,
            total,
            free: total,
            blocks_per_node: hash_block.map_or(0, |tokens| tokens / block),
            phases: vec![0; block as usize],
            seqs: 0,
            tree: hash_block.map(|_| PrefixTree::new()),
        }
    }

    pub fn total(&self) -> u32 {
        self.total
    }

    /// Blocks nobody holds.
    pub fn free(&self) -> u32 {
        self.free
    }

    /// Blocks of the prefix cache, in use or not.
    pub fn cached(&self) -> u32 {
        self.tree.as_ref().map_or(0, PrefixTree::len) * self.blocks_per_node
    }

    /// Blocks that can be had: free ones and cached ones that nobody uses.
    pub fn available(&self) -> u32 {
        self.free + self.tree.as_ref().map_or(0, PrefixTree::unused) * self.blocks_per_node
    }

    /// Blocks that `tokens` tokens fill or begin.
    pub fn blocks_for(&self, tokens: u32) -> u32 {
        tokens.div_ceil(self.block)
    }

    /// Takes `count` blocks, evicting cached prefixes if need be; false, and nothing taken, if there are not as many.
    pub fn take(&mut self, count: u32) -> bool {
        if count > self.available() {
            return false;
        }
        while self.free < count {
            let evicted = self.tree.as_mut().is_some_and(PrefixTree::evict);
            debug_assert!(evicted, "unused nodes can be evicted");
            self.free += self.blocks_per_node;
        }
        self.free -= count;
        true
    }

    /// Returns `count` blocks.
    pub fn give(&mut self, count: u32) {
        self.free += count;
        debug_assert!(self.free <= self.total);
    }

    /// Takes what a sequence of `tokens` tokens needs besides the cached part of its prefix, of which `nodes` hashes
    /// are cached, keeping `reserve` blocks available.
    pub fn hold(&mut self, tokens: u32, hashes: &[u64], nodes: u32, reserve: u32) -> Option<Hold> {
        let needed = self.blocks_for(tokens).saturating_sub(nodes * self.blocks_per_node);
        let leaf = match &mut self.tree {
            Some(tree) if nodes > 0 => tree.acquire(hashes, nodes),
            _ => ROOT,
        };
        if self.available() >= needed + reserve && self.take(needed) {
            return Some(Hold { leaf, nodes, private: needed });
        }
        if let Some(tree) = &mut self.tree {
            tree.release(leaf);
        }
        None
    }

    /// Puts the blocks of `hashes` that the sequence has computed beyond its cached prefix into the cache.
    pub fn publish(&mut self, hold: &mut Hold, hashes: &[u64]) {
        let Some(tree) = &mut self.tree else { return };
        for hash in hashes.iter().skip(hold.nodes as usize) {
            if hold.private < self.blocks_per_node {
                break;
            }
            let (node, made) = tree.extend(hold.leaf, *hash);
            hold.leaf = node;
            hold.nodes += 1;
            hold.private -= self.blocks_per_node;
            if !made {
                self.free += self.blocks_per_node;
            }
        }
    }

    /// Returns everything a sequence holds.
    pub fn release(&mut self, hold: Hold) {
        self.give(hold.private);
        if let Some(tree) = &mut self.tree {
            tree.release(hold.leaf);
        }
    }

    /// The blocks of its own that a sequence of `context` tokens with `nodes` cached nodes holds.
    pub fn private(&self, context: u32, nodes: u32) -> u32 {
        self.blocks_for(context).saturating_sub(nodes * self.blocks_per_node)
    }

    /// A sequence with room for `context` tokens joins the batch.
    pub fn enter(&mut self, context: u32, clock: u64) {
        let phase = self.phase(context, clock);
        self.phases[phase] += 1;
        self.seqs += 1;
    }

    /// A sequence that has grown to `context` tokens leaves the batch.
    pub fn leave(&mut self, context: u32, clock: u64) {
        let phase = self.phase(context, clock);
        self.phases[phase] -= 1;
        self.seqs -= 1;
    }

    /// Blocks the batch takes while the clock goes on by `tokens`.
    pub fn growth(&self, clock: u64, tokens: u64) -> u32 {
        if self.seqs == 0 {
            return 0;
        }
        let block = u64::from(self.block);
        let whole = (tokens / block) as u32 * self.seqs;
        let partial: u32 = (clock..clock + tokens % block).map(|tick| self.crossing(tick)).sum();
        whole + partial
    }

    /// The most tokens the clock can go on by with the blocks that are available, or a little less; at most `limit`.
    pub fn room(&self, clock: u64, limit: u64) -> u64 {
        if self.seqs == 0 {
            return limit;
        }
        let available = self.available();
        let cycles = u64::from(available / self.seqs);
        if cycles > 0 {
            return limit.min(cycles * u64::from(self.block));
        }
        let mut taken = 0;
        for tokens in 0..u64::from(self.block).min(limit) {
            taken += self.crossing(clock + tokens);
            if taken > available {
                return tokens;
            }
        }
        limit.min(u64::from(self.block))
    }

    fn crossing(&self, clock: u64) -> u32 {
        let block = u64::from(self.block);
        self.phases[((block - clock % block) % block) as usize]
    }

    fn phase(&self, context: u32, clock: u64) -> usize {
        let block = u64::from(self.block);
        ((u64::from(context) + block - clock % block) % block) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn growth_is_what_counting_each_sequence_gives(
            contexts in proptest::collection::vec(1u32..5000, 1..40), clock in 0u64..1000, tokens in 0u64..300,
        ) {
            let mut kv = RankKv::new(1_000_000, 16, None);
            for context in &contexts {
                kv.enter(*context, clock);
            }
            let counted: u32 =
                contexts.iter().map(|c| (c + tokens as u32).div_ceil(16) - c.div_ceil(16)).sum();
            prop_assert_eq!(kv.growth(clock, tokens), counted);
        }

        #[test]
        fn room_never_takes_more_than_there_is(
            contexts in proptest::collection::vec(1u32..5000, 1..40), clock in 0u64..1000, total in 0u32..200,
        ) {
            let mut kv = RankKv::new(total, 16, None);
            for context in &contexts {
                kv.enter(*context, clock);
            }
            let room = kv.room(clock, 10_000);
            prop_assert!(kv.growth(clock, room) <= total);
            if room < 16 {
                prop_assert!(kv.growth(clock, room + 1) > total);
            }
        }

        #[test]
        fn blocks_are_conserved(prompts in proptest::collection::vec((1u32..2000, 0u64..4, 0u64..4), 1..60)) {
            let mut kv = RankKv::new(300, 16, Some(64));
            let mut holds: Vec<Hold> = Vec::new();
            for (tokens, first, second) in prompts {
                let hashes: Vec<u64> = [first, second].into_iter().take(tokens as usize / 64).collect();
                let cached = kv.tree.as_ref().map_or(0, |tree| tree.matched(&hashes));
                match kv.hold(tokens, &hashes, cached, 0) {
                    Some(mut hold) => {
                        kv.publish(&mut hold, &hashes);
                        holds.push(hold);
                    }
                    None => if let Some(hold) = holds.pop() { kv.release(hold) },
                }
                let private: u32 = holds.iter().map(|hold| hold.private).sum();
                prop_assert_eq!(kv.free() + kv.cached() + private, 300);
            }
        }
    }
}
