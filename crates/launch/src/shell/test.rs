//! Conditions: `[ ... ]`, `[[ ... ]]`, `(( ... ))` and commands.

use super::pattern;
use super::run::{At, Ending};
use super::state::Shell;
use super::value::{Var, is_unknown};
use crate::error::LaunchError;

/// Whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Truth {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It depends on these names.
    Open(Vec<String>),
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::Yes } else { Self::No }
    }
}

impl Truth {
    fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            open @ Self::Open(_) => open,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, other) => other,
            (open, Self::Yes) => open,
            (Self::Open(mut names), Self::Open(more)) => {
                names.extend(more);
                Self::Open(names)
            }
        }
    }

    fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// A word of a test.
#[derive(Debug, Clone)]
enum Token {
    /// `&&`, `-f`, `==`, `(` ...
    Operator(String),
    /// A value, expanded.
    Word(String),
}

/// Programs whose success only the machine knows.
const ASKING: [&str; 12] = [
    "command",
    "which",
    "type",
    "hash",
    "grep",
    "egrep",
    "nvidia-smi",
    "npu-smi",
    "rocm-smi",
    "ping",
    "nc",
    "diff",
];

impl Shell<'_> {
    /// Whether the last of these statements succeeds; all are followed.
    pub(super) fn condition_of(&mut self, nodes: &[At<'_>]) -> Result<Truth, LaunchError> {
        let mut last = Truth::Yes;
        for node in nodes.iter().filter(|node| node.node.is_named() && node.kind() != "comment") {
            last = self.truth_of(*node)?.0;
        }
        Ok(last)
    }

    /// Whether a statement succeeds, and how it ends.
    pub(super) fn truth_of(&mut self, at: At<'_>) -> Result<(Truth, Ending), LaunchError> {
        self.down()?;
        let result = self.truth_inner(at);
        self.up();
        result
    }

    fn truth_inner(&mut self, at: At<'_>) -> Result<(Truth, Ending), LaunchError> {
        let truth = match at.kind() {
            "test_command" => self.test(at)?,
            "compound_statement" if at.str().starts_with("((") => {
                let inner = at.str().trim_start_matches("((").trim_end_matches("))").to_owned();
                self.expression(&inner)?
            }
            "negated_command" => {
                let children = at.children();
                match children.last() {
                    Some(inner) => self.truth_of(*inner)?.0.not(),
                    None => Truth::Yes,
                }
            }
            "list" => {
                let children = at.children();
                let left = self.truth_of(children[0])?.0;
                let and = children.iter().any(|child| child.kind() == "&&");
                if left == if and { Truth::No } else { Truth::Yes } {
                    left
                } else {
                    let right = self.truth_of(children[children.len() - 1])?.0;
                    if and { left.and(right) } else { left.or(right) }
                }
            }
            "redirected_statement"
                if at.children().first().is_some_and(|inner| inner.kind() != "command") =>
            {
                return match at.children().first() {
                    Some(inner) => self.truth_of(*inner),
                    None => Ok((Truth::Yes, Ending::Next)),
                };
            }
            "command" | "redirected_statement" | "pipeline" => return self.command_truth(at),
            _ => {
                let flow = self.statement(at)?;
                return Ok((Truth::Yes, flow));
            }
        };
        Ok((truth, Ending::Next))
    }

    fn command_truth(&mut self, at: At<'_>) -> Result<(Truth, Ending), LaunchError> {
        let text = at.str();
        let mut words = text.split_whitespace();
        let first = words.next().unwrap_or("");
        match first {
            "true" | ":" => return Ok((Truth::Yes, Ending::Next)),
            "false" => return Ok((Truth::No, Ending::Next)),
            "test" => {
                let mut tokens = Vec::new();
                for word in at.children().iter().skip(1) {
                    tokens.push(self.token(word.str())?);
                }
                return Ok((self.judge(&tokens, false)?, Ending::Next));
            }
            _ => {}
        }
        let asking =
            ASKING.contains(&first) || at.kind() == "pipeline" || self.world.functions.contains_key(first);
        let flow = self.statement(at)?;
        let shown: String = text.lines().next().unwrap_or("").chars().take(60).collect();
        Ok((if asking { Truth::Open(vec![format!("?{shown}")]) } else { Truth::Yes }, flow))
    }

    fn test(&mut self, at: At<'_>) -> Result<Truth, LaunchError> {
        let patterns = at.str().starts_with("[[");
        let mut tokens = Vec::new();
        let children = at.children();
        for child in &children[1..children.len().saturating_sub(1).max(1)] {
            self.flatten(*child, &mut tokens)?;
        }
        self.judge(&tokens, patterns)
    }

    fn flatten(&mut self, at: At<'_>, tokens: &mut Vec<Token>) -> Result<(), LaunchError> {
        self.step()?;
        match at.kind() {
            "binary_expression" | "unary_expression" | "parenthesized_expression" | "negated_expression" => {
                self.down()?;
                for child in at.children() {
                    self.flatten(child, tokens)?;
                }
                self.up();
            }
            _ if !at.node.is_named() || at.kind() == "test_operator" => {
                tokens.push(Token::Operator(at.str().to_owned()));
            }
            _ => {
                let token = self.token(at.str())?;
                tokens.push(token);
            }
        }
        Ok(())
    }

    fn token(&mut self, text: &str) -> Result<Token, LaunchError> {
        let plain = text.starts_with('-') && text.len() <= 3
            || matches!(text, "=" | "==" | "!=" | "!" | "<" | ">" | "(" | ")");
        Ok(if plain { Token::Operator(text.to_owned()) } else { Token::Word(self.single(text)?) })
    }

    fn judge(&mut self, tokens: &[Token], patterns: bool) -> Result<Truth, LaunchError> {
        let mut at = 0;
        let truth = self.either(tokens, &mut at, patterns)?;
        if at < tokens.len() {
            return Ok(Truth::Open(vec!["?a test of a form that is not read".to_owned()]));
        }
        Ok(truth)
    }

    fn either(&mut self, tokens: &[Token], at: &mut usize, patterns: bool) -> Result<Truth, LaunchError> {
        let mut truth = self.both(tokens, at, patterns)?;
        while matches!(tokens.get(*at), Some(Token::Operator(text)) if text == "||" || text == "-o") {
            *at += 1;
            truth = truth.or(self.both(tokens, at, patterns)?);
        }
        Ok(truth)
    }

    fn both(&mut self, tokens: &[Token], at: &mut usize, patterns: bool) -> Result<Truth, LaunchError> {
        let mut truth = self.term(tokens, at, patterns)?;
        while matches!(tokens.get(*at), Some(Token::Operator(text)) if text == "&&" || text == "-a") {
            *at += 1;
            truth = truth.and(self.term(tokens, at, patterns)?);
        }
        Ok(truth)
    }

    fn term(&mut self, tokens: &[Token], at: &mut usize, patterns: bool) -> Result<Truth, LaunchError> {
        let Some(first) = tokens.get(*at).cloned() else { return Ok(Truth::No) };
        *at += 1;
        match (first, tokens.get(*at).cloned()) {
            (Token::Operator(text), _) if text == "!" => {
                self.down()?;
                let inner = self.term(tokens, at, patterns)?;
                self.up();
                Ok(inner.not())
            }
            (Token::Operator(text), _) if text == "(" => {
                self.down()?;
                let inner = self.either(tokens, at, patterns)?;
                self.up();
                *at += usize::from(matches!(tokens.get(*at), Some(Token::Operator(text)) if text == ")"));
                Ok(inner)
            }
            (Token::Operator(operator), Some(Token::Word(value))) => {
                *at += 1;
                self.unary(&operator, &value)
            }
            (Token::Word(left), Some(Token::Operator(operator)))
                if !matches!(operator.as_str(), "&&" | "||" | "-a" | "-o" | ")") =>
            {
                *at += 1;
                let right = match tokens.get(*at) {
                    Some(Token::Word(text) | Token::Operator(text)) => text.clone(),
                    None => String::new(),
                };
                *at += 1;
                self.binary(&left, &operator, &right, patterns)
            }
            (Token::Word(value) | Token::Operator(value), _) => self.unary("-n", &value),
        }
    }

    fn unary(&mut self, operator: &str, value: &str) -> Result<Truth, LaunchError> {
        match operator {
            "-n" | "-z" => {
                let unset = Self::is_unset_mark(value);
                if unset {
                    let names = self.causes(value);
                    self.empties.extend(names);
                }
                let empty = |text: &str| Some(if text.is_empty() { "0" } else { "1" }.to_owned());
                let filled = if unset { "0".to_owned() } else { self.map(value, &empty)? };
                let truth = self.number_truth(&filled)?;
                Ok(if operator == "-z" { truth.not() } else { truth })
            }
            "-v" => Ok(Truth::from(self.var(value).is_some())),
            _ => Ok(Truth::Open(vec![format!("?[ {operator} {} ]", shown(value))])),
        }
    }

    fn binary(
        &mut self,
        left: &str,
        operator: &str,
        right: &str,
        patterns: bool,
    ) -> Result<Truth, LaunchError> {
        let both = format!("{left}\u{1e}{right}");
        let operator = operator.to_owned();
        let answer = self.map(&both, &|both| {
            let (left, right) = both.split_once('\u{1e}')?;
            let number = |text: &str| text.trim().parse::<i64>().ok();
            let holds = match operator.as_str() {
                "=" | "==" if patterns => pattern::matches(right, left),
                "!=" if patterns => !pattern::matches(right, left),
                "=" | "==" => left == right,
                "!=" => left != right,
                "<" => left < right,
                ">" => left > right,
                "-eq" => number(left)? == number(right)?,
                "-ne" => number(left)? != number(right)?,
                "-lt" => number(left)? < number(right)?,
                "-le" => number(left)? <= number(right)?,
                "-gt" => number(left)? > number(right)?,
                "-ge" => number(left)? >= number(right)?,
                "=~" => regular(right, left)?,
                _ => return None,
            };
            Some(i32::from(holds).to_string())
        })?;
        self.number_truth(&answer)
    }

    /// Whether a number is not zero; one that depends on a condition has to say the same in all its branches.
    fn number_truth(&mut self, text: &str) -> Result<Truth, LaunchError> {
        if !is_unknown(text) {
            return Ok(Truth::from(!matches!(text.trim(), "" | "0")));
        }
        if let Some(condition) = self.only_condition(std::iter::once(text)) {
            let mut truths = Vec::new();
            for arm in 0..self.conditions[condition].arms {
                let value = self.in_arm(text, condition, arm)?;
                truths.push((!is_unknown(&value)).then(|| value.trim() != "0"));
            }
            if let Some(Some(first)) = truths.first().copied()
                && truths.iter().all(|truth| *truth == Some(first))
            {
                return Ok(Truth::from(first));
            }
        }
        Ok(Truth::Open(self.causes(text)))
    }

    /// `(( ... ))`: an expression, or an assignment.
    pub(super) fn expression(&mut self, text: &str) -> Result<Truth, LaunchError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Truth::Yes);
        }
        let name_end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        let rest = rest.trim();
        let value = match rest {
            "++" => Some(format!("{name} + 1")),
            "--" => Some(format!("{name} - 1")),
            _ => match rest.split_once('=') {
                Some((operator, value)) if !value.starts_with('=') && !name.is_empty() => {
                    match operator.trim() {
                        "" => Some(value.to_owned()),
                        "+" | "-" | "*" | "/" | "%" => Some(format!("{name} {operator} ({value})")),
                        _ => None,
                    }
                }
                _ => None,
            },
        };
        let result = self.arithmetic(value.as_deref().unwrap_or(text))?;
        if value.is_some() {
            self.set(name, Var::Text(result.clone()))?;
        }
        self.number_truth(&result)
    }
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !('\u{FDD0}'..='\u{FDD2}').contains(c)).take(40).collect()
}

/// Regular expressions of `=~` that are anchored literals, digits or alternatives of them; `None` for others.
fn regular(pattern: &str, text: &str) -> Option<bool> {
    if pattern == "^[0-9]+$" {
        return Some(!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    }
    let inner = pattern.strip_prefix('^').unwrap_or(pattern);
    let body = inner.strip_suffix('$').unwrap_or(inner);
    let body = body.strip_prefix('(').and_then(|body| body.strip_suffix(')')).unwrap_or(body);
    if body.contains(['*', '+', '?', '[', '(', '{', '\\', '.', '^', '$']) {
        return None;
    }
    let (start, end) = (pattern.starts_with('^'), inner.ends_with('$'));
    Some(body.split('|').any(|word| match (start, end) {
        (true, true) => text == word,
        (true, false) => text.starts_with(word),
        (false, true) => text.ends_with(word),
        (false, false) => text.contains(word),
    }))
}
