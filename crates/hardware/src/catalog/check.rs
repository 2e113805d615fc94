//! Checking a whole catalog: every file on its own, and what the files say of each other.

use super::index::Document;
use super::{Catalog, CatalogError, raw, scan};
use crate::chip::Chip;
use crate::system::System;
use std::collections::BTreeSet;
use std::fmt;

/// Something wrong with a catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.starts_with(&self.file) {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.file, self.message)
        }
    }
}

impl Catalog {
    /// Everything wrong with the catalog: malformed files, names that resolve to nothing, figures that contradict
    /// each other. Empty if all is well.
    pub fn check(&self) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        if let Err(error) = self.index.refuse_collisions() {
            problems.0.push(Problem { file: "catalog".to_owned(), message: error.to_string() });
        }
        for (document, aliases) in self.index.documents() {
            self.check_document(document, &aliases, &mut problems);
        }
        problems.0
    }

    fn check_document(&self, document: Document<'_>, aliases: &[&str], problems: &mut Problems) {
        let file = document.path;
        match (document.kind, document.id) {
            ("chips", id) => match self.chip(id) {
                Ok(chip) => self.check_chip(file, &chip, problems),
                Err(error) => problems.add(file, error),
            },
            ("systems", id) => match self.system(id) {
                Ok(system) => self.check_system(file, &system, problems),
                Err(error) => problems.add(file, error),
            },
            ("", "economics") => match self.economics() {
                Ok(economics) => {
                    for chip in economics.chip_hours.keys().chain(economics.all_in_power.keys()) {
                        self.must_exist(file, "chips", chip, problems);
                    }
                }
                Err(error) => problems.add(file, error),
            },
            ("engines", id) => {
                self.engine(id).err().into_iter().for_each(|error| problems.add(file, error));
            }
            ("", "support") => {
                self.support().err().into_iter().for_each(|error| problems.add(file, error));
            }
            ("", "supply") => {
                self.supply().err().into_iter().for_each(|error| problems.add(file, error));
            }
            ("", "origins") => {
                self.origins().err().into_iter().for_each(|error| problems.add(file, error));
            }
            ("", "export_rules") => {
                self.export_rules().err().into_iter().for_each(|error| problems.add(file, error));
            }
            _ => {
                let parsed: Result<toml::Table, CatalogError> = raw::parse(document);
                parsed.err().into_iter().for_each(|error| problems.add(file, error));
            }
        }
        check_aliases(document, aliases, problems);
    }

    fn check_chip(&self, file: &str, chip: &Chip, problems: &mut Problems) {
        let profiles = self.ids("kernels");
        for kernel in &chip.kernels {
            // A chip's profile is a file per operator family: `h100.gemm`, `h100.moe` ...
            let of_chip = |id: &String| {
                id == kernel || id.strip_prefix(kernel.as_str()).is_some_and(|id| id.starts_with('.'))
            };
            if !profiles.is_empty() && !profiles.iter().any(of_chip) {
                problems.say(
                    file,
                    format!("`kernels`: there is no profile of `{kernel}`; name chips that have one"),
                );
            }
        }
        for port in chip.scale_up.iter().chain(&chip.scale_out) {
            self.must_exist(file, "links", &port.link, problems);
        }
        chip.system.iter().for_each(|system| self.must_exist(file, "systems", system, problems));
        chip.engine.iter().for_each(|engine| self.must_exist(file, "engines", engine, problems));
        if let (Some(port), Some(total)) = (&chip.scale_up, &chip.interconnect_bidirectional) {
            let both = port.bandwidth.value * (2.0 * f64::from(chip.ranks));
            if both > total.value * 1.01 {
                let total = total.value;
                problems.say(
                    file,
                    format!("its scale-up ports move {both} both ways, more than all ports ({total})"),
                );
            }
        }
        if let (Some(idle), Some(tdp)) = (&chip.idle, &chip.tdp) {
            if idle.value > tdp.value {
                problems.say(file, format!("idles at {} but is designed for {}", idle.value, tdp.value));
            }
        }
        if let (Some(active), Some(tdp)) = (&chip.active, &chip.tdp) {
            if active.value > tdp.value {
                let message = format!("runs kernels at {} but is designed for {}", active.value, tdp.value);
                problems.say(file, message);
            }
        }
        unused_sources(file, &crate::show::chip(chip), chip.sources.keys(), problems);
    }

    fn check_system(&self, file: &str, system: &System, problems: &mut Problems) {
        for domain in &system.domains {
            self.must_exist(file, "links", &domain.link, problems);
        }
        match self.chip(&system.chip) {
            Ok(chip) if chip.ranks != system.ranks_per_chip() => {
                let (has, says) = (chip.ranks, system.ranks_per_chip());
                problems
                    .say(file, format!("{} has {has} ranks per package, the package domain {says}", chip.id));
            }
            Ok(_) => {}
            Err(error) => problems.say(file, format!("its chip does not resolve: {error}")),
        }
        let bounded = system.domains.iter().filter_map(|domain| domain.ranks).max().unwrap_or(1);
        if system.ranks() % bounded != 0 && bounded % system.ranks() != 0 {
            let ranks = system.ranks();
            problems.say(file, format!("its {ranks} ranks do not fill domains of {bounded}"));
        }
        if !system.generic {
            unused_sources(file, &crate::show::system(system), system.sources.keys(), problems);
        }
    }

    /// Whether a name of another file resolves. A kind with no entries at all is not looked into.
    fn must_exist(&self, file: &str, kind: &str, name: &str, problems: &mut Problems) {
        if !self.ids(kind).is_empty() {
            self.document(kind, name).err().into_iter().for_each(|error| problems.add(file, error));
        }
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn say(&mut self, file: &str, message: impl Into<String>) {
        self.0.push(Problem { file: file.to_owned(), message: message.into() });
    }

    fn add(&mut self, file: &str, error: CatalogError) {
        self.say(file, error.to_string());
    }
}

/// Names are looked up by a quick scan for aliases; it must agree with what the file says.
fn check_aliases(document: Document<'_>, scanned: &[&str], problems: &mut Problems) {
    let Ok(table) = document.text.parse::<toml::Table>() else { return };
    let stated: Vec<&str> = table
        .get("aliases")
        .and_then(toml::Value::as_array)
        .map(|names| names.iter().filter_map(toml::Value::as_str).collect())
        .unwrap_or_default();
    if stated != scanned || scan::aliases(document.text) != scanned {
        problems.say(document.path, "write `aliases = [\"...\"]` before any table, with plain double quotes");
    }
}

fn unused_sources<'a>(
    file: &str,
    sheet: &crate::show::Sheet,
    listed: impl Iterator<Item = &'a String>,
    problems: &mut Problems,
) {
    let used: BTreeSet<&str> = sheet.figures.iter().map(|figure| figure.source.as_str()).collect();
    for key in listed.filter(|key| !used.contains(key.as_str())) {
        problems.say(file, format!("`sources.{key}` is used by no figure; remove it"));
    }
}
