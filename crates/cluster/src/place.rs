//! Which nodes a job gets.

use crate::tree::{Ask, NodeId, Part, Tree, Wish, mask};

/// How nodes are chosen among those that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// The node with the fewest free chips that suffice, in the fullest domain.
    #[default]
    BestFit,
    /// The first node in order of number, in the domain with the fewest nodes that fit, as Slurm does under
    /// `topology/tree`.
    FirstFit,
    /// The node where chips that the usual mix of jobs can no longer use grow least (fragmentation gradient descent, Weng
    /// et al., USENIX ATC 2023).
    LeastFragmentation,
    /// The emptiest node.
    Spread,
    /// Aligned blocks of a power of two (HiveD, OSDI 2020).
    Buddy,
}

/// How often single-node requests of each size have been seen.
#[derive(Debug, Clone, Default)]
pub struct SizeMix(Vec<u64>);

impl SizeMix {
    /// Counts a request.
    pub fn see(&mut self, ask: Ask) {
        let size = ask.each as usize;
        if self.0.len() <= size {
            self.0.resize(size + 1, 0);
        }
        self.0[size] += 1;
    }

    /// Chips of a node with `free` chips that a request drawn from the mix cannot use, times the number of requests.
    fn unusable(&self, free: u32) -> u64 {
        let asked = self.0.iter().enumerate().filter(|(size, _)| *size as u32 > free);
        asked.map(|(_, seen)| seen * u64::from(free)).sum()
    }
}

/// Picks chips for `ask`, or nothing if they are not free where `wish` wants them.
pub fn pick(
    tree: &Tree,
    ask: Ask,
    wish: Option<Wish>,
    placement: Placement,
    mix: &SizeMix,
) -> Option<Vec<Part>> {
    if !tree.fits(ask) {
        return None;
    }
    if placement == Placement::Buddy {
        return buddy(tree, ask);
    }
    if ask.nodes() == 1 {
        return one_node(tree, ask.each, placement, mix).map(|part| vec![part]);
    }
    let root = tree.levels().len() - 1;
    if let Some(Wish { level, required: true, slice: Some(slice) }) = wish {
        return slices(tree, ask, level as usize, slice);
    }
    let (level, domain) = lowest(tree, root, 0, ask)?;
    if wish.is_some_and(|wish| wish.required && level > wish.level as usize) {
        return None;
    }
    let mut parts = Vec::with_capacity(ask.nodes() as usize);
    let tight = placement != Placement::FirstFit;
    gather(tree, (level, domain), ask.each, ask.count, tight, &mut parts);
    if ask.rest > 0 {
        parts.push(remainder(tree, level, domain, ask.rest, &parts)?);
    }
    Some(parts)
}

fn one_node(tree: &Tree, chips: u32, placement: Placement, mix: &SizeMix) -> Option<Part> {
    if placement == Placement::FirstFit {
        return first_node(tree, chips).map(|node| tree.chips_of(node, chips));
    }
    let most = tree.node_size();
    let sizes = (chips..=most).filter(|free| tree.with_free(*free) > 0);
    let free = match placement {
        Placement::Spread => sizes.max()?,
        Placement::LeastFragmentation => sizes.min_by_key(|free| {
            let growth = mix.unusable(free - chips) as i128 - mix.unusable(*free) as i128;
            (growth, *free)
        })?,
        _ => sizes.min()?,
    };
    // Down the levels into the fullest domain that has such a node.
    let mut range = 0..tree.nodes();
    for level in (0..tree.levels().len() - 1).rev() {
        let nodes = tree.levels()[level].nodes;
        let domains = range.start / nodes..range.end.div_ceil(nodes);
        let fitting = domains
            .filter(|domain| tree.at_least(level, *domain, free) > tree.at_least(level, *domain, free + 1));
        let domain = if placement == Placement::Spread {
            fitting.max_by_key(|domain| (tree.free_in(level, *domain), u32::MAX - domain))?
        } else {
            fitting.min_by_key(|domain| (tree.free_in(level, *domain), *domain))?
        };
        range = tree.members(level, domain);
    }
    tree.first_with(free, range).map(|node| tree.chips_of(node, chips))
}

/// Down into the domain with the fewest nodes that fit, and there the first of them.
fn first_node(tree: &Tree, chips: u32) -> Option<NodeId> {
    let mut range = 0..tree.nodes();
    for level in (0..tree.levels().len() - 1).rev() {
        let nodes = tree.levels()[level].nodes;
        let domains = range.start / nodes..range.end.div_ceil(nodes);
        let fitting = domains.map(|domain| (tree.at_least(level, domain, chips), domain));
        let (_, domain) = fitting.filter(|(nodes, _)| *nodes > 0).min()?;
        range = tree.members(level, domain);
    }
    (chips..=tree.node_size()).filter_map(|free| tree.first_with(free, range.clone())).min()
}

