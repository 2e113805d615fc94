//! Which layers have experts: `--moe-layer-freq` as a number or as a Python list such as `([0]*3+[1]*58)`.

/// Most layers a pattern may name.
const MAX_LAYERS: usize = 4096;

/// The list of a pattern, one entry per layer; `None` if it is none.
pub(super) fn pattern(text: &str) -> Option<Vec<u8>> {
    let text: String = text.chars().filter(|c| !c.is_whitespace() && *c != '"' && *c != '\'').collect();
    let mut rest = text.as_str();
    let list = sum(&mut rest, 0)?;
    (rest.is_empty() && !list.is_empty()).then_some(list)
}

fn sum(rest: &mut &str, depth: u32) -> Option<Vec<u8>> {
    let mut list = product(rest, depth)?;
    while let Some(after) = rest.strip_prefix('+') {
        *rest = after;
        list.extend(product(rest, depth)?);
        if list.len() > MAX_LAYERS {
            return None;
        }
    }
    Some(list)
}

fn product(rest: &mut &str, depth: u32) -> Option<Vec<u8>> {
    let mut list = atom(rest, depth)?;
    while let Some(after) = rest.strip_prefix('*') {
        let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
        let count: usize = after[..end].parse().ok()?;
        *rest = &after[end..];
        if list.len().checked_mul(count)? > MAX_LAYERS {
            return None;
        }
        list = list.repeat(count);
    }
    Some(list)
}

fn atom(rest: &mut &str, depth: u32) -> Option<Vec<u8>> {
    if depth > 16 {
        return None;
    }
    if let Some(after) = rest.strip_prefix('(') {
        *rest = after;
        let list = sum(rest, depth + 1)?;
        *rest = rest.strip_prefix(')')?;
        return Some(list);
    }
    let (inner, after) = rest.strip_prefix('[')?.split_once(']')?;
    *rest = after;
    inner.split(',').map(|item| item.parse().ok().filter(|value| *value <= 1)).collect()
}

/// Leading zeros of a list that has only ones after them.
pub(super) fn leading_dense(list: &[u8]) -> Option<u32> {
    let zeros = list.iter().take_while(|value| **value == 0).count();
    list[zeros..].iter().all(|value| *value == 1).then_some(u32::try_from(zeros).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::{leading_dense, pattern};

    #[test]
    fn patterns_of_layers() {
        let dense = |text| pattern(text).and_then(|list| leading_dense(&list));
        assert_eq!(dense("([0]*3+[1]*58)"), Some(3));
        assert_eq!(dense("[0]+[1]*26"), Some(1));
        assert_eq!(dense("'[0, 1, 1]'"), Some(1));
        assert_eq!(dense("([1,0]*4)"), None);
        assert_eq!(pattern("[0]*99999999"), None);
        assert_eq!(pattern(&"(".repeat(1000)), None);
    }
}
