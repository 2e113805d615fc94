//! The earliest time at which a job can start if every running job takes its declared limit.

use crate::state::State;
use crate::tree::{Ask, NodeId, Wish};
use serving::Nanos;

/// A promise of chips.
#[derive(Debug, Clone, PartialEq)]
pub struct Reservation {
    /// When they are free.
    pub at: Nanos,
    /// Chips of nodes that may not be given now to who would still hold them then.
    pub kept: Vec<(NodeId, u32)>,
}

/// Frees running jobs in the order of their limits until the request fits. `None` if it does not even then.
pub fn reservation(state: &State, ask: Ask, wish: Option<Wish>) -> Option<Reservation> {
    let tree = &state.tree;
    let level = match wish {
        Some(Wish { level, required: true, slice: None }) => level as usize,
        _ => tree.levels().len() - 1,
    };
    let mut free: Vec<u32> = (0..tree.nodes()).map(|node| tree.free(NodeId(node))).collect();
    let mut whole = vec![0u32; tree.domains(level) as usize];
    let mut partly = vec![0u32; tree.domains(level) as usize];
    for domain in 0..tree.domains(level) {
        whole[domain as usize] = tree.at_least(level, domain, ask.each);
        partly[domain as usize] = tree.at_least(level, domain, ask.rest);
    }
    for (end, id) in &state.ends {
        if *end == Nanos::NEVER {
            return None;
        }
        for part in &state.entry(*id).parts {
            if !tree.is_open(part.node) {
                continue;
            }
            let at = part.node.0 as usize;
            let (before, after) = (free[at], free[at] + part.count());
            free[at] = after;
            let domain = tree.domain(level, part.node) as usize;
            whole[domain] += u32::from(before < ask.each && after >= ask.each);
            partly[domain] += u32::from(before < ask.rest && after >= ask.rest);
            if whole[domain] >= ask.count && (ask.rest == 0 || partly[domain] > ask.count) {
                let kept = keep(state, &free, level, domain as u32, ask);
                return Some(Reservation { at: *end, kept });
            }
        }
    }
    None
}

/// The nodes reserved: those with the fewest chips to spare now, so that what is free now stays usable.
fn keep(state: &State, free: &[u32], level: usize, domain: u32, ask: Ask) -> Vec<(NodeId, u32)> {
    let tree = &state.tree;
    let mut nodes: Vec<u32> =
        tree.members(level, domain).filter(|node| free[*node as usize] >= ask.each).collect();
    nodes.sort_by_key(|node| (tree.free(NodeId(*node)), free[*node as usize], *node));
    nodes.truncate(ask.count as usize);
    let mut needs: Vec<(u32, u32)> = nodes.iter().map(|node| (*node, ask.each)).collect();
    if ask.rest > 0 {
        let able = |node: &u32| free[*node as usize] >= ask.rest && !nodes.contains(node);
        let rest = tree.members(level, domain).filter(able);
        needs.extend(rest.min_by_key(|node| (tree.free(NodeId(*node)), *node)).map(|node| (node, ask.rest)));
    }
    needs
        .into_iter()
        .filter_map(|(node, need)| {
            // What is free now beyond what will be left over then must stay free.
            let left_over = free[node as usize] - need;
            let now = tree.free(NodeId(node));
            (now > left_over).then(|| (NodeId(node), now - left_over))
        })
        .collect()
}
