//! Plain tables.

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Columns of the terminal that tables must fit; 0 where they may be as wide as they are.
static WIDTH: AtomicUsize = AtomicUsize::new(0);

/// Spaces between columns.
const GAP: usize = 2;

/// Rows up to which a column of words that does not fit is folded; a longer list leaves it out and stays a line per entry.
const FOLDED_ROWS: usize = 12;
/// Places that a folded column has at least.
const FOLDED_LEAST: usize = 20;

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

/// Lines that are longer than what tables have to fit, folded between words; other lines, and all of them where tables may be as
/// wide as they are, stay as they are. A word longer than a line stays whole.
pub fn fold(text: &str) -> String {
    match WIDTH.load(Ordering::Relaxed) {
        0 => text.to_owned(),
        room => {
            let indent = |line: &str| line.len() - line.trim_start_matches(' ').len() + 2;
            text.split('\n').map(|line| folded(line, room, indent(line))).collect::<Vec<_>>().join("\n")
        }
    }
}

/// A line cut between words so that each piece takes at most `room` places, all but the first behind `indent` spaces.
fn folded(line: &str, room: usize, indent: usize) -> String {
    if places(line) <= room {
        return line.to_owned();
    }
    let wide = |letter: char| u32::from(letter) >= 0x2e80;
    let (mut out, mut rest, mut lead) = (String::new(), line, 0);
    loop {
        let (mut used, mut cut, mut before) = (lead, None, ' ');
        for (at, letter) in rest.char_indices() {
            // Between words, and before a Chinese character that is no punctuation.
            let breaks =
                letter == ' ' || (wide(letter) && !"，。；：、）？！".contains(letter) && before != '（');
            if breaks && at > 0 && !rest[..at].trim_start().is_empty() {
                cut = Some(at).filter(|_| used <= room).or(cut).or(Some(at));
            }
            used += if wide(letter) { 2 } else { 1 };
            before = letter;
            if used > room && cut.is_some() {
                break;
            }
        }
        let Some(at) = cut.filter(|_| used > room) else {
            out.push_str(rest);
            return out;
        };
        out.push_str(rest[..at].trim_end());
        out.push('\n');
        out.push_str(&" ".repeat(indent));
        rest = rest[at..].trim_start();
        lead = indent;
    }
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

/// Folds the first column of a list that does not fit into what room the others leave.
fn fold_a_column(header: &[&str], rows: &mut [Vec<String>], fits: &mut [bool], room: usize) {
    let Some(column) = fits.iter().position(|fits| !fits) else { return };
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| places(cell));
        cells.chain([places(header[column])]).max().unwrap_or(0) + GAP
    };
    let used: usize = (0..header.len()).filter(|column| fits[*column]).map(width).sum();
    let left = room.saturating_sub(used);
    if left < FOLDED_LEAST.max(places(header[column])) {
        return;
    }
    for cell in rows.iter_mut().filter_map(|row| row.get_mut(column)) {
        *cell = folded(cell, left, 0);
    }
    fits[column] = true;
}

fn lay_out(header: &[&str], mut rows: Vec<Vec<String>>, others: CellAlignment, keep: &[&str]) -> String {
    let room = match WIDTH.load(Ordering::Relaxed) {
        0 => usize::MAX - GAP,
        room => room,
    };
    let mut fits = fitting(header, &rows, keep, room);
    if others == CellAlignment::Left && rows.len() <= FOLDED_ROWS {
        fold_a_column(header, &mut rows, &mut fits, room);
    }
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

    #[test]
    fn a_column_of_words_is_folded_where_the_list_is_short() {
        let header = ["system", "why", "note"];
        let mut rows: Vec<Vec<String>> =
            vec![["h100-8", "the weights do not fit in memory", ""].map(str::to_owned).to_vec()];
        let mut fits = fitting(&header, &rows, &[], 30);
        assert_eq!(fits, [true, false, true]);
        fold_a_column(&header, &mut rows, &mut fits, 30);
        assert_eq!(fits, [true, false, true], "there is too little room beside the others");
        fold_a_column(&header, &mut rows, &mut fits, 36);
        assert_eq!(rows[0][1], "the weights do not fit\nin memory");
    }

    #[test]
    fn long_lines_are_folded_between_words() {
        assert_eq!(folded("short", 10, 2), "short");
        assert_eq!(folded("one two three four", 9, 2), "one two\n  three\n  four");
        assert_eq!(folded("  one two three", 9, 4), "  one two\n    three");
        assert_eq!(folded("unbreakableword and more", 9, 2), "unbreakableword\n  and\n  more");
        assert_eq!(folded("吞吐最高的是它。", 8, 2), "吞吐最高\n  的是\n  它。");
    }
}
