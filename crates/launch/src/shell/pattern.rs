//! Patterns of `case`, `[[ == ]]` and `${NAME%pattern}`.

/// Steps after which a match is given up as none, so that no pattern takes long.
const MAX_STEPS: u32 = 100_000;

/// Whether the whole of `text` matches the pattern: `*`, `?`, `[...]` and literal characters, `\` before one of them.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    for _ in 0..MAX_STEPS {
        if t == text.len() {
            return pattern[p..].iter().all(|c| *c == '*');
        }
        if pattern.get(p) == Some(&'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        if let Some(next) = one(&pattern, p, text[t]) {
            p = next;
            t += 1;
            continue;
        }
        let Some((after, from)) = star else { return false };
        star = Some((after, from + 1));
        p = after;
        t = from + 1;
    }
    false
}

/// Where the pattern goes on after matching `c` at `p`.
fn one(pattern: &[char], p: usize, c: char) -> Option<usize> {
    match pattern.get(p)? {
        '?' => Some(p + 1),
        '\\' => (pattern.get(p + 1) == Some(&c)).then_some(p + 2),
        '[' => {
            let close = (p + 2..pattern.len()).find(|at| pattern[*at] == ']')?;
            let negated = matches!(pattern[p + 1], '!' | '^');
            let set = &pattern[p + 1 + usize::from(negated)..close];
            let mut found = false;
            let mut at = 0;
            while at < set.len() {
                if at + 2 < set.len() && set[at + 1] == '-' {
                    found |= (set[at]..=set[at + 2]).contains(&c);
                    at += 3;
                } else {
                    found |= set[at] == c;
                    at += 1;
                }
            }
            (found != negated).then_some(close + 1)
        }
        literal => (*literal == c).then_some(p + 1),
    }
}

/// `text` without the shortest or longest prefix (or suffix) that matches.
pub(super) fn strip(text: &str, pattern: &str, suffix: bool, longest: bool) -> String {
    let mut cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).chain([text.len()]).take(4096).collect();
    if suffix != longest {
        cuts.reverse();
    }
    for cut in cuts {
        let (head, tail) = text.split_at(cut);
        if suffix && matches(pattern, tail) {
            return head.to_owned();
        }
        if !suffix && matches(pattern, head) {
            return tail.to_owned();
        }
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::{matches, strip};

    #[test]
    fn patterns() {
        assert!(matches("*.py", "a.py") && !matches("*.py", "a.pyc") && matches("[0-9]?b", "13b"));
        assert!(matches("a*b*c", "aXXbYYc") && !matches("[!7]*", "70b") && matches("\\*", "*"));
        assert_eq!(strip("/a/b/c.sh", "*/", false, true), "c.sh");
        assert_eq!(strip("/a/b/c.sh", "*/", false, false), "a/b/c.sh");
        assert_eq!(strip("c.tar.gz", ".*", true, false), "c.tar");
        assert_eq!(strip("c.tar.gz", ".*", true, true), "c");
    }
}
