//! Loops.

use super::run::{At, Ending};
use super::state::Shell;
use super::test::Truth;
use super::value::Var;
use crate::error::LaunchError;

/// Turns of one loop that are followed.
const MAX_TURNS: u32 = 4096;

impl Shell<'_> {
    pub(super) fn for_each(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        let children = at.children();
        let Some(name) = children.iter().find(|child| child.kind() == "variable_name") else {
            return Ok(Ending::Next);
        };
        let Some(body) =
            children.iter().find(|child| matches!(child.kind(), "do_group" | "compound_statement"))
        else {
            return Ok(Ending::Next);
        };
        let mut items = Vec::new();
        let mut inside = false;
        for child in &children {
            match child.kind() {
                "in" => inside = true,
                "do_group" | "compound_statement" | ";" => inside = false,
                _ if inside && child.node.is_named() => items.extend(self.words(child.str())?),
                _ => {}
            }
        }
        if !children.iter().any(|child| child.kind() == "in") {
            items = self.world.positional.clone();
        }
        for item in items {
            self.step()?;
            self.set(name.str(), Var::Text(item))?;
            match self.statement(*body)? {
                Ending::Break => break,
                Ending::Next | Ending::Continue => {}
                other => return Ok(other),
            }
        }
        Ok(Ending::Next)
    }

    pub(super) fn for_count(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        let text = at.str();
        let Some(head) =
            text.split_once("((").and_then(|(_, rest)| rest.split_once("))")).map(|(head, _)| head)
        else {
            return Ok(Ending::Next);
        };
        let parts: Vec<&str> = head.splitn(3, ';').collect();
        let (Some(first), Some(test), Some(step)) = (parts.first(), parts.get(1), parts.get(2)) else {
            return Ok(Ending::Next);
        };
        let children = at.children();
        let Some(body) =
            children.iter().find(|child| matches!(child.kind(), "do_group" | "compound_statement"))
        else {
            return Ok(Ending::Next);
        };
        self.expression(first)?;
        for _ in 0..MAX_TURNS {
            self.step()?;
            match self.expression(test)? {
                Truth::Yes => {}
                Truth::No => return Ok(Ending::Next),
                Truth::Open(causes) => {
                    self.not_entered(at.line(), &causes);
                    return Ok(Ending::Next);
                }
            }
            match self.statement(*body)? {
                Ending::Break => return Ok(Ending::Next),
                Ending::Next | Ending::Continue => {}
                other => return Ok(other),
            }
            self.expression(step)?;
        }
        Ok(Ending::Next)
    }

    pub(super) fn repeat(&mut self, at: At<'_>) -> Result<Ending, LaunchError> {
        let children = at.children();
        let until = children.first().is_some_and(|child| child.kind() == "until");
        let Some(place) = children.iter().position(|child| child.kind() == "do_group") else {
            return Ok(Ending::Next);
        };
        let condition = &children[1..place];
        for _ in 0..MAX_TURNS {
            self.step()?;
            match (self.condition_of(condition)?, until) {
                (Truth::Yes, false) | (Truth::No, true) => {}
                (Truth::Open(causes), _) => {
                    self.not_entered(at.line(), &causes);
                    return Ok(Ending::Next);
                }
                _ => return Ok(Ending::Next),
            }
            match self.statement(children[place])? {
                Ending::Break => return Ok(Ending::Next),
                Ending::Next | Ending::Continue => {}
                other => return Ok(other),
            }
        }
        Ok(Ending::Next)
    }

    fn not_entered(&mut self, line: u32, causes: &[String]) {
        // Without arguments a loop over them has no turn; anything else is worth a word.
        if causes != ["#"] {
            self.note(format!("line {line}: the loop was not entered, for its condition is not known"));
        }
    }
}
