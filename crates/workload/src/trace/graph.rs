//! Requests that wait for others: sub-agents, tools at work, joins, conversations with pauses.
//!
//! All of a trace is read before the first request is sent, since what waits for a request may stand anywhere after it.

use super::{Link, Row, Rows};
use crate::error::WorkloadError;
use crate::source::Arrival;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use units::Seconds;

/// The most requests of a trace that is read as a whole.
const MOST_REQUESTS: usize = 4_000_000;

/// The most hashes of all of them together: eight bytes each.
const MOST_HASHES: usize = 200_000_000;

struct Node {
    arrival: Arrival,
    /// Its own time, before which it is not sent.
    at: Option<i128>,
    delay: i128,
    /// Ends it still waits for.
    missing: u32,
    /// Nodes that wait for it.
    followers: Vec<u32>,
    line: u64,
}

/// A whole trace.
pub(super) struct Graph {
    nodes: Vec<Node>,
    due: BinaryHeap<Reverse<(i128, u32)>>,
}

impl Graph {
    /// Reads all rows, or the first `limit`; `time` gives the time of a row that waits for none.
    pub fn read(
        file: &str,
        rows: &mut dyn Rows,
        limit: Option<u64>,
        mut time: impl FnMut(Option<i128>) -> Option<i128>,
    ) -> Result<(Self, u64), WorkloadError> {
        let limit = limit.map_or(MOST_REQUESTS, |limit| usize::try_from(limit).unwrap_or(MOST_REQUESTS));
        let (mut nodes, mut links, mut hashes, mut skipped) = (Vec::new(), Vec::new(), 0_usize, 0);
        while nodes.len() < limit {
            let Some(row) = rows.next()? else { break };
            let Some(row) = row else {
                skipped += 1;
                continue;
            };
            hashes += row.arrival.prefix.as_ref().map_or(0, |prefix| prefix.len());
            if nodes.len() >= MOST_REQUESTS || hashes > MOST_HASHES {
                let problem = format!(
                    "requests that wait for each other are kept in memory: {MOST_REQUESTS} with {MOST_HASHES} hashes \
                     at most; cut the trace in parts"
                );
                return Err(WorkloadError::Line { file: file.to_owned(), line: row.line, problem });
            }
            let Row { at, arrival, line, link, .. } = row;
            let link = link.unwrap_or_default();
            nodes.push(Node { arrival, at, delay: link.delay, missing: 0, followers: Vec::new(), line });
            links.push(link);
        }
        connect(file, &mut nodes, &links)?;
        check_circles(file, &nodes)?;
        let mut due = BinaryHeap::new();
        let mut roots: Vec<u32> =
            (0..nodes.len() as u32).filter(|index| nodes[*index as usize].missing == 0).collect();
        // Roots are given times in the order of their own.
        roots.sort_by_key(|index| (nodes[*index as usize].at, *index));
        for index in roots {
            let node = &mut nodes[index as usize];
            let Some(at) = time(node.at) else {
                let problem =
                    "the request waits for none and has no time; give an arrival process and a rate \
                               (`--arrival poisson --rate 4`)"
                        .to_owned();
                return Err(WorkloadError::Line { file: file.to_owned(), line: node.line, problem });
            };
            due.push(Reverse((at + node.delay, index)));
        }
        Ok((Self { nodes, due }, skipped))
    }

    /// When the next request is due, as far as is known.
    pub fn peek(&self) -> Option<Seconds> {
        self.due.peek().map(|Reverse((at, _))| seconds(*at))
    }

    /// The next request.
    pub fn pop(&mut self) -> Option<Arrival> {
        let Reverse((at, index)) = self.due.pop()?;
        let node = self.nodes.get_mut(index as usize)?;
        let mut arrival = std::mem::take(&mut node.arrival);
        arrival.at = seconds(at);
        arrival.ticket = u64::from(index);
        Some(arrival)
    }

    /// A request ended: what waited for it last is due after its pause.
    pub fn ended(&mut self, ticket: u64, at: Seconds) {
        let Some(index) = usize::try_from(ticket).ok().filter(|index| *index < self.nodes.len()) else {
            return;
        };
        let now = (at.get() * 1e9).round() as i128;
        for follower in std::mem::take(&mut self.nodes[index].followers) {
            let node = &mut self.nodes[follower as usize];
            node.missing = node.missing.saturating_sub(1);
            if node.missing == 0 {
                self.due.push(Reverse((now + node.delay, follower)));
            }
        }
    }
}

fn seconds(nanoseconds: i128) -> Seconds {
    Seconds::new(nanoseconds as f64 / 1e9)
}

/// Replaces names by numbers.
fn connect(file: &str, nodes: &mut [Node], links: &[Link]) -> Result<(), WorkloadError> {
    let mut names: HashMap<&str, u32> = HashMap::new();
    for (index, link) in links.iter().enumerate() {
        let Some(name) = link.name.as_deref() else { continue };
        if let Some(first) = names.insert(name, index as u32) {
            let problem =
                format!("the request is called `{name}`, as that of line {} is", nodes[first as usize].line);
            return Err(WorkloadError::Line { file: file.to_owned(), line: nodes[index].line, problem });
        }
    }
    for (index, link) in links.iter().enumerate() {
        for name in &link.waits {
            let Some(before) = names.get(name.as_str()) else {
                let problem = format!("the request waits for `{name}`, which no line is called");
                return Err(WorkloadError::Line { file: file.to_owned(), line: nodes[index].line, problem });
            };
            nodes[*before as usize].followers.push(index as u32);
            nodes[index].missing += 1;
        }
    }
    Ok(())
}

/// Every request must be reached from those that wait for none.
fn check_circles(file: &str, nodes: &[Node]) -> Result<(), WorkloadError> {
    let mut missing: Vec<u32> = nodes.iter().map(|node| node.missing).collect();
    let mut open: Vec<usize> = (0..nodes.len()).filter(|index| missing[*index] == 0).collect();
    while let Some(index) = open.pop() {
        for follower in &nodes[index].followers {
            let count = &mut missing[*follower as usize];
            *count -= 1;
            if *count == 0 {
                open.push(*follower as usize);
            }
        }
    }
    match missing.iter().position(|count| *count > 0) {
        None => Ok(()),
        Some(index) => Err(WorkloadError::Line {
            file: file.to_owned(),
            line: nodes[index].line,
            problem: "the request waits for itself, by way of others".to_owned(),
        }),
    }
}
