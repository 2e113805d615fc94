//! As much of the shell as launch scripts use: variables, arrays, quotes, comments, continued lines, arithmetic.

use super::arithmetic;
use std::collections::BTreeMap;

/// What a script sets and runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Script {
    variables: BTreeMap<String, Vec<String>>,
    commands: Vec<Vec<String>>,
    /// What was assumed.
    pub notes: Vec<String>,
    /// Depth of branches not taken.
    skipping: u32,
    /// Open conditionals, each with whether a branch has been taken.
    branches: Vec<bool>,
}

/// Reads a script.
pub(super) fn read(text: &str) -> Script {
    let mut script = Script::default();
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    for statement in statements(&joined) {
        script.statement(&statement);
    }
    script
}

/// Splits at ends of lines and semicolons that are outside quotes and parentheses; comments go.
fn statements(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let (mut quote, mut depth) = (None, 0u32);
    let mut previous = '\n';
    let mut comment = false;
    for c in text.chars() {
        if comment {
            comment = c != '\n';
            if comment {
                continue;
            }
        }
        match (quote, c) {
            (Some(open), _) if c == open && previous != '\\' => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') if previous != '\\' => quote = Some(c),
            (None, '#') if previous.is_whitespace() || previous == ';' || previous == '(' => {
                comment = true;
                continue;
            }
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, '\n' | ';') if depth == 0 => {
                out.push(String::new());
                previous = c;
                continue;
            }
            _ => {}
        }
        if let Some(last) = out.last_mut() {
            last.push(if c == '\n' { ' ' } else { c });
        }
        previous = c;
    }
    out.retain(|statement| !statement.trim().is_empty());
    out
}

