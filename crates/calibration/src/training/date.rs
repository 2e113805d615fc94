//! When a run was published, from the words of its source.

/// The month (`YYYY-MM`) that a source's words tell: an arXiv number, a release numbered by year and month, an MLPerf round
/// (in June and November of its year), or a plain date.
pub(super) fn month_of(text: &str) -> Option<String> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "(),;_/".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    words
        .windows(2)
        .find_map(|pair| after(pair[0], pair[1]))
        .or_else(|| words.iter().find_map(|word| plain(word)))
}

/// A number that the word before it explains.
fn after(before: &str, word: &str) -> Option<String> {
    match before {
        "arXiv" => {
            let (year, month) = (word.get(0..2)?, word.get(2..4)?);
            month_text(year.parse().ok()?, month.parse().ok()?)
        }
        "release" | "NeMo" | "performance-summary.md" | "performance-summary-archive.md" => {
            year_dot_month(word)
        }
        "Training" => {
            let (major, minor) = word.strip_prefix('v')?.split_once('.')?;
            let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
            // Round 3.0 was June 2023, 3.1 November 2023, 4.0 June 2024 and so on.
            month_text(20 + major, if minor == 0 { 6 } else { 11 })
        }
        _ => None,
    }
}

fn year_dot_month(word: &str) -> Option<String> {
    let mut parts = word.split('.');
    month_text(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)
}

/// `2020`, `2025-06`, `202412`, `h100.202412.md` and their like.
fn plain(word: &str) -> Option<String> {
    word.split('.').find_map(|part| {
        let digits: String = part.chars().filter(char::is_ascii_digit).collect();
        let only = part.chars().all(|c| c.is_ascii_digit() || c == '-');
        if !only || !digits.starts_with("20") {
            return None;
        }
        match digits.len() {
            4 => month_text(digits.get(2..4)?.parse().ok()?, 1),
            6 | 8 => month_text(digits.get(2..4)?.parse().ok()?, digits.get(4..6)?.parse().ok()?),
            _ => None,
        }
    })
}

fn month_text(year: u32, month: u32) -> Option<String> {
    ((15..=40).contains(&year) && (1..=12).contains(&month)).then(|| format!("20{year:02}-{month:02}"))
}

#[cfg(test)]
mod tests {
    #[track_caller]
    fn check(text: &str, month: Option<&str>) {
        assert_eq!(super::month_of(text).as_deref(), month, "{text}");
    }

    #[test]
    fn sources_tell_their_month() {
        check("arXiv 2104.04473 Table 1 (= Megatron-LM README table, Apr 2021)", Some("2021-04"));
        check("Megatron-LM images/tables.tex @5281919420 (2020)", Some("2020-01"));
        check("Megatron-Bridge docs/performance-summary.md, 26.08 Pre-Training", Some("2026-08"));
        check("NeMo 24.07 docs/source/performance/performance_summary.md @9c5c5e9709", Some("2024-07"));
        check("MLPerf Training v3.1 Azure/results/ND_H100_v5_n1344", Some("2023-11"));
        check("torchtitan benchmarks/llama3_h100_202412_torchtitan.md", Some("2024-12"));
        check("torchtitan benchmarks/asyncTP_llama3_h100_2025-06_torchtitan.md", Some("2025-06"));
        check("bigscience train/tr11-176B-ml/chronicles-prequel.md line 607", None);
    }
}
