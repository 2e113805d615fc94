//! What is known while a script is followed, and how much more work it may cause.

use super::value::{
    CLOSE, CLOSE_QUOTED, Condition, Fork, OPEN, Var, choice_of, clean, is_unknown, marks, only_mark, unknown,
};
use crate::error::{LaunchError, Location};
use crate::inputs::Inputs;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that expansions may make up together.
const MAX_BYTES: usize = 16 << 20;
/// Statements that may be followed.
const MAX_STEPS: u32 = 50_000;
/// Nesting of statements, functions and substitutions.
const MAX_DEPTH: u32 = 40;
/// Conditions that may stay open.
const MAX_CONDITIONS: usize = 256;

/// What a branch may change.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct World {
    pub vars: BTreeMap<String, Var>,
    pub positional: Vec<String>,
    pub functions: BTreeMap<String, (String, u32)>,
    pub files: BTreeMap<String, String>,
}

/// A command that a script runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ran {
    /// Its words, the program first; before it what launches it on other nodes.
    pub words: Vec<String>,
    /// Line it begins on.
    pub line: u32,
    /// Branches it stands in, of conditions that are not known.
    pub guards: Vec<(usize, usize)>,
    /// Variables set for it alone.
    pub env: Vec<(String, String)>,
}

/// A script being followed.
pub(crate) struct Shell<'a> {
    pub(super) inputs: &'a Inputs<'a>,
    pub(super) file: String,
    pub(super) world: World,
    pub(super) function_depth: u32,
    pub(super) locals: Vec<Vec<(String, Option<Var>)>>,
    pub(super) guards: Vec<(usize, usize)>,
    pub(super) prefix: Vec<String>,
    /// What commands print, where it is wanted; `None` inside once something unknown was printed.
    pub(super) output: Option<Option<String>>,
    pub(super) line: u32,
    depth: u32,
    steps: u32,
    bytes: usize,
    /// Commands run, in order.
    pub commands: Vec<Ran>,
    /// Conditions that are not known.
    pub conditions: Vec<Condition>,
    /// Values that depend on them.
    pub choices: Vec<Fork>,
    /// What was assumed.
    pub notes: Vec<String>,
    /// Variables whose default was taken, with it.
    pub defaults: BTreeMap<String, String>,
    /// Variables taken as empty.
    pub empties: BTreeSet<String>,
}

impl<'a> Shell<'a> {
    pub(super) fn new(file: &str, inputs: &'a Inputs<'a>) -> Self {
        let last = inputs.args.keys().max().copied().unwrap_or(0).min(99);
        let positional = (1..=last)
            .map(|n| inputs.args.get(&n).map_or_else(|| unknown(&[n.to_string()]), |text| clean(text)));
        let world = World { positional: positional.collect(), ..World::default() };
        Self {
            inputs,
            file: file.to_owned(),
            world,
            function_depth: 0,
            locals: Vec::new(),
            guards: Vec::new(),
            prefix: Vec::new(),
            output: None,
            line: 1,
            depth: 0,
            steps: 0,
            bytes: 0,
            commands: Vec::new(),
            conditions: Vec::new(),
            choices: Vec::new(),
            notes: Vec::new(),
            defaults: BTreeMap::new(),
            empties: BTreeSet::new(),
        }
    }

    pub(super) fn place(&self) -> Location {
        Location::new(&self.file, self.line)
    }

    fn too_much(&self, what: &'static str, cap: String) -> LaunchError {
        LaunchError::TooMuch { place: self.place(), what, cap }
    }

