//! The specification of a sweep, and the plan that it makes.

mod axis;
mod columns;

pub use axis::Setting;

use crate::error::SweepError;
use crate::evaluate;
use crate::unit::{self, Kind, Unit, put};
use axis::{Axis, Choice};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;
use report::Column;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Cells beyond which a product of axes is taken for a slip of the pen.
const MOST_CELLS: u64 = 100_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSpec {
    kind: Kind,
    #[serde(default)]
    design: Design,
    samples: Option<u64>,
    #[serde(default)]
    seed: u64,
    scenario: Option<String>,
    #[serde(default)]
    base: Map<String, Value>,
    #[serde(default)]
    vary: Map<String, Value>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Design {
    /// Every combination; the last axis varies fastest.
    #[default]
    Grid,
    /// Independent draws from every axis.
    Random,
}

/// A sweep that is ready to run: from the index of a cell to its unit.
#[derive(Debug, Clone)]
pub struct Plan {
    kind: Kind,
    seed: u64,
    samples: Option<u64>,
    cells: u64,
    file: String,
    folder: String,
    catalog: Option<String>,
    /// Replaced figures that no axis changes.
    set: Vec<String>,
    base: Value,
    axes: Vec<Axis>,
    columns: Vec<Column>,
}

impl Plan {
    /// Reads a specification. `catalog` and `set` are the folder and the figures that replace those of the catalog.
    ///
    /// # Errors
    /// The file cannot be read or says what a sweep cannot say; the message names the key.
    pub fn read(path: &Path, catalog: Option<&Path>, set: &[String]) -> Result<Self, SweepError> {
        let text = bounded::read_text(path, bounded::TEXT).map_err(|error| SweepError::io(path, &error))?;
        Self::parse(path, &text, catalog, set)
    }

    /// Reads the text of a specification; `path` is what messages call it and what its own paths are relative to.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn parse(
        path: &Path,
        text: &str,
        catalog: Option<&Path>,
        set: &[String],
    ) -> Result<Self, SweepError> {
        let raw: RawSpec = toml::from_str(text).map_err(|error| SweepError::File {
            file: path.display().to_string(),
            message: error.to_string().trim().to_owned(),
        })?;
        Self::new(path, raw, catalog, set)
    }

    /// Reads a specification that a program has put together; `path` is what messages call it and what its own paths are
    /// relative to.
    ///
    /// # Errors
    /// As [`Plan::read`].
    pub fn of_document(
        path: &Path,
        document: Value,
        catalog: Option<&Path>,
        set: &[String],
    ) -> Result<Self, SweepError> {
        let raw: RawSpec = serde_json::from_value(document).map_err(|error| SweepError::File {
            file: path.display().to_string(),
            message: error.to_string(),
        })?;
        Self::new(path, raw, catalog, set)
    }

    fn new(path: &Path, raw: RawSpec, catalog: Option<&Path>, set: &[String]) -> Result<Self, SweepError> {
        let file = path.display().to_string();
        let wrong = |key: &str, problem: String| SweepError::Spec {
            file: file.clone(),
            key: key.to_owned(),
            problem,
        };
        let samples = samples(&raw).map_err(|problem| wrong("samples", problem))?;
        let mut plan = Self {
            kind: raw.kind,
            seed: raw.seed,
            samples,
            cells: 0,
            folder: path.parent().unwrap_or(Path::new("")).display().to_string(),
            catalog: catalog.map(|folder| folder.display().to_string()),
            set: set.to_vec(),
            base: Value::Null,
            axes: axis::read(&raw.vary, samples.is_some())
                .map_err(|(key, problem)| wrong(&format!("vary.{key}"), problem))?,
            columns: Vec::new(),
            file: file.clone(),
        };
        plan.base = plan.base(raw)?;
        plan.columns =
            columns::columns(plan.kind, &plan.axes).map_err(|(key, problem)| wrong(&key, problem))?;
        plan.cells = plan.size()?;
        plan.check()?;
        Ok(plan)
    }

    /// What every cell shares; replaced figures are taken out of it.
    fn base(&mut self, raw: RawSpec) -> Result<Value, SweepError> {
        let mut base = Value::Object(Map::new());
        if let Some(scenario) = raw.scenario {
            let path: PathBuf = Path::new(&self.folder).join(&scenario);
            if self.kind != Kind::Simulate {
                let problem = "only `kind = \"simulate\"` starts from a scenario; use [base]".to_owned();
                return Err(self.wrong("scenario", problem));
            }
            let text =
                bounded::read_text(&path, bounded::TEXT).map_err(|error| SweepError::io(&path, &error))?;
            let file = path.display().to_string();
            base = toml::from_str(&text)
                .map_err(|error| SweepError::File { file, message: error.to_string().trim().to_owned() })?;
        }
        let mut settings = Vec::new();
        axis::flatten(&raw.base, "", &mut settings);
        for (key, value) in settings {
            if let Some(figure) = key.strip_prefix("set.") {
                self.set.push(figure_text(figure, &value));
                continue;
            }
            put(&mut base, &key, value).map_err(|problem| self.wrong(&format!("base.{key}"), problem))?;
        }
        Ok(base)
    }

    fn wrong(&self, key: &str, problem: String) -> SweepError {
        SweepError::Spec { file: self.file.clone(), key: key.to_owned(), problem }
    }

    fn size(&self) -> Result<u64, SweepError> {
        let cells = match self.samples {
            Some(samples) => Some(samples),
            None => self.axes.iter().try_fold(1_u64, |cells, axis| cells.checked_mul(length(axis))),
        };
        cells.filter(|cells| *cells <= MOST_CELLS).ok_or_else(|| {
            self.wrong(
                "vary",
                format!("more than {MOST_CELLS} cells; use fewer values, or design = \"random\""),
            )
        })
    }

    /// Reads the job of enough cells to see every value of every axis once, so that a slip of the pen is an error at
    /// the start rather than a reason in every row.
    fn check(&self) -> Result<(), SweepError> {
        let first: Vec<u64> = vec![0; self.axes.len()];
        self.check_cell(&first, "the first cell")?;
        for (at, axis) in self.axes.iter().enumerate() {
            for place in 0..length(axis) {
                let mut places = first.clone();
                places[at] = place;
                self.check_cell(&places, &format!("vary.{}", axis.name))?;
            }
        }
        Ok(())
    }

    fn check_cell(&self, places: &[u64], key: &str) -> Result<(), SweepError> {
        let settings = self.axes.iter().zip(places).flat_map(|(axis, place)| match &axis.choice {
            Choice::List(list) => list[*place as usize].clone(),
            Choice::Range(range) => vec![(axis.name.clone(), range.at(*place as f64))],
        });
        let unit = self.assemble(0, settings.collect()).map_err(|problem| self.wrong(key, problem))?;
        evaluate::check(&unit).map_err(|problem| self.wrong(key, problem))
    }

    /// How many cells there are.
    pub fn cells(&self) -> u64 {
        self.cells
    }

    /// The columns of a row, the index of the cell first.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The axes: name and number of values, `None` where values are drawn from a range.
    pub fn axes(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.axes.iter().map(|axis| {
            let count = match &axis.choice {
                Choice::List(list) => Some(list.len() as u64),
                Choice::Range(_) => None,
            };
            (axis.name.as_str(), count)
        })
    }

    /// Everything that rows depend on, for telling one sweep from another. Files that jobs name are not part of it.
    pub fn identity(&self) -> Value {
        let axes: Vec<Value> = self.axes.iter().map(|axis| json!(format!("{axis:?}"))).collect();
        json!({
            "schema": "supernode.sweep/1",
            "version": env!("CARGO_PKG_VERSION"),
            "kind": self.kind,
            "samples": self.samples,
            "seed": self.samples.map(|_| self.seed),
            "catalog": self.catalog,
            "set": self.set,
            "base": self.base,
            "vary": axes,
            "cells": self.cells,
        })
    }

    /// The unit of a cell, which must be less than [`Plan::cells`]. It depends on nothing but the plan and the index.
    pub fn unit(&self, cell: u64) -> Unit {
        let settings = match self.samples {
            Some(_) => self.drawn(cell),
            None => self.placed(cell),
        };
        // Every assignment was tried when the plan was read.
        self.assemble(cell, settings).unwrap_or_else(|_| self.empty(cell))
    }

    fn placed(&self, cell: u64) -> Vec<Setting> {
        let mut left = cell;
        let mut places = vec![0; self.axes.len()];
        for (place, axis) in places.iter_mut().zip(&self.axes).rev() {
            let length = length(axis);
            (*place, left) = ((left % length) as usize, left / length);
        }
        let chosen = self.axes.iter().zip(places).filter_map(|(axis, place)| match &axis.choice {
            Choice::List(list) => list.get(place).cloned(),
            Choice::Range(_) => None,
        });
        chosen.flatten().collect()
    }

    fn drawn(&self, cell: u64) -> Vec<Setting> {
        let mut random = stream(self.seed, cell);
        let chosen = self.axes.iter().map(|axis| match &axis.choice {
            Choice::List(list) => list[random.random_range(0..list.len())].clone(),
            Choice::Range(range) => vec![(axis.name.clone(), range.at(random.random()))],
        });
        chosen.flatten().collect()
    }

    fn empty(&self, cell: u64) -> Unit {
        Unit {
            schema: unit::SCHEMA.to_owned(),
            cell,
            kind: self.kind,
            folder: self.folder.clone(),
            catalog: self.catalog.clone(),
            set: self.set.clone(),
            varied: Map::new(),
            job: self.base.clone(),
        }
    }

    fn assemble(&self, cell: u64, settings: Vec<Setting>) -> Result<Unit, String> {
        let mut unit = self.empty(cell);
        for (key, value) in settings {
            match key.strip_prefix("set.") {
                Some(figure) => unit.set.push(figure_text(figure, &value)),
                None => put(&mut unit.job, &key, value.clone())?,
            }
            unit.varied.insert(columns::name(&key), value);
        }
        Ok(unit)
    }
}

/// Values of an axis; a range counts as its two ends.
fn length(axis: &Axis) -> u64 {
    match &axis.choice {
        Choice::List(list) => list.len() as u64,
        Choice::Range(_) => 2,
    }
}

fn samples(raw: &RawSpec) -> Result<Option<u64>, String> {
    match (raw.design, raw.samples) {
        (Design::Grid, None) => Ok(None),
        (Design::Grid, Some(_)) => {
            Err("only a random design has samples; a grid has every combination".to_owned())
        }
        (Design::Random, Some(samples)) if (1..=MOST_CELLS).contains(&samples) => Ok(Some(samples)),
        (Design::Random, _) => Err(format!("say how many, from 1 to {MOST_CELLS}")),
    }
}

/// A replaced figure as `--set` takes it.
fn figure_text(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    }
}

/// The generator of a cell's draws. Seeds are spread by an odd constant, so that cells of two seeds share nothing.
fn stream(seed: u64, cell: u64) -> Pcg64Mcg {
    Pcg64Mcg::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32) ^ cell)
}

#[cfg(test)]
mod tests;
