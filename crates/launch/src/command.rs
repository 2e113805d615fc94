//! Which of a script's commands is the one to be read, and whether its reading depends on what is not known.

use crate::error::{LaunchError, Location};
use crate::flags::{FlagTable, FlagValues, Meaning};
use crate::inputs::Inputs;
use crate::shell::{Ran, Shell};
use std::collections::BTreeMap;

/// A command to be read.
pub(crate) struct Invocation<'s> {
    /// Words of what launches it: `torchrun --nnodes 4`, `srun -N 4`.
    pub launcher: FlagValues,
    /// The launcher's words as they are.
    pub launcher_words: &'s [String],
    /// The program's own words.
    pub words: &'s [String],
    /// Its flags.
    pub values: FlagValues,
    /// Where it stands.
    pub place: Location,
}

/// How commands of a kind are known and read.
pub(crate) struct Wanted<'k> {
    /// Its flags.
    pub table: &'k FlagTable,
    /// Where the program's own words begin; `None` if the command is of another kind.
    pub begins: &'k dyn Fn(&[String]) -> Option<usize>,
    /// Flags it must have at least, of those that are read.
    pub least: usize,
    /// What was looked for, for the error.
    pub looked_for: &'k str,
}

/// Reads the command of a script with `read`, in every way that conditions nobody knows may let it come out.
///
/// # Errors
/// There is no such command, `read` refuses it, or what it reads depends on a condition that nobody knows.
pub(crate) fn read_script<T: PartialEq>(
    file: &str,
    text: &str,
    inputs: &Inputs<'_>,
    kind: &Wanted<'_>,
    read: &dyn Fn(&Invocation<'_>, &Shell<'_>) -> Result<T, LaunchError>,
) -> Result<(T, Vec<String>), LaunchError> {
    let mut shell = crate::shell::follow(file, text, inputs)?;
    let lines = Lines::new(text);
    let candidates = candidates(&mut shell, kind)?;
    let Some(chosen) = candidates.first().cloned() else {
        return Err(LaunchError::NoCommand { file: file.to_owned(), why: kind.looked_for.to_owned() });
    };
    let one = |shell: &mut Shell<'_>, ran: &Ran, picks: &dyn Fn(usize) -> usize| {
        let words = shell.resolve(&ran.words, picks)?;
        let words = tidy(shell, words);
        let begin = (kind.begins)(&words).unwrap_or(0);
        let place = |flag: &str| Location::new(file, lines.of(flag, ran.line));
        let home = Location::new(file, ran.line);
        let (launcher_words, own) = words.split_at(begin);
        let command = Invocation {
            launcher: FlagValues::collect(launcher_words, home.clone(), &place),
            launcher_words,
            words: own,
            values: FlagValues::collect(own, home.clone(), &place),
            place: home,
        };
        read(&command, shell)
    };
    let result = one(&mut shell, &chosen, &|_| 0)?;
    for condition in shell.open_conditions(&chosen.words) {
        for arm in 1..shell.conditions[condition].arms {
            let other = one(&mut shell, &chosen, &|seen| if seen == condition { arm } else { 0 });
            if other.as_ref().ok() != Some(&result) {
                return Err(shell.ask(condition));
            }
        }
    }
    // The same command in another branch of the same condition would be run instead.
    for (condition, arm) in &chosen.guards {
        let others: Vec<Ran> = candidates
            .iter()
            .filter(|ran| ran.guards.iter().any(|(other, own)| other == condition && own != arm))
            .cloned()
            .collect();
        for other in others {
            if one(&mut shell, &other, &|_| 0).as_ref().ok() != Some(&result) {
                return Err(shell.ask(*condition));
            }
        }
    }
    Ok((result, notes(&shell, &candidates, &chosen)))
}

fn notes(shell: &Shell<'_>, candidates: &[Ran], chosen: &Ran) -> Vec<String> {
    let mut notes = shell.notes.clone();
    let rivals = candidates.iter().filter(|ran| ran.guards.is_empty() && ran.words != chosen.words).count();
    if rivals > 0 && chosen.guards.is_empty() {
        notes.push(format!(
            "{} commands of this kind are run; the one of line {} was read",
            rivals + 1,
            chosen.line
        ));
    }
    if let Some((condition, _)) = chosen.guards.first() {
        let seen = &shell.conditions[*condition];
        notes.push(format!(
            "the command of line {} is run only if `{}` (line {}) lets it",
            chosen.line, seen.text, seen.line
        ));
    }
    let defaults: Vec<String> = shell
        .defaults
        .iter()
        .filter(|(_, value)| !value.is_empty() && value.len() < 40)
        .map(|(name, value)| format!("{name}={value}"))
        .take(20)
        .collect();
    if !defaults.is_empty() {
        notes.push(format!(
            "defaults of the script were taken: {} (--env and --arg set others)",
            defaults.join(" ")
        ));
    }
    let empties: Vec<&str> = shell
        .empties
        .iter()
        .map(String::as_str)
        .filter(|name| !name.starts_with(['?', '#', '=']))
        .take(20)
        .collect();
    if !empties.is_empty() {
        notes.push(format!("taken as empty, for nobody sets them: {}", empties.join(" ")));
    }
    notes
}

/// Commands of the kind, the one with most of its flags first.
fn candidates(shell: &mut Shell<'_>, kind: &Wanted<'_>) -> Result<Vec<Ran>, LaunchError> {
    let mut found: Vec<(usize, Ran)> = Vec::new();
    for ran in std::mem::take(&mut shell.commands) {
        let words = shell.resolve(&ran.words, &|_| 0)?;
        let Some(begin) = (kind.begins)(&words) else { continue };
        let read = words[begin.min(words.len())..]
            .iter()
            .filter(|word| {
                let name = word.split('=').next().unwrap_or(word);
                name.starts_with('-') && kind.table.get(name) == Meaning::Read
            })
            .count();
        if read >= kind.least && !found.iter().any(|(_, other)| other.words == ran.words) {
            found.push((read, ran));
        }
    }
    // Stable: of equals the first.
    found.sort_by_key(|(read, _)| std::cmp::Reverse(*read));
    Ok(found.into_iter().map(|(_, ran)| ran).collect())
}

/// Leaves out words that are nothing but variables that nobody sets, where no flag waits for a value.
fn tidy(shell: &mut Shell<'_>, words: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(words.len());
    for word in words {
        // Behind `serve` a server's model is waited for.
        let waits = out.last().is_some_and(|last: &String| {
            last.starts_with('-') && !last.contains('=') || last == "serve" || last == "trtllm-serve"
        });
        if waits || !shell.left_out(&word) {
            out.push(word);
        }
    }
    out
}

/// On which lines flags stand in a text.
pub(crate) struct Lines<'t>(BTreeMap<&'t str, Vec<u32>>);

impl<'t> Lines<'t> {
    pub fn new(text: &'t str) -> Self {
        let mut map: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
        for (number, line) in (1u32..).zip(text.lines()) {
            if line.trim_start().starts_with('#') {
                continue;
            }
            for word in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_') {
                if word.starts_with('-') {
                    map.entry(word).or_default().push(number);
                }
            }
        }
        Self(map)
    }

    /// The line of a flag of the command on line `command`: the only one it stands on, else the last one not after it.
    pub fn of(&self, flag: &str, command: u32) -> u32 {
        let Some(lines) = self.0.get(flag) else { return command };
        lines.iter().rev().find(|line| **line <= command).or(lines.first()).copied().unwrap_or(command)
    }
}
