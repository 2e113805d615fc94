//! Reports: a headline, tables, charts, what was assumed and where it comes from, as a page or as plain text.

mod grid;
mod html;
mod plain;
mod sources;

pub use grid::{Cell as GridCell, Grid, Head};
pub use sources::{Reference, assumptions, references};

use crate::chart::Chart;
use crate::words::Words;

/// A part of a report.
pub enum Block {
    /// A table.
    Table(Grid),
    /// Charts side by side.
    Charts(Vec<Chart>),
    /// A paragraph.
    Note(String),
}

/// Parts under one heading.
pub struct Section {
    /// The heading.
    pub title: String,
    /// The parts.
    pub blocks: Vec<Block>,
}

impl Section {
    /// A section with nothing in it yet.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), blocks: Vec::new() }
    }

    /// With a table.
    #[must_use]
    pub fn table(mut self, grid: Grid) -> Self {
        if !grid.rows.is_empty() {
            self.blocks.push(Block::Table(grid));
        }
        self
    }

    /// With charts; empty ones are left out.
    #[must_use]
    pub fn charts(mut self, charts: Vec<Chart>) -> Self {
        let charts: Vec<Chart> = charts.into_iter().filter(|chart| !chart.is_empty()).collect();
        if !charts.is_empty() {
            self.blocks.push(Block::Charts(charts));
        }
        self
    }

    /// With a paragraph.
    #[must_use]
    pub fn note(mut self, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.blocks.push(Block::Note(text));
        }
        self
    }
}

/// A report.
pub struct Document {
    /// The words it is written in.
    pub words: &'static Words,
    /// What was asked.
    pub title: String,
    /// The answer in a sentence.
    pub headline: String,
    /// How sure it is.
    pub certainty: String,
    /// The parts.
    pub sections: Vec<Section>,
    /// What was assumed, by name.
    pub assumptions: Vec<(String, String)>,
    /// Where figures come from.
    pub sources: Vec<Reference>,
}

impl Document {
    /// A report with nothing in it yet.
    pub fn new(words: &'static Words, title: impl Into<String>) -> Self {
        Self {
            words,
            title: title.into(),
            headline: String::new(),
            certainty: String::new(),
            sections: Vec::new(),
            assumptions: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// With a section, unless there is nothing in it.
    pub fn push(&mut self, section: Section) {
        if !section.blocks.is_empty() {
            self.sections.push(section);
        }
    }

    /// With an assumption.
    pub fn assume(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.assumptions.push((name.into(), value.into()));
    }

    /// The report as a page that opens anywhere, without a network.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The report as text for a terminal; charts are left out.
    pub fn text(&self) -> String {
        plain::text(self)
    }
}
