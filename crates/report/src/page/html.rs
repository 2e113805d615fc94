//! A report as a page. It holds everything it shows and runs no script; a policy in its head says so, so that nothing a
//! name could hold is ever run or fetched.

use super::{Block, Document, Grid, GridCell, Reference};
use crate::chart::svg::escape;
use hardware::Grade;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// All grades, best first.
const GRADES: [Grade; 5] = [Grade::Measured, Grade::Official, Grade::Analyst, Grade::Rumour, Grade::Assumed];

fn mark(grade: Grade) -> &'static str {
    match grade {
        Grade::Measured => "●",
        Grade::Official => "◕",
        Grade::Analyst => "◑",
        Grade::Rumour => "◔",
        Grade::Assumed => "○",
    }
}

/// The page.
pub fn page(document: &Document) -> String {
    let words = document.words;
    let mut body = format!("<header><h1>{}</h1>\n", escape(&document.title));
    if !document.headline.is_empty() {
        let _ = writeln!(body, "<p class=\"headline\">{}</p>", escape(&document.headline));
    }
    if !document.certainty.is_empty() {
        let _ = writeln!(body, "<p class=\"sure\">{}</p>", escape(&document.certainty));
    }
    body.push_str("</header>\n");
    let mut graded = false;
    for section in &document.sections {
        let _ = writeln!(body, "<section><h2>{}</h2>", escape(&section.title));
        for block in &section.blocks {
            match block {
                Block::Table(grid) => {
                    graded |=
                        grid.rows.iter().any(|(_, cells)| cells.iter().any(|cell| cell.grade.is_some()));
                    body.push_str(&table(document, grid));
                }
                Block::Charts(charts) => {
                    let drawn: String = charts.iter().map(crate::chart::Chart::html).collect();
                    let _ = writeln!(body, "<div class=\"charts\">\n{drawn}</div>");
                }
                Block::Note(note) => {
                    let _ = writeln!(body, "<p>{}</p>", escape(note));
                }
            }
        }
        body.push_str("</section>\n");
    }
    if !document.assumptions.is_empty() {
        let _ = write!(body, "<section><h2>{}</h2><dl>", escape(words.say("assumptions")));
        for (name, value) in &document.assumptions {
            let _ = write!(body, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
        }
        body.push_str("</dl></section>\n");
    }
    if !document.sources.is_empty() {
        body.push_str(&sources(document));
    }
    if graded || !document.sources.is_empty() {
        body.push_str(&legend(document));
    }
    format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>supernode {}</footer>\n</body>\n</html>\n",
        words.lang.code(),
        escape(&document.title),
        env!("CARGO_PKG_VERSION"),
    )
}

fn graded(document: &Document, grade: Grade) -> String {
    let name = document.words.term(&grade.to_string()).to_owned();
    format!("<span class=\"grade\" title=\"{0}\">{1} <small>{0}</small></span>", escape(&name), mark(grade))
}

fn legend(document: &Document) -> String {
    let words = document.words;
    let mut out = format!("<p class=\"grades\">{}: ", escape(words.say("grades")));
    for grade in GRADES {
        let key = format!("grade-{grade}");
        let meaning = match grade {
            Grade::Measured => words.say("grade-measured"),
            Grade::Official => words.say("grade-official"),
            Grade::Analyst => words.say("grade-analyst"),
            Grade::Rumour => words.say("grade-rumour"),
            Grade::Assumed => words.say("grade-assumed"),
        };
        debug_assert_ne!(key, meaning, "every grade has words");
        let name = words.term(&grade.to_string()).to_owned();
        let _ = write!(out, "<span>{} {}: {}</span> ", mark(grade), escape(&name), escape(meaning));
    }
    out + "</p>\n"
}

fn table(document: &Document, grid: &Grid) -> String {
    let size = match grid.heads.len() {
        0..=4 => "few",
        5..=8 => "some",
        _ => "many",
    };
    let mut out = format!("<div class=\"fit {size}\"><table>\n<thead><tr>");
    for head in &grid.heads {
        let class = match head {
            super::Head { figures: true, .. } => " class=\"n\"",
            super::Head { key: true, .. } => " class=\"k\"",
            _ => "",
        };
        let unit = match head.unit.as_str() {
            "" => String::new(),
            unit => format!(" <span class=\"unit\">{}</span>", escape(unit)),
        };
        let _ = write!(out, "<th scope=\"col\"{class}>{}{unit}</th>", escape(&head.name));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for (place, cells) in &grid.rows {
        match place {
            Some(place) => {
                let _ = write!(out, "<tr id=\"{}\">", escape(place));
            }
            None => out.push_str("<tr>"),
        }
        for (index, cell) in cells.iter().enumerate() {
            let head = grid.heads.get(index);
            out.push_str(&entry(document, head.is_some_and(|head| head.figures), head, cell));
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

fn entry(document: &Document, figures: bool, head: Option<&super::Head>, cell: &GridCell) -> String {
    let mut classes = Vec::new();
    classes.extend(figures.then_some("n"));
    classes.extend(cell.strong.then_some("strong"));
    let class = if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
    let head = head.map_or_else(String::new, |head| match head.unit.as_str() {
        "" => head.name.clone(),
        unit => format!("{} ({unit})", head.name),
    });
    let band = match cell.band.as_str() {
        "" => String::new(),
        band => format!(" <small>{}</small>", escape(band)),
    };
    let grade = cell.grade.map_or_else(String::new, |grade| graded(document, grade));
    format!(
        "<td{class} data-head=\"{}\"><span>{}{band}{grade}</span></td>",
        escape(&head),
        escape(&cell.text)
    )
}

/// A link, unless the address is none that a browser may follow.
fn link(reference: &Reference) -> String {
    let title = escape(&reference.title);
    if reference.address.starts_with("https://") || reference.address.starts_with("http://") {
        return format!("<a href=\"{}\" rel=\"noreferrer\">{title}</a>", escape(&reference.address));
    }
    match reference.address.as_str() {
        "" => title,
        address => format!("{title} <small>{}</small>", escape(address)),
    }
}

fn sources(document: &Document) -> String {
    let words = document.words;
    let heads = [words.say("entry"), words.say("figures"), words.say("source"), words.say("dated")];
    let mut out = format!("<section class=\"sources\"><h2>{}</h2>\n", escape(words.say("sources")));
    out.push_str("<div class=\"fit few\"><table>\n<thead><tr>");
    for head in heads {
        let _ = write!(out, "<th scope=\"col\">{}</th>", escape(head));
    }
    out.push_str("</tr></thead>\n<tbody>\n");
    for reference in &document.sources {
        let figures: Vec<String> = reference
            .figures
            .iter()
            .map(|(key, grade)| format!("{} {}", escape(key), mark(*grade)))
            .collect();
        let cells = [escape(&reference.entry), figures.join(", "), link(reference), escape(&reference.date)];
        out.push_str("<tr>");
        for (head, cell) in heads.iter().zip(cells) {
            let _ = write!(out, "<td data-head=\"{}\"><span>{cell}</span></td>", escape(head));
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div></section>\n"
}
