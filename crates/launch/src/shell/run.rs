//! Statements, one after the other.

use super::state::{Shell, World};
use super::test::Truth;
use super::value::{Condition, Var, clean, is_unknown, unknown};
use super::{fault, parse, pattern};
use crate::error::LaunchError;
use std::collections::BTreeSet;
use tree_sitter::Node;

/// How a statement ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The next one follows.
    Next,
    /// The loop ends.
    Break,
    /// The loop's next turn begins.
    Continue,
    /// The function ends.
    Return,
    /// The script ends.
    Exit,
}

/// A node and the text it lies in, with the line the text begins on.
#[derive(Clone, Copy)]
pub(super) struct At<'t> {
    pub node: Node<'t>,
    pub text: &'t str,
    pub first: u32,
}

impl<'t> At<'t> {
    pub fn of(self, node: Node<'t>) -> Self {
        Self { node, ..self }
    }

    pub fn str(self) -> &'t str {
        self.text.get(self.node.byte_range()).unwrap_or("")
    }

    pub fn line(self) -> u32 {
        self.first + u32::try_from(self.node.start_position().row).unwrap_or(0)
    }

    pub fn children(self) -> Vec<Self> {
        let mut cursor = self.node.walk();
        self.node.children(&mut cursor).map(|child| self.of(child)).collect()
    }

    pub fn kind(self) -> &'static str {
        self.node.kind()
    }
}

/// A branch of a condition: statements to follow.
enum Arm<'t> {
    Body(Vec<At<'t>>),
    Clauses(&'t [Clause<'t>]),
    Nothing,
}

/// A condition (none for `else`) and its statements.
struct Clause<'t> {
    condition: Vec<At<'t>>,
    body: Vec<At<'t>>,
    line: u32,
}

