//! Free chips of every node over the time to come, if every running job takes its declared limit.

use crate::state::State;
use crate::tree::{Ask, NodeId, Tree, Wish};
use serving::Nanos;

/// A step function of time: free chips per node from each point on.
#[derive(Debug, Clone)]
pub struct Timeline {
    points: Vec<(Nanos, Vec<u8>)>,
}

/// A place in time and space.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// When.
    pub at: Nanos,
    /// Nodes and chips on them.
    pub nodes: Vec<(NodeId, u32)>,
}

impl Timeline {
    /// From what is free now, running jobs ending at their limits.
    pub fn new(state: &State, now: Nanos) -> Self {
        let tree = &state.tree;
        let free: Vec<u8> = (0..tree.nodes()).map(|node| tree.free(NodeId(node)) as u8).collect();
        let mut points = vec![(now, free)];
        for (end, id) in &state.ends {
            if *end == Nanos::NEVER {
                break;
            }
            // A job over its limit may end at any time, but not now.
            let end = (*end).max(Nanos::new(now.get() + 1));
            let (at, last) = points.last().expect("the first point is now");
            if *at != end {
                let next = (end, last.clone());
                points.push(next);
            }
            let (_, free) = points.last_mut().expect("there is a last point");
            for part in &state.entry(*id).parts {
                if tree.is_open(part.node) {
                    free[part.node.0 as usize] += part.count() as u8;
                }
            }
        }
        Self { points }
    }

    /// Least free chips of each node from point `at` for `length`.
    fn window(&self, at: usize, length: Nanos) -> Vec<u8> {
        let end = self.points[at].0.get().saturating_add(length.get());
        let mut least = self.points[at].1.clone();
        for (time, free) in &self.points[at + 1..] {
            if time.get() >= end {
                break;
            }
            for (least, free) in least.iter_mut().zip(free) {
                *least = (*least).min(*free);
            }
        }
        least
    }

    /// The first time at which `ask` is free for `length`.
    pub fn earliest(&self, tree: &Tree, ask: Ask, wish: Option<Wish>, length: Nanos) -> Option<Slot> {
        let level = match wish {
            Some(Wish { level, required: true, slice: None }) => level as usize,
            _ => tree.levels().len() - 1,
        };
        for at in 0..self.points.len() {
            if nodes_of(&self.points[at].1, tree, level, ask).is_none() {
                continue;
            }
            if let Some(nodes) = nodes_of(&self.window(at, length), tree, level, ask) {
                return Some(Slot { at: self.points[at].0, nodes });
            }
        }
        None
    }

    /// Chips that are free now but promised to somebody within `length`.
    pub fn kept(&self, tree: &Tree, length: Nanos) -> Vec<(NodeId, u32)> {
        let least = self.window(0, length);
        let short = least.iter().enumerate().filter_map(|(node, least)| {
            let node = NodeId(node as u32);
            let now = tree.free(node);
            (now > u32::from(*least)).then(|| (node, now - u32::from(*least)))
        });
        short.collect()
    }

    /// Takes chips out from `at` for `length`.
    pub fn reserve(&mut self, at: Nanos, length: Nanos, nodes: &[(NodeId, u32)]) {
        let end = Nanos::new(at.get().saturating_add(length.get()));
        self.cut(at);
        if end < Nanos::NEVER {
            self.cut(end);
        }
        for (time, free) in &mut self.points {
            if *time >= at && *time < end {
                for (node, chips) in nodes {
                    let slot = &mut free[node.0 as usize];
                    *slot = slot.saturating_sub(*chips as u8);
                }
            }
        }
    }

    fn cut(&mut self, at: Nanos) {
        if let Err(index) = self.points.binary_search_by_key(&at, |(time, _)| *time) {
            if index > 0 {
                let free = self.points[index - 1].1.clone();
                self.points.insert(index, (at, free));
            }
        }
    }
}

/// Nodes of one domain of `level` that hold the request, the tightest domain and nodes first.
fn nodes_of(free: &[u8], tree: &Tree, level: usize, ask: Ask) -> Option<Vec<(NodeId, u32)>> {
    let fits = |domain: u32| {
        let members =
            || tree.members(level, domain).filter(|node| ask.each <= u32::from(free[*node as usize]));
        let whole = members().count() as u32;
        let partly =
            tree.members(level, domain).filter(|node| ask.rest <= u32::from(free[*node as usize])).count()
                as u32;
        (whole >= ask.count && (ask.rest == 0 || partly > ask.count)).then_some((whole, domain))
    };
    let (_, domain) = (0..tree.domains(level)).filter_map(fits).min()?;
    let mut able: Vec<u32> = tree.members(level, domain).collect();
    able.sort_by_key(|node| (free[*node as usize], *node));
    let mut nodes: Vec<(NodeId, u32)> = able
        .iter()
        .filter(|node| u32::from(free[**node as usize]) >= ask.each)
        .take(ask.count as usize)
        .map(|node| (NodeId(*node), ask.each))
        .collect();
    if ask.rest > 0 {
        let taken: Vec<NodeId> = nodes.iter().map(|(node, _)| *node).collect();
        let rest = able
            .iter()
            .find(|node| u32::from(free[**node as usize]) >= ask.rest && !taken.contains(&NodeId(**node)))?;
        nodes.push((NodeId(*rest), ask.rest));
    }
    Some(nodes)
}