/// The innermost domain that holds `ask`, the tightest of those of one level.
pub fn lowest(tree: &Tree, level: usize, domain: u32, ask: Ask) -> Option<(usize, u32)> {
    if !tree.holds(level, domain, ask) {
        return None;
    }
    if level == 0 {
        return Some((0, domain));
    }
    let tightness =
        |(level, domain): &(usize, u32)| (*level, tree.at_least(*level, *domain, ask.each), *domain);
    let inner = tree.children(level, domain).filter_map(|child| lowest(tree, level - 1, child, ask));
    Some(inner.min_by_key(tightness).unwrap_or((level, domain)))
}

/// `count` nodes with `each` chips in a domain that has them: the tightest inner domain that holds all that is left, else
/// all of the emptiest, as a tree of switches is filled. The fullest nodes of a domain go first if it is to be
/// `tight`, else the first.
fn gather(
    tree: &Tree,
    (level, domain): (usize, u32),
    each: u32,
    count: u32,
    tight: bool,
    out: &mut Vec<Part>,
) {
    if level == 0 {
        let members = tree.members(level, domain);
        if !tight {
            let able = members.map(NodeId).filter(|node| tree.free(*node) >= each);
            out.extend(able.take(count as usize).map(|node| tree.chips_of(node, each)));
            return;
        }
        let mut left = count;
        for free in each..=tree.node_size() {
            let mut from = members.start;
            while let (true, Some(node)) = (left > 0, tree.first_with(free, from..members.end)) {
                out.push(tree.chips_of(node, each));
                from = node.0 + 1;
                left -= 1;
            }
        }
        return;
    }
    let mut open: Vec<(u32, u32)> = tree
        .children(level, domain)
        .map(|child| (tree.at_least(level - 1, child, each), child))
        .filter(|(nodes, _)| *nodes > 0)
        .collect();
    let mut left = count;
    while left > 0 {
        let tightest = (0..open.len()).filter(|at| open[*at].0 >= left).min_by_key(|at| open[*at]);
        let emptiest = || (0..open.len()).max_by_key(|at| (open[*at].0, u32::MAX - open[*at].1));
        let Some(at) = tightest.or_else(emptiest) else {
            return;
        };
        let (nodes, child) = open.remove(at);
        let here = nodes.min(left);
        gather(tree, (level - 1, child), each, here, tight, out);
        left -= here;
    }
}

/// The tightest node of the domain for what is left over.
fn remainder(tree: &Tree, level: usize, domain: u32, chips: u32, taken: &[Part]) -> Option<Part> {
    let members = tree.members(level, domain);
    for free in chips..=tree.node_size() {
        let mut from = members.start;
        while let Some(node) = tree.first_with(free, from..members.end) {
            if taken.iter().all(|part| part.node != node) {
                return Some(tree.chips_of(node, chips));
            }
            from = node.0 + 1;
        }
    }
    None
}

/// Slices of `slice` nodes, each inside one domain of `level`, from the tightest domains.
fn slices(tree: &Tree, ask: Ask, level: usize, slice: u32) -> Option<Vec<Part>> {
    let slice = slice.max(1);
    let mut domains: Vec<(u32, u32)> = (0..tree.domains(level))
        .map(|domain| (tree.at_least(level, domain, ask.each) / slice, domain))
        .filter(|(slices, _)| *slices > 0)
        .collect();
    domains.sort_unstable();
    let mut left = ask.nodes().div_ceil(slice);
    let mut parts = Vec::new();
    while left > 0 {
        let at = domains.iter().position(|(slices, _)| *slices >= left).or(domains.len().checked_sub(1))?;
        let (slices, domain) = domains.remove(at);
        let here = slices.min(left);
        let nodes = (here * slice).min(ask.nodes() - parts.len() as u32);
        gather(tree, (level, domain), ask.each, nodes, true, &mut parts);
        left -= here;
    }
    if ask.rest > 0 {
        let last = parts.pop()?;
        parts.push(tree.chips_of(last.node, ask.rest));
    }
    Some(parts)
}

/// An aligned block of a power of two, cut from the smallest free block that holds it.
fn buddy(tree: &Tree, ask: Ask) -> Option<Vec<Part>> {
    if ask.nodes() == 1 {
        let size = ask.each.next_power_of_two();
        let best = match tree.cells() {
            Some(cells) => cells.chip_cell(size).and_then(|(node, _)| chip_block(tree, NodeId(node), size)),
            None => (0..tree.nodes()).filter_map(|node| chip_block(tree, NodeId(node), size)).min(),
        };
        let (_, node, first) = best?;
        return Some(vec![Part { node: NodeId(node), chips: mask(ask.each) << first }]);
    }
    let block = ask.nodes().next_power_of_two();
    if let Some(cells) = tree.cells().filter(|_| block == ask.nodes()) {
        return cells.node_cell(block).map(|first| blocks(first, ask));
    }
    let whole = |node: u32| {
        node < tree.nodes() && tree.free(NodeId(node)) >= ask.each && tree.used(NodeId(node)) == 0
    };
    let all_free = |first: u32, size: u32| (first..first.saturating_add(size)).all(whole);
    let mut best: Option<(u32, u32)> = None;
    for first in (0..tree.nodes()).step_by(block as usize) {
        // At the end of the cluster a block may be cut short, as long as the job fits.
        if !all_free(first, ask.nodes()) {
            continue;
        }
        let mut size = block;
        while size < tree.nodes() && all_free(first / (size * 2) * (size * 2), size * 2) {
            size *= 2;
        }
        best = best.min(Some((size, first))).or(Some((size, first)));
    }
    best.map(|(_, first)| blocks(first, ask))
}