impl Script {
    fn statement(&mut self, text: &str) {
        let mut text = text.trim();
        for word in ["then", "do"] {
            if let Some(rest) =
                text.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(' '))
            {
                text = rest.trim();
            }
        }
        let first = text.split_whitespace().next().unwrap_or("");
        match first {
            "if" => return self.open_branch(),
            "elif" | "else" => {
                if self.skipping == 0 && self.branches.last() == Some(&true) {
                    self.skipping = 1;
                }
                if let Some(rest) = text.strip_prefix("else").filter(|rest| !rest.trim().is_empty()) {
                    self.statement(rest);
                }
                return;
            }
            "fi" => return self.close_branch(),
            "" | "for" | "while" | "done" | "case" | "esac" | "{" | "}" | "function" | "set" | "source"
            | "." | "cd" | "echo" => {
                return;
            }
            _ => {}
        }
        if self.skipping > 0 {
            return;
        }
        let text = text.strip_prefix("export ").or(text.strip_prefix("local ")).unwrap_or(text).trim();
        if !self.assignment(text) {
            let words = self.words(text);
            if !words.is_empty() {
                self.commands.push(words);
            }
        }
    }

    fn open_branch(&mut self) {
        if self.skipping > 0 {
            self.skipping += 1;
            return;
        }
        if self.branches.is_empty() {
            self.notes.push("conditions were not evaluated: the first branch of each was taken".to_owned());
        }
        self.branches.push(true);
    }

    fn close_branch(&mut self) {
        match self.skipping {
            0 | 1 => {
                self.skipping = 0;
                self.branches.pop();
            }
            _ => self.skipping -= 1,
        }
    }

    /// `NAME=value`, `NAME=(...)` and their `+=`; true if the text is only assignments.
    fn assignment(&mut self, text: &str) -> bool {
        let Some(at) = text.find('=') else { return false };
        let (name, append) = match text[..at].strip_suffix('+') {
            Some(name) => (name, true),
            None => (&text[..at], false),
        };
        let valid = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if !valid || name.starts_with(|c: char| c.is_ascii_digit()) {
            return false;
        }
        let value = text[at + 1..].trim_end();
        let inner = value.trim_start().strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
        if let Some(inner) = inner {
            let words = self.words(inner);
            self.store(name, words, append);
            return true;
        }
        let (own, rest) = split_word(value);
        let mut words = self.words(own);
        let joined = if words.len() == 1 { words.remove(0) } else { words.join(" ") };
        let joined =
            if append { format!("{}{joined}", self.lookup(name).unwrap_or_default()) } else { joined };
        let kept = self.variables.insert(name.to_owned(), vec![joined.clone()]);
        if rest.is_empty() {
            return true;
        }
        if self.assignment(rest) {
            return true;
        }
        // `NAME=value command ...`: the value holds for the command only.
        let command = self.words(rest);
        self.commands.push(command);
        match kept {
            Some(kept) => self.variables.insert(name.to_owned(), kept),
            None => self.variables.remove(name),
        };
        true
    }

    fn store(&mut self, name: &str, words: Vec<String>, append: bool) {
        let entry = self.variables.entry(name.to_owned()).or_default();
        if !append {
            entry.clear();
        }
        entry.extend(words);
    }

    fn lookup(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|words| words.join(" "))
    }

    /// Expands a statement into words.
    fn words(&self, text: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut current: Option<String> = None;
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        let mut quote = None;
        while at < chars.len() {
            let c = chars[at];
            at += 1;
            match (quote, c) {
                (Some(open), _) if c == open => quote = None,
                (Some('\''), _) => current.get_or_insert_default().push(c),
                (None, '"' | '\'') => {
                    quote = Some(c);
                    current.get_or_insert_default();
                }
                (_, '\\') if at < chars.len() => {
                    current.get_or_insert_default().push(chars[at]);
                    at += 1;
                }
                (_, '$') => {
                    let (values, next) = self.expand(&chars, at);
                    at = next;
                    append_values(&mut words, &mut current, values, quote.is_some());
                }
                (None, c) if c.is_whitespace() => words.extend(current.take()),
                (_, c) => current.get_or_insert_default().push(c),
            }
        }
        words.extend(current);
        words
    }

    /// The words that follow a `$` at `at - 1`, and where it ends.
    fn expand(&self, chars: &[char], at: usize) -> (Vec<String>, usize) {
        let rest: String = chars[at..].iter().collect();
        if let Some(inner) = rest.strip_prefix("((") {
            if let Some(end) = inner.find("))") {
                let value = arithmetic::evaluate(&inner[..end], &|name| self.lookup(name));
                let used = inner[..end].chars().count() + 4;
                return (vec![value.map_or(String::new(), |value| value.to_string())], at + used);
            }
        }
        if rest.starts_with('(') {
            let end = matching(chars, at, '(', ')');
            return (Vec::new(), end);
        }
        if rest.starts_with('{') {
            let end = matching(chars, at, '{', '}');
            let inner: String = chars[at + 1..end.saturating_sub(1).max(at + 1)].iter().collect();
            return (self.braced(&inner), end);
        }
        let name: String =
            chars[at..].iter().take_while(|c| c.is_ascii_alphanumeric() || **c == '_').collect();
        let value = self.lookup(&name).map(|value| vec![value]).unwrap_or_default();
        (value, at + name.chars().count())
    }

    /// The inside of `${...}`.
    fn braced(&self, inner: &str) -> Vec<String> {
        let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
        let (name, modifier) = inner.split_at(end);
        if modifier == "[@]" || modifier == "[*]" {
            return self.variables.get(name).cloned().unwrap_or_default();
        }
        if let Some(value) = self.lookup(name).filter(|value| !value.is_empty()) {
            return vec![value];
        }
        let default = [":-", ":=", "-", "="].iter().find_map(|operator| modifier.strip_prefix(operator));
        default.map(|default| self.words(default)).unwrap_or_default()
    }

    /// The words of the launcher and those of the training program, of the command with the most flags.
    pub fn training_command(&self) -> (Vec<String>, Vec<String>) {
        let flags = |words: &Vec<String>| words.iter().filter(|word| word.starts_with("--")).count();
        let Some(words) = self.commands.iter().max_by_key(|words| flags(words)) else {
            return (Vec::new(), Vec::new());
        };
        match words.iter().rposition(|word| word.ends_with(".py")) {
            Some(program) => (words[..program].to_vec(), words[program + 1..].to_vec()),
            None => (Vec::new(), words.clone()),
        }
    }
}

/// Puts expanded values behind the word being built; outside quotes they are split at blanks.
fn append_values(words: &mut Vec<String>, current: &mut Option<String>, values: Vec<String>, quoted: bool) {
    let pieces: Vec<String> = if quoted {
        values
    } else {
        values.iter().flat_map(|value| value.split_whitespace().map(str::to_owned)).collect()
    };
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 {
            words.extend(current.take());
        }
        current.get_or_insert_default().push_str(&piece);
    }
}

/// The first word of `text` as it stands, quotes and brackets respected, and the rest.
fn split_word(text: &str) -> (&str, &str) {
    let (mut quote, mut depth) = (None, 0i32);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '{') => depth += 1,
            (None, ')' | '}') => depth -= 1,
            (None, c) if c.is_whitespace() && depth <= 0 => return (&text[..at], text[at..].trim()),
            _ => {}
        }
    }
    (text, "")
}

/// Position after the bracket that closes the one at `at`.
fn matching(chars: &[char], at: usize, open: char, close: char) -> usize {
    let mut depth = 0;
    for (index, c) in chars.iter().enumerate().skip(at) {
        if *c == open {
            depth += 1;
        } else if *c == close {
            depth -= 1;
            if depth == 0 {
                return index + 1;
            }
        }
    }
    chars.len()
}
