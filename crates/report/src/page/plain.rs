//! A report as text.

use super::{Block, Document, Grid};
use std::fmt::Write;

/// The whole report.
pub fn text(document: &Document) -> String {
    let mut out = format!("{}\n\n{}\n", document.title, document.headline);
    if !document.certainty.is_empty() {
        let _ = writeln!(out, "{}", document.certainty);
    }
    for section in &document.sections {
        let shown = section.blocks.iter().any(|block| !matches!(block, Block::Charts(_)));
        if !shown {
            continue;
        }
        let _ = writeln!(out, "\n{}", section.title);
        for block in &section.blocks {
            match block {
                Block::Table(grid) => out.push_str(&table(document, grid)),
                Block::Note(note) => {
                    let _ = writeln!(out, "{note}");
                }
                Block::Charts(_) => {}
            }
        }
    }
    if !document.assumptions.is_empty() {
        let _ = writeln!(out, "\n{}", document.words.say("assumptions"));
        let rows = document.assumptions.iter().map(|(name, value)| vec![name.clone(), value.clone()]);
        out.push_str(&crate::table::list(&["", ""], rows));
    }
    out
}

fn table(document: &Document, grid: &Grid) -> String {
    let heads: Vec<String> = grid
        .heads
        .iter()
        .map(|head| match head.unit.as_str() {
            "" => head.name.clone(),
            unit => format!("{} [{unit}]", head.name),
        })
        .collect();
    let heads: Vec<&str> = heads.iter().map(String::as_str).collect();
    let rows = grid.rows.iter().map(|(_, cells)| {
        let cell = |cell: &super::GridCell| {
            let grade = cell.grade.map(|grade| document.words.term(&grade.to_string()).to_owned());
            let parts = [Some(cell.text.clone()), Some(cell.band.clone()), grade];
            let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
            parts.join(" ")
        };
        cells.iter().map(cell).collect()
    });
    if grid.heads.iter().any(|head| head.figures) {
        crate::table::table(&heads, rows)
    } else {
        crate::table::list(&heads, rows)
    }
}
