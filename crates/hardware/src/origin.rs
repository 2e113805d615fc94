//! Who makes the parts that a chip and its service depend on, and where they are from. Statements with source, date and grade,
//! kept side by side where they disagree.

use crate::chip::Chip;
use crate::date::Date;
use crate::evidence::{Grade, Source};
use std::collections::BTreeMap;
use std::fmt;

/// A part that a service depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Component {
    /// The dies that compute.
    Dies,
    /// The memory in the package.
    Memory,
    /// The links between chips.
    Interconnect,
    /// The software that serves.
    Engine,
}

impl Component {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Dies, Self::Memory, Self::Interconnect, Self::Engine];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dies => "dies",
            Self::Memory => "memory",
            Self::Interconnect => "interconnect",
            Self::Engine => "engine",
        }
    }
}

/// Who makes a part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct Maker {
    /// The maker.
    pub name: String,
    /// Where it is from, as a code of two letters; free software is from nowhere.
    #[serde(default)]
    pub country: Option<String>,
}

impl fmt::Display for Maker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.country {
            Some(country) => write!(f, "{} ({})", self.name, country.to_ascii_uppercase()),
            None => f.write_str(&self.name),
        }
    }
}

/// One statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The part it is about.
    pub part: Component,
    /// Beginnings of catalog keys of chips, `vendor:NAME` or `family:NAME`; for an engine beginnings of keys of engines.
    pub of: Vec<String>,
    /// Who makes it.
    pub makers: Vec<Maker>,
    /// What else it says.
    pub note: Option<String>,
    /// When it was said.
    pub said: Date,
    /// Key of its source.
    pub source: String,
    /// How good the evidence is.
    pub grade: Grade,
}

/// All statements.
#[derive(Debug, Clone, PartialEq)]
pub struct Origins {
    /// The statements, in the order of the file.
    pub statements: Vec<Origin>,
    /// What the source keys stand for.
    pub sources: BTreeMap<String, Source>,
}

impl Origins {
    /// What is said of a part of a service on a chip under an engine; of several statements those that name most of its key.
    pub fn of(&self, chip: &Chip, engine: &str, part: Component) -> Vec<&Origin> {
        let named = |origin: &Origin| {
            let about = |name: &String| match part {
                Component::Engine => engine.starts_with(name.as_str()).then_some(name.len()),
                _ => chip.named_by(name),
            };
            origin.of.iter().filter_map(about).max()
        };
        let statements = self.statements.iter().filter(|origin| origin.part == part);
        let found: Vec<(usize, &Origin)> =
            statements.filter_map(|origin| Some((named(origin)?, origin))).collect();
        let most = found.iter().map(|(named, _)| *named).max();
        found.into_iter().filter(|(named, _)| Some(*named) == most).map(|(_, origin)| origin).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Catalog;

    #[track_caller]
    fn made(chip: &str, engine: &str, part: Component, expected: &str) {
        let catalog = Catalog::builtin();
        let origins = catalog.origins().expect("a file of origins");
        let chip = catalog.chip(chip).expect("a chip");
        let said: Vec<String> = origins
            .of(&chip, engine, part)
            .into_iter()
            .map(|origin| origin.makers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and "))
            .collect();
        assert_eq!(said.join("; "), expected);
    }

    #[test]
    fn the_statement_that_names_most_of_a_chip_is_taken() {
        made("ascend-910c", "mindie", Component::Dies, "TSMC (TW); SMIC (CN)");
        made("ascend-910c", "mindie", Component::Memory, "Samsung (KR) and SK hynix (KR)");
        made("ascend-910c", "vllm-ascend-0.13", Component::Engine, "vLLM project and Huawei (CN)");
        made("h100", "vllm-0.12", Component::Engine, "vLLM project");
        made("h200", "sglang", Component::Memory, "SK hynix (KR) and Micron (US)");
        made("h100", "sglang", Component::Interconnect, "NVIDIA (US)");
        made("kunlun-p800", "vllm", Component::Interconnect, "");
    }

    #[test]
    fn every_statement_is_about_something_in_the_catalog() {
        let catalog = Catalog::builtin();
        let origins = catalog.origins().expect("a file of origins");
        let chips: Vec<Chip> =
            catalog.ids("chips").iter().map(|id| catalog.chip(id).expect("a chip")).collect();
        let engines = catalog.ids("engines");
        for origin in &origins.statements {
            for name in &origin.of {
                let known = match origin.part {
                    Component::Engine => engines.iter().any(|engine| engine.starts_with(name.as_str())),
                    _ => chips.iter().any(|chip| chip.named_by(name).is_some()),
                };
                assert!(known, "{}: {name}", origin.part.name());
            }
        }
    }
}
