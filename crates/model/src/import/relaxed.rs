//! Python writes infinities and "not a number" into JSON, which has no such values.

/// The text with bare `Infinity`, `-Infinity` and `NaN` replaced by `null`; `None` if it has none.
pub(crate) fn without_non_finite(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut replaced = false;
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(length) = string_length(rest) {
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        } else if let Some(word) =
            ["-Infinity", "Infinity", "NaN"].iter().find(|word| rest.starts_with(**word))
        {
            out.push_str("null");
            replaced = true;
            rest = &rest[word.len()..];
        } else {
            let length = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    replaced.then_some(out)
}

/// The length in bytes of the quoted string at the start, closing quote included.
fn string_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match character {
            '"' if index == 0 => {}
            _ if index == 0 => return None,
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(index + 1),
            _ => {}
        }
    }
    (!text.is_empty()).then_some(text.len())
}

#[cfg(test)]
mod tests {
    use super::without_non_finite;

    #[test]
    fn bare_words_only() {
        let text = r#"{"a": [0.0, Infinity], "b": -Infinity, "NaN": "Infinity \" NaN", "c": NaN}"#;
        let expected = r#"{"a": [0.0, null], "b": null, "NaN": "Infinity \" NaN", "c": null}"#;
        assert_eq!(without_non_finite(text).as_deref(), Some(expected));
        assert_eq!(without_non_finite(r#"{"NaN": "Infinity"#), None);
    }
}
