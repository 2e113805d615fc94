//! The ways a command may come out, one per branch of each condition that is not known.

use super::state::Shell;
use super::value::{CLOSE, CLOSE_QUOTED, OPEN, choice_of, marks, parted, unveil};
use crate::error::{LaunchError, Location};
use std::collections::BTreeSet;

/// Words a resolved command may have.
const MAX_WORDS: usize = 20_000;

impl Shell<'_> {
    /// Conditions that the words depend on, those of choices within choices included.
    pub(crate) fn open_conditions(&self, words: &[String]) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut conditions = BTreeSet::new();
        let mut todo: Vec<usize> = words.iter().flat_map(|word| marks(word)).filter_map(choice_of).collect();
        while let Some(at) = todo.pop() {
            let Some(choice) = self.choices.get(at).filter(|_| seen.insert(at)) else { continue };
            conditions.insert(choice.condition);
            for var in &choice.arms {
                todo.extend(
                    var.elements()
                        .iter()
                        .flat_map(|text| marks(text).filter_map(choice_of).collect::<Vec<_>>()),
                );
            }
        }
        conditions
    }

    /// The words with every choice made: branch `picks(condition)` of each.
    ///
    /// # Errors
    /// They grow beyond what is followed.
    pub(crate) fn resolve(
        &mut self,
        words: &[String],
        picks: &dyn Fn(usize) -> usize,
    ) -> Result<Vec<String>, LaunchError> {
        let mut out = Vec::new();
        // A stack instead of recursion: the depth of choices within choices is the script's.
        let mut todo: Vec<String> = words.iter().rev().cloned().collect();
        while let Some(word) = todo.pop() {
            if out.len() > MAX_WORDS {
                return Err(LaunchError::TooMuch {
                    place: self.place(),
                    what: "the number of words of its command",
                    cap: MAX_WORDS.to_string(),
                });
            }
            self.charge(word.len() + 8)?;
            match self.first_choice(&word, picks) {
                Some(pieces) => todo.extend(pieces.into_iter().rev()),
                None => out.push(word),
            }
        }
        Ok(out)
    }

    /// The words that a word becomes when its first choice is made.
    fn first_choice(&self, word: &str, picks: &dyn Fn(usize) -> usize) -> Option<Vec<String>> {
        let mut from = 0;
        while let Some(at) = word[from..].find(OPEN).map(|at| at + from) {
            let body = at + OPEN.len_utf8();
            let end = word[body..].find([CLOSE, CLOSE_QUOTED]).map(|end| end + body)?;
            let after = end + CLOSE.len_utf8();
            let choice = choice_of(&word[body..end]).and_then(|at| self.choices.get(at));
            let Some(choice) = choice else {
                from = after;
                continue;
            };
            let var = choice.arms.get(picks(choice.condition)).or(choice.arms.first())?;
            let quoted = word[end..].starts_with(CLOSE_QUOTED);
            let elements = var.elements();
            let pieces: Vec<String> = if quoted && elements.len() == 1 {
                elements
            } else {
                elements.iter().flat_map(|text| split(text)).collect()
            };
            return Some(surround(&word[..at], pieces, &word[after..]));
        }
        None
    }

    /// What to give so that a condition is known.
    pub(crate) fn ask(&self, condition: usize) -> LaunchError {
        let Some(seen) = self.conditions.get(condition) else {
            return LaunchError::NoCommand {
                file: self.file.clone(),
                why: "a condition is not known".to_owned(),
            };
        };
        let known = if seen.known.is_empty() {
            String::new()
        } else {
            format!(" (the script knows {})", seen.known.join(", "))
        };
        LaunchError::Ask {
            place: Location::new(&self.file, seen.line),
            what: format!("which branch of `{}` is taken changes the answer{known}", seen.text),
            ask: ask_for(&seen.causes),
        }
    }
}

/// Splits at blanks, but not within marks.
fn split(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for c in parted(text) {
        match (c, out.last_mut()) {
            (Some(c), Some(last)) => last.push(c),
            _ => out.push(String::new()),
        }
    }
    out.retain(|word| !word.is_empty());
    out
}

fn surround(before: &str, mut pieces: Vec<String>, after: &str) -> Vec<String> {
    if pieces.is_empty() && !(before.is_empty() && after.is_empty()) {
        pieces.push(String::new());
    }
    if let Some(first) = pieces.first_mut() {
        first.insert_str(0, before);
    }
    if let Some(last) = pieces.last_mut() {
        last.push_str(after);
    }
    pieces
}

/// How the user names what is missing.
pub(crate) fn ask_for(causes: &[String]) -> String {
    let mut parts = Vec::new();
    for cause in causes.iter().take(6) {
        let cause = unveil(cause);
        parts.push(match cause.strip_prefix('?') {
            Some(command) => {
                format!("only the machine knows `{}`: set what it decides in the script", command.trim())
            }
            None if cause == "#" => "give the script's arguments, such as --arg 1=VALUE".to_owned(),
            None if cause.bytes().all(|b| b.is_ascii_digit()) => format!("give --arg {cause}=VALUE"),
            None => format!("give --env {}=VALUE", cause.trim_start_matches('=')),
        });
    }
    if parts.is_empty() { "set it in the script".to_owned() } else { parts.join(", ") }
}