    /// Counts bytes made.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), LaunchError> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > MAX_BYTES {
            return Err(self.too_much("what its variables expand to", format!("{} MiB", MAX_BYTES >> 20)));
        }
        Ok(())
    }

    /// Counts a statement.
    pub(super) fn step(&mut self) -> Result<(), LaunchError> {
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return Err(self.too_much("the number of statements run", MAX_STEPS.to_string()));
        }
        Ok(())
    }

    /// Goes a level down; `up` leaves it.
    pub(super) fn down(&mut self) -> Result<(), LaunchError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            self.depth -= 1;
            return Err(self.too_much("nesting", format!("{MAX_DEPTH} levels")));
        }
        Ok(())
    }

    pub(super) fn up(&mut self) {
        self.depth -= 1;
    }

    pub(super) fn note(&mut self, text: String) {
        if self.notes.len() < 100 && !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The value of a variable, if the script or the user sets it.
    pub(super) fn var(&self, name: &str) -> Option<Var> {
        if name.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() {
            let number: usize = name.parse().ok()?;
            return match number {
                0 => Some(Var::Text(self.file.clone())),
                _ => self.world.positional.get(number - 1).cloned().map(Var::Text),
            };
        }
        if let Some(var) = self.world.vars.get(name) {
            return Some(var.clone());
        }
        self.inputs.env.get(name).map(|value| Var::Text(clean(value)))
    }

    /// Sets a variable. What is not known is called by the variable's own name where it has no better one, and the user's
    /// word for it counts.
    pub(super) fn set(&mut self, name: &str, var: Var) -> Result<(), LaunchError> {
        self.charge(var.size() + name.len())?;
        let var = match var {
            Var::Text(text) if only_mark(&text) && marks(&text).all(|body| body.starts_with('?')) => {
                let known = self.inputs.env.get(name).map(|value| clean(value));
                Var::Text(known.unwrap_or_else(|| unknown(&[format!("={name}")])))
            }
            other => other,
        };
        self.world.vars.insert(name.to_owned(), var);
        Ok(())
    }

    /// Whether the names a mark stands for are variables that nobody set: in an environment without them they are empty.
    pub(super) fn is_unset_mark(text: &str) -> bool {
        only_mark(text)
            && marks(text).all(|body| {
                choice_of(body).is_none()
                    && body.split('\u{1f}').all(|name| !name.starts_with(['?', '#', '=']))
            })
    }

    /// The names that `text` depends on.
    pub(super) fn causes(&self, text: &str) -> Vec<String> {
        let mut names = Vec::new();
        for body in marks(text).take(16) {
            match choice_of(body) {
                Some(choice) => {
                    let condition = self.choices.get(choice).map(|choice| choice.condition);
                    names.extend(
                        condition
                            .and_then(|at| self.conditions.get(at))
                            .map(|condition| condition.causes.clone())
                            .unwrap_or_default(),
                    );
                }
                None => names.extend(body.split('\u{1f}').map(str::to_owned)),
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Opens a condition with that many branches.
    pub(super) fn condition(&mut self, condition: Condition) -> Result<usize, LaunchError> {
        if self.conditions.len() >= MAX_CONDITIONS {
            return Err(
                self.too_much("the number of conditions that are not known", MAX_CONDITIONS.to_string())
            );
        }
        self.conditions.push(condition);
        Ok(self.conditions.len() - 1)
    }

    /// A mark for one value per branch.
    pub(super) fn choice(&mut self, condition: usize, arms: Vec<Var>) -> Result<String, LaunchError> {
        self.charge(arms.iter().map(Var::size).sum::<usize>() + 32)?;
        self.choices.push(Fork { condition, arms });
        Ok(format!("{OPEN}#{}{CLOSE}", self.choices.len() - 1))
    }

    /// The only condition that the marks of these texts depend on; `None` if there are others, or unknown names.
    pub(super) fn only_condition<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Option<usize> {
        let mut found = None;
        for body in texts.flat_map(marks) {
            let condition = self.choices.get(choice_of(body)?)?.condition;
            if found.is_some_and(|other| other != condition) {
                return None;
            }
            found = Some(condition);
        }
        found
    }

    /// `text` as branch `arm` of `condition` has it.
    pub(super) fn in_arm(&mut self, text: &str, condition: usize, arm: usize) -> Result<String, LaunchError> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(OPEN) {
            out.push_str(&rest[..at]);
            let body = &rest[at + OPEN.len_utf8()..];
            let end = body.find([CLOSE, CLOSE_QUOTED]).unwrap_or(body.len());
            let after = end + CLOSE.len_utf8().min(body.len() - end);
            let choice = choice_of(&body[..end]).and_then(|at| self.choices.get(at));
            match choice
                .filter(|choice| choice.condition == condition)
                .and_then(|choice| choice.arms.get(arm))
            {
                Some(var) => out.push_str(&var.elements().join(" ")),
                None => {
                    out.push(OPEN);
                    out.push_str(&body[..after]);
                }
            }
            rest = &body[after..];
            self.charge(out.len() / 16 + 1)?;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// What `function` makes of `text`, branch by branch where it depends on one condition.
    pub(super) fn map(
        &mut self,
        text: &str,
        function: &dyn Fn(&str) -> Option<String>,
    ) -> Result<String, LaunchError> {
        if !is_unknown(text) {
            return Ok(function(text).unwrap_or_else(|| unknown(&[format!("?{text}")])));
        }
        let Some(condition) = self.only_condition(std::iter::once(text)) else {
            return Ok(unknown(&self.causes(text)));
        };
        let mut arms = Vec::new();
        for arm in 0..self.conditions[condition].arms {
            let value = self.in_arm(text, condition, arm)?;
            let value = if is_unknown(&value) { None } else { function(&value) };
            arms.push(Var::Text(value.unwrap_or_else(|| unknown(&self.causes(text)))));
        }
        self.choice(condition, arms)
    }
}
