//! The name most like a misspelt one.

/// The candidate with the fewest edits, if it is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_ascii_lowercase();
    candidates
        .map(|candidate| (edits(&lower, &candidate.to_ascii_lowercase()), candidate))
        .min()
        .map(|(_, best)| best)
}

/// Levenshtein distance.
pub(crate) fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn distance() {
        assert_eq!(super::edits("kitten", "sitting"), 3);
        assert_eq!(super::edits("", "abc"), 3);
        assert_eq!(super::nearest("qwen3_mo", ["llama", "qwen3_moe"].into_iter()), Some("qwen3_moe"));
    }
}
