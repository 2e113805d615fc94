//! Weka's agentic coding sessions: one object per session, its calls in order, sub-agents among them.
//!
//! A call waits for the answer before it and for the sub-agents started between the two, and then for what passed when
//! it was recorded: the tools at work, or the time of thinking. Sub-agents run beside each other. One that nothing
//! follows runs in the background.

use super::rows::{full_blocks, nanoseconds};
use super::{Link, Row, TimeUnit, length};
use crate::source::Arrival;
use serde::Deserialize;
use std::sync::Arc;

/// How deep sub-agents start sub-agents at most.
const DEPTH: u32 = 8;

/// One file, or one line of a file with many.
#[derive(Deserialize)]
pub(super) struct Session {
    block_size: Option<u32>,
    hash_id_scope: Option<String>,
    requests: Vec<Entry>,
}

/// A call, or a sub-agent with calls of its own.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    t: f64,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(rename = "in")]
    input: Option<i64>,
    #[serde(rename = "out")]
    output: Option<i64>,
    #[serde(default)]
    hash_ids: Vec<u64>,
    api_time: Option<f64>,
    think_time: Option<f64>,
    #[serde(default)]
    requests: Vec<Entry>,
}

/// What the calls of one session have in common.
struct Building {
    number: u64,
    unit: TimeUnit,
    block: u32,
    local: bool,
    rows: Vec<Row>,
    line: u64,
}

/// The requests of a session; `number` tells its hashes from those of others.
pub(super) fn rows(
    session: Session,
    number: u64,
    line: u64,
    unit: TimeUnit,
    block: u32,
) -> Result<Vec<Row>, String> {
    let block = session.block_size.filter(|block| (1..=1 << 20).contains(block)).unwrap_or(block);
    let local = session.hash_id_scope.as_deref() != Some("global");
    let mut building = Building { number, unit, block, local, rows: Vec::new(), line };
    building.chain(session.requests, Before::default(), 0.0, DEPTH)?;
    Ok(building.rows)
}

/// What a call follows.
#[derive(Debug, Clone, Default)]
struct Before {
    /// Names of the calls whose ends it waits for.
    waits: Vec<String>,
    /// When the call before it ended as recorded, if that is known.
    ended: Option<f64>,
}

impl Building {
    /// Calls one after the other; gives back the last one's name. Times are counted from `origin`.
    fn chain(
        &mut self,
        entries: Vec<Entry>,
        before: Before,
        origin: f64,
        depth: u32,
    ) -> Result<Option<String>, String> {
        let (mut before, mut last) = (before, None);
        // Sub-agents of older files count time from their own start.
        let mut joins: Vec<String> = Vec::new();
        for entry in entries {
            if entry.kind == "subagent" || !entry.requests.is_empty() {
                let depth =
                    depth.checked_sub(1).ok_or(format!("sub-agents are nested more than {DEPTH} deep"))?;
                let relative = entry.requests.first().is_some_and(|first| first.t < entry.t);
                let origin = if relative { origin + entry.t } else { origin };
                joins.extend(self.chain(entry.requests, before.clone(), origin, depth)?);
                continue;
            }
            before.waits.append(&mut joins);
            let at = origin + entry.t;
            let name = self.call(&entry, &before, at)?;
            let ended = entry.api_time.map(|time| at + time).or(Some(at));
            before = Before { waits: vec![name.clone()], ended };
            last = Some(name);
        }
        Ok(last)
    }

    fn call(&mut self, entry: &Entry, before: &Before, at: f64) -> Result<String, String> {
        let input = length(entry.input.ok_or("`in` is missing")?, "in")?;
        let output = length(entry.output.ok_or("`out` is missing")?, "out")?;
        let recorded = before.ended.map(|ended| (at - ended).max(0.0));
        let pause = entry.think_time.or(recorded).unwrap_or(0.0);
        let delay = if before.waits.is_empty() { 0 } else { nanoseconds(pause, self.unit, "think_time")? };
        let start = nanoseconds(at, self.unit, "t")?;
        let name = format!("line {}, session {}, call {}", self.line, self.number, self.rows.len());
        let arrival = Arrival {
            input,
            output,
            session: Some(self.number),
            prefix: full_blocks(entry.hash_ids.clone(), input, self.block).map(|ids| self.scoped(&ids)),
            measured: true,
            ..Arrival::default()
        };
        let link = Link { name: Some(name.clone()), waits: before.waits.clone(), delay };
        let at = before.waits.is_empty().then_some(start);
        self.rows.push(Row { at, arrival, line: self.line, link: Some(link), assumed: false });
        Ok(name)
    }

    /// Hashes that mean something within their session only are told from those of others.
    fn scoped(&self, ids: &[u64]) -> Arc<[u64]> {
        if !self.local {
            return ids.into();
        }
        ids.iter().map(|id| id ^ self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect()
    }
}
