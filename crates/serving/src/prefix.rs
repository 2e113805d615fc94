//! The prefix cache of one rank: a radix tree over block hashes with least-recently-used eviction.

use crate::action::KvChange;
use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// A node of the tree.
pub(crate) type NodeId = u32;

/// The empty prefix.
pub(crate) const ROOT: NodeId = 0;

#[derive(Debug, Clone)]
struct Node {
    hash: u64,
    parent: NodeId,
    children: u32,
    users: u32,
    used: u64,
}

/// Prefixes as paths from the root, one hash per edge. A node that any running sequence uses is never evicted, nor is
/// a node with children.
#[derive(Debug, Clone)]
pub(crate) struct PrefixTree {
    nodes: Vec<Node>,
    vacant: Vec<NodeId>,
    edges: HashMap<(NodeId, u64), NodeId, BuildHasherDefault<MixHasher>>,
    leaves: BTreeSet<(u64, NodeId)>,
    unused: u32,
    tick: u64,
    /// What changed since it was last asked for, where somebody asks.
    journal: Option<Vec<KvChange>>,
}

impl PrefixTree {
    pub fn new() -> Self {
        let root = Node { hash: 0, parent: ROOT, children: 0, users: 1, used: 0 };
        Self {
            nodes: vec![root],
            vacant: Vec::new(),
            edges: HashMap::default(),
            leaves: BTreeSet::new(),
            unused: 0,
            tick: 0,
            journal: None,
        }
    }

    /// Keeps a journal of changes from now on.
    pub fn watch(&mut self) {
        self.journal.get_or_insert_default();
    }

    /// What changed since the last call.
    pub fn changes(&mut self) -> Vec<KvChange> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Nodes in the tree, the root aside.
    pub fn len(&self) -> u32 {
        (self.nodes.len() - 1 - self.vacant.len()) as u32
    }

    /// Nodes that no sequence uses: all of them can be evicted, leaves first.
    pub fn unused(&self) -> u32 {
        self.unused
    }

    /// How many of `hashes`, from the first, are cached.
    pub fn matched(&self, hashes: &[u64]) -> u32 {
        let mut at = ROOT;
        let mut count = 0;
        for hash in hashes {
            match self.edges.get(&(at, *hash)) {
                Some(next) => at = *next,
                None => break,
            }
            count += 1;
        }
        count
    }

    /// Uses the first `count` hashes, which are cached, and returns the last one's node.
    pub fn acquire(&mut self, hashes: &[u64], count: u32) -> NodeId {
        let mut at = ROOT;
        for hash in &hashes[..count as usize] {
            at = self.edges[&(at, *hash)];
            self.user_added(at);
        }
        at
    }

    /// Uses the child of `parent` (which the caller uses) along `hash`; says whether it had to be made.
    pub fn extend(&mut self, parent: NodeId, hash: u64) -> (NodeId, bool) {
        if let Some(node) = self.edges.get(&(parent, hash)).copied() {
            self.user_added(node);
            return (node, false);
        }
        let node = Node { hash, parent, children: 0, users: 1, used: self.tick };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.nodes[id as usize] = node;
                id
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as NodeId
            }
        };
        self.nodes[parent as usize].children += 1;
        self.edges.insert((parent, hash), id);
        if let Some(journal) = &mut self.journal {
            let parent = (parent != ROOT).then(|| self.nodes[parent as usize].hash);
            journal.push(KvChange::Stored { hash, parent });
        }
        (id, true)
    }

    /// Stops using the path that ends in `node`.
    pub fn release(&mut self, mut node: NodeId) {
        self.tick += 1;
        while node != ROOT {
            let tick = self.tick;
            let entry = &mut self.nodes[node as usize];
            entry.users -= 1;
            entry.used = tick;
            let (parent, idle, leaf) = (entry.parent, entry.users == 0, entry.children == 0);
            if idle {
                self.unused += 1;
                if leaf {
                    self.leaves.insert((tick, node));
                }
            }
            node = parent;
        }
    }

    /// Drops the least recently used node that nobody uses; false if there is none.
    pub fn evict(&mut self) -> bool {
        let Some((_, node)) = self.leaves.pop_first() else { return false };
        let (parent, hash) = (self.nodes[node as usize].parent, self.nodes[node as usize].hash);
        self.edges.remove(&(parent, hash));
        if let Some(journal) = &mut self.journal {
            journal.push(KvChange::Evicted { hash });
        }
        self.vacant.push(node);
        self.unused -= 1;
        let above = &mut self.nodes[parent as usize];
        above.children -= 1;
        if above.children == 0 && above.users == 0 && parent != ROOT {
            self.leaves.insert((above.used, parent));
        }
        true
    }

    fn user_added(&mut self, node: NodeId) {
        let entry = &mut self.nodes[node as usize];
        if entry.users == 0 {
            self.unused -= 1;
            self.leaves.remove(&(entry.used, node));
        }
        entry.users += 1;
    }
}

/// Multiplies and folds: keys are hashes already, and the map is never iterated, so order does not matter.
#[derive(Debug, Clone, Default)]
pub(crate) struct MixHasher(u64);

impl Hasher for MixHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let product = u128::from(self.0.rotate_left(23) ^ value) * 0x9E37_79B9_7F4A_7C15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_found_until_it_is_evicted_and_leaves_go_first() {
        let mut tree = PrefixTree::new();
        let (a, made) = tree.extend(ROOT, 1);
        assert!(made);
        let (b, _) = tree.extend(a, 2);
        assert_eq!(tree.matched(&[1, 2, 3]), 2);
        assert!(!tree.evict(), "in use");
        tree.release(b);
        assert_eq!(tree.unused(), 2);
        assert!(tree.evict());
        assert_eq!(tree.matched(&[1, 2, 3]), 1);
        assert!(tree.evict());
        assert_eq!((tree.matched(&[1]), tree.len()), (0, 0));
    }

    #[test]
    fn the_least_recently_used_leaf_goes_first() {
        let mut tree = PrefixTree::new();
        for hash in [1, 2, 3] {
            let (node, _) = tree.extend(ROOT, hash);
            tree.release(node);
        }
        let node = tree.acquire(&[1], 1);
        tree.release(node);
        tree.evict();
        assert_eq!((tree.matched(&[1]), tree.matched(&[2]), tree.matched(&[3])), (1, 0, 1));
    }
}
