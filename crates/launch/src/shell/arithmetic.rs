//! Integer arithmetic of `$(( ... ))`.

/// The value of an expression of whole numbers as bash computes it, names looked up by `value`; `None` if it is none or
/// uses an assignment.
pub(super) fn evaluate(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<i64> {
    let mut parser = Parser { rest: text, value, depth: 0 };
    let result = parser.ternary()?;
    parser.rest.trim().is_empty().then_some(result)
}

/// Nesting beyond which an expression is no expression, so that no input exhausts the stack.
const MAX_DEPTH: u32 = 48;

/// Binary operators from the loosest, longest spelling first within a level.
const LEVELS: [&[&str]; 8] =
    [&["||"], &["&&"], &["|"], &["^"], &["&"], &["==", "!="], &["<=", ">=", "<", ">"], &["<<", ">>"]];

struct Parser<'a> {
    rest: &'a str,
    value: &'a dyn Fn(&str) -> Option<String>,
    depth: u32,
}

impl Parser<'_> {
    fn take(&mut self, symbols: &[&'static str]) -> Option<&'static str> {
        let trimmed = self.rest.trim_start();
        let symbol = symbols.iter().find(|symbol| trimmed.starts_with(**symbol))?;
        let rest = &trimmed[symbol.len()..];
        // A longer operator begins alike: `<` is not `<<`, `&` is not `&&`, `a = b` is an assignment.
        let longer = match *symbol {
            "<" | ">" | "|" | "&" => rest.starts_with(*symbol) || rest.starts_with('='),
            "+" | "-" | "*" | "/" | "%" | "<<" | ">>" | "^" => rest.starts_with('='),
            _ => false,
        };
        if longer || (*symbol == "*" && rest.starts_with('*')) {
            return None;
        }
        self.rest = rest;
        Some(symbol)
    }

    fn ternary(&mut self) -> Option<i64> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let condition = self.level(0)?;
        let result = if self.take(&["?"]).is_some() {
            let yes = self.ternary()?;
            self.take(&[":"])?;
            let no = self.ternary()?;
            if condition != 0 { yes } else { no }
        } else {
            condition
        };
        self.depth -= 1;
        Some(result)
    }

    fn level(&mut self, level: usize) -> Option<i64> {
        let Some(symbols) = LEVELS.get(level) else { return self.sum() };
        let mut left = self.level(level + 1)?;
        while let Some(symbol) = self.take(symbols) {
            let right = self.level(level + 1)?;
            left = match symbol {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                "|" => left | right,
                "^" => left ^ right,
                "&" => left & right,
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<=" => i64::from(left <= right),
                ">=" => i64::from(left >= right),
                "<" => i64::from(left < right),
                ">" => i64::from(left > right),
                "<<" => left.checked_shl(u32::try_from(right).ok()?)?,
                _ => left.checked_shr(u32::try_from(right).ok()?)?,
            };
        }
        Some(left)
    }

    fn sum(&mut self) -> Option<i64> {
        let mut total = self.product()?;
        while let Some(symbol) = self.take(&["+", "-"]) {
            let next = self.product()?;
            total = if symbol == "+" { total.checked_add(next)? } else { total.checked_sub(next)? };
        }
        Some(total)
    }

    fn product(&mut self) -> Option<i64> {
        let mut total = self.power()?;
        while let Some(symbol) = self.take(&["*", "/", "%"]) {
            let next = self.power()?;
            total = match symbol {
                "*" => total.checked_mul(next)?,
                "/" => total.checked_div(next)?,
                _ => total.checked_rem(next)?,
            };
        }
        Some(total)
    }

    fn power(&mut self) -> Option<i64> {
        let base = self.atom()?;
        if self.take(&["**"]).is_some() {
            let exponent = self.atom()?;
            return base.checked_pow(u32::try_from(exponent).ok()?);
        }
        Some(base)
    }

    fn atom(&mut self) -> Option<i64> {
        if self.take(&["("]).is_some() {
            let inner = self.ternary()?;
            self.take(&[")"])?;
            return Some(inner);
        }
        if let Some(sign) = self.take(&["-", "+", "!"]) {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return None;
            }
            let inner = self.atom()?;
            self.depth -= 1;
            return match sign {
                "-" => inner.checked_neg(),
                "+" => Some(inner),
                _ => Some(i64::from(inner == 0)),
            };
        }
        let body = self.rest.trim_start();
        let end = body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len());
        let (word, rest) = body.split_at(end);
        self.rest = rest;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return number(word);
        }
        number((self.value)(word).filter(|_| !word.is_empty())?.trim())
    }
}

fn number(word: &str) -> Option<i64> {
    if let Some(digits) = word.strip_prefix("0x") {
        return i64::from_str_radix(digits, 16).ok();
    }
    if word.len() > 1 && word.starts_with('0') {
        return i64::from_str_radix(word, 8).ok();
    }
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    #[track_caller]
    fn check(text: &str, expected: Option<i64>) {
        let value = |name: &str| (name == "N").then(|| "6".to_owned());
        assert_eq!(evaluate(text, &value), expected, "{text}");
    }

    #[test]
    fn as_bash_computes() {
        check("1 + 2 * N", Some(13));
        check("(1 + 2) * -N / 4 % 3", Some(-1));
        check("N > 5 && N != 7 ? 10 : 20", Some(10));
        check("1 << 4 | 1", Some(17));
        check("2 ** 10", Some(1024));
        check("010 + 0x10", Some(24));
        check("N / 0", None);
        check("9223372036854775807 + 1", None);
        check("M + 1", None);
        check("N = 3", None);
        check(&"(".repeat(100_000), None);
        check(&"-".repeat(100_000), None);
    }
}
