//! Shell scripts as bash reads them, followed without running anything.
//!
//! The grammar is tree-sitter-bash's; what is evaluated (variables, arithmetic, conditions, functions, loops) is a bounded
//! part of the language. A condition that only the environment decides is followed in all its branches, and what differs
//! after them stays a choice: it is asked for only if it matters to what is read.

mod arithmetic;
mod assign;
mod builtin;
mod expand;
mod loops;
mod parameter;
mod pattern;
mod run;
mod state;
mod test;
pub(crate) mod value;
pub(crate) mod variants;

pub(crate) use state::{Ran, Shell};

use crate::error::{LaunchError, Location};
use crate::inputs::{Inputs, MAX_TEXT};
use run::Ending;
use std::ops::ControlFlow;
use tree_sitter::{Node, ParseOptions, Parser, Tree};

/// Follows a script.
///
/// # Errors
/// It is no bash, or goes beyond what is followed.
pub(crate) fn follow<'a>(file: &str, text: &str, inputs: &'a Inputs<'a>) -> Result<Shell<'a>, LaunchError> {
    if text.len() > MAX_TEXT {
        return Err(LaunchError::TooMuch {
            place: Location::new(file, 0),
            what: "the size of the script",
            cap: format!("{} KiB", MAX_TEXT >> 10),
        });
    }
    let text = value::clean(text);
    let mut shell = Shell::new(file, inputs);
    shell.slurm(&text)?;
    let _: Ending = shell.text(&text, 1)?;
    Ok(shell)
}

/// Calls of the progress function (one per hundred operations of the parser) after which a text is given up.
const MAX_PARSER_CALLS: u32 = 200_000;

/// The syntax tree; `None` if the parser gives up.
fn parse(text: &str) -> Option<Tree> {
    let mut parser = Parser::new();
    parser.set_language(&tree_sitter_bash::LANGUAGE.into()).ok()?;
    let mut calls = 0;
    let mut progress = |_: &tree_sitter::ParseState| {
        calls += 1;
        if calls > MAX_PARSER_CALLS { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let options = ParseOptions::new().progress_callback(&mut progress);
    let bytes = text.as_bytes();
    parser.parse_with_options(&mut |at, _| bytes.get(at..).unwrap_or(&[]), None, Some(options))
}

/// The first part of the tree that is no bash.
fn fault(root: Node<'_>) -> Option<Node<'_>> {
    if !root.has_error() {
        return None;
    }
    let mut node = root;
    // Down to the smallest part that holds the fault; a loop, for the depth is the input's.
    loop {
        if node.is_error() || node.is_missing() {
            return Some(node);
        }
        let mut cursor = node.walk();
        let next = node.children(&mut cursor).find(|child| child.has_error() || child.is_missing());
        match next {
            Some(child) => node = child,
            None => return Some(node),
        }
    }
}

#[cfg(test)]
mod tests;
