//! Plain tables.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Columns of the terminal that tables must fit; 0 where they may be as wide as they are.
static WIDTH: AtomicUsize = AtomicUsize::new(0);

/// Spaces between columns.
const GAP: usize = 2;

/// Makes every table fit so many columns, by leaving columns out and saying which; `None` leaves tables as they are.
pub fn fit_tables(columns: Option<usize>) {
    WIDTH.store(columns.unwrap_or(0), Ordering::Relaxed);
}

/// A table of words, every column left-aligned.
pub fn list(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    lay_out(header, rows.into_iter().collect(), CellAlignment::Left, &[])
}

/// A table with a header, the first column left-aligned and the others right-aligned, whatever the terminal.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    table_keeping(header, rows, &[])
}

/// The same with the columns that are left out last where there is too little room.
pub fn table_keeping(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>, keep: &[&str]) -> String {
    lay_out(header, rows.into_iter().collect(), CellAlignment::Right, keep)
}

/// Places a text takes on a terminal.
fn places(text: &str) -> usize {
    text.chars().map(|letter| if u32::from(letter) >= 0x2e80 { 2 } else { 1 }).sum()
}

/// The columns that fit: the first always, then those to be kept, then from the left.
fn fitting(header: &[&str], rows: &[Vec<String>], keep: &[&str], room: usize) -> Vec<bool> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| places(cell));
        cells.chain([places(header[column])]).max().unwrap_or(0) + GAP
    };
    let mut order: Vec<usize> = (0..header.len()).collect();
    order.sort_by_key(|column| (*column > 0, !keep.contains(&header[*column])));
    let mut fits = vec![false; header.len()];
    let mut used = 0;
    for column in order {
        if column == 0 || used + width(column) <= room + GAP {
            used += width(column);
            fits[column] = true;
        }
    }
    fits
}

fn lay_out(header: &[&str], rows: Vec<Vec<String>>, others: CellAlignment, keep: &[&str]) -> String {
    let room = match WIDTH.load(Ordering::Relaxed) {
        0 => usize::MAX - GAP,
        room => room,
    };
    let fits = fitting(header, &rows, keep, room);
    let shown = |index: &usize| fits.get(*index).copied().unwrap_or(true);
    let mut table = Table::new();
    table.load_preset(NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().enumerate().filter(|(index, _)| shown(index)).map(|(_, name)| *name));
    for row in rows {
        table.add_row(row.into_iter().enumerate().filter(|(index, _)| shown(index)).map(|(_, cell)| cell));
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_cell_alignment(if index == 0 { CellAlignment::Left } else { others });
        column.set_padding((0, GAP as u16));
    }
    let text = table.to_string();
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.retain(|line| !line.is_empty());
    let left_out: Vec<&str> =
        header.iter().enumerate().filter(|(index, _)| !shown(index)).map(|(_, name)| *name).collect();
    let mut text = lines.join("\n") + "\n";
    if !left_out.is_empty() {
        text += &format!("(left out: {}; --wide shows them)\n", left_out.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(room: usize, keep: &[&str]) -> String {
        let header = ["system", "format", "chips", "tok/s/chip", "evidence"];
        let rows = [vec!["cloudmatrix384", "int8", "376", "523", "official"]];
        let rows: Vec<Vec<String>> =
            rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
        let fits = fitting(&header, &rows, keep, room);
        header.iter().zip(fits).filter(|(_, fits)| *fits).map(|(name, _)| *name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_to_be_kept_is_left_out_last() {
        assert_eq!(columns(80, &[]), "system format chips tok/s/chip evidence");
        assert_eq!(columns(31, &[]), "system format chips");
        assert_eq!(columns(31, &["tok/s/chip"]), "system tok/s/chip");
        assert_eq!(columns(5, &["tok/s/chip"]), "system");
        assert_eq!(places("瓶颈"), 4);
    }
}
