//! Plain tables.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};

/// A table of words, every column left-aligned.
pub fn list(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    lay_out(header, rows, CellAlignment::Left)
}

/// A table with a header, the first column left-aligned and the others right-aligned, whatever the terminal.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    lay_out(header, rows, CellAlignment::Right)
}

fn lay_out(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, others: CellAlignment) -> String {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { others });
        column.set_padding((0, 2));
    }
    let text = table.to_string();
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.retain(|line| !line.is_empty());
    lines.join("\n") + "\n"
}
