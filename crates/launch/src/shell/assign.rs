//! Assignments and declarations.

use super::run::At;
use super::state::Shell;
use super::value::Var;
use crate::error::LaunchError;

impl Shell<'_> {
    /// `NAME=value`, `NAME=(...)`, `NAME[key]=value` and their `+=`.
    pub(super) fn assign(&mut self, at: At<'_>, local: bool) -> Result<(), LaunchError> {
        let children = at.children();
        let Some(target) = children.first() else { return Ok(()) };
        let append = children.iter().any(|child| child.kind() == "+=");
        let value = children.iter().skip(1).find(|child| child.node.is_named()).copied();
        if target.kind() == "subscript" {
            return self.assign_element(*target, value, append);
        }
        let name = target.str().to_owned();
        if local {
            self.remember_local(&name);
        }
        let old = self.world.vars.get(&name).cloned();
        let var = match value {
            Some(value) if value.kind() == "array" => {
                self.array(value, append.then_some(old).flatten(), &name)?
            }
            Some(value) => {
                let text = self.single(value.str())?;
                match old {
                    Some(Var::List(mut list)) if append => {
                        match list.first_mut() {
                            Some(first) => first.push_str(&text),
                            None => list.push(text),
                        }
                        Var::List(list)
                    }
                    Some(Var::Text(old)) if append => Var::Text(old + &text),
                    _ => Var::Text(text),
                }
            }
            None => Var::Text(String::new()),
        };
        self.set(&name, var)
    }

    pub(super) fn remember_local(&mut self, name: &str) {
        let old = self.world.vars.get(name).cloned();
        if let Some(frame) = self.locals.last_mut() {
            frame.push((name.to_owned(), old));
        }
    }

    fn assign_element(
        &mut self,
        target: At<'_>,
        value: Option<At<'_>>,
        append: bool,
    ) -> Result<(), LaunchError> {
        let text = target.str();
        let Some((name, key)) = text.split_once('[') else { return Ok(()) };
        let key = self.single(key.strip_suffix(']').unwrap_or(key))?;
        let value = match value {
            Some(value) => self.single(value.str())?,
            None => String::new(),
        };
        let mut var = self.world.vars.get(name).cloned().unwrap_or(Var::List(Vec::new()));
        match (&mut var, key.parse::<usize>()) {
            (Var::List(list), Ok(index)) if index <= list.len() => match list.get_mut(index) {
                Some(element) if append => element.push_str(&value),
                Some(element) => *element = value,
                None => list.push(value),
            },
            (Var::Map(map), _) => {
                let old = map.entry(key).or_default();
                *old = if append { format!("{old}{value}") } else { value };
            }
            _ => {
                var = Var::Map([(key, value)].into_iter().collect());
            }
        }
        self.set(name, var)
    }

    fn array(&mut self, at: At<'_>, old: Option<Var>, name: &str) -> Result<Var, LaunchError> {
        let map = matches!(self.world.vars.get(name), Some(Var::Map(_)));
        let mut list = old.as_ref().map(Var::elements).unwrap_or_default();
        let mut keyed = match old {
            Some(Var::Map(map)) => map,
            _ => std::collections::BTreeMap::new(),
        };
        for child in
            at.children().into_iter().filter(|child| child.node.is_named() && child.kind() != "comment")
        {
            self.step()?;
            let text = child.str();
            let pair = text.strip_prefix('[').and_then(|rest| rest.split_once("]="));
            if let Some((key, value)) = pair {
                let (key, value) = (self.single(key)?, self.single(value)?);
                keyed.insert(key, value);
                continue;
            }
            for word in self.words(text)? {
                self.charge(word.len() + 16)?;
                list.push(word);
            }
        }
        Ok(if map || !keyed.is_empty() { Var::Map(keyed) } else { Var::List(list) })
    }

    /// `export`, `declare`, `local`, `readonly`, `typeset`.
    pub(super) fn declare(&mut self, at: At<'_>) -> Result<(), LaunchError> {
        let children = at.children();
        let local = self.function_depth > 0
            && children.first().is_some_and(|word| matches!(word.kind(), "local" | "declare" | "typeset"));
        let map = children
            .iter()
            .any(|child| child.kind() == "word" && child.str().starts_with('-') && child.str().contains('A'));
        for child in children {
            match child.kind() {
                "variable_assignment" => {
                    if map && let Some(name) = child.children().first() {
                        self.world.vars.insert(name.str().to_owned(), Var::Map(Default::default()));
                    }
                    self.assign(child, local)?;
                }
                "variable_name" if local || map => {
                    if local {
                        self.remember_local(child.str());
                    }
                    let empty = if map { Var::Map(Default::default()) } else { Var::Text(String::new()) };
                    self.set(child.str(), empty)?;
                }
                "concatenation" | "string" | "word" if child.str().contains('=') => {
                    let text = self.single(child.str())?;
                    if let Some((name, value)) = text.split_once('=') {
                        let (name, value) = (name.to_owned(), value.to_owned());
                        self.set(&name, Var::Text(value))?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}
