//! Who held which chips when, as a trace that Perfetto and chrome://tracing open: a process per node, a thread per chip.

use crate::run::{Prepared, Side};
use crate::tables::name;
use serde_json::json;

/// The trace of one run that kept its stretches.
pub fn perfetto(prepared: &Prepared, side: &Side) -> String {
    let mut events = Vec::new();
    for node in 0..prepared.setup.tree.nodes() {
        events.push(json!({ "ph": "M", "name": "process_name", "pid": node, "args": { "name": format!("node {node}") } }));
    }
    for stretch in &side.outcome.stretches {
        let record = &side.outcome.records[stretch.job.0 as usize];
        let (title, tenant) =
            (name(prepared, record), &prepared.setup.tenants[record.tenant.0 as usize].name);
        for part in &stretch.parts {
            for chip in (0..64).filter(|chip| part.chips >> chip & 1 == 1) {
                events.push(json!({
                    "ph": "X", "name": title, "cat": record.kind.name(), "pid": part.node.0, "tid": chip,
                    "ts": stretch.from * 1e6, "dur": (stretch.to - stretch.from) * 1e6,
                    "args": { "tenant": tenant, "chips": record.chips },
                }));
            }
        }
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events }).to_string()
}