impl Shell<'_> {
    /// Follows a text that begins on line `first`.
    pub(super) fn text(&mut self, text: &str, first: u32) -> Result<Ending, LaunchError> {
        self.charge(text.len() * 8)?;
        self.down()?;
        let result = self.text_inner(text, first);
        self.up();
        result
    }

    fn text_inner(&mut self, text: &str, first: u32) -> Result<Ending, LaunchError> {
        let tree = parse(text).ok_or_else(|| LaunchError::Syntax {
            place: self.place(),
            why: "the shell parser gave up on it".to_owned(),
        })?;
        let root = At { node: tree.root_node(), text, first };
        if let Some(node) = fault(root.node) {
            let at = root.of(node);
            self.line = at.line();
            let shown: String = at.str().chars().take_while(|c| *c != '\n').take(60).collect();
            let missing = if node.is_missing() {
                format!("`{}` is missing", node.kind())
            } else {
                format!("`{shown}`")
            };
            return Err(LaunchError::Syntax {
                place: self.place(),
                why: format!("this is no bash that can be followed: {missing}"),
            });
        }
        self.all(&root.children())
    }

    /// Statements in order, up to one that ends them.
    pub(super) fn all(&mut self, nodes: &[At<'_>]) -> Result<Ending, LaunchError> {
        for node in nodes {
            let flow = self.statement(*node)?;
            if flow != Ending::Next {
                return Ok(flow);
            }
        }
        Ok(Ending::Next)
    }

    pub(super) fn statement(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        if !at.node.is_named() || at.kind() == "comment" {
            return Ok(Ending::Next);
        }
        self.step()?;
        self.down()?;
        self.line = at.line();
        let result = self.statement_inner(at);
        self.up();
        result
    }

    fn statement_inner(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        match at.kind() {
            "variable_assignment" => self.assign(at, false).map(|()| Ending::Next),
            "variable_assignments" => {
                at.children().into_iter().try_for_each(|child| self.assign(child, false))?;
                Ok(Ending::Next)
            }
            "declaration_command" => self.declare(at).map(|()| Ending::Next),
            "unset_command" => {
                for child in at.children() {
                    self.world.vars.remove(child.str());
                }
                Ok(Ending::Next)
            }
            "if_statement" => {
                let clauses = clauses(at);
                self.clauses(&clauses)
            }
            "case_statement" => self.case(at),
            "for_statement" => self.for_each(at),
            "c_style_for_statement" => self.for_count(at),
            "while_statement" => self.repeat(at),
            "function_definition" => {
                let children = at.children();
                let name = children.iter().find(|child| child.kind() == "word");
                let body = children.iter().rev().find(|child| child.node.is_named());
                if let (Some(name), Some(body)) = (name, body) {
                    self.charge(body.str().len())?;
                    let kept = (body.str().to_owned(), body.line());
                    self.world.functions.insert(name.str().to_owned(), kept);
                }
                Ok(Ending::Next)
            }
            "compound_statement" if at.str().starts_with("((") => {
                self.condition_of(&[at])?;
                Ok(Ending::Next)
            }
            "compound_statement" | "do_group" => self.all(&at.children()),
            "subshell" => {
                let kept = self.world.clone();
                self.charge(world_size(&kept))?;
                let flow = self.all(&at.children())?;
                self.world = kept;
                Ok(if flow == Ending::Exit { Ending::Next } else { flow })
            }
            "list" | "negated_command" | "test_command" => self.list(at),
            "pipeline" => {
                let children = at.children();
                let parts = children.iter().filter(|child| child.node.is_named());
                for part in parts {
                    self.statement(*part)?;
                }
                Ok(Ending::Next)
            }
            "redirected_statement" | "command" => self.command(at),
            _ => Ok(Ending::Next),
        }
    }

    fn clauses(&mut self, clauses: &[Clause<'_>]) -> Result<Ending, LaunchError> {
        let Some((clause, rest)) = clauses.split_first() else { return Ok(Ending::Next) };
        self.line = clause.line;
        if clause.condition.is_empty() {
            return self.all(&clause.body);
        }
        match self.condition_of(&clause.condition)? {
            Truth::Yes => self.all(&clause.body),
            Truth::No => self.clauses(rest),
            Truth::Open(causes) => {
                let text = clause.condition.iter().map(|at| at.str()).collect::<Vec<_>>().join(" ");
                let condition = self.open(clause.line, &text, causes, Vec::new(), 2)?;
                let otherwise = if rest.is_empty() { Arm::Nothing } else { Arm::Clauses(rest) };
                self.branch(condition, &[Arm::Body(clause.body.clone()), otherwise])
            }
        }
    }

    fn open(
        &mut self,
        line: u32,
        text: &str,
        causes: Vec<String>,
        known: Vec<String>,
        arms: usize,
    ) -> Result<usize, LaunchError> {
        let text = text.lines().next().unwrap_or("").chars().take(80).collect();
        self.condition(Condition { line, text, causes, known, arms })
    }

    /// Follows every branch of a condition that is not known and joins what they leave.
    fn branch(&mut self, condition: usize, arms: &[Arm<'_>]) -> Result<Ending, LaunchError> {
        let before = self.world.clone();
        if let Some(output) = &mut self.output {
            *output = None;
        }
        let mut ends: Vec<Option<World>> = Vec::new();
        let mut flows = Vec::new();
        self.down()?;
        for (index, arm) in arms.iter().enumerate() {
            self.charge(world_size(&before))?;
            self.world = before.clone();
            self.guards.push((condition, index));
            let flow = match arm {
                Arm::Body(body) => self.all(body),
                Arm::Clauses(clauses) => self.clauses(clauses),
                Arm::Nothing => Ok(Ending::Next),
            };
            self.guards.pop();
            let flow = flow?;
            flows.push(flow);
            ends.push((flow != Ending::Exit).then(|| std::mem::take(&mut self.world)));
        }
        self.up();
        let left: Vec<&World> = ends.iter().flatten().collect();
        let Some(first) = left.first() else {
            self.world = before;
            return Ok(Ending::Exit);
        };
        if left.len() < arms.len() {
            let seen = &self.conditions[condition];
            let note =
                format!("line {}: where `{}` ends the script, it was taken not to", seen.line, seen.text);
            self.note(note);
        }
        let mut joined = World { files: before.files, ..(*first).clone() };
        for world in &left {
            joined.files.extend(world.files.iter().map(|(name, text)| (name.clone(), text.clone())));
            joined.functions.extend(world.functions.iter().map(|(name, body)| (name.clone(), body.clone())));
        }
        self.join(&mut joined, condition, &ends)?;
        self.world = joined;
        let all = |wanted: Ending| flows.iter().all(|flow| *flow == wanted || *flow == Ending::Exit);
        Ok([Ending::Return, Ending::Break, Ending::Continue]
            .into_iter()
            .find(|flow| all(*flow))
            .unwrap_or(Ending::Next))
    }

    /// Variables that the branches leave different become choices.
    fn join(
        &mut self,
        joined: &mut World,
        condition: usize,
        ends: &[Option<World>],
    ) -> Result<(), LaunchError> {
        let left: Vec<&World> = ends.iter().flatten().collect();
        let names: BTreeSet<&String> = left.iter().flat_map(|world| world.vars.keys()).collect();
        for name in names {
            let values: Vec<Option<&Var>> = left.iter().map(|world| world.vars.get(name)).collect();
            if values.iter().all(|value| *value == values[0]) {
                if let Some(value) = values[0] {
                    joined.vars.insert(name.clone(), value.clone());
                }
                continue;
            }
            let outside = match self.inputs.env.get(name) {
                Some(value) => clean(value),
                None => unknown(std::slice::from_ref(name)),
            };
            let arms = ends
                .iter()
                .map(|end| match end {
                    Some(world) => {
                        world.vars.get(name).cloned().unwrap_or_else(|| Var::Text(outside.clone()))
                    }
                    // A branch that ends the script leaves no value; that of another stands for it.
                    None => {
                        values.iter().flatten().next().map_or(Var::Text(String::new()), |var| (*var).clone())
                    }
                })
                .collect();
            let mark = self.choice(condition, arms)?;
            joined.vars.insert(name.clone(), Var::Text(mark));
        }
        Ok(())
    }

    fn case(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        let children = at.children();
        let Some(subject) = children.iter().find(|child| child.node.is_named()) else {
            return Ok(Ending::Next);
        };
        let value = self.single(subject.str())?;
        let items: Vec<(Vec<String>, Vec<At<'_>>)> = children
            .iter()
            .filter(|child| child.kind() == "case_item")
            .map(|item| {
                let parts = item.children();
                let close = parts.iter().position(|part| part.kind() == ")").unwrap_or(0);
                let patterns = parts[..close].iter().filter(|part| part.node.is_named());
                (patterns.map(|part| part.str().to_owned()).collect(), parts[close..].to_vec())
            })
            .collect();
        if !is_unknown(&value) {
            for (patterns, body) in &items {
                for text in patterns {
                    let wanted = self.single(text)?;
                    if is_unknown(&wanted) || pattern::matches(&wanted, &value) {
                        return self.all(body);
                    }
                }
            }
            return Ok(Ending::Next);
        }
        let known =
            items.iter().flat_map(|(patterns, _)| patterns.clone()).filter(|text| text != "*").take(12);
        let known = known.map(|text| text.trim_matches(['"', '\'']).to_owned()).collect();
        let causes = self.causes(&value);
        let whole = items.iter().any(|(patterns, _)| patterns.iter().any(|text| text == "*"));
        let mut arms: Vec<Arm<'_>> = items.into_iter().map(|(_, body)| Arm::Body(body)).collect();
        if !whole {
            arms.push(Arm::Nothing);
        }
        let text = format!("case {}", subject.str());
        let condition = self.open(at.line(), &text, causes, known, arms.len())?;
        self.branch(condition, &arms)
    }

    /// `a && b`, `a || b`, `! a`, `[ a ]` as statements.
    fn list(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        let children = at.children();
        let operator =
            children.iter().find(|child| matches!(child.kind(), "&&" | "||")).map(|child| child.kind());
        let Some(operator) = operator else {
            self.condition_of(&[at])?;
            return Ok(Ending::Next);
        };
        let (left, right) = (children[0], children[children.len() - 1]);
        let (truth, flow) = self.truth_of(left)?;
        if flow != Ending::Next {
            return Ok(flow);
        }
        match (truth, operator) {
            (Truth::Yes, "&&") | (Truth::No, "||") => self.statement(right),
            (Truth::Open(causes), _) => {
                let condition = self.open(left.line(), left.str(), causes, Vec::new(), 2)?;
                self.branch(condition, &[Arm::Body(vec![right]), Arm::Nothing])
            }
            _ => Ok(Ending::Next),
        }
    }
}

fn clauses(at: At<'_>) -> Vec<Clause<'_>> {
    let mut out = vec![Clause { condition: Vec::new(), body: Vec::new(), line: at.line() }];
    let mut in_condition = true;
    for child in at.children() {
        match child.kind() {
            "if" | "elif" | "else" | "fi" | ";" => {}
            "then" => in_condition = false,
            "elif_clause" | "else_clause" => out.extend(clauses(child)),
            _ if child.kind() == "comment" => {}
            _ => {
                if let Some(clause) = out.first_mut() {
                    let list = if in_condition && at.kind() != "else_clause" {
                        &mut clause.condition
                    } else {
                        &mut clause.body
                    };
                    list.push(child);
                }
            }
        }
    }
    out
}

pub(super) fn world_size(world: &World) -> usize {
    world.vars.iter().map(|(name, var)| name.len() + var.size() + 32).sum::<usize>()
        + world.files.values().map(String::len).sum::<usize>()
        + world.functions.values().map(|(text, _)| text.len()).sum::<usize>()
        + 64
}