/// Nodes from `first` on.
fn blocks(first: u32, ask: Ask) -> Vec<Part> {
    let parts = (0..ask.nodes()).map(|at| {
        let chips = if at < ask.count { ask.each } else { ask.rest };
        Part { node: NodeId(first + at), chips: mask(chips) }
    });
    parts.collect()
}

/// The best aligned block of `size` chips on a node: how large the free block around it is, the node, its first chip.
fn chip_block(tree: &Tree, node: NodeId, size: u32) -> Option<(u32, u32, u32)> {
    if tree.free(node) == 0 {
        return None;
    }
    let capacity = tree.capacity(node);
    let free_block =
        |first: u32, size: u32| first + size <= capacity && tree.used(node) & (mask(size) << first) == 0;
    let firsts = (0..capacity).step_by(size as usize).filter(|first| free_block(*first, size));
    let around = |first: u32| {
        let mut whole = size;
        while whole < capacity && free_block(first / (whole * 2) * (whole * 2), whole * 2) {
            whole *= 2;
        }
        whole
    };
    firsts.map(|first| (around(first), node.0, first)).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Level;

    fn tree(nodes: usize, rack: u32) -> Tree {
        Tree::new(&vec![8; nodes], &[Level { name: "rack".to_owned(), nodes: rack }])
    }

    fn take(tree: &mut Tree, node: u32, chips: u32) {
        let part = tree.chips_of(NodeId(node), chips);
        tree.take(part);
    }

    #[track_caller]
    fn check(tree: &Tree, chips: u32, wish: Option<Wish>, placement: Placement, expected: &str) {
        let mut mix = SizeMix::default();
        for size in [1, 1, 4, 4, 4, 8] {
            mix.see(Ask::packed(size, 8));
        }
        let found = pick(tree, Ask::packed(chips, 8), wish, placement, &mix).map(|parts| {
            let words = parts.iter().map(|part| format!("{}:{:02x}", part.node.0, part.chips));
            words.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(found.as_deref().unwrap_or("none"), expected);
    }

    #[test]
    fn single_nodes() {
        let mut tree = tree(4, 2);
        take(&mut tree, 1, 4);
        take(&mut tree, 2, 6);
        check(&tree, 2, None, Placement::BestFit, "2:c0");
        check(&tree, 3, None, Placement::BestFit, "1:70");
        // The second rack has one node that fits, the first has two.
        check(&tree, 3, None, Placement::FirstFit, "3:07");
        check(&tree, 1, None, Placement::Spread, "0:01");
        // One chip more of node 2 leaves one that jobs of four cannot use; of node 1 it leaves three; node 2 is best.
        check(&tree, 1, None, Placement::LeastFragmentation, "2:40");
        // Two nodes' worth must be whole nodes.
        check(&tree, 16, None, Placement::BestFit, "0:ff 3:ff");
    }

    #[test]
    fn gangs_go_where_they_span_least() {
        let mut tree = tree(8, 4);
        take(&mut tree, 0, 1);
        // Three whole nodes are in each rack; the first rack is tighter.
        check(&tree, 24, None, Placement::BestFit, "1:ff 2:ff 3:ff");
        let rack = Some(Wish { level: 0, required: true, slice: None });
        check(&tree, 32, rack, Placement::BestFit, "4:ff 5:ff 6:ff 7:ff");
        check(&tree, 40, rack, Placement::BestFit, "none");
        check(&tree, 40, None, Placement::BestFit, "4:ff 5:ff 6:ff 7:ff 1:ff");
        let slices = Some(Wish { level: 0, required: true, slice: Some(2) });
        check(&tree, 48, slices, Placement::BestFit, "4:ff 5:ff 6:ff 7:ff 1:ff 2:ff");
        check(&tree, 20, None, Placement::BestFit, "1:ff 2:ff 0:1e");
    }

    /// The buddy rule of HiveD: the smallest free block that holds the cell is cut.
    #[test]
    fn buddies() {
        let mut tree = tree(4, 2);
        take(&mut tree, 0, 1);
        // Chip 1 is the buddy of chip 0, chips 2 and 3 of both, and node 1 that of node 0.
        check(&tree, 1, None, Placement::Buddy, "0:02");
        check(&tree, 2, None, Placement::Buddy, "0:0c");
        check(&tree, 3, None, Placement::Buddy, "0:70");
        check(&tree, 8, None, Placement::Buddy, "1:ff");
        check(&tree, 16, None, Placement::Buddy, "2:ff 3:ff");
        take(&mut tree, 2, 1);
        check(&tree, 16, None, Placement::Buddy, "none");
    }
}
