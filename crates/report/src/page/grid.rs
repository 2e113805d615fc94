//! Tables of a report.

use hardware::Grade;

/// The head of a column.
#[derive(Debug, Clone)]
pub struct Head {
    /// What the column says.
    pub name: String,
    /// Its unit; empty for words.
    pub unit: String,
    /// Whether it holds figures, which are set to the right.
    pub figures: bool,
    /// Whether the name is a key of the catalog, which stays as it is spelt.
    pub key: bool,
}

/// A cell.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// Its band, in small letters behind it.
    pub band: String,
    /// How good the evidence is.
    pub grade: Option<Grade>,
    /// Whether it is what the table is about.
    pub strong: bool,
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, ..Self::default() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Grade> for Cell {
    fn from(grade: Grade) -> Self {
        Self { grade: Some(grade), ..Self::default() }
    }
}

/// A table.
#[derive(Debug, Clone, Default)]
pub struct Grid {
    /// The columns.
    pub heads: Vec<Head>,
    /// The rows, each with the place of the page it is at.
    pub rows: Vec<(Option<String>, Vec<Cell>)>,
}

impl Grid {
    /// With a column of words.
    #[must_use]
    pub fn words(mut self, name: impl Into<String>) -> Self {
        self.heads.push(Head { name: name.into(), unit: String::new(), figures: false, key: false });
        self
    }

    /// With a column of words under a key of the catalog.
    #[must_use]
    pub fn key(mut self, name: impl Into<String>) -> Self {
        self.heads.push(Head { name: name.into(), unit: String::new(), figures: false, key: true });
        self
    }

    /// With a column of figures.
    #[must_use]
    pub fn figures(mut self, name: impl Into<String>, unit: impl Into<String>) -> Self {
        self.heads.push(Head { name: name.into(), unit: unit.into(), figures: true, key: false });
        self
    }

    /// With a row.
    pub fn row<C: Into<Cell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push((None, cells.into_iter().map(Into::into).collect()));
    }

    /// With a row that charts lead to.
    pub fn row_at(&mut self, place: impl Into<String>, cells: Vec<Cell>) {
        self.rows.push((Some(place.into()), cells));
    }

    /// Two columns: names and values.
    pub fn pairs(name: &str, value: &str, rows: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut grid = Self::default().words(name).words(value);
        for (name, value) in rows {
            grid.row([name, value]);
        }
        grid
    }
}
