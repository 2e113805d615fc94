//! Integer arithmetic of `$(( ... ))`.

/// The value of an expression of whole numbers, `+ - * / %` and parentheses, names looked up by `value`; `None` if it is
/// none.
pub(super) fn evaluate(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<i64> {
    let mut parser = Parser { rest: text.trim(), value, depth: 0 };
    let result = parser.sum()?;
    parser.rest.trim().is_empty().then_some(result)
}

/// Nesting beyond which an expression is no expression, so that no input exhausts the stack.
const MAX_DEPTH: u32 = 64;

struct Parser<'a> {
    rest: &'a str,
    value: &'a dyn Fn(&str) -> Option<String>,
    depth: u32,
}

impl Parser<'_> {
    fn take(&mut self, symbols: &[char]) -> Option<char> {
        let trimmed = self.rest.trim_start();
        let symbol = trimmed.chars().next().filter(|c| symbols.contains(c))?;
        self.rest = &trimmed[symbol.len_utf8()..];
        Some(symbol)
    }

    fn sum(&mut self) -> Option<i64> {
        let mut total = self.product()?;
        while let Some(symbol) = self.take(&['+', '-']) {
            let next = self.product()?;
            total = if symbol == '+' { total.checked_add(next)? } else { total.checked_sub(next)? };
        }
        Some(total)
    }

    fn product(&mut self) -> Option<i64> {
        let mut total = self.atom()?;
        while let Some(symbol) = self.take(&['*', '/', '%']) {
            let next = self.atom()?;
            total = match symbol {
                '*' => total.checked_mul(next)?,
                '/' => total.checked_div(next)?,
                _ => total.checked_rem(next)?,
            };
        }
        Some(total)
    }

    fn atom(&mut self) -> Option<i64> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        if self.take(&['(']).is_some() {
            let inner = self.sum()?;
            self.take(&[')'])?;
            self.depth -= 1;
            return Some(inner);
        }
        if self.take(&['-']).is_some() {
            let inner = self.atom()?;
            self.depth -= 1;
            return inner.checked_neg();
        }
        let trimmed = self.rest.trim_start();
        let body = trimmed.strip_prefix('$').unwrap_or(trimmed);
        let body = body.strip_prefix('{').unwrap_or(body);
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let (word, rest) = body.split_at(end);
        self.rest = rest.strip_prefix('}').unwrap_or(rest);
        self.depth -= 1;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().ok();
        }
        (self.value)(word)?.trim().parse().ok()
    }
}
